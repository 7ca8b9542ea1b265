"""The boundary GAN's scores: s1 for real pictures, s2 for the boundary, s3 for likeness.

The course's own scorer is not public: s1 and s2 follow from its text, s3 is this project's.
"""

import numpy as np
from scipy.special import expit
from threadpoolctl import threadpool_limits

from ganlib.images import as_unit, check_range, convert
from ganlib.metrics.checks import blocks

SIMILARITIES = ("correlation", "cosine", "plain_cosine", "ssim")
EMPTY = 1e-6  # root mean square, of the range's width, up to which a vector is rounding alone
WINDOW, SIGMA = 11, 1.5  # SSIM's Gaussian window, in pixels
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # and its constants, for bytes


def s1(logits):
    """Mean D(x) over real pictures, in [0, 1], where D is the sigmoid of the finite `logits`."""
    return float(np.mean(expit(_check_logits(logits))))


def s2(logits):
    """Mean of 1 - 4(D(G(z)) - ½)² over generated pictures, in [0, 1]: 1 on the boundary."""
    logits = _check_logits(logits)
    return float(np.mean(4 * expit(logits) * expit(-logits)))  # exact far from the boundary, too


def s3(fake, real, value_range, similarity="correlation"):
    """Mean over generated pictures of the similarity to the nearest real picture.

    Read it beside real pictures (`s3_ceiling`) and noise. Smooth and typical pictures score high:
    above its ceiling, s3 does not mean better than real.

    Args:
        fake, real: arrays `(n, height, width, channels)` and `(m, …)`.
        value_range: `ganlib.images.ValueRange` of both, or its name.
        similarity: "plain_cosine", the cosine of the pixel vectors; "cosine", of those less the
            mean picture of `real`; "correlation", of those less each picture's own mean colour;
            "ssim", `ganlib.images.ssim`.

    Returns:
        float, 1 for copies; it rises with m: compare at equal m.
    """
    return float(most_alike(fake, real, value_range, similarity)[1].mean())


def s3_ceiling(real, value_range, similarity="correlation"):
    """s3 that real pictures have: each against the m - 1 others."""
    return float(most_alike(real, real, value_range, similarity, others=True)[1].mean())


def most_alike(fake, real, value_range, similarity="correlation", others=False):
    """Indices `(n,)` of the real pictures that are most alike, and s3's similarities `(n,)`.

    With `others` the sets are one, and no picture is compared with itself.
    """
    fake, real = np.asarray(fake), np.asarray(real)
    if similarity not in SIMILARITIES:
        raise ValueError(f"`similarity` must be of {SIMILARITIES}. Received: {similarity!r}")
    side = WINDOW if similarity == "ssim" else 1
    fit = fake.ndim == real.ndim == 4 and fake.shape[1:] == real.shape[1:]
    if not fit or min(len(fake), len(real)) < 1 + others or min(fake.shape[1:3]) < side:
        raise ValueError(
            f"Pictures must be (n, height, width, channels) with n ≥ {1 + others} and sides of "
            f"{side} or more. Received: {fake.shape} and {real.shape}"
        )
    check_range(fake, value_range)
    check_range(real, value_range)
    pairs = _structural if similarity == "ssim" else _cosines
    indices, best = np.empty(len(fake), int), np.empty(len(fake))
    # SSIM's products are small and many: threads would spend five times as long on waiting.
    with threadpool_limits(1 if similarity == "ssim" else None, "blas"):
        for rows, values in pairs(fake, real, value_range, similarity):
            if others:
                np.fill_diagonal(values[:, rows], -np.inf)
            indices[rows], best[rows] = values.argmax(axis=1), values.max(axis=1)
    return indices, np.clip(best, -1, 1)


def score_boundary(
    real_logits, fake_logits, fake, real, train=None, *, value_range, similarity, seed=0
):
    """s1, s2, s3 and their product, with what s3 is to be read beside.

    Args:
        real_logits, fake_logits: arrays `(m,)` or `(m, 1)`, D's of `real` and `fake`, finite.
        fake, real, value_range, similarity: as `s3`; real pictures should be held out.
        train: array `(k, height, width, channels)`, what G was trained on, in the same range.
        seed: int, of the noise.

    Returns:
        dict with "s1", "s2", "s3", "score", "similarity", "n", "n_real", "n_train"; "s3_real", the
        ceiling; "s3_noise", the floor; "s3_flat", of `fake`, each of one colour; "s3_mean", of the
        mean of `real`; "s3_back", `real` against `fake`, low where those do not vary; "s3_train",
        `fake` against `train`: clearly above s3, G copies; but more references raise it, too.
    """
    for logits, pictures in ((real_logits, real), (fake_logits, fake)):
        shape, n = np.shape(logits), len(pictures)
        if shape not in ((n,), (n, 1)):
            raise ValueError(f"Pictures have one logit each. Received: logits {shape}, n = {n}")

    def nearest(pictures, references, others=False):
        return float(most_alike(pictures, references, value_range, similarity, others)[1].mean())

    noise = convert(np.random.default_rng(seed).random(fake.shape), "unit", value_range)
    flat = np.broadcast_to(fake.mean(axis=(1, 2), keepdims=True, dtype="float64"), fake.shape)
    factors = {"s1": s1(real_logits), "s2": s2(fake_logits), "s3": nearest(fake, real)}
    scores = factors | {
        "score": factors["s1"] * factors["s2"] * factors["s3"],
        "s3_real": nearest(real, real, others=True),
        "s3_noise": nearest(noise, real),
        "s3_flat": nearest(flat, real),
        "s3_mean": nearest(real.mean(axis=0, keepdims=True), real),
        "s3_back": nearest(real, fake),
    }
    if train is not None:
        scores |= {"s3_train": nearest(fake, train), "n_train": len(train)}
    return scores | {"n": len(fake), "n_real": len(real), "similarity": similarity}


def _check_logits(logits):
    logits = np.asarray(logits, "float64")
    if not logits.size or not np.isfinite(logits).all():
        raise ValueError(f"Logits must be finite, one at least. Received: {logits}")
    return logits


def _cosines(pictures, references, value_range, similarity):
    """Yields slices of `pictures` and their cosines with all references."""
    centre = as_unit(references, value_range).mean(axis=0) if similarity == "cosine" else 0.0

    def directions(images):
        vectors = as_unit(images, value_range) - centre
        if similarity == "correlation":
            vectors -= vectors.mean(axis=(1, 2), keepdims=True)
        vectors = vectors.reshape(len(images), -1)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        lengths[lengths <= EMPTY * np.sqrt(vectors.shape[1])] = np.inf  # cosines of 0
        return vectors / lengths

    right = directions(references)
    for rows in blocks(len(pictures), max(right.shape)):
        yield rows, directions(pictures[rows]) @ right.T


def _structural(pictures, references, value_range, similarity):
    """Yields slices of `pictures` and their SSIM with all references (Wang et al., 2004)."""
    pictures, references = (convert(x, value_range, "byte") for x in (pictures, references))
    for rows in blocks(len(pictures), len(references)):
        total, count = 0.0, 0
        for left, right in zip(_windows(pictures[rows]), _windows(references), strict=True):
            (mean, variance, value), (means, variances, values) = left, right
            luminance = np.outer(2 * mean, means) + C1
            luminance /= np.add.outer(mean**2 + C1, means**2)
            contrast = (2 * value) @ values.T + C2
            contrast /= np.add.outer(variance + C2, variances)
            total, count = total + luminance * contrast, count + 1
        yield rows, total / count


def _windows(images):
    """Yields all images' means, variances and root-weighted deviations, for each window."""
    line = np.exp(-0.5 * ((np.arange(WINDOW) - WINDOW // 2) / SIGMA) ** 2)
    weights = np.outer(line, line).ravel() / line.sum() ** 2
    height, width, channels = images.shape[1:]
    for row, column, channel in np.ndindex(height - WINDOW + 1, width - WINDOW + 1, channels):
        window = images[:, row : row + WINDOW, column : column + WINDOW, channel]
        values = window.reshape(len(images), -1).astype("float64")
        means = values @ weights
        values = (values - means[:, None]) * np.sqrt(weights)
        yield means, np.einsum("np,np->n", values, values), values
