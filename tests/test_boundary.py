"""The boundary study: variations, a tiny run from data to report, and what its claims say."""

import math

import keras
import numpy as np
import pandas
import pytest
import tiny

from ganlib import losses
from ganlib.content import LikenessLoss
from ganlib.data import load, parts
from ganlib.metrics.boundary import s3_ceiling
from ganlib.report.claims import CANNOT_TELL, REFUTED, SUPPORTED
from ganlib.studies import boundary
from ganlib.studies.boundary_report import BoundaryResults

# Variation → what it is compared with, and the fields that it changes.
CHANGED = {
    "faster-generator": ("repaired", {"likeness", "g_learning_rate", "g_rest"}),
    "repaired-bce": ("repaired", {"gamma"}),
    "no-rest": ("repaired", {"g_rest"}),
    "no-likeness": ("repaired", {"likeness"}),
    "no-turns": ("repaired", {"augment"}),
    "idle-generator": ("repaired", {"g_learning_rate", "g_rest", "likeness"}),
}
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
        tried = {f"gamma-{gamma:g}": ("bce", {"gamma"}) for gamma in gammas}
        names = {"bce", "repaired", *tried, *CHANGED}
        assert recipes.keys() == ({*boundary.QUICK_NAMES} if profile == "quick" else names)
        for name in (CHANGED | tried).keys() & recipes.keys():
            base, fields = (CHANGED | tried)[name]
            assert tiny.changes(recipes, name, base) == fields, name
        assert [recipes[name].gamma for name in tried] == list(gammas)
        assert recipes["bce"].gamma is recipes["repaired-bce"].gamma is None
    assert recipes["gamma-0.8"] == boundary.Recipe()  # as the write-up has it


def test_a_gan_is_made_of_its_recipe():
    recipe = boundary.Recipe(gamma=0.3, likeness=2.5, augment=("translation",))
    gan = boundary.build_gan(recipe, 0)
    assert gan.adversarial_loss == losses.Boundary(0.3)
    assert gan.content == LikenessLoss(2.5)
    assert gan.augment.policy == ("translation",)
    plain = boundary.build_gan(boundary.Recipe(gamma=None), 0)
    assert plain.adversarial_loss == losses.NonSaturating()
    schedule = boundary.to_rest(0.5, 4)
    assert [float(schedule(step)) for step in (0, 2, 4, 9)] == [0.5, 0.25, 0.0, 0.0]
    assert boundary.to_rest(0.5, 0) is None


def test_criteria_by_hand(cells):
    data = boundary.load_data(cells, None)
    recipe = boundary.Recipe(g_filters=2, d_filters=3, latent_dim=4, judged=12)
    gan = boundary.build_gan(recipe, 0)
    kernel, bias = gan.discriminator.get_layer("logits").get_weights()
    gan.discriminator.get_layer("logits").set_weights([30 * kernel, bias + 0.5])
    criteria = boundary.Criteria(gan, data, recipe)
    latents = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")
    made = keras.ops.convert_to_numpy(gan.generator(latents, training=False))
    real = data.validation.as_range("signed")
    trained = data.train.as_range("signed")[: len(real)]
    d_made, d_real, d_trained = (
        1 / (1 + np.exp(-keras.ops.convert_to_numpy(gan.discriminator(x)).astype("float64")))
        for x in (made, real, trained)
    )

    def centred(x):
        x = (x - x.mean(axis=(1, 2), keepdims=True)).reshape(len(x), -1)
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    s3 = (centred(made) @ centred(real).T).max(axis=1).mean()
    wanted = {"s1": d_real.mean(), "s2": np.mean(1 - 4 * (d_made - 0.5) ** 2), "s3": s3}
    wanted |= {"score": math.prod(wanted.values()), "s1_train": d_trained.mean()}
    assert criteria() == pytest.approx(wanted, abs=1e-5)
    assert criteria.ceiling == s3_ceiling(data.validation.as_range("unit"), "unit").value
    weights = gan.generator.get_weights()
    gan.generator.set_weights([np.full_like(weight, np.nan) for weight in weights])
    assert criteria() is None


def test_from_data_to_report(cells, tmp_path, monkeypatch):
    monkeypatch.setattr(boundary, "PATHS", 6)
    names = ("bce", "gamma-0.2", "gamma-0.8", "repaired")
    study = tiny.some(boundary.STUDY, names, cells, SMALL)
    results = tiny.run(study, tmp_path, boundary)
    metrics = results[-1]["metrics"]
    assert metrics["scores"].keys() == {"best", "last"}
    assert metrics["similarities"].keys() == {"correlation", "cosine", "plain_cosine", "ssim"}
    assert metrics["high"]["s1"] == 0.998
    folder = tmp_path / "boundary" / results[-1]["id"]
    with np.load(folder / "landscape.npz") as landscape:
        assert landscape["ways"].shape == (6, boundary.STEPS)
        assert landscape["plane"].shape == (boundary.STEPS, boundary.STEPS)
    history = pandas.read_csv(folder / "history.csv")
    assert history[["s1", "s2", "s3", "score", "s1_train"]].notna().all(axis=None)
    found = BoundaryResults(study, results, study.data, tmp_path)
    report = found.write(tmp_path)
    names = {path.stem for path in report.written}
    assert {"samples", "criteria", "gamma", "landscape", "neighbours", "repairs"} < names
    scores = pandas.read_csv(report.path / "scores.csv")
    assert scores["pictures"].tolist()[:5] == [*found.names, "write-up's best (its own s3)"]
    limits = found.limits["correlation"]
    assert limits["s3_noise"] < limits["s3_real"] < limits["s3_mean"]
    assert found.last()["stopped, all high"].tolist() == ["no"] * 4


def numbers(s1=0.999, s2=0.9995, s3=0.6, kid=1.0):
    best = {"s1": s1, "s2": s2, "s3": s3, "score": s1 * s2 * s3, "s3_real": 0.6, "s3_noise": 0.05}
    best |= {"n": 20, "n_real": 30}
    fidelity = {"generated": {"kid": kid}}
    alike = {"correlation": s3, "cosine": 0.9}
    scores = {"scores": {"best": best}, "fidelity": fidelity, "similarities": alike, "epochs": 12}
    return {**scores, "s3_seconds": 0.1, "seconds_per_epoch": 1.0}


def history(s1=0.9, s2=0.9, s3=0.3, loss=0.5):
    columns = {"s1": s1, "s2": s2, "s3": s3, "s1_train": s1, "d_loss": loss, "g_loss": loss}
    return pandas.DataFrame({"epoch": range(1, 13), **columns})


def judged(metrics, histories=None):
    histories = {name: [history()] * 3 for name in metrics} | (histories or {})
    recipes = {name: {"gamma": None, "similarity": "correlation"} for name in metrics}
    for name in metrics:
        if name.startswith("gamma"):
            recipes[name]["gamma"] = float(name.removeprefix("gamma-"))
    limits = dict.fromkeys(("s3_real", "s3_noise", "s3_flat", "s3_mean", "n_real"), 0.6)
    limits = {"correlation": limits, "cosine": limits}
    return tiny.made_up(BoundaryResults, metrics, histories, recipes, limits=limits)


def around(s3, **more):
    return [numbers(s3=s3 + change, **more) for change in (-0.001, 0.0, 0.001)]


def test_as_the_write_up_says():
    metrics = {"bce": around(0.3), "gamma-0.8": around(0.5), "gamma-0.2": around(0.4)}
    metrics |= {"repaired": around(0.75, kid=0.5), "no-rest": around(0.7)}
    histories = {"bce": [history(s2=s2) for s2 in (0.5, 0.51, 0.52)]}
    found = tiny.verdicts(judged(metrics, histories))
    assert len(found) == 10  # the idle generator has not run
    slow = found.pop("s3 takes too long to be watched.")
    assert slow == REFUTED
    assert set(found.values()) == {SUPPORTED}


def test_the_contrary():
    low = {"s1": 0.9, "s2": 0.9}
    metrics = {"bce": around(0.3), "gamma-0.8": around(0.3, **low)}
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
