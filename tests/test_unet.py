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
from ganlib.experiment.run import DONE, OUT_OF_MEMORY, Run, results, run_trial
from ganlib.metrics.segmentation import baselines, score_masks
from ganlib.report.claims import CANNOT_TELL, REFUTED, SUPPORTED
from ganlib.studies import unet, unet_report
from ganlib.studies.unet_report import TABLES, UnetResults, write_report

CELLS = ("unet-lr0.0005-bs8", "attention_unet-lr0.005-bs8", "earlier-unet", "mispaired")
TINY = {"filters": 2, "depth": 1, "size": 16, "epochs": 6, "batch_size": 8, "momentum": 0.5}
EARLIER = [f"earlier-{architecture}" for architecture in unet.ARCHITECTURES]


def tiles(seed, n=24):
    """Bright squares on a noisy ground."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((n, 16, 16, 1), np.uint8)
    for mask, (row, column) in zip(masks, rng.integers(0, 10, (n, 2)), strict=True):
        mask[row : row + 6, column : column + 6] = 1
    images = (80 * masks + rng.integers(0, 100, masks.shape)).astype(np.uint8)
    return Images(images, masks, name=f"squares {seed}")


DATA = unet.TileData(
    Parts(train=tiles(0), validation=tiles(1), test=tiles(2)),
    Parts(train=tiles(3), validation=tiles(4), test=tiles(5)),
)


def plan(some=None, **settings):
    """The study on small tiles, or a part of it with tiny networks."""

    def chosen(study):
        found = unet.variations(study)
        return {name: r for name, r in found.items() if study.after or name in some}

    changed = {"variations": chosen, "profiles": {"quick": {**TINY, **settings}}} if some else {}
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
    assert unet.STUDY.seeds == {"quick": 1, "cpu": 3, "full": 3}


def test_no_setting_is_read_back_out_of_a_name():
    (trial,) = plan().at("quick").select("unet-lr0.001-bs16").trials
    renamed = dataclasses.replace(trial, name="attention_unet-lr5-bs2")
    result = {"name": renamed.name, "recipe": dataclasses.asdict(renamed.recipe)}
    found = unet.best_cell(unet.STUDY, [{**result, "metrics": {"jaccard": 0.5}}])
    assert found == {"architecture": "unet", "batch_size": 16, "learning_rate": 1e-3}


def test_what_the_grid_varies_can_not_be_changed():
    with pytest.raises(ValueError, match="Received: batch_size, learning_rate"):
        plan().at("quick", changes={"learning_rate": 1e-3, "batch_size": 8, "epochs": 2})


def test_the_best_cell_is_the_first_with_the_best_mean():
    study = plan().at("quick", seeds=2)
    scores = {"unet-lr0.0001-bs8": (0.95, 0.5), "attention_unet-lr0.0005-bs32": (0.8, 0.9)}
    scores |= dict.fromkeys((*EARLIER, "mispaired"), (0.99, 0.99))  # these are no cells
    found = [
        {"name": t.name, "recipe": dataclasses.asdict(t.recipe)}
        | {"metrics": {"jaccard": scores.get(t.name, (0.7, 0.7))[t.seed]}}
        for t in study.trials
    ]
    best = {"architecture": "attention_unet", "batch_size": 32, "learning_rate": 5e-4}
    assert unet.best_cell(study, found) == best
    for result in found:
        result["metrics"]["jaccard"] = 0.5
    assert unet.best_cell(study, found) == dict(zip(unet.FIELDS, unet.GRID[0], strict=True))
    assert unet.best_cell(study, found[36:40]) is None


def test_what_follows_the_best_cell():
    best = {"architecture": "unet", "batch_size": 32, "learning_rate": 5e-4}
    study = plan().at("cpu", seeds=1, after=best)
    longer, scratch, tuned = (trial.recipe for trial in study.trials)
    assert unet.STUDY.epochs(longer) == 120
    assert (scratch.second, scratch.start) == (True, "")
    assert tuned == dataclasses.replace(scratch, start="unet-lr0.0005-bs32")
    assert {unet.shape_of(r) for r in (longer, scratch, tuned)} == {unet.shape_of(scratch)}
    assert DATA.of(tuned) is DATA.second
    assert DATA.of(longer) is DATA.first


def test_two_sets_are_loaded_once():
    study = unet.STUDY.at("quick", changes={"most": 8, "held_out": 8, "size": 16})
    data = study.data
    assert [part.images.shape for part in (data.train, data.test)] == [(8, 16, 16, 1)] * 2
    assert data.second.name != data.name
    assert data.checksum == data.first.checksum + data.second.checksum
    assert {trial.data for trial in study.trials} == {data.checksum}


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
        assert not [r for r in found if "error" in r], [r.get("error") for r in found]
        following = study.next(found)
        more = [run_trial(following, trial, out) for trial in following.trials]
    unet._compiled.cache_clear()
    assert not [r for r in more if "error" in r], [r.get("error") for r in more]
    return study, following, found, more, out


def test_the_second_stage_begins_with_the_best_cells_weights(ran):
    study, following, found, more, _ = ran
    best = max(found[:2], key=lambda r: r["metrics"]["jaccard"])
    assert [r["name"] for r in more] == ["longer", "second-from-scratch", "second-fine-tuned"]
    assert more[2]["recipe"]["start"] == best["name"]
    assert more[2]["metrics"]["before"]["jaccard"] != more[1]["metrics"]["test"]["jaccard"]
    assert all("before" not in r["metrics"] for r in more[:2])
    assert following.next(more) is None
    assert study.data is following.data


def test_a_trial_waits_for_the_one_that_it_begins_with(ran, tmp_path):
    _, following, *_ = ran
    model = unet.prepare(following.trials[2].recipe, 0)
    with pytest.raises(StudyError, match=r"run that one first.*no result yet"):
        unet.start_from(following.trials[2], model, Run(tmp_path / "unet" / "other"))


def test_with_masks_of_other_pictures_the_score_is_near_the_floor(ran):
    found = {r["name"]: r["metrics"] for r in ran[2]}
    floor = found["mispaired"]["baselines"]["foreground"]["jaccard"]
    assert floor == pytest.approx(36 / 256)
    assert found["mispaired"]["test"]["jaccard"] < floor + 0.1
    assert max(found[name]["test"]["jaccard"] for name in CELLS[:3]) > floor + 0.2


def test_what_has_finished_is_not_trained_again(ran):
    study, _, found, _, out = ran
    with mock.patch.object(keras.Model, "fit", side_effect=AssertionError):
        again = [run_trial(study, trial, out) for trial in study.trials]
    assert again == found == results(study, out)


def test_the_whole_report(ran, tmp_path):
    study, _, found, _, out = ran
    report = write_report(study, found, DATA, out, tmp_path)
    names = {path.name for path in report.path.iterdir()}
    figures = ("heatmaps", "interactions", "stability", "pareto", "ranking", "curves")
    assert {f"{name}.pdf" for name in (*figures, "examples")} <= names
    assert {f"{name}.csv" for name in (*TABLES, "following", "claims")} <= names
    assert "nan" not in (report.path / "trials.md").read_text()
    following = pandas.read_csv(report.path / "following.csv")
    assert list(following["on"]) == ["squares 0", "squares 3", "squares 3"]
    raw = ("_soft", "p_adjusted", "omega2")  # names are for people
    heads = [(report.path / f"{name}.csv").read_text().partition("\n")[0] for name in TABLES]
    assert not [head for head in heads for name in raw if name in head]
    run = json.loads((report.path / "run.json").read_text())
    assert sum(run["verdicts"].values()) == len(pandas.read_csv(report.path / "claims.csv"))


def test_one_seed_a_cell_decides_nothing_about_cells(ran):
    study, _, found, _, out = ran
    ours = UnetResults(study, found, DATA, out)
    verdicts = {claim.statement: claim.verdict for claim in ours.claims}
    assert verdicts["One of the 2 cells is the best."] == CANNOT_TELL
    assert set(ours.guidelines()["firmness"].str[:6]) == {"A hint"}
    with pytest.raises(StudyError, match=r"No cell of the grid.*Received: mispaired"):
        UnetResults(study, found[3:], DATA, out)


METRICS = {"loss_mad": 0.05, "loss_std": 0.1, "best_epoch": 2, "epochs": 3, "gap": 0.01}
METRICS |= {"seconds_per_epoch": 2.0, "processor_seconds_per_epoch": 3.0, "memory": 2**30}
METRICS |= {"device_memory": None, "jaccard": 0.8, "jaccard_soft": 0.7}
MIDDLE = {1e-4: -0.1, 5e-4: 0.0, 1e-3: 0.0, 5e-3: -0.1}


def noise(trial, scale, what=""):
    """A number that only this trial has; `what` tells several apart."""
    seed = zlib.crc32(f"{trial.name}-seed{trial.seed} {what}".encode())
    return scale * float(np.random.default_rng(seed).normal())


def made_up(numbers, seeds=3):
    """`UnetResults` of invented trials: `numbers(trial)` is a dict of metrics, a status or None."""
    study = plan().at("quick", seeds=seeds)
    random = np.random.default_rng(0)
    made, probabilities = {}, {}

    def add(some):
        for trial in some.trials:
            told = numbers(trial)
            if told is None:
                continue
            made[trial.id] = result = {"id": trial.id, "name": trial.name, "seed": trial.seed}
            result |= {"recipe": dataclasses.asdict(trial.recipe), "seconds": 1.0}
            result |= {"status": told if isinstance(told, str) else DONE, "metrics": {}}
            if isinstance(told, str):
                continue
            masks = DATA.test.masks
            found = np.clip(0.3 + 0.4 * masks + random.normal(0, 0.15, masks.shape), 0, 1)
            probabilities[trial.id] = found.astype("float32")
            test = score_masks(found, masks)
            test["jaccard"] = told.pop("test_jaccard", test["jaccard"])
            result["metrics"] = METRICS | {"test": test, "baselines": baselines(masks)} | told

    def known(some, out):
        return [made[trial.id] for trial in some.trials if trial.id in made]

    add(study)
    if following := study.next([r for r in known(study, "") if r["status"] == DONE]):
        add(following)
    with mock.patch.object(unet_report, "results", known):
        found = UnetResults(study, known(study, ""), DATA, "nowhere")
    found.predictions = probabilities.__getitem__
    history = pandas.DataFrame({"epoch": [1, 2, 3], "val_loss": [1.0, 0.5, 0.4]})
    found.histories = {r["id"]: history.assign(val_jaccard=0.5) for r in found.results}
    return found


def grid(jaccard=lambda *cell: 0.0, loss_std=lambda *cell: 1.0, scale=0.002, seeds=3, **others):
    """A grid with effects of `(architecture, batch size, rate)`, and noise on the Jaccard."""

    def numbers(trial):
        if trial.name in others:
            return others[trial.name](trial)
        cell = tuple(getattr(trial.recipe, field) for field in unet.FIELDS)
        if trial.name != unet.name_of(trial.recipe):
            return None
        told = jaccard(*cell)
        if isinstance(told, str):
            return told
        std = 0.1 * math.exp(noise(trial, 0.05, "std")) * loss_std(*cell)
        return {"jaccard": 0.7 + noise(trial, scale) + told, "loss_std": std}

    return made_up(numbers, seeds)


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


def test_effects_that_the_hypotheses_expect_are_found():
    rates = {"unet": 5e-4, "attention_unet": 1e-3, "attention_resunet": 1e-3}
    height = {"unet": 1.5, "attention_unet": 1.0, "attention_resunet": 0.5}

    def jaccard(architecture, batch, rate):
        told = height[architecture] * MIDDLE[rate] + 0.1 * (rate == rates[architecture])
        return told + 0.05 * (architecture == "attention_unet") * (batch == 32)

    found = grid(jaccard, lambda a, batch, rate: batch ** (-2.0 if a == "unet" else -1.0))
    for part in (
        *("5e-4 to 1e-3 give the best", "best rate for unet is", "best rate for attention_unet is"),
        *("falls with the batch size", "calm UNet most", "Attention_UNet gains most"),
        *("UNet is the most sensitive", "the most robust", "The learning rate changes"),
        *("One of the 36 cells is the best", "consistent"),
    ):
        assert (part, verdict(found, part)) == (part, SUPPORTED)


def test_the_opposite_effects_refute_them():
    height = {"unet": 0.5, "attention_unet": 1.0, "attention_resunet": 1.5}

    def jaccard(architecture, batch, rate):
        told = -height[architecture] * MIDDLE[rate] + 0.05 * (rate == 5e-3)
        return told - 0.3 * (architecture == "attention_unet") * (batch == 32)

    found = grid(jaccard, lambda a, batch, rate: batch ** (1.0 if a == "unet" else 0.5), 0.03)
    for part in (
        *("5e-4 to 1e-3 give the best", "falls with the batch size", "calm UNet most"),
        *("UNet is the most sensitive", "the most robust", "Attention_UNet gains most"),
        "consistent",
    ):
        assert (part, verdict(found, part)) == (part, REFUTED)


def test_cells_that_ran_out_of_memory():
    found = grid(lambda a, batch, rate: OUT_OF_MEMORY if batch == 32 else 0.0, seeds=1)
    assert verdict(found, "memory limits batch 32") == SUPPORTED
    assert verdict(found, "falls with the batch size") == CANNOT_TELL
    assert len(found.out_of_memory()) == 12


@pytest.mark.parametrize(
    ("scores", "wanted"),
    [([0.79, 0.8, 0.805], SUPPORTED), ([0.85, 0.86, 0.84], REFUTED), ([0.6, 0.8, 0.99], None)],
)
def test_against_the_earlier_setting(scores, wanted):
    def earlier(trial):
        return {"test_jaccard": scores[trial.seed], "loss_std": 0.4, "best_epoch": 9}

    def numbers(trial):
        if trial.name in EARLIER:
            return earlier(trial)
        cell = trial.name == unet.name_of(trial.recipe)
        return {"test_jaccard": 0.8, "loss_std": 0.1} if cell else None

    found = made_up(numbers)
    assert verdict(found, "match or beat") == (wanted or CANNOT_TELL)
    assert verdict(found, "std at most half of that before") == SUPPORTED
    assert verdict(found, "converge in fewer epochs") == SUPPORTED


def test_what_followed_is_judged_by_seed():
    def told(score):
        return lambda trial: {"test_jaccard": score + 0.001 * trial.seed}

    others = {"longer": told(1.0), "second-from-scratch": told(0.8), "mispaired": told(0.05)}
    others |= dict.fromkeys(EARLIER, told(0.7))
    others["second-fine-tuned"] = lambda trial: told(0.7)(trial) | {"before": {"jaccard": 0.4}}
    found = grid(**others)
    assert verdict(found, "better with up to 12 epochs") == SUPPORTED
    assert verdict(found, "On a second set it helps") == REFUTED
    assert verdict(found, "With the masks of other pictures") == SUPPORTED
    assert found.following()["Jaccard before any training"].tolist()[:2] == ["", ""]
