"""`kill -9` at any moment, then the same command: the files of an undisturbed run."""

import os
import random
import shutil
import time

import helpers
import keras
import pandas
import pytest
import toy_study
from helpers import TESTS, gap, make_gan, start_python, state
from toy_study import wait_for, write_plan

from ganlib.backends import variables as weights
from ganlib.experiment import fit as training
from ganlib.experiment.study import read_json, run_folder, run_trial

BACKEND = keras.backend.backend()
# The one list of what may differ between two runs of a trial on one machine.
TIMING = {"seconds", "train_seconds", "seconds_per_epoch"}


def make_trial(folder, **recipe):
    """`(study, trial)`: a small GAN."""
    study = toy_study.build(data=write_plan(folder / "plan.json", gan={"action": "gan", **recipe}))
    return study, study.trials[0]


def train(study, out, progress=None):
    return run_trial(study, study.trials[0], study.load_data(), out, progress)


def newest(folder):
    """Name of the run's newest checkpoint."""
    return max((path.name for path in folder.glob("checkpoints/epoch-*")), default=None)


def without_timing(value):
    if isinstance(value, dict):
        return {k: without_timing(v) for k, v in value.items() if k not in TIMING}
    return value


def left_behind(folder):
    """All that a finished run left, but for timing: `(result, history, files, weights)`."""
    history = pandas.read_csv(folder / "history.csv", dtype=str, keep_default_na=False)
    return (
        without_timing(read_json(folder / "result.json")),
        history[[column for column in history if column not in TIMING]].to_csv(),
        sorted(str(path.relative_to(folder)) for path in folder.rglob("*")),
        state(keras.models.load_model(folder / "model.keras")),
    )


def assert_same(folder, undisturbed):
    result, history, files, weights = left_behind(folder)
    assert result == undisturbed[0]
    assert history == undisturbed[1]
    assert files == undisturbed[2]
    assert gap(weights, undisturbed[3]) == 0.0


# -- killed by the system ------------------------------------------------------------------------


@pytest.mark.backend
def test_killed_runs_end_as_an_undisturbed_one(tmp_path, monkeypatch):
    # Compiled, and in processes of their own, as users run it. The epochs wait a little, so that a
    # kill may come in the step, in the checks, or while a checkpoint is written.
    settings = {"epochs": 6, "batch_size": 4, "eager": False, "seconds": 0.03, "hold": True}
    study, trial = make_trial(tmp_path, **settings)
    arguments = (TESTS / "toy_study.py", "run", tmp_path / "plan.json")
    folder = run_folder(study, trial, tmp_path / "killed")
    moments = random.Random(0)
    for epoch in (1, 4):
        process = start_python(*arguments, tmp_path / "killed", 0, backend=BACKEND)
        checkpoint = folder / "checkpoints" / f"epoch-{epoch:06d}"
        wait_for(lambda path=checkpoint, process=process: path.exists() or process.poll())
        time.sleep(moments.uniform(0, 0.06))
        process.kill()
        output, _ = process.communicate()
        assert process.returncode == -9, output
        assert not (folder / "result.json").exists()
    toy_study.go_file(tmp_path / "plan.json").touch()
    resumed = start_python(*arguments, tmp_path / "killed", 0, backend=BACKEND)
    output, _ = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, output
    monkeypatch.setattr("ganlib.experiment.study.environment", dict)  # as in the toy's processes
    train(study, tmp_path / "undisturbed")
    assert_same(folder, left_behind(run_folder(study, trial, tmp_path / "undisturbed")))
    assert len(toy_study.read_log(tmp_path / "plan.json")) == 4


# -- killed between any two changes to the disk --------------------------------------------------


class Killed(BaseException):
    """No `except Exception` sees it, as none sees a kill."""


class Disk:
    """Ends the process before the change to the disk that is numbered `kill_at`.

    A kill while weights are written leaves half of their file.
    """

    def __init__(self, patch, kill_at):
        self.changes = 0
        self.kill_at = kill_at
        patch.setattr(os, "replace", self.count(os.replace))
        patch.setattr(shutil, "rmtree", self.count(shutil.rmtree))
        patch.setattr(keras.Model, "save", self.count(keras.Model.save, half=1))
        patch.setattr(weights, "save", self.count(weights.save, half=0))

    def count(self, function, half=None):
        """The function, counted; `half` is the position of the path that a kill cuts short."""

        def counted(*args, **kwargs):
            self.changes += 1
            if self.changes != self.kill_at:
                return function(*args, **kwargs)
            if half is not None:
                function(*args, **kwargs)
                cut(args[half])
            raise Killed

        return counted


def kill_after(last):
    """A `progress` that ends the process after an epoch."""

    def progress(epoch, epochs):
        if epoch == last:
            raise Killed

    return progress


def cut(path):
    """Leaves half of a file."""
    os.truncate(path, os.path.getsize(path) // 2)


@pytest.mark.parametrize("action", ["gan", "stop"])
def test_killed_before_every_change_to_the_disk(tmp_path, monkeypatch, action):
    monkeypatch.setattr(training, "CHECKPOINTS_KEPT", 1)  # so that two epochs do all there is
    study, trial = make_trial(tmp_path, action=action, epochs={"gan": 2, "stop": 4}[action])
    train(study, tmp_path / "undisturbed")
    undisturbed = left_behind(run_folder(study, trial, tmp_path / "undisturbed"))
    assert undisturbed[0]["status"] == {"gan": "done", "stop": "stopped"}[action]
    assert undisturbed[0]["metrics"]["epochs"] == 2

    folder = run_folder(study, trial, tmp_path / "out")
    if action == "stop":  # only what comes after the last epoch is new
        with pytest.raises(Killed):
            train(study, tmp_path / "out", progress=kill_after(2))
    # From each checkpoint on, the run is killed before its first change, its second, and so on,
    # until one more epoch has come through.
    kills, change, checkpoint, result = 0, 1, None, None
    while result is None:
        with monkeypatch.context() as patch:
            Disk(patch, kill_at=change)
            try:
                result = train(study, tmp_path / "out")
            except Killed:
                kills, change = kills + 1, change + 1
        if checkpoint != (checkpoint := newest(folder)):
            change = 1
    assert kills >= {"gan": 20, "stop": 5}[action]
    assert_same(folder, undisturbed)


# -- checkpoints that are no good ----------------------------------------------------------------


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """`(study, folder of an undisturbed run, folder of one killed after 3 of 4 epochs)`."""
    folder = tmp_path_factory.mktemp("twins")
    study, trial = make_trial(folder, epochs=4)
    train(study, folder / "undisturbed")
    with pytest.raises(Killed):
        train(study, folder / "killed", progress=kill_after(3))
    return study, *(run_folder(study, trial, folder / name) for name in ("undisturbed", "killed"))


@pytest.fixture
def interrupted(twins, tmp_path):
    """The twins with a copy of the second for the test to spoil."""
    study, undisturbed, killed = twins
    folder = run_folder(study, study.trials[0], tmp_path)
    shutil.copytree(killed, folder)
    checkpoints = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert checkpoints == ["epoch-000002", "epoch-000003"]
    return study, undisturbed, folder


def epochs_trained(study, folder):
    """Goes on with the run in `folder`; returns the epochs that this took."""
    epochs = []
    train(study, folder.parent.parent, progress=lambda epoch, _: epochs.append(epoch))
    return epochs


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [None, "cut", "flipped", "missing", "state", "both"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(interrupted, damage):
    study, undisturbed, folder = interrupted
    newest = folder / "checkpoints" / "epoch-000003"
    variables = newest / "variables.npz"
    if damage in ("cut", "both"):
        cut(variables)
    elif damage == "flipped":
        flip_a_bit(variables)
    elif damage == "missing":
        variables.unlink()
    elif damage == "state":
        cut(newest / "state.json")
    if damage == "both":
        cut(newest.with_name("epoch-000002") / "variables.npz")
    first = {None: 4, "both": 1}.get(damage, 3)
    assert epochs_trained(study, folder) == list(range(first, 5))
    assert_same(folder, left_behind(undisturbed))


def test_a_checkpoint_of_another_model_is_no_fresh_start(interrupted, monkeypatch):
    # The code has changed under a run: going on is impossible, beginning again a silent loss.
    study, _, folder = interrupted
    monkeypatch.setattr(helpers, "make_gan", lambda **_: make_gan())
    assert epochs_trained(study, folder) == []
    result = read_json(folder / "result.json")
    assert result["status"] == "failed"
    assert "does not fit the model" in result["error"]
    assert "--fresh" in result["error"]
    assert (folder / "checkpoints" / "epoch-000003").exists()


def test_a_full_disk_fails_the_trial_and_spares_the_checkpoint_before(interrupted, monkeypatch):
    study, undisturbed, folder = interrupted

    def full(path, variables):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(weights, "save", full)
        assert epochs_trained(study, folder) == []
    result = read_json(folder / "result.json")
    assert result["status"] == "failed"
    assert result["error"].startswith("OSError: [Errno 28] No space left on device: ")
    assert "variables.npz'. Free some space" in result["error"]
    assert epochs_trained(study, folder) == [4]
    assert_same(folder, left_behind(undisturbed))
