"""Analysis of variance of a grid of runs: which hyperparameters matter, and by how much."""

import dataclasses
import html
import itertools
import math

import numpy as np

from ganlib.stats.spread import constant

JOIN = " × "
ROUNDING = 1e-24  # a share of the sum of squares that is none
COLUMNS = ("df", "sum_sq", "F", "p", "p_adjusted", "eta2", "omega2_partial", "significant")


@dataclasses.dataclass(frozen=True)
class Effect:
    """A row of an analysis of variance; floats are NaN where there is no such number.

    Attributes:
        effect: such as "batch", or "learning_rate × batch" for an interaction.
        df: int.
        sum_sq: float, type II.
        F: float.
        p: float.
        p_adjusted: float, by Holm over all effects.
        eta2: float, share of the total sum of squares.
        omega2_partial: float, share of the variance of what the other effects leave, without bias:
            below 0 by chance where there is no effect.
        significant: True, False, or None where nothing can be said, as for a block.
    """

    effect: str
    df: int = 0
    sum_sq: float = math.nan
    F: float = math.nan
    p: float = math.nan
    p_adjusted: float = math.nan
    eta2: float = math.nan
    omega2_partial: float = math.nan
    significant: bool | None = None


@dataclasses.dataclass(frozen=True)
class Anova:
    """An analysis of variance: numbers in HTML for the reader, what was looked at in text.

    Attributes:
        table: `pandas.DataFrame` with a row an effect; its columns are the fields of `Effect`.
        residual_df: int, degrees of freedom of the noise.
        residual_sd: float, standard deviation of the noise, or None without any degree of freedom.
        n: int, number of runs.
        note: str, what to know with it; None where there is nothing.
        factors: tuple of str, as asked for, even if one is not in the table.
    """

    table: object
    residual_df: int
    residual_sd: float | None
    n: int
    note: str | None
    factors: tuple

    def effect(self, name):
        """The `Effect` of a factor, or of an interaction such as "batch × learning_rate".

        Of a factor that was left out it is undecided, as its levels were not compared.

        Raises:
            ValueError: a name that is not of these factors.
        """
        wanted = set(name.split(JOIN))
        for row in self.table.to_dict("records"):
            if set(row["effect"].split(JOIN)) == wanted:
                return Effect(**row)
        if not wanted <= set(self.factors):
            raise ValueError(f"Effects are of {self.factors}. Received: {name!r}")
        return Effect(name)

    def __repr__(self):
        return f"<analysis of variance over {', '.join(self.factors)}>"

    def _repr_html_(self):
        formats = dict.fromkeys(("sum_sq", "F", "eta2", "omega2_partial"), "{:.3g}".format)
        formats |= dict.fromkeys(
            ("p", "p_adjusted"), lambda p: "< 0.001" if p < 1e-3 else f"{p:.3f}"
        )
        formats["significant"] = lambda x: {True: "yes", False: "no", None: ""}[x]
        table = self.table.to_html(index=False, formatters=formats, na_rep="", border=0)
        noise = "" if self.residual_sd is None else f", noise SD {self.residual_sd:.3g}"
        about = f"{self.n} runs, {self.residual_df} degrees of freedom for the noise{noise}."
        return f"{table}<p>{about} {html.escape(self.note or '')}</p>"


def anova(table, response, factors, interactions=2, alpha=0.05, block=None):
    """Type II analysis of variance over hyperparameters, each taken as a set of levels.

    Each effect is tested after all others that don't contain it, so that unequal numbers of runs
    and missing cells (out of memory) are allowed for (Langsrud, 2003). Sums of squares are
    differences between nested fits: statsmodels' own `anova_lm` tests those coefficients that a
    missing cell leaves undetermined. p values are adjusted over all effects (Holm, 1979): of grids
    without any effect at most `alpha` call anything significant.

    Args:
        table: `pandas.DataFrame` with a row a run.
        response: str, the column that is explained. Runs where it is not finite are left out.
        factors: list of str, columns of hyperparameters.
        interactions: int, the highest order of interactions, 1 for none. Lowered where no degrees
            of freedom would be left for the noise.
        alpha: float in (0, 1).
        block: str, a column that runs have in common, such as the seed that gives them their data
            order and first weights. Fitted with the factors, and not judged.

    Returns:
        `Anova`.

    Raises:
        ValueError: columns that are missing, or a factor without a value in some run.
    """
    import pandas

    factors = [factors] if isinstance(factors, str) else list(factors)
    _check(table, response, factors, block, interactions)
    values = table[response].astype("float64").to_numpy()
    kept = table[np.isfinite(values)]
    values = values[np.isfinite(values)]
    varying = [name for name in factors if kept[name].nunique() > 1]
    blocks = [block] if block and kept[block].nunique() > 1 else []
    notes = _about_runs(table, kept, [*factors, *([block] if block else [])], varying)
    fit = _Fits(kept, values, varying, blocks, interactions)
    notes += fit.about()
    rows = fit.effects()
    if aliased := [row["effect"] for row in rows if not row["df"]]:
        notes.append(f"Not to be told from the other effects: {', '.join(aliased)}.")
    can_judge = fit.df > 0 and fit.total > 0
    if can_judge:
        rows = _tested(rows, fit, alpha, blocks)
    frame = pandas.DataFrame(rows, columns=[field.name for field in dataclasses.fields(Effect)])
    frame["significant"] = frame["significant"].astype(object)
    return Anova(
        table=frame,
        residual_df=fit.df,
        residual_sd=math.sqrt(fit.rss / fit.df) if fit.df > 0 else None,
        n=len(values),
        note=" ".join(notes) or None,
        factors=tuple(factors),
    )


def _check(table, response, factors, block, interactions):
    names = [*factors, *([block] if block else [])]
    absent = [name for name in (response, *names) if name not in table]
    if absent or not factors or len({response, *names}) <= len(names):
        raise ValueError(
            f"`response`, `factors` and `block` must be different columns of {list(table)}. "
            f"Received: {response!r}, {factors} and {block!r}"
        )
    if interactions < 1:
        raise ValueError(f"`interactions` must be 1 (none) or more. Received: {interactions}")
    empty = [name for name in names if table[name].isna().any()]
    if empty:
        raise ValueError(f"Each run needs a value of each factor. Received: none in {empty}")


def _about_runs(table, kept, names, varying):
    notes = []
    if lost := len(table) - len(kept):
        notes.append(f"{lost} of {len(table)} runs have no finite value and are left out.")
    same = [name for name in names if kept[name].nunique() < 2]
    if same:
        notes.append(f"Left out, as there is one level only: {', '.join(same)}.")
    cells = math.prod(kept[name].nunique() for name in varying)
    if missing := cells - len(kept[varying].drop_duplicates()) if varying else 0:
        notes.append(f"{missing} of {cells} cells have no run.")
    return notes


class _Fits:
    """The fits of one grid: those of each effect, and the noise that the largest leaves."""

    def __init__(self, kept, values, varying, blocks, interactions):
        self.values = values - values.mean() if len(values) else values
        if len(values) and constant(values):
            self.values = np.zeros(len(values))
        self.total = float(self.values @ self.values)
        self.columns = {(name,): _levels(kept[name]) for name in [*varying, *blocks]}
        self.blocks = [(name,) for name in blocks]
        self.found = {}
        self.varying = varying
        self.replicated = bool(varying) and bool(kept.duplicated(varying).any())
        self.order = max(1, min(interactions, len(varying)))
        while True:
            self.terms = [
                term
                for order in range(1, self.order + 1)
                for term in itertools.combinations(varying, order)
            ]
            self.rss, self.df = self.residual([*self.terms, *self.blocks])
            if self.df > 0 or self.order == 1:
                return
            self.order -= 1

    def about(self):
        """What the noise consists of, and where there is none."""
        if not len(self.values):
            return ["No run is left."]
        if not self.total:
            return ["All runs have the same value: there is nothing to explain."]
        if not self.df:
            return ["No degrees of freedom are left for the noise: only more seeds would tell."]
        if not self.varying:
            return []
        notes = []
        if self.order < len(self.varying):
            what = f"interactions of more than {self.order} factors" if self.order > 1 else ""
            what = what or "interactions"
            notes.append(
                f"What counts as noise includes {what}."
                if self.replicated
                else f"One run a cell: {what} serve as noise, and hide effects where there are any."
            )
        if not self.rss:
            notes.append("There is no noise: runs differ by their factors alone.")
        return notes

    def effects(self):
        """A dict an effect, in the order of the factors, with what needs no noise."""
        rows = []
        everything = [*self.terms, *self.blocks]
        for term in everything if len(self.values) else []:
            others = [t for t in everything if not set(term) <= set(t)]
            rss, df = self.residual(others)
            rss_with, df_with = self.residual([*others, term])
            sum_sq = rss - rss_with if rss - rss_with > ROUNDING * self.total else 0.0
            name = JOIN.join(term)
            # Missing cells can leave an effect that no run tells from the others.
            estimable = df > df_with
            rows.append(dataclasses.asdict(Effect(name, df - df_with)))
            if estimable:
                rows[-1]["sum_sq"] = sum_sq
                rows[-1]["eta2"] = sum_sq / self.total if self.total else math.nan
        return rows

    def residual(self, terms):
        """Sum of squares and degrees of freedom that a fit of `terms` leaves."""
        from statsmodels.regression.linear_model import OLS

        if not len(self.values):
            return 0.0, 0
        key = frozenset(terms)
        if key not in self.found:
            design = [np.ones((len(self.values), 1)), *(self._columns(term) for term in terms)]
            fit = OLS(self.values, _independent(np.hstack(design))).fit(method="qr")
            rss = float(fit.ssr) if fit.ssr > ROUNDING * self.total else 0.0
            self.found[key] = rss, round(fit.df_resid)
        return self.found[key]

    def _columns(self, term):
        if term not in self.columns:
            parts = [self.columns[name,] for name in term]
            product = parts[0]
            for part in parts[1:]:
                product = (product[:, :, None] * part[:, None]).reshape(len(product), -1)
            self.columns[term] = product
        return self.columns[term]


def _levels(column):
    """A column a level but the first, each less the first's: effect coding."""
    import pandas

    codes, levels = pandas.factorize(column)
    hot = np.eye(len(levels))[codes]
    return hot[:, 1:] - hot[:, :1]


def _independent(design):
    """Those columns that span the design: of dependent ones least squares would make noise."""
    from scipy.linalg import qr

    triangle, order = qr(design, mode="r", pivoting=True)
    size = np.abs(np.diag(triangle))
    return design[:, np.sort(order[: int((size > 1e-9 * size[0]).sum())])]


def _tested(rows, fit, alpha, blocks):
    from scipy.stats import f

    noise = fit.rss / fit.df
    for row in rows:
        if not row["df"]:
            continue
        mean_sq = row["sum_sq"] / row["df"]
        # Without noise, as of the number of parameters, an effect is there or it is not.
        row["F"] = mean_sq / noise if noise else (math.inf if mean_sq else 0.0)
        row["p"] = float(f.sf(row["F"], row["df"], fit.df))
        whole = row["sum_sq"] + (len(fit.values) - row["df"]) * noise
        if whole:
            row["omega2_partial"] = (row["sum_sq"] - row["df"] * noise) / whole
    judged = [row for row in rows if row["df"] and row["effect"] not in blocks]
    for row, p in zip(judged, _holm([row["p"] for row in judged]), strict=True):
        row |= {"p_adjusted": float(p), "significant": bool(p <= alpha)}
    return rows


def _holm(p):
    # As statsmodels' multipletests, which collects garbage on each call: most of an analysis' time.
    p, order = np.array(p), np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(adjusted, 1)
