"""Which cells of a grid cannot be told from the best one."""

import dataclasses
import functools
import html
import math

import numpy as np

DRAWS = 40_000  # standard error of a p of 0.05: 0.001


@dataclasses.dataclass(frozen=True)
class Best:
    """The best cell and those that may be as good: numbers in HTML, what was asked in text.

    Attributes:
        best: the cell with the best mean, its name or tuple of names; None without any value.
        group: list of cells, best first, that cannot be told from the best, with itself.
        worse: list of cells that are worse than the best.
        table: `pandas.DataFrame` with a row a cell, best first: `cell`, `mean`, `n`, `difference`
            to the best, `p` adjusted over all cells, `in_group`.
        sd: float, standard deviation over seeds within a cell, or None without replicates.
        alike: bool, False where one cell is noisier than chance would have it: then `worse` may
            be so by noise, with three times the noise at one learning rate in one grid of three.
            None without replicates.
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

    def _repr_html_(self):
        formats = {"mean": "{:.3g}".format, "difference": "{:+.3g}".format, "p": "{:.3f}".format}
        formats |= {"in_group": lambda x: "yes" if x else "no", "cell": named}
        table = self.table.to_html(index=False, formatters=formats, na_rep="", border=0)
        many = f"{len(self.group)} of {len(self.table)} cells cannot be told from the best."
        return f"{table}<p>{html.escape(' '.join(filter(None, (many, self.reason))))}</p>"


def indistinguishable(table, cell, response, confidence=0.95, higher=True):
    """Which cells of a grid cannot be told from the best.

    Multiple comparisons with the best (Hsu, 1984), with the noise pooled over all cells, stepped
    down as by Romano & Wolf (2005): a cell is left out of the group if another's mean exceeds its
    own by more than chance would make any of the cells still in it fall behind. Both that the best
    was chosen by looking and that many cells were compared is in this: where all cells are equal,
    or some are the equally best ones, the probability to call any of the best worse is at most
    1 - `confidence`. The first step is Tukey's test, the last one Dunnett's.

    It assumes that noise is alike in all cells, which is looked at, and independent; runs of one
    seed that resemble each other make it cautious.

    Args:
        table: `pandas.DataFrame` with a row a run.
        cell: str or list of str, the columns whose values name a cell.
        response: str, the column that is compared. Runs where it is not finite are left out.
        confidence: float in (0, 1).
        higher: bool, whether higher is better.

    Returns:
        `Best`. With one seed a cell noise is unknown, and all cells are in the group.

    Raises:
        ValueError: columns that are missing.
    """
    import pandas

    columns = [cell] if isinstance(cell, str) else list(cell)
    absent = [name for name in (*columns, response) if name not in table]
    if absent or not columns:
        raise ValueError(
            f"`cell` and `response` must be columns of {list(table)}. Received: {cell} and "
            f"{response!r}"
        )
    values = table[response].astype("float64").to_numpy()
    reasons = []
    if lost := int((~np.isfinite(values)).sum()):
        reasons.append(f"{lost} of {len(values)} runs have no finite value and are left out.")
    runs = _cells(table, columns, values, alone=isinstance(cell, str))
    sign = 1 if higher else -1
    runs = dict(sorted(runs.items(), key=lambda item: -sign * item[1].mean()))
    means = np.array([x.mean() for x in runs.values()])
    counts = tuple(len(x) for x in runs.values())
    df = sum(counts) - len(counts)
    sd = math.sqrt(sum(len(x) * x.var() for x in runs.values()) / df) if df else None
    p, alike = np.full(len(runs), math.nan), None
    if len(runs) > 1 and df:
        p = _p_values(sign * means, counts, df, sd)
        unlike = _unlike(runs, df, 1 - confidence)
        alike = not unlike
        reasons += unlike
    elif len(runs) > 1:
        reasons.append("One seed a cell: noise is unknown, and no cell can be called worse.")
    elif runs:
        reasons.append("There is one cell only.")
    inside = ~(p <= 1 - confidence)
    frame = pandas.DataFrame(
        {
            "cell": pandas.Series(list(runs), dtype=object),
            "mean": means,
            "n": np.array(counts, "int64"),
            "difference": means - means[:1],
            "p": p,
            "in_group": inside,
        }
    )
    cells = list(runs)
    return Best(
        best=cells[0] if cells else None,
        group=[name for name, yes in zip(cells, inside, strict=True) if yes],
        worse=[name for name, yes in zip(cells, inside, strict=True) if not yes],
        table=frame,
        sd=sd,
        alike=alike,
        reason=" ".join(reasons) or None,
    )


def named(cell):
    """A cell's name as text."""
    return ", ".join(str(part) for part in cell) if isinstance(cell, tuple) else str(cell)


def _cells(table, columns, values, alone):
    """Cell → its finite values; a cell without any is not in it."""
    cells = {}
    for *names, value in zip(*(table[name].tolist() for name in columns), values, strict=True):
        if math.isfinite(value):
            cells.setdefault(names[0] if alone else tuple(names), []).append(value)
    return {name: np.array(found) for name, found in cells.items()}


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
    draws = _draws(tuple(sorted(counts)), df)
    return draws[:, np.argsort(order)]


@functools.lru_cache(maxsize=4)  # several quantities of one grid are asked for in turn
def _draws(counts, df):
    rng = np.random.default_rng(0)
    means = rng.standard_normal((DRAWS, len(counts))) / np.sqrt(counts)
    return _behind(means, counts) / np.sqrt(rng.chisquare(df, (DRAWS, 1)) / df)


def _unlike(runs, df, alpha):
    """What to say if one cell is noisier than chance makes the noisiest of so many (Cochran)."""
    from scipy.stats import f

    squares = {name: (len(x) * x.var(), len(x) - 1) for name, x in runs.items() if len(x) > 1}
    total = sum(square for square, _ in squares.values())
    p = {
        name: f.sf(square / own * (df - own) / (total - square), own, df - own)
        for name, (square, own) in squares.items()
        if own < df and 0 < square < total
    }
    if not p or min(p.values()) * len(squares) > alpha:
        return []
    name = min(p, key=p.get)
    return [f"Noise is not alike: highest in {named(name)}. What is said here assumes it alike."]
