"""What a grid could have seen."""

import math


def detectable_difference(sd, n, k, power=0.8, alpha=0.05, comparisons=1):
    """The smallest difference between two cells' means that a grid would probably find.

    By the two-sided t test with the noise pooled over all cells, which under a difference is
    noncentral t (Cohen, 1988). A grid that finds nothing has said that differences are smaller than
    about this, and no more.

    Args:
        sd: float, standard deviation over seeds within a cell.
        n: int, seeds a cell.
        k: int, number of cells.
        power: float in (alpha, 1), the probability to find it.
        alpha: float in (0, 1), the probability to find one where there is none.
        comparisons: int, how many differences are looked at; each gets its share of `alpha`.
            `k - 1` against the best, `k * (k - 1) // 2` for all pairs.

    Returns:
        float in the units of `sd`; None with one seed a cell, whose noise is unknown.

    Raises:
        ValueError: numbers out of range.
    """
    from scipy.optimize import brentq
    from scipy.stats import ncf, t

    whole = n >= 1 and k >= 2 and comparisons >= 1
    if not (whole and 0 <= sd < math.inf and 0 < alpha < power < 1):
        raise ValueError(
            "A finite `sd`, `n` >= 1, `k` >= 2, `comparisons` >= 1 and 0 < `alpha` < `power` < 1 "
            f"are needed. Received: {sd=}, {n=}, {k=}, {power=}, {alpha=}, {comparisons=}"
        )
    if n == 1:
        return None
    df = k * (n - 1)
    least = t.isf(alpha / comparisons / 2, df)

    def missing(shift):
        # Of t squared: SciPy's noncentral t is NaN far out on the other side.
        return ncf.sf(least**2, 1, df, shift**2) - power

    return float(brentq(missing, 1e-6, 10 * least + 10) * sd * math.sqrt(2 / n))
