"""The boundary study: variations, a tiny run from data to report, and what its claims say."""

import math

import numpy as np
import pandas
import pytest
import tiny

from ganlib import losses
from ganlib.apply import discriminate, draw_latents, make_images
from ganlib.content import LikenessLoss
from ganlib.data import load, parts
from ganlib.metrics import boundary as metrics
from ganlib.report.claims import CANNOT_TELL, REFUTED, SUPPORTED
from ganlib.studies import boundary
from ganlib.studies.boundary_report import BoundaryResults

# Variation → the fields that it changes of the repaired recipe.
CHANGED = {"repaired-bce": {"gamma"}, "no-rest": {"g_rest"}, "no-likeness": {"likeness"}}
CHANGED |= {"no-turns": {"augment"}, "idle-generator": {"g_learning_rate", "g_rest", "likeness"}}
CHANGED |= {"faster-generator": {"g_learning_rate", "g_rest", "likeness"}}
SMALL = {"g_filters": 2, "d_filters": 3, "latent_dim": 4, "batch_size": 64, "epochs": 2}
SMALL |= {"judged": 12, "samples": 16, "patience": 0}


@pytest.fixture
def cells(monkeypatch):
    monkeypatch.setattr(parts, "LEAST", 10)
    return load("tissue").subset(slice(0, 1600, 12))


def test_variations():
    for profile in ("quick", "cpu", "full"):
        recipes = boundary.STUDY.at(profile).recipes
        gammas = boundary.QUICK_GAMMAS if profile == "quick" else boundary.GAMMAS
        tried = [f"gamma-{gamma:g}" for gamma in gammas]
        names = {"bce", "repaired", *tried, *CHANGED}
        assert recipes.keys() == ({*boundary.QUICK_NAMES} if profile == "quick" else names)
        for name in CHANGED.keys() & recipes.keys():
            assert tiny.changes(recipes, name, "repaired") == CHANGED[name], name
        assert [recipes[name].gamma for name in tried] == list(gammas)
    assert recipes["gamma-0.8"] == boundary.Recipe()  # as the write-up has it


def test_a_gan_is_made_of_its_recipe():
    gan = boundary.build_gan(boundary.Recipe(gamma=0.3, likeness=2.5, augment=("cutout",)), 0)
    assert gan.adversarial_loss == losses.Boundary(0.3)
    assert (gan.content, gan.augment.policy) == (LikenessLoss(2.5), ("cutout",))
    schedule = boundary.to_rest(0.5, 4)
    assert [float(schedule(step)) for step in (0, 2, 4, 9)] == [0.5, 0.25, 0.0, 0.0]


def test_criteria(cells):
    data = boundary.load_data(cells, None)
    recipe = boundary.Recipe(g_filters=2, d_filters=3, latent_dim=4, judged=12)
    gan = boundary.build_gan(recipe, 0)
    criteria = boundary.Criteria(gan, data, recipe)
    real, made = data.validation.as_range("unit"), make_images(gan.sampler, draw_latents(gan, 12))
    trained = data.train.as_range("unit")[: len(real)]
    s1, s2 = metrics.s1(discriminate(gan, real)), metrics.s2(discriminate(gan, made))
    wanted = {"s1": s1, "s2": s2, "s3": metrics.s3(made, real, "unit")}
    wanted |= {"score": math.prod(wanted.values())}
    assert criteria() == wanted | {"s1_train": metrics.s1(discriminate(gan, trained))}
    assert criteria.ceiling == metrics.s3_ceiling(real, "unit")
    gan.generator.set_weights([np.full_like(x, np.nan) for x in gan.generator.get_weights()])
    assert criteria() is None


def test_from_data_to_report(cells, tmp_path, monkeypatch):
    monkeypatch.setattr(boundary, "PATHS", 6)
    names = ("bce", "gamma-0.2", "gamma-0.8", "repaired")
    study = tiny.some(boundary.STUDY, names, cells, SMALL)
    results = tiny.run(study, tmp_path, boundary)
    found = results[-1]["metrics"]
    assert found["scores"].keys() == {"best", "last"}
    assert found["similarities"].keys() == {"correlation", "cosine", "plain_cosine", "ssim"}
    folder = tmp_path / "boundary" / results[-1]["id"]
    with np.load(folder / "landscape.npz") as landscape:
        assert [landscape[key].shape for key in ("ways", "plane")] == [(6, 41), (41, 41)]
    found = BoundaryResults(study, results, study.data, tmp_path)
    report = found.write(tmp_path)
    names = {path.stem for path in report.written}
    assert {"samples", "criteria", "gamma", "landscape", "neighbours", "repairs"} < names
    scores = pandas.read_csv(report.path / "scores.csv")
    assert scores["pictures"].tolist()[:5] == [*found.names, "write-up's best (its own s3)"]
    limits = found.limits["correlation"]
    assert limits["s3_noise"] < limits["s3_real"] < limits["s3_mean"]


def numbers(s1=0.999, s2=0.9995, s3=0.6, kid=1.0):
    best = {"s1": s1, "s2": s2, "s3": s3, "score": s1 * s2 * s3, "s3_real": 0.6, "s3_noise": 0.05}
    scores = {"scores": {"best": best}, "fidelity": {"generated": {"kid": kid}}, "epochs": 12}
    scores["similarities"] = {"correlation": s3, "cosine": 0.9}
    return {**scores, "s3_seconds": 0.1, "seconds_per_epoch": 1.0}


def history(s1=0.9, s2=0.9, s3=0.3, loss=0.5):
    columns = {"s1": s1, "s2": s2, "s3": s3, "s1_train": s1, "d_loss": loss, "g_loss": loss}
    return pandas.DataFrame({"epoch": range(1, 13), **columns})


def judged(metrics, histories=None):
    histories = {name: [history()] * 3 for name in metrics} | (histories or {})
    gammas = {"gamma-0.2": 0.2, "gamma-0.8": 0.8}
    recipes = {n: {"gamma": gammas.get(n), "similarity": "correlation"} for n in metrics}
    limits = dict.fromkeys(("s3_real", "s3_noise", "s3_flat", "s3_mean", "n_real"), 0.6)
    limits = dict.fromkeys(("correlation", "cosine"), limits)
    return tiny.made_up(BoundaryResults, metrics, histories, recipes, limits=limits)


def around(s3, **more):
    return [numbers(s3=s3 + change, **more) for change in (-0.001, 0.0, 0.001)]


def test_as_the_write_up_says_and_the_contrary():
    metrics = {"bce": around(0.3), "gamma-0.8": around(0.5), "gamma-0.2": around(0.4)}
    metrics |= {"repaired": around(0.75, kid=0.5), "no-rest": around(0.7)}
    histories = {"bce": [history(s2=s2) for s2 in (0.5, 0.51, 0.52)]}
    found = tiny.verdicts(judged(metrics, histories))
    assert len(found) == 10  # the idle generator has not run
    assert found.pop("s3 takes too long to be watched.") == REFUTED
    assert set(found.values()) == {SUPPORTED}
    metrics = {"bce": around(0.3), "gamma-0.8": around(0.3, s1=0.9, s2=0.9)}
    metrics |= {"gamma-0.2": around(0.5), "idle-generator": around(0.1, s1=0.999, s2=0.9995)}
    metrics |= {"repaired": around(0.5, kid=2.0), "no-likeness": around(0.6)}
    histories = {"gamma-0.8": [history(s1=0.5 + n, s2=0.9, loss=2.0) for n in (0, 0.01, 0.02)]}
    found = tiny.verdicts(judged(metrics, histories))
    assert len(found) == 11
    for statement, verdict in found.items():
        reached = "(repaired recipe)" in statement
        assert verdict == (SUPPORTED if reached else REFUTED), statement


def test_one_seed_tells_no_difference():
    found = judged({"bce": [numbers()], "gamma-0.8": [numbers(s1=0.9)], "gamma-0.2": [numbers()]})
    parts = ("s2 rises", "s1 and s3 stay", "γ = 0.8 is the best")
    assert {tiny.verdict(found, part) for part in parts} == {CANNOT_TELL}
    assert tiny.verdict(found, "s1 reaches 0.998") == REFUTED
