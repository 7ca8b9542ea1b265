"""Runs in this process and in workers: what is killed, interrupted, busy or out of memory."""

import collections
import contextlib
import dataclasses
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time

import psutil
import pytest
from helpers import TESTS
from toy_study import PATIENCE_SECONDS, build, full_file, go_file, read_log, wait_for, write_plan

from ganlib.experiment import local, machine
from ganlib.experiment.machine import StudyError
from ganlib.experiment.run import Run, read_json, results, run_folder, run_trial
from ganlib.experiment.status import describe, study_status


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch):
    monkeypatch.setattr(local, "POLL_SECONDS", 0.05)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS.parent), str(TESTS)]))


def run(plan, out, **options):
    return local.run(build(plan), out, show=False, **options)


def only(plan, out):
    study = build(plan)
    return study, run_folder(study, study.trials[0], out)


@pytest.fixture
def start():
    """Starts the toy's own command line, leader of a process group that does not outlive a test."""
    processes = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, str(TESTS / "toy_study.py"), *map(str, arguments)],
            **dict.fromkeys(("stdout", "stderr"), subprocess.PIPE),
            text=True,
            start_new_session=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def finish(process):
    output, errors = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, output, errors


def wait_for_trials(n, plan, process):
    wait_for(lambda: len(read_log(plan)) >= n or process.poll() is not None)
    assert process.poll() is None, process.communicate()


def comparable(results):
    return {r["id"]: {k: r[k] for k in r if k not in ("seconds", "environment")} for r in results}


def names(pairs):
    return [trial.partition("-")[0] for _, trial in pairs]


def statuses(results):
    return {result["name"]: result["status"] for result in results}


def has_ended(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_what_a_trial_leaves_behind(tmp_path):
    study, folder = only(write_plan(tmp_path / "plan.json", a={"epochs": 3}), tmp_path)
    (result,) = local.run(study, tmp_path, show=False)
    assert read_json(folder / "result.json") == result
    asked = read_json(folder / "trial.json")
    assert asked.items() <= result.items()
    assert asked["recipe"] == dataclasses.asdict(study.trials[0].recipe)
    assert (asked["seed"], asked["data_checksum"]) == (0, "c" * 64)
    assert (result["status"], result["metrics"]["epochs"]) == ("done", 3)
    assert run(tmp_path / "plan.json", tmp_path) == results(study, tmp_path) == [result]
    assert len(read_log(tmp_path / "plan.json")) == 1
    for content in ("", '{"status": "done"}'):  # spoilt: it is made again
        (folder / "result.json").write_text(content)
        assert results(study, tmp_path) == []
        assert study_status(study, tmp_path)[0]["status"] == "interrupted"
        assert comparable(local.run(study, tmp_path, show=False)) == comparable([result])


def test_a_failure_says_why_until_it_is_mended(tmp_path):
    plan = write_plan(tmp_path / "plan.json", a="fail once")
    study, folder = only(plan, tmp_path)
    (result,) = local.run(study, tmp_path, show=False)
    assert (result["error"], result["metrics"]) == ("ValueError: told to fail", {})
    assert 'raise ValueError("told to fail")' in (folder / "error.txt").read_text()
    (result,) = local.run(study, tmp_path, show=False)
    assert (result["status"], "error" in result) == ("done", False)
    assert not (folder / "error.txt").exists()


def test_fresh_begins_again_unless_somebody_is_at_work(tmp_path):
    plan = write_plan(tmp_path / "plan.json", a="work")
    (tmp_path / "out").touch()
    with pytest.raises(StudyError, match=r"can't be written to .*--out"):
        run(plan, tmp_path / "out")
    study, folder = only(plan, tmp_path)
    local.run(study, tmp_path, show=False)
    (folder / "samples").mkdir()
    with Run(folder).lock(), pytest.raises(StudyError, match="Another process is at work in"):
        run(plan, tmp_path, fresh=True)
    assert (folder / "result.json").exists()
    run(plan, tmp_path, fresh=True)
    assert len(read_log(plan)) == 2
    assert not (folder / "samples").exists()


def test_workers_change_nothing_and_load_the_data_once(tmp_path):
    plan = write_plan(tmp_path / "plan.json", seeds=4, a="meet", b={"epochs": 4}, c="work")
    workers = run(plan, tmp_path / "workers", workers=2)
    assert [r["id"] for r in workers] == [trial.id for trial in build(plan).trials]
    loaded = [pid for pid, _ in read_log(plan, loaded=True)][:-1]  # but for the line before
    assert sorted(loaded) == sorted({os.getpid(), *(pid for pid, _ in read_log(plan))})
    assert len(loaded) == 3
    here = run(plan, tmp_path / "here")
    assert comparable(workers) == comparable(here)


def test_a_worker_that_dies_loses_its_trial_alone(tmp_path):
    plan = write_plan(tmp_path / "plan.json", a="work", b="die once", c="die", d="fail", e="work")
    found = run(plan, tmp_path, workers=2)
    status = {"a": "done", "b": "done", "c": "failed", "d": "failed", "e": "done"}
    assert statuses(found) == status
    assert sorted(names(read_log(plan))) == ["a", "b", "b", "c", "c", "c", "d", "e"]
    assert found[2]["error"].startswith("Its process died 3 times; see ")
    # As for any failure: recorded, shown, and tried again by the next command.
    assert [row["status"] for row in study_status(build(plan), tmp_path)] == list(status.values())
    run(plan, tmp_path, workers=1)
    assert sorted(names(read_log(plan))[8:]) == ["c", "c", "c", "d"]


def test_a_worker_that_grows_or_was_out_of_memory_is_replaced(tmp_path, monkeypatch):
    plan = write_plan(tmp_path / "plan.json", a="work", b="work", c="out of memory", d="work")
    run(plan, tmp_path, workers=1)
    a, b, c, d = (pid for pid, _ in read_log(plan))
    assert a == b == c != d
    assert has_ended(c)
    monkeypatch.setattr(local, "MEMORY", 1e-6)
    run(plan, tmp_path / "grown", workers=1)
    assert len({pid for pid, _ in read_log(plan)[4:]}) == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_out_of_memory_is_not_tried_again_at_the_same_size(tmp_path, workers):
    # With nothing else left a worker takes a2 while a1 still runs, so b1 takes longer than a1.
    longer = {"action": "meet" if workers else "work", "epochs": 1, "seconds": 1}
    plan = write_plan(tmp_path / "plan.json", a1="out of memory", a2="work", b1=longer)
    found = run(plan, tmp_path, workers=workers)
    assert statuses(found) == {"a1": "out-of-memory", "a2": "out-of-memory", "b1": "done"}
    assert "a1-seed0" in found[1]["error"]
    remedies = "--set batch_size=… or fewer --workers", f"--trials {found[0]['id']} --fresh"
    assert all(remedy in found[0]["error"] for remedy in remedies)
    run(plan, tmp_path, workers=workers)
    assert sorted(names(read_log(plan))) == ["a1", "b1"]


def test_a_worker_keeps_to_the_shape_it_has_compiled(tmp_path):
    trials = dict.fromkeys(("a1", "b1", "c1", "a2", "b2", "c2"), "work")
    run(plan := write_plan(tmp_path / "plan.json", **trials), tmp_path)
    assert names(read_log(plan)) == ["a1", "a2", "b1", "b2", "c1", "c2"]


def test_what_the_backends_call_out_of_memory():
    for name, text, lack in (
        ("ResourceExhaustedError", "OOM when allocating tensor with shape[64,256]", "memory"),
        ("XlaRuntimeError", "RESOURCE_EXHAUSTED: Out of memory trying to allocate 9", "memory"),
        ("RuntimeError", "CUDA out of memory. Tried to allocate 20.00 MiB.", "memory"),
        ("RuntimeError", "DefaultCPUAllocator: can't allocate memory: you tried", "memory"),
        ("ResourceExhaustedError", "runs/model; No space left on device", "disk"),
        ("RuntimeError", "shapes do not match", None),
    ):
        assert machine.lacks(type(name, (Exception,), {})(text)) == lack


def test_two_commands_share_a_study(tmp_path, start):
    plan = write_plan(tmp_path / "plan.json", **dict.fromkeys("abcdef", "meet"))
    processes = [start("run", plan, tmp_path, 0), start("run", plan, tmp_path, 1)]
    ended = [finish(process) for process in processes]
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert sorted(names(read_log(plan))) == list("abcdef")
    first, second = (json.loads(output) for _, output, _ in ended)
    assert comparable(first) == comparable(second)
    assert set(statuses(first).values()) == {"done"}


def test_a_locked_trial_is_busy_and_running(tmp_path):
    study, folder = only(write_plan(tmp_path / "plan.json", a="work"), tmp_path)
    with Run(folder).lock():
        assert run_trial(study, study.trials[0], tmp_path)["status"] == "busy"
        assert study_status(study, tmp_path)[0]["status"] == "running"
    assert study_status(study, tmp_path)[0]["status"] == "to do"
    assert read_log(study.spec) == []


@pytest.mark.parametrize("by", ["Ctrl-C", "SIGTERM"])
def test_an_interrupted_command_says_how_to_resume(tmp_path, start, by):
    plan = write_plan(tmp_path / "plan.json", a="work", b="hang", c="work")
    out = tmp_path / "all runs"  # a space, which the shell must not see
    command = ["cli", "run", "toy", "--data", plan, "--workers", 1, "--out", out]
    process = start(*command, "--fresh")
    wait_for_trials(2, plan, process)
    if by == "Ctrl-C":  # reaches the workers, too
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.terminate()
    code, _, errors = finish(process)
    assert (code, "Traceback" in errors) == (1, False), errors
    assert shlex.join(["ganlib", *map(str, command[1:])]) in errors
    wait_for(lambda: all(has_ended(pid) for pid, _ in read_log(plan)))
    go_file(plan).touch()
    assert set(statuses(run(plan, out, workers=1)).values()) == {"done"}
    assert names(read_log(plan)) == ["a", "b", "b", "c"]


def test_what_a_command_says_of_a_study(tmp_path):
    plan = write_plan(tmp_path / "plan.json", a={"epochs": 4, "seconds": 0.05}, b="fail", c="work")
    study = build(plan)
    assert "time left unknown" in describe(study, study_status(study, tmp_path), tmp_path)
    for name in "ab":
        local.run(study.select(name), tmp_path, show=False)
    found = describe(study, study_status(study, tmp_path), tmp_path)  # 4 epochs of half a second
    assert "1 done, 1 failed, 1 to do; time left about 0:00:02.\nprocessors " in found


TRIALS = 24
MISFORTUNES = 3 * ("all processes", "parent", "worker", "full disk")


def finished(study, out):
    begun = collections.Counter(trial_id for _, trial_id in read_log(study.spec))
    found = {}
    for trial in study.trials:
        path = run_folder(study, trial, out)
        if result := Run(path).finished():
            found[trial.id] = result, (path / "result.json").stat().st_mtime_ns, begun[trial.id]
    return found


def strike(misfortune, process, plan, rng):
    if misfortune == "all processes":
        os.killpg(process.pid, signal.SIGKILL)
    elif misfortune == "parent":  # the workers have to notice, and end
        process.kill()
    elif misfortune == "worker":
        pids = {pid for pid, _ in read_log(plan)}
        if alive := sorted(pid for pid in pids if not has_ended(pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(alive), signal.SIGKILL)
    else:
        full_file(plan).touch()
        time.sleep(rng.uniform(0, 0.3))
        full_file(plan).unlink()
    if misfortune in ("all processes", "parent"):
        finish(process)
        wait_for(lambda: all(has_ended(pid) for pid, _ in read_log(plan)))


def test_misfortunes_change_nothing(tmp_path, start, monkeypatch):
    trials = {f"t{i}": {"seconds": 0.2} for i in range(TRIALS)}
    plan, out, rng = write_plan(tmp_path / "p.json", **trials), tmp_path / "out", random.Random(0)
    study, process, before = build(plan), None, {}
    for misfortune in rng.sample(MISFORTUNES, len(MISFORTUNES)):
        begun = len(read_log(plan))
        if process is None or process.poll() is not None:  # a full disk ends a study soon
            process = start("run", plan, out, 2)
        wait_for(lambda: len(read_log(plan)) > begun or process.poll() is not None)  # noqa: B023
        time.sleep(rng.uniform(0, 0.5))
        if process.poll() is None:
            strike(misfortune, process, plan, rng)
        now = finished(study, out)
        assert before == {trial_id: now.get(trial_id) for trial_id in before}
        before = now
    assert 0 < len(before) < TRIALS  # the misfortunes came while there was work
    finish(process)
    code, _, errors = finish(start("run", plan, out, 2))
    assert code == 0, errors
    after = finished(study, out)
    assert before == {trial_id: after[trial_id] for trial_id in before}
    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", lambda seconds: None)
        undisturbed = local.run(study, tmp_path / "undisturbed", show=False)
    assert comparable(result for result, _, _ in after.values()) == comparable(undisturbed)
    assert not list(out.rglob(".writing-*"))
