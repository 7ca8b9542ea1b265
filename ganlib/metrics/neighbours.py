"""Scores by nearest neighbours: quality and diversity apart, and copies of training images."""

import numpy as np

from ganlib.metrics.checks import blocks, check_features

KS = (3, 5)  # which neighbour precision and recall, and density and coverage go by
# What rounding does to a squared distance, over the sum of the two squared lengths that it is made
# of: 2e-15 is the most seen with up to 2,048 features. Distances that differ by less are equal.
ROUNDING = 64 * np.finfo("float64").eps


def compare(real, fake):
    """Precision, recall, density and coverage of generated images.

    A fake is precise if it is at most as far from some real image as that one's third nearest real
    neighbour; recall is the same with the sets exchanged (Kynkäänniemi et al., 2019). Density and
    coverage count where a fake is nearer to a real image than its fifth nearest real neighbour
    (Naeem et al., 2020): on average 1 and 1 - 2⁻⁵ for equal distributions, density higher where
    fakes crowd.

    Args:
        real, fake: arrays `(n, d)` and `(m, d)` of features, finite, n, m ≥ 6.

    Returns:
        dict of floats `precision`, `recall`, `density`, `coverage`.
    """
    real, fake = _centred(*check_features(real, fake, least=max(KS) + 1))
    of_real, of_fake = (np.einsum("nd,nd->n", x, x) for x in (real, fake))
    real_radii, fake_radii = _radii(real, of_real), _radii(fake, of_fake)
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
    shares = {"precision": precise, "recall": recalled, "density": inside / (KS[1] * m)}
    return {key: float(np.mean(x)) for key, x in {**shares, "coverage": covered}.items()}


def nearest(queries, references, k=1):
    """The nearest references of each query: is a generated image a copy of a training image?

    Args:
        queries, references: arrays `(n, d)` and `(m, d)` of features, finite.
        k: int in 1…m.

    Returns:
        Indices into the references, int64 `(n, k)`, nearest first, and their distances, float64
        `(n, k)`, in the features' units; 0 for an exact copy.
    """
    both = check_features(queries, references, least=1)
    queries, references = (x.astype("float64") for x in both)
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


def _radii(x, of_x):
    """Squared distances `(n, 2)` of each row to its third and fifth nearest other row."""
    radii, ks = np.empty((len(x), 2)), [k - 1 for k in KS]
    for rows in blocks(len(x), len(x)):
        distances = _squared(x[rows], x, of_x[rows], of_x)
        np.fill_diagonal(distances[:, rows], np.inf)
        radii[rows] = np.partition(distances, ks, axis=1)[:, ks]
    return radii
