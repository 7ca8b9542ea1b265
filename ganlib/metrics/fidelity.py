"""How far a set of generated images is from a set of real ones, given features of both.

What the numbers mean depends on the network that made the features, on the resize before it and on
the sample size, so `evaluate` gives all three beside them.
"""

import typing

import numpy as np

from ganlib.metrics.checks import caution
from ganlib.metrics.kernel import kernel_distance
from ganlib.metrics.moments import Moments, frechet, frechet_distance
from ganlib.metrics.neighbours import compare

__all__ = [
    "Moments",
    "evaluate",
    "frechet_distance",
    "frechet_name",
    "inception_score",
    "split_inception_score",
]
LEAST_FOR_SCORE = 5000


class SplitScore(typing.NamedTuple):
    """Inception Score as papers report it: mean and standard deviation over the splits."""

    mean: float
    deviation: float
    splits: int


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
    return _score(_checked(probabilities))


def split_inception_score(probabilities, splits=10, seed=None):
    """`inception_score` of each of several parts of a set.

    Each part is smaller than the whole, and its score the lower for it: a mean over ten parts of
    5,000 is not the score of 50,000.

    Args:
        probabilities: array `(n, classes)`, rows that sum to 1.
        splits: int in 1…n, parts of equal size, give or take one image.
        seed: int, how the images are shuffled first; None: they keep their order, as in the
            original.

    Returns:
        `SplitScore`; the deviation is that of the population of splits.

    Raises:
        ValueError: rows that are no probabilities, or `splits` out of its range.
    """
    rows = _checked(probabilities)
    if not 1 <= splits <= len(rows):
        raise ValueError(
            f"`splits` must be from 1 to the number of images, {len(rows)}. "
            f"Received: splits={splits}"
        )
    if seed is not None:
        rows = np.random.default_rng(seed).permutation(rows)
    ends = [i * len(rows) // splits for i in range(1, splits)]
    scores = [_score(part) for part in np.split(rows, ends)]
    return SplitScore(float(np.mean(scores)), float(np.std(scores)), splits)


def frechet_name(network):
    """What the Fréchet distance over a network may be called: FID over Inception alone."""
    return "FID" if network.name == "inception_v3" else f"Fréchet distance ({network.title})"


def evaluate(real_features, fake_features, network, probabilities=None, seed=0, most=20_000):
    """All scores of a set of generated images.

    Args:
        real_features: array `(n, d)`, of real images that the GAN was not trained on.
        fake_features: array `(m, d)`, of generated images.
        network: `ganlib.features.networks.Network` that made both; it gives the name and resize.
        probabilities: array `(m, classes)`, what its classifier makes of the generated images.
        seed: int, for the draw of `most`.
        most: int, how many images of each set the scores over pairs (KID, precision, recall,
            density, coverage) see: their cost grows with its square. A larger set is drawn from at
            random, without replacement.

    Returns:
        dict with
        "kid", "kid_standard_error": floats, see `ganlib.metrics.kernel.kernel_distance`,
        "frechet": float, to be called what `frechet_name` says,
        "inception_score": float, of the generated images; None without probabilities,
        "precision", "recall": floats (k = 3), "density", "coverage": floats (k = 5), see
        `ganlib.metrics.neighbours`,
        "network", "resize": str, "n_real", "n_fake": int,
        "cautions": list of str, which numbers mislead at these sample sizes, and why.

    Raises:
        ValueError: features that differ in dimension, fewer than six rows, values that are not
            finite, or rows that are no probabilities.
    """
    real_features, fake_features = np.asarray(real_features), np.asarray(fake_features)
    gaussians = frechet(real_features, fake_features)
    rng = np.random.default_rng(seed)
    real, fake = (_draw(x, most, rng) for x in (real_features, fake_features))
    pairs, (precise, dense) = kernel_distance(real, fake), compare(real, fake)
    cautions = [gaussians.caution, pairs.caution, precise.caution, dense.caution]
    if probabilities is not None:
        what = "the Inception Score comes out too low, and its classes must suit the images"
        source = "Barratt & Sharma, 2018; Chong & Forsyth, 2020"
        cautions.append(caution(len(probabilities), LEAST_FOR_SCORE, what, source))
    if len(real) < len(real_features) or len(fake) < len(fake_features):
        cautions.append(
            "KID, precision, recall, density and coverage are over a random draw of "
            f"{len(real):,} real and {len(fake):,} generated images."
        )
    return {
        "kid": pairs.value,
        "kid_standard_error": pairs.standard_error,
        "frechet": gaussians.value,
        "inception_score": None if probabilities is None else inception_score(probabilities),
        "precision": precise.precision,
        "recall": precise.recall,
        "density": dense.density,
        "coverage": dense.coverage,
        "network": network.title,
        "resize": f"{network.resize}, to {network.size}×{network.size}",
        "n_real": gaussians.n_real,
        "n_fake": gaussians.n_fake,
        "cautions": [text for text in cautions if text],
    }


def _draw(features, most, rng):
    if len(features) <= most:
        return features
    return features[np.sort(rng.choice(len(features), most, replace=False))]


def _checked(probabilities):
    p = np.asarray(probabilities, "float64")
    rows = p.ndim == 2 and len(p) > 0
    if not rows or (p < 0).any() or not np.allclose(p.sum(axis=1), 1, atol=1e-3):
        sums = f", sums from {p.sum(axis=1).min():.4g} to {p.sum(axis=1).max():.4g}" if rows else ""
        raise ValueError(
            "`probabilities` must be rows of class probabilities, one at least, that sum to 1 "
            f"(apply softmax to logits first). Received: shape {p.shape}{sums}"
        )
    return p


def _score(p):
    mean = p.mean(axis=0)
    ratio = np.where(p > 0, p / np.where(mean > 0, mean, 1), 1)
    return float(np.exp((p * np.log(ratio)).sum(axis=1).mean()))
