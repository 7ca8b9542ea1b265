"""Statistics over runs: intervals, claims, and what a grid of runs can tell and what it cannot.

SciPy, statsmodels and pandas are imported where they are used: importing this costs nothing.
"""

from ganlib.stats.best import Best, indistinguishable
from ganlib.stats.bootstrap import bootstrap_interval, bootstrap_of_groups
from ganlib.stats.claims import (
    CANNOT_TELL,
    REFUTED,
    SUPPORTED,
    Claim,
    Claims,
    judge,
    judge_interval,
    judge_negative,
    judge_positive,
)
from ganlib.stats.correlations import Correlation, correlation
from ganlib.stats.intervals import Interval, brief, mean_interval, paired_interval
from ganlib.stats.pareto import pareto_front
from ganlib.stats.power import detectable_difference
from ganlib.stats.spread import mad, std
from ganlib.stats.variance import Anova, Effect, anova

__all__ = [
    "CANNOT_TELL",
    "REFUTED",
    "SUPPORTED",
    "Anova",
    "Best",
    "Claim",
    "Claims",
    "Correlation",
    "Effect",
    "Interval",
    "anova",
    "bootstrap_interval",
    "bootstrap_of_groups",
    "brief",
    "correlation",
    "detectable_difference",
    "indistinguishable",
    "judge",
    "judge_interval",
    "judge_negative",
    "judge_positive",
    "mad",
    "mean_interval",
    "paired_interval",
    "pareto_front",
    "std",
]
