"""The super-resolution report: from run directories to ledger, figures and claims."""

import copy
import dataclasses
import json

import numpy as np
import pandas
import pytest
from skimage import data as pictures
from workers import train_eagerly

from ganlib.data import Photos
from ganlib.experiment.study import Study, Trial, run_trial
from ganlib.report.claims import CANNOT_TELL, REFUTED
from ganlib.report.figures import close
from ganlib.studies import srgan, srgan_figures
from ganlib.studies.srgan_attempts import get
from ganlib.studies.srgan_report import SRResults, write_report

TINY = {"filters": 2, "blocks": 1, "d_filters": 2, "d_levels": 2, "patch": 16, "batch_size": 2}
NAMES = ("repaired", "attempt-3", "attempt-4", "attempt-7", "attempt-1")


def recipe(name):
    base = srgan.Recipe(steps=2, epochs=1, **TINY)
    if name == "repaired":
        return dataclasses.replace(base, pretraining_epochs=1)
    return dataclasses.replace(base, **srgan.SUBMITTED, **get(name).settings)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """`(study, results, data, out)` of four attempts and the repaired recipe, a few steps each."""
    out = tmp_path_factory.mktemp("runs")
    photo = pictures.astronaut()
    corners = [(0, 0), (0, 192), (192, 96), (256, 192)]
    parts = [photo[y : y + 96, x : x + 128] for y, x in corners]
    data = srgan.PhotoData(Photos(parts[:1]), Photos(parts[1:2]), Photos(parts[2:], ("a", "b/c")))
    study = Study(
        name="srgan",
        title="tiny",
        trials=tuple(Trial(name, recipe(name), 0) for name in NAMES),
        load_data=lambda: data,
        train=train_eagerly,
        module="none",
        options={"profile": "quick"},
        epochs=lambda trial: trial.recipe.pretraining_epochs + trial.recipe.epochs,
    )
    results = [run_trial(study, trial, data, out) for trial in study.trials]
    assert [r["status"] for r in results] == ["done"] * len(NAMES), results
    return study, results, data, out


def only(found, *names):
    study, results, data, out = found
    return study, [r for r in results if r["name"] in names], data, out


def test_the_whole_report(found, tmp_path):
    report, claims = write_report(*found, tmp_path), SRResults(*found).claims
    for name in ("panel", "mistake", "printed", "trade"):
        assert (report.path / f"{name}.pdf").stat().st_size > 1000
    losses = pandas.read_csv(report.path / "losses.csv")
    assert set(losses["variation"]) == set(NAMES)
    assert set(losses[losses["variation"] == "repaired"]["phase"]) == {"pretraining", "adversarial"}
    run = json.loads((report.path / "run.json").read_text())
    assert run["verdicts"] == claims.count()
    verdicts = {claim.statement[:24]: claim.verdict for claim in claims}
    assert verdicts["A D loss below 0.5 is a "] == REFUTED
    assert verdicts["Two more warning signs: "] == CANNOT_TELL
    # One seed: a difference between two trainings can't be judged.
    assert all(c.verdict == CANNOT_TELL for c in claims if c.statement.startswith("attempt-"))


def test_the_ledger_is_generated_from_the_recipes(found):
    ledger = SRResults(*found).ledger().set_index("attempt")
    assert list(ledger.index) == ["attempt-1", "attempt-3", "attempt-4", "attempt-7"]
    assert ledger.loc["attempt-1", "changes"] == ""
    assert "perceptual 0.1 → 0.3" in ledger.loc["attempt-3", "changes"]
    assert "g_learning_rate 2e-05 → 5e-06" in ledger.loc["attempt-4", "changes"]
    assert "5e-5 in its table" in ledger.loc["attempt-4", "resolved"]
    assert ledger.loc["attempt-7", "printed then"] == "10.7 dB, 0.3915"


def test_what_was_printed_is_the_mistake_and_not_the_score(found):
    ours = SRResults(*found)
    for name in ("attempt-1", "attempt-7"):
        assert ours.metric(ours.of(name)[0], "printed_psnr") < ours.mean(name, "psnr_rgb")
    scores = ours.of("repaired")[0]["metrics"]["scores"]
    for phase in ("pretrained", "adversarial"):  # no mistake, no border cut
        assert scores[phase]["printed_psnr"] == pytest.approx(scores[phase]["psnr_rgb"], abs=1.5)


def test_the_mistake_that_bicubic_makes_plain(found):
    table = SRResults(*found).mistakes
    right = table[(table["pictures of"] == "bicubic") & (table["mistake"] == "none")]
    half = table[(table["pictures of"] == "bicubic") & (table["mistake"] == "both signed, peak 1")]
    decibels = [float(t["PSNR"].iloc[0].split()[0]) for t in (right, half)]
    assert decibels[0] - decibels[1] == pytest.approx(6.02, abs=0.011)


@pytest.mark.parametrize("names", [("repaired",), ("attempt-4",), ("attempt-3", "attempt-4")])
def test_a_part_of_the_study_can_be_reported(found, names, tmp_path):
    report = write_report(*only(found, *names), tmp_path)
    assert (report.path / "panel.png").exists()
    assert (report.path / "mistake.png").exists() == ("repaired" not in names)
    scores = pandas.read_csv(report.path / "scores.csv")
    assert {"flat grey", "bicubic", "linear", "original (ceiling)"} <= set(scores["method"])


def test_a_network_that_was_not_trained_yet_begins_as_the_linear_upscaler(found):
    _, _, data, _ = found
    ours = SRResults(*found)
    linear = [row["psnr_y"] for row in ours.baselines["linear"]]
    pretrained = ours.pictures("pretrained", "psnr_y")  # the best of its start and one epoch
    np.testing.assert_allclose(pretrained, linear, atol=0.5)
    assert len(data.test) == len(linear)


def test_the_phases_are_shown_as_the_mean_over_seeds(found):
    study, results, data, out = only(found, "repaired")
    again = copy.deepcopy(results[0]) | {"seed": 1}
    for scores in again["metrics"]["scores"].values():
        scores["psnr_y"] += 2.0
    ours = SRResults(study, [*results, again], data, out)
    figure = srgan_figures.trade(ours)
    shown = {line.get_label(): line.get_xdata() for line in figure.axes[0].lines}
    for phase in srgan_figures.PHASES:
        first, second = (scores["psnr_y"] for scores in ours.after(phase))
        assert second == first + 2.0
        assert shown[phase] == pytest.approx([first + 1.0])
    close(figure)
