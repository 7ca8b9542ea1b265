"""The bedroom report: from run directories to tables, figures and claims."""

import copy
import dataclasses
import json
import math

import numpy as np
import pandas
import pytest
from PIL import Image
from test_bedrooms_study import CLASSES, NETWORK, SIZES, cheap, make_data, make_study, tiny

from ganlib import study as ganlib_study
from ganlib.report import Report
from ganlib.stats import CANNOT_TELL, REFUTED, SUPPORTED
from ganlib.studies import bedrooms_figures
from ganlib.studies.bedrooms_claims import REPAIRS
from ganlib.studies.bedrooms_report import (
    FIGURES,
    SOME_TABLES,
    TABLES,
    BedroomResults,
    write_report,
)
from ganlib.study import Study, Trial, run_trial

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


# -- claims, on made-up numbers ------------------------------------------------------------------

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
    assert found.ablations()["less with it"][1] == ""


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
