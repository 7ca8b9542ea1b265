"""The Ray engine: nodes that are lost, processes that die, and a change of engines."""

import concurrent.futures
import os
import pathlib
import signal
import sys
import tempfile

import psutil
import pytest
from helpers import TESTS
from test_engines import comparable, finish, has_ended, names, start, statuses, wait_for_trials  # noqa: F401
from toy_study import PATIENCE_SECONDS, build, go_file, read_log, wait_for, write_plan

from ganlib.experiment import local
from ganlib.experiment import ray as cluster
from ganlib.experiment.machine import StudyError

pytest.importorskip("ray")
from ray.cluster_utils import Cluster

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
    made = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    started = set(psutil.Process().children(recursive=True)) - before
    yield made
    made.shutdown()
    assert not psutil.wait_procs(started, timeout=PATIENCE_SECONDS)[1]


def run(plan, out, **options):
    return cluster.run(build(plan), out, show=False, **options)


def test_a_study_changes_engines(tmp_path, head, monkeypatch):
    monkeypatch.chdir(tmp_path)  # data and runs are relative to it
    write_plan(pathlib.Path("plan.json"), a="work", b="fail once", c="work", d="fail")
    study = build("plan.json")
    first = local.run(study, "runs", show=False)
    assert [result["status"] for result in first] == ["done", "failed", "done", "failed"]
    second = cluster.run(study, "runs", address=head.address, show=False)
    assert [result["status"] for result in second] == ["done", "done", "done", "failed"]
    assert comparable(local.run(study, "runs", show=False)) == comparable(second)
    assert names(read_log("plan.json")) == [*"abcd", *"bd", "d"]


def test_processes_that_die_or_are_exhausted(tmp_path, head, monkeypatch):
    monkeypatch.setattr(cluster, "RETRIES", 1)
    trials = {"a1": "work", "b": "die once", "a2": "work", "c1": "out of memory", "c2": "work"}
    plan = write_plan(tmp_path / "plan.json", **trials, d="die")
    found = run(plan, tmp_path, address=head.address)
    no_memory = dict.fromkeys(("c1", "c2"), "out-of-memory")
    assert statuses(found) == {**dict.fromkeys(statuses(found), "done"), **no_memory, "d": "failed"}
    began = names(read_log(plan))
    assert began[:2] == ["a1", "a2"]
    assert sorted(began) == ["a1", "a2", "b", "b", "c1", "d", "d"]
    (error,) = (result["error"] for result in found if result["name"] == "d")
    assert error.startswith("Its process or node was lost 2 times: ")
    loaded = [pid for pid, _ in read_log(plan, loaded=True)]
    assert len(loaded) == len(set(loaded))  # once in a process


def test_nodes_that_can_not_do_it(tmp_path, head, monkeypatch):
    plan = write_plan(tmp_path / "plan.json", a="work")
    study = build(plan)
    assert study.trials
    write_plan(plan, checksum="d" * 64, a="work")
    with pytest.raises(StudyError, match=r"On node .*: There is no such trial with these data"):
        cluster.run(study, tmp_path, address=head.address, show=False)
    with pytest.raises(StudyError, match="No node has 1 cores and 2 GPUs"):
        run(plan, tmp_path, address=head.address, gpus=2)
    monkeypatch.setattr(cluster, "run_folder", lambda *_: tmp_path / "here")  # nodes look elsewhere
    with pytest.raises(StudyError, match=r"Node .* does not share the folder"):
        run(plan, tmp_path, address=head.address)
    assert read_log(plan) == []


def test_what_ray_can_not_do(tmp_path, monkeypatch):
    plan = write_plan(tmp_path / "plan.json", a="work")
    for options in ({"cpus": 0}, {"gpus": -0.5}, {"gpus": 1.5}, {"gpus": 1, "devices": 2}):
        with pytest.raises(ValueError, match=f"{list(options)[-1]}="):
            run(plan, tmp_path, **options)
    monkeypatch.setitem(sys.modules, "ray", None)  # importing it fails
    with pytest.raises(StudyError, match=r"Ray is not installed: pip install 'ganlib\[ray\]'"):
        run(plan, tmp_path)


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
def test_the_command_goes_on_after(tmp_path, head, start, by):  # noqa: F811
    plan = write_plan(tmp_path / "plan.json", a="hang", b="work")
    places = ["--data", plan, "--out", tmp_path / "runs", "--reports", tmp_path / "reports"]
    process = start("cli", "run", "toy", *places, "--engine", "ray", "--address", head.address)
    wait_for_trials(1, plan, process)
    process.send_signal(by)
    code, output, errors = finish(process)
    assert (code, output) == (1 if by == signal.SIGTERM else -by, ""), errors
    assert "Traceback" not in errors
    wait_for(lambda: all(has_ended(pid) for pid, _ in read_log(plan)))
    go_file(plan).touch()
    found = run(plan, tmp_path / "runs", address=head.address)
    assert statuses(found) == {"a": "done", "b": "done"}
    assert names(read_log(plan)) == ["a", "a", "b"]


def test_a_lost_node_loses_no_trial(tmp_path, head):  # the last: Ray needs a while to give it up
    plan = write_plan(tmp_path / "plan.json", a="hang", b="hang", c="work", d="work")
    node = head.add_node(**NODE)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        study = pool.submit(run, plan, tmp_path, address=head.address)
        wait_for(lambda: len(read_log(plan)) == 2 or study.done())  # a node each
        head.remove_node(node, allow_graceful=False)
        wait_for(lambda: any(has_ended(pid) for pid, _ in read_log(plan)))
        go_file(plan).touch()
        found = study.result()
    assert set(statuses(found).values()) == {"done"}
    # What began again is the lost node's trial, and that alone.
    assert sorted(names(read_log(plan))) in (list("aabcd"), list("abbcd"))
    undisturbed = local.run(build(plan), tmp_path / "undisturbed", show=False)
    assert comparable(found) == comparable(undisturbed)
