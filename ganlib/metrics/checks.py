"""What all scores over features share: what they accept, blocks of pairs, and cautions."""

import numpy as np

BLOCK = 2**22  # pairs at once: 32 MiB in float64


def check_features(first, second, least=2):
    """Both sets of features as float64 arrays.

    Raises:
        ValueError: they are not `(n, d)` and `(m, d)` with n, m ≥ `least`, or hold values that are
            not finite.
    """
    first, second = np.asarray(first, "float64"), np.asarray(second, "float64")
    fit = first.ndim == second.ndim == 2 and first.shape[1] == second.shape[1] > 0
    if not fit or min(len(first), len(second)) < least:
        raise ValueError(
            f"Features must be (n, d) and (m, d) with n, m ≥ {least}. Received: "
            f"{first.shape} and {second.shape}"
        )
    for features in (first, second):
        check_finite(features)
    return first, second


def check_finite(features):
    """Raises ValueError where a value is NaN or infinite."""
    if not np.isfinite(features).all():
        raise ValueError(
            "Features must be finite: look for NaN in the images first. Received: NaN or infinity"
        )


def blocks(rows, columns):
    """Slices that cut `rows` so that each with all `columns` makes at most `BLOCK` pairs."""
    step = max(1, BLOCK // columns)
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def caution(n, least, what, source):
    """A sentence on a sample that is too small; None where it is large enough.

    Args:
        n: int, the sample size, of the smaller set.
        least: int, from which size on the number may be read plainly.
        what: str, what a smaller one does to the number.
        source: str, who says so.
    """
    if n >= least:
        return None
    return f"n = {n:,} is below {least:,}: {what} ({source})."
