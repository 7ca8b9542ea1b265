"""Worker processes: what dies, grows, hangs or is interrupted, and what is left then."""

import contextlib
import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys

import psutil
import pytest
from helpers import TESTS
from toy_study import PATIENCE_SECONDS, build, go_file, read_log, wait_for, write_plan

from ganlib.data import DataError
from ganlib.experiment import local, machine
from ganlib.experiment.order import Queue
from ganlib.experiment.status import describe, study_status, summary
from ganlib.experiment.study import Run, StudyError, read_json, run_folder

TRIALS = {"a": "work", "b": {"epochs": 4}, "c": "work"}


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch):
    monkeypatch.setattr(local, "POLL_SECONDS", 0.05)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS.parent), str(TESTS)]))


def run(plan, out, **options):
    return local.run(build(data=str(plan)), out, show=False, **options)


@pytest.fixture
def start():
    """Starts the toy's own command line, leader of a process group that does not outlive a test."""
    processes = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, str(TESTS / "toy_study.py"), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
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
    """Waits for its end; returns the exit code and what it wrote."""
    output, errors = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, output, errors


def wait_for_trials(n, plan, process):
    """Returns once n trials have begun; fails if the process ends before."""
    wait_for(lambda: len(read_log(plan)) == n or process.poll() is not None)
    assert process.poll() is None, process.communicate()


def comparable(results):
    """The results without the seconds and the environment, by trial."""
    found = {r["id"]: {k: r[k] for k in r if k not in ("seconds", "environment")} for r in results}
    for result in found.values():
        metrics = result.get("metrics", {})
        result["metrics"] = {k: metrics[k] for k in metrics if k != "seconds_per_epoch"}
    return found


def names(pairs):
    return [trial.partition("-")[0] for _, trial in pairs]


def has_ended(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# -- results -------------------------------------------------------------------------------------


def test_workers_change_nothing(tmp_path):
    plan = write_plan(tmp_path / "plan.json", seeds=2, **TRIALS)
    here = run(plan, tmp_path / "here")
    workers = run(plan, tmp_path / "workers", workers=2)
    assert [r["id"] for r in workers] == [trial.id for trial in build(data=str(plan)).trials]
    assert comparable(workers) == comparable(here)
    for result in here:
        files = [
            read_json(tmp_path / out / "toy" / result["id"] / "result.json")
            for out in ("here", "workers")
        ]
        assert comparable(files[:1]) == comparable(files[1:]) == comparable([result])
    here, there = sorted(names(read_log(plan))[:6]), sorted(names(read_log(plan))[6:])
    assert here == there == ["a", "a", "b", "b", "c", "c"]


@pytest.mark.parametrize(
    ("count", "accelerator", "workers"),
    [(1, False, 0), (3, False, 3), (99, False, local.MOST_WORKERS), (3, True, 0)],
)
def test_workers_suit_the_machine(monkeypatch, count, accelerator, workers):
    monkeypatch.setattr(local, "cores", lambda: count)
    monkeypatch.setattr(local, "has_accelerator", lambda: accelerator)
    assert local.default_workers() == workers


def test_cores_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert machine.cores() == 1


def test_finished_trials_need_no_worker(tmp_path, monkeypatch):
    plan = write_plan(tmp_path / "plan.json", **TRIALS)
    first = run(plan, tmp_path)
    monkeypatch.setattr(local._Pool, "_start", None)  # calling it would raise
    assert run(plan, tmp_path, workers=2) == first
    assert len(read_log(plan)) == 3


def test_fresh_begins_again(tmp_path):
    plan = write_plan(tmp_path / "plan.json", **TRIALS)
    run(plan, tmp_path)
    folder = run_folder(build(data=str(plan)), build(data=str(plan)).trials[0], tmp_path)
    (folder / "samples").mkdir()
    run(plan, tmp_path, fresh=True)
    assert len(read_log(plan)) == 6
    assert not (folder / "samples").exists()


def test_fresh_with_bad_data_deletes_nothing(tmp_path):
    plan = write_plan(tmp_path / "plan.json", a="work")
    first = run(plan, tmp_path)

    def load_data():
        raise DataError("no data")

    study = dataclasses.replace(build(data=str(plan)), load_data=load_data)
    with pytest.raises(DataError, match="no data"):
        local.run(study, tmp_path, fresh=True, show=False)
    assert run(plan, tmp_path) == first


def test_fresh_leaves_a_running_trial_alone(tmp_path):
    plan = write_plan(tmp_path / "plan.json", a="work")
    run(plan, tmp_path)
    folder = run_folder(build(data=str(plan)), build(data=str(plan)).trials[0], tmp_path)
    with Run(folder).lock(), pytest.raises(StudyError, match="Another process is at work in"):
        run(plan, tmp_path, fresh=True)
    assert read_json(folder / "result.json")["status"] == "done"


@pytest.mark.parametrize("workers", [0, 1])
def test_other_data_stop_the_study_before_any_training(tmp_path, workers):
    run(write_plan(tmp_path / "plan.json", b="work"), tmp_path)
    plan = write_plan(tmp_path / "plan.json", checksum="d" * 64, a="work", b="work")
    with pytest.raises(StudyError, match="made from other data"):
        run(plan, tmp_path, workers=workers)
    assert names(read_log(plan)) == ["b"]


# -- workers that die or grow --------------------------------------------------------------------


def test_a_worker_that_dies_loses_its_trial_alone(tmp_path):
    plan = write_plan(tmp_path / "plan.json", a="work", b="die once", c="die", d="fail", e="work")
    results = {r["name"]: r for r in run(plan, tmp_path, workers=2)}
    status = {name: result["status"] for name, result in results.items()}
    assert status == {"a": "done", "b": "done", "c": "failed", "d": "failed", "e": "done"}
    assert sorted(names(read_log(plan))) == ["a", "b", "b", "c", "c", "d", "e"]
    pids = {pid for pid, _ in read_log(plan)}
    assert len(pids) >= 4  # three were killed
    assert results["c"]["error"].startswith("The worker process died 2 times; see ")
    assert results["d"]["error"] == "ValueError: told to fail"
    # As for any failure: recorded, shown, and tried again by the next command.
    rows = study_status(build(data=str(plan)), tmp_path)
    assert [row["status"] for row in rows] == list(status.values())
    run(plan, tmp_path, workers=1)
    assert sorted(names(read_log(plan))[7:]) == ["c", "c", "d"]


def test_an_older_failure_does_not_hide_a_death(tmp_path):
    plan = write_plan(tmp_path / "plan.json", a="die")
    study = build(data=str(plan))
    folder = run_folder(study, study.trials[0], tmp_path)
    folder.mkdir(parents=True)
    (folder / "result.json").write_text('{"status": "failed", "error": "an older one"}')
    (result,) = run(plan, tmp_path, workers=1)
    assert "died 2 times" in result["error"]


def test_a_worker_that_grows_is_replaced(tmp_path):
    plan = write_plan(tmp_path / "plan.json", a="work", b="work", c="grow", d="work")
    results = run(plan, tmp_path, workers=1, memory_limit=2**28)
    assert [result["status"] for result in results] == ["done"] * 4
    a, b, c, d = (pid for pid, _ in read_log(plan))
    assert a == b == c != d
    assert has_ended(c)


def test_a_worker_that_dies_in_the_middle_of_a_line(monkeypatch):
    script = "print('{\"event\": \"epoch\"}', flush=True); print('{\"eve', end='', flush=True)"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    worker = local._Worker(process)
    pool = local._Pool.__new__(local._Pool)
    pool.events = local.queue.SimpleQueue()
    pool._listen(worker)
    events = [pool.events.get(timeout=1)[1]["event"] for _ in range(2)]
    assert events == ["epoch", "died"]
    process.stdin.close()
    process.wait()


# -- processes that are killed, or two at once ---------------------------------------------------


def test_two_processes_share_a_study(tmp_path, start):
    trials = dict.fromkeys("abcdef", "meet")
    plan = write_plan(tmp_path / "plan.json", **trials)
    processes = [start("run", plan, tmp_path, 0), start("run", plan, tmp_path, 1)]
    ended = [finish(process) for process in processes]
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert sorted(names(read_log(plan))) == list("abcdef")
    assert len({pid for pid, _ in read_log(plan)}) == 2
    first, second = (json.loads(output) for _, output, _ in ended)
    assert comparable(first) == comparable(second)
    assert [result["status"] for result in first] == ["done"] * 6


def test_workers_do_not_outlive_a_killed_parent(tmp_path, start):
    plan = write_plan(tmp_path / "plan.json", a="hang", b="hang", c="work")
    process = start("run", plan, tmp_path, 2)
    wait_for_trials(2, plan, process)
    study = build(data=str(plan))
    assert [row["status"] for row in study_status(study, tmp_path)] == ["running"] * 2 + ["to do"]
    process.kill()
    finish(process)
    workers = {pid for pid, _ in read_log(plan)}
    assert len(workers) == 2
    wait_for(lambda: all(map(has_ended, workers)))
    assert [row["status"] for row in study_status(study, tmp_path)] == ["to do"] * 3
    go_file(plan).touch()
    assert [result["status"] for result in run(plan, tmp_path)] == ["done"] * 3


@pytest.mark.parametrize("by", ["Ctrl-C", "SIGTERM"])
def test_an_interrupted_command_says_how_to_resume(tmp_path, start, by):
    plan = write_plan(tmp_path / "plan.json", a="work", b="hang", c="work")
    out = tmp_path / "all runs"  # a space, which the shell must not see
    options = ["--data", plan, "--workers", 1, "--out", out, "--reports", tmp_path / "reports"]
    command = ["cli", "run", "toy", *options]
    process = start(*command, "--fresh")
    wait_for_trials(2, plan, process)
    if by == "Ctrl-C":  # reaches the workers, too
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.terminate()
    code, _, errors = finish(process)
    assert code == 1
    assert "Traceback" not in errors
    resume = ["ganlib", *map(str, command[1:])]
    assert errors.splitlines()[-1].strip() == shlex.join(resume)
    wait_for(lambda: all(has_ended(pid) for pid, _ in read_log(plan)))
    go_file(plan).touch()
    code, output, errors = finish(start(*command))
    assert code == 0, errors
    assert output == f"Report: {tmp_path / 'reports' / 'toy'}\n"
    assert names(read_log(plan)) == ["a", "b", "b", "c"]
    rows = study_status(build(data=str(plan)), out)
    assert [row["status"] for row in rows] == ["done"] * 3


def test_a_command_with_failures_exits_with_1(tmp_path, start):
    plan = write_plan(tmp_path / "plan.json", a="work", b="fail", c="out of memory")
    options = ["--data", plan, "--workers", 2, "--out", tmp_path, "--reports", tmp_path, "--json"]
    code, output, errors = finish(start("cli", "run", "toy", *options))
    assert code == 1
    assert [result["status"] for result in json.loads(output)] == [
        "done",
        "failed",
        "out-of-memory",
    ]
    for message in ("failed: ValueError: told to fail", "out-of-memory: MemoryError: told to"):
        assert message in errors
    assert "Report: " in errors  # of the trial that is done


# -- shapes --------------------------------------------------------------------------------------


def test_a_worker_keeps_to_the_shape_it_has_compiled(tmp_path):
    names = ("a1", "b1", "c1", "a2", "b2", "c2")
    pending = Queue(
        build(data=str(write_plan(tmp_path / "plan.json", **dict.fromkeys(names, "work"))))
    )
    one = pending.next()
    two = pending.next(None, [one])
    assert (one.name, two.name) == ("a1", "b1")
    one = pending.next(one, [two])
    two = pending.next(two, [one])
    assert (one.name, two.name) == ("a2", "b2")
    one = pending.next(one, [two])
    assert one.name == "c1"
    # Nothing is left but the other's shape: better that than to be idle.
    assert pending.next(two, [one]).name == "c2"
    assert not pending
    assert pending.next(two, [one]) is None


def test_a_trial_that_another_process_has_waits(tmp_path):
    pending = Queue(build(data=str(write_plan(tmp_path / "plan.json", a="work", b="work"))))
    first = pending.next()
    pending.later(first, 0.05)
    assert pending.next().name == "b"
    assert pending.next() is None
    wait_for(lambda: pending.next() is first)


@pytest.mark.parametrize("workers", [0, 2])
def test_out_of_memory_is_not_tried_again_at_the_same_size(tmp_path, workers):
    # With nothing else left a worker takes a2 while a1 still runs, so b1 takes longer than a1.
    longer = {"action": "meet" if workers else "work", "epochs": 1, "seconds": 1}
    plan = write_plan(tmp_path / "plan.json", a1="out of memory", a2="work", b1=longer)
    study = build(data=str(plan))
    results = {r["name"]: r for r in local.run(study, tmp_path, workers=workers, show=False)}
    statuses = {name: result["status"] for name, result in results.items()}
    assert statuses == {"a1": "out-of-memory", "a2": "out-of-memory", "b1": "done"}
    assert "a1-seed0" in results["a2"]["error"]
    local.run(study, tmp_path, workers=workers, show=False)
    assert sorted(names(read_log(plan))) == ["a1", "b1"]


def test_out_of_memory_needs_a_fresh_worker(tmp_path):
    plan = write_plan(tmp_path / "plan.json", a="out of memory", b="work", c="work")
    run(plan, tmp_path, workers=1)
    (a, _), (b, _), (c, _) = read_log(plan)
    assert a != b
    assert b == c


def test_what_a_command_says_of_a_study(tmp_path):
    plan = write_plan(tmp_path / "plan.json", a={"epochs": 4, "seconds": 0.05}, b="fail", c="work")
    study = build(data=str(plan))
    rows = study_status(study, tmp_path)
    assert summary(study, rows, tmp_path)["seconds_left"] is None
    only = dataclasses.replace(study, trials=study.trials[:2])
    local.run(only, tmp_path, show=False)
    found = summary(study, study_status(study, tmp_path), tmp_path)
    assert found["counts"] == {"done": 1, "failed": 1, "to do": 1}
    assert "1 done, 1 failed, 1 to do; time left" in describe(found)
    assert "GiB" in describe(found)
