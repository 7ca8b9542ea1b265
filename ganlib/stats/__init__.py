"""Statistics over runs: intervals, and what a grid of runs can tell and what it cannot.

SciPy and pandas are imported where they are used: importing this costs nothing.
"""

import dataclasses
import math

import numpy as np

from ganlib.stats.grid import Anova, Best, anova, indistinguishable

__all__ = [
    "Anova",
    "Best",
    "Correlation",
    "Interval",
    "anova",
    "brief",
    "correlation",
    "detectable_difference",
    "indistinguishable",
    "mad",
    "mean_interval",
    "paired_interval",
    "pareto_front",
    "std",
]


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean over seeds with its confidence interval.

    Attributes:
        mean: float; NaN of no pairs.
        low, high: floats, or None with one seed: nothing can be said about its spread.
        n: int, number of seeds; 0 where none has both runs of a pair.
    """

    mean: float
    low: float | None
    high: float | None
    n: int

    def __format__(self, spec):
        return f"{self.brief(spec or '.3g')} (n = {self.n})"

    def brief(self, spec=".3g"):
        """As text without n, for tables that have it in a column of its own."""
        if not self.n:
            return "no seed has both"
        ends = "" if self.low is None else f" [{self.low:{spec}}, {self.high:{spec}}]"
        return f"{self.mean:{spec}}{ends}"


def mean_interval(values, confidence=0.95, scale=None, bounds=(0, 1)):
    """Returns Student's t `Interval` for the mean of `values`, one a seed.

    With a scale, the interval of the same mean is made by the delta method where the measure has
    no bounds, and brought back: it stays where the number can live.

    Args:
        values: sequence of floats.
        confidence: float in (0, 1).
        scale: "log" for measures ≥ 0, "logit" for measures within `bounds`, or None.
        bounds: pair of floats, for "logit".

    Raises:
        ValueError: no values, or some that are not finite or leave the scale.
    """
    from scipy.special import expit, logit
    from scipy.stats import t

    values = _finite(values)
    mean, n = float(values.mean()), len(values)
    bottom, top = {None: (-math.inf, math.inf), "log": (0, math.inf), "logit": bounds}[scale]
    if values.min() < bottom or values.max() > top:
        raise ValueError(f"Values must lie in [{bottom}, {top}]. Received: {values.tolist()}")
    if n < 2:
        return Interval(mean, None, None, n)
    half = float(t.ppf(0.5 + confidence / 2, n - 1) * values.std(ddof=1) / math.sqrt(n))
    if scale is None or not half or not bottom < mean < top:  # at an end all values are equal
        return Interval(mean, mean - half, mean + half, n)
    if scale == "log":
        factor = math.exp(min(half / mean, 700))  # as wide as floats are
        return Interval(mean, mean / factor, mean * factor, n)
    width, share = top - bottom, (mean - bottom) / (top - bottom)
    shift = half / width / (share * (1 - share))
    low, high = bottom + width * expit(logit(share) + np.array([-shift, shift]))
    return Interval(mean, float(low), float(high), n)


def brief(values, spec=".3g"):
    """Returns the mean of values with its interval as text; of one value itself.

    Args:
        values: sequence of floats, as for `mean_interval`.
        spec: str, how each number is formatted.
    """
    return mean_interval(values).brief(spec)


def paired_interval(values, baseline, confidence=0.95, scale=None, bounds=(0, 1)):
    """Returns the `Interval` of the mean difference; without pairs its n is 0.

    Args:
        values, baseline: sequences of floats, one a seed, of the same seeds in the same order.
        confidence: float in (0, 1).
        scale: None; "logit", where both lie within `bounds`, and a difference within their width;
            or "log", where both are positive: of their ratio (geometric mean), 1 where equal.
        bounds: pair of floats, for "logit".

    Raises:
        ValueError: lengths that differ, or values that are not finite or leave the scale.
    """
    values, baseline = np.asarray(values, "float64"), np.asarray(baseline, "float64")
    if values.shape != baseline.shape:
        raise ValueError(f"Pairs share seeds. Received: {len(values)} and {len(baseline)} values")
    if not len(values):
        return Interval(math.nan, None, None, 0)
    if scale == "log":
        if min(values.min(), baseline.min()) <= 0:
            raise ValueError(f"Ratios are of positive values. Received: {values}, {baseline}")
        found = mean_interval(np.log(values / baseline), confidence)
        ends = (None if x is None else math.exp(x) for x in (found.mean, found.low, found.high))
        return Interval(*ends, found.n)
    width = bounds[1] - bounds[0]
    return mean_interval(values - baseline, confidence, scale, (-width, width))


def std(values):
    """Returns the standard deviation around the mean, by n - 1; NaN of fewer than two values.

    Args:
        values: sequence of finite floats.
    """
    return float(_finite(values).std(ddof=1)) if len(values) > 1 else math.nan


def mad(values):
    """Returns the median absolute deviation, scaled to be a normal distribution's std.

    A single spike can own a std and does not move this (Hampel, 1974). NaN of one value.

    Args:
        values: sequence of finite floats.
    """
    values = _finite(values)
    spread = np.median(np.abs(values - np.median(values)))
    return float(1.4826 * spread) if len(values) > 1 else math.nan


def _finite(values):
    values = np.asarray(values, "float64")
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"`values` must be finite and at least one. Received: {values.tolist()}")
    return values


def _constant(values):
    """Whether all values are the same but for rounding."""
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())


@dataclasses.dataclass(frozen=True)
class Correlation:
    """A correlation with its confidence interval, which is judged as an `Interval` is.

    Attributes:
        value, low, high: floats, or None where one side is constant or there are too few pairs.
        n: int, number of pairs.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int

    def __format__(self, spec):
        if self.value is None:
            return f"cannot tell (n = {self.n})"
        return f"{Interval(self.value, self.low, self.high, self.n):{spec or '.2f'}}"


def correlation(a, b, confidence=0.95):
    """Returns Spearman's `Correlation` of two quantities over runs.

    Its interval is normal in artanh(r), with variance (1 + r²/2) / (n - 3) (Bonett & Wright, 2000).

    Args:
        a, b: sequences of floats, one a run. A pair in which either is not finite is dropped.
        confidence: float in (0, 1).
    """
    from scipy.stats import norm, spearmanr

    pairs = np.array([a, b], "float64")
    a, b = pairs[:, np.isfinite(pairs).all(axis=0)]
    n = len(a)
    if n < 3 or _constant(a) or _constant(b):
        return Correlation(None, None, None, n)
    value = float(spearmanr(a, b)[0])
    if n < 4:
        return Correlation(value, None, None, n)
    # artanh(1) is infinite: full agreement, which comes by chance where ranks are few, counts as
    # half a step of the coefficient less.
    most = 1 - 6 / (n * (n**2 - 1))
    half = norm.ppf(0.5 + confidence / 2) * math.sqrt((1 + value**2 / 2) / (n - 3))
    centre = math.atanh(min(max(value, -most), most))
    low, high = math.tanh(centre - half), math.tanh(centre + half)
    return Correlation(value, min(low, value), max(high, value), n)


def pareto_front(cost, value):
    """Returns an array of bool: the runs that no other beats in both.

    Args:
        cost, value: sequences of floats; lower and higher is better. What is not finite is not on
            the front and beats none.
    """
    cost, value = np.asarray(cost, "float64"), np.asarray(value, "float64")
    known = np.isfinite(cost) & np.isfinite(value)
    as_good = (cost[:, None] <= cost) & (value[:, None] >= value)  # row i, run i against all others
    better = (cost[:, None] < cost) | (value[:, None] > value)
    return known & ~(as_good & better & known[:, None]).any(axis=0)


def detectable_difference(sd, n, k, power=0.8, alpha=0.05, comparisons=1):
    """Returns the smallest difference between two cells that a grid would probably find, or None.

    By the two-sided t test with the noise pooled over all cells (Cohen, 1988).

    Args:
        sd: float, standard deviation over seeds within a cell.
        n, k: ints, seeds a cell, and cells. With one seed noise is unknown: None.
        power, alpha: floats, the probability to find it, and to find one where there is none.
        comparisons: int, how many differences are looked at; each gets its share of `alpha`.
    """
    from scipy.optimize import brentq
    from scipy.stats import ncf, t

    if n == 1:
        return None
    df = k * (n - 1)
    least = t.isf(alpha / comparisons / 2, df)

    def missing(shift):
        # Of t squared: SciPy's noncentral t is NaN far out on the other side.
        return ncf.sf(least**2, 1, df, shift**2) - power

    return float(brentq(missing, 1e-6, 10 * least + 10) * sd * math.sqrt(2 / n))
