"""Sets the Keras backend before anything imports Keras, says which backends are not tested, and
lets no test's draws depend on the tests before it."""

import importlib.util
import os
import tempfile

import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.pop("GANLIB_DATA", None)  # tests know what data they have

# JAX compiles for most of a test's time. A resumed model is a new one, which finds here what its
# twin compiled, and tiny arrays gain nothing from XLA's later passes.
_compiled = tempfile.TemporaryDirectory(prefix="ganlib-jax-")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _compiled.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

# What is drawn is drawn by this code, and once for all processes.
_drawings = tempfile.TemporaryDirectory(prefix="ganlib-drawings-")
os.environ.setdefault("GANLIB_CACHE", _drawings.name)

# Tiny arrays are computed sooner than threads are woken, above all when other tests have the cores.
for _threads in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "NPROC"):
    os.environ.setdefault(_threads, "1")  # NPROC is JAX's

import draws  # noqa: E402 - NumPy looks once, when it is loaded, how many threads it may have

BACKENDS = ("tensorflow", "jax", "torch")


def pytest_configure(config):
    config.addinivalue_line(
        "filterwarnings",
        # Keras' variables and NumPy 2, in get_weights and save; neither is ours to change.
        "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
    )


def pytest_report_header():
    lines = [f"keras backend: {os.environ['KERAS_BACKEND']}"]
    for backend in BACKENDS:
        if importlib.util.find_spec(backend) is None:
            lines.append(f"{backend}: not installed, its tests do not run")
    return lines


# Which tests a process runs, and in what order, is another matter each time (xdist): a test that
# drew on where the last one stopped would pass or fail by chance.


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef, request):
    draws.seed(request.fixturename)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item):
    draws.seed(item.name)
