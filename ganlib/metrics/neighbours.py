"""Scores by nearest neighbours: quality and diversity apart, and copies of training images."""

import numpy as np

from ganlib.metrics.checks import blocks, check_features

KS = (3, 5)  # which neighbour precision and recall, and density and coverage go by
# Distances are equal that differ by less than this share of the two squared lengths in them.
ROUNDING = 64 * np.finfo("float64").eps


def compare(real, fake):
    """Precision, recall, density and coverage of generated images, as a dict.

    A fake is precise if it is at most as far from some real image as that one's third nearest real
    neighbour; recall is the same with the sets exchanged (Kynkäänniemi et al., 2019). Density and
    coverage count fakes that are nearer to a real image than its fifth nearest (Naeem et al.,
    2020): 1 and 1 - 2⁻⁵ on average for equal distributions. The features are finite arrays `(n, d)`
    and `(m, d)`, n, m ≥ 6.
    """
    real, fake, of_real, of_fake = _centred(*check_features(real, fake, least=max(KS) + 1))
    real_radii, fake_radii = _radii(real, of_real), _radii(fake, of_fake)
    precise, inside = np.zeros(len(fake), bool), 0
    recalled, covered = np.zeros((2, len(real)), bool)
    for rows in blocks(len(real), len(fake)):
        distances = _squared(real[rows], fake, of_real[rows], of_fake)
        # Each pair's own: by the largest, one outlier would make all distances equal.
        slack = ROUNDING * np.add.outer(of_real[rows], of_fake)
        near = distances + slack < real_radii[rows, 1:]
        inside += int(near.sum())
        covered[rows] = near.any(axis=1)
        distances -= slack
        precise |= (distances <= real_radii[rows, :1]).any(axis=0)
        recalled[rows] = (distances <= fake_radii[:, 0]).any(axis=1)
    shares = {"precision": precise, "recall": recalled, "density": inside / (KS[1] * len(fake))}
    return {key: float(np.mean(x)) for key, x in {**shares, "coverage": covered}.items()}


def nearest(queries, references):
    """The nearest reference of each query: is a generated image a copy of a training image?

    Of finite features `(n, d)` and `(m, d)`. Returns indices into the references, int64 `(n,)`, and
    their distances, float64 `(n,)`; 0 for an exact copy.
    """
    queries, references = check_features(queries, references, least=1)
    moved, parts, lengths, of_parts = _centred(references, queries)
    indices = np.empty(len(queries), np.int64)
    for rows in blocks(len(queries), len(moved)):
        indices[rows] = _squared(parts[rows], moved, of_parts[rows], lengths).argmin(axis=1)
    # Once more, as the sum of squared differences: a copy is 0 exactly.
    return indices, np.linalg.norm(queries.astype("float64") - references[indices], axis=1)


def _centred(first, second):
    """Both less the first's median, and their rows' squared lengths."""
    # Closer to 0, rounding loses less; and no outlier moves a median.
    centre = np.median(first.astype("float64"), axis=0)
    both = first - centre, second - centre
    return *both, *(np.einsum("nd,nd->n", x, x) for x in both)


def _squared(x, y, of_x, of_y):
    """Squared distances `(n, m)` of rows of x and y, whose squared lengths are given."""
    return -2 * (x @ y.T) + of_x[:, None] + of_y


def _radii(x, of_x):
    """Squared distances `(n, 2)` of each row to its third and fifth nearest other row."""
    radii, ks = np.empty((len(x), 2)), [k - 1 for k in KS]
    for rows in blocks(len(x), len(x)):
        distances = _squared(x[rows], x, of_x[rows], of_x)
        np.fill_diagonal(distances[:, rows], np.inf)
        radii[rows] = np.partition(distances, ks, axis=1)[:, ks]
    return radii
