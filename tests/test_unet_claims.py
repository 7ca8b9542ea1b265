"""The grid's claims on invented numbers: each comes out as what was put in."""

import math

import numpy as np
import pytest
from unet_grids import DATA, cell, few_draws, in_grid, made_up, noise

from ganlib.experiment.study import FAILED, OUT_OF_MEMORY
from ganlib.metrics.segmentation import score_masks
from ganlib.report.claims import CANNOT_TELL, REFUTED, SUPPORTED
from ganlib.studies.unet import ENSEMBLE, MISPAIRED
from ganlib.studies.unet_claims import guidelines
from ganlib.studies.unet_hypotheses import EXPECTED_RATE

__all__ = ["few_draws"]

SMALL = 0.002
FLAT = {1e-4: 0.0, 5e-4: 0.0, 1e-3: 0.0, 5e-3: 0.0}
OTHERS = ("attention_unet", "attention_resunet")


def claim(found, *parts):
    """The one claim whose statement has all these parts."""
    (one,) = [c for c in found.claims if all(part in c.statement for part in parts)]
    assert one.evidence
    assert "nan" not in one.evidence
    return one


def verdict(found, *parts):
    return claim(found, *parts).verdict


def grid(jaccard=None, loss_std=None, seeds=3, scale=SMALL, **others):
    """A grid with such effects: `(architecture, batch, rate) -> float`, and noise on the Jaccard.

    `others`: name of a trial, with "_" for "-", → `(trial) -> dict`.
    """
    others = {name.replace("_", "-"): told for name, told in others.items()}

    def numbers(trial):
        if trial.name in others:
            return others[trial.name](trial)
        if not in_grid(trial):
            return None
        told = {"jaccard": 0.7 + noise(trial, scale)}
        told["jaccard"] += jaccard(*cell(trial)) if jaccard else 0.0
        told["loss_std"] = 0.1 * math.exp(noise(trial, 0.05, "spread"))
        told["loss_std"] *= loss_std(*cell(trial)) if loss_std else 1.0
        return told

    return made_up(numbers, seeds)


@pytest.fixture(scope="module")
def nothing():
    """Noise alone, with three seeds."""
    return grid(scale=0.01)


@pytest.fixture(scope="module")
def once():
    """Noise alone, with one seed."""
    return grid(scale=0.01, seeds=1)


def test_noise_supports_nothing(nothing):
    assert verdict(nothing, "One of the 36 cells is the best") == CANNOT_TELL
    assert "can't be told from the best" in claim(nothing, "One of the").evidence
    assert "with a power of 80 %" in claim(nothing, "One of the").evidence
    assert verdict(nothing, "The learning rate changes") == CANNOT_TELL
    supported = {c.statement for c in nothing.claims if c.verdict == SUPPORTED}
    expected = ("consistent", "An ensemble")  # whose members' noise is averaged
    assert all(any(part in each for part in expected) for each in supported), supported
    assert all(row["avoid"] == "none that can be told" for row in guidelines(nothing))


def test_one_seed_says_what_it_can_not(once):
    assert verdict(once, "consistent") == CANNOT_TELL
    assert claim(once, "consistent").evidence == "One seed a cell: nothing was repeated."
    assert verdict(once, "One of the") == CANNOT_TELL
    assert "One seed a cell" in claim(once, "One of the").evidence
    for part in ("UNet is the most sensitive", "the most robust"):
        assert verdict(once, part) == CANNOT_TELL
        assert "One seed" in claim(once, part).evidence
    assert all("A hint" in row["firmness"] for row in guidelines(once))


# -- the learning rate ---------------------------------------------------------------------------

MIDDLE = {1e-4: -0.1, 5e-4: 0.0, 1e-3: 0.0, 5e-3: -0.1}
EDGES = {rate: -height for rate, height in MIDDLE.items()}


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(
    ("heights", "middle", "matters"),
    [(MIDDLE, SUPPORTED, SUPPORTED), (EDGES, REFUTED, SUPPORTED), (FLAT, None, CANNOT_TELL)],
)
def test_middle_rates(heights, middle, matters, seeds):
    found = grid(lambda a, b, rate: heights[rate], seeds=seeds)
    assert verdict(found, "5e-4 to 1e-3 give the best") in (
        middle,
        *(() if middle else [REFUTED, CANNOT_TELL]),
    )
    assert verdict(found, "The learning rate changes") == matters


def test_one_edge_is_enough_to_refute():
    found = grid(lambda a, b, rate: {1e-4: -0.1, 5e-3: 0.1}.get(rate, 0.0))
    assert verdict(found, "5e-4 to 1e-3 give the best") == REFUTED


def test_the_expected_rate():
    grids = {
        SUPPORTED: grid(lambda a, b, rate: 0.1 * (rate == EXPECTED_RATE[a])),
        REFUTED: grid(lambda a, b, rate: 0.1 * (rate == 5e-3)),
        CANNOT_TELL: grid(lambda a, b, rate: 0.1 * (rate in (EXPECTED_RATE[a], 5e-3))),
    }
    for wanted, found in grids.items():
        for architecture, rate in EXPECTED_RATE.items():
            assert verdict(found, f"best rate for {architecture} is {rate:g}") == wanted


# -- batch sizes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stds", "wanted"),
    [
        ({8: 4, 16: 2, 32: 1}, SUPPORTED),
        ({8: 1, 16: 2, 32: 4}, REFUTED),
        ({8: 4, 16: 1, 32: 2}, REFUTED),  # 16 is calmer than 32
    ],
)
def test_batches_calm(stds, wanted):
    found = grid(loss_std=lambda a, batch, r: stds[batch])
    assert verdict(found, "falls with the batch size") == wanted


@pytest.mark.parametrize(
    ("powers", "wanted"),
    [
        ({"unet": 2, "attention_unet": 1, "attention_resunet": 1}, SUPPORTED),
        ({"unet": 1, "attention_unet": 2, "attention_resunet": 2}, REFUTED),
        # More than the others' mean, and yet not most of all.
        ({"unet": 2, "attention_unet": 3, "attention_resunet": 0}, REFUTED),
    ],
)
def test_batches_calm_unet_most(powers, wanted):
    found = grid(loss_std=lambda a, batch, r: batch ** -powers[a])
    assert verdict(found, "calm UNet most") == wanted


@pytest.mark.parametrize(
    ("gains", "wanted"),
    [
        ({"attention_unet": 0.2}, SUPPORTED),
        ({"unet": 0.2}, REFUTED),
        ({"attention_unet": 0.1, "unet": 0.2, "attention_resunet": -0.2}, REFUTED),
    ],
)
def test_attention_gains_most(gains, wanted):
    found = grid(lambda a, batch, r: gains.get(a, 0.0) * (batch == 32))
    assert verdict(found, "Attention_UNet gains most") == wanted


@pytest.mark.parametrize(
    ("spreads", "sensitive", "robust"),
    [
        ({"unet": 3, "attention_unet": 2, "attention_resunet": 1}, SUPPORTED, SUPPORTED),
        ({"unet": 1, "attention_unet": 2, "attention_resunet": 3}, REFUTED, REFUTED),
        ({"unet": 2, "attention_unet": 3, "attention_resunet": 1}, REFUTED, SUPPORTED),
    ],
)
def test_sensitivity(spreads, sensitive, robust):
    found = grid(lambda a, b, rate: spreads[a] * MIDDLE[rate] / 2)
    assert verdict(found, "UNet is the most sensitive") == sensitive
    assert verdict(found, "the most robust") == robust


# -- memory --------------------------------------------------------------------------------------


def without(*lost):
    """A grid whose cells of some batch sizes and architectures ran out of memory."""

    def numbers(trial):
        if not in_grid(trial):
            return None
        return OUT_OF_MEMORY if lost_one(trial) else {"jaccard": 0.7 + noise(trial, SMALL)}

    def lost_one(trial):
        return any(set(some) <= set(cell(trial)) for some in lost)

    return made_up(numbers, seeds=2)


def test_memory(nothing):
    assert verdict(nothing, "memory limits batch 32") == REFUTED
    for lost in ([(32, "unet")], [(32,)], [(16,), (32,)]):
        found = without(*lost)
        assert verdict(found, "memory limits batch 32") == SUPPORTED
        count = sum(cell in found.out_of_memory() for cell in found.out_of_memory())
        assert claim(found, "memory limits").evidence.startswith(f"{count} cells ran out")
    assert verdict(without((32,)), "falls with the batch size") == CANNOT_TELL
    assert verdict(without((32,)), "gains most") == CANNOT_TELL


def test_memory_before_large_batches_have_run():
    found = made_up(lambda trial: {} if in_grid(trial) and cell(trial)[1] < 32 else None, 1)
    assert verdict(found, "memory limits batch 32") == CANNOT_TELL


# -- ranking and consistency ---------------------------------------------------------------------

WINNER = ("attention_unet", 16, 5e-4)


def test_one_stands_out():
    found = grid(lambda *settings: 0.1 * (settings == WINNER))
    assert verdict(found, "One of the 36 cells is the best") == SUPPORTED
    assert "attention_unet-lr0.0005-bs16 stands alone" in claim(found, "One of the").evidence


def test_unequal_noise_is_no_ranking():
    """All are worse than the best by more than their own noise; but one is far noisier."""

    def numbers(trial):
        if not in_grid(trial):
            return None
        loud = cell(trial) == ("unet", 8, 5e-3)
        level = 0.9 if cell(trial) == WINNER else 0.5
        return {"jaccard": level + noise(trial, 0.1 if loud else 0.0005)}

    found = made_up(numbers)
    assert found.group.alike is False
    assert found.group.group == [found.best]
    assert verdict(found, "One of the 36 cells is the best") == CANNOT_TELL
    assert "Noise is not alike" in claim(found, "One of the").evidence


def test_unequal_noise_is_no_best_rate():
    def numbers(trial):
        if not in_grid(trial):
            return None
        rate = cell(trial)[2]
        return {"jaccard": 0.8 * (rate == 5e-4) + noise(trial, 0.1 if rate == 5e-3 else 0.001)}

    found = made_up(numbers)
    assert verdict(found, "best rate for unet") == CANNOT_TELL
    assert "Noise is not alike" in claim(found, "best rate for unet").evidence
    assert "Noise is not alike" in found.guidelines()["firmness"][0]


@pytest.mark.parametrize(
    ("scale", "wanted"), [(0.001, SUPPORTED), (0.1, REFUTED), (0.016, CANNOT_TELL)]
)
def test_consistency(scale, wanted):
    assert verdict(grid(scale=scale), "consistent over runs") == wanted


@pytest.mark.parametrize(("sign", "wanted"), [(-1, SUPPORTED), (1, REFUTED)])
def test_stability_and_score(sign, wanted):
    found = grid(
        lambda a, batch, rate: sign * 0.001 * batch, lambda a, batch, rate: batch, scale=0.0005
    )
    assert verdict(found, "The steadier the validation loss") == wanted


# -- against the earlier setting -----------------------------------------------------------------


def against(**earlier):
    """The grid beside the earlier setting of all architectures with such numbers, one a seed."""

    def told(trial):
        return {key: values[trial.seed] for key, values in earlier.items()}

    def numbers(trial):
        if trial.name.startswith("earlier-"):
            return told(trial)
        if in_grid(trial):
            jaccard = 0.7 + 0.1 * (cell(trial)[1:] == (16, 1e-3))
            return {"jaccard": jaccard, "loss_std": 0.1, "best_epoch": 5, "test_jaccard": 0.8}
        return None

    return made_up(numbers)


@pytest.mark.parametrize(
    ("key", "values", "part", "wanted"),
    [
        ("loss_std", [0.4, 0.5, 0.6], "at most half", SUPPORTED),
        ("loss_std", [0.11, 0.12, 0.1], "at most half", REFUTED),
        ("loss_std", [0.1, 0.2, 0.9], "at most half", CANNOT_TELL),
        ("test_jaccard", [0.79, 0.8, 0.805], "match or beat", SUPPORTED),
        ("test_jaccard", [0.85, 0.86, 0.84], "match or beat", REFUTED),
        ("test_jaccard", [0.6, 0.8, 0.99], "match or beat", CANNOT_TELL),
        ("best_epoch", [9, 10, 8], "fewer epochs", SUPPORTED),
        ("best_epoch", [2, 3, 2], "fewer epochs", REFUTED),
        ("best_epoch", [1, 5, 9], "fewer epochs", CANNOT_TELL),
    ],
)
def test_success(key, values, part, wanted):
    assert verdict(against(**{key: values}), part) == wanted


def test_success_needs_seeds_in_common():
    """And numbers: of one epoch there is no spread."""

    def numbers(trial):
        if trial.name.startswith("earlier-"):
            return {"loss_std": None} if trial.seed == 1 else None
        return {"loss_std": None} if in_grid(trial) and trial.seed == 0 else None

    found = made_up(numbers, 2)
    for part in ("at most half", "match or beat", "fewer epochs"):
        assert verdict(found, part) == CANNOT_TELL
        assert "no seed has both" in claim(found, part).evidence


@pytest.mark.parametrize(
    ("scores", "wanted"),
    [([0.05, 0.06, 0.07], SUPPORTED), ([0.8, 0.9, 0.8], REFUTED), ([0.0, 0.1, 0.5], CANNOT_TELL)],
)
def test_mispaired(scores, wanted):
    found = grid(mispaired=lambda trial: {"test_jaccard": scores[trial.seed]})
    assert found.baselines["foreground"]["jaccard"] == pytest.approx(36 / 256)
    assert verdict(found, "With the masks of other pictures") == wanted


# -- the ensemble, and what followed -------------------------------------------------------------


def ensembles(wrong, seeds=3, missing=lambda trial: False):
    """A grid whose networks miss some of the squares: `wrong(rank of the cell, seed)`."""
    order = [("unet", 8, rate) for rate in FLAT] + [("unet", 16, 1e-4)]

    def numbers(trial):
        if not in_grid(trial) or missing(trial):
            return None
        if cell(trial) not in order:
            return {"jaccard": 0.1}
        rank = order.index(cell(trial))
        return {"jaccard": 0.9 - 0.01 * rank, "probabilities": wrong(rank, trial.seed)}

    return made_up(numbers, seeds)


def without_square(i):
    found = DATA.test.masks.astype("float16")
    found[i] = 0
    return found


def test_an_ensemble_of_those_that_err_elsewhere_is_better():
    found = ensembles(lambda rank, seed: without_square(rank + seed))
    assert found.members[0] == found.best == "unet-lr0.0001-bs8"
    assert len(found.members) == ENSEMBLE
    assert {scores["jaccard"] for scores in found.ensemble().values()} == {1.0}
    assert verdict(found, f"ensemble of the {ENSEMBLE} best") == SUPPORTED


def test_an_ensemble_is_scored_by_its_mean_probability(nothing):
    masks = nothing.data.test.masks
    for seed, scores in nothing.ensemble().items():
        runs = [r for name in nothing.members for r in nothing.of(name) if r["seed"] == seed]
        assert len(runs) == ENSEMBLE
        mean = np.mean([nothing.made[r["id"]].astype("float32") for r in runs], axis=0)
        assert scores == score_masks(mean, masks)


def test_an_ensemble_is_compared_with_its_own_seed():
    """Of the first seed a member is missing; the others' best got worse from seed to seed."""

    def wrong(rank, seed):
        found = DATA.test.masks.astype("float16")
        if rank == 0:
            found[: 2 + seed] = 0
        return found

    found = ensembles(wrong, missing=lambda t: t.seed == 0 and cell(t) == ("unet", 8, 1e-3))
    assert list(found.ensemble()) == [1, 2]
    gaps = [1 - found.of(found.best)[seed]["metrics"]["test"]["jaccard"] for seed in (1, 2)]
    assert f"{np.mean(gaps):.3g} [" in claim(found, "ensemble").evidence


def test_no_ensemble_without_its_members():
    """Each seed lacks another one of them."""

    def missing(trial):
        return cell(trial) == ("unet", 8, {0: 5e-4, 1: 1e-3}[trial.seed])

    found = ensembles(lambda rank, seed: DATA.test.masks.astype("float16"), 2, missing)
    assert found.ensemble() == {}
    assert not [c for c in found.claims if "ensemble" in c.statement]
    assert not found.scores()["trained"].str.startswith("mean of").any()


def following(**scores):
    """The grid and what followed it with such test scores, one a seed; None: not finished."""
    scores = {name.replace("_", "-"): values for name, values in scores.items()}

    def numbers(trial):
        if trial.name in scores:
            score = scores[trial.name][trial.seed]
            return score if score is None or isinstance(score, str) else {"test_jaccard": score}
        if not in_grid(trial):
            return {}
        return {"jaccard": 0.7 + 0.1 * (cell(trial) == WINNER), "test_jaccard": 0.8}

    return made_up(numbers)


@pytest.mark.parametrize(
    ("longer", "wanted"),
    [
        ([0.9, 0.91, 0.89], SUPPORTED),
        ([0.7, 0.69, 0.71], REFUTED),
        ([0.7, 0.8, 0.9], CANNOT_TELL),
        ([None, 0.9, None], CANNOT_TELL),
        ([None, FAILED, None], CANNOT_TELL),
    ],
)
def test_longer_training(longer, wanted):
    found = following(
        longer=longer, second_from_scratch=[0.5] * 3, second_fine_tuned=[0.6, 0.61, 0.62]
    )
    assert verdict(found, "better with up to 12 epochs") == wanted
    assert verdict(found, "On a second set it helps") == SUPPORTED


@pytest.mark.parametrize(
    ("tuned", "wanted"),
    [([0.6, 0.61, 0.62], SUPPORTED), ([0.4] * 3, REFUTED), ([None, None, 0.9], CANNOT_TELL)],
)
def test_transfer(tuned, wanted):
    found = following(
        longer=[None] * 3, second_from_scratch=[0.5, 0.51, 0.5], second_fine_tuned=tuned
    )
    assert verdict(found, "On a second set it helps") == wanted
    assert verdict(found, "better with up to") == CANNOT_TELL


def test_nothing_followed_yet(nothing):
    found = following(
        **dict.fromkeys(("longer", "second_from_scratch", "second_fine_tuned"), [None] * 3)
    )
    assert found.after is nothing.after is None
    assert not [c for c in found.claims if "second set" in c.statement]
    failed = following(
        **dict.fromkeys(("longer", "second_from_scratch", "second_fine_tuned"), [FAILED] * 3)
    )
    assert failed.after is None


# -- parts of a grid -----------------------------------------------------------------------------

PARTS = {
    "one cell": lambda t: cell(t) == WINNER,
    "one cell, one seed": lambda t: cell(t) == WINNER and t.seed == 0,
    "two cells": lambda t: cell(t)[0] == "unet" and cell(t)[1:] in ((8, 1e-4), (32, 1e-4)),
    "one architecture": lambda t: cell(t)[0] == "unet",
    "two architectures": lambda t: cell(t)[0] in OTHERS,
    "a different rate each": lambda t: (
        cell(t)[2] == {"unet": 1e-4, "attention_unet": 5e-4, "attention_resunet": 1e-3}[cell(t)[0]]
    ),
    "one rate": lambda t: cell(t)[2] == 1e-3,
    "one batch size": lambda t: cell(t)[1] == 16,
    "seeds apart": lambda t: (cell(t)[1] == 8) == (t.seed == 0),
    "the first seed and a bit": lambda t: t.seed == 0 or cell(t)[0] == "unet",
    "half at random": lambda t: noise(t) > 0,
}


@pytest.mark.parametrize("status", [None, OUT_OF_MEMORY])
@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_parts_of_a_grid(part, status):
    def numbers(trial):
        if not in_grid(trial):
            return {} if status else None
        return {"jaccard": 0.7 + noise(trial, 0.01)} if part(trial) else status

    found = made_up(numbers, 2)
    for each in found.claims:
        assert each.verdict in (SUPPORTED, REFUTED, CANNOT_TELL)
        assert each.evidence
        assert "nan" not in each.evidence
    assert [row["architecture"] for row in guidelines(found)] == list(found.best_of)
    for table in (found.cells(), found.scores(), found.guidelines(), found.variances()):
        assert table.notna().all(axis=None)
    assert len(found.lost) == sum(r["status"] == status for r in found.lost)


def test_one_cell_is_not_the_best():
    found = made_up(lambda t: {} if cell(t) == WINNER and in_grid(t) else None, 3)
    assert verdict(found, "One of the 1 cells is the best") == CANNOT_TELL


# -- guidelines ----------------------------------------------------------------------------------


def test_guidelines_take_the_cheapest_of_the_best():
    good = {("unet", 8, 1e-3): 9.0, ("unet", 16, 1e-3): 2.0, ("unet", 32, 1e-3): 5.0}

    def numbers(trial):
        if not in_grid(trial):
            return None
        level = 0.9 if cell(trial) in good else 0.5
        told = {"jaccard": level + noise(trial, SMALL)}
        return told | {"processor_seconds_per_epoch": good.get(cell(trial), 1.0)}

    rows = {row["architecture"]: row for row in guidelines(made_up(numbers))}
    row = rows["unet"]
    assert row["setting"] == "unet-lr0.001-bs16"
    assert row["jaccard"] == pytest.approx(0.9, abs=0.01)
    assert row["firmness"].startswith("3 of 12 cells are as good as can be told")
    avoid = row["avoid"].split(", ")
    assert len(avoid) == 9
    assert "unet-lr0.001-bs8" not in avoid
    assert rows["attention_unet"]["avoid"] == "none that can be told"


def test_mispaired_is_no_cell(nothing):
    assert MISPAIRED not in set(nothing.grid["name"])
