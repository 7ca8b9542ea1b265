"""The bedroom study: variations, a tiny run from data to results, and a network of one's own."""

import dataclasses

import keras
import tiny

from ganlib.data import parts
from ganlib.data.rooms import rooms
from ganlib.experiment.results import Results
from ganlib.features import networks
from ganlib.studies import bedrooms

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
    assert recipes["batch-128"] == bedrooms.Recipe(network="inception_v3", half_precision=True)


def test_from_data_to_results(tmp_path, monkeypatch):
    monkeypatch.setattr(bedrooms, "COUNTED", 30)
    monkeypatch.setattr(parts, "LEAST", 10)
    drawn = dataclasses.replace(rooms(size=32, train=120, test=0), name="rooms")
    study = tiny.some(bedrooms.STUDY, ("repaired", "batch-128"), drawn, SMALL)
    own = [keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(1)]
    study = study.with_variation("mine", discriminator=keras.Sequential(own))
    metrics = [r["metrics"] for r in tiny.run(study.select("*-seed0-*"), tmp_path, bedrooms)]
    repaired, assignment, mine = metrics
    assert repaired["scores"].keys() == {"unaveraged", "best", "last"}
    assert [point["truncation"] for point in repaired["truncation"]] == [0.5, 1.0]
    assert repaired["spread"] > 0 < repaired["truncation"][0]["spread"]
    assert assignment["scores"].keys() == {"best", "last"}
    assert mine["d_parameters"] == 32 * 32 * 3 + 1
    with tiny.cheap():
        results = Results(study, tmp_path / "bedrooms", {"scores.best.recall": (0, 1)})
    assert results.names == ["repaired", "batch-128", "mine"]
    first = results.history.query("name == 'repaired'")
    assert first["kid"].notna().tolist() == [False, True, True]
    assert {len(grid) for grid in results.pictures(32).values()} == {bedrooms.GRID**2}
    assert results.runs["scores.best.n_fake"].tolist() == [SMALL["samples"]] * 3
    folder = results.folders[first["id"].iloc[0]]
    assert (folder / "neighbours.png").exists()
    assert (folder / "interpolation.png").exists()
