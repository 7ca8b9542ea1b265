"""The boundary report: from what trials left behind to tables and files."""

import dataclasses
import functools
import json
import math
import types

import numpy as np
import pandas
import pytest
from test_boundary_figures import write_run

from ganlib.data import ImageSet
from ganlib.experiment.study import Study, Trial, run_folder
from ganlib.metrics.boundary import SIMILARITIES, s3, s3_ceiling
from ganlib.report.export import Report
from ganlib.studies import boundary_report, results
from ganlib.studies.boundary import Recipe
from ganlib.studies.boundary_claims import FIRST, REPAIRS, REPORTED
from ganlib.studies.boundary_report import (
    CEILING,
    FIGURES,
    FLOOR,
    LIMITS,
    TABLES,
    WRITE_UP,
    BoundaryResults,
    write_report,
)

EPOCHS = FIRST + 4
BEST = {"s1": 0.9, "s2": 0.8, "s3": 0.5, "s3_real": 0.6, "s3_noise": 0.05, "s3_flat": 0.0}
BEST |= {"s3_mean": 0.85, "s3_back": 0.4, "s3_train": 0.45, "n": 30, "n_real": 22, "n_train": 90}
METRICS = {"best_epoch": 12, "epochs": EPOCHS, "seconds_per_epoch": 10.0, "s3_seconds": 0.2}
METRICS |= {"g_parameters": 1000, "d_parameters": 500, "findings": []}
METRICS["high"] = {"s1": 0.998, "s2": 0.999, "s3": 0.5}
EARLY = {"s1": 0.6, "s2": 0.4, "s3": 0.3}  # means of the first epochs
LOSSES = {"d_loss": 0.5, "g_loss": 0.7}
BROKEN = {"check": "non_finite_loss", "epoch": 9, "evidence": "d_loss is nan.", "remedy": "Less."}
# Each of different pictures, so that the order of arguments matters.
PICTURES = np.random.default_rng(0).integers(0, 256, (29, 32, 32, 3), "uint8")
DATA = types.SimpleNamespace(
    train=ImageSet(PICTURES[:8]),
    validation=ImageSet(PICTURES[8:17]),
    test=ImageSet(PICTURES[17:]),
    name="noise",
    origin="Drawn.",
    synthetic=True,
    checksum="0" * 48,
)


def make_history(early, losses, last):
    """The first epochs have these means; after them all criteria are 0.5, and s1_train `last`."""
    wave = np.linspace(-0.02, 0.02, FIRST)
    rest = np.full(EPOCHS - FIRST, 0.5)
    columns = {key: np.concatenate([value + wave, rest]) for key, value in early.items()}
    columns["score"] = columns["s1"] * columns["s2"] * columns["s3"]
    columns["s1_train"] = np.append(np.full(EPOCHS - 1, 0.3), last)
    columns |= {key: np.full(EPOCHS, value) for key, value in losses.items()}
    return pandas.DataFrame({"epoch": np.arange(EPOCHS) + 1, **columns})


@functools.cache
def limits():
    """Of the data above; SSIM takes a while."""
    return BoundaryResults.limits.func(types.SimpleNamespace(data=DATA))


def made_up(variations, out="nowhere"):
    """`BoundaryResults` of variations: name → dict of number → list, an entry a seed.

    The numbers are of `BEST`, `METRICS`, `LOSSES`, "kid", "last" (the last epoch's s3; `None`: not
    finite), "status", "s1_train", or of `EARLY` with "early_" before them. `None` in place of "s3":
    that seed has not finished.
    """
    trials, results, histories = [], [], {}
    for name, numbers in variations.items():
        gamma = float(name.removeprefix("gamma-")) if name.startswith("gamma-") else 0.8
        recipe = Recipe(gamma=None if name.endswith("bce") else gamma, epochs=EPOCHS)
        for seed, values in enumerate(zip(*numbers.values(), strict=True)):
            given = dict(zip(numbers, values, strict=True))
            trials.append(Trial(name, recipe, seed))
            if given.get("s3", 0) is None:
                continue
            best = BEST | {key: given[key] for key in BEST.keys() & given.keys()}
            best["score"] = given.get("score", best["s1"] * best["s2"] * best["s3"])
            last = best | {"s3": given.get("last", best["s3"])}
            metrics = METRICS | {key: given[key] for key in METRICS.keys() & given.keys()}
            metrics["scores"] = {"best": best, "last": None if last["s3"] is None else last}
            others = dict.fromkeys(SIMILARITIES, best["s3"] / 2)
            metrics["similarities"] = others | {"correlation": best["s3"]}
            seen = {"precision": 0.7, "recall": 0.6, "network": "projection"}
            metrics["fidelity"] = {
                "generated": {**seen, "kid": given.get("kid", 2.0), "n_fake": 30},
                "real": {**seen, "kid": 0.125, "n_fake": 9},
            }
            result = {"id": trials[-1].id, "name": name, "seed": seed, "seconds": 1.5}
            result["recipe"] = dataclasses.asdict(trials[-1].recipe)
            results.append(result | {"status": given.get("status", "done"), "metrics": metrics})
            early = {key: given.get(f"early_{key}", usual) for key, usual in EARLY.items()}
            losses = {key: given.get(key, usual) for key, usual in LOSSES.items()}
            histories[result["id"]] = make_history(early, losses, given.get("s1_train", 0.9))
    study = Study("boundary", "", tuple(trials), None, None, "none", {"profile": "quick"}, None)
    found = BoundaryResults(study, results, DATA, out)
    found.histories, found.limits = histories, limits()
    return found


@pytest.fixture(scope="module")
def everything():
    """Two seeds of most variations, one of the rest; one has broken off, one was all high."""
    return made_up(
        {
            "bce": {
                "s3": [0.30, 0.32],
                "kid": [3.0, 3.0],
                "last": [0.2, None],
                "status": ["done", "stopped"],
                "findings": [[], [BROKEN]],
            },
            "gamma-0.3": {"s3": [0.4, 0.4]},
            "gamma-0.8": {"s3": [0.5, 0.5], "best_epoch": [3, 7], "status": ["stopped", "done"]},
            "repaired": {"s1": [1.0, 1.0], "s2": [1.0, 1.0], "s3": [0.7, 0.7]},
            "repaired-bce": {"s3": [0.6, 0.6]},
            "no-rest": {"s3": [0.25], "kid": [8.0]},
            "idle-generator": {"s1": [0.999], "s2": [0.999], "s3": [0.06]},
        }
    )


# -- tables --------------------------------------------------------------------------------------


def test_nothing_has_finished(everything):
    failed = [{**everything.results[0], "status": "failed"}]
    with pytest.raises(ValueError, match="No trial of 'boundary' has finished"):
        BoundaryResults(everything.study, failed, DATA)


def test_scores_stand_beside_the_write_up_and_the_limits(everything):
    table = everything.scores().set_index("pictures")
    limits = list(LIMITS)
    assert limits[:2] == [CEILING, FLOOR]
    assert list(table.index) == [*everything.names, WRITE_UP, *limits]
    # Over two seeds Student's interval is 12.706 standard errors wide on either side.
    assert table.loc["bce", "s3"] == "0.3100 [0.1829, 0.4371]"
    assert table.loc["no-rest", "s3"] == "0.2500"
    assert table.loc["no-rest", "score"] == f"{0.9 * 0.8 * 0.25:.4f}"
    assert table.loc["repaired", "score"].startswith("0.7000 ")
    assert list(table["seeds"]) == [2, 2, 2, 2, 2, 1, 1] + [""] * 5
    assert table.loc["gamma-0.8", "epoch"] == "3, 7"
    assert table.loc["no-rest", "n"] == 30
    written = {key: f"{value:.4f}" for key, value in REPORTED.items()}
    assert dict(table.loc[WRITE_UP, list(written)]) == written
    assert math.prod(REPORTED[key] for key in ("s1", "s2", "s3")) == pytest.approx(
        REPORTED["score"], rel=1e-15
    )
    measured = everything.limits["correlation"]  # on the pictures that all variations share
    assert list(table.loc[limits, "s3"]) == [f"{measured[LIMITS[name]]:.4f}" for name in limits]
    counts = [len(everything.data.test), *[len(everything.data.validation)] * 2, 1]
    assert list(table.loc[limits, "n"]) == counts
    assert set(table.loc[limits, "s1"]) == {""}


def test_the_last_epoch(everything):
    table = everything.last()
    assert len(table) == len(everything.results)
    rows = table.set_index(["variation", "seed"])
    assert (rows.loc[("bce", 0), "s3, best"], rows.loc[("bce", 0), "s3, last"]) == (
        "0.3000",
        "0.2000",
    )
    assert rows.loc[("bce", 1), "s3, last"] == "not finite"
    assert rows.loc[("bce", 1), "s3, best"] == "0.3200"
    assert tuple(rows.loc[("gamma-0.8", 1), ["best epoch", "last epoch"]]) == (7, EPOCHS)
    stopped = rows["stopped, all high"]
    assert stopped["gamma-0.8", 0] == "yes"
    assert stopped["gamma-0.8", 1] == "no"
    assert stopped["bce", 1] == "no"  # it ended since it had broken
    assert everything.findings()[["variation", "seed", "check"]].values.tolist() == [
        ["bce", 1, "non_finite_loss"]
    ]


def test_similarities_are_measured_between_their_limits(everything, monkeypatch):
    monkeypatch.setattr(boundary_report, "SLOW", {"ssim": 7})
    found = BoundaryResults(everything.study, everything.results, DATA, "nowhere")
    table = found.similarities().set_index("similarity")
    assert list(table.index) == list(SIMILARITIES)
    assert table.loc["correlation", "bce"] == pytest.approx(0.31)
    assert table.loc["ssim", "bce"] == pytest.approx(0.155)
    real, test = (part.as_range("unit") for part in (DATA.validation, DATA.test))
    for name in SIMILARITIES:
        part = test[: 7 if name == "ssim" else None]
        assert table.loc[name, "n real"] == len(part)
        assert table.loc[name, CEILING] == s3_ceiling(part, "unit", name).value
    labels = {key: label for label, key in LIMITS.items()}
    mean = test.mean(axis=0, keepdims=True)
    assert table.loc["cosine", labels["s3_mean"]] == pytest.approx(
        s3(mean, test, "unit", "cosine").value
    )
    flat = np.broadcast_to(real.mean(axis=(1, 2), keepdims=True), real.shape)
    wanted = s3(flat, test, "unit", "plain_cosine").value
    assert table.loc["plain_cosine", labels["s3_flat"]] == pytest.approx(wanted)


def test_what_s3_can_not_see(everything):
    table = everything.fidelity().set_index("pictures")
    assert list(table.index) == [*everything.names, CEILING]
    assert table.loc["no-rest", "KID"] == "8"
    assert table.loc[CEILING, "KID"] == "0.125"
    assert (table.loc["bce", "n"], table.loc[CEILING, "n"]) == (30, 9)
    assert set(table["network"]) == {"projection"}


def test_repairs(everything):
    table = everything.repairs().set_index("variation")
    assert dict(table["left out"]) == {"repaired": "nothing", "no-rest": REPAIRS["no-rest"]}
    assert table.loc["no-rest", "s3"] == "0.2500"
    assert table.loc["no-rest", "KID"] == "8"
    assert dict(table["seeds"]) == {"repaired": 2, "no-rest": 1}


def test_trials_and_criteria(everything):
    trials = everything.trials()
    assert len(trials) == 2 * len(everything.results)
    rows = trials.set_index(["variation", "seed", "weights"])
    assert rows.loc[("bce", 0, "last"), "s3"] == 0.2
    assert rows.loc[("bce", 0, "best"), "s3"] == 0.3
    assert math.isnan(rows.loc[("bce", 1, "last"), "s3"])
    assert set(trials["d_parameters"]) == {500}
    criteria = everything.criteria()
    assert len(criteria) == len(everything.results) * EPOCHS
    assert criteria.notna().all(axis=None)
    first = criteria[(criteria["variation"] == "bce") & (criteria["seed"] == 1)]
    np.testing.assert_array_equal(first["epoch"], np.arange(EPOCHS) + 1)
    assert first["s2"][:FIRST].mean() == pytest.approx(EARLY["s2"])


def test_gammas(everything):
    assert everything.gammas() == {0.3: "gamma-0.3", 0.8: "gamma-0.8"}
    others = made_up({name: {"s3": [0.5]} for name in ("gamma-1", "gamma-0.1", "bce")})
    assert list(others.gammas()) == [0.1, 1.0]


# -- all that is written -------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_the_whole_report(everything, profile, tmp_path, monkeypatch):
    # Names in place of figures, which are tested elsewhere.
    drawn = []
    monkeypatch.setattr(Report, "figure", lambda report, name, *figure: drawn.append(name))
    monkeypatch.setattr(results, "close", lambda figure: None)
    for name in FIGURES:
        missing = name == "gamma"  # not enough trials
        figure = None if missing else types.SimpleNamespace()
        monkeypatch.setattr(boundary_report.boundary_figures, name, lambda found, f=figure: f)
    found, study = everything, dataclasses.replace(everything.study, options={"profile": profile})
    monkeypatch.setattr(found, "study", study)
    report, claims = found.write(tmp_path), found.claims
    assert report.path == tmp_path / profile / "boundary"
    assert drawn == [name for name in FIGURES if name != "gamma"]
    files = {
        f"{name}.{suffix}"
        for name in (*TABLES, "repairs", "claims")
        for suffix in ("csv", "md", "tex")
    }
    assert {path.name for path in report.path.iterdir()} == files | {"run.json"}
    run = json.loads((report.path / "run.json").read_text())
    assert set(run["files"]) == files
    assert run["verdicts"] == claims.count()
    assert run["seeds"] == [0, 1]
    assert len(run["trials"]) == len(found.results)
    table = pandas.read_csv(report.path / "claims.csv")
    assert list(table["statement"]) == [claim.statement for claim in claims]
    assert table.notna().all(axis=None)


def test_a_part_with_its_real_figures(tmp_path, monkeypatch):
    """From files; without the repaired recipe there is no table of repairs."""
    drawn = []

    def draw(report, name, figure, caption):  # to save them would take most of the time
        figure.draw_without_rendering()
        drawn.append(name)

    monkeypatch.setattr(Report, "figure", draw)
    names = ("bce", "gamma-0.8")
    found = made_up({name: {"s3": [0.4]} for name in names}, out=tmp_path)
    for result in found.results:
        folder = run_folder(found.study, found.study.trial(result["id"]), tmp_path)
        write_run(folder, np.random.default_rng(0), EPOCHS)
        found.histories[result["id"]].to_csv(folder / "history.csv", index=False)
    report = write_report(found.study, found.results, DATA, tmp_path, tmp_path / "reports")
    written = {path.name for path in report.path.iterdir()}
    assert drawn == [name for name in FIGURES if name != "gamma"]  # one γ is no curve
    assert "repairs.csv" not in written
    assert {"scores.csv", "run.json"} < written
    assert len(found.claims.items) == 5
