"""What the scores over features share: what they accept, and blocks of pairs."""

import numpy as np

BLOCK = 2**22  # pairs at once: 32 MiB in float64


def check_features(first, second, least=2):
    """Returns both as arrays; ValueError where they are not finite `(n, d)` and `(m, d)`."""
    first, second = np.asarray(first), np.asarray(second)
    fit = first.ndim == second.ndim == 2 and first.shape[1] == second.shape[1] > 0
    with np.errstate(invalid="ignore"):  # a sum is as finite as its terms, and takes no memory
        sums = [features.sum(dtype="float64") for features in (first, second)]
    if not fit or min(len(first), len(second)) < least or not np.isfinite(sums).all():
        raise ValueError(
            f"Features must be finite, (n, d) and (m, d) with n, m ≥ {least}. Received: "
            f"{first.shape} and {second.shape}, of sums {sums}"
        )
    return first, second


def blocks(rows, columns):
    """Slices of `rows`, each of which makes at most `BLOCK` pairs with all `columns`."""
    step = max(1, BLOCK // columns)
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]
