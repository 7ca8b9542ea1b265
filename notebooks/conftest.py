"""Strict `pytest --nbval`: the quick profile, fresh runs, and outputs compared that can be."""

import os
import shutil
import tempfile


def pytest_configure(config):
    # Set before nbval starts a kernel. Runs from an earlier version must not pass for this one's.
    folder = tempfile.mkdtemp(prefix="ganlib-notebooks-")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    os.environ |= {
        "GANLIB_PROFILE": "quick",
        "GANLIB_RUNS": os.path.join(folder, "runs"),
        "GANLIB_REPORTS": os.path.join(folder, "reports"),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # Two notebooks at a time, each in one process with one thread: more would only get in the
        # way, and every worker would have to import its backend and trace its programs.
        "LOKY_MAX_CPU_COUNT": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    os.environ.pop("GANLIB_DATA", None)


def pytest_collectstart(collector):
    # Pictures are skipped by nbval itself. Progress bars and log lines are not results, and HTML
    # holds the numbers that differ between machines; text and assertions hold what must not.
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("stderr", "text/html")
