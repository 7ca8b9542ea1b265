"""The bedroom report: from run directories to tables, figures and claims."""

import copy
import dataclasses
import json
import math

import numpy as np
import pandas
import pytest
from PIL import Image
from tiny_bedrooms import CLASSES, NETWORK, SIZES, cheap, make_data, make_study, tiny

from ganlib.experiment import study as ganlib_study
from ganlib.experiment.study import Trial, run_trial
from ganlib.report.export import Report
from ganlib.studies import bedrooms_figures
from ganlib.studies.bedrooms_claims import REPAIRS
from ganlib.studies.bedrooms_report import (
    FIGURES,
    SOME_TABLES,
    TABLES,
    BedroomResults,
    write_report,
)

SHORT = {"epochs": 2, "score_every": 1}
RECIPES = {
    "batch-128": tiny(**SHORT),
    "batch-256": tiny(batch_size=15, epochs=1),
    "repaired": tiny("dcgan", **SHORT),
    "no-augmentation": tiny("dcgan", augment=(), truncations=(), epochs=1),
}
TWICE = ("batch-128", "repaired")  # with two seeds


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """`(study, results, data, out)` of a tiny study; all that needs a network uses a cheap one."""
    out, data = tmp_path_factory.mktemp("runs"), make_data()
    study = make_study(data, **RECIPES)
    more = tuple(Trial(name, RECIPES[name], 1) for name in TWICE)
    study = dataclasses.replace(study, trials=(*study.trials, *more))
    with cheap():
        statuses = [run_trial(study, trial, data, out)["status"] for trial in study.trials]
        assert set(statuses) == {"done"}
        yield study, ganlib_study.results(study, out), data, out


@pytest.fixture(scope="module")
def found(finished):
    return BedroomResults(*finished)


def only(finished, *names):
    study, results, data, out = finished
    return study, [r for r in results if r["name"] in names], data, out


@pytest.fixture
def drawn(monkeypatch):
    """Names of the figures that a report draws; to save them would take most of the time."""
    names = []

    def draw(report, name, figure, caption):
        assert caption.endswith(".")
        figure.draw_without_rendering()
        names.append(name)

    monkeypatch.setattr(Report, "figure", draw)
    return names


# -- all that is written -------------------------------------------------------------------------


def test_the_whole_report(finished, found, tmp_path):
    report = found.write(tmp_path)
    suffixes = {"pdf": FIGURES, "png": FIGURES, "gif": ["film"]}
    tables = [*TABLES, *SOME_TABLES, "styles", "claims"]
    suffixes |= dict.fromkeys(("csv", "md", "tex"), tables)
    files = {f"{name}.{suffix}" for suffix, names in suffixes.items() for name in names}
    assert {path.name for path in report.path.iterdir()} == files | {"run.json"}
    run = json.loads((report.path / "run.json").read_text())
    assert set(run["files"]) == files
    assert run["verdicts"] == found.claims.count()
    assert run["seeds"] == [0, 1]
    assert run["data"]["synthetic"]
    for name in FIGURES:
        assert (report.path / f"{name}.pdf").stat().st_size > 1000
    with Image.open(report.path / "film.gif") as film:
        assert film.n_frames == 2  # a frame a scored epoch
    trials = pandas.read_csv(report.path / "trials.csv")
    counts = {"batch-128": 4, "batch-256": 2, "repaired": 6, "no-augmentation": 3}
    assert trials["variation"].value_counts().to_dict() == counts
    assert set(trials["weights"]) == {"best", "last", "unaveraged"}
    assert np.isfinite(trials[["kid", "recall", "seconds", "d_parameters"]]).all(axis=None)
    checkpoints = pandas.read_csv(report.path / "checkpoints.csv")
    assert len(checkpoints) == sum(r["metrics"]["epochs"] for r in finished[1]) == 10
    assert checkpoints.notna().all(axis=None)


@pytest.mark.parametrize(
    "names",
    [("repaired",), ("batch-128", "batch-256"), ("no-augmentation",), ("repaired", "batch-256")],
)
def test_a_part_of_the_study_can_be_reported(finished, names, tmp_path, drawn):
    part = only(finished, *names)
    report = write_report(*part, tmp_path)
    wanted = {"samples", "progress", "styles"}
    wanted |= {"best_and_last"} if {"batch-128", "repaired"} & {*names} else set()
    repaired = {"truncation", "neighbours", "interpolation"} if "repaired" in names else set()
    assert set(drawn) == wanted | repaired
    scores = pandas.read_csv(report.path / "scores.csv")
    assert {*names} < set(scores["pictures"])
    assert (report.path / "ablations.csv").exists() == ("repaired" in names)
    assert (report.path / "film.gif").exists() == ("best_and_last" in wanted)
    statements = " ".join(claim.statement for claim in BedroomResults(*part).claims)
    assert ("resemble bedrooms" in statements) == ("batch-128" in names)
    assert "halves" not in statements


def test_nothing_has_finished(finished):
    study, results, data, out = finished
    with pytest.raises(ValueError, match="No trial of 'bedrooms' has finished"):
        BedroomResults(study, [{**results[0], "status": "failed"}], data, out)


# -- tables --------------------------------------------------------------------------------------


def test_scores_stand_between_real_pictures_and_noise(found):
    scores = found.scores().set_index("pictures")
    assert list(scores.index) == [*RECIPES, "real (ceiling)", "noise (floor)"]
    assert list(scores["n"]) == [16] * 4 + [SIZES["validation"]] * 2
    assert scores.loc["batch-128", "KID"].endswith("]")  # an interval
    assert float(scores.loc["batch-256", "KID"]) > 0
    assert list(scores["seeds"]) == [2, 1, 2, 1, "", ""]
    assert scores.loc["real (ceiling)", "KID"] == f"{found.baselines['real']['kid']:.3g}"
    assert float(scores.loc["real (ceiling)", "KID"]) < float(scores.loc["noise (floor)", "KID"])
    # The Fréchet distance and the IS formula over another network than Inception have other names.
    assert "Fréchet distance (projection)" in scores.columns
    assert "IS formula (projection)" in scores.columns
    assert not {"FID", "IS", "Inception Score"} & set(scores.columns)
    assert any("Inception Score" in caution for caution in found.cautions())


def test_only_inception_gives_a_fid(finished):
    results = BedroomResults(*finished)
    results.network = dataclasses.replace(NETWORK, name="inception_v3")
    assert (results.labels["frechet"], results.labels["inception_score"]) == ("FID", "IS")


def test_formulas_as_written_and_as_they_are(found):
    """Against NumPy, picture by picture and class by class."""
    data = found.data
    pictures = {"real": data.validation.as_range("unit")}
    shape = pictures["real"].shape
    pictures["noise"] = np.random.default_rng(0).random(shape, dtype="float32")
    reference = NETWORK(data.test).features.astype("float64")
    table = found.formulas().set_index("pictures")
    assert list(table.index) == ["real", "noise"]

    def divergence(p, sums, over):
        """Mean over pictures of KL(p ‖ sums / over)."""
        rows = [
            sum(q * math.log(q * over / s) for q, s in zip(row, sums, strict=True)) for row in p
        ]
        return sum(rows) / len(p)

    for name, images in pictures.items():
        features, p = (x.astype("float64") for x in NETWORK(images, "unit"))
        n = len(p)
        sums = [sum(p[i, j] for i in range(n)) for j in range(CLASSES)]
        written, right = divergence(p, sums, CLASSES), divergence(p, sums, n)
        assert written - right == pytest.approx(math.log(CLASSES / n))
        row = table.loc[name]
        assert float(row["IS as written"]) == pytest.approx(written, abs=6e-4)
        assert float(row["IS formula (projection)"]) == pytest.approx(math.exp(right), abs=6e-4)
        variances = sum(
            (a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2
            for a, b in zip(features.T, reference.T, strict=True)
        )
        shown = float(row["distance as written (variances)"])
        assert shown == pytest.approx(variances, abs=6e-3)
        # Variances alone leave out how features vary together.
        assert float(row["Fréchet distance (projection) (covariances)"]) > shown
        assert row["n"] == n


def test_best_and_last(found):
    table = found.best_and_last()
    assert len(table) == 6
    for row, result in zip(table.to_dict("records"), found.results, strict=True):
        metrics = result["metrics"]
        epochs = metrics["best_epoch"], result["recipe"]["epochs"]
        assert (row["best epoch"], row["last epoch"]) == epochs
        assert row["KID, best"] == f"{metrics['scores']['best']['kid']:.3g}"
        assert row["KID, last"] == f"{metrics['scores']['last']['kid']:.3g}"


def test_ablations(found):
    table = found.ablations().set_index("variation")
    assert list(table.index) == ["repaired", "no-augmentation", "(same runs, last epoch)"]
    kid = {name: found.values(name, "kid") for name in ("repaired", "no-augmentation")}
    less = kid["no-augmentation"][0] - kid["repaired"][0]  # the seed that both have
    assert table.loc["no-augmentation", "left out"] == REPAIRS["no-augmentation"]
    assert table.loc["no-augmentation", "less with it"] == f"{less:+.3g}"


def test_truncation_and_neighbours(found):
    truncation = found.truncation()
    assert len(truncation) == 2 * 2  # seeds and truncations of the repaired recipe
    assert set(truncation["variation"]) == {"repaired"}
    near = found.neighbours()
    assert list(near["n"]) == [16] * 6
    for text, result in zip(near["nearer than 1 % of those"], found.results, strict=True):
        copies = result["metrics"]["neighbours"]["copies"]
        assert float(text.removesuffix("%")) == pytest.approx(100 * copies, abs=0.05)


def test_styles_and_discussion(found):
    styles = found.styles().set_index("pictures")
    assert len(styles) == 6 + 1
    assert styles.loc["training pictures", "clear in all factors"] == "100.0%"
    discussion = found.discussion()
    assert len(discussion) == 4
    measured = dict(zip(discussion["point"], discussion["measured"], strict=True))
    for name in ("batch-128", "batch-256", "repaired"):
        assert f"({name})" in measured["Other hyperparameters and batch sizes"]
    assert "(no-augmentation)" not in measured["Other hyperparameters and batch sizes"]


def test_other_data_have_no_styles(finished):
    study, results, data, out = finished
    plain = [{**r, "metrics": {**r["metrics"], "styles": None}} for r in results]
    found = BedroomResults(study, plain, data, out)
    assert found.styles().empty
    assert not FIGURES["styles"](found)
    assert bedrooms_figures.styles(found) is None


def test_a_report_of_runs_whose_weights_were_never_finite(finished, tmp_path, drawn):
    """They have neither scores in their history nor sample grids."""
    study, results, data, out = only(finished, "batch-128", "batch-256")
    found = BedroomResults(study, copy.deepcopy(results), data, out)
    for result in (found.of("batch-128")[1], found.of("batch-256")[0]):
        result["status"] = "stopped"
        result["metrics"] |= {"best_epoch": 0, "epochs": 1}
        result["metrics"]["scores"]["last"] = None
        history = found.histories[result["id"]]
        found.histories[result["id"]] = history[["epoch", "d_loss", "seconds"]].iloc[:1]
        found.folders[result["id"]] = tmp_path / "nothing"
    report = found.write(tmp_path)
    assert "best_and_last" in drawn
    checkpoints = pandas.read_csv(report.path / "checkpoints.csv")
    assert checkpoints["KID"].notna().sum() == 2  # of the one run that was scored
