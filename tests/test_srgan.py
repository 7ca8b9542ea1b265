"""The super-resolution study: the write-up's attempts, tiny trainings and a report of them."""

import copy
import dataclasses
import json
from unittest import mock

import keras
import numpy as np
import pandas
import pytest
from skimage import data as pictures

from ganlib.data import DataError, Images
from ganlib.data.parts import Parts
from ganlib.experiment.run import run_trial
from ganlib.report.claims import CANNOT_TELL, REFUTED, SUPPORTED
from ganlib.studies import srgan
from ganlib.studies.srgan_attempts import ATTEMPTS
from ganlib.studies.srgan_report import TABLES, SRResults, write_report

RUN = ("repaired", "attempt-1", "attempt-3", "attempt-4", "attempt-7")
TINY = {"filters": 2, "blocks": 1, "d_filters": 2, "d_levels": 2, "patch": 16, "batch_size": 2}
TINY |= {"steps": 2, "epochs": 1}
CORNERS = [(0, 0), (0, 192), (192, 96), (256, 192)]
PHOTOS = [pictures.astronaut()[y : y + 96, x : x + 128] for y, x in CORNERS]
BLANK = np.full((96, 128, 3), 128, "uint8")  # enlarged without any error


def parts(*more):
    test = Images([*PHOTOS[2:], *more], names=("a.jpg", "b/c", "blank")[: 2 + len(more)])
    return Parts(Images(PHOTOS[:1]), Images([*PHOTOS[1:2], *more]), test)


DATA = parts()


def plan(data=DATA):
    """The study with tiny networks and pictures."""

    def tiny(study):
        recipes = {name: srgan.variations(study)[name] for name in RUN}
        phases = {name: min(1, recipe.pretraining_epochs) for name, recipe in recipes.items()}
        return {
            name: dataclasses.replace(recipe, **TINY, pretraining_epochs=phases[name])
            for name, recipe in recipes.items()
        }

    return dataclasses.replace(srgan.STUDY, variations=tiny, load=lambda *_: data).at("quick")


def ran(study, out):
    """Results of all trials, without compiling, which would take longer than a dozen steps."""
    compile = keras.Model.compile

    def eager(*args, **options):
        return compile(*args, **{**options, "run_eagerly": True})

    with mock.patch.object(keras.Model, "compile", eager):
        return [run_trial(study, trial, out) for trial in study.trials]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """`(study, results, data, out)` of four attempts and the repaired recipe, a few steps each."""
    out, study = tmp_path_factory.mktemp("runs"), plan()
    results = ran(study, out)
    assert [r["status"] for r in results] == ["done"] * len(RUN), [r.get("error") for r in results]
    return study, results, DATA, out


@pytest.mark.parametrize("profile", ["quick", "cpu", "full"])
def test_the_attempts_are_the_write_ups(profile):
    recipes = srgan.STUDY.at(profile, data="photos").recipes
    assert list(recipes) == ["repaired", *(f"attempt-{i}" for i in range(1, 8))]
    factor = srgan.RATE_FACTOR[profile]
    for attempt in ATTEMPTS:
        recipe = recipes[attempt.name]
        for rate in ("g_learning_rate", "d_learning_rate"):
            assert getattr(recipe, rate) == pytest.approx(factor * attempt.settings[rate])
        assert (recipe.adversarial, recipe.perceptual) == (0.01, attempt.settings["perceptual"])
        assert recipe.epochs * srgan.EPOCHS_A_LOG[profile] == attempt.epochs
        # As submitted: no pretraining, no skip, its loss, and a comparison in a wrong value range.
        assert (recipe.generator, recipe.loss, recipe.ema) == ("paper", "absolute_error", 0.0)
        assert (recipe.pretraining_epochs, recipe.value_range) == (0, "signed")
        assert recipe.mistake == "denormalised twice"
    assert recipes["repaired"].pretraining_epochs > 0
    assert (recipes["repaired"].generator, recipes["repaired"].mistake) == ("residual", "none")


def test_expectations_are_the_write_ups_own_words():
    said = {attempt.name[-1]: attempt.expectation for attempt in ATTEMPTS}
    assert "capture more detail (SSIM)" in said["2"]
    assert "Slightly Lower PSNR, But Higher SSIM" in said["3"]
    assert "Perceptual Loss ↓ (0.3 → 0.05): Better pixel accuracy (PSNR ↑)" in said["4"]
    # What was not said is not judged.
    assert [attempt.name[-1] for attempt in ATTEMPTS if not attempt.expects] == ["1", "7"]
    assert said["1"] == said["7"] == ""


def test_pictures_smaller_than_a_patch_are_refused_before_training():
    study = srgan.STUDY.at("quick", data="photos", changes={"patch": 2000})
    with pytest.raises(DataError, match="2000"):
        study.data  # noqa: B018


def test_what_a_trial_leaves(found):
    study, results, _, out = found
    metrics, folder = results[0]["metrics"], out / "srgan" / study.trials[0].id
    files = {"model.keras", "adversarial.keras", "pretraining/samples/a_jpg.png"}
    assert all((folder / name).exists() for name in files | {"samples/b_c.png"})
    # No mistake, no border cut.
    for scores in metrics["scores"].values():
        assert scores["printed_psnr"] == pytest.approx(scores["psnr_rgb"], abs=1.5)
    attempt = results[1]["metrics"]["scores"]["adversarial"]
    assert attempt["printed_psnr"] < attempt["psnr_rgb"]
    # It begins as the linear upscaler, and of its start and its only epoch the better is kept.
    linear = srgan.baselines(DATA, study.recipes["repaired"])["linear"]
    rows = metrics["scores"]["pretrained"]["pictures"]
    np.testing.assert_allclose(*([r["psnr_y"] for r in x] for x in (rows, linear)), atol=0.5)


def test_a_blank_picture_spoils_neither_the_choice_nor_a_score(tmp_path):
    study = plan(parts(BLANK)).select("repaired")
    results = ran(study, tmp_path)
    scores = results[0]["metrics"]["scores"]["pretrained"]
    assert scores["n_infinite"] == 1
    numbers = (results[0]["metrics"]["validation_psnr_y"], scores["printed_psnr"])
    report = SRResults(study, results, study.data, tmp_path)
    assert np.isfinite([*numbers, report.gain("psnr_y", "bicubic").mean]).all()


def test_the_whole_report(found, tmp_path):
    report, ours = write_report(*found, tmp_path), SRResults(*found)
    for name in ("panel", "mistake", "printed", "trade"):
        assert (report.path / f"{name}.pdf").stat().st_size > 1000
    for name in (*TABLES, "ledger", "claims"):
        head = (report.path / f"{name}.csv").read_text().partition("\n")[0]
        assert "psnr_" not in head
    run = json.loads((report.path / "run.json").read_text())
    assert run["verdicts"] == ours.claims.count()
    verdicts = {claim.statement[:9]: claim.verdict for claim in ours.claims}
    assert (verdicts["A D loss "], verdicts["attempt-4"]) == (REFUTED, CANNOT_TELL)  # one seed
    ledger = ours.ledger().set_index("attempt")
    assert list(ledger.index) == list(RUN[1:])
    assert "g_learning_rate 0.0004 → 0.0001" in ledger.loc["attempt-4", "changes"]
    assert ledger.loc["attempt-7", "printed then"] == "10.7 dB, 0.3915"
    assert (ledger.loc["attempt-7", ["expectation", "verdict"]] == ["none", "not judged"]).all()
    bicubic = ours.mistakes[ours.mistakes["pictures of"] == "bicubic"]
    printed = bicubic.set_index("mistake")["PSNR, dB"]
    assert printed["none"] - printed["both signed, peak 1"] == pytest.approx(6.02, abs=0.011)


@pytest.mark.parametrize("names", [("repaired",), ("attempt-3", "attempt-4")])
def test_a_part_of_the_study_can_be_reported(found, names, tmp_path):
    study, results, data, out = found
    some = [r for r in results if r["name"] in names]
    report = write_report(study, some, data, out, tmp_path)
    assert (report.path / "mistake.png").exists() == ("repaired" not in names)
    scores = pandas.read_csv(report.path / "scores.csv")
    assert {"flat grey", "bicubic", "linear", "original (ceiling)"} <= set(scores["method"])


@pytest.mark.parametrize(("sign", "wanted"), [(1, SUPPORTED), (-1, REFUTED)])
def test_verdicts_follow_the_numbers(found, sign, wanted):
    study, results, data, out = found
    made = []
    for seed in range(3):
        for result in copy.deepcopy(results):
            rank = float(result["name"][-1]) if result["name"] != "repaired" else 0.0
            result["metrics"] |= {"d_loss": 1.0, "d_accuracy": 0.5}
            for phase, scores in result["metrics"]["scores"].items():
                scores |= {"psnr_y": sign * (20 + rank + 0.01 * seed), "psnr_rgb": 18 + rank}
                scores |= {"printed_psnr": 9 + 0.1 * rank, "sharpness": 0.5 + 0.1 * rank}
                for i, row in enumerate(scores["pictures"]):
                    sharpness = 0.6 + 0.3 * (phase == "adversarial") + 0.001 * i
                    row |= {"sharpness": sign * sharpness, "psnr_y": 25.0 + sign * 15 + 0.01 * i}
            made.append(result | {"seed": seed})
    claims = SRResults(study, made, data, out).claims
    verdicts = {claim.statement.partition(":")[0]: claim.verdict for claim in claims}
    assert verdicts["attempt-4"] == wanted
    assert verdicts["The best attempt reaches 10.7 dB."] == REFUTED
    assert verdicts["D's loss of 1.000 shows a balance of G and D."] == REFUTED  # a coin
    assert verdicts["The adversarial loss makes edges sharper."] == wanted
    assert verdicts["Our own"] == wanted
