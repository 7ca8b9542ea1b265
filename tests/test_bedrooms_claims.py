"""What the bedroom study's claims say of made-up numbers."""

import dataclasses

import numpy as np
import pandas
import pytest
from draws import RNG
from tiny_bedrooms import cheap, tiny

from ganlib.experiment.study import Study, Trial
from ganlib.stats import CANNOT_TELL, REFUTED, SUPPORTED
from ganlib.studies.bedrooms_claims import REPAIRS
from ganlib.studies.bedrooms_report import BedroomResults

USUAL = {"kid": 1.0, "precision": 0.8, "recall": 0.5, "coverage": 0.5, "inception_score": 2.0}
BASELINES = {
    "real": {**USUAL, "kid": 0.0, "precision": 0.9, "inception_score": 3.0},
    "noise": {**USUAL, "kid": 9.0, "precision": 0.0, "inception_score": 1.0},
}


def made_up(histories=None, **variations):
    """`BedroomResults` of variations (batch_128 for "batch-128"), each a dict of number → list.

    A list has an entry a seed; numbers are scores of the best epoch, or other metrics. `None` in
    place of a list's entry: that seed has not finished.
    """
    trials, results = [], []
    for name, numbers in variations.items():
        name = name.replace("_", "-")
        recipe = tiny("dcgan") if name == "repaired" or name in REPAIRS else tiny()
        for seed, values in enumerate(zip(*numbers.values(), strict=True)):
            trials.append(Trial(name, recipe, seed))
            if None in values:
                continue
            given = dict(zip(numbers, values, strict=True))
            metrics = {"best_epoch": 20, "epochs": 40, "spread": 1.0} | {
                key: given[key] for key in given if key not in (*USUAL, "last", "unaveraged")
            }
            best = {key: given.get(key, usual) for key, usual in USUAL.items()}
            scores = {"best": best, "last": {**best, "kid": given.get("last", best["kid"])}}
            if recipe.ema:
                scores["unaveraged"] = {**best, "kid": given.get("unaveraged", best["kid"])}
            trial = trials[-1]
            result = {"id": trial.id, "name": name, "seed": seed, "status": "done"}
            result["recipe"] = dataclasses.asdict(recipe)
            results.append({**result, "metrics": {**metrics, "scores": scores}})
    study = Study("made-up", "", trials, None, None, "none", {}, None)
    with cheap():
        found = BedroomResults(study, results, None)
    found.baselines = BASELINES
    flat = pandas.DataFrame({"epoch": [10, 20, 30, 40], "kid": [np.nan, 1.0, np.nan, 1.0]})
    found.histories = {r["id"]: flat for r in results}
    for result, kids in zip(found.of("batch-128"), histories or (), strict=bool(histories)):
        found.histories[result["id"]] = pandas.DataFrame({"epoch": [10, 20, 30, 40], **kids})
    return found


def verdict(found, beginning):
    (claim,) = [c for c in found.claims if c.statement.startswith(beginning)]
    assert claim.evidence
    return claim.verdict


ONES = [1.0, 1.1, 0.9]
LESS, MORE, EITHER = [0.3, 0.33, 0.27], [2.0, 2.1, 1.9], [0.3, 1.2, 2.0]


@pytest.mark.parametrize(
    ("kids", "wanted"),
    [
        (LESS, SUPPORTED),
        ([0.8, 0.9, 0.7], REFUTED),
        ([0.2, 0.6, 0.7], CANNOT_TELL),
        ([0.01], CANNOT_TELL),
    ],
)
def test_halved(kids, wanted):
    found = made_up(batch_128={"kid": ONES[: len(kids)]}, repaired={"kid": kids})
    assert verdict(found, "The repaired recipe at least halves") == wanted


@pytest.mark.parametrize(
    ("recalls", "wanted"),
    [
        ([0.7, 0.71, 0.69], SUPPORTED),
        ([0.5, 0.5, 0.5], SUPPORTED),
        ([0.2, 0.21, 0.19], REFUTED),
        ([0.2, 0.5, 0.8], CANNOT_TELL),
        ([0.9], CANNOT_TELL),
    ],
)
def test_recall(recalls, wanted):
    base = {"recall": [0.5] * len(recalls)}
    found = made_up(batch_128=base, repaired={"recall": recalls})
    assert verdict(found, "The repaired recipe's recall") == wanted


@pytest.mark.parametrize("name", REPAIRS)
@pytest.mark.parametrize(
    ("without", "wanted"),
    [(MORE, SUPPORTED), (LESS, REFUTED), (EITHER, CANNOT_TELL), ([5.0], CANNOT_TELL)],
)
def test_a_repair(name, without, wanted):
    ablation = {name.replace("-", "_"): {"kid": without}}
    found = made_up(repaired={"kid": ONES[: len(without)]}, **ablation)
    assert verdict(found, REPAIRS[name]) == wanted


@pytest.mark.parametrize(
    ("name", "beginning"),
    [
        ("batch_256", "A larger batch"),
        ("batch_32", "A smaller batch"),
        ("slow_discriminator", "Slowing"),
    ],
)
@pytest.mark.parametrize(
    ("kids", "wanted"),
    [(LESS, SUPPORTED), (MORE, REFUTED), (EITHER, CANNOT_TELL), ([0.1], CANNOT_TELL)],
)
def test_what_the_discussion_asks(name, beginning, kids, wanted):
    found = made_up(batch_128={"kid": ONES[: len(kids)]}, **{name: {"kid": kids}})
    assert verdict(found, beginning) == wanted


@pytest.mark.parametrize(
    ("gains", "wanted"),
    [
        ([-1.0, -1.1, -0.9], SUPPORTED),
        ([1.0, 1.1, 0.9], REFUTED),
        ([-1.0, 0.1, 1.0], CANNOT_TELL),
        ([-1.0], CANNOT_TELL),
    ],
)
def test_more_epochs(gains, wanted):
    # Epoch 20 is half of the way; epochs 10 and 30 say nothing.
    histories = [{"kid": [9.0, 3.0, 0.0, 3.0 + gain]} for gain in gains]
    found = made_up(histories, batch_128={"kid": ONES[: len(gains)]})
    assert verdict(found, "More epochs do better") == wanted
    evidence = next(c.evidence for c in found.claims if c.statement.startswith("More epochs"))
    assert f"after epoch 20: {np.mean(gains):+.3f}" in evidence


@pytest.mark.parametrize(
    ("best", "wanted"), [([40, 40], SUPPORTED), ([40, 20], REFUTED), ([20, 20], REFUTED)]
)
def test_last_is_best(best, wanted):
    found = made_up(batch_128={"best_epoch": best})
    assert verdict(found, "The last epoch is the best") == wanted


@pytest.mark.parametrize(
    ("scores", "kids", "wanted"),
    [
        ((2.0, 2.1, 2.2, 2.4, 2.5), (1.0, 0.8, 0.5, 0.4, 0.3), SUPPORTED),  # in KID's order
        ((2.0, 2.1, 2.2, 2.4, 2.5), (0.3, 0.4, 0.5, 0.8, 1.0), REFUTED),  # the wrong order
        ((2.0, 2.2, 3.1), (1.0, 0.8, 0.3), REFUTED),  # better than real pictures
        ((2.0, 2.1, 2.2, 2.5), (1.0, 0.8, 0.5, 0.3), CANNOT_TELL),  # an order of few
    ],
)
def test_inception_score(scores, kids, wanted):
    names = ("batch_128", "batch_256", "repaired", "transposed", "equal_rates")
    numbers = {
        name: {"inception_score": [score], "kid": [kid]}
        for name, score, kid in zip(names, scores, kids, strict=False)
    }
    assert verdict(made_up(**numbers), "The Inception Score") == wanted


@pytest.mark.parametrize(
    ("key", "beginning", "cases"),
    [
        (
            "precision",
            "The assignment's pictures do not resemble",
            {(0.1, 0.2): SUPPORTED, (0.7, 0.8): REFUTED, (0.1, 0.8): CANNOT_TELL},
        ),
        (
            "spread",
            "They differ from one another",
            {(0.6, 0.9): SUPPORTED, (0.1, 0.2): REFUTED, (0.2, 0.9): CANNOT_TELL},
        ),
    ],
)
def test_what_the_write_up_saw(key, beginning, cases):
    for values, wanted in cases.items():
        assert verdict(made_up(batch_128={key: values}), beginning) == wanted


@pytest.mark.parametrize(
    ("without", "wanted"), [(MORE, SUPPORTED), (LESS, REFUTED), (EITHER, CANNOT_TELL)]
)
def test_the_average(without, wanted):
    found = made_up(repaired={"last": ONES, "unaveraged": without})
    assert verdict(found, "Averaging") == wanted


def test_one_seed_can_not_tell_a_difference():
    one = {"kid": [0.1], "recall": [0.9], "unaveraged": [9.0]}
    ablations = {name.replace("-", "_"): {"kid": [9.0]} for name in REPAIRS}
    asked = {name: {"kid": [0.1]} for name in ("batch_256", "batch_32", "slow_discriminator")}
    found = made_up(batch_128={"kid": [1.0]}, **asked, repaired=one, **ablations)
    judged = ("The assignment's", "They differ", "The Inception", "The last epoch")
    differences = [c for c in found.claims if not c.statement.startswith(judged)]
    assert len(differences) == 3 + 1 + 2 + 4 + 1
    assert {c.verdict for c in differences} == {CANNOT_TELL}


# -- claims of a study that is not whole ---------------------------------------------------------


def test_no_seed_in_common():
    found = made_up(
        batch_128={"kid": [1.0, None]},
        batch_256={"kid": [None, 1.0]},
        repaired={"kid": [None, 0.1]},
        no_augmentation={"kid": [1.0, None]},
    )
    for beginning in ("A larger batch", "The repaired recipe at", "The repaired recipe's", "Diff"):
        assert verdict(found, beginning) == CANNOT_TELL
    assert found.ablations()["less with it"][1] == "no seed has both"


def test_the_assignment_was_never_scored():
    histories = [{"d_loss": [1.0, 1.0, 1.0, np.nan]}]
    found = made_up(histories, batch_128={"kid": [1.0]})
    assert verdict(found, "More epochs") == CANNOT_TELL


def test_a_repaired_recipe_without_an_average():
    """As `--set ema=0` makes it."""
    found = made_up(repaired={"kid": ONES})
    for result in found.results:
        del result["metrics"]["scores"]["unaveraged"]
    assert verdict(found, "Averaging") == CANNOT_TELL
    assert list(found.ablations()["variation"]) == ["repaired"]


@pytest.mark.parametrize(("blown", "rest"), [(3, CANNOT_TELL), (2, CANNOT_TELL), (1, SUPPORTED)])
def test_runs_that_ended_without_finite_weights(blown, rest):
    found = made_up(repaired={"last": ONES, "unaveraged": [9.0, 9.1, 8.9]})
    for result in found.results[:blown]:
        result["metrics"]["scores"] |= {"last": None, "unaveraged": None}
    assert verdict(found, "Averaging") == rest
    assert list(found.best_and_last()["KID, last"]).count("not finite") == blown
    assert len(found.ablations()) == 1 + (blown < 3)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_any_part_of_the_runs_can_be_judged(share):
    names = ("batch-128", "repaired", "batch-256", "batch-32", "slow-discriminator", *REPAIRS)
    for _ in range(10):
        kids = [[1.0 if RNG.random() < share else None for _ in range(3)] for _ in names]
        some = {n.replace("-", "_"): {"kid": k} for n, k in zip(names, kids, strict=True) if any(k)}
        if some:
            found = made_up(**some)
            assert {c.verdict for c in found.claims} <= {SUPPORTED, REFUTED, CANNOT_TELL}
            if "repaired" in some:
                assert len(found.ablations()) >= 1
