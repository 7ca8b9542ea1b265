"""Kernel distance (KID): unbiased at any sample size, hence the figure for small ones."""

import typing

import numpy as np

from ganlib.metrics.checks import blocks, caution, check_features

LEAST = 500


class KernelDistance(typing.NamedTuple):
    """A kernel distance and what to know with it.

    Attributes:
        value: float, 0 on average for equal distributions; below 0 by chance.
        standard_error: float, of the value over draws of both sets.
        n_real, n_fake: int.
        caution: str, why the sample is too small for it; None where it is not.
    """

    value: float
    standard_error: float
    n_real: int
    n_fake: int
    caution: str | None


class SubsetDistance(typing.NamedTuple):
    """A kernel distance as papers report it.

    Attributes:
        value: float, mean over the subsets.
        deviation: float, standard deviation of the subsets' distances. Subsets overlap, so that it
            is no standard error of the value.
        subsets, size: int.
    """

    value: float
    deviation: float
    subsets: int
    size: int


def kernel_distance(real, fake):
    """Kernel Inception Distance over all pairs, with its standard error.

    The squared maximum mean discrepancy under the kernel (x·y / d + 1)³, its unbiased estimate
    (Bińkowski et al., 2018). It is what the mean over random subsets tends to, without their noise.

    The standard error is the jackknife's, over leaving out each image of both sets in turn (Efron &
    Stein, 1981). It is right where the sets differ, and up to √2 too large where they do not.

    Args:
        real: array `(n, d)` of features, n ≥ 3.
        fake: array `(m, d)` of features, m ≥ 3.

    Returns:
        `KernelDistance`.

    Raises:
        ValueError: dimensions that differ, fewer than three rows, or values that are not finite.
    """
    real, fake = check_features(real, fake, least=3)
    n, m = len(real), len(fake)
    within_real, within_fake = _sums_within(real), _sums_within(fake)
    to_fake, to_real = _sums_between(real, fake)
    all_real, all_fake, between = within_real.sum(), within_fake.sum(), to_fake.sum()

    def distance(real_sum, fake_sum, cross_sum, n, m):
        return real_sum / (n * (n - 1)) + fake_sum / (m * (m - 1)) - 2 * cross_sum / (n * m)

    without_real = distance(all_real - 2 * within_real, all_fake, between - to_fake, n - 1, m)
    without_fake = distance(all_real, all_fake - 2 * within_fake, between - to_real, n, m - 1)
    variance = (n - 1) * without_real.var() + (m - 1) * without_fake.var()
    what = "the kernel distance is unbiased, but its standard error is itself uncertain"
    return KernelDistance(
        float(distance(all_real, all_fake, between, n, m)),
        float(np.sqrt(variance)),
        n,
        m,
        caution(min(n, m), LEAST, what, "Bińkowski et al., 2018"),
    )


def subset_kernel_distance(real, fake, subsets=100, size=1000, seed=0):
    """Kernel Inception Distance over random subsets, as papers report it.

    Args:
        real: array `(n, d)` of features.
        fake: array `(m, d)` of features.
        subsets: int, how many pairs of subsets are drawn.
        size: int ≥ 2, images in each subset, drawn without replacement; the smaller set's size
            where that is less.
        seed: int.

    Returns:
        `SubsetDistance`. Its cost grows with subsets · size².

    Raises:
        ValueError: as `kernel_distance`, or numbers out of range.
    """
    real, fake = check_features(real, fake)
    if subsets < 1 or size < 2:
        raise ValueError(
            "`subsets` must be 1 or more, and `size` 2 or more. "
            f"Received: subsets={subsets}, size={size}"
        )
    size = min(size, len(real), len(fake))
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(subsets):
        x, y = (z[rng.choice(len(z), size, replace=False)] for z in (real, fake))
        within = (_sums_within(x).sum() + _sums_within(y).sum()) / (size * (size - 1))
        values.append(within - 2 * _sums_between(x, y)[0].sum() / size**2)
    return SubsetDistance(float(np.mean(values)), float(np.std(values)), subsets, size)


def _kernel(x, y):
    values = x @ y.T
    values /= x.shape[1]
    values += 1
    square = values * values
    square *= values
    return square


def _sums_within(x):
    """Sum of the kernel of each row with every other row, `(n,)`."""
    sums = np.zeros(len(x))
    for rows in blocks(len(x), len(x)):
        # The kernel is symmetric: each pair of rows is met once, and counts for both.
        values = _kernel(x[rows], x[rows.start :])
        own = np.arange(rows.stop - rows.start)
        values[own, own] = 0
        sums[rows] += values.sum(axis=1)
        sums[rows.stop :] += values[:, len(own) :].sum(axis=0)
    return sums


def _sums_between(x, y):
    """Sums of the kernel of each row of x with all of y, and of each row of y with all of x."""
    of_x, of_y = np.zeros(len(x)), np.zeros(len(y))
    for rows in blocks(len(x), len(y)):
        values = _kernel(x[rows], y)
        of_x[rows] = values.sum(axis=1)
        of_y += values.sum(axis=0)
    return of_x, of_y
