"""The U-Net grid: its cells, tiny trainings of two stages, and a network of one's own."""

import dataclasses
from unittest import mock

import keras
import numpy as np
import pytest

from ganlib.data import Images
from ganlib.data.parts import Parts
from ganlib.experiment.machine import StudyError
from ganlib.experiment.run import DONE, Run, run_trial
from ganlib.studies import unet

CELLS = ("unet-lr0.0005-bs8", "attention_unet-lr0.005-bs8", "earlier-unet", "mispaired")
TINY = {"filters": 2, "depth": 1, "size": 16, "epochs": 6, "batch_size": 8, "momentum": 0.5}
EARLIER = [f"earlier-{architecture}" for architecture in unet.ARCHITECTURES]


def tiles(seed):
    """Bright squares on a noisy ground."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((24, 16, 16, 1), np.uint8)
    for mask, (row, column) in zip(masks, rng.integers(0, 10, (24, 2)), strict=True):
        mask[row : row + 6, column : column + 6] = 1
    images = (80 * masks + rng.integers(0, 100, masks.shape)).astype(np.uint8)
    return Images(images, masks, name=f"squares {seed}")


DATA = unet.TileData(*(Parts(*map(tiles, seeds)) for seeds in ((0, 1, 2), (3, 4, 5))))


def plan(some=None):
    """The study on small tiles, or a part of it with tiny networks."""

    def chosen(study):
        found = unet.variations(study)
        return {name: r for name, r in found.items() if study.after or name in some}

    changed = {"variations": chosen, "profiles": {"cpu": TINY}} if some else {}
    return dataclasses.replace(unet.STUDY, load=lambda *_: DATA, **changed)


def test_the_grid_has_36_cells_and_four_controls():
    assert len(plan().at("quick").recipes) == len(unet.QUICK_GRID) + 2
    study = plan().at("cpu", seeds=2)
    assert len(study.trials) == len({trial.id for trial in study.trials}) == 2 * 40
    cells = {tuple(getattr(t.recipe, f) for f in unet.FIELDS) for t in study.trials[:36]}
    assert cells == set(unet.GRID)
    assert len(cells) == 36
    assert list(study.recipes)[36:] == [*EARLIER, "mispaired"]
    # Rates, masks and sets are numbers in one compiled program; the earlier setting is a cell's.
    assert len({unet.shape_of(trial.recipe) for trial in study.trials}) == 9
    with pytest.raises(ValueError, match="Received: batch_size, learning_rate"):
        plan().at("quick", changes={"learning_rate": 1e-3, "batch_size": 8, "epochs": 2})


def test_the_best_cell_is_the_first_with_the_best_mean_and_others_follow_it():
    study = plan().at("cpu", seeds=2)
    scores = {"unet-lr0.0001-bs8": (0.95, 0.5), "attention_unet-lr0.0005-bs32": (0.8, 0.9)}
    scores |= dict.fromkeys((*EARLIER, "mispaired"), (0.99, 0.99))  # these are no cells
    found = [{"name": t.name, "recipe": vars(t.recipe), "metrics": {}} for t in study.trials]
    for trial, result in zip(study.trials, found, strict=True):
        result["metrics"]["jaccard"] = scores.get(trial.name, (0.7, 0.7))[trial.seed]
    best = {"architecture": "attention_unet", "batch_size": 32, "learning_rate": 5e-4}
    assert unet.best_cell(study, found) == best
    for result in found:
        result["metrics"]["jaccard"] = 0.5
        result["name"] = "mispaired" if result["name"] == "mispaired" else "no setting is in it"
    assert unet.best_cell(study, found) == dict(zip(unet.FIELDS, unet.GRID[0], strict=True))
    assert unet.best_cell(study, found[36:40]) is None
    study = plan().at("cpu", seeds=1, after={**best, "architecture": "unet"})
    longer, scratch, tuned = (trial.recipe for trial in study.trials)
    assert (unet.STUDY.epochs(longer), scratch.second, scratch.start) == (120, True, "")
    assert tuned == dataclasses.replace(scratch, start="unet-lr0.0005-bs32")
    assert {unet.shape_of(r) for r in (longer, scratch, tuned)} == {unet.shape_of(scratch)}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """`(study, its second stage, results of both, folder of the runs)`."""
    out = tmp_path_factory.mktemp("runs")
    compile = keras.Model.compile

    def without_xla(*args, **options):  # which would take most of the time
        return compile(*args, **{**options, "jit_compile": False})

    study = plan(CELLS).at("cpu", seeds=1, changes={"plateau_patience": 2, "patience": 3})
    unet._compiled.cache_clear()
    with mock.patch.object(keras.Model, "compile", without_xla):
        found = [run_trial(study, trial, out) for trial in study.trials]
        following = study.next(found)
        more = [run_trial(following, trial, out) for trial in following.trials]
    unet._compiled.cache_clear()
    assert not [r for r in found + more if "error" in r]
    return study, following, found, more, out


def test_the_second_stage_begins_with_the_best_cells_weights(ran, tmp_path):
    study, following, found, more, _ = ran
    best = max(found[:2], key=lambda r: r["metrics"]["jaccard"])
    assert [r["name"] for r in more] == ["longer", "second-from-scratch", "second-fine-tuned"]
    assert more[2]["recipe"]["start"] == best["name"]
    assert more[2]["metrics"]["before"]["jaccard"] != more[1]["metrics"]["test"]["jaccard"]
    assert following.next(more) is None
    assert study.data is following.data
    trial = following.trials[2]
    with pytest.raises(StudyError, match=r"run that one first.*no result yet"):
        unet.start_from(trial, unet.prepare(trial.recipe, 0), Run(tmp_path / "unet" / "other"))


def test_with_masks_of_other_pictures_the_score_is_near_the_floor(ran):
    found = {r["name"]: r["metrics"] for r in ran[2]}
    floor = found["mispaired"]["baselines"]["foreground"]["jaccard"]
    assert floor == pytest.approx(36 / 256)
    assert found["mispaired"]["test"]["jaccard"] < floor + 0.1
    assert max(found[name]["test"]["jaccard"] for name in CELLS[:3]) > floor + 0.2


def test_an_architecture_of_ones_own(tmp_path):
    images = keras.Input((16, 16, 1))
    logits = keras.layers.Conv2D(1, 3, padding="same")(images)
    one = plan(CELLS).at("cpu", seeds=2, changes={"epochs": 1})
    mine = one.with_variation("mine", architecture=keras.Model(images, logits)).select("mine")
    first, second = (unet.prepare(trial.recipe, trial.seed) for trial in mine.trials)
    assert first is second  # one compiled program, with the second's initial values
    found = run_trial(mine, mine.trials[0], tmp_path)
    assert (found["status"], found["metrics"]["parameters"]) == (DONE, 10)
