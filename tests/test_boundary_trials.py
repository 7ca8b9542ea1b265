"""What a trial of the boundary study leaves behind, however it ends."""

import json
import math
from unittest import mock

import numpy as np
import pandas
import pytest
from PIL import Image
from test_boundary_study import SIZES, TRIED, WAYS, cheap, make_data, tiny

from ganlib.apply import discriminate, draw_latents, load_gan, make_images, untile
from ganlib.experiment import study as ganlib_study
from ganlib.experiment.study import Study, Trial, run_folder, run_trial
from ganlib.metrics.boundary import SIMILARITIES, most_alike, s1, s2, s3, s3_ceiling
from ganlib.scoring import score_boundary_gan
from ganlib.studies import boundary, boundary_scoring, boundary_training
from ganlib.studies.boundary_training import Criteria, expected

REPAIRS = {"likeness": 1.0, "augment": ("orientation",), "g_rest": 0.5, "upsample": "resize"}
FACTORS = (0.01, 1.0, 0.1)  # of s3 on validation pictures: the second epoch is the best
TIMES = ("seconds_per_epoch", "s3_seconds")


def run_tiny(out, factors=None, progress=None, **settings):
    """`(result, run folder)` of one trial."""
    trial = Trial("tiny", tiny(**{"batch_size": 24, **settings}), 0)  # a step an epoch
    study = Study("boundary", "", (trial,), None, boundary.train, "none", {}, None)
    with cheap(factors):
        result = run_trial(study, trial, make_data(), out, progress)
    return result, run_folder(study, trial, out)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """`(result, run folder)` of a trial with all repairs; its second epoch is the best."""
    result, folder = run_tiny(tmp_path_factory.mktemp("runs"), iter(FACTORS), **REPAIRS)
    assert result["status"] == "done", result
    return result, folder


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """`(result, run folder)` of a trial whose generator breaks in its second epoch."""

    class Breaking(boundary_training.StopWhenHigh):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                generator = self.model.generator
                generator.set_weights([weight * np.nan for weight in generator.get_weights()])

    with mock.patch.object(boundary_training, "StopWhenHigh", Breaking):
        return run_tiny(tmp_path_factory.mktemp("broken"))


def scored_pictures(gan):
    return make_images(gan.sampler, draw_latents(gan, 16, boundary_scoring.SCORED))


@pytest.fixture(scope="module")
def made(finished):
    """`(the saved GAN, its pictures that were scored)`."""
    gan = load_gan(finished[1] / "model.keras")
    return gan, scored_pictures(gan)


# -- a trial that goes well ----------------------------------------------------------------------


def test_what_a_trial_tells(finished):
    metrics, data = finished[0]["metrics"], make_data()
    assert (metrics["epochs"], metrics["best_epoch"]) == (3, 2)
    scores = metrics["scores"]
    assert scores.keys() == {"best", "last"}
    for each in scores.values():
        assert each["score"] == each["s1"] * each["s2"] * each["s3"]
        assert (each["n"], each["n_real"], each["n_train"]) == (16, SIZES["test"], SIZES["train"])
        assert each["s3_real"] == s3_ceiling(data.test.as_range("unit"), "unit").value
        assert all(math.isfinite(each[f"s3_{key}"]) for key in ("noise", "back", "train", "mean"))
    assert scores["best"]["s1"] != scores["last"]["s1"]
    assert metrics["similarities"].keys() == set(SIMILARITIES)
    assert metrics["similarities"]["correlation"] == scores["best"]["s3"]
    counts = {"generated": 16, "real": SIZES["validation"]}
    for kind, n in counts.items():
        found = metrics["fidelity"][kind]
        assert (found["n_fake"], found["n_real"]) == (n, SIZES["test"])
        assert math.isfinite(found["kid"])
        assert found["network"] == "projection"
    high = dict(zip(TRIED, tiny().high, strict=True))
    high["s3"] *= s3_ceiling(data.validation.as_range("unit"), "unit").value
    assert metrics["high"] == high
    assert min(metrics[key] for key in TIMES) > 0
    numbers = {key: metrics[key] for key in ("g_parameters", "d_parameters")}
    assert numbers.items() <= expected(tiny(**REPAIRS), SIZES["train"]).items()


def test_the_history_has_the_scores_of_each_epoch(finished):
    result, folder = finished
    history = pandas.read_csv(folder / "history.csv")
    assert list(history["epoch"]) == [1, 2, 3]
    keys = [*TRIED, "score", "s1_train", "d_loss", "g_loss", "g_content"]
    assert np.isfinite(history[keys]).all(axis=None)
    product = history["s1"] * history["s2"] * history["s3"]
    np.testing.assert_allclose(history["score"], product, rtol=1e-12)
    assert history["epoch"][history["score"].idxmax()] == result["metrics"]["best_epoch"]


def test_the_saved_model_is_of_the_best_epoch(finished, made):
    result, folder = finished
    (gan, images), data, best = made, make_data(), result["metrics"]["scores"]["best"]
    again = score_boundary_gan(gan, data.test, 16, boundary_scoring.SCORED)
    for key in (*TRIED, "score", "s3_real", "s3_back"):
        assert again[key] == pytest.approx(best[key], rel=1e-5), key
    history = pandas.read_csv(folder / "history.csv")
    scores = Criteria(gan, data, tiny())()
    assert scores["s1"] == pytest.approx(history["s1"][1], rel=1e-5)
    assert scores["s1"] != pytest.approx(history["s1"][2], rel=1e-5)
    with Image.open(folder / "samples.png") as grid:
        saved = untile(np.asarray(grid), 32)
    assert len(saved) == 16  # as many as there are, where these are few
    assert np.abs(saved / 255 - images).max() < 1 / 255  # rounded to 8 bits


def test_neighbours(finished, made):
    (_, images), data = made, make_data()
    with Image.open(finished[1] / "neighbours.png") as grid:
        rows = np.split(untile(np.asarray(grid), 32), 3)
    assert 1 <= len(rows[0]) <= boundary_scoring.NEIGHBOURS
    test, train = (part.as_range("unit") for part in (data.test, data.train))
    near, values = most_alike(images, test, "unit")
    trained = most_alike(images, train, "unit")[0]
    shown = [np.abs(images - row / 255).max(axis=(1, 2, 3)).argmin() for row in rows[0]]
    assert shown[0] == values.argmax()
    assert list(values[shown]) == sorted(values[shown], reverse=True)
    assert len(set(near[shown])) == len(shown) == min(len(set(near)), boundary_scoring.NEIGHBOURS)
    np.testing.assert_array_equal(rows[1], data.test.images[near[shown]])
    np.testing.assert_array_equal(rows[2], data.train.images[trained[shown]])


def test_landscape_of_the_last_epoch(finished):
    """D goes on settling after the epoch whose pictures are kept."""
    with np.load(finished[1] / "landscape.npz") as file:
        real, fake = file["real"], file["fake"]
    scores = finished[0]["metrics"]["scores"]
    assert s1(real) == pytest.approx(scores["last"]["s1"], rel=1e-5)
    assert s2(fake) == pytest.approx(scores["last"]["s2"], rel=1e-5)
    assert s1(real) != pytest.approx(scores["best"]["s1"], rel=1e-3)


def test_landscape(broken):
    """Without a last epoch it is of the saved model."""
    gan, data = load_gan(broken[1] / "model.keras"), make_data()
    images = scored_pictures(gan)
    with np.load(broken[1] / "landscape.npz") as file:
        found = dict(file)
    steps, n = boundary_scoring.STEPS, SIZES["test"]
    shapes = {"real": (n,), "train": (min(SIZES["train"], n),), "fake": (16,), "noise": (n,)}
    shapes |= {"at": (steps,), "ways": (WAYS, steps), "plane": (steps, steps)}
    assert {name: array.shape for name, array in found.items()} == shapes
    assert all(np.isfinite(array).all() for array in found.values())
    test = data.test.as_range("unit")
    fake, real = discriminate(gan, images), discriminate(gan, test)
    near = most_alike(images, test, "unit")[0][:WAYS]
    how = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(found["fake"], fake, **how)
    np.testing.assert_allclose(found["real"], real, **how)
    trained = discriminate(gan, data.train.as_range("unit"))
    np.testing.assert_allclose(found["train"], trained, **how)
    zero, one = (int(np.abs(found["at"] - place).argmin()) for place in (0, 1))
    assert list(found["at"][[zero, one]]) == pytest.approx([0, 1], abs=1e-6)
    assert np.ptp(real) > 1e-3  # or any picture would do
    np.testing.assert_allclose(found["ways"][:, zero], fake[:WAYS], **how)
    np.testing.assert_allclose(found["ways"][:, one], real[near], **how)
    middle = discriminate(gan, (images[:WAYS] + test[near]) / 2)
    np.testing.assert_allclose(found["ways"][:, (zero + one) // 2], middle, **how)
    plane = found["plane"]
    np.testing.assert_allclose(plane[zero], found["ways"][0], **how)
    others = np.delete(real, near[0])
    assert np.abs(others - plane[one, zero]).min() < 1e-4  # a row a place in the second direction


def test_few_pictures_left(finished):
    names = {path.name for path in finished[1].iterdir()}
    assert {"model.keras", "samples.png", "neighbours.png", "landscape.npz"} < names
    assert "checkpoints" not in names
    assert json.loads((finished[1] / "result.json").read_text())["status"] == "done"


# -- how else a trial ends -----------------------------------------------------------------------


def test_an_interrupted_trial_goes_on_as_if_nothing_had_happened(finished, tmp_path):
    epochs, factors = [], iter(FACTORS)

    def interrupt(epoch, _):
        epochs.append(epoch)
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_tiny(tmp_path, factors, interrupt, **REPAIRS)
    resumed, folder = run_tiny(tmp_path, factors, lambda epoch, _: epochs.append(epoch), **REPAIRS)
    assert epochs == [1, 2, 3]
    both = [
        {key: value for key, value in result["metrics"].items() if key not in TIMES}
        for result in (resumed, finished[0])
    ]
    assert ganlib_study.plain(both[0]) == ganlib_study.plain(both[1])
    histories = [pandas.read_csv(path / "history.csv") for path in (folder, finished[1])]
    pandas.testing.assert_frame_equal(*(h.drop(columns="seconds") for h in histories))
    for name in ("samples.png", "neighbours.png"):
        assert (folder / name).read_bytes() == (finished[1] / name).read_bytes()


def test_a_trial_stops_once_all_is_high(tmp_path):
    high = (0.0, 0.0, -1.0)
    result, folder = run_tiny(tmp_path, high=high, patience=2, epochs=4)
    metrics = result["metrics"]
    assert (result["status"], metrics["epochs"]) == ("stopped", 2)
    assert metrics["high"]["s3"] < 0
    assert len(pandas.read_csv(folder / "history.csv")) == 2
    assert math.isfinite(metrics["scores"]["last"]["score"])
    assert not metrics["findings"]


def test_weights_that_break_in_training_leave_the_best_epoch_before(broken):
    result, folder = broken
    metrics = result["metrics"]
    assert result["status"] == "stopped", result
    assert (metrics["best_epoch"], metrics["epochs"], metrics["scores"]["last"]) == (1, 2, None)
    assert [finding["check"] for finding in metrics["findings"]] == ["non_finite_loss"]
    history = pandas.read_csv(folder / "history.csv")
    assert list(history["s1"].notna()) == [True, False]
    gan, data = load_gan(folder / "model.keras"), make_data()
    assert Criteria(gan, data, tiny())()["score"] == pytest.approx(history["score"][0], rel=1e-5)
    best = metrics["scores"]["best"]
    real = discriminate(gan, data.test.as_range("unit")).astype("float64")
    assert best["s1"] == pytest.approx(np.mean(1 / (1 + np.exp(-real))), rel=1e-5)
    images = scored_pictures(gan)
    wanted = s3(images, data.test.as_range("unit"), "unit").value
    assert best["s3"] == pytest.approx(wanted, rel=1e-4)


def test_a_trial_that_breaks_at_once_tells_of_its_first_weights(tmp_path):
    result, folder = run_tiny(tmp_path, g_learning_rate=1e30, d_learning_rate=1e30)
    metrics = result["metrics"]
    assert result["status"] == "stopped", result
    assert (metrics["best_epoch"], metrics["epochs"], metrics["scores"]["last"]) == (0, 1, None)
    assert all(math.isfinite(metrics["scores"]["best"][key]) for key in (*TRIED, "score"))
    assert "s1" not in pandas.read_csv(folder / "history.csv")
    assert (folder / "samples.png").exists()
