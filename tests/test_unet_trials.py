"""What a trial of the U-Net grid does and leaves behind, however it ends."""

import dataclasses
import io
import json
import math
import zipfile
from unittest import mock

import h5py
import keras
import numpy as np
import pandas
import pytest
from unet_grids import cheap, compiled, make_data, run_one, study_of, tiny

from ganlib.backends import variables as weights
from ganlib.experiment import fit as training
from ganlib.experiment.study import Run, Trial, run_folder, run_trial
from ganlib.metrics.segmentation import baselines, score_masks
from ganlib.segmentation import load_segmenter, predict
from ganlib.studies import unet_training
from ganlib.studies.unet_training import expected, prepare, score, shuffled

REAL = unet_training._compiled
TIMES = {"seconds", "seconds_per_epoch", "processor_seconds", "processor_seconds_per_epoch"}
TIMES |= {"memory"}
# Both rules act: this rate moves nothing, so that the score does not get better.
STILL = {"learning_rate": 1e-8, "epochs": 6}


class Killed(BaseException):
    """No `except Exception` sees it, as none sees a kill."""


@pytest.fixture(autouse=True)
def shared():
    with cheap():
        yield


def forget():
    """As another process would begin."""
    compiled.cache_clear()


def left_behind(result, folder):
    """What must be the same in two runs of a trial."""
    history = pandas.read_csv(folder / "history.csv")
    with np.load(folder / "best.npz") as kept, np.load(folder / "predictions.npz") as made:
        arrays = [kept[name] for name in kept.files] + [made["probabilities"]]
    metrics = {k: v for k, v in result["metrics"].items() if k not in TIMES}
    return result["status"], metrics, history.drop(columns=list(TIMES & set(history))), arrays


def assert_same(a, b):
    a, b = left_behind(*a), left_behind(*b)
    assert a[0] == b[0]
    del a[1]["model_bytes"], b[1]["model_bytes"]  # of a zip file, which holds the date
    assert a[1] == b[1]
    pandas.testing.assert_frame_equal(a[2], b[2], check_exact=True)
    for x, y in zip(a[3], b[3], strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """`(result, run folder)` of a trial."""
    with cheap():
        trial = Trial("tiny", tiny(), 0)
        result, folder = run_one(tmp_path_factory.mktemp("runs"), trial)
    assert result["status"] == "done", result
    assert result["metrics"]["jaccard"] > 0.05  # or little would be compared
    return result, folder


# -- a trial that goes well ----------------------------------------------------------------------


def test_what_a_trial_tells(finished):
    result, folder = finished
    metrics, history = result["metrics"], pandas.read_csv(folder / "history.csv")
    assert list(history["epoch"]) == [1, 2, 3]
    best = int(history["val_jaccard"].idxmax())
    losses = history["val_loss"]
    wanted = {
        "epochs": 3,
        "best_epoch": best + 1,
        "jaccard": history["val_jaccard"][best],
        "jaccard_soft": history["val_jaccard_soft"][best],
        "loss_std": losses.std(),
        "loss_mad": 1.4826 * np.median(np.abs(losses - losses.median())),
        "gap": (losses - history["loss"])[best],
        "gap_last": (losses - history["loss"])[2],
        "seconds_per_epoch": history["seconds"].median(),
        "processor_seconds_per_epoch": history["processor_seconds"].median(),
        "processor_seconds": history["processor_seconds"].sum(),
        "model_bytes": (folder / "model.keras").stat().st_size,
        "device_memory": None,
    }
    for key, value in wanted.items():
        assert metrics[key] == (value if value is None else pytest.approx(value)), key
    assert metrics["memory"] > 2**20
    assert metrics["seconds"] > 0
    assert metrics["parameters"] == expected(tiny(), 12)["parameters"]
    masks = make_data().test.masks
    assert metrics["baselines"] == baselines(masks, make_data().train.foreground)
    assert metrics["test"]["n"] == 12
    assert all(math.isfinite(value) for value in metrics["test"].values())
    assert json.loads((folder / "result.json").read_text())["metrics"].keys() == metrics.keys()


def test_what_is_kept_is_of_the_best_epoch(finished):
    """The predictions give the test scores, and so does the saved model."""
    result, folder = finished
    data, test = make_data(), result["metrics"]["test"]
    with np.load(folder / "predictions.npz") as file:
        assert file["probabilities"].dtype == np.float16
        found = file["probabilities"].astype("float32")
    again = score_masks(found, data.test.masks)
    assert again == pytest.approx(test, abs=2e-3)  # rounded to 16 bits
    model = load_segmenter(folder / "model.keras")
    probabilities = predict(model, data.test.arrays()[0])
    np.testing.assert_allclose(probabilities, found, atol=1e-3)
    images, masks = data.validation.arrays()
    scores = score_masks(predict(model, images), masks)
    assert scores["jaccard"] == pytest.approx(result["metrics"]["jaccard"], abs=1e-3)
    assert not (folder / "checkpoints").exists()


def test_the_saved_model_has_no_optimizer(finished):
    path = finished[1] / "model.keras"
    with zipfile.ZipFile(path) as file:
        config = json.loads(file.read("config.json"))
        assert not config.get("compile_config")
        with h5py.File(io.BytesIO(file.read("model.weights.h5"))) as stored:
            assert "optimizer" not in stored
    assert not keras.models.load_model(path).compiled


@pytest.mark.backend
@pytest.mark.parametrize("batch_size", [4, 3])
def test_trials_of_a_network_share_a_model_and_nothing_else(tmp_path, batch_size):
    settings = {"dropout": 0.3}
    # Its random states go on, and where dropout falls so, it stops early with a reduced rate.
    first = Trial("a", tiny(**settings | STILL), 0)
    changes = {"learning_rate": 0.003, "epochs": 2, "batch_size": batch_size}
    second = Trial("b", dataclasses.replace(first.recipe, **changes), 1)
    assert run_one(tmp_path / "one", first)[0]["status"] in ("done", "stopped")
    known = compiled.cache_info()
    after = run_one(tmp_path / "one", second)
    assert compiled.cache_info().hits == known.hits + 1
    assert compiled.cache_info().misses == known.misses
    forget()
    assert_same(after, run_one(tmp_path / "other", second))


def test_one_model_is_kept():
    """Those before would hold memory that the next trial needs."""
    assert unet_training._compiled is compiled
    assert REAL.cache_info().maxsize == 1


def test_an_optimizer_begins_anew():
    prepared = prepare(tiny(), 0)
    x, y = make_data().train.arrays()
    prepared.fit(x, y, batch_size=4, verbose=0)
    moved = [np.abs(keras.ops.convert_to_numpy(v)).max() for v in prepared.optimizer.variables]
    assert min(moved[2:]) > 0
    again = prepare(tiny(learning_rate=0.5), 1)
    assert again is prepared
    assert float(again.optimizer.learning_rate) == 0.5
    for variable in again.optimizer.variables:
        if variable is not again.optimizer._learning_rate:
            assert not np.any(keras.ops.convert_to_numpy(variable)), variable.path
    fresh = unet_training._build(tiny(), 1)
    for a, b in zip(again.get_weights(), fresh.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


# -- interrupted ---------------------------------------------------------------------------------


def interrupted(out, trial, epoch, between=None):
    """`(result, folder)` of a trial that was killed after an epoch, and went on."""

    def kill(done, _):
        if done == epoch:
            raise Killed

    with pytest.raises(Killed):
        run_one(out, trial, kill)
    if between is not None:
        run_one(out, between)
    return run_one(out, trial)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_killed_trial_goes_on_as_if_nothing_had_happened(tmp_path, dropout):
    trial = Trial("a", tiny(dropout=dropout, epochs=3), 3)
    wanted = run_one(tmp_path / "whole", trial)
    # Another trial has used the model in the meantime.
    between = Trial("between", tiny(dropout=dropout, epochs=1), 9)
    found = interrupted(tmp_path / "killed", trial, 2, between)
    assert_same(found, wanted)
    costs = [result["metrics"]["processor_seconds"] for result, _ in (found, wanted)]
    histories = [pandas.read_csv(folder / "history.csv") for _, folder in (found, wanted)]
    for cost, history in zip(costs, histories, strict=True):
        assert cost == pytest.approx(history["processor_seconds"].sum())


def test_a_killed_trial_waits_no_longer(tmp_path):
    """The counters of both rules go on: the rate falls, and training stops, when it would have."""
    trial = Trial("still", tiny(**STILL), 0)
    result, folder = wanted = run_one(tmp_path / "whole", trial)
    history = pandas.read_csv(folder / "history.csv")
    assert result["status"] == "stopped"
    assert len(history) < STILL["epochs"]
    assert history["learning_rate"].nunique() > 1
    best = result["metrics"]["best_epoch"]
    assert len(history) == best + trial.recipe.patience
    for epoch in (best + 1, best + 2, len(history)):
        found = interrupted(tmp_path / f"killed-{epoch}", trial, epoch)
        assert_same(found, wanted)


@pytest.mark.parametrize("what", ["best.npz", "predictions.npz", "model.keras"])
def test_killed_after_the_last_epoch(tmp_path, finished, what):
    """The last checkpoint stands: nothing is trained again."""
    trial = Trial("tiny", tiny(), 0)
    place = {
        "best.npz": (unet_training.weights, "load"),
        "predictions.npz": (np, "savez_compressed"),
        "model.keras": (keras.Model, "save"),
    }[what]
    with mock.patch.object(*place, side_effect=Killed), pytest.raises(Killed):
        run_one(tmp_path, trial)
    epochs = []
    found = run_one(tmp_path, trial, lambda epoch, _: epochs.append(epoch))
    assert not epochs
    assert_same(found, finished)


# -- trained by its recipe -----------------------------------------------------------------------


def wrong_rate(recipe, seed):
    model = prepare(recipe, seed)
    model.optimizer.learning_rate = 0.001
    return model


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("prepare", wrong_rate, "learning_rate: recipe 0.2, model 0.001"),
        (
            "TileBatches",
            lambda arrays, size, *rest: unet_training.data_batches(arrays, 2, *rest),
            "batch_size: recipe 4, model 2",
        ),
        ("parameters", lambda *settings: 5, "parameters: recipe 5, model "),
    ],
)
def test_what_does_not_train_by_its_recipe_fails(tmp_path, monkeypatch, name, wrong, message):
    monkeypatch.setattr(unet_training, "data_batches", unet_training.TileBatches, raising=False)
    monkeypatch.setattr(unet_training, name, wrong)
    result, _ = run_one(tmp_path, Trial("wrong", tiny(), 0))
    assert result["status"] == "failed"
    assert result["error"].startswith("RecipeMismatch")
    assert message in result["error"]


def test_fewer_tiles_than_a_batch(tmp_path):
    result, _ = run_one(tmp_path, Trial("few", tiny(batch_size=32, epochs=1), 0))
    assert result["status"] == "done", result
    assert expected(tiny(batch_size=32), 12)["batch_size"] == 12
    assert expected(tiny(batch_size=8), 12)["batch_size"] == 8


def test_one_epoch_has_no_spread(tmp_path):
    result, folder = run_one(tmp_path, Trial("one", tiny(epochs=1), 0))
    assert math.isnan(result["metrics"]["loss_std"])
    told = json.loads((folder / "result.json").read_text())["metrics"]
    assert told["loss_std"] is told["loss_mad"] is None


def test_a_training_that_has_lost_its_way_is_no_failure(tmp_path):
    """The best epoch was before."""

    class Losing(unet_training.Meter):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            if epoch == 1:
                self.model.set_weights([w * np.nan for w in self.model.get_weights()])

    with mock.patch.object(unet_training, "Meter", Losing):
        result, folder = run_one(tmp_path, Trial("lost", tiny(epochs=3), 0))
    assert result["status"] == "stopped", result
    history = pandas.read_csv(folder / "history.csv")
    assert list(history["val_loss"].notna()) == [True, True, False]
    metrics = result["metrics"]
    assert metrics["best_epoch"] < 3
    assert math.isfinite(metrics["gap"])
    assert math.isnan(metrics["loss_std"])
    assert math.isfinite(metrics["test"]["jaccard"])


# -- controls, and what follows ------------------------------------------------------------------


def spied(out, trial):
    """The arrays that a trial trains and validates on: images and masks of each."""
    seen = {}
    fit, batches = training.fit, unet_training.TileBatches

    def make(arrays, *rest):
        seen["train"] = arrays
        return batches(arrays, *rest)

    def fit_spied(*args, validation, **options):
        seen["validation"] = validation
        return fit(*args, validation=validation, **options)

    with (
        mock.patch.object(unet_training, "TileBatches", make),
        mock.patch.object(training, "fit", fit_spied),
    ):
        result, _ = run_one(out, trial)
    assert result["status"] == "done", result
    return seen, result


def test_masks_of_other_pictures(tmp_path):
    data = make_data()
    seen, result = spied(tmp_path, Trial("mispaired", tiny(mispaired=True, epochs=1), 0))
    for name, (images, masks) in seen.items():
        own, truth = getattr(data, name).arrays()
        np.testing.assert_array_equal(images, own)
        moved = (masks != truth).any(axis=(1, 2, 3))
        assert moved.mean() > 0.5
        rows = [sorted(map(bytes, some)) for some in (masks, truth)]
        assert rows[0] == rows[1]  # each is there, once
    # It is scored on pictures with masks of their own.
    assert result["metrics"]["baselines"] == baselines(data.test.masks, data.train.foreground)
    plain, _ = spied(tmp_path, Trial("paired", tiny(epochs=1), 0))
    for name, arrays in plain.items():
        for a, b in zip(arrays, getattr(data, name).arrays(), strict=True):
            np.testing.assert_array_equal(a, b)
    assert list(shuffled(np.arange(50), 0)) != list(shuffled(np.arange(50), 1))
    assert list(shuffled(np.arange(50), 3)) == list(shuffled(np.arange(50), 3))


def test_a_trial_that_begins_with_anothers_weights(tmp_path, finished):
    out = tmp_path / "unet"
    (out / finished[0]["id"]).mkdir(parents=True)
    for name in ("best.npz", "predictions.npz", "result.json"):
        (out / finished[0]["id"] / name).write_bytes((finished[1] / name).read_bytes())
    recipe = tiny(epochs=1, start=finished[0]["id"], learning_rate=1e-4)
    result, _ = run_one(tmp_path, Trial("tuned", recipe, 7))
    assert result["status"] == "done", result
    metrics = result["metrics"]
    assert metrics["before"] == finished[0]["metrics"]["test"]
    untrained = score(prepare(tiny(), 7), make_data().test, tiny())[0]
    assert metrics["before"]["jaccard_soft"] != untrained["jaccard_soft"]
    assert "before" not in finished[0]["metrics"]


def test_a_killed_one_that_began_with_anothers_weights(tmp_path, finished):
    folders = [tmp_path / name / "unet" / finished[0]["id"] for name in ("whole", "killed")]
    for folder in folders:
        folder.mkdir(parents=True)
        for name in ("best.npz", "result.json"):
            (folder / name).write_bytes((finished[1] / name).read_bytes())
    trial = Trial("tuned", tiny(epochs=2, start=finished[0]["id"]), 7)
    wanted = run_one(tmp_path / "whole", trial)
    assert_same(interrupted(tmp_path / "killed", trial, 1), wanted)


def test_weights_of_another_network_are_refused(tmp_path):
    _, folder = run_one(tmp_path, Trial("other", tiny(epochs=1), 0))
    weights.save(folder / "best.npz", prepare(tiny(filters=4), 0).weights)
    result, _ = run_one(tmp_path, Trial("tuned", tiny(start=folder.name), 0))
    assert result["status"] == "failed"
    assert "holds weights of another model" in result["error"]


# -- memory --------------------------------------------------------------------------------------


def test_out_of_memory_is_not_tried_again_at_the_same_size(tmp_path):
    trials = [
        Trial("a", tiny(learning_rate=0.01), 0),
        Trial("b", tiny(learning_rate=0.02), 0),  # of the same shape
        Trial("c", tiny(mispaired=True), 1),  # this, too
        Trial("d", tiny(batch_size=2, epochs=1), 0),
    ]
    study, data, begun = study_of(*trials), make_data(), []

    def fit(model, *args, **options):
        begun.append(model)
        raise MemoryError("no more")

    with mock.patch.object(keras.Model, "fit", fit):
        results = [run_trial(study, trial, data, tmp_path) for trial in trials[:3]]
    assert [result["status"] for result in results] == ["out-of-memory"] * 3
    assert len(begun) == 1
    for result in results[1:]:
        assert f"{trials[0].id}, which needs as much, ran out of memory" in result["error"]
    assert run_trial(study, trials[3], data, tmp_path)["status"] == "done"
    # It is final: the same command does not try again, either.
    assert run_trial(study, trials[0], data, tmp_path)["status"] == "out-of-memory"
    assert Run(run_folder(study, trials[0], tmp_path)).finished()


def test_memory_lost_at_a_step_leaves_the_next_trial_sound(tmp_path, finished):
    """The model that it shares has been interrupted in the middle of an epoch."""

    class Full(unet_training.Meter):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                raise MemoryError("no more")

    with mock.patch.object(unet_training, "Meter", Full):
        result, _ = run_one(tmp_path, Trial("a", tiny(learning_rate=0.02), 1))
    assert result["status"] == "out-of-memory"
    # Alone in its study, it is tried.
    assert_same(run_one(tmp_path, Trial("tiny", tiny(), 0)), finished)
