"""How far a set of generated images is from a set of real ones, given features of both."""

import math

import numpy as np
from scipy.special import rel_entr

from ganlib.metrics.checks import check_features
from ganlib.metrics.kernel import kernel_distance
from ganlib.metrics.neighbours import compare

MOST = 20_000  # images of each set, drawn at random, for scores whose cost grows with the square


def frechet_distance(first, second):
    """Squared Fréchet distance between Gaussians fitted to two sets of features.

    |m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½), with full covariances (Heusel et al., 2017); FID only
    over Inception's pool features. Biased upwards on small samples: compare only at equal n.

    The features are finite arrays `(n, d)` and `(m, d)`, n, m ≥ 2.
    """
    (mean1, root1), (mean2, root2) = map(_gaussian, check_features(first, second))
    # With C1 = R1ᵀ R1 and C2 = R2ᵀ R2, tr (C1 C2)^½ is the sum of the singular values of R1 R2ᵀ:
    # no complex roots by rounding, and exact where there are fewer rows than features.
    cross = np.linalg.svd(root1 @ root2.T, compute_uv=False).sum()
    spread = np.square(root1).sum() + np.square(root2).sum() - 2 * cross
    return float(max(np.square(mean1 - mean2).sum() + spread, 0.0))


def _gaussian(features):
    """Mean, and R `(at most d, d)` with Rᵀ R the covariance; in memory of the order of d²."""
    n, d = features.shape
    mean = features.mean(axis=0, dtype="float64")
    if n <= d:
        return mean, (features - mean) / math.sqrt(n - 1)
    covariance = np.zeros((d, d))
    for start in range(0, n, d):
        block = features[start : start + d] - mean
        covariance += block.T @ block / (n - 1)
    values, vectors = np.linalg.eigh(covariance)
    return mean, (vectors * np.sqrt(np.clip(values, 0, None))).T


def inception_score(probabilities):
    """exp of the mean KL divergence of each image's class probabilities from their mean.

    From 1 (all images look alike) to the number of classes (each certain, all as often), over all
    images at once (Salimans et al., 2016); "Inception Score" only if Inception classifies. Takes
    an array `(n, classes)`. ValueError: rows do not sum to 1.
    """
    p = np.asarray(probabilities, "float64")
    if p.ndim != 2 or not len(p) or p.min() < 0 or not np.allclose(p.sum(axis=1), 1, atol=1e-3):
        raise ValueError(
            "`probabilities` must be rows that sum to 1 (apply softmax to logits first). "
            f"Received: shape {p.shape}, sums {np.ravel(p.sum(axis=-1))[:3]}"
        )
    return float(np.exp(rel_entr(p, p.mean(axis=0)).sum(axis=1).mean()))


def frechet_name(network):
    """What the Fréchet distance may be called: FID over Inception alone."""
    return "FID" if network.name == "inception_v3" else f"Fréchet distance ({network.title})"


def evaluate(real_features, fake_features, network, probabilities=None, seed=0):
    """All scores of a set of generated images, with the network, resize and n they depend on.

    Args:
        real_features, fake_features: arrays `(n, d)`, of real images that the GAN was not trained
            on, and `(m, d)`; finite, n, m ≥ 6.
        network: `ganlib.features.networks.Network` that made both; it gives the name and resize.
        probabilities: array `(m, classes)`, what its classifier makes of the generated images.
        seed: int, for the draw of `MOST` images for the scores over pairs.

    Returns:
        dict with "kid", "kid_standard_error", "frechet" (called what `frechet_name` says),
        "inception_score" (None without probabilities), "precision", "recall", "density",
        "coverage"; "network", "resize", "n_real", "n_fake"; and "cautions", sentences on which
        numbers mislead at these sizes.
    """
    real_features, fake_features = np.asarray(real_features), np.asarray(fake_features)
    frechet = frechet_distance(real_features, fake_features)
    rng = np.random.default_rng(seed)
    real, fake = (
        x if len(x) <= MOST else x[np.sort(rng.choice(len(x), MOST, replace=False))]
        for x in (real_features, fake_features)
    )
    kid, (n, m) = kernel_distance(real, fake), (len(real_features), len(fake_features))
    classified = math.inf if probabilities is None else len(probabilities)
    return {
        "kid": kid.value,
        "kid_standard_error": kid.standard_error,
        "frechet": frechet,
        "inception_score": None if probabilities is None else inception_score(probabilities),
        **compare(real, fake),
        "network": network.title,
        "resize": f"{network.resize}, to {network.size}×{network.size}",
        "n_real": n,
        "n_fake": m,
        "cautions": _cautions(min(n, m), real.shape[1], min(len(real), len(fake)), classified),
    }


def _cautions(n, d, pairs, classified):
    rank = f"a covariance of {d:,} features has no full rank, and " if n <= d else ""
    frechet = "the Fréchet distance comes out too large; read KID (Chong & Forsyth, 2020)"
    kid = "the kernel distance's standard error is itself uncertain (Bińkowski et al., 2018)"
    precision = "precision and recall depend on n; compare at equal n (Kynkäänniemi et al., 2019)"
    density = "density and coverage scatter; coverage depends on n / m (Naeem et al., 2020)"
    inception = "the Inception Score comes out too low (Chong & Forsyth, 2020)"
    # Sample size, from which size on the number may be read plainly, and why.
    limits = [(n, max(2048, d + 1), rank + frechet), (pairs, 500, kid), (pairs, 1000, precision)]
    limits += [(pairs, 1000, density), (classified, 5000, inception)]
    said = [f"n = {n:,} is below {least:,}: {what}." for n, least, what in limits if n < least]
    return said + [f"Scores over pairs are of {pairs:,} images drawn at random."] * (pairs < n)
