"""Each of the five studies on a bad day: full disks, files cut short, weights that are lost."""

import dataclasses
import errno
import json
import logging
import os
import shutil

import numpy as np
import pandas
import pytest
from helpers import arrays, gap
from tiny_studies import TINY, cheap, make, train
from unet_grids import study_of, tiny

from ganlib.apply import load_model
from ganlib.backends import variables as weights
from ganlib.experiment.stages import run_stages
from ganlib.experiment.status import study_status, summary
from ganlib.experiment.study import StudyError, Trial, read_json, results, run_folder
from ganlib.reporting import make_report
from ganlib.studies import unet

TIMES = {"seconds", "train_seconds", "seconds_per_epoch", "s3_seconds", "pretraining_seconds"}
TIMES |= {"processor_seconds", "processor_seconds_per_epoch", "memory", "model_bytes"}
CUTS = {"digits": 0, "bedrooms": 1, "boundary": 100, "srgan": -1, "unet": -100}  # bytes left
RATES = ("d_learning_rate", "g_learning_rate")
LOST = 1e38  # a learning rate after which nothing is finite


# -- what a run leaves behind --------------------------------------------------------------------


@pytest.fixture(scope="module", params=list(TINY))
def twins(request, tmp_path_factory):
    """`(study, undisturbed, killed)`: folders of runs, the second of a kill after two epochs."""
    study, out = make(request.param), tmp_path_factory.mktemp("undisturbed")
    killed = tmp_path_factory.mktemp("killed") / study.name

    def copy(epoch, epochs):
        if epoch == 2:
            shutil.copytree(out / study.name, killed)

    result, _ = train(study, out, copy)
    assert result["status"] == "done", result
    return study, out, killed.parent


@pytest.fixture
def interrupted(twins, tmp_path):
    """The twins, with a copy of the second for the test to spoil."""
    study, undisturbed, killed = twins
    shutil.copytree(killed, tmp_path / "out")
    return study, folder_of(study, undisturbed), folder_of(study, tmp_path / "out")


def folder_of(study, out):
    return run_folder(study, study.trials[0], out)


def go_on(study, folder):
    """Runs the trial again: its result, and the epochs that this took."""
    epochs = []
    result, _ = train(study, folder.parent.parent, lambda epoch, _: epochs.append(epoch))
    return result, epochs


def without_times(value):
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return value


def assert_same(folder, undisturbed):
    """All that the two runs left is the same, but for the time that it took."""
    found, wanted = (sorted(p.relative_to(f) for p in f.rglob("*")) for f in (folder, undisturbed))
    assert found == wanted
    for name in wanted:
        a, b = folder / name, undisturbed / name
        if name.suffix == ".json":
            assert without_times(read_json(a)) == without_times(read_json(b))
        elif name.suffix == ".csv":
            a, b = (pandas.read_csv(path) for path in (a, b))
            columns = [column for column in b if column not in TIMES]
            pandas.testing.assert_frame_equal(a[columns], b[columns], check_exact=True)
        elif name.suffix == ".npz":
            with np.load(a) as a, np.load(b) as b:
                assert all(np.array_equal(a[key], b[key], equal_nan=True) for key in b.files)
        elif name.suffix == ".keras":
            models = [load_model(path, compile=False) for path in (a, b)]
            assert gap(*(arrays(model.variables) for model in models)) == 0.0
        elif name.suffix == ".png":
            assert a.read_bytes() == b.read_bytes()


def cut(path, left):
    """Leaves so many bytes of a file, or all but so many."""
    size = path.stat().st_size
    os.truncate(path, left if left >= 0 else size + left)


# -- full disks ----------------------------------------------------------------------------------


def test_a_full_disk_loses_nothing(interrupted, monkeypatch):
    study, undisturbed, folder = interrupted
    assert os.path.exists("/dev/full"), "needs a device that is always full"

    def full(path, variables):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(weights, "save", full)
        result, epochs = go_on(study, folder)
    assert (result["status"], epochs) == ("failed", [])
    assert f"No space left on device: '{folder}" in result["error"]
    assert "--out: the same command goes on" in result["error"]

    (folder / "model.keras").unlink(missing_ok=True)
    (folder / "model.keras").symlink_to("/dev/full")
    result, epochs = go_on(study, folder)
    assert result["status"] == "failed"
    assert f"'{folder}'. Free some space" in result["error"]
    assert epochs == ([] if study.name == "srgan" else [3])  # it saves one between its phases

    (folder / "model.keras").unlink()
    result, epochs = go_on(study, folder)
    assert epochs == ([3] if study.name == "srgan" else [])  # what was computed is there
    assert_same(folder, undisturbed)


# -- files cut short -----------------------------------------------------------------------------


def test_what_is_cut_short_is_made_again(interrupted, caplog):
    study, undisturbed, folder = interrupted
    newest = max(folder.rglob("epoch-*/variables.npz")).parent
    cut(newest / "variables.npz", CUTS[study.name])
    (newest.parent / ".writing").mkdir()  # a kill's
    caches = [*folder.parent.glob("*.keras"), *folder.parent.glob("features/*.npz")]
    assert bool(caches) == (study.name in ("digits", "bedrooms"))
    for cache in caches:
        cut(cache, CUTS[study.name])
    with caplog.at_level(logging.WARNING):
        result, epochs = go_on(study, folder)
    assert (result["status"], epochs) == ("done", [2, 3])
    assert f"{newest} is damaged: it is removed, and its epoch trained again." in caplog.text
    assert_same(folder, undisturbed)


def test_kept_weights_that_are_cut_short_are_made_again(interrupted, caplog):
    study, undisturbed, folder = interrupted
    if study.name not in ("srgan", "unet"):  # the others keep theirs as the U-Nets do
        return
    (best,) = folder.rglob("best.npz")
    cut(best, CUTS[study.name])
    with caplog.at_level(logging.WARNING):
        result, epochs = go_on(study, folder)
    assert (result["status"], epochs) == ("done", [1, 2, 3])
    assert f"{best} is damaged: the training begins again" in caplog.text
    assert_same(folder, undisturbed)


# -- records of a finished trial that can't be believed ------------------------------------------


def spoilt(name, path):
    """What may stand in a record: name of the damage → content."""
    known = read_json(path) if path.suffix == ".json" else {}
    contents = {"binary": b"\xff\x00\x9f", "empty": b"", "list": b"[1]", "number": b"1"}
    if path.name == "result.json":
        contents["status alone"] = json.dumps({"status": "done"}).encode()
        contents["odd status"] = json.dumps({**known, "status": ["done"]}).encode()
        contents["no metrics"] = json.dumps({**known, "metrics": {}}).encode()
        contents["NaN"] = json.dumps({**known, "seconds": float("nan")}).encode()
        contents["nested"] = b'{"a":' * 100_000
    elif path.name == "history.csv":
        contents["no epochs"] = b"seconds\nnan\n"
        contents["NaN"] = b"epoch,seconds\nnan,nan\n"
        contents["ragged"] = b'epoch\n1,2,3\n"\n'
    return contents


@pytest.mark.parametrize("name", ["result.json", "trial.json", "history.csv"])
def test_a_spoilt_record_of_a_finished_trial(twins, tmp_path, name, monkeypatch):
    study, undisturbed, _ = twins
    monkeypatch.setattr(study.trials[0].__class__, "id", study.trials[0].id)
    source = folder_of(study, undisturbed)
    folder = folder_of(study, tmp_path)
    folder.mkdir(parents=True)
    for path in source.glob("*.*"):
        if path.suffix in (".json", ".csv"):
            shutil.copy(path, folder)
    for damage, content in spoilt(study.name, source / name).items():
        (folder / name).write_bytes(content)
        (row,) = rows = study_status(study, tmp_path)
        assert row["status"] in ("done", "to do", "interrupted"), damage
        summary(study, rows, tmp_path)
        assert len(results(study, tmp_path)) == (row["status"] == "done")
        if name == "trial.json":  # the result says it all
            assert row["status"] == "done"
            continue
        with pytest.raises(StudyError) as caught, cheap(study.name):
            make_report(study, tmp_path, tmp_path / "reports")
        message = str(caught.value)
        if row["status"] == "done":
            assert f"--trials {row['id']} --fresh" in message, damage
        else:
            assert "has finished: ganlib run" in message, damage
    shutil.copy(source / name, folder)


# -- weights that are lost -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("digits", dict.fromkeys(RATES, LOST)),
        ("bedrooms", dict.fromkeys(RATES, LOST)),
        ("boundary", dict.fromkeys(RATES, LOST)),
        ("srgan", {"pretraining_rate": LOST}),
        ("srgan", {**dict.fromkeys(RATES, LOST), "pretraining_epochs": 0}),
        ("unet", {"learning_rate": LOST}),
    ],
)
def test_a_training_that_loses_its_way_ends_with_a_finding(tmp_path, name, settings):
    result, folder = train(make(name, **settings), tmp_path)
    both = "pretraining_rate" in settings  # the second phase begins with what was kept
    assert result["status"] == ("done" if both else "stopped"), result
    (finding,) = result["metrics"]["findings"]
    assert (finding["check"], finding["epoch"]) == ("non_finite_loss", 1)
    assert len(pandas.read_csv(next(folder.rglob("history.csv")))) == 1
    assert (folder / "model.keras").exists()


def test_what_follows_a_lost_cell_goes_on_without_it(tmp_path):
    lost = Trial("unet-lr0.001-bs16", tiny(learning_rate=LOST, batch_size=16), 0)
    good = Trial("unet-lr0.005-bs8", tiny(learning_rate=5e-3, batch_size=8), 0)
    study = study_of(lost, good)
    seen = []

    def run(stage):
        return [train(study_of(trial), tmp_path)[0] for trial in stage.trials]

    def follow(found):
        seen.append(unet.best_cell(found))

    found = run_stages(dataclasses.replace(study, following=follow), run)
    assert [result["status"] for result in found] == ["stopped", "done"]
    assert found[0]["metrics"]["jaccard"] == found[0]["metrics"]["jaccard_soft"] == 0.0
    assert found[0]["metrics"]["test"]["jaccard"] == 0.0
    assert len(seen) == 1


# -- a trial that begins with another's weights --------------------------------------------------


def test_a_trial_that_starts_from_another_says_which_must_run_first(tmp_path):
    first = Trial("cell", tiny(epochs=1), 0)
    second = Trial("second-fine-tuned", tiny(epochs=1, start=first.id), 0)
    result, _ = train(study_of(second), tmp_path)
    assert result["status"] == "failed"
    message = f"begins with the weights of {first.id}, which has no result yet: run that one first"
    assert message in result["error"]
    _, folder = train(study_of(first), tmp_path)
    intact = (folder / "best.npz").read_bytes()
    for damage in (cut, lambda path, _: path.unlink()):
        damage(folder / "best.npz", 10)
        result, _ = train(study_of(second), tmp_path)
        assert f"run that one again first, with --trials {first.id} --fresh" in result["error"]
        (folder / "best.npz").write_bytes(intact)
    assert train(study_of(second), tmp_path)[0]["status"] == "done"
