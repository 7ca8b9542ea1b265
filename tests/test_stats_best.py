"""Which cells are as good as the best: critical values by others, and how often it is wrong."""

import itertools
import math

import numpy as np
import pandas
import pytest
import scipy.stats

from ganlib.stats import best, indistinguishable

CELL = ["learning_rate", "batch", "architecture"]


def grid(levels=(4, 3, 3), seeds=3):
    cells = itertools.product(*(range(n) for n in levels), range(seeds))
    return pandas.DataFrame(cells, columns=[*CELL, "seed"])


def noisy(table, seed, sd=1.0, means=0.0):
    return table.assign(y=means + np.random.default_rng(seed).normal(0, sd, len(table)))


def one_way(**cells):
    rows = [(name, value) for name, values in cells.items() for value in values]
    return pandas.DataFrame(rows, columns=["cell", "y"])


def allowed(tries, rate=0.05):
    return scipy.stats.binom.ppf(0.999, tries, rate)


def test_first_step_is_tukeys():
    # The worst of all equal cells: the studentised range, over √2.
    draws = best._chance((4,) * 9, 27).max(axis=1)
    for p in (0.5, 0.1, 0.05, 0.01):
        expected = scipy.stats.studentized_range.isf(p, 9, 27) / math.sqrt(2)
        assert np.quantile(draws, 1 - p) == pytest.approx(expected, rel=0.015)
    assert np.quantile(draws, 0.95) * math.sqrt(2) == pytest.approx(4.76, abs=0.05)  # printed


def test_last_step_is_dunnetts():
    # One cell against two and eight others: Dunnett's (1955) one-sided table for 5 %.
    for others, df, expected in ((2, 20, 2.03), (8, 20, 2.56), (2, 30, 1.99), (8, 30, 2.50)):
        draws = best._chance((4,) * (others + 1), df)
        for column in (0, others):
            assert np.quantile(draws[:, column], 0.95) == pytest.approx(expected, abs=0.03)


def test_unequal_counts_by_scipys_dunnett():
    rng = np.random.default_rng(0)
    groups = [rng.normal(0, 1, n) for n in (5, 3, 8, 4)]
    groups[0] -= 1.0
    expected = scipy.stats.dunnett(*groups[1:], control=groups[0], alternative="greater", rng=rng)
    counts, df = tuple(map(len, groups)), sum(map(len, groups)) - 4
    sd = math.sqrt(sum(len(x) * x.var() for x in groups) / df)
    behind = best._behind(np.array([[x.mean() for x in groups]]), counts)[0, 0] / sd
    assert behind == pytest.approx(expected.statistic.max())
    p = (best._chance(counts, df)[:, 0] >= behind).mean()
    assert p == pytest.approx(expected.pvalue.min(), abs=0.01)


def test_known_groups():
    x = np.array([-1.0, 0.0, 1.0])
    result = indistinguishable(one_way(a=x, b=x + 20, c=x + 19.5, d=x + 10), "cell", "y")
    assert (result.best, result.group, result.worse) == ("b", ["b", "c"], ["d", "a"])
    assert result.sd == pytest.approx(1.0)
    assert result.reason is None
    assert result.alike is True
    assert list(result.table["cell"]) == ["b", "c", "d", "a"]
    assert list(result.table["mean"]) == [20, 19.5, 10, 0]
    assert list(result.table["difference"]) == [0, -0.5, -10, -20]
    assert list(result.table["n"]) == [3] * 4
    assert list(result.table["in_group"]) == [True, True, False, False]
    assert result.table["p"].is_monotonic_decreasing
    assert result.table["p"][0] > 0.5
    lower = indistinguishable(one_way(a=x, b=x + 20, c=x + 0.5), "cell", "y", higher=False)
    assert (lower.best, lower.group, lower.worse) == ("a", ["a", "c"], ["b"])
    assert list(lower.table["difference"]) == [0, 0.5, 20]


def test_later_steps_are_less_cautious():
    # Beside 30 cells that are far behind, two are compared as Dunnett would, and not as Tukey.
    x = np.array([-1.0, 0.0, 1.0])
    far = {f"far {i}": x - 100 for i in range(30)}
    table = one_way(best=x + 3.2, second=x, **far)
    result = indistinguishable(table, "cell", "y")
    assert result.worse[0] == "second"
    tukey = scipy.stats.studentized_range.isf(0.05, 32, 64) / math.sqrt(3)
    assert tukey > 3.2


def test_cells_have_names_as_in_the_table():
    table = noisy(grid(), 0)
    result = indistinguishable(table, CELL, "y")
    assert isinstance(result.best, tuple)
    assert {type(part) for part in result.best} == {int}
    assert sorted([*result.group, *result.worse]) == sorted(
        itertools.product(*map(range, (4, 3, 3)))
    )
    assert type(indistinguishable(table, "batch", "y").best) is int
    assert len(indistinguishable(table, ["batch"], "y").best) == 1


def test_no_effect_no_cell_is_worse():
    table, tries = grid(), 150
    wrong = sum(bool(indistinguishable(noisy(table, s), CELL, "y").worse) for s in range(tries))
    assert wrong <= allowed(tries)


def test_no_effect_in_the_write_ups_case():
    table, tries = grid(levels=(1, 3, 3), seeds=4), 1000
    results = [indistinguishable(noisy(table, s, 0.012, 0.9), CELL, "y") for s in range(tries)]
    wrong = sum(bool(result.worse) for result in results)
    assert allowed(tries, 0.02) / 2 < wrong <= allowed(tries)  # and it isn't over-cautious
    assert np.mean([result.sd for result in results]) == pytest.approx(0.012, rel=0.02)


def test_no_effect_with_unequal_counts():
    table = grid(levels=(1, 3, 3), seeds=6)
    table = table[table["seed"] < 1 + (3 * table["batch"] + table["architecture"]) % 6]
    wrong = sum(bool(indistinguishable(noisy(table, s), CELL, "y").worse) for s in range(250))
    assert wrong <= allowed(250)


@pytest.mark.parametrize("behind", [0.5, 1.5, 10])
def test_the_equally_best_are_not_called_worse_beside_others(behind):
    table = grid(levels=(1, 3, 3), seeds=3)
    means = np.where(table["batch"] == 0, 0, -behind)
    wrong = 0
    for seed in range(200):
        result = indistinguishable(noisy(table, seed, means=means), CELL, "y")
        wrong += any(cell[1] == 0 for cell in result.worse)
    assert wrong <= allowed(200)


def test_a_learning_rate_that_is_worse_is_found():
    table, found = grid(), 0
    means = np.where(table["learning_rate"] == 3, -6, 0)
    for seed in range(40):
        result = indistinguishable(noisy(table, seed, means=means), CELL, "y")
        found += sum(cell[0] == 3 for cell in result.worse) >= 8
    assert found >= 38


def test_one_seed_a_cell():
    table = noisy(grid(seeds=1), 0)
    result = indistinguishable(table, CELL, "y")
    assert len(result.group) == 36
    assert not result.worse
    assert result.sd is None
    assert result.alike is None
    assert result.table["p"].isna().all()
    assert result.reason == "One seed a cell: noise is unknown, and no cell can be called worse."
    assert result.best == result.group[0]


def test_a_cell_with_one_seed_has_the_others_noise():
    x = np.array([-1.0, 0.0, 1.0])
    result = indistinguishable(one_way(a=x, b=x + 0.5, alone=[-50.0]), "cell", "y")
    assert (result.best, result.worse) == ("b", ["alone"])
    assert list(result.table["n"]) == [3, 3, 1]


def test_without_noise():
    result = indistinguishable(one_way(a=[1.0, 1.0], b=[2.0, 2.0], c=[2.0, 2.0]), "cell", "y")
    assert (result.group, result.worse, result.sd) == (["b", "c"], ["a"], 0.0)
    result = indistinguishable(one_way(a=[1.0, 1.0], b=[1.0, 1.0]), "cell", "y")
    assert result.group == ["a", "b"]


def test_runs_without_a_value():
    table = one_way(a=[1.0, 2.0, math.nan], b=[1.5, math.inf, 2.5], gone=[math.nan])
    result = indistinguishable(table, "cell", "y")
    assert sorted(result.group) == ["a", "b"]
    assert result.reason == "3 of 7 runs have no finite value and are left out."
    nothing = indistinguishable(table.assign(y=None), "cell", "y")
    assert (nothing.best, nothing.group, nothing.worse, len(nothing.table)) == (None, [], [], 0)
    alone = indistinguishable(one_way(a=[1.0, 2.0]), "cell", "y")
    assert (alone.group, alone.reason) == (["a"], "There is one cell only.")


def test_a_noisy_cell_is_pointed_out():
    table = noisy(grid(), 0)
    loud = (table["learning_rate"] == 3) & (table["batch"] == 0) & (table["architecture"] == 0)
    table.loc[loud, "y"] *= 30
    result = indistinguishable(table, CELL, "y")
    assert result.alike is False
    assert "Noise is not alike: highest in 3, 0, 0." in result.reason
    quiet = [indistinguishable(noisy(grid(), s), CELL, "y").reason for s in range(100)]
    assert sum(reason is not None for reason in quiet) <= allowed(100)


def test_text_holds_no_numbers_and_html_does():
    x = np.array([-1.0, 0.0, 1.0])
    result = indistinguishable(one_way(a=x, b=x + 20), "cell", "y")
    assert repr(result) == "<best of 2 cells>"
    page = result._repr_html_()
    assert "1 of 2 cells cannot be told from the best." in page
    assert "-20" in page


@pytest.mark.parametrize(
    "arguments", [("rate", "y"), ("cell", "loss"), ([], "y"), (["cell", "rate"], "y")]
)
def test_errors(arguments):
    with pytest.raises(ValueError, match="Received:"):
        indistinguishable(one_way(a=[1.0, 2.0]), *arguments)
