"""Scores by nearest neighbours: quality and diversity apart, and copies of training images."""

import typing

import numpy as np

from ganlib.metrics.checks import blocks, check_features

# What rounding does to a squared distance, over the sum of the two squared lengths that it is made
# of: 2e-15 is the most seen with up to 2,048 features. Distances that differ by less are equal.
ROUNDING = 64 * np.finfo("float64").eps


class PrecisionRecall(typing.NamedTuple):
    """Share of fakes that look like some real image; and of real images that some fake is like."""

    precision: float
    recall: float


class DensityCoverage(typing.NamedTuple):
    """1 and 1 - 2^-k on average for equal distributions; density is higher where fakes crowd."""

    density: float
    coverage: float


def precision_recall(real, fake, k=3):
    """Improved precision and recall (Kynkäänniemi et al., 2019), a `PrecisionRecall`.

    A fake is precise if it is at most as far from some real image as that one's k-th nearest real
    neighbour; recall is the same with the sets exchanged.

    Args and errors as of `compare`.
    """
    return compare(real, fake, k, k)[0]


def density_coverage(real, fake, k=5):
    """Density and coverage (Naeem et al., 2020), a `DensityCoverage`.

    A fake counts where it is nearer to a real image than that one's k-th nearest real neighbour:
    equal sets have density 1, and sets that are one point each have 0 in both.

    Args and errors as of `compare`.
    """
    return compare(real, fake, k, k)[1]


def compare(real, fake, k_precision=3, k_density=5):
    """Returns `precision_recall` and `density_coverage`, in little more time than one of them.

    Args:
        real, fake: arrays `(n, d)` and `(m, d)` of features, with more rows than any k.
        k_precision, k_density: ints ≥ 1, which neighbour they go by.

    Raises:
        ValueError: dimensions that differ, too few rows for k, or values that are not finite.
    """
    ks = (k_precision, k_density)
    if min(ks) < 1:
        raise ValueError(f"`k` must be a whole number from 1 on. Received: k={ks}")
    real, fake = _centred(*check_features(real, fake, least=max(ks) + 1))
    of_real, of_fake = (np.einsum("nd,nd->n", x, x) for x in (real, fake))
    real_radii, fake_radii = _radii(real, of_real, ks), _radii(fake, of_fake, ks[:1])
    n, m = len(real), len(fake)
    precise, covered = np.zeros(m, bool), np.zeros(n, bool)
    recalled, inside = np.zeros(n, bool), 0
    for rows in blocks(n, m):
        distances = _squared(real[rows], fake, of_real[rows], of_fake)
        # Each pair's own: by the largest, one outlier would make all distances equal.
        slack = ROUNDING * np.add.outer(of_real[rows], of_fake)
        near = distances + slack < real_radii[rows, 1:]
        inside += int(near.sum())
        covered[rows] = near.any(axis=1)
        distances -= slack
        precise |= (distances <= real_radii[rows, :1]).any(axis=0)
        recalled[rows] = (distances <= fake_radii[:, 0]).any(axis=1)
    return (
        PrecisionRecall(float(precise.mean()), float(recalled.mean())),
        DensityCoverage(inside / (k_density * m), float(covered.mean())),
    )


def nearest(queries, references, k=1):
    """The nearest references of each query: is a generated image a copy of a training image?

    Args:
        queries, references: arrays `(n, d)` and `(m, d)` of features.
        k: int in 1…m.

    Returns:
        Indices into the references, int64 `(n, k)`, nearest first, and their distances, float64
        `(n, k)`, in the features' units; 0 for an exact copy.

    Raises:
        ValueError: dimensions that differ, no k in that range, or values that are not finite.
    """
    both = check_features(queries, references, least=1)
    queries, references = (x.astype("float64") for x in both)
    if not 1 <= k <= len(references):
        raise ValueError(f"`k` must be from 1 to {len(references)}. Received: k={k!r}")
    moved, parts = _centred(references, queries)
    lengths, of_parts = (np.einsum("nd,nd->n", x, x) for x in (moved, parts))
    indices, found = np.empty((len(queries), k), np.int64), np.empty((len(queries), k))
    for rows in blocks(len(queries), max(len(moved), k * moved.shape[1])):
        distances = _squared(parts[rows], moved, of_parts[rows], lengths)
        chosen = np.argpartition(distances, k - 1, axis=1)[:, :k]
        # Once more for the few chosen, as the sum of squared differences: a copy is 0 exactly.
        exact = np.linalg.norm(queries[rows][:, None] - references[chosen], axis=2)
        order = np.lexsort((chosen, exact), axis=1)
        indices[rows] = np.take_along_axis(chosen, order, axis=1)
        found[rows] = np.take_along_axis(exact, order, axis=1)
    return indices, found


def _centred(first, second):
    """Both less the first's median, which no outlier moves: closer to 0, rounding loses less."""
    centre = np.median(first.astype("float64"), axis=0)
    return first - centre, second - centre


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
        np.fill_diagonal(distances[:, rows], np.inf)
        kept = np.partition(distances, sorted({k - 1 for k in ks}), axis=1)
        radii[rows] = kept[:, [k - 1 for k in ks]]
    return radii
