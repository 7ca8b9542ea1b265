"""Claims of a write-up as data: each says what would support it, and the runs decide."""

import dataclasses
import math
from collections.abc import Callable

import pandas
from scipy import stats

from ganlib.report.export import Table
from ganlib.stats import ALPHA

SUPPORTED, REFUTED, CANNOT_TELL = "supported", "refuted", "cannot tell"
NOT_RUN, NOT_ASKED = "not run", "not asked"  # no verdicts: nothing has been looked at
# Ranges of an interval that lies above zero, or below; where it is exactly zero, it does not.
POSITIVE, NEGATIVE = (math.nextafter(0, 1), math.inf), (-math.inf, -math.nextafter(0, 1))
MOST_SEEDS = 1000


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a write-up stated, our verdict, and the evidence: numbers, with n, or a reason."""

    statement: str
    verdict: str
    evidence: str


@dataclasses.dataclass(frozen=True)
class Compare:
    """A claim on the paired difference, or ratio, of two variations.

    Supported where its interval lies within a range, refuted where it lies outside.

    Args:
        statement: str, the claim.
        names: (variation, baseline).
        measure: column of `Results.runs`, or `(run, history) -> number`.
        within: (low, high), both included; `POSITIVE` and `NEGATIVE` are the usual ones.
        ratio: bool, divide by the baseline instead of subtracting it.
        label: str, what the measure is called; note: str, added to the evidence.
    """

    statement: str
    names: tuple
    measure: str | Callable
    _: dataclasses.KW_ONLY
    within: tuple = POSITIVE
    ratio: bool = False
    label: str = ""
    note: str = ""

    def judge(self, results):
        if missing := results.missing(*self.names):
            return Claim(self.statement, NOT_RUN, f"No finished run of {', '.join(missing)}.")
        name, baseline = self.names
        interval = results.paired(name, baseline, self.measure, self.ratio)
        verdict = judge_interval(interval, *self.within)
        shown = f"less {baseline}: {interval:+.3f}"
        if self.ratio:
            shown = f"over {baseline}: {interval:.3f}"
        more = seeds_needed(interval, *self.within) if verdict == CANNOT_TELL else ""
        label = self.label or str(self.measure).replace("_", " ")
        parts = f"{label[:1].upper()}{label[1:]}, {name} {shown}.", self.note, more
        return Claim(self.statement, verdict, " ".join(filter(None, parts)))


@dataclasses.dataclass(frozen=True)
class EachRun:
    """A claim on each run of a variation: supported if all meet it, refuted if none does.

    `condition` is `(number) -> bool`, of the number that `measure` makes of a run; other arguments
    as of `Compare`. It speaks of these runs alone: it has no interval, as it is about no mean.
    """

    statement: str
    name: str
    measure: str | Callable
    condition: Callable
    _: dataclasses.KW_ONLY
    label: str = ""
    spec: str = ".3g"
    note: str = ""

    def judge(self, results):
        if results.missing(self.name):
            return Claim(self.statement, NOT_RUN, f"No finished run of {self.name}.")
        values = results.values(self.name, self.measure)
        met = [bool(self.condition(value)) for value in values]
        known = len(set(met)) == 1 and not any(map(math.isnan, values))
        verdict = judge(met[0]) if known else CANNOT_TELL
        label = self.label or str(self.measure).replace("_", " ")
        shown = f"{label[:1].upper()}{label[1:]}: {', '.join(f'{v:{self.spec}}' for v in values)}"
        parts = f"True of {sum(met)} of {len(met)} runs.", f"{shown}.", self.note
        return Claim(self.statement, verdict, " ".join(filter(None, parts)))


@dataclasses.dataclass(frozen=True)
class Claims:
    """`Claim` items as a table: numbers in HTML for the reader, none in text."""

    items: tuple

    @classmethod
    def judged(cls, claims, results):
        """The claims as `Results` decide them; a `Claim` stays, a function gets the results."""
        made = (
            claim if isinstance(claim, Claim) else getattr(claim, "judge", claim)(results)
            for claim in claims
        )
        return cls(tuple(made))

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


def seeds_needed(interval, low=-math.inf, high=math.inf):
    """About how many seeds would decide what `judge_interval` cannot, in words.

    It takes the mean and the spread between seeds to stay as they are.
    """
    if interval.low is None:
        return "One seed has no interval: at least two would, better three." * (interval.n < 2)
    n, distance = interval.n, min(abs(interval.mean - end) for end in (low, high))
    spread = (interval.high - interval.low) / 2 * math.sqrt(n) / stats.t.isf(ALPHA / 2, n - 1)
    for more in range(n + 1, MOST_SEEDS + 1):
        if stats.t.isf(ALPHA / 2, more - 1) * spread / math.sqrt(more) < distance:
            return f"About {more} seeds would decide it."
    return f"More than {MOST_SEEDS:,} seeds would be needed: there is hardly a difference."
