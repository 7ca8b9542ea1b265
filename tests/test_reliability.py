"""What may befall any study: the disk, the clock, the memory, other users, and signals."""

import errno
import json
import os
import signal
import sys
import time

import filelock
import pytest
import toy_study
from helpers import TESTS
from test_engines import comparable, finish, names, start, wait_for_trials  # noqa: F401
from toy_study import build, go_file, read_log, wait_for, write_plan

from ganlib import __main__ as command_line
from ganlib import studies
from ganlib.experiment import faults, local, study
from ganlib.experiment import fit as training
from ganlib.experiment.progress import Progress
from ganlib.experiment.status import study_status, summary
from ganlib.experiment.study import Run, StudyError, read_json, run_folder, run_trial

DAY = 24 * 3600.0
YEAR = 365 * DAY


class ResourceExhaustedError(Exception):
    """TensorFlow's, by name."""


class XlaRuntimeError(RuntimeError):
    """JAX', by name."""


class OutOfMemoryError(RuntimeError):
    """torch's, by name."""


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch):
    monkeypatch.setattr(local, "POLL_SECONDS", 0.05)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS.parent), str(TESTS)]))


@pytest.fixture
def ganlib(monkeypatch, capsys, tmp_path):
    """`ganlib(command, plan, *arguments)` with the toy: `(exit code, output, errors)`."""

    def ganlib(command, plan, *arguments):
        toy = build(data=str(plan))
        monkeypatch.setattr(command_line, "_study", lambda *_, **__: toy)
        folders = ["--out", tmp_path / "out"]
        folders += ["--reports", tmp_path / "reports"] if command != "status" else []
        words = ["ganlib", command, "toy", *folders, *arguments]
        monkeypatch.setattr(sys, "argv", list(map(str, words)))
        monkeypatch.setattr(local, "default_workers", lambda: 0)
        monkeypatch.setattr(studies, "report_module", lambda name: toy_study)
        with pytest.raises(SystemExit) as end:
            command_line.main()
        return end.value.code or 0, *capsys.readouterr()

    before = signal.getsignal(signal.SIGTERM)
    yield ganlib
    signal.signal(signal.SIGTERM, before)  # `run` takes it as Ctrl-C


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# -- disks ---------------------------------------------------------------------------------------


def test_a_disk_that_is_full_for_the_history_keeps_the_checkpoint(tmp_path, monkeypatch):
    toy = build(data=str(write_plan(tmp_path / "plan.json", a={"action": "gan", "epochs": 2})))
    write, epochs = training.write_atomically, []

    def once_full(path, text):
        return full() if path.name == "history.csv" else write(path, text)

    def run():
        (trial,) = toy.trials
        return run_trial(toy, trial, toy.load_data(), tmp_path, lambda e, _: epochs.append(e))

    with monkeypatch.context() as patch:
        patch.setattr(training, "write_atomically", once_full)
        assert faults.free_space() in run()["error"]
    assert (run()["status"], epochs) == ("done", [2])  # the first was not trained again


def test_a_disk_that_is_full_for_the_lock(tmp_path, ganlib, monkeypatch):
    plan = write_plan(tmp_path / "plan.json", a="work")
    opened = study.pathlib.Path.open

    def full_for_locks(path, *arguments, **options):
        return full() if path.name == ".lock" else opened(path, *arguments, **options)

    monkeypatch.setattr(study.pathlib.Path, "open", full_for_locks)
    code, _, errors = ganlib("run", plan)
    assert code == 2
    assert ".lock can't be opened: No space left on device" in errors
    assert "--out" in errors


@pytest.mark.parametrize("option", ["--out", "--reports"])
@pytest.mark.parametrize("fault", ["a file", errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_can_not_be_written_is_told_before_any_work(
    tmp_path, ganlib, monkeypatch, option, fault
):
    plan = write_plan(tmp_path / "plan.json", a="work")
    folder = tmp_path / option.strip("-")
    if fault == "a file":
        folder.write_text("in the way")
    else:
        folder.mkdir()
        opened = os.open

        def refusing(path, *arguments, **options):
            if str(path).startswith(str(folder)):
                raise OSError(fault, os.strerror(fault), path)
            return opened(path, *arguments, **options)

        monkeypatch.setattr(os, "open", refusing)
    code, output, errors = ganlib("run", plan)
    assert (code, output) == (2, "")
    (message,) = (line for line in errors.splitlines() if "toy:" not in line)
    assert f"{folder}" in message
    assert f"Give another folder with {option}" in message
    assert read_log(plan) == []
    assert not list(tmp_path.glob("*/*/*"))


# -- records -------------------------------------------------------------------------------------

GARBAGE = {
    "binary": b"\xff\x00\x9f",
    "empty": b"",
    "list": b"[1]",
    "status alone": b'{"status": "done"}',
    "NaN": b'{"status": "done", "seconds": NaN}',
    "a folder": None,
}


@pytest.mark.parametrize("garbage", list(GARBAGE))
def test_no_command_breaks_on_garbage(tmp_path, ganlib, garbage):
    plan = write_plan(tmp_path / "plan.json", a="work", b="work")
    assert ganlib("run", plan)[0] == 0
    toy = build(data=str(plan))
    for name in ("result.json", "trial.json"):
        path = run_folder(toy, toy.trials[0], tmp_path / "out") / name
        path.unlink(missing_ok=True)
        path.mkdir() if garbage == "a folder" else path.write_bytes(GARBAGE[garbage])
    code, output, _ = ganlib("status", plan, "--json")
    assert (code, [row["status"] for row in json.loads(output)]) == (0, ["to do", "done"])
    assert ganlib("status", plan)[0] == 0
    code, output, errors = ganlib("report", plan)
    assert (code, errors) == (0, ""), "the other trial is whole"
    code, output, errors = ganlib("run", plan, "--json")
    assert "Traceback" not in errors
    if garbage == "a folder":
        assert code == 2
        assert "result.json: Is a directory. Check the name and who may use it." in errors
        return
    assert (code, [r["status"] for r in json.loads(output)]) == (0, ["done"] * 2)
    assert names(read_log(plan)) == ["a", "b", "a"]


def test_a_spoilt_trial_json_does_not_hide_other_data(tmp_path):
    plan = write_plan(tmp_path / "plan.json", a="work")
    toy = build(data=str(plan))
    local.run(toy, tmp_path, show=False)
    (run_folder(toy, toy.trials[0], tmp_path) / "trial.json").write_text("{")
    other = build(data=str(write_plan(tmp_path / "plan.json", checksum="d" * 64, a="work")))
    with pytest.raises(StudyError, match="made from other data"):
        local.run(other, tmp_path, show=False)


# -- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        ResourceExhaustedError("OOM when allocating tensor with shape[64,256,256,64]"),
        XlaRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes."),
        XlaRuntimeError("INTERNAL: Failed to allocate 1073741824 bytes for new constant"),
        OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        MemoryError(),
    ],
    ids=lambda error: f"{type(error).__name__} {str(error)[:24]}",
)
def test_out_of_memory_has_a_remedy_and_spares_the_others(tmp_path, error):
    toy = build(data=str(write_plan(tmp_path / "plan.json", a="work", b="work")))
    first, _ = toy.trials

    def train(trial, data, run):
        if trial is first:
            raise error
        return {}

    object.__setattr__(toy, "train", train)
    found = local.run(toy, tmp_path, show=False)
    assert [result["status"] for result in found] == ["out-of-memory", "done"]
    assert f"{type(error).__name__}: " in found[0]["error"]
    assert "--set batch_size=… or fewer --workers" in found[0]["error"]
    assert f"--trials {first.id} --fresh" in found[0]["error"]


def test_a_full_disk_is_no_lack_of_memory():
    error = ResourceExhaustedError("runs/model; No space left on device")
    assert not faults.is_out_of_memory(error)
    assert "Free some space" in faults.describe(error, "a")


# -- signals -------------------------------------------------------------------------------------


def test_sigterm_to_a_training_says_how_to_resume_and_resumes_exactly(tmp_path, start):  # noqa: F811
    trial = {"action": "gan", "epochs": 6, "hold": True}
    plan = write_plan(tmp_path / "plan.json", a=trial)
    toy = build(data=str(plan))
    out = tmp_path / "out"
    folder = run_folder(toy, toy.trials[0], out)
    options = ["--data", plan, "--out", out, "--reports", tmp_path / "reports", "--workers", 1]
    process = start("cli", "run", "toy", *options)
    wait_for(lambda: (folder / "history.csv").exists() or process.poll() is not None)
    process.terminate()
    code, _, errors = finish(process)
    assert code == 1
    assert "Everything up to the last epoch is kept; resume with:" in errors
    assert "Traceback" not in errors
    assert not (folder / "result.json").exists()
    assert 0 < Run(folder).epochs_done() < 6
    go_file(plan).touch()
    here = comparable(local.run(toy, out, show=False))  # on as many threads: the toy is tiny
    assert here == comparable(local.run(toy, tmp_path / "undisturbed", show=False))


@pytest.mark.parametrize("moment", ["_study", "_report"])
def test_sigterm_before_and_after_the_training(tmp_path, ganlib, monkeypatch, moment):
    plan = write_plan(tmp_path / "plan.json", a="work")
    build_parser = command_line._local

    def strike(*_, **__):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)

    monkeypatch.setattr(command_line, "_local" if moment == "_study" else "_report", strike)
    code, _, errors = ganlib("run", plan)
    assert build_parser is not strike
    assert code == 1
    assert "resume with:\n  ganlib run toy --out" in errors


# -- clocks --------------------------------------------------------------------------------------


def test_a_clock_that_jumps_changes_nothing(tmp_path, monkeypatch, capsys):
    plan = write_plan(tmp_path / "plan.json", a={"action": "gan", "epochs": 4}, b="work")
    toy = build(data=str(plan))
    now, jumped = time.time, []
    jumps = (0.0, -DAY, YEAR, -DAY, YEAR, -DAY)
    monkeypatch.setattr(time, "time", lambda: now() + jumps[len(jumped)])

    class Killed(BaseException):
        pass

    def kill(epoch, epochs):
        jumped.append(epoch)
        if epoch == 3:
            raise Killed

    trial = toy.trials[0]
    folder = run_folder(toy, trial, tmp_path)
    with pytest.raises(Killed):
        run_trial(toy, trial, toy.load_data(), tmp_path, kill)
    for i, checkpoint in enumerate(sorted(folder.glob("checkpoints/epoch-*"))):
        os.utime(checkpoint, (now() - i * YEAR,) * 2)  # the newest has the oldest date
    found = summary(toy, study_status(toy, tmp_path), tmp_path)
    assert 0 <= found["seconds_left"] < 600
    with Progress(toy, show=True) as progress:
        progress.begin(trial)
        jumped.append(0)
        progress.epoch(trial, 3)
        told = progress.bar.format_dict
    assert 0 <= told["elapsed"] < 60
    epochs = []
    result = run_trial(toy, trial, toy.load_data(), tmp_path, lambda e, _: epochs.append(e))
    assert (result["status"], epochs) == ("done", [4])
    assert 0 < result["seconds"] < 600


# -- other users ---------------------------------------------------------------------------------


def test_two_commands_at_once_say_what_the_other_has(tmp_path, start):  # noqa: F811
    plan = write_plan(tmp_path / "plan.json", a="hang", b="work", c="work")
    options = ["--data", plan, "--out", tmp_path / "out", "--reports", tmp_path / "reports"]
    command = ["cli", "run", "toy", *options, "--workers", 1]
    one = start(*command)
    wait_for_trials(1, plan, one)
    two = start(*command)
    wait_for(lambda: len(read_log(plan)) == 3 or two.poll() is not None)
    time.sleep(0.5)  # until it has asked for the first again
    go_file(plan).touch()
    ended = [finish(process) for process in (one, two)]
    assert [code for code, _, _ in ended] == [0, 0], ended
    toy = build(data=str(plan))
    assert f"{toy.trials[0].id}: busy, another process has it: waiting" in ended[1][2]
    assert ended[1][2].count(": busy") == 1
    assert sorted(names(read_log(plan))) == ["a", "b", "c"]
    for trial in toy.trials:
        assert read_json(run_folder(toy, trial, tmp_path / "out") / "result.json")["id"] == trial.id


def test_a_lock_that_can_not_be_opened(tmp_path, ganlib, monkeypatch):
    plan = write_plan(tmp_path / "plan.json", a="work", b="work")
    toy = build(data=str(plan))
    lock = run_folder(toy, toy.trials[1], tmp_path / "out") / ".lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    opened = study.pathlib.Path.open

    def refusing(path, *arguments, **options):
        if path == lock:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(study.pathlib.Path, "open", refusing)
    code, output, errors = ganlib("run", plan)
    assert (code, output) == (2, "")
    assert f"{lock} can't be opened: Permission denied. If another user made it" in errors
    assert read_log(plan) == []

    class Refusing:
        def __init__(self, path, timeout):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(filelock, "FileLock", Refusing)
    code, output, _ = ganlib("status", plan, "--json")
    assert (code, [row["status"] for row in json.loads(output)]) == (0, ["to do", "unknown"])
