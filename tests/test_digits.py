"""The digits study: data, variations, a tiny run from data to report, and what its claims say."""

import functools

import numpy as np
import pandas
import pytest
import tiny

from ganlib.data import DataError, load
from ganlib.features.digits import load_or_train
from ganlib.report.claims import CANNOT_TELL, REFUTED, SUPPORTED
from ganlib.studies import digits
from ganlib.studies.digits_report import DigitsResults

SMALL = {"width": 2, "d_width": 2, "latent_dim": 4, "batch_size": 64, "samples": 64}
SMALL |= {"epochs": 2, "patience": 10}  # blank pictures or not
NAMES = ("base", "tanh", "latent-50", "label-smoothing", "least-squares", "batch-norm")
CHANGED = {"tanh": {"output"}, "latent-50": {"latent_dim"}, "label-smoothing": {"real_label"}}
CHANGED |= {"batch-norm": {"batch_norm"}, "least-squares": {"loss"}, "hinge": {"loss"}}
CHANGED |= {"instance-noise": {"instance_noise"}}
CHANGED |= {"wide": {"width"}, "wide-tanh": {"width", "output"}}


@functools.cache
def whole():
    return load("digits", "train", size=28, channels=1).subset(slice(None, None, 2))


def test_variations():
    for profile in ("quick", "cpu", "full"):
        recipes = digits.STUDY.at(profile).recipes
        assert list(recipes) == ["base", *CHANGED, "repaired"]
        for name, fields in CHANGED.items():
            assert tiny.changes(recipes, name, "base") == fields, name
        assert recipes["repaired"].g_learning_rate == recipes["base"].g_learning_rate / 2
    assert recipes["base"] == digits.Recipe()  # the write-up's


def test_data_are_divided_by_class_and_labels_checked(tmp_path):
    for labels in (whole().labels + 1, np.where(whole().labels == 9, -1, whole().labels)):
        np.savez(tmp_path / "d.npz", x=whole().images, y=labels)
        with pytest.raises(DataError, match="10 classes 0 to 9"):
            digits.load_data(tmp_path / "d.npz")
    np.savez(tmp_path / "d.npz", x=whole().images, y=whole().labels)
    data = digits.load_data(tmp_path / "d.npz")
    shares = np.bincount(data.test.labels) / np.bincount(whole().labels)
    assert np.ptp(shares) < 0.03
    parts = [{image.tobytes() for image in part.images} for part in (data.train, data.test)]
    assert not parts[0] & parts[1]


def test_from_data_to_report(tmp_path, monkeypatch):
    monkeypatch.setattr(digits, "load_or_train", functools.partial(load_or_train, steps=2))
    # Too few for a study: its own check is tested above.
    data = digits.DigitsData(whole().subset(slice(0, 192)), whole().subset(slice(192, 400)))
    study = tiny.some(digits.STUDY, NAMES, "none", SMALL)
    study._loaded["data"] = data
    results = tiny.run(study, tmp_path, digits)
    assert 1 <= results[0]["metrics"]["digit_score"] <= 10
    found = DigitsResults(study, results, data, tmp_path)
    report = found.write(tmp_path)
    names = {path.stem for path in report.written}
    assert {"samples", "accuracy", "quality", "histogram", "claims"} < names
    scores = pandas.read_csv(report.path / "scores.csv")
    assert scores["pictures"].tolist() == [*NAMES, "real digits (ceiling)", "noise (floor)"]


def numbers(score=4.0, seconds=10.0, blank=False):
    findings = [{"check": "generator_blank"}] if blank else []
    return {"digit_score": score, "seconds_per_epoch": seconds, "findings": findings}


def history(right=0.5, unrest=0.2, advantage=0.1):
    waves = [right + sign * unrest / 2 for sign in (1, -1, 1)]
    columns = {"accuracy_real": waves, "accuracy_fake": waves, "printed_real": 0.0}
    columns |= dict.fromkeys(("d_accuracy_real", "d_accuracy_fake"), 0.5 + advantage)
    return pandas.DataFrame({"epoch": [1, 2, 3], **columns})


def judged(metrics, histories=None):
    """Three seeds each; a tenth of the way from noise to real digits is 0.8."""
    histories = {name: [history()] * 3 for name in metrics} | (histories or {})
    recipes = {name: {"output": "sigmoid", "batch_norm": False} for name in metrics}
    recipes |= {"tanh": {"output": "tanh", "batch_norm": False}}
    baselines = {"real": {"digit_score": 9.0}, "noise": {"digit_score": 1.0}}
    return tiny.made_up(DigitsResults, metrics, histories, recipes, baselines=baselines)


def test_as_the_write_up_says_and_the_contrary():
    usual, blank = [numbers()] * 3, [numbers(blank=True)] * 3
    better, worse = ([numbers(s + d) for d in (0.0, 0.1, -0.1)] for s in (6.0, 2.0))
    slower, faster = ([numbers(seconds=s + d) for d in (0, 0.1, -0.1)] for s in (11.3, 5.0))
    metrics = {"base": usual, "tanh": blank, "latent-50": usual, "label-smoothing": usual}
    metrics |= {"least-squares": better, "hinge": better}
    metrics |= {"instance-noise": usual, "batch-norm": slower}
    histories = {"tanh": [history(1.0, 0.0)] * 3, "label-smoothing": [history(0.0, 0.0)] * 3}
    histories["instance-noise"] = [history(advantage=a) for a in (0.3, 0.31, 0.29)]
    histories["batch-norm"] = [history(unrest=u) for u in (0.05, 0.06, 0.04)]
    found = tiny.verdicts(judged(metrics, histories))
    assert (len(found), set(found.values())) == (11, {SUPPORTED})
    metrics = {"base": blank, "tanh": usual, "latent-50": faster, "label-smoothing": worse}
    metrics |= {"least-squares": worse, "hinge": worse}
    metrics |= {"instance-noise": worse, "batch-norm": faster}
    histories = {"instance-noise": [history(advantage=a) for a in (0.0, 0.01, -0.01)]}
    histories["batch-norm"] = [history(unrest=u) for u in (0.4, 0.41, 0.39)]
    found = tiny.verdicts(judged(metrics, histories))
    assert found.pop("Half the latent values hardly change the quality.") == SUPPORTED
    assert set(found.values()) == {REFUTED}


def test_one_seed_and_other_seeds_can_not_tell():
    one = {name: [numbers(9.0)] for name in ("latent-50", "least-squares", "batch-norm")}
    assert set(tiny.verdicts(judged({"base": [numbers(1.0)], **one})).values()) == {CANNOT_TELL}
    apart = judged({"base": [numbers(), None], "latent-50": [None, numbers()]})
    assert set(tiny.verdicts(apart).values()) == {CANNOT_TELL}
    assert judged({"latent-50": [numbers()]}).claims.items == ()  # nothing to compare with
