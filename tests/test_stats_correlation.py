"""Correlations, the Pareto front, spread and power against formulas and printed values."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from helpers import run_python

from ganlib.stats import (
    CANNOT_TELL,
    SUPPORTED,
    Correlation,
    correlation,
    detectable_difference,
    judge_negative,
    judge_positive,
    mad,
    pareto_front,
    std,
)

# -- correlation ---------------------------------------------------------------------------------


def pairs(n, rho, seed=0):
    x, noise = np.random.default_rng(seed).normal(size=(2, n))
    return x, rho * x + math.sqrt(1 - rho**2) * noise


def test_pearson_by_scipy():
    a, b = pairs(30, 0.6)
    found, expected = correlation(a, b, "pearson"), scipy.stats.pearsonr(a, b)
    assert (found.value, found.p) == pytest.approx(tuple(expected))
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert found.n == 30


def test_spearman_by_bonett_and_wright():
    a, b = pairs(30, 0.6)
    found, expected = correlation(a, b), scipy.stats.spearmanr(a, b)
    assert (found.value, found.p) == pytest.approx(tuple(expected))
    half = 1.959964 * math.sqrt((1 + found.value**2 / 2) / 27)
    assert math.atanh(found.high) - math.atanh(found.value) == pytest.approx(half, rel=1e-6)
    assert math.atanh(found.value) - math.atanh(found.low) == pytest.approx(half, rel=1e-6)


def test_exact_p_of_few_ranks():
    # 1 of 5! orders agrees in full and 1 in reverse; by hand for all orders of four.
    assert correlation([1, 2, 3, 4, 5], [1, 4, 9, 16, 25]).p == pytest.approx(2 / 120)
    order = [2, 1, 3, 4]
    found = correlation([1, 2, 3, 4], order)
    assert found.value == pytest.approx(0.8)
    values = [np.corrcoef([1, 2, 3, 4], x)[0, 1] for x in itertools.permutations(order)]
    assert found.p == pytest.approx(np.mean(np.abs(values) > 0.79))


@pytest.mark.parametrize("method", ["spearman", "pearson"])
@pytest.mark.parametrize("n", [6, 36])
def test_covers_as_often_as_it_says(method, n):
    rho = 0.5
    true = rho if method == "pearson" else 6 / math.pi * math.asin(rho / 2)
    x, noise = np.random.default_rng(n).normal(size=(2, 400, n))
    y = rho * x + math.sqrt(1 - rho**2) * noise
    found = [correlation(a, b, method) for a, b in zip(x[:200], y[:200], strict=True)]
    assert 0.9 < np.mean([c.low <= true <= c.high for c in found]) <= 0.99


def test_full_agreement():
    line = correlation([1, 2, 3, 4, 5], [2, 4, 6, 8, 10], "pearson")
    assert (line.low, line.high) == pytest.approx((1, 1))
    ranks = correlation([1, 2, 3, 4, 5], [1, 4, 9, 16, 25])
    assert (ranks.value, ranks.high) == pytest.approx((1, 1))
    assert 0 < ranks.low < 0.5  # five ranks agree by chance once in 120 orders
    assert judge_positive(ranks) == SUPPORTED
    assert judge_negative(correlation([1, 2, 3, 4, 5], [5, 4, 3, 2, 1])) == SUPPORTED
    assert judge_positive(correlation([1, 2, 3, 4], [1, 2, 3, 4])) == CANNOT_TELL


def test_what_cannot_be_told():
    for a, b in (([1, 1, 1, 1], [1, 2, 3, 4]), ([1, 2, 3], [0.1 + 0.2, 0.3, 0.3]), ([1], [2])):
        for method in ("spearman", "pearson"):
            found = correlation(a, b, method)
            assert found == Correlation(None, None, None, None, len(a))
            assert f"{found}" == f"cannot tell (n = {len(a)})"
            assert judge_positive(found) == CANNOT_TELL
    three = correlation([1, 2, 3], [1, 3, 2])
    assert (three.value, three.low) == (pytest.approx(0.5), None)
    assert f"{three:.1f}" == "0.5 (n = 3)"


def test_pairs_without_a_value_are_dropped():
    a, b = pairs(20, 0.6)
    with_gaps = np.append(a, [math.nan, 1.0]), np.append(b, [1.0, math.inf])
    assert correlation(*with_gaps) == correlation(a, b)
    assert f"{correlation(a, b)}".endswith("] (n = 20)")


def test_correlation_errors():
    with pytest.raises(ValueError, match=r"Received: shapes \(2,\) and \(3,\)"):
        correlation([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="Received: 'kendall'"):
        correlation([1, 2], [1, 2], "kendall")


# -- Pareto front --------------------------------------------------------------------------------


def test_pareto_front():
    cost = [1, 2, 3, 4, 2, 1]
    value = [1, 3, 2, 4, 3, 0]
    assert pareto_front(cost, value).tolist() == [True, True, False, True, True, False]
    # As cheap and better, as good and cheaper.
    assert pareto_front([1, 1], [1, 2]).tolist() == [False, True]
    assert pareto_front([1, 2], [1, 1]).tolist() == [True, False]
    assert pareto_front([], []).tolist() == []


def test_pareto_front_by_definition():
    rng = np.random.default_rng(0)
    cost, value = rng.integers(0, 12, (2, 60))
    runs = list(zip(cost, value, strict=True))
    expected = [
        not any((c <= cost and v >= value) and (c, v) != (cost, value) for c, v in runs)
        for cost, value in runs
    ]
    assert pareto_front(cost, value).tolist() == expected


def test_pareto_front_without_values():
    nan, inf = math.nan, math.inf
    cost, value = [nan, 0, 1, inf, -inf, 2], [9, nan, 1, 9, 9, inf]
    assert pareto_front(cost, value).tolist() == [False, False, True, False, False, False]
    with pytest.raises(ValueError, match="Received: shapes"):
        pareto_front([1, 2], [1])


# -- spread --------------------------------------------------------------------------------------


def test_spread():
    assert std([1, 2, 3, 4]) == pytest.approx(math.sqrt(5 / 3))
    assert mad([1, 1, 2, 2, 4, 6, 9]) == pytest.approx(1.4826)  # median 2, deviations' median 1
    values = np.random.default_rng(0).normal(0, 0.3, 5000)
    assert mad(values) == pytest.approx(0.3, rel=0.05)
    assert mad(values) == pytest.approx(
        scipy.stats.median_abs_deviation(values, scale="normal"), 1e-5
    )
    assert math.isnan(std([1.0]))
    assert math.isnan(mad([1.0]))


def test_a_spike_owns_one_and_not_the_other():
    losses = [0.30, 0.31, 0.29, 0.30, 0.32, 0.28, 0.30, 9.0]
    assert std(losses) > 3
    assert mad(losses) < 0.02


@pytest.mark.parametrize("spread", [std, mad])
@pytest.mark.parametrize("values", [[], [1.0, math.nan]])
def test_spread_errors(spread, values):
    with pytest.raises(ValueError, match="Received:"):
        spread(values)


# -- power ---------------------------------------------------------------------------------------


def test_detectable_difference_by_cohen():
    # Cohen (1988), table 2.4.1: 26 a group find d = 0.8, and 64 find d = 0.5, with power 0.8.
    assert detectable_difference(1.0, 26, 2) == pytest.approx(0.8, abs=0.01)
    assert detectable_difference(0.1, 64, 2) == pytest.approx(0.05, abs=0.0005)


def test_detectable_difference_by_statsmodels():
    from statsmodels.stats.power import TTestIndPower

    for n, power, alpha in ((3, 0.8, 0.05), (10, 0.9, 0.01)):
        expected = TTestIndPower().solve_power(nobs1=n, power=power, alpha=alpha)
        found = detectable_difference(2.0, n, 2, power, alpha)
        assert found == pytest.approx(2 * expected, rel=1e-4)


def test_detectable_difference_is_found_as_often():
    sd, n, k, tries = 0.012, 4, 9, 4000
    draws = np.random.default_rng(0).normal(0, sd, (tries, k, n))
    draws[:, 0] += detectable_difference(sd, n, k)
    pooled = np.sqrt(draws.var(axis=2, ddof=1).mean(axis=1) * 2 / n)
    t = (draws[:, 0] - draws[:, 1]).mean(axis=1) / pooled
    assert np.mean(np.abs(t) > scipy.stats.t.isf(0.025, k * (n - 1))) == pytest.approx(
        0.8, abs=0.025
    )


def test_detectable_difference_shrinks():
    found = [detectable_difference(1.0, n, 36, comparisons=35) for n in (2, 3, 5, 10, 100)]
    assert found == sorted(found, reverse=True)
    assert found[0] > detectable_difference(1.0, 2, 36)
    assert detectable_difference(1.0, 1, 36) is None
    assert detectable_difference(0.0, 3, 36) == 0
    assert detectable_difference(1.0, 2, 2, power=0.99, alpha=0.001, comparisons=10) > 50


@pytest.mark.parametrize(
    "options",
    [{"n": 0}, {"k": 1}, {"sd": math.nan}, {"power": 1}, {"alpha": 0}, {"comparisons": 0}],
)
def test_detectable_difference_errors(options):
    with pytest.raises(ValueError, match="Received: sd="):
        detectable_difference(**({"sd": 1.0, "n": 3, "k": 9} | options))


# -- the package ---------------------------------------------------------------------------------


def test_importing_is_cheap():
    run_python(
        "-c",
        "import sys, ganlib.stats\n"
        "assert not {'scipy', 'statsmodels', 'pandas', 'keras'} & sys.modules.keys()",
        backend="tensorflow",
    )
