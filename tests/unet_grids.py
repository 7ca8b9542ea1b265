"""Small tiles, tiny recipes and invented grids for the tests of the U-Net study."""

import contextlib
import dataclasses
import functools
import zlib
from unittest import mock

import keras
import numpy as np
import pandas
import pytest

from ganlib.data import Images
from ganlib.experiment.study import (
    DONE,
    FINAL,
    Study,
    run_folder,
    run_trial,
    write_json,
)
from ganlib.metrics.segmentation import baselines, score_masks
from ganlib.stats import grid as best
from ganlib.studies import unet, unet_report, unet_training
from ganlib.studies.unet_report import UnetResults

EPOCHS = 3
METRICS = {
    "loss_std": 0.1,
    "loss_mad": 0.05,
    "best_epoch": 2,
    "epochs": EPOCHS,
    "gap": 0.01,
    "gap_last": 0.02,
    "seconds_per_epoch": 2.0,
    "processor_seconds_per_epoch": 3.0,
    "processor_seconds": 9.0,
    "seconds": 6.0,
    "memory": 2**30,
    "device_memory": None,
    "parameters": 1000,
    "model_bytes": 5000,
}


# -- data ----------------------------------------------------------------------------------------


def tiles(seed, n=12):
    """Bright squares on a noisy ground."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((n, 16, 16, 1), np.uint8)
    for mask, (row, column) in zip(masks, rng.integers(0, 10, (n, 2)), strict=True):
        mask[row : row + 6, column : column + 6] = 1
    images = (80 * masks + rng.integers(0, 100, masks.shape)).astype(np.uint8)
    return Images(images, masks, groups=np.arange(n))


def make_data(n=12):
    return unet.TileData([tiles(0, n), tiles(1, n), tiles(2, n)])


DATA = make_data()
BASELINES = baselines(DATA.test.masks, DATA.train.foreground)


# -- training ------------------------------------------------------------------------------------


@contextlib.contextmanager
def cheap():
    """Networks compiled once for all tests, and not by XLA, which would take most of the time."""
    compile = keras.Model.compile

    def without_xla(*args, **options):
        if keras.backend.backend() == "tensorflow":
            options["jit_compile"] = False
        return compile(*args, **options)

    with (
        mock.patch.object(keras.Model, "compile", without_xla),
        mock.patch.object(unet_training, "_compiled", compiled),
    ):
        yield


compiled = functools.lru_cache(unet_training._compiled.__wrapped__)


def tiny(**settings):
    small = {"filters": 2, "depth": 1, "size": 16, "batch_size": 4, "epochs": EPOCHS}
    # Of one shape, so that what is compiled serves nearly all tests.
    small |= {"plateau_patience": 2, "patience": 3, "least_learning_rate": 1e-12}
    return unet.Recipe(**{**small, "learning_rate": 0.2, "momentum": 0.5, **settings})


def study_of(*trials):
    """A study of these trials alone."""

    def shape(trial):
        return unet.shape_of(trial.recipe)

    return Study("unet", "", trials, make_data, unet.train, "none", {}, lambda t: 1, shape)


def run_one(out, trial, progress=None, data=None):
    """`(result, run folder)` of one trial."""
    study = study_of(trial)
    result = run_trial(study, trial, data or make_data(), out, progress)
    return result, run_folder(study, trial, out)


# -- invented grids ------------------------------------------------------------------------------


def called(trial):
    """Tells trials apart, and stays when a profile's sizes change, as an id does not."""
    return f"{trial.name}-seed{trial.seed}"


def noise(trial, scale=1.0, what=""):
    """A number that only this trial has; `what` tells several apart."""
    seed = zlib.crc32(f"{called(trial)} {what}".encode())
    return scale * float(np.random.default_rng(seed).normal())


def cell(trial):
    """`(architecture, batch size, learning rate)`."""
    return tuple(getattr(trial.recipe, field) for field in unet.FIELDS)


@functools.cache
def predicted(name):
    """`(the truth under noise, its scores)`."""
    masks = DATA.test.masks
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    found = 0.3 + 0.4 * masks + rng.normal(0, 0.15, masks.shape)
    found = np.clip(found, 0, 1).astype("float16")
    return found, score_masks(found, masks)


@pytest.fixture(autouse=True, scope="module")
def few_draws():
    """For p values with a digit less; import it where many grids are judged."""
    best._draws.cache_clear()
    with mock.patch.object(best, "DRAWS", 4000):
        yield
    best._draws.cache_clear()


@functools.cache
def make_study(seeds, profile="quick", **options):
    """The grid study with small data, and what follows it, too."""

    def small(study):
        return study and dataclasses.replace(
            study, load_data=lambda: DATA, following=lambda found: small(follow(study, found))
        )

    def follow(study, found):
        return study.following(found)

    return small(unet.build(profile, seeds=seeds, **options))


def make_result(trial, numbers):
    """`(result, probabilities)` of a trial with such numbers."""
    result = {"study": "unet", "id": trial.id, "name": trial.name, "seed": trial.seed}
    result |= {"recipe": dataclasses.asdict(trial.recipe), "data_checksum": DATA.checksum}
    result |= {"status": DONE, "metrics": {}, "seconds": 1.5}
    if isinstance(numbers, str):
        return result | {"status": numbers, "error": "Invented."}, None
    numbers = dict(numbers)
    probabilities, test = predicted(called(trial))
    if "probabilities" in numbers:
        probabilities = numbers.pop("probabilities")
        test = score_masks(probabilities, DATA.test.masks)
    test = dict(test)
    test["jaccard"] = numbers.pop("test_jaccard", test["jaccard"])
    metrics = METRICS | {"jaccard": 0.8, "jaccard_soft": 0.7, "test": test}
    metrics |= {"baselines": BASELINES, **numbers}
    if trial.recipe.start:
        metrics.setdefault("before", {"jaccard": 0.4})
    return result | {"metrics": metrics}, probabilities


@functools.cache
def make_history(seed):
    epochs = np.arange(EPOCHS) + 1
    falling = 1 / (epochs + seed)
    columns = {"loss": falling, "val_loss": 1.1 * falling, "val_jaccard": 1 - falling / 2}
    return pandas.DataFrame({"epoch": epochs, **columns, "learning_rate": 1e-3, "seconds": 1.0})


class Made(UnetResults):
    """Results whose predictions and histories are at hand."""

    def predictions(self, run_id):
        return self.made[run_id].astype("float32")


def made_up(numbers, seeds=3, out=None, **options):
    """`UnetResults` of an invented grid.

    Args:
        numbers: `(trial) -> dict` of metrics for `METRICS`, "jaccard", "test_jaccard" or
            "probabilities"; or a status such as "failed"; or None: the trial has no result.
        seeds: int.
        out: folder into which run directories are written; None: nothing is written.
        **options: for `ganlib.studies.unet.build`.
    """
    study = make_study(seeds, **options)
    results, made = {}, {}

    trials = {}

    def add(some):
        for trial in some:
            trials[trial.id] = trial
            if (told := numbers(trial)) is not None:
                results[trial.id], made[trial.id] = make_result(trial, told)

    add(study.trials)
    if following := study.following([r for r in results.values() if r["status"] == DONE]):
        add(following.trials)

    def known(study, out):
        return [results[trial.id] for trial in study.trials if trial.id in results]

    if out is not None:
        for each in filter(None, (study, following)):
            _write(each, known(each, out), made, out)
    with (
        mock.patch.object(unet_report, "results", known),
        mock.patch.object(Study, "trial", lambda study, trial_id: trials[trial_id]),
    ):
        found = Made(study, known(study, out), DATA, out or "nowhere")
    found.made = made
    found.histories = {r["id"]: make_history(r["seed"]) for r in found.results}
    return found


def _write(study, results, made, out):
    for result in results:
        folder = run_folder(study, study.trial(result["id"]), out)
        write_json(folder / "result.json", result)
        if result["status"] in FINAL and result["metrics"]:
            make_history(result["seed"]).to_csv(folder / "history.csv", index=False)
            np.savez(folder / "predictions.npz", probabilities=made[result["id"]])


def in_grid(trial):
    return cell(trial) in unet.GRID and trial.name != unet.MISPAIRED


def named(**numbers):
    """`numbers` for `made_up` by the trials' names, with "_" for "-"; "cell": the grid's rest."""
    numbers = {name.replace("_", "-"): told for name, told in numbers.items()}

    def told(trial):
        found = numbers.get(trial.name, numbers.get("cell", {}) if in_grid(trial) else None)
        return found(trial) if callable(found) else found

    return told
