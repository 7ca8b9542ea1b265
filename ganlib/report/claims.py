"""Claims that come out supported, refuted or undecided."""

import dataclasses
import math

import pandas

SUPPORTED, REFUTED, CANNOT_TELL = "supported", "refuted", "cannot tell"


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a write-up stated, our verdict of the three, and the evidence: numbers, with n."""

    statement: str
    verdict: str
    evidence: str


@dataclasses.dataclass(frozen=True)
class Claims:
    """`Claim` items as a table: numbers in HTML for the reader, none in text."""

    items: tuple

    def __iter__(self):
        return iter(self.items)

    def table(self):
        return pandas.DataFrame([dataclasses.asdict(claim) for claim in self.items])

    def count(self):
        verdicts = [claim.verdict for claim in self.items]
        return {v: verdicts.count(v) for v in (SUPPORTED, REFUTED, CANNOT_TELL)}

    def __repr__(self):
        return f"<{len(self.items)} claims>"

    def _repr_html_(self):
        from ganlib.report.export import Table

        return Table(self.table())._repr_html_()


def judge(holds):
    """Returns the verdict on a condition: True, False, or None where nobody can tell."""
    return {True: SUPPORTED, False: REFUTED, None: CANNOT_TELL}[holds]


def judge_interval(interval, low=-math.inf, high=math.inf):
    """Returns the verdict on "the value lies between low and high", by a `ganlib.stats.Interval`.

    Undecided if it straddles an end or is unknown, as with one seed.
    """
    if interval.low is None:
        return CANNOT_TELL
    if low <= interval.low and interval.high <= high:
        return SUPPORTED
    return REFUTED if interval.high < low or interval.low > high else CANNOT_TELL


def judge_positive(interval):
    """Returns the verdict on "the value is above zero"; where it is exactly zero, it is not."""
    return judge_interval(interval, low=math.nextafter(0, 1))


def judge_negative(interval):
    """Returns the verdict on "the value is below zero"; where it is exactly zero, it is not."""
    return judge_interval(interval, high=-math.nextafter(0, 1))
