"""Figures of the boundary study, from made-up runs."""

import dataclasses
import types

import numpy as np
import pandas
import pytest

from ganlib.apply import save_grid
from ganlib.data import ImageSet
from ganlib.experiment.study import Study, Trial, run_folder
from ganlib.metrics.boundary import s3_ceiling
from ganlib.report.figures import close
from ganlib.stats import mean_interval
from ganlib.studies import boundary_figures
from ganlib.studies.boundary import Recipe
from ganlib.studies.boundary_report import BoundaryResults

EPOCHS, STOPPED = 6, 4  # of "repaired", seed 1
GAMMAS = {"gamma-0.3": 0.3, "gamma-0.8": 0.8, "gamma-1": 1.0}
RECIPES = {
    "bce": Recipe(gamma=None, epochs=EPOCHS),
    **{name: Recipe(gamma=value, epochs=EPOCHS) for name, value in GAMMAS.items()},
    "repaired": Recipe(epochs=EPOCHS),
    "repaired-bce": Recipe(gamma=None, epochs=EPOCHS),
}
# Of the landscape, one is the colour bar.
PANELS = {"samples": 7, "criteria": 3, "gamma": 2, "landscape": 7, "neighbours": 3}
LABELS = {
    "write-up, BCE": "bce",
    "write-up, boundary loss": "gamma-0.8",
    "repaired, BCE": "repaired-bce",
    "repaired, boundary loss": "repaired",
}
NEEDED = {  # trials that are just enough, and some that are not
    "criteria": ("repaired-bce", "gamma-1"),
    "gamma": ("gamma-0.3 gamma-1", "bce gamma-0.8 repaired"),
    "landscape": ("bce gamma-0.8", "bce repaired"),
    "neighbours": ("gamma-0.8", "bce repaired-bce gamma-1"),
}


class Found(BoundaryResults):
    def metric(self, result, key):
        best = result["metrics"]["scores"]["best"]
        return best[key] if key in best else result["metrics"][key]


def write_run(folder, rng, epochs):
    """The files of a run; its history goes from 1 to `epochs`."""
    history = {key: rng.random(epochs) for key in ("s1", "s2", "s3")}
    folder.mkdir(parents=True)
    table = pandas.DataFrame({"epoch": np.arange(epochs) + 1, **history})
    table.to_csv(folder / "history.csv", index=False)
    save_grid(rng.random((36, 32, 32, 3)), folder / "samples.png")
    save_grid(rng.random((9, 32, 32, 3)), folder / "neighbours.png", 3)
    sets = {name: rng.normal(0, 5, 20) for name in ("real", "train", "fake", "noise")}
    at = np.linspace(-0.5, 1.5, 5)
    ways, plane = rng.normal(size=(10, 5)), rng.normal(size=(5, 5))
    np.savez(folder / "landscape.npz", at=at, ways=ways, plane=plane, **sets)


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """All variations with two seeds, of which one has stopped early."""
    out, rng = tmp_path_factory.mktemp("runs"), np.random.default_rng(0)
    trials = tuple(Trial(name, recipe, seed) for seed in (0, 1) for name, recipe in RECIPES.items())
    study = Study("boundary", "", trials, None, None, "none", {}, None)
    results = []
    for trial in trials:
        short = (trial.name, trial.seed) == ("repaired", 1)
        write_run(run_folder(study, trial, out), rng, STOPPED if short else EPOCHS)
        keys = ("s1", "s2", "s3", "score", "s3_real", "s3_noise", "s3_train")
        best = {key: float(rng.random()) for key in keys} | {"n": 36, "n_real": 20, "n_train": 1075}
        result = {"id": trial.id, "name": trial.name, "seed": trial.seed, "status": "done"}
        result["recipe"] = dataclasses.asdict(trial.recipe)
        high = {"s1": 0.998, "s2": 0.999, "s3": 0.5}
        result["metrics"] = {"high": high, "scores": {"best": best, "last": None}}
        results.append(result)
    pictures = ImageSet(rng.random((20, 32, 32, 3), "float32"), value_range="unit")
    data = types.SimpleNamespace(validation=pictures, test=pictures)
    return Found(study, results, data, out)


def only(found, names, seeds=(0, 1)):
    """Those of the results, from the same folders."""
    results = [r for r in found.results if r["name"] in names.split() and r["seed"] in seeds]
    out = next(iter(found.folders.values())).parent.parent
    return Found(found.study, results, found.data, out)


@pytest.fixture
def draw():
    """Draws a figure; closes all after the test."""

    def make(name, *arguments):
        if figure := getattr(boundary_figures, name)(*arguments):
            figure.draw_without_rendering()
        return figure

    yield make
    close("all")


def lines(ax):
    """Lines of a legend, by label."""
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def level(line):
    """Where a horizontal line is."""
    (y,) = set(line.get_ydata())
    return y


@pytest.mark.parametrize("name", PANELS)
def test_each_figure_is_made(everything, draw, name):
    figure = draw(name, everything)
    assert sum(ax.axison for ax in figure.axes) == PANELS[name]


@pytest.mark.parametrize("name", NEEDED)
def test_a_figure_needs_its_trials(everything, draw, name):
    enough, too_few = NEEDED[name]
    assert draw(name, only(everything, enough, seeds=(0,)))
    assert draw(name, only(everything, too_few)) is None


def test_samples_say_what_they_are(everything, draw):
    axes = draw("samples", everything).axes
    titles = [ax.get_title() for ax in axes if ax.axison]
    first = [everything.of(name)[0]["metrics"]["scores"]["best"] for name in everything.names]
    assert titles[0] == f"real pictures\ns3 {first[0]['s3_real']:.3f}"
    for title, name, best in zip(titles[1:], everything.names, first, strict=True):
        assert title == f"{name}\n" + "  ".join(f"{k} {best[k]:.3f}" for k in ("s1", "s2", "s3"))
    shapes = {ax.images[0].get_array().shape for ax in axes if ax.axison}
    assert shapes == {(4 * 33 - 1, 4 * 33 - 1, 3)}  # sixteen pictures with a pixel between them


def test_neighbours_prefer_the_repaired_recipe(everything, draw):
    title = draw("neighbours", everything).axes[0].get_title()
    best = everything.of("repaired")[0]["metrics"]["scores"]["best"]
    assert title.startswith("repaired: ")
    numbers = [f"{best[key]:.3f}" for key in ("s3", "s3_train", "s3_real")]
    assert all(number in title for number in (*numbers, "1,075"))
    other = draw("neighbours", only(everything, "bce gamma-0.8")).axes[0].get_title()
    assert other.startswith("gamma-0.8: ")


def test_criteria_are_means_over_the_epochs_of_all_seeds(everything, draw):
    looks = {}
    for ax, key in zip(draw("criteria", everything).axes, ("s1", "s2", "s3"), strict=True):
        drawn = lines(ax)
        for label, name in LABELS.items():
            epochs = STOPPED if name == "repaired" else EPOCHS
            seeds = np.array([history[key][:epochs] for history in everything.history(name)])
            np.testing.assert_array_equal(drawn[label].get_xdata(), np.arange(epochs) + 1)
            np.testing.assert_allclose(drawn[label].get_ydata(), seeds.mean(axis=0))
            looks[label] = drawn[label].get_color(), drawn[label].get_linestyle()
        assert ax.get_ylim() == (0, 1.02)
    assert len(set(looks.values())) == 4
    assert {mark for label, (_, mark) in looks.items() if "BCE" in label} == {":"}
    assert {mark for label, (_, mark) in looks.items() if "BCE" not in label} == {"-"}


def test_criteria_have_an_interval_and_show_where_a_seed_stopped(everything, draw):
    ax = draw("criteria", only(everything, "repaired")).axes[0]
    (band,) = ax.collections
    corners = band.get_paths()[0].vertices
    assert corners[:, 0].max() == STOPPED
    long, short = everything.history("repaired")
    wanted = mean_interval([long["s1"][2], short["s1"][2]])
    at = corners[corners[:, 0] == 3, 1]
    np.testing.assert_allclose([at.min(), at.max()], [wanted.low, wanted.high])
    unnamed = [line for line in ax.lines if line.get_label().startswith("_")]
    (rest,) = (line for line in unnamed if line.get_marker() != "o")
    np.testing.assert_array_equal(rest.get_xdata(), np.arange(STOPPED, EPOCHS + 1))
    np.testing.assert_array_equal(rest.get_ydata(), long["s1"][STOPPED - 1 :])
    (dot,) = (line for line in unnamed if line.get_marker() == "o")
    assert (*dot.get_xdata(), *dot.get_ydata()) == (STOPPED, short["s1"][STOPPED - 1])
    one = draw("criteria", only(everything, "repaired", seeds=(0,))).axes[0]
    assert not one.collections  # of one seed nothing is known
    assert len(one.lines) == 2  # the curve and what counts as high


def test_criteria_stand_beside_their_limits(everything, draw):
    axes = draw("criteria", everything).axes
    assert level(lines(axes[0])["counts as high"]) == 0.998
    assert level(lines(axes[1])["counts as high"]) == 0.999
    last, real = lines(axes[2]), everything.data.validation.as_range("unit")
    assert "counts as high" not in last
    assert level(last["real pictures"]) == s3_ceiling(real, "unit").value
    assert level(last["noise"]) != level(last["real pictures"])


def test_a_run_that_was_never_scored(everything, draw):
    found = only(everything, "bce", seeds=(0,))
    found.histories = {k: h[["epoch"]].iloc[:1] for k, h in found.histories.items()}
    for ax in draw("criteria", found).axes:
        assert not len(lines(ax)["write-up, BCE"].get_xdata())


def test_gamma(everything, draw):
    axes = draw("gamma", everything).axes
    drawn = {label: line for ax in axes for label, line in lines(ax).items()}
    for key in ("s1", "s2", "s3", "score"):
        means = [np.mean(everything.values(name, key)) for name in GAMMAS]
        np.testing.assert_array_equal(drawn[key].get_xdata(), list(GAMMAS.values()))
        np.testing.assert_allclose(drawn[key].get_ydata(), means)
        other = drawn[f"{key}, BCE"]
        assert level(other) == pytest.approx(np.mean(everything.values("bce", key)))
        assert other.get_color() == drawn[key].get_color()
    assert [len(ax.collections) for ax in axes] == [6, 6]  # an error bar a score and γ
    alone = draw("gamma", only(everything, "gamma-0.3 gamma-1", seeds=(0,))).axes
    assert [len(ax.collections) for ax in alone] == [0, 0]
    assert [[*lines(ax)] for ax in alone] == [["s1", "s2"], ["s3", "score"]]


def test_landscape_prefers_the_repaired_pair(everything, draw):
    def medians(*names):
        axes = draw("landscape", only(everything, " ".join(names))).axes
        assert [axes[i].get_ylabel().split()[0] for i in (0, 3)] == list(names[-2:])
        for i, name in zip((1, 4), names[-2:], strict=True):
            folder = everything.folders[everything.of(name)[0]["id"]]
            with np.load(folder / "landscape.npz") as file:
                wanted = np.median(1 / (1 + np.exp(-file["ways"])), axis=0)
            np.testing.assert_allclose(lines(axes[i])["median"].get_ydata(), wanted)

    medians("bce", "gamma-0.8", "repaired-bce", "repaired")
    medians("bce", "gamma-0.8")


def as_written(logits):
    """-log(1 - 4(D - ½)²) as written, and its gradient by the chain rule."""
    with np.errstate(all="ignore"):
        d = 1 / (1 + np.exp(-logits))
        rest = 1 - 4 * (d - 0.5) ** 2
        return -np.log(rest), 8 * (d - 0.5) / rest * d * (1 - d)


def test_the_literal_loss_ends_where_the_stable_one_goes_on(draw):
    for i, ax in enumerate(draw("loss_forms", as_written).axes):
        drawn = lines(ax)
        logits = drawn["from the logit, float64"].get_xdata()
        literal = drawn["as written, float32"].get_ydata()
        stable = drawn["from the logit, float32"].get_ydata()
        assert literal.dtype == stable.dtype == np.float32
        assert np.isfinite(literal[np.abs(logits) < 16]).all()
        assert not np.isfinite(literal[np.abs(logits) > 18.1]).any()
        wanted = (2 * np.log(np.cosh(logits / 2)), np.tanh(logits / 2))[i]
        np.testing.assert_allclose(stable, wanted, rtol=1e-5, atol=1e-6)
        near = np.abs(logits) < 8
        np.testing.assert_allclose(literal[near], wanted[near], rtol=5e-3, atol=1e-5)
        assert len(ax.patches) == len(ax.texts) == 2  # what is shaded, and why
        # It is saved after the style's context has ended, and keeps the style's colours.
        assert [line.get_color() for line in ax.lines] == ["#56b4e9", "#d55e00", "k"]
