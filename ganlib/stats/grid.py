"""What a grid of runs can tell: which cells may be the best, and which hyperparameters matter."""

import dataclasses
import functools
import itertools
import math
import types

import numpy as np

JOIN = " × "  # of an interaction's factors
NUMBERS = ("sum_sq", "F", "p", "p_adjusted", "eta2", "omega2_partial")
EFFECT = {"effect": "", "df": 0, **dict.fromkeys(NUMBERS, math.nan), "significant": None}
ROUNDING = 1e-24  # a share of the sum of squares that is none
DRAWS = 40_000  # standard error of a p of 0.05: 0.001


@dataclasses.dataclass(frozen=True)
class Best:
    """The best cell of a grid and those that may be as good.

    Attributes:
        best: the cell with the best mean, its name or tuple of names; None without any value.
        group, worse: lists of cells that cannot be told from the best, with itself, and that can.
        table: `pandas.DataFrame`, a row a cell, best first: `cell`, `mean`, `n`, `difference` to
            the best, `p` adjusted over all cells, `in_group`.
        sd: float, standard deviation over seeds within a cell, or None without replicates.
        alike: bool, False where one cell is noisier than chance would have it (Cochran's test):
            all else is then still returned as of one noise for all cells, and proves nothing.
        reason: str, why nothing can be said, or what else to know; None where there is nothing.
    """

    best: object
    group: list
    worse: list
    table: object
    sd: float | None
    alike: bool | None
    reason: str | None

    def __repr__(self):
        return f"<best of {len(self.table)} cells>"


def indistinguishable(table, cell, response, confidence=0.95, higher=True):
    """Returns which cells of a grid cannot be told from the best: a `Best`.

    Multiple comparisons with the best (Hsu, 1984), with the noise pooled over all cells, stepped
    down as by Romano & Wolf (2005): the first step is Tukey's test, the last one Dunnett's. The
    probability to call any of the equally best cells worse is at most 1 - `confidence`, if noise
    is independent and alike in all cells (see `Best.alike`).

    Args:
        table: `pandas.DataFrame` with a row a run.
        cell: str or list of str, the columns whose values name a cell.
        response: str, the column that is compared. Runs where it is not finite are left out.
        confidence: float in (0, 1).
        higher: bool, whether higher is better.
    """
    import pandas

    values = table[response].astype("float64")
    runs = table.assign(**{response: values})[np.isfinite(values)]
    cells = runs.groupby(cell, sort=False, dropna=False)[response].agg(["mean", "count", "var"])
    cells = cells.sort_values("mean", ascending=not higher, kind="stable")
    names, means, counts = cells.index.tolist(), cells["mean"].to_numpy(), cells["count"].to_numpy()
    squares, df = cells["var"].fillna(0).to_numpy() * (counts - 1), int((counts - 1).sum())
    sd = math.sqrt(squares.sum() / df) if df else None
    p, alike, reasons = np.full(len(names), math.nan), None, []
    if lost := len(table) - len(runs):
        reasons.append(f"{lost} of {len(table)} runs have no finite value and are left out.")
    if len(names) > 1 and df:
        p = _p_values(means if higher else -means, counts, df, sd)
        alike, noisiest = _alike(squares, counts - 1, 1 - confidence)
        if not alike:
            name = names[noisiest]
            what = ", ".join(map(str, name)) if isinstance(name, tuple) else name
            reasons.append(f"Noise is not alike: highest in {what}.")
            reasons.append("What is said here assumes it alike.")
    elif len(names) > 1:
        reasons.append("One seed a cell: noise is unknown, and no cell can be called worse.")
    elif names:
        reasons.append("There is one cell only.")
    inside = ~(p <= 1 - confidence)
    columns = {"mean": means, "n": counts, "difference": means - means[:1], "p": p}
    labels = pandas.Series(names, dtype=object)
    ranked = pandas.DataFrame({"cell": labels, **columns, "in_group": inside})
    group, worse, reason = list(labels[inside]), list(labels[~inside]), " ".join(reasons) or None
    return Best(names[0] if names else None, group, worse, ranked, sd, alike, reason)


def _p_values(means, counts, df, sd):
    """p of each cell: how often chance alone puts the worst that is left as far behind."""
    behind = _behind(means[None], counts)[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        behind = np.where(behind > 0, behind / sd, 0.0)  # without noise, infinitely far
    order = np.argsort(-behind)
    by_chance = _chance(counts, df)[:, order]
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


def _chance(counts, df):
    """Draws of `_behind` for cells that are equal, over a noise estimated with `df`."""
    order = np.argsort(counts, kind="stable")
    return _draws(tuple(sorted(counts)), df)[:, np.argsort(order)]


@functools.lru_cache(maxsize=4)  # several quantities of one grid are asked for in turn
def _draws(counts, df):
    rng = np.random.default_rng(0)
    means = rng.standard_normal((DRAWS, len(counts))) / np.sqrt(counts)
    return _behind(means, counts) / np.sqrt(rng.chisquare(df, (DRAWS, 1)) / df)


def _alike(squares, own, alpha):
    """Whether no cell is noisier than chance makes the noisiest of so many; and which is that."""
    from scipy.stats import f

    total, df = squares.sum(), own.sum()
    p = np.ones(len(own))
    tested = (own > 0) & (own < df) & (squares > 0) & (squares < total)
    ratio = squares[tested] / own[tested] * (df - own[tested]) / (total - squares[tested])
    p[tested] = f.sf(ratio, own[tested], df - own[tested])
    return bool(p.min() * (own > 0).sum() > alpha), int(p.argmin())


@dataclasses.dataclass(frozen=True)
class Anova:
    """An analysis of variance.

    Attributes:
        table: `pandas.DataFrame`, a row an effect: `effect`, such as "learning_rate × batch" for
            an interaction; `df`, `sum_sq`, `F`, `p`; `p_adjusted`, by Holm over all effects;
            `eta2` and `omega2_partial`, effect sizes; `significant`, True, False, or None where
            nothing can be said, as for a block.
        residual_df, residual_sd: int and float, of the noise; without the first the second is None.
        n: int, number of runs.
        note: str, what to know with it; None where there is nothing.
    """

    table: object
    residual_df: int
    residual_sd: float | None
    n: int
    note: str | None

    def effect(self, name):
        """A row of the table as attributes; of an effect not in it `significant` is None."""
        for row in self.table.to_dict("records"):
            if set(row["effect"].split(JOIN)) == set(name.split(JOIN)):
                return types.SimpleNamespace(**row)
        return types.SimpleNamespace(**EFFECT | {"effect": name})

    def __repr__(self):
        return f"<analysis of variance of {self.n} runs>"


def anova(table, response, factors, interactions=2, alpha=0.05, block=None):
    """Returns a type II `Anova` over hyperparameters, each taken as a set of levels.

    Each effect is tested after all others that don't contain it, so that unequal numbers of runs
    and missing cells (out of memory) are allowed for (Langsrud, 2003). Sums of squares are
    differences between nested fits: statsmodels' `anova_lm` tests coefficients that a missing cell
    leaves undetermined. Holm's p: of grids without any effect at most `alpha` call one significant.

    Args:
        table: `pandas.DataFrame` with a row a run.
        response: str, the column that is explained. Runs where it is not finite are left out.
        factors: list of str, columns of hyperparameters.
        interactions: int, the highest order of interactions, 1 for none. Lowered where no degrees
            of freedom would be left for the noise.
        alpha: float in (0, 1).
        block: str, a column that runs have in common, such as the seed. Fitted, and not judged.

    Raises:
        ValueError: a factor without a value in some run.
    """
    import pandas
    from scipy.stats import f

    names = [*factors, *([block] if block else [])]
    if empty := [name for name in names if table[name].isna().any()]:
        raise ValueError(f"Each run needs a value of each factor. Received: none in {empty}")
    kept = table[np.isfinite(table[response].astype("float64"))]
    y, notes = kept[response].to_numpy("float64"), []
    y = y - y.mean() if len(y) and np.ptp(y) > 1e-12 * np.abs(y).max() else np.zeros(len(y))
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

    def columns(term):
        """Effect coding: a column a level but the first, each less the first's; their products."""
        made = np.ones((len(y), 1))
        for name in term:
            codes, levels = pandas.factorize(kept[name])
            hot = np.eye(len(levels))[codes]
            coded = hot[:, 1:] - hot[:, :1]
            made = (made[:, :, None] * coded[:, None]).reshape(len(y), -1)
        return made

    @functools.cache
    def residual(terms):
        """Sum of squares and degrees of freedom that a fit of these terms leaves."""
        design = np.hstack([columns(term) for term in ((), *terms)])
        fitted, _, rank, _ = np.linalg.lstsq(design, y, rcond=1e-9)
        rss = float(np.square(y - design @ fitted).sum())
        return (rss if rss > ROUNDING * total else 0.0), len(y) - int(rank)

    for order in range(max(1, min(interactions, len(varying))), 0, -1):
        sizes = range(1, order + 1)
        terms = [term for size in sizes for term in itertools.combinations(varying, size)]
        rss, df = residual((*terms, *blocks))
        if df > 0:
            break
    what = f"interactions of more than {order} factors" if order > 1 else "interactions"
    if not total:
        notes.append("All runs have the same value: there is nothing to explain.")
    elif not df:
        notes.append("No degrees of freedom are left for the noise: only more seeds would tell.")
    elif order < len(varying):
        alone = f"One run a cell: {what} serve as noise, and hide effects where there are any."
        several = f"What counts as noise includes {what}."
        notes.append(several if kept.duplicated(varying).any() else alone)
    noise, rows = rss / df if df else math.nan, []
    for term in (*terms, *blocks) if len(y) else ():
        others = tuple(t for t in (*terms, *blocks) if not set(term) <= set(t))
        (without, df_without), (within, df_within) = residual(others), residual((*others, term))
        rows.append(row := {**EFFECT, "effect": JOIN.join(term), "df": df_without - df_within})
        if not row["df"] or not total:  # a missing cell can leave no run that tells it from others
            continue
        sum_sq = without - within if without - within > ROUNDING * total else 0.0
        row |= {"sum_sq": sum_sq, "eta2": sum_sq / total}
        if df:
            mean_sq = sum_sq / row["df"]
            # Without noise, as of the number of parameters, an effect is there or it is not.
            row["F"] = mean_sq / noise if noise else (math.inf if mean_sq else 0.0)
            row["p"] = float(f.sf(row["F"], row["df"], df))
            whole = sum_sq + (len(y) - row["df"]) * noise
            row["omega2_partial"] = (sum_sq - row["df"] * noise) / whole if whole else math.nan
    if aliased := [row["effect"] for row in rows if not row["df"]]:
        notes.append(f"Not to be told from the other effects: {', '.join(aliased)}.")
    judged = [row for row in rows[: len(terms)] if row["p"] >= 0]
    adjusted = 0.0
    for rank, row in enumerate(sorted(judged, key=lambda row: row["p"])):  # Holm
        adjusted = max(adjusted, min(1.0, row["p"] * (len(judged) - rank)))
        row |= {"p_adjusted": adjusted, "significant": adjusted <= alpha}
    frame = pandas.DataFrame(rows, columns=list(EFFECT)).astype({"significant": object})
    sd = math.sqrt(noise) if df else None
    return Anova(frame, df, sd, len(y), " ".join(notes) or None)
