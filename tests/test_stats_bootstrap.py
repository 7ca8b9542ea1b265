"""Bootstrap intervals: known answers, and whether they hold the truth as often as they say."""

import math

import numpy as np
import pytest
import scipy.stats

from ganlib.stats import Interval, bootstrap_interval, bootstrap_of_groups, mean_interval


def difference(groups):
    return groups[0].mean() - groups[1].mean()


def test_is_scipys_bca_at_a_raised_level():
    values = np.random.default_rng(0).gamma(2.0, size=15)
    interval = bootstrap_interval(values, np.median, resamples=999, seed=3)
    # Hesterberg's: as far out in normal quantiles as √(15 / 14) times Student's t.
    out = math.sqrt(15 / 14) * scipy.stats.t.ppf(0.975, 14)
    expected = scipy.stats.bootstrap(
        (values,),
        np.median,
        confidence_level=2 * scipy.stats.norm.cdf(out) - 1,
        n_resamples=999,
        rng=np.random.default_rng(3),
    ).confidence_interval
    assert (interval.low, interval.high) == tuple(expected)
    assert (interval.mean, interval.n) == (np.median(values), 15)


def test_is_close_to_students_t_for_normal_values():
    values = np.random.default_rng(1).normal(size=40)
    found, expected = bootstrap_interval(values, resamples=20_000), mean_interval(values)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.03)


def halves(groups):
    half = len(groups) // 2
    return np.mean(groups[:half]) - np.mean(groups[half:])


@pytest.mark.parametrize("n", [3, 6, 10])
def test_covers_as_often_as_it_says(n):
    draws = np.random.default_rng(n).normal(1.5, 0.012, (400, n))
    found = [bootstrap_interval(values, resamples=1000) for values in draws]
    covered = np.mean([i.low <= 1.5 <= i.high for i in found])
    assert 0.91 < covered < 0.98


def test_a_plain_bootstrap_of_three_seeds_would_not():
    draws = np.random.default_rng(0).normal(size=(500, 3))
    resampled = draws[:, np.random.default_rng(1).integers(0, 3, (1000, 3))].mean(axis=2)
    low, high = np.quantile(resampled, [0.025, 0.975], axis=1)
    assert np.mean((low <= 0) & (high >= 0)) < 0.8


def test_few_values():
    assert bootstrap_interval([0.5]) == Interval(0.5, None, None, 1)
    few = [1.0, 2.0, 4.0, 3.0, 7.0]
    assert bootstrap_interval(few) == mean_interval(few)
    assert bootstrap_interval(few, np.median) == Interval(3.0, None, None, 5)
    assert bootstrap_interval([*few, 5.0], np.median).low is not None
    assert bootstrap_interval(few, np.median, confidence=0.9).low is not None
    assert bootstrap_interval([*few, 5.0], confidence=0.99) == mean_interval([*few, 5.0], 0.99)


def test_equal_values_have_no_width():
    assert bootstrap_interval([0.3] * 8) == Interval(0.3, 0.3, 0.3, 8)
    assert bootstrap_interval([0.3] * 2, np.median) == Interval(0.3, 0.3, 0.3, 2)


def test_percentiles_where_bca_is_degenerate():
    # Leaving out any value leaves this median: there is no acceleration.
    interval = bootstrap_interval([0.0, *[1.0] * 8, 2.0], np.median)
    assert (interval.mean, interval.n) == (1.0, 10)
    assert interval.low <= 1.0 <= interval.high


def test_is_the_same_each_time():
    values = np.random.default_rng(0).normal(size=10)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values) != bootstrap_interval(values, seed=1)
    groups = [values[:5], values[5:]]
    assert bootstrap_of_groups(groups, difference) == bootstrap_of_groups(groups, difference)


def test_groups_by_the_normal_distribution():
    # Many groups of three: the variance of the mean of means is known, and √(3 / 2) is in it.
    groups = np.random.default_rng(0).normal(size=(60, 3))
    found = bootstrap_of_groups(list(groups), np.mean, resamples=4000)
    half = scipy.stats.t.ppf(0.975, 120) * math.sqrt(groups.var(axis=1, ddof=1).mean() / 180)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.05)
    assert (found.mean, found.n) == (pytest.approx(groups.mean()), 180)


@pytest.mark.parametrize(("k", "n"), [(2, 3), (2, 8), (6, 3)])
def test_groups_cover_as_often_as_they_say(k, n):
    draws = np.random.default_rng(k + n).normal(size=(200, k, n))
    found = [bootstrap_of_groups(list(groups), halves, resamples=600) for groups in draws]
    covered = np.mean([i.low <= 0 <= i.high for i in found])
    assert 0.89 < covered < 0.99


def test_groups_by_name():
    groups = {1e-3: [3.0, 4.0, 5.0, 4.0], 1e-4: [1.0, 2.0, 1.5]}
    found = bootstrap_of_groups(groups, lambda g: g[1e-3].mean() - g[1e-4].mean())
    assert found == bootstrap_of_groups(list(groups.values()), difference)
    assert (found.mean, found.n) == (2.5, 7)
    assert 0 < found.low < 2.5 < found.high < 5


def test_groups_without_an_interval():
    assert bootstrap_of_groups([[1.0] * 5, [2.0]], difference) == Interval(-1.0, None, None, 6)
    assert bootstrap_of_groups([[1.0, 2.0], [2.0, 3.0]], difference).low is None
    same = bootstrap_of_groups([[1.0] * 3, [2.0] * 3], difference)
    assert same == Interval(-1.0, -1.0, -1.0, 6)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf, 1.0]])
def test_errors(values):
    with pytest.raises(ValueError, match="Received:"):
        bootstrap_interval(values)
    with pytest.raises(ValueError, match="Received:"):
        bootstrap_of_groups([[1.0, 2.0], values], difference)
    with pytest.raises(ValueError, match=r"Received: \[\]"):
        bootstrap_of_groups([], difference)
