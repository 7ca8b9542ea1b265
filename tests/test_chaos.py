"""A study that meets with twenty misfortunes, and comes out as if there had been none."""

import collections
import contextlib
import os
import random
import signal
import time

import psutil
import pytest
from helpers import TESTS
from test_engines import comparable, finish, start  # noqa: F401
from toy_study import build, full_file, read_log, wait_for, write_plan

from ganlib.experiment import local
from ganlib.experiment.study import Run, run_folder

TRIALS = 36
MISFORTUNES = 5 * ("all processes", "parent", "worker", "full disk")


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS.parent), str(TESTS)]))
    trials = {f"t{i}": {"seconds": 0.2} for i in range(TRIALS)}
    return build(data=str(write_plan(tmp_path / "plan.json", **trials)))


def finished(study, out):
    """The results for good, with when they were written and how often their trials had begun."""
    begun = collections.Counter(trial_id for _, trial_id in read_log(study.options["data"]))
    found = {}
    for trial in study.trials:
        run = Run(run_folder(study, trial, out))
        if result := run.finished():
            written = (run.path / "result.json").stat().st_mtime_ns
            found[trial.id] = (result, written, begun[trial.id])
    return found


def strike(misfortune, process, plan, rng):
    """Returns whether the command is still there after it."""
    if misfortune == "all processes":
        os.killpg(process.pid, signal.SIGKILL)
    elif misfortune == "parent":  # the workers have to notice
        process.kill()
    elif misfortune == "worker":
        # What went on may have been a killed command's worker, while this one has none yet.
        while not (workers := psutil.Process(process.pid).children()) and process.poll() is None:
            time.sleep(0.01)
        if workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                rng.choice(workers).kill()
        return True
    else:
        full_file(plan).touch()
        time.sleep(rng.uniform(0, 0.3))
        full_file(plan).unlink()
        return True
    finish(process)
    return False


def test_twenty_misfortunes_change_nothing(tmp_path, start, study, monkeypatch):  # noqa: F811
    plan, out = study.options["data"], tmp_path / "out"
    rng = random.Random(0)
    process, before = None, {}
    for misfortune in rng.sample(MISFORTUNES, len(MISFORTUNES)):
        begun = len(read_log(plan))
        if process is None or process.poll() is not None:  # a full disk ends a study soon
            process = start("run", plan, out, 2)
        wait_for(lambda: len(read_log(plan)) > begun or process.poll() is not None)  # noqa: B023
        time.sleep(rng.uniform(0, 0.5))
        if process.poll() is None and not strike(misfortune, process, plan, rng):
            process = None
        now = finished(study, out)
        assert before == {trial_id: now.get(trial_id) for trial_id in before}
        before = now
    assert 0 < len(before) < TRIALS  # the misfortunes came while there was work
    if process is not None:
        finish(process)
    code, _, errors = finish(start("run", plan, out, 2))
    assert code == 0, errors
    after = finished(study, out)
    assert before == {trial_id: after[trial_id] for trial_id in before}
    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", lambda seconds: None)
        undisturbed = local.run(study, tmp_path / "undisturbed", show=False)
    assert comparable(result for result, _, _ in after.values()) == comparable(undisturbed)
    assert not list(out.rglob("*.tmp"))
