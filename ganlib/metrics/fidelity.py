"""How far a set of generated images is from a set of real ones, given features of both.

What the numbers mean depends on the network that made the features and on the sample size, so
both belong beside every number that is shown.
"""

import numpy as np


def inception_score(probabilities):
    """exp of the mean KL divergence of each image's class probabilities from their mean.

    Salimans et al., 2016, over whichever classifier made the probabilities; the mean runs over
    images. Called "Inception Score" only when that classifier is Inception.

    Args:
        probabilities: array `(n, classes)`, rows that sum to 1.

    Returns:
        float from 1 (all images look alike to the classifier, or it can't tell) to the number of
        classes (each image certain, all classes equally often).

    Raises:
        ValueError: rows that are no probabilities.
    """
    p = np.asarray(probabilities, "float64")
    rows = p.ndim == 2 and len(p) > 0
    if not rows or (p < 0).any() or not np.allclose(p.sum(axis=1), 1, atol=1e-3):
        sums = f", sums from {p.sum(axis=1).min():.4g} to {p.sum(axis=1).max():.4g}" if rows else ""
        raise ValueError(
            "`probabilities` must be rows of class probabilities, one at least, that sum to 1 "
            f"(apply softmax to logits first). Received: shape {p.shape}{sums}"
        )
    mean = p.mean(axis=0)
    ratio = np.where(p > 0, p / np.where(mean > 0, mean, 1), 1)
    return float(np.exp((p * np.log(ratio)).sum(axis=1).mean()))


def frechet_distance(first, second):
    """Squared Fréchet (2-Wasserstein) distance between Gaussians fitted to two sets of features.

    |m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½), with full covariances (Heusel et al., 2017). It is FID
    only over Inception's pool features. Biased upwards on small samples: compare only at equal n,
    beside the distance between two sets of real images.

    Args:
        first: array `(n, d)` of features.
        second: array `(m, d)` of features.

    Returns:
        float ≥ 0.

    Raises:
        ValueError: dimensions that differ, fewer than two rows, or values that are not finite.
    """
    first, second = np.asarray(first, "float64"), np.asarray(second, "float64")
    fit = first.ndim == second.ndim == 2 and first.shape[1] == second.shape[1]
    if not fit or min(len(first), len(second)) < 2:
        raise ValueError(
            "Features must be (n, d) and (m, d) with n, m ≥ 2. Received: "
            f"{first.shape} and {second.shape}"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("Features must be finite. Received: NaN or infinity")
    difference = first.mean(axis=0) - second.mean(axis=0)
    a, b = np.atleast_2d(np.cov(first.T)), np.atleast_2d(np.cov(second.T))
    # tr (A B)^½ = tr (A^½ B A^½)^½. The right side is symmetric: no complex roots by rounding.
    values, vectors = np.linalg.eigh(a)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ b @ root), 0, None)).sum()
    return float(max(difference @ difference + np.trace(a) + np.trace(b) - 2 * cross, 0.0))
