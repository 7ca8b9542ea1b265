"""The grid's report: tables, figures and files, of whole grids and of parts."""

import dataclasses
import json
import math
import types

import numpy as np
import pandas
import pytest
from unet_grids import (
    DATA,
    cell,
    few_draws,
    in_grid,
    made_up,
    noise,
)

from ganlib.experiment.study import DONE, FAILED, OUT_OF_MEMORY, StudyError
from ganlib.report.export import Report
from ganlib.report.figures import close
from ganlib.studies import unet_figures
from ganlib.studies.unet import LEARNING_RATES, best_cell, name_of
from ganlib.studies.unet_report import FIGURES, TABLES, UnetResults, write_report

__all__ = ["few_draws"]

BEST = ("attention_unet", 32, 5e-4)


def numbers(trial):
    told = {"jaccard": 0.8 + noise(trial, 0.01), "loss_std": 0.1 * math.exp(noise(trial))}
    if cell(trial) == BEST and in_grid(trial):
        told["jaccard"] += 0.05
    return told


def partial(trial):
    """Batch 32 ran out of memory, one cell failed, another has not run, nothing follows."""
    if not in_grid(trial):
        return numbers(trial) if trial.name == "earlier-unet" else None
    if cell(trial)[1] == 32:
        return OUT_OF_MEMORY
    lost = {("unet", 8, 1e-4): FAILED, ("unet", 8, 5e-4): None}
    return lost.get(cell(trial), numbers(trial))


def alone(trial):
    return numbers(trial) if in_grid(trial) and cell(trial) == BEST else None


def one_epoch(trial):
    told = {"loss_std": None, "loss_mad": None, "best_epoch": 1, "epochs": 1}
    return numbers(trial) | told


GRIDS = {
    "whole": (numbers, 2),
    "one seed": (numbers, 1),
    "part": (partial, 2),
    "one cell": (alone, 1),
    "one epoch": (one_epoch, 1),
}


@pytest.fixture(scope="module", params=GRIDS)
def each(request):
    return made_up(*GRIDS[request.param])


@pytest.fixture(scope="module")
def whole():
    return made_up(numbers, 2)


@pytest.fixture
def draw():
    """Draws a figure; closes all after the test."""

    def make(name, found):
        if figure := getattr(unet_figures, name)(found):
            figure.draw_without_rendering()
        return figure

    yield make
    close("all")


# -- tables --------------------------------------------------------------------------------------


def test_no_table_shows_what_is_no_number(each):
    tables = [getattr(each, name)() for name in (*TABLES, "following")]
    for table in (*tables, each.claims.table()):
        assert table.notna().all(axis=None)
        assert not table.map(lambda x: isinstance(x, str) and "nan" in x.lower()).any(axis=None)


def test_all_numbers_of_all_trials(whole):
    table = whole.trials()
    assert len(table) == len(whole.results) == 80
    assert set(table["device_memory"]) == {""}
    assert table["gib"].astype(float).tolist() == [1.0] * 80
    assert table["training_seconds"].astype(float).tolist() == [9.0] * 80  # 3 s × 3 epochs
    assert len(whole.grid) == 72


def test_time_on_an_accelerator_is_by_its_clock():
    found = made_up(lambda trial: {"device_memory": 3 * 2**30} if in_grid(trial) else None, 1)
    assert set(found.grid["training_seconds"]) == {6.0}  # 2 s × 3 epochs
    assert set(found.grid["gib"]) == {3.0}


def test_cells_are_ordered_and_marked(whole):
    table = whole.cells()
    assert len(table) == 36
    assert tuple(table.loc[0, ["architecture", "batch_size", "learning_rate"]]) == BEST
    means = [float(text.split()[0]) for text in table["Jaccard"]]
    assert means == sorted(means, reverse=True)
    assert set(table["seeds"]) == {2}
    told = table["not told from the best"] == "yes"
    assert told.sum() == len(whole.group.group)
    assert table.loc[0, "Pareto"] == "yes"  # all cost the same
    assert (table["Pareto"] == "yes").sum() == 1


def test_pareto():
    speeds = {("unet", 8, 1e-4): (1.0, 0.5), ("unet", 8, 5e-4): (2.0, 0.6)}
    speeds |= {("unet", 8, 1e-3): (3.0, 0.55), BEST: (4.0, 0.9)}

    def told(trial):
        if not in_grid(trial):
            return None
        seconds, jaccard = speeds.get(cell(trial), (9.0, 0.4))
        return {"processor_seconds_per_epoch": seconds, "jaccard": jaccard}

    found = made_up(told, 1)
    wanted = {"unet-lr0.0001-bs8", "unet-lr0.0005-bs8", "attention_unet-lr0.0005-bs32"}
    assert found.pareto() == wanted


def test_scores(whole):
    table = whole.scores().set_index("trained")
    best = list(whole.best_of.values())
    rows = [*best, "earlier-unet", "earlier-attention_unet", "earlier-attention_resunet"]
    rows += ["mispaired", "mean of the 5 best cells"]
    rows += [f"no network: {name}" for name in ("background", "foreground", "constant")]
    assert list(table.index) == rows
    assert best[0] == whole.best == "attention_unet-lr0.0005-bs32"
    tests = [r["metrics"]["test"]["dice"] for r in whole.of(best[0])]
    assert table.loc[best[0], "dice"].startswith(f"{np.mean(tests):.3g} [")
    assert set(table["n"]) == {len(DATA.test)}
    assert table.loc["no network: foreground", "jaccard"] == f"{36 / 256:.3g}"


def test_of_equal_cells_the_report_names_the_one_that_is_followed():
    found = made_up(lambda trial: {"jaccard": 0.1 * (1 + (trial.seed + len(trial.name)) % 3)}, 3)
    recipe = found.study.trials[0].recipe
    chosen = name_of(dataclasses.replace(recipe, **best_cell(found.results)))
    assert found.best == chosen == found.study.trials[0].name
    assert found.of(found.best)[0]["id"] in {
        r["recipe"]["start"] for r in found.after.of("second-fine-tuned")
    }


def test_following(whole):
    table = whole.following().set_index("trained")
    assert list(table.index) == ["longer", "second-from-scratch", "second-fine-tuned"]
    assert list(table["on"]) == ["nuclei", "membranes", "membranes"]
    assert table["before any training"].map(bool).tolist() == [False, False, True]
    assert set(table["seeds"]) == {2}
    part = made_up(partial, 2)
    assert part.following().empty
    assert part.after is None


def test_a_part_that_follows_is_shown():
    def told(trial):
        if trial.name == "longer":
            return FAILED
        return None if trial.name == "second-fine-tuned" else numbers(trial)

    found = made_up(told, 1)
    assert list(found.following()["trained"]) == ["second-from-scratch"]


def test_what_was_lost():
    found = made_up(partial, 2)
    assert len(found.lost) == 2 * (12 + 1)
    assert found.out_of_memory() == {
        (name, 32, rate)
        for name in ("unet", "attention_unet", "attention_resunet")
        for rate in LEARNING_RATES
    }
    assert found.seeds == 2


def test_no_cell_has_finished():
    with pytest.raises(StudyError, match=r"No cell of the grid.*Received: mispaired"):
        made_up(lambda trial: {} if trial.name == "mispaired" else None, 1)
    with pytest.raises(ValueError, match="No trial of 'unet' has finished"):
        made_up(lambda trial: FAILED, 1)


# -- figures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("each", ["part", "one cell", "one epoch"], indirect=True)
def test_each_figure(each, draw):
    missing = set() if each.of("mispaired") else {"mispaired"}
    missing |= set() if each.grid["loss_std"].notna().any() else {"stability"}
    assert {name for name in FIGURES if draw(name, each) is None} == missing


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_heatmaps_mark_what_is_missing(draw):
    found = made_up(partial, 2)
    axes = draw("heatmaps", found).axes[:9]
    for row in range(3):
        for ax in axes[3 * row : 3 * row + 3]:
            assert texts(ax).count("OOM") == 4
        norms = {
            (ax.images[0].norm.vmin, ax.images[0].norm.vmax) for ax in axes[3 * row : 3 * row + 3]
        }
        assert len(norms) == 1  # one scale
    assert texts(axes[0]).count("–") == 2
    assert texts(axes[0]).count("2") == 6  # n
    mean = found.cell_means("jaccard")["unet", 16, 1e-3]
    assert axes[0].images[0].get_array()[1, 2] == pytest.approx(mean)
    assert f"{mean:.3g}" in texts(axes[0])


def test_one_seed_needs_no_counts(draw):
    axes = draw("heatmaps", made_up(numbers, 1)).axes[:9]
    assert all(len(texts(ax)) == 12 for ax in axes)


def test_curves_have_a_legend_without_the_first_architecture(draw):
    def told(trial):
        return numbers(trial) if in_grid(trial) and cell(trial)[0] == "attention_unet" else None

    (legend,) = draw("curves", made_up(told, 1)).legends
    assert [text.get_text() for text in legend.get_texts()] == ["best cell"]


def test_examples_are_from_the_worst_to_the_best(whole, draw):
    axes = draw("examples", whole).axes
    titles = [ax.get_title() for ax in axes if ax.get_title()]
    scores = [float(title.removeprefix("Jaccard ")) for title in titles]
    assert len(scores) == 6
    assert scores == sorted(scores)


def test_no_examples_of_empty_masks(whole, monkeypatch):
    test = dataclasses.replace(DATA.test, masks=np.zeros_like(DATA.test.masks))
    monkeypatch.setattr(whole, "data", types.SimpleNamespace(test=test))
    assert unet_figures.examples(whole) is None


# -- all that is written -------------------------------------------------------------------------


def test_the_whole_report_from_files(tmp_path, monkeypatch):
    """As `ganlib report` reads it; figures are drawn, and the first is saved."""
    drawn, save = [], Report.figure

    def figure(report, name, figure, caption):
        assert caption.endswith(".")
        drawn.append(name)
        if name == "pareto":
            save(report, name, figure, caption)

    monkeypatch.setattr(Report, "figure", figure)
    study = made_up(numbers, 1, tmp_path / "runs").study
    results = [json.loads(p.read_text()) for p in (tmp_path / "runs").glob("unet/*/result.json")]
    order = {trial.id: i for i, trial in enumerate(study.trials)}
    results = sorted((r for r in results if r["id"] in order), key=lambda r: order[r["id"]])
    assert len(results) == 40
    report = write_report(study, results, DATA, tmp_path / "runs", tmp_path / "reports")
    assert report.path == tmp_path / "reports" / "quick" / "unet"
    assert drawn == list(FIGURES)
    names = (*TABLES, "following", "claims")
    files = {f"{name}.{suffix}" for name in names for suffix in ("csv", "md", "tex")}
    files |= {"pareto.pdf", "pareto.png"}
    assert {path.name for path in report.path.iterdir()} == files | {"run.json"}
    run = json.loads((report.path / "run.json").read_text())
    assert set(run["files"]) == files
    found = UnetResults(study, results, DATA, tmp_path / "runs")
    assert run["verdicts"] == found.claims.count()
    assert run["seeds"] == [0]
    assert len(run["trials"]) == 40
    for path in report.path.glob("*.md"):
        words = path.read_text().replace("|", " ").split()
        assert not {"nan", "None", "NaN"} & set(words), path.name
    table = pandas.read_csv(report.path / "claims.csv")
    assert list(table["statement"]) == [claim.statement for claim in found.claims]
    assert found.ensemble()[0]["jaccard"] > 0.9
    assert {r["status"] for r in found.results} == {DONE}
