"""The Ray engine: nodes that are lost or join, processes that die, and a change of engines."""

import concurrent.futures
import contextlib
import json
import os
import shlex
import signal
import sys
import tempfile

import psutil
import pytest
from helpers import TESTS
from test_engines import comparable, finish, has_ended, names, start, wait_for_trials  # noqa: F401
from toy_study import PATIENCE_SECONDS, build, go_file, read_log, wait_for, write_plan

from ganlib.experiment import local
from ganlib.experiment import ray as cluster
from ganlib.experiment.progress import Progress
from ganlib.experiment.study import Run, StudyError, read_json, run_folder

ray = pytest.importorskip("ray")
from ray.cluster_utils import Cluster  # noqa: E402

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@pytest.fixture(autouse=True, scope="module")
def paths():
    """Short ones for Ray, since that of a socket has at most 107 characters, and ours for it."""
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder,
    ):
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_AUTH_MODE", "disabled")  # or it leaves a token in the home folder
        patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS.parent), str(TESTS)]))
        patch.setattr(local, "POLL_SECONDS", 0.05)
        patch.setattr(cluster, "POLL_SECONDS", 0.05)
        yield


@pytest.fixture(scope="module")
def head(paths):
    """A cluster of one node with one core; tests add others. It leaves no process behind."""
    before = set(psutil.Process().children(recursive=True))
    made = Cluster(
        initialize_head=True,
        head_node_args={**NODE, "include_dashboard": False},
    )
    started = set(psutil.Process().children(recursive=True)) - before
    yield made
    made.shutdown()
    assert not psutil.wait_procs(started, timeout=PATIENCE_SECONDS)[1]


@contextlib.contextmanager
def another(head):
    """One node more, until it is killed or the test ends."""
    node = head.add_node(**NODE)
    try:
        yield node
    finally:
        if node in head.worker_nodes:
            head.remove_node(node)


def run(plan, out, **options):
    return cluster.run(build(data=str(plan)), out, show=False, **options)


# -- nodes ---------------------------------------------------------------------------------------


def test_a_node_that_joins_gets_work(tmp_path, head):
    plan = write_plan(tmp_path / "plan.json", **dict.fromkeys("abc", "meet"))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        study = pool.submit(run, plan, tmp_path, address=head.address)
        wait_for(lambda: read_log(plan) or study.done())
        with another(head):  # which only the main thread can start
            results = study.result()
    assert [result["status"] for result in results] == ["done"] * 3
    assert sorted(names(read_log(plan))) == list("abc")
    assert len({pid for pid, _ in read_log(plan)}) == 2


def test_a_study_changes_engines(tmp_path, head, monkeypatch):
    monkeypatch.chdir(tmp_path)  # data and runs are relative to it
    write_plan("plan.json", a="work", b="fail once", c="work", d="fail")
    study = build(data="plan.json")
    first = local.run(study, "runs", show=False)
    assert [result["status"] for result in first] == ["done", "failed", "done", "failed"]
    second = cluster.run(study, "runs", address=head.address, show=False)
    assert [result["status"] for result in second] == ["done", "done", "done", "failed"]
    third = local.run(study, "runs", show=False)
    assert comparable(third) == comparable(second)
    assert names(read_log("plan.json")) == [*"abcd", *"bd", "d"]
    here = os.getpid()
    assert [pid == here for pid, _ in read_log("plan.json")] == [True] * 4 + [False] * 2 + [True]


def test_a_trial_that_another_process_has_is_waited_for(tmp_path, head, monkeypatch):
    plan = write_plan(tmp_path / "plan.json", a="work", b="work")
    study = build(data=str(plan))
    later = cluster.Queue.later
    lock = Run(run_folder(study, study.trials[0], tmp_path)).lock()

    def let_go(queue, trial, seconds):
        assert trial.name == "a"
        if lock.is_locked:
            assert names(read_log(plan)) == []
        else:
            pytest.fail("the trial was free")
        lock.release()
        later(queue, trial, seconds)

    monkeypatch.setattr(cluster.Queue, "later", let_go)
    with lock:
        results = run(plan, tmp_path, address=head.address)
    assert [result["status"] for result in results] == ["done"] * 2
    assert sorted(names(read_log(plan))) == ["a", "b"]


# -- processes -----------------------------------------------------------------------------------


def test_processes_that_die_or_are_exhausted(tmp_path, head):
    trials = {"a1": "work", "a2": "work", "b": "grow", "c1": "out of memory", "c2": "work"}
    plan = write_plan(tmp_path / "plan.json", **trials, d="die", e="work")
    results = run(plan, tmp_path, address=head.address, memory_limit=2**28)
    status = {result["name"]: result["status"] for result in results}
    no_memory = dict.fromkeys(("c1", "c2"), "out-of-memory")
    assert status == {**dict.fromkeys(status, "done"), **no_memory, "d": "failed"}
    assert names(read_log(plan)) == ["a1", "a2", "b", "c1", "d", "d", "e"]
    a1, a2, b, c1, d, d_again, e = (pid for pid, _ in read_log(plan))
    assert a1 == a2 == b  # imported and compiled once
    assert len({b, c1, d, d_again, e}) == 5
    error = next(result["error"] for result in results if result["name"] == "d")
    log = tmp_path / "toy" / "ray.log"
    assert error == f"The trial's process died 2 times; see {log}."
    assert "Worker PID" in log.read_text(encoding="utf-8")


def test_progress_shows_the_epochs_of_running_trials(tmp_path, head, monkeypatch):
    plan = write_plan(tmp_path / "plan.json", a={"action": "history", "epochs": 5, "seconds": 0.3})
    seen = []
    monkeypatch.setattr(Progress, "epoch", lambda self, trial, epoch: seen.append(epoch))
    run(plan, tmp_path, address=head.address)
    assert seen == sorted(seen)
    assert {1, 2, 3, 4, 5} <= set(seen)


# -- refusals ------------------------------------------------------------------------------------


def test_all_nodes_must_share_the_folder(tmp_path, head, monkeypatch):
    plan = write_plan(tmp_path / "plan.json", a="work")
    make = cluster.task.Job
    # A node of which the file is another.
    monkeypatch.setattr(cluster.task, "Job", lambda **fields: make(**{**fields, "token": "none"}))
    with pytest.raises(StudyError, match=r"Node .* does not share the folder .* all nodes have"):
        run(plan, tmp_path, address=head.address)
    assert read_log(plan) == []


def test_all_nodes_must_have_the_same_data(tmp_path, head):
    plan = write_plan(tmp_path / "plan.json", a="work")
    study = build(data=str(plan))
    write_plan(plan, checksum="d" * 64, a="work")
    with pytest.raises(
        StudyError, match=r"Node .* has other data \(checksum dddddddddddd…, here c"
    ):
        cluster.run(study, tmp_path, address=head.address, show=False)
    assert read_log(plan) == []


def test_no_node_is_large_enough(tmp_path, head):
    plan = write_plan(tmp_path / "plan.json", a="work")
    with pytest.raises(StudyError, match="asks for, 1 processor cores and 2 GPUs: ask for less"):
        run(plan, tmp_path, address=head.address, gpus=2)


@pytest.mark.parametrize("address", ["localhost:1", "localhost", "ray://localhost:1"])
def test_a_cluster_that_does_not_answer(tmp_path, address):
    plan = write_plan(tmp_path / "plan.json", a="work")
    with pytest.raises(StudyError, match=f"The Ray cluster at '{address}' can't be joined: .*head"):
        run(plan, tmp_path, address=address)


def test_ray_is_not_installed(tmp_path, monkeypatch):
    plan = write_plan(tmp_path / "plan.json", a="work")
    monkeypatch.setitem(sys.modules, "ray", None)  # importing it fails
    with pytest.raises(StudyError, match=r"Ray is not installed: pip install 'ganlib\[ray\]'"):
        run(plan, tmp_path)


@pytest.mark.parametrize(
    ("cpus", "gpus", "devices", "message"),
    [
        (0, None, 1, "cpus=0"),
        (1, -0.5, 1, "gpus=-0.5"),
        (1, 1.5, 1, "gpus=1.5"),
        (1, 1, 2, "devices=2, gpus=1"),
    ],
)
def test_resources_that_do_not_go_together(cpus, gpus, devices, message):
    with pytest.raises(ValueError, match=message):
        cluster.check_resources(cpus, gpus, devices)


@pytest.mark.parametrize(
    ("has", "cpus", "gpus", "places"),
    [
        ({"CPU": 8.0}, 1, 0, 8),
        ({"CPU": 8.0}, 3, 0, 2),
        ({"CPU": 8.0}, 1, 1, 0),
        ({"CPU": 8.0, "GPU": 2.0}, 1, 1, 2),
        ({"CPU": 8.0, "GPU": 2.0}, 1, 0.3, 6),
        ({"CPU": 8.0, "GPU": 3.0}, 1, 2, 1),
        ({"CPU": 4.0, "GPU": 2.0}, 2, 0.1, 2),
        ({"memory": 1e9}, 1, 0, 0),
    ],
)
def test_places_of_a_node(has, cpus, gpus, places):
    assert cluster._places({"Alive": True, "Resources": has}, cpus, gpus) == places
    assert cluster._places({"Alive": False, "Resources": has}, cpus, gpus) == 0


# -- the command ---------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["Ctrl-C", "SIGTERM", "SIGKILL"])
def test_the_command_goes_on_after(tmp_path, head, start, by):  # noqa: F811
    plan = write_plan(tmp_path / "plan.json", a="hang", b="fail once")
    places = ["--data", plan, "--out", tmp_path / "runs", "--reports", tmp_path / "reports"]
    command = ["cli", "run", "toy", *places, "--engine", "ray"]
    if by != "Ctrl-C":  # that is tried on a cluster of the command's own
        command += ["--address", head.address]
    process = start(*command)
    wait_for_trials(1, plan, process)
    family = psutil.Process(process.pid).children(recursive=True)
    if by == "Ctrl-C":  # reaches Ray's processes, too
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGTERM if by == "SIGTERM" else signal.SIGKILL)
    code, _, errors = finish(process)
    if by == "SIGKILL":
        assert code == -signal.SIGKILL
    else:
        assert code == 1
        assert "Traceback" not in errors
        assert errors.splitlines()[-1].strip() == shlex.join(["ganlib", *map(str, command[1:])])
    assert bool(family) == (by == "Ctrl-C")
    pids = [pid for pid, _ in read_log(plan)] + [member.pid for member in family]
    wait_for(lambda: all(map(has_ended, pids)))
    go_file(plan).touch()
    if by == "SIGKILL":
        code, output, errors = finish(start(*command, "--json"))
        assert code == 1
        assert [result["status"] for result in json.loads(output)] == ["done", "failed"]
        assert "failed: ValueError: told to fail" in errors
    results = run(plan, tmp_path / "runs", address=head.address)
    assert results[0]["status"] == "done"
    assert names(read_log(plan))[:3] == ["a", "a", "b"]


# -- at last, for Ray needs a while to give a node up ---------------------------------------------


def test_a_lost_node_loses_no_trial(tmp_path, head):
    trials = {"a": "hang", "b": "hang", **dict.fromkeys("cdefgh", "work")}
    plan = write_plan(tmp_path / "plan.json", **trials)
    with another(head) as node, concurrent.futures.ThreadPoolExecutor() as pool:
        study = pool.submit(run, plan, tmp_path, address=head.address)
        wait_for(lambda: len(read_log(plan)) == 2 or study.done())  # a node each
        head.remove_node(node, allow_graceful=False)
        wait_for(lambda: any(has_ended(pid) for pid, _ in read_log(plan)))
        go_file(plan).touch()
        results = study.result()
    assert [result["status"] for result in results] == ["done"] * 8
    began = names(read_log(plan))
    assert set(began[:2]) == {"a", "b"}
    lost = sorted(began[2:])  # what began again is the lost node's trial, and that alone
    assert lost in ([x, *"cdefgh"] for x in "ab")
    undisturbed = local.run(build(data=str(plan)), tmp_path / "undisturbed", show=False)
    assert comparable(results) == comparable(undisturbed)
    for result in results:
        written = read_json(tmp_path / "toy" / result["id"] / "result.json")
        assert comparable([written]) == comparable([result])
