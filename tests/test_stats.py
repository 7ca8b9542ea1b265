"""Intervals, verdicts, and what a grid can tell: against printed values and chance."""

import itertools
import math

import numpy as np
import pandas
import pytest
import scipy.stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.multitest import multipletests

from ganlib import stats
from ganlib.report import claims
from ganlib.report.claims import CANNOT_TELL, REFUTED, SUPPORTED
from ganlib.stats import Interval, anova, indistinguishable, mean_interval


def test_mean_interval_of_known_values():
    # mean 2, s = 1, t(0.975; 2) = 4.302653: 2 ± 4.302653 / √3
    interval = mean_interval([1.0, 2.0, 3.0])
    assert (interval.low, interval.high) == pytest.approx((-0.484138, 4.484138), abs=1e-6)
    assert f"{interval}" == "2 [-0.484, 4.48] (n = 3)"
    assert mean_interval([0.25]) == Interval(0.25, None, None, 1)
    with pytest.raises(ValueError, match="finite and at least one"):
        mean_interval([1.0, math.nan])


def test_intervals_stay_where_the_number_can_live():
    half = 4.302653 * 0.1 / math.sqrt(3)
    values = np.array([0.85, 0.95, 1.05]) - 0.05  # mean 0.9, s = 0.1
    interval = mean_interval(values, scale="logit")
    odds = [9 * math.exp(sign * half / 0.09) for sign in (-1, 1)]
    expected = [x / (1 + x) for x in odds]
    assert (interval.low, interval.high) == pytest.approx(expected, rel=1e-6)
    assert mean_interval(values).high > 1 > interval.high
    tenfold = mean_interval(1 + 9 * values, scale="logit", bounds=(1, 10))
    assert (tenfold.low, tenfold.high) == pytest.approx([1 + 9 * x for x in expected], rel=1e-6)
    log = mean_interval(values, scale="log")
    assert (log.low, log.high) == pytest.approx([0.9 * math.exp(s * half / 0.9) for s in (-1, 1)])
    assert mean_interval([1.0, 1.0], scale="logit") == Interval(1.0, 1.0, 1.0, 2)
    assert mean_interval([0.0, 0.0], scale="log") == Interval(0.0, 0.0, 0.0, 2)
    wide = mean_interval([0.0, 1.0], scale="logit")
    assert 0 <= wide.low < 1e-10 < 1 - 1e-10 < wide.high <= 1
    for scale, value in (("logit", 1.1), ("log", -0.1)):
        with pytest.raises(ValueError, match=f"Received: .*{value}"):
            mean_interval([0.5, value], scale=scale)


def test_paired_interval():
    # Seeds differ a lot, the pairs little: pairing is what makes the difference visible.
    baseline = np.array([10.0, 20.0, 30.0])
    values = baseline + np.array([1.0, 1.1, 0.9])
    interval = stats.paired_interval(values, baseline)
    assert interval == mean_interval(values - baseline)
    assert claims.judge_interval(interval, *claims.POSITIVE) == SUPPORTED
    assert f"{stats.paired_interval([], []):+.3f}" == "no seed has both (n = 0)"


def test_verdicts_and_claims():
    intervals = {(1.0, 2.0): SUPPORTED, (2.1, 3.0): REFUTED, (None, None): CANNOT_TELL}
    for ends, verdict in (intervals | {(0.5, 1.5): CANNOT_TELL, (0.5, 2.5): CANNOT_TELL}).items():
        assert claims.judge_interval(Interval(1.5, *ends, 3), low=1.0, high=2.0) == verdict
    # No difference is no improvement.
    assert claims.judge_interval(mean_interval([0.0, 0.0]), *claims.NEGATIVE) == REFUTED
    made = claims.Claims((claims.Claim("a < b", SUPPORTED, "0.25 (n = 3)"),))
    assert "a &lt; b" in made._repr_html_()
    assert "0.25" not in repr(made)


def test_spread_front_and_power():
    assert stats.std([1, 2, 3, 4]) == pytest.approx(math.sqrt(5 / 3))
    assert stats.mad([1, 1, 2, 2, 4, 6, 9]) == pytest.approx(1.4826)  # deviations' median is 1
    assert np.isnan([stats.std([1.0]), stats.mad([1.0])]).all()
    cost, value = [1, 2, 3, 4, 2, 1, 0, math.nan], [1, 3, 2, 4, 3, 0, math.nan, 9]
    expected = [True, True, False, True, True, False, False, False]
    assert stats.pareto_front(cost, value).tolist() == expected
    # Cohen (1988), table 2.4.1: 26 a group find d = 0.8, and 64 find d = 0.5, with power 0.8.
    assert stats.detectable_difference(1.0, 26, 2) == pytest.approx(0.8, abs=0.01)
    assert stats.detectable_difference(0.1, 64, 2) == pytest.approx(0.05, abs=0.0005)
    assert stats.detectable_difference(1.0, 1, 36) is None


FACTORS = ["learning_rate", "batch", "architecture"]


def a_grid(seeds=3, levels=(4, 3, 3)):
    cells = itertools.product(*map(range, levels), range(seeds))
    table = pandas.DataFrame(cells, columns=[*FACTORS, "seed"])
    return table.assign(cell=table[FACTORS].astype(str).agg("-".join, axis=1))


def noisy(table, seed=0, means=0.0):
    return table.assign(y=means + np.random.default_rng(seed).normal(size=len(table)))


ALLOWED = scipy.stats.binom.ppf(0.999, 100, 0.05)  # false alarms in 100 tries


def test_anova_by_statsmodels_and_with_missing_cells():
    table = noisy(a_grid()).drop(index=[0, 1, 30, 31, 70])
    fit = ols("y ~ (C(learning_rate) + C(batch) + C(architecture)) ** 2", table).fit()
    expected = anova_lm(fit, typ=2).iloc[:-1]
    result = anova(table, "y", FACTORS)
    np.testing.assert_allclose(result.table["sum_sq"], expected["sum_sq"])
    np.testing.assert_allclose(result.table["p"], expected["PR(>F)"])
    holm = multipletests(expected["PR(>F)"], method="holm")[1]
    np.testing.assert_allclose(result.table["p_adjusted"], holm)
    table.loc[(table["batch"] == 2) & (table["architecture"] == 2), "y"] = math.nan
    result, kept = anova(table, "y", FACTORS), table.dropna()
    assert "4 of 36 cells have no run." in result.note
    # As R's anova() of nested fits has it: what a fit without the effect leaves, less one with it.
    others = "y ~ C(learning_rate) * C(architecture)"
    expected = ols(others, kept).fit().ssr - ols(f"{others} + C(batch)", kept).fit().ssr
    assert result.effect("batch").sum_sq == pytest.approx(expected)
    assert result.effect("batch × architecture").df == 3


def test_anova_calls_noise_noise():
    for table, options in ((a_grid(), {"block": "seed"}), (a_grid(seeds=1), {})):
        found = [anova(noisy(table, s), "y", FACTORS, **options).table for s in range(100)]
        assert sum((x["significant"] == True).any() for x in found) <= ALLOWED  # noqa: E712
    table = noisy(a_grid(), means=a_grid()["learning_rate"] == 3)
    assert anova(table, "y", FACTORS).effect("learning_rate").significant is True


def test_anova_where_nothing_can_be_said():
    one = anova(noisy(a_grid(seeds=1, levels=(4, 1, 1))), "y", FACTORS)
    assert "Left out, as there is one level only: batch, architecture." in one.note
    assert "only more seeds would tell" in one.note
    assert [one.effect(name).significant for name in FACTORS] == [None] * 3
    assert anova(noisy(a_grid(seeds=1)), "y", FACTORS).note.startswith("One run a cell: inter")
    assert "All runs have the same value" in anova(a_grid().assign(y=1.0), "y", FACTORS).note
    assert anova(a_grid().assign(y=math.nan), "y", FACTORS).table.empty
    sure = anova(a_grid().assign(y=lambda x: x["batch"]), "y", FACTORS)
    assert (sure.effect("batch").F, sure.effect("architecture").significant) == (math.inf, False)


def test_the_best_by_tukey_and_dunnett():
    # The worst of all equal cells: the studentised range, over √2, as printed: 4.76.
    draws = stats._chance((4,) * 9, 27)
    assert np.quantile(draws.max(axis=1), 0.95) * math.sqrt(2) == pytest.approx(4.76, abs=0.05)
    # One cell against eight others: Dunnett's (1955) one-sided table for 5 % and 30.
    assert np.quantile(stats._chance((4,) * 9, 30)[:, 3], 0.95) == pytest.approx(2.50, abs=0.03)


def one_way(**cells):
    rows = [(name, value) for name, values in cells.items() for value in values]
    return pandas.DataFrame(rows, columns=["cell", "y"])


def test_indistinguishable_cells():
    x = np.array([-1.0, 0.0, 1.0])
    result = indistinguishable(one_way(a=x, b=x + 20, c=x + 19.5, d=x + 10), "cell", "y")
    assert (result.best, result.group, result.worse) == ("b", ["b", "c"], ["d", "a"])
    assert (result.sd, result.alike, result.reason) == (pytest.approx(1.0), True, None)
    assert list(result.table["difference"]) == [0, -0.5, -10, -20]
    lost = indistinguishable(one_way(a=x + 20, b=x, c=[19.5, math.inf]), "cell", "y")
    assert (lost.best, lost.group, lost.worse) == ("a", ["a", "c"], ["b"])
    assert lost.reason == "1 of 8 runs have no finite value and are left out."
    same = indistinguishable(one_way(a=[1.0, 1.0], b=[2.0, 2.0], c=[2.0, 2.0]), "cell", "y")
    assert (same.group, same.worse, same.sd) == (["b", "c"], ["a"], 0.0)
    once = indistinguishable(noisy(a_grid(seeds=1)), "cell", "y")
    assert (len(once.group), once.worse, once.sd, once.alike) == (36, [], None, None)
    assert once.reason.startswith("One seed a cell: noise is unknown")
    assert indistinguishable(one_way(a=[math.nan]), "cell", "y").best is None

    table = noisy(a_grid())
    table.loc[(table[FACTORS] == [3, 0, 0]).all(axis=1), "y"] *= 30
    result = indistinguishable(table, "cell", "y")
    assert result.alike is False
    assert "Noise is not alike: highest in 3-0-0." in result.reason


@pytest.mark.parametrize("seeds", [3, None])  # None: unequal numbers
def test_equally_good_cells_are_not_called_worse(seeds):
    table = a_grid(seeds or 6, levels=(1, 3, 3))
    if not seeds:
        table = table[table["seed"] < 1 + (3 * table["batch"] + table["architecture"]) % 6]
    for behind in (0, 1.5):
        means, wrong = np.where(table["batch"] == 0, 0, -behind), 0
        for seed in range(100):
            worse = indistinguishable(noisy(table, seed, means), "cell", "y").worse
            wrong += any(cell[2] == "0" or not behind for cell in worse)
        assert wrong <= ALLOWED
