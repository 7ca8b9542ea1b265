"""The boundary write-up's claims, on made-up numbers: each can come out in every way it may."""

import math

import pytest
from draws import RNG
from test_boundary_report import EPOCHS, made_up

from ganlib.stats import CANNOT_TELL, REFUTED, SUPPORTED
from ganlib.studies.boundary_claims import REPAIRS


def verdict(found, *parts):
    """Of the one claim whose statement has all these parts."""
    (claim,) = [c for c in found.claims if all(part in c.statement for part in parts)]
    assert claim.evidence
    return claim.verdict


MORE, LESS, EITHER = [0.3, 0.31, 0.29], [-0.3, -0.31, -0.29], [0.3, 0.0, -0.3]
JUDGED = {"seeds agree": (MORE, SUPPORTED), "the other way": (LESS, REFUTED)}
JUDGED |= {"seeds differ": (EITHER, CANNOT_TELL), "one seed": ([0.5], CANNOT_TELL)}
each = pytest.mark.parametrize(("gaps", "wanted"), JUDGED.values(), ids=JUDGED)
both_recipes = pytest.mark.parametrize(
    ("mine", "base", "whose"),
    [("gamma-0.8", "bce", "write-up's"), ("repaired", "repaired-bce", "repaired")],
)


def pair(mine, base, key, gaps, level=0.5):
    """Two variations; a number of the first is higher by so much, a gap a seed."""
    return {mine: {key: [level + gap for gap in gaps]}, base: {key: [level] * len(gaps)}}


@both_recipes
@each
def test_s2_rises_drastically(mine, base, whose, gaps, wanted):
    found = made_up(pair(mine, base, "early_s2", gaps))
    assert verdict(found, "s2 rises drastically", whose) == wanted


@both_recipes
@pytest.mark.parametrize("key", ["s1", "s3"])
@pytest.mark.parametrize(
    ("gaps", "wanted"),
    [
        ([0.01, -0.01, 0.0], SUPPORTED),
        (MORE, REFUTED),
        (LESS, REFUTED),
        (EITHER, CANNOT_TELL),
        ([0.0], CANNOT_TELL),
    ],
)
def test_s1_and_s3_stay_the_same(mine, base, whose, key, gaps, wanted):
    found = made_up(pair(mine, base, f"early_{key}", gaps))
    assert verdict(found, "stay as with BCE", whose) == wanted


def test_seeds_are_compared_with_their_own():
    """What both seeds have in common is no difference; a rise by less is not drastic."""
    seeds = {"early_s2": [0.2, 0.6, 0.4]}
    higher = {"early_s2": [0.35, 0.75, 0.56], "s3": [0.5, 0.5, 0.5]}
    assert verdict(made_up({"bce": seeds, "gamma-0.8": higher}), "s2 rises") == SUPPORTED
    slightly = {"early_s2": [0.25, 0.65, 0.44]}
    assert verdict(made_up({"bce": seeds, "gamma-0.8": slightly}), "s2 rises") == REFUTED
    apart = {"bce": {"s3": [0.5, None]}, "gamma-0.8": {"s3": [None, 0.5]}, "gamma-1": {"s3": [0.1]}}
    found = made_up(apart)
    for parts in (["s2 rises"], ["stay as with BCE"], ["is the best"]):
        assert verdict(found, *parts) == CANNOT_TELL


@pytest.mark.parametrize(("name", "whose"), [("gamma-0.8", "write-up's"), ("repaired", "repaired")])
@pytest.mark.parametrize(
    ("s1", "s2", "wanted"),
    [
        ([0.999, 0.998], [0.999, 1.0], SUPPORTED),
        ([0.997, 0.9], [1.0, 1.0], REFUTED),
        ([1.0, 1.0], [0.998, 0.9], REFUTED),
        ([0.999, 0.99], [1.0, 1.0], CANNOT_TELL),
    ],
)
def test_s1_and_s2_reach_their_marks(name, whose, s1, s2, wanted):
    found = made_up({name: {"s1": s1, "s2": s2, "s1_train": [0.8, 0.9]}})
    assert verdict(found, "s1 reaches", f"within {EPOCHS} epochs", whose) == wanted
    (claim,) = [c for c in found.claims if "s1 reaches" in c.statement]
    assert "s1 is 0.8500 at the end" in claim.evidence


@pytest.mark.parametrize(
    ("losses", "wanted"),
    [
        ({"d_loss": [0.1, 0.9], "g_loss": [0.0, 1.0]}, SUPPORTED),
        ({"d_loss": [0.1, 0.9], "g_loss": [0.5, 1.2]}, REFUTED),
        ({"d_loss": [-0.1, 0.9]}, REFUTED),
    ],
)
def test_losses(losses, wanted):
    assert verdict(made_up({"gamma-0.8": losses}), "losses of G and D") == wanted


@each
def test_the_best_gamma(gaps, wanted):
    found = made_up(pair("gamma-0.8", "gamma-0.3", "score", gaps))
    assert verdict(found, "γ = 0.8 is the best") == wanted
    # It must be better than every other.
    same = {"gamma-1": {"score": [0.5 + gap for gap in gaps]}}
    found = made_up(pair("gamma-0.8", "gamma-0.3", "score", gaps) | same)
    assert verdict(found, "γ = 0.8 is the best") != SUPPORTED


@each
@pytest.mark.parametrize("name", REPAIRS)
def test_a_repair(name, gaps, wanted):
    found = made_up(pair("repaired", name, "score", gaps))
    assert verdict(found, f"{REPAIRS[name]} raises the score") == wanted


@pytest.mark.parametrize(
    ("scores", "wanted"),
    [([0.68, 0.7], SUPPORTED), ([0.6, 0.67], REFUTED), ([0.6, 0.7], CANNOT_TELL)],
)
def test_a_score_above_the_write_ups(scores, wanted):
    assert verdict(made_up({"repaired": {"score": scores}}), "can score above") == wanted


@pytest.mark.parametrize(
    ("s1", "s2", "s3", "wanted"),
    [
        (0.999, 0.999, 0.06, REFUTED),  # both are high of pictures like none
        (0.999, 0.999, 0.5, CANNOT_TELL),
        (0.7, 0.999, 0.06, CANNOT_TELL),
        (0.999, 0.7, 0.06, CANNOT_TELL),
    ],
)
def test_what_high_s1_and_s2_say_of_the_pictures(s1, s2, s3, wanted):
    found = made_up({"idle-generator": {"s1": [s1] * 2, "s2": [s2] * 2, "s3": [s3] * 2}})
    assert verdict(found, "s1 and s2 near 1 say") == wanted


@pytest.mark.parametrize(("seconds", "wanted"), [(0.1, REFUTED), (99.0, SUPPORTED)])
def test_how_long_s3_takes(seconds, wanted):
    found = made_up({"bce": {"s3_seconds": [seconds, seconds]}})
    assert verdict(found, "takes too long") == wanted


def test_runs_that_were_never_scored():
    """Their weights broke in the first epoch: the history has neither scores nor finite losses."""
    names = ("bce", "gamma-0.8", "repaired", "repaired-bce")
    found = made_up({name: {"s3": [0.5, 0.5], "status": ["stopped"] * 2} for name in names})
    for result in found.results:
        history = found.histories[result["id"]][["epoch", "d_loss", "g_loss"]].iloc[:1]
        found.histories[result["id"]] = history.assign(d_loss=math.nan, g_loss=math.nan)
    for part in ("s2 rises", "stay as with BCE"):
        for whose in ("write-up's", "repaired"):
            assert verdict(found, part, whose) == CANNOT_TELL
    assert verdict(found, "losses of G and D") != SUPPORTED
    assert found.criteria()[["s1", "s2", "s3", "score"]].isna().all(axis=None)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_any_part_of_the_runs_can_be_judged(share):
    names = ("bce", "gamma-0.8", "gamma-0.1", "repaired", "repaired-bce", "idle-generator")
    names += (*REPAIRS, "faster-generator")
    for _ in range(10):
        s3 = [[0.5 if RNG.random() < share else None for _ in range(3)] for _ in names]
        if some := {n: {"s3": values} for n, values in zip(names, s3, strict=True) if any(values)}:
            found = made_up(some)
            assert {c.verdict for c in found.claims} <= {SUPPORTED, REFUTED, CANNOT_TELL}
            assert len(found.scores()) > len(some)
