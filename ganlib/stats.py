"""Intervals over seeds, and claims that come out supported, refuted or undecided."""

import dataclasses
import html
import math

import numpy as np

SUPPORTED, REFUTED, CANNOT_TELL = "supported", "refuted", "cannot tell"


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean over seeds with its confidence interval.

    Attributes:
        mean: float.
        low: float, or None with one seed: nothing can be said about its spread.
        high: the same.
        n: int, number of seeds.
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
    """The mean of `values` with its interval as text; of one value itself."""
    return mean_interval(values).brief(spec)


def paired_interval(values, baseline, confidence=0.95):
    """The interval of the mean difference, where the i-th entries share a seed.

    Raises:
        ValueError: lengths that differ, or as `mean_interval`.
    """
    values, baseline = np.asarray(values, "float64"), np.asarray(baseline, "float64")
    if values.shape != baseline.shape:
        raise ValueError(
            "Pairs need as many values as baselines, by seed. Received: "
            f"{len(values)} and {len(baseline)}"
        )
    return mean_interval(values - baseline, confidence)


@dataclasses.dataclass(frozen=True)
class Claim:
    """Something that a write-up stated, and what our runs say to it.

    Attributes:
        statement: the claim, in the write-up's sense.
        verdict: "supported", "refuted" or "cannot tell".
        evidence: the numbers, with n.
    """

    statement: str
    verdict: str
    evidence: str


@dataclasses.dataclass(frozen=True)
class Claims:
    """A claims table: numbers in HTML for the reader, verdicts alone in text.

    Attributes:
        items: tuple of `Claim`.
    """

    items: tuple

    def __iter__(self):
        return iter(self.items)

    def table(self):
        """A `pandas.DataFrame` with a row a claim."""
        import pandas

        return pandas.DataFrame([dataclasses.asdict(claim) for claim in self.items])

    def count(self):
        """How many claims came out which way."""
        verdicts = [claim.verdict for claim in self.items]
        return {v: verdicts.count(v) for v in (SUPPORTED, REFUTED, CANNOT_TELL)}

    def __repr__(self):
        return f"<{len(self.items)} claims>"

    def _repr_html_(self):
        cells = "".join(
            "<tr>"
            + "".join(
                f"<td style='text-align:left'>{html.escape(text)}</td>"
                for text in (claim.statement, claim.verdict, claim.evidence)
            )
            + "</tr>"
            for claim in self.items
        )
        return f"<table><tr><th>claim</th><th>verdict</th><th>evidence</th></tr>{cells}</table>"


def judge(holds):
    """The verdict on a condition: True supported, False refuted, None cannot tell."""
    return {True: SUPPORTED, False: REFUTED, None: CANNOT_TELL}[holds]


def judge_interval(interval, low=-math.inf, high=math.inf):
    """The verdict on "the value lies between low and high".

    Supported if the whole interval lies inside, refuted if it lies outside, undecided if it
    straddles an end, and with one seed, whose interval is unknown.
    """
    if interval.low is None:
        return CANNOT_TELL
    if low <= interval.low and interval.high <= high:
        return SUPPORTED
    if interval.high < low or interval.low > high:
        return REFUTED
    return CANNOT_TELL


def judge_positive(interval):
    """The verdict on "the value is above zero"; where it is exactly zero, it is not."""
    return judge_interval(interval, low=math.nextafter(0, 1))


def judge_negative(interval):
    """The verdict on "the value is below zero"; where it is exactly zero, it is not."""
    return judge_interval(interval, high=-math.nextafter(0, 1))
