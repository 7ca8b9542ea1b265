"""The U-Net grid: its cells, tiny trainings of two stages with their report, and its verdicts."""

import dataclasses
import json
import math
import zlib
from unittest import mock

import keras
import numpy as np
import pandas
import pytest

from ganlib.data import Images
from ganlib.data.parts import Parts
from ganlib.experiment.machine import StudyError
from ganlib.experiment.run import DONE, OUT_OF_MEMORY, Run, run_trial
from ganlib.metrics.segmentation import baselines, score_masks
from ganlib.report.claims import CANNOT_TELL, REFUTED, SUPPORTED
from ganlib.studies import unet, unet_report
from ganlib.studies.unet_figures import FIGURES
from ganlib.studies.unet_report import TABLES, UnetResults, write_report

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

    changed = {"variations": chosen, "profiles": {"quick": TINY}} if some else {}
    return dataclasses.replace(unet.STUDY, load=lambda *_: DATA, **changed)


def test_the_grid_has_36_cells_and_four_controls():
    study = plan().at("quick", seeds=2)
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
    study = plan().at("quick", seeds=2)
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

    study = plan(CELLS).at("quick", changes={"plateau_patience": 2, "patience": 3})
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


def test_the_whole_report(ran, tmp_path):
    study, _, found, _, out = ran
    report = write_report(study, found, DATA, out, tmp_path)
    names = {path.name for path in report.path.iterdir()}
    assert {f"{name}.pdf" for name in set(FIGURES) - {"mispaired"}} <= names
    assert {f"{name}.csv" for name in (*TABLES, "following", "claims")} <= names
    assert "nan" not in (report.path / "trials.md").read_text()
    following = pandas.read_csv(report.path / "following.csv")
    assert list(following["on"]) == ["squares 0", "squares 3", "squares 3"]
    raw = ("_soft", "p_adjusted", "omega2")  # names are for people
    heads = [(report.path / f"{name}.csv").read_text().partition("\n")[0] for name in TABLES]
    assert not [head for head in heads for name in raw if name in head]
    run = json.loads((report.path / "run.json").read_text())
    assert sum(run["verdicts"].values()) == len(pandas.read_csv(report.path / "claims.csv"))
    ours = UnetResults(study, found, DATA, out)  # of one seed a cell
    assert verdict(ours, "One of the 2 cells is the best.") == CANNOT_TELL
    assert set(ours.guidelines()["firmness"].str[:6]) == {"A hint"}
    with pytest.raises(StudyError, match=r"No cell of the grid.*Received: mispaired"):
        UnetResults(study, found[3:], DATA, out)


METRICS = {"loss_mad": 0.05, "loss_std": 0.1, "best_epoch": 2, "epochs": 3, "gap": 0.01}
METRICS |= {"seconds_per_epoch": 2.0, "processor_seconds_per_epoch": 3.0, "memory": 2**30}
METRICS |= {"device_memory": None, "jaccard": 0.8, "jaccard_soft": 0.7}
MIDDLE = {1e-4: -0.1, 5e-4: 0.0, 1e-3: 0.0, 5e-3: -0.1}
RATES = {"unet": 5e-4, "attention_unet": 1e-3, "attention_resunet": 1e-3}


def grid(jaccard=lambda *cell: 0.0, loss_std=lambda *cell: 1.0, scale=0.002, seeds=3, **others):
    """`UnetResults` of an invented grid.

    `jaccard` and `loss_std` are effects of `(architecture, batch size, rate)`, or a status; `scale`
    is the noise on the Jaccard. `others`: further trials' metrics; "cells": those of all cells.
    """
    study, random = plan().at("quick", seeds=seeds), np.random.default_rng(0)
    made, probabilities, masks = {}, {}, DATA.test.masks

    def numbers(trial):
        if trial.name in others:
            return others[trial.name](trial)
        cell = [getattr(trial.recipe, field) for field in unet.FIELDS]
        told = jaccard(*cell)
        if isinstance(told, str):
            return told
        seed = zlib.crc32(f"{trial.name}-seed{trial.seed}".encode())
        mine, spread = np.random.default_rng(seed).normal(size=2) * (scale, 0.05)
        std = 0.1 * math.exp(spread) * loss_std(*cell)
        return {"jaccard": 0.7 + told + mine, "loss_std": std, **others.get("cells", {})}

    def result(trial):
        told, metrics = numbers(trial), {}
        status = told if isinstance(told, str) else DONE
        if status == DONE:
            found = np.clip(0.3 + 0.4 * masks + random.normal(0, 0.15, masks.shape), 0, 1)
            probabilities[trial.id] = found.astype("float32")
            test = score_masks(found, masks)
            test["jaccard"] = told.pop("test_jaccard", test["jaccard"])
            metrics = METRICS | {"test": test, "baselines": baselines(masks)} | told
        about = {"id": trial.id, "name": trial.name, "seed": trial.seed, "seconds": 1.0}
        return {**about, "recipe": vars(trial.recipe), "status": status, "metrics": metrics}

    def known(some, out=""):
        for trial in some.trials:
            if trial.id not in made and trial.name in (*others, unet.name_of(trial.recipe)):
                made[trial.id] = result(trial)
        return [made[trial.id] for trial in some.trials if trial.id in made]

    with mock.patch.object(unet_report, "results", known):
        found = UnetResults(study, known(study), DATA, "nowhere")
    found.predictions = probabilities.__getitem__
    history = pandas.DataFrame({"epoch": [1, 2, 3], "val_loss": [1.0, 0.5, 0.4]})
    found.histories = {r["id"]: history.assign(val_jaccard=0.5) for r in found.results}
    return found


def verdict(found, part):
    """That of the one claim with this in its statement."""
    (claim,) = [claim for claim in found.claims if part in claim.statement]
    assert claim.evidence
    assert "nan" not in claim.evidence
    return claim.verdict


def test_noise_supports_nothing():
    found = grid(scale=0.01)
    supported = [claim.statement for claim in found.claims if claim.verdict == SUPPORTED]
    assert all("consistent" in each or "ensemble" in each for each in supported)
    assert verdict(found, "One of the 36 cells is the best") == CANNOT_TELL
    assert set(found.guidelines()["avoid"]) == {"none that can be told"}
    assert verdict(found, "memory limits batch 32") == REFUTED


@pytest.mark.parametrize(("sign", "wanted"), [(1, SUPPORTED), (-1, REFUTED)])
def test_effects_that_the_hypotheses_expect_are_found(sign, wanted):
    height = dict(zip(unet.ARCHITECTURES, (1.5, 1.0, 0.5)[::sign], strict=True))

    def jaccard(architecture, batch, rate):
        best = RATES[architecture] if sign > 0 else 5e-3
        told = sign * height[architecture] * MIDDLE[rate] + 0.1 * (rate == best)
        gain = 0.05 if sign > 0 else -0.3
        return told + gain * (architecture == "attention_unet") * (batch == 32)

    def loss_std(architecture, batch, rate):
        return batch ** (-sign * (2.0 if architecture == "unet" else 1.0))

    found = grid(jaccard, loss_std, scale=0.002 if sign > 0 else 0.03)
    parts = ["5e-4 to 1e-3 give the best", "falls with the batch size", "calm UNet most"]
    parts += ["UNet is the most sensitive", "the most robust", "Attention_UNet gains most"]
    for part in (*parts, "consistent"):
        assert (part, verdict(found, part)) == (part, wanted)
    for part in ("best rate for unet is", "The learning rate changes", "36 cells is the best"):
        assert wanted == REFUTED or verdict(found, part) == SUPPORTED


def test_cells_that_ran_out_of_memory():
    found = grid(lambda a, batch, rate: OUT_OF_MEMORY if batch == 32 else 0.0, seeds=1)
    assert verdict(found, "memory limits batch 32") == SUPPORTED
    assert verdict(found, "falls with the batch size") == CANNOT_TELL
    assert len(found.out_of_memory) == 12


@pytest.mark.parametrize(
    ("scores", "wanted"),
    [([0.79, 0.8, 0.805], SUPPORTED), ([0.85, 0.86, 0.84], REFUTED), ([0.6, 0.8, 0.99], None)],
)
def test_the_earlier_setting_and_what_followed_are_judged_by_seed(scores, wanted):
    def told(score):
        return lambda trial: {"test_jaccard": score + 0.001 * trial.seed}

    def earlier(trial):
        return {"test_jaccard": scores[trial.seed], "loss_std": 0.4, "best_epoch": 9}

    others = {"longer": told(1.0), "second-from-scratch": told(0.8), "mispaired": told(0.05)}
    others["second-fine-tuned"] = lambda trial: told(0.7)(trial) | {"before": {"jaccard": 0.4}}
    others |= {"cells": {"test_jaccard": 0.8, "loss_std": 0.1}, **dict.fromkeys(EARLIER, earlier)}
    found = grid(**others)
    assert verdict(found, "match or beat") == (wanted or CANNOT_TELL)
    assert verdict(found, "std at most half of that before") == SUPPORTED
    assert verdict(found, "converge in fewer epochs") == SUPPORTED
    assert verdict(found, "better with up to 12 epochs") == SUPPORTED
    assert verdict(found, "On a second set it helps") == REFUTED
    assert verdict(found, "With the masks of other pictures") == SUPPORTED
    assert found.following()["Jaccard before any training"].tolist()[:2] == ["", ""]
