"""Correlations with their intervals."""

import dataclasses
import math

import numpy as np

from ganlib.stats.spread import constant

METHODS = ("spearman", "pearson")
EXACT = 8  # as many pairs as are permuted in all ways, 8! = 40,320


@dataclasses.dataclass(frozen=True)
class Correlation:
    """A correlation over runs with its confidence interval; `judge_positive` and others take it.

    Attributes:
        value: float, or None where one side is constant or there are fewer than three pairs: then
            nothing can be said.
        low: float, or None with fewer than four pairs.
        high: the same.
        p: float, of the test against no correlation, or None as the value.
        n: int, number of pairs.
    """

    value: float | None
    low: float | None
    high: float | None
    p: float | None
    n: int

    def __format__(self, spec):
        spec = spec or ".2f"
        if self.value is None:
            return f"cannot tell (n = {self.n})"
        ends = "" if self.low is None else f" [{self.low:{spec}}, {self.high:{spec}}]"
        return f"{self.value:{spec}}{ends} (n = {self.n})"


def correlation(a, b, method="spearman", confidence=0.95):
    """How two quantities go together over runs.

    The interval is Fisher's: normal in artanh(r), with variance 1 / (n - 3) for Pearson's and
    (1 + r²/2) / (n - 3) for Spearman's correlation (Bonett & Wright, 2000). Spearman's p is exact
    up to eight pairs, where the t approximation is far off.

    Args:
        a: sequence of floats, one a run.
        b: sequence of floats, as many. A pair in which either is not finite is dropped.
        method: "spearman", of ranks, or "pearson".
        confidence: float in (0, 1).

    Returns:
        `Correlation`.

    Raises:
        ValueError: lengths that differ, or an unknown method.
    """
    a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"Runs need both values. Received: shapes {a.shape} and {b.shape}")
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {METHODS}. Received: {method!r}")
    kept = np.isfinite(a) & np.isfinite(b)
    a, b, n = a[kept], b[kept], int(kept.sum())
    if n < 3 or constant(a) or constant(b):
        return Correlation(None, None, None, None, n)
    value, p = _spearman(a, b) if method == "spearman" else _pearson(a, b)
    return Correlation(value, *_ends(value, n, method, confidence), p, n)


def _pearson(a, b):
    from scipy.stats import pearsonr

    value, p = pearsonr(a, b)
    return float(value), float(p)


def _spearman(a, b):
    from scipy.stats import permutation_test, rankdata, spearmanr

    value, p = spearmanr(a, b)
    if len(a) <= EXACT:
        ranks, fixed = rankdata(a), rankdata(b)
        fixed = fixed - fixed.mean()
        p = permutation_test(
            (ranks,),
            lambda x, axis: (x * fixed).sum(axis=axis),
            permutation_type="pairings",
            vectorized=True,
            n_resamples=math.factorial(len(a)),
        ).pvalue
    return float(value), float(p)


def _ends(value, n, method, confidence):
    from scipy.stats import norm

    if n < 4:
        return None, None
    centre, variance = value, 1 / (n - 3)
    if method == "spearman":
        variance *= 1 + value**2 / 2
        # Ranks agree in full by chance, more so where they are few, and artanh(1) is infinite:
        # full agreement counts as half a step of the coefficient less.
        step = 12 / (n * (n**2 - 1))
        centre = float(np.clip(value, step / 2 - 1, 1 - step / 2))
    if abs(centre) >= 1:  # on a line, and so would all further pairs be
        return value, value
    half = norm.ppf(0.5 + confidence / 2) * math.sqrt(variance)
    low, high = (math.tanh(math.atanh(centre) + sign * half) for sign in (-1, 1))
    return min(low, value), max(high, value)
