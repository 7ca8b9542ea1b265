"""Statistics over runs: intervals, and what a grid of runs can tell and what it cannot."""

import dataclasses
import functools
import itertools
import math
import types

import numpy as np
import pandas
from scipy import optimize, stats
from scipy.special import expit, logit

ALPHA = 0.05  # of all tests, and 95 % of all intervals
EFFECT = dict.fromkeys(("sum_sq", "F", "p", "p_adjusted", "eta2", "omega2_partial"), math.nan)
EFFECT = {"effect": "", "df": 0, **EFFECT, "significant": None}
ROUNDING = 1e-24  # a share of the sum of squares that is none
SAME = 1e-12  # a share of the highest value by which rounding alone makes values differ
DRAWS = 40_000  # standard error of a p of 0.05: 0.001


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean over seeds with its 95 % confidence interval."""

    mean: float  # NaN where there is none
    low: float | None  # None where nothing can be said of the spread, as with one seed
    high: float | None
    n: int  # seeds; 0 where no seed has both runs of a pair

    def __format__(self, spec):
        return f"{self.brief(spec or '.3g')} (n = {self.n})"

    def brief(self, spec=".3g"):
        """As text without n, for tables that have it in a column of its own."""
        if math.isnan(self.mean):
            return "cannot tell" if self.n else "no seed has both"
        ends = "" if self.low is None else f" [{self.low:{spec}}, {self.high:{spec}}]"
        return f"{self.mean:{spec}}{ends}"


def mean_interval(values, scale=None, bounds=(0, 1)):
    """Returns Student's t `Interval` for the mean of `values`, one a seed.

    Values that are none, not finite or outside of the scale are a ValueError. With a scale, "log"
    for measures ≥ 0 or "logit" for those within `bounds`, the interval is made by the delta method
    where the measure has no bounds, and brought back: it stays where the number can live.
    """
    values = np.asarray(values, "float64")
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"`values` must be finite and at least one. Received: {values.tolist()}")
    mean, n = float(values.mean()), len(values)
    bottom, top = {None: (-math.inf, math.inf), "log": (0, math.inf), "logit": bounds}[scale]
    if values.min() < bottom or values.max() > top:
        raise ValueError(f"Values must lie in [{bottom}, {top}]. Received: {values.tolist()}")
    if n < 2:
        return Interval(mean, None, None, n)
    half = float(stats.t.ppf(1 - ALPHA / 2, n - 1) * values.std(ddof=1) / math.sqrt(n))
    if scale is None or not half or not bottom < mean < top:  # at an end all values are equal
        return Interval(mean, mean - half, mean + half, n)
    if scale == "log":
        factor = math.exp(min(half / mean, 700))  # as wide as floats are
        return Interval(mean, mean / factor, mean * factor, n)
    width, share = top - bottom, (mean - bottom) / (top - bottom)
    shift = half / width / (share * (1 - share))
    low, high = bottom + width * expit(logit(share) + np.array([-shift, shift]))
    return Interval(mean, float(low), float(high), n)


def bounded_interval(values, bounds=None):
    """Returns the `mean_interval` on the scale that suits `bounds`, such as (0, infinity).

    Without values, or with one that is not finite, its mean is NaN: no other run may hide that.
    """
    if not len(values) or not np.isfinite(values).all():
        return Interval(math.nan, None, None, len(values))
    if bounds is None:
        return mean_interval(values)
    scale = "log" if bounds[1] == math.inf else "logit"
    return mean_interval(np.clip(values, *bounds), scale, bounds)  # for rounding


def paired_interval(values, baseline):
    """Returns the `Interval` of the mean difference, seed by seed; without pairs its n is 0."""
    differences = np.subtract(values, baseline, dtype="float64")
    return mean_interval(differences) if len(differences) else Interval(math.nan, None, None, 0)


def std(values):
    """Returns the standard deviation around the mean, by n - 1; NaN of fewer than two values."""
    return float(np.asarray(values, "float64").std(ddof=1)) if len(values) > 1 else math.nan


def mad(values):
    """Returns the median absolute deviation as a normal std (Hampel, 1974): no spike owns it."""
    spread = np.median(np.abs(values - np.median(values)))
    return float(1.4826 * spread) if len(values) > 1 else math.nan


def pareto_front(cost, value):
    """Returns an array of bool: the runs that none beats in both, low cost and high value."""
    cost, value = np.asarray(cost, "float64"), np.asarray(value, "float64")
    known = np.isfinite(cost) & np.isfinite(value)
    as_good = (cost[:, None] <= cost) & (value[:, None] >= value)  # row i, run i against all others
    better = (cost[:, None] < cost) | (value[:, None] > value)
    return known & ~(as_good & better & known[:, None]).any(axis=0)


def detectable_difference(sd, n, k, comparisons=1):
    """Returns the smallest difference between two cells that a grid finds with a power of 80 %.

    By the two-sided t test with the noise `sd` pooled over the `n` seeds of each of `k` cells
    (Cohen, 1988); `comparisons` differences share the 5 %. Of one seed it is None.
    """
    if n == 1:
        return None
    df = k * (n - 1)
    least = stats.t.isf(ALPHA / comparisons / 2, df)
    # By F, t squared: SciPy's noncentral t is NaN far out on the other side.
    ends = 1e-6, 10 * least + 10
    shift = optimize.brentq(lambda x: stats.ncf.sf(least**2, 1, df, x**2) - 0.8, *ends)
    return float(shift) * sd * math.sqrt(2 / n)


@dataclasses.dataclass(frozen=True)
class Best:
    """The best cell of a grid and those that may be as good.

    `table` has a row a cell, best first: `cell`, `mean`, `n`, `difference` to the best, `p`
    adjusted over all cells, `in_group`.
    """

    best: object  # the cell with the best mean, or None
    group: list  # cells that cannot be told from it, with itself
    worse: list  # cells that can
    table: object
    sd: float | None  # pooled over seeds; None without replicates
    alike: bool | None  # False where a cell is noisier than by chance (Cochran): no proof then
    reason: str | None  # why nothing can be said, or what else to know


def indistinguishable(table, cell, response):
    """Returns which cells of a grid cannot be told from the best: a `Best`.

    Multiple comparisons with the best (Hsu, 1984) by pooled noise, stepped down as by Romano & Wolf
    (2005): first Tukey's test, last Dunnett's. The probability to call any of the equally best
    cells worse is at most 5 %, if noise is independent and alike in all cells.

    `table` is a `pandas.DataFrame` with a row a run, `cell` its column of the cells' names, and
    `response` that where higher is better; runs where it is not finite are left out.
    """
    runs = table[np.isfinite(table[response])]
    cells = runs.groupby(cell, sort=False)[response].agg(["mean", "count", "var"])
    cells = cells.sort_values("mean", ascending=False, kind="stable")
    names, means, counts = cells.index.tolist(), cells["mean"].to_numpy(), cells["count"].to_numpy()
    squares, df = cells["var"].fillna(0).to_numpy() * (counts - 1), int((counts - 1).sum())
    sd = math.sqrt(squares.sum() / df) if df else None
    p, alike, reasons = np.full(len(names), math.nan), None, []
    if lost := len(table) - len(runs):
        reasons.append(f"{lost} of {len(table)} runs have no finite value and are left out.")
    if len(names) > 1 and df:
        p = _p_values(means, counts, df, sd)
        alike, noisiest = _alike(squares, counts - 1)
        if not alike:
            reasons.append(f"Noise is not alike: highest in {names[noisiest]}. Here it has to be.")
    elif len(names) > 1:
        reasons.append("One seed a cell: noise is unknown, and no cell can be called worse.")
    elif names:
        reasons.append("There is one cell only.")
    inside = ~(p <= ALPHA)
    cells = {"cell": names, "mean": means, "n": counts, "difference": means - means[:1], "p": p}
    ranked = pandas.DataFrame(cells | {"in_group": inside})
    group, worse = (ranked["cell"][part].tolist() for part in (inside, ~inside))
    reason = " ".join(reasons) or None
    return Best(next(iter(names), None), group, worse, ranked, sd, alike, reason)


def _p_values(means, counts, df, sd):
    """How often chance alone puts the worst that is left as far behind as each cell."""
    behind = _behind(means[None], counts)[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        behind = np.where(behind > 0, behind / sd, 0.0)  # without noise, infinitely far
    order, rank = np.argsort(-behind), np.argsort(np.argsort(counts, kind="stable"))
    by_chance = _chance(tuple(sorted(counts)), df)[:, rank[order]]
    # Column i: the furthest behind of those that are left once i cells have been called worse.
    furthest = np.maximum.accumulate(by_chance[:, ::-1], axis=1)[:, ::-1]
    p = np.empty(len(means))
    p[order] = np.maximum.accumulate((1 + (furthest >= behind[order]).sum(axis=0)) / (1 + DRAWS))
    return p


def _behind(means, counts):
    """How far each cell is behind the one it is furthest behind of, in units of the noise."""
    share = 1 / np.array(counts)
    furthest = np.full(means.shape, -np.inf)
    for j in range(len(counts)):
        gap = (means[:, j : j + 1] - means) / np.sqrt(share + share[j])
        gap[:, j] = -np.inf
        np.maximum(furthest, gap, out=furthest)
    return furthest


@functools.lru_cache(maxsize=4)  # several quantities of one grid are asked for in turn
def _chance(counts, df):
    """Draws of `_behind` for cells that are equal, over a noise estimated with `df`."""
    rng = np.random.default_rng(0)
    means = rng.standard_normal((DRAWS, len(counts))) / np.sqrt(counts)
    return _behind(means, counts) / np.sqrt(rng.chisquare(df, (DRAWS, 1)) / df)


def _alike(squares, own):
    """Whether no cell is noisier than chance makes the noisiest of so many; and which is that."""
    total, df = squares.sum(), own.sum()
    p = np.ones(len(own))
    tested = (own > 0) & (own < df) & (squares > 0) & (squares < total)
    ratio = squares[tested] / own[tested] * (df - own[tested]) / (total - squares[tested])
    p[tested] = stats.f.sf(ratio, own[tested], df - own[tested])
    return bool(p.min() * (own > 0).sum() > ALPHA), int(p.argmin())


@dataclasses.dataclass(frozen=True)
class Anova:
    """An analysis of variance of `n` runs, with a `note` on what to know with it, or None."""

    table: object  # a row an effect; `significant` is None where nothing can be said
    n: int
    note: str | None

    def effect(self, name):
        """A row of the table as attributes; of an effect not in it `significant` is None."""
        rows = (row for row in self.table.to_dict("records") if row["effect"] == name)
        return types.SimpleNamespace(**next(rows, EFFECT))


def anova(table, response, factors, block=None):
    """Returns a type II `Anova` over hyperparameters, each taken as a set of levels.

    Factors and their pairs, if the noise keeps degrees of freedom, are tested after all effects
    that don't contain them, by nested fits (Langsrud, 2003): statsmodels' `anova_lm` would test
    coefficients that a missing cell leaves undetermined. p is adjusted by Holm's method.

    `table` is a `pandas.DataFrame` with a row a run and columns of the `factors` and `response`
    (where it is not finite, a run is left out); a `block`, as the seed, is fitted, and not judged.
    """
    names = [*factors, *([block] if block else [])]
    kept = table[np.isfinite(table[response])]
    y, notes = kept[response].to_numpy("float64"), []
    y = y - y.mean() if len(y) and np.ptp(y) > SAME * np.abs(y).max() else np.zeros(len(y))
    total = float(y @ y)
    if lost := len(table) - len(kept):
        notes.append(f"{lost} of {len(table)} runs have no finite value and are left out.")
    if same := [name for name in names if kept[name].nunique() < 2]:
        notes.append(f"Left out, as there is one level only: {', '.join(same)}.")
    varying = [name for name in factors if name not in same]
    blocks = [(name,) for name in names[len(factors) :] if name not in same]
    cells = math.prod(kept[name].nunique() for name in varying)
    if missing := cells - len(kept[varying].drop_duplicates()) if varying else 0:
        notes.append(f"{missing} of {cells} cells have no run.")

    @functools.cache
    def residual(terms):
        codes = [kept.groupby(list(term), dropna=False).ngroup() for term in terms]
        design = np.hstack([np.ones((len(y), 1)), *(np.eye(c.max() + 1)[c] for c in codes)])
        fitted, _, rank, _ = np.linalg.lstsq(design, y, rcond=1e-9)
        rss = float(np.square(y - design @ fitted).sum())
        return (rss if rss > ROUNDING * total else 0.0), len(y) - int(rank)

    for order in (2, 1) if len(varying) > 1 else (1,):
        terms = [t for size in range(order) for t in itertools.combinations(varying, size + 1)]
        rss, df = residual((*terms, *blocks))
        if df > 0:
            break
    if not total:
        notes.append("All runs have the same value: there is nothing to explain.")
    elif not df:
        notes.append("No degrees of freedom are left for the noise: only more seeds would tell.")
    elif order < len(varying):
        what = "interactions of more than 2 factors" if order > 1 else "interactions"
        several = kept.duplicated(varying).any()
        notes.append(f"{'' if several else 'One run a cell: '}{what} count as noise.".capitalize())
    noise, rows = rss / df if df else math.nan, []
    for term in (*terms, *blocks) if len(y) else ():
        others = tuple(t for t in (*terms, *blocks) if not set(term) <= set(t))
        (without, df_without), (within, df_within) = residual(others), residual((*others, term))
        rows.append(row := {**EFFECT, "effect": " × ".join(term), "df": df_without - df_within})
        if not row["df"] or not total:  # a missing cell can leave no run that tells it from others
            continue
        sum_sq = without - within if without - within > ROUNDING * total else 0.0
        row |= {"sum_sq": sum_sq, "eta2": sum_sq / total}
        if df:
            mean_sq = sum_sq / row["df"]
            # Without noise, as of the number of parameters, an effect is there or it is not.
            row["F"] = mean_sq / noise if noise else (math.inf if mean_sq else 0.0)
            row["p"] = float(stats.f.sf(row["F"], row["df"], df))
            whole = sum_sq + (len(y) - row["df"]) * noise
            row["omega2_partial"] = (sum_sq - row["df"] * noise) / whole if whole else math.nan
    judged = [row for row in rows[: len(terms)] if row["p"] >= 0]
    adjusted = 0.0
    for rank, row in enumerate(sorted(judged, key=lambda row: row["p"])):  # Holm
        adjusted = max(adjusted, min(1.0, row["p"] * (len(judged) - rank)))
        row |= {"p_adjusted": adjusted, "significant": adjusted <= ALPHA}
    frame = pandas.DataFrame(rows, columns=list(EFFECT)).astype({"significant": object})
    return Anova(frame, len(y), " ".join(notes) or None)
