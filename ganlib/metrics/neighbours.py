"""Scores by nearest neighbours: quality and diversity apart, and copies of training images."""

import typing

import numpy as np

from ganlib.metrics.checks import blocks, caution, check_features

LEAST = 1000
ROUNDING = 1e-12  # of the largest squared norm: distances that differ by less are equal


class PrecisionRecall(typing.NamedTuple):
    """Quality and diversity.

    Attributes:
        precision: float in [0, 1], share of fakes that look like some real image.
        recall: float in [0, 1], share of real images that look like some fake.
        k: int.
        n_real, n_fake: int.
        caution: str, why the sample is too small for it; None where it is not.
    """

    precision: float
    recall: float
    k: int
    n_real: int
    n_fake: int
    caution: str | None


class DensityCoverage(typing.NamedTuple):
    """Quality and diversity, less moved by outliers.

    Attributes:
        density: float ≥ 0, 1 on average for equal distributions, above 1 where fakes crowd where
            real images are many.
        coverage: float in [0, 1], share of real images with a fake nearby.
        ceiling: float, the coverage on average for equal distributions.
        k: int.
        n_real, n_fake: int.
        caution: str, why the sample is too small for it; None where it is not.
    """

    density: float
    coverage: float
    ceiling: float
    k: int
    n_real: int
    n_fake: int
    caution: str | None


def precision_recall(real, fake, k=3):
    """Improved precision and recall (Kynkäänniemi et al., 2019).

    A fake is precise if it lies within the distance of some real image to its own k-th nearest
    real neighbour; recall is the same with the sets exchanged.

    Args:
        real: array `(n, d)` of features, n > k.
        fake: array `(m, d)` of features, m > k.
        k: int ≥ 1.

    Returns:
        `PrecisionRecall`.

    Raises:
        ValueError: dimensions that differ, too few rows for k, or values that are not finite.
    """
    return compare(real, fake, k, k)[0]


def density_coverage(real, fake, k=5):
    """Density and coverage (Naeem et al., 2020).

    Args:
        real: array `(n, d)` of features, n > k.
        fake: array `(m, d)` of features, m > k.
        k: int ≥ 1.

    Returns:
        `DensityCoverage`.

    Raises:
        ValueError: as `precision_recall`.
    """
    return compare(real, fake, k, k)[1]


def compare(real, fake, k_precision=3, k_density=5):
    """Both pairs of scores together, in little more time than one of them.

    Args:
        real: array `(n, d)` of features.
        fake: array `(m, d)` of features.
        k_precision: int ≥ 1, neighbours of `precision_recall`.
        k_density: int ≥ 1, neighbours of `density_coverage`.

    Returns:
        `PrecisionRecall` and `DensityCoverage`.

    Raises:
        ValueError: as `precision_recall`.
    """
    ks = (k_precision, k_density)
    if not all(isinstance(k, int | np.integer) and k >= 1 for k in ks):
        raise ValueError(f"`k` must be a whole number from 1 on. Received: k={ks}")
    real, fake = check_features(real, fake, least=max(ks) + 1)
    # Distances are differences of squares: closer to 0, less is lost to rounding.
    centre = real.mean(axis=0)
    real, fake = real - centre, fake - centre
    of_real, of_fake = (np.einsum("nd,nd->n", x, x) for x in (real, fake))
    slack = ROUNDING * max(of_real.max(), of_fake.max())
    real_radii = _radii(real, of_real, ks) + slack
    fake_radii = _radii(fake, of_fake, ks[:1]) + slack
    n, m = len(real), len(fake)
    precise, covered = np.zeros(m, bool), np.zeros(n, bool)
    recalled, inside = np.zeros(n, bool), 0
    for rows in blocks(n, m):
        distances = _squared(real[rows], fake, of_real[rows], of_fake)
        precise |= (distances <= real_radii[rows, :1]).any(axis=0)
        recalled[rows] = (distances <= fake_radii[:, 0]).any(axis=1)
        near = distances <= real_radii[rows, 1:]
        inside += int(near.sum())
        covered[rows] = near.any(axis=1)
    small = min(n, m)
    return (
        PrecisionRecall(
            float(precise.mean()),
            float(recalled.mean()),
            k_precision,
            n,
            m,
            caution(
                small,
                LEAST,
                "precision and recall depend on n here; compare them only at equal n, beside those "
                "of two sets of real images",
                "Kynkäänniemi et al., 2019",
            ),
        ),
        DensityCoverage(
            inside / (k_density * m),
            float(covered.mean()),
            expected_coverage(n, m, k_density),
            k_density,
            n,
            m,
            caution(
                small,
                LEAST,
                "density and coverage scatter; coverage depends on n / m: see its ceiling",
                "Naeem et al., 2020",
            ),
        ),
    )


def expected_coverage(n_real, n_fake, k=5):
    """Coverage on average where both sets have one distribution (Naeem et al., 2020, lemma 2).

    1 - (N-1)…(N-k) / (M+N-1)…(M+N-k), N real images and M fakes: about 1 - 2^-k for N = M.

    Args:
        n_real: int.
        n_fake: int.
        k: int, neighbours.

    Returns:
        float in [0, 1].
    """
    steps = np.arange(1, k + 1)
    return float(1 - np.prod((n_real - steps) / (n_fake + n_real - steps)))


def nearest(queries, references, k=1):
    """The nearest references of each query: is a generated image a copy of a training image?

    Args:
        queries: array `(n, d)` of features.
        references: array `(m, d)` of features.
        k: int in 1…m.

    Returns:
        Indices into the references, int64 `(n, k)`, nearest first, and their distances, float64
        `(n, k)`, in the features' units; 0 for an exact copy.

    Raises:
        ValueError: dimensions that differ, no k in that range, or values that are not finite.
    """
    queries, references = check_features(queries, references, least=1)
    n, m = len(queries), len(references)
    if not (isinstance(k, int | np.integer) and 1 <= k <= m):
        raise ValueError(f"`k` must be a whole number from 1 to {m}. Received: k={k!r}")
    centre = references.mean(axis=0)
    moved = references - centre
    lengths = np.einsum("nd,nd->n", moved, moved)
    indices, found = np.empty((n, k), np.int64), np.empty((n, k))
    for rows in blocks(n, max(m, k * references.shape[1])):
        part = queries[rows] - centre
        distances = _squared(part, moved, np.einsum("nd,nd->n", part, part), lengths)
        chosen = np.argpartition(distances, k - 1, axis=1)[:, :k]
        # Once more for the few chosen, as the sum of squared differences: a copy is 0 exactly.
        exact = np.linalg.norm(queries[rows][:, None] - references[chosen], axis=2)
        order = np.lexsort((chosen, exact), axis=1)
        indices[rows] = np.take_along_axis(chosen, order, axis=1)
        found[rows] = np.take_along_axis(exact, order, axis=1)
    return indices, found


def _squared(x, y, of_x, of_y):
    """Squared distances `(n, m)` of rows of x and y, whose squared lengths are given."""
    distances = x @ y.T
    distances *= -2
    distances += of_x[:, None]
    distances += of_y
    return distances


def _radii(x, of_x, ks):
    """Squared distances `(n, len(ks))` of each row to its k-th nearest other row."""
    radii = np.empty((len(x), len(ks)))
    for rows in blocks(len(x), len(x)):
        distances = _squared(x[rows], x, of_x[rows], of_x)
        own = np.arange(rows.stop - rows.start)
        distances[own, own + rows.start] = np.inf
        kept = np.partition(distances, sorted({k - 1 for k in ks}), axis=1)
        radii[rows] = kept[:, [k - 1 for k in ks]]
    return radii
