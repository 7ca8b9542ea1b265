"""Intervals for the mean over seeds, by Student's t."""

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean over seeds with its confidence interval.

    Attributes:
        mean: float, or another statistic where a bootstrap was asked for it; NaN of no pairs.
        low: float, or None with one seed: nothing can be said about its spread.
        high: the same.
        n: int, number of seeds; 0 where none has both runs of a pair.
    """

    mean: float
    low: float | None
    high: float | None
    n: int

    def __format__(self, spec):
        spec = spec or ".3g"
        return f"{self.brief(spec)} (n = {self.n})"

    def brief(self, spec=".3g"):
        """As text without n, for tables that have it in a column of its own."""
        if not self.n:
            return "no seed has both"
        if self.low is None:
            return f"{self.mean:{spec}}"
        return f"{self.mean:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


def mean_interval(values, confidence=0.95):
    """Student's t interval for the mean of `values`, one a seed.

    Args:
        values: sequence of floats.
        confidence: float in (0, 1).

    Returns:
        An `Interval`; its ends are None for fewer than two values.

    Raises:
        ValueError: no values, or some that are not finite.
    """
    from scipy.stats import t

    values = np.asarray(values, "float64")
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"`values` must be finite and at least one. Received: {values.tolist()}")
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return Interval(mean, None, None, n)
    half = t.ppf(0.5 + confidence / 2, n - 1) * values.std(ddof=1) / math.sqrt(n)
    return Interval(mean, float(mean - half), float(mean + half), n)


def brief(values, spec=".3g"):
    """The mean of values with its interval as text; of one value itself.

    Args:
        values: sequence of floats, as for `mean_interval`.
        spec: str, how each number is formatted.

    Returns:
        str.
    """
    return mean_interval(values).brief(spec)


def paired_interval(values, baseline, confidence=0.95):
    """The interval of the mean difference, where the i-th entries share a seed.

    Args:
        values: sequence of floats, one a seed.
        baseline: sequence of floats, of the same seeds.
        confidence: float in (0, 1).

    Returns:
        An `Interval`; where there are no pairs its n is 0, which every verdict calls undecided.

    Raises:
        ValueError: lengths that differ, or values that are not finite.
    """
    values, baseline = np.asarray(values, "float64"), np.asarray(baseline, "float64")
    if values.shape != baseline.shape:
        raise ValueError(
            "Pairs need as many values as baselines, by seed. Received: "
            f"{len(values)} and {len(baseline)}"
        )
    if not len(values):
        return Interval(math.nan, None, None, 0)
    return mean_interval(values - baseline, confidence)
