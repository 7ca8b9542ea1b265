"""Bootstrap intervals that hold at the few seeds there are."""

import math
import warnings

import numpy as np

from ganlib.stats.intervals import Interval, mean_interval
from ganlib.stats.spread import finite

LEAST_DF = 4  # of two cells with two seeds each, with 2, an interval for 95 % holds 80 %


def bootstrap_interval(values, statistic=np.mean, confidence=0.95, resamples=2000, seed=0):
    """The bootstrap interval of a statistic over seeds.

    Bias-corrected and accelerated (Efron, 1987), by percentiles where that is degenerate. Both are
    too narrow where values are few; their level is raised as much as Student's t is wider than the
    normal (Hesterberg, 2015).

    With three seeds no bootstrap of a mean can be trusted: it stays within the values, and those
    have the centre of a symmetric distribution between them with probability 1 - 2^(1 - n) only.
    Where that is below `confidence` (n < 6 for 95 %), the mean gets Student's t interval instead
    and any other statistic none.

    Args:
        values: sequence of floats, one a seed.
        statistic: function of a 1-D array, such as `np.median`.
        confidence: float in (0, 1).
        resamples: int.
        seed: int, of the resampling.

    Returns:
        An `Interval` whose `mean` is the statistic of `values`.

    Raises:
        ValueError: no values, or some that are not finite.
    """
    values = finite(values)
    n, found = len(values), float(statistic(values))
    if n > 1 and np.ptp(values) == 0:
        return Interval(found, found, found, n)
    if 1 - 2.0 ** (1 - n) < confidence:
        return mean_interval(values, confidence) if statistic is np.mean else _unknown(found, n)
    level = 1 - 2 * _tail(confidence, n - 1, math.sqrt(n / (n - 1)))
    low, high = _bca(values, statistic, level, resamples, seed)
    return Interval(found, low, high, n)


def bootstrap_of_groups(groups, statistic, confidence=0.95, resamples=2000, seed=0):
    """The bootstrap interval of a statistic over cells of a grid, resampled within each.

    Such as the best learning rate's mean less another's. Deviations from a cell's mean are scaled
    by √(n / (n - 1)), without which three seeds lose a third of their variance (Davison & Hinkley,
    1997), and percentiles are taken as far out as Student's t with all cells' degrees of freedom
    is wider than the normal.

    A statistic that chooses, such as the highest mean, is biased upward by its choice, and this
    interval with it: choose first, on other runs, or use `indistinguishable`.

    Args:
        groups: list of sequences of floats, one a cell, or dict of them by name. Only those that
            the statistic uses: others add degrees of freedom that it has not.
        statistic: function of the resampled groups, in the shape that `groups` has.
        confidence: float in (0, 1).
        resamples: int.
        seed: int, of the resampling.

    Returns:
        An `Interval` whose `mean` is the statistic of `groups`, with n counted over all of them.
        Without ends if a group has a single value, whose spread is unknown, and if all groups
        together have fewer than four values more than there are groups.

    Raises:
        ValueError: no groups, or one that is empty or not finite.
    """
    if not len(groups):
        raise ValueError(f"At least one group is needed. Received: {groups!r}")
    named = isinstance(groups, dict)
    cells = [finite(values) for values in (groups.values() if named else groups)]

    def of(sets):
        return float(statistic(dict(zip(groups, sets, strict=True)) if named else sets))

    found, sizes = of(cells), [len(values) for values in cells]
    df = sum(sizes) - len(sizes)
    if min(sizes) < 2 or df < LEAST_DF:
        return _unknown(found, sum(sizes))
    rng = np.random.default_rng(seed)
    wide = [x.mean() + (x - x.mean()) * math.sqrt(len(x) / (len(x) - 1)) for x in cells]
    # All draws of a cell at once: a resample then costs what the statistic costs.
    drawn = [rng.choice(x, (resamples, len(x))) for x in wide]
    draws = [of(list(sets)) for sets in zip(*drawn, strict=True)]
    tail = _tail(confidence, df)
    low, high = (float(x) for x in np.quantile(draws, [tail, 1 - tail]))
    return Interval(found, low, high, sum(sizes))


def _unknown(found, n):
    return Interval(found, None, None, n)


def _tail(confidence, df, factor=1.0):
    """The normal tail as far out as Student's t times `factor`."""
    from scipy.stats import norm, t

    return float(norm.sf(factor * t.ppf(0.5 + confidence / 2, df)))


def _bca(values, statistic, level, resamples, seed):
    from scipy.stats import bootstrap

    for method in ("BCa", "percentile"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a degenerate BCa is answered below
            ends = bootstrap(
                (values,),
                statistic,
                confidence_level=level,
                n_resamples=resamples,
                method=method,
                rng=np.random.default_rng(seed),
            ).confidence_interval
        if np.isfinite(ends).all():
            break
    return float(ends.low), float(ends.high)
