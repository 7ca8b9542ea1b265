"""The bedroom study: variations, a tiny run from data to report, and what its claims say."""

import dataclasses

import numpy as np
import pandas
import tiny

from ganlib.data import parts
from ganlib.data.rooms import rooms
from ganlib.features import networks
from ganlib.report.claims import CANNOT_TELL, REFUTED, SUPPORTED
from ganlib.studies import bedrooms
from ganlib.studies.bedrooms_report import BedroomResults

# Variation → the one field that it changes, of the repaired recipe and of the assignment's.
REPAIRED = {"transposed": "upsample", "no-augmentation": "augment"}
REPAIRED |= {"equal-rates": "d_learning_rate", "no-spectral-norm": "d_normalisation"}
ASSIGNMENT = {"batch-256": "batch_size", "batch-32": "batch_size"}
ASSIGNMENT |= {"slow-discriminator": "d_learning_rate"}
SMALL = {"filters": 2, "latent_dim": 4, "batch_size": 64, "epochs": 3, "score_every": 2}
SMALL |= {"judged": 12, "samples": 16}


def test_variations(monkeypatch):
    monkeypatch.setattr(networks, "inception_weights", lambda: "weights.h5")
    for profile in ("quick", "cpu", "full"):
        recipes = bedrooms.STUDY.at(profile).recipes
        names = {"repaired", "batch-128", *REPAIRED, *ASSIGNMENT}
        assert recipes.keys() == (set(bedrooms.QUICK_NAMES) if profile == "quick" else names)
        for base, changed in (("repaired", REPAIRED), ("batch-128", ASSIGNMENT)):
            for name in changed.keys() & recipes.keys():
                # The truncation curve is the repaired recipe's alone, and not of the training.
                found = tiny.changes(recipes, name, base) - {"truncations"}
                assert found == {changed[name]}, name
        (network,) = {recipe.network for recipe in recipes.values()}
        assert network == ("efficientnet_lite0_small" if profile == "quick" else "inception_v3")
    assert recipes["batch-128"] == bedrooms.Recipe(network="inception_v3")


def test_from_data_to_report(tmp_path, monkeypatch):
    monkeypatch.setattr(bedrooms, "COUNTED", 30)
    monkeypatch.setattr(parts, "LEAST", 10)
    drawn = dataclasses.replace(rooms(size=32, train=120, test=0), name="rooms")
    names = ("repaired", "transposed", "batch-128")
    study = tiny.some(bedrooms.STUDY, names, drawn, SMALL)
    results = tiny.run(study, tmp_path, bedrooms)
    repaired, _, assignment = (r["metrics"] for r in results)
    assert repaired["scores"].keys() == {"unaveraged", "best", "last"}
    assert [point["truncation"] for point in repaired["truncation"]] == [0.5, 1.0]
    assert assignment["scores"].keys() == {"best", "last"}
    history = pandas.read_csv(tmp_path / "bedrooms" / results[0]["id"] / "history.csv")
    assert history["kid"].notna().tolist() == [False, True, True]
    with tiny.cheap():
        found = BedroomResults(study, results, study.data, tmp_path)
        report = found.write(tmp_path)
    names = {path.stem for path in report.written}
    figures = {"samples", "progress", "best_and_last", "truncation", "neighbours"}
    assert figures | {"interpolation", "styles", "film", "claims", "ablations"} < names
    scores = pandas.read_csv(report.path / "scores.csv")
    order = ["batch-128", "repaired", "transposed", "real (ceiling)", "noise (floor)"]
    assert scores["pictures"].tolist() == order
    assert found.cautions()  # a handful of pictures misleads


def numbers(kid=1.0, precision=0.1, spread=0.2, recall=0.2, score=2.0, best=2, average=None):
    best_scores = {"kid": kid, "precision": precision, "recall": recall, "inception_score": score}
    scores = {"best": best_scores, "last": {"kid": kid}}
    if average:
        scores["unaveraged"] = {"kid": kid + average}
    return {"scores": scores, "spread": spread, "best_epoch": best, "epochs": 2}


def judged(metrics, kids=(2.0, 1.0, 1.5, 1.0)):
    history = pandas.DataFrame({"epoch": [1, 2, 3, 4], "kid": kids})
    histories = {name: [history] * len(seeds) for name, seeds in metrics.items()}
    kinds = {name: "assignment" if name.startswith("batch") else "dcgan" for name in metrics}
    recipes = {name: {"networks": kind} for name, kind in kinds.items()}
    baselines = {"real": {"kid": 0.0, "precision": 0.8, "inception_score": 3.0}}
    baselines["noise"] = {"kid": 5.0, "precision": 0.0, "inception_score": 1.0}
    return tiny.made_up(BedroomResults, metrics, histories, recipes, baselines=baselines)


def around(kid, **more):
    return [numbers(kid + change, **more) for change in (-0.01, 0.0, 0.01)]


def test_as_the_repaired_recipe_promises_and_the_contrary():
    metrics = {"batch-128": around(1.0), "batch-256": around(0.8), "batch-32": around(1.2)}
    metrics |= {"repaired": around(0.3, recall=0.4, average=0.1), "transposed": around(0.5)}
    metrics |= {"no-augmentation": around(0.2)}
    found = tiny.verdicts(judged(metrics))
    assert [statement for statement, verdict in found.items() if verdict == REFUTED] == [
        "They differ from one another, though.",
        "A smaller batch (32) does better than 128.",
        "More epochs do better.",
        "DiffAugment lowers KID.",
    ]
    assert found.pop("The Inception Score tells how good bedrooms are.") == CANNOT_TELL
    assert list(found.values()).count(SUPPORTED) == 7
    metrics = {"batch-128": around(1.0, precision=0.6, spread=0.9, score=4.0, best=1)}
    metrics |= {"repaired": around(0.9, recall=0.1, average=-0.1)}
    found = tiny.verdicts(judged(metrics, kids=(2.0, 2.0, 1.5, 1.0)))
    held = [statement for statement, verdict in found.items() if verdict != REFUTED]
    assert held == ["They differ from one another, though.", "More epochs do better."]


def test_one_seed_tells_no_difference_and_lost_runs_are_none():
    one = tiny.verdicts(judged({"batch-128": [numbers()], "repaired": [numbers(0.1)]}))
    assert list(one.values()).count(CANNOT_TELL) == 5  # and two of each run, and the last epoch
    differ = judged({"batch-128": [numbers(spread=0.4), numbers(spread=0.6)]})
    assert tiny.verdict(differ, "differ from one another") == CANNOT_TELL
    lost = judged({"batch-128": [numbers()]}, kids=(np.nan,) * 4)
    assert tiny.verdict(lost, "More epochs") == CANNOT_TELL
