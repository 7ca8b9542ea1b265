"""The boundary GAN's scores: s1 for real pictures, s2 for the boundary, s3 for likeness.

The write-up's best score, 0.6789090664113528, is the product of its s1, s2 and s3. The course's own
scorer is not public: s1 and s2 follow from its text and its loss, s3 is this project's definition.
"""

import numpy as np
from scipy.special import expit
from threadpoolctl import threadpool_limits

from ganlib.images import ValueRange, check_range, convert
from ganlib.metrics.checks import blocks

SIMILARITIES = ("correlation", "cosine", "plain_cosine", "ssim")
EMPTY = 1e-6  # root mean square, of the range's width, up to which a vector is rounding alone
WINDOW, SIGMA = 11, 1.5  # SSIM's Gaussian window, in pixels
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # and its constants, for bytes
TILE = 128  # SSIM's pairs at once are fewer by this: they stay in the processor's cache


def s1(logits):
    """Mean D(x) over real pictures, in [0, 1], where D is the sigmoid of the finite `logits`."""
    return float(np.mean(expit(_check_logits(logits))))


def s2(logits):
    """Mean of 1 - 4(D(G(z)) - ½)² over generated pictures, in [0, 1]: 1 on the boundary."""
    logits = _check_logits(logits)
    return float(np.mean(4 * expit(logits) * expit(-logits)))  # exact far from the boundary, too


def s3(fake, real, value_range, similarity="correlation"):
    """Mean over generated pictures of the similarity to the nearest real picture.

    "correlation" is the cosine of the pixel vectors after each picture has lost its own mean
    colour; "cosine" that of the pixel vectors less the mean picture of `real`; "plain_cosine" that
    of the pixel vectors; "ssim" is `ganlib.images.ssim`.

    Read it beside real pictures (`s3_ceiling`) and noise: lung cells of 32×32×3 have 0.63 and 0.05
    (cosine 0.61 and 0.31, plain_cosine 0.98 and 0.86, SSIM 0.43 and 0.04). Smooth and typical
    pictures score high, the mean of all cells 0.86: above its ceiling, s3 does not mean better.

    Args:
        fake, real: arrays `(n, height, width, channels)`, n ≥ 1 and `(m, …)`, m ≥ 2.
        value_range: `ganlib.images.ValueRange` of both, or its name.
        similarity: str, one of `SIMILARITIES`.

    Returns:
        float, 1 for copies; it rises with m: compare at equal m.

    Raises:
        ValueError: shapes or a similarity that do not fit, or values outside the range.
    """
    return float(most_alike(fake, real, value_range, similarity)[1].mean())


def most_alike(fake, real, value_range, similarity="correlation"):
    """Indices `(n,)` of the real pictures that are most alike, and s3's similarities `(n,)`."""
    fake, real = _check_pictures(fake, real, value_range, similarity)
    return _most_alike(fake, real, value_range, similarity)


def s3_ceiling(real, value_range, similarity="correlation"):
    """s3 that real pictures have: each against the m - 1 others."""
    real, _ = _check_pictures(real, real, value_range, similarity)
    return float(_most_alike(real, real, value_range, similarity, others=True)[1].mean())


def score_boundary(
    real_logits, fake_logits, fake, real, train=None, *, value_range, similarity, seed=0
):
    """s1, s2, s3 and their product, with what s3 is to be read beside.

    Args:
        real_logits, fake_logits: arrays `(m,)` or `(m, 1)`, D's logits of `real` and `fake`.
        fake, real, value_range, similarity: as `s3`; real pictures should be held out.
        train: array `(k, height, width, channels)`, what G was trained on, in the same range.
        seed: int, of the noise.

    Returns:
        dict with "s1", "s2", "s3", "score", "similarity", "n", "n_real", "n_train", and "s3_real",
        the ceiling: each real picture against the others; "s3_noise", the floor: n pictures of
        uniform noise; "s3_flat": `fake`, each of one colour, its mean, an s3 that owes nothing to
        detail; "s3_mean": the mean picture of `real`, which a collapsed generator may come to;
        "s3_back": `real` against `fake`, low where those do not vary; "s3_train", with `train`:
        `fake` against `train`. Clearly above s3, G copies; but more references raise it, too.

    Raises:
        ValueError: as `s3`, or other than one finite logit for each picture.
    """
    fake, real = _check_pictures(fake, real, value_range, similarity)
    for logits, pictures in ((real_logits, real), (fake_logits, fake)):
        if np.shape(logits) not in ((len(pictures),), (len(pictures), 1)):
            received = f"logits {np.shape(logits)}, {len(pictures)} pictures"
            raise ValueError(f"There must be one logit for each picture. Received: {received}")

    def nearest(pictures, references, others=False):
        return float(_most_alike(pictures, references, value_range, similarity, others)[1].mean())

    noise = convert(np.random.default_rng(seed).random(fake.shape), "unit", value_range)
    flat = np.broadcast_to(fake.mean(axis=(1, 2), keepdims=True, dtype="float64"), fake.shape)
    scores = {"s1": s1(real_logits), "s2": s2(fake_logits), "s3": nearest(fake, real)}
    scores |= {
        "score": scores["s1"] * scores["s2"] * scores["s3"],
        "s3_real": nearest(real, real, others=True),
        "s3_noise": nearest(noise, real),
        "s3_flat": nearest(flat, real),
        "s3_mean": nearest(real.mean(axis=0, keepdims=True), real),
        "s3_back": nearest(real, fake),
    }
    if train is not None:
        trained = _check_pictures(fake, train, value_range, similarity)
        scores |= {"s3_train": nearest(*trained), "n_train": len(train)}
    return scores | {"n": len(fake), "n_real": len(real), "similarity": similarity}


def _check_logits(logits):
    logits = np.asarray(logits, "float64")
    if not logits.size or not np.isfinite(logits).all():
        bad = int((~np.isfinite(logits)).sum())
        raise ValueError(f"Logits must be finite. Received: {bad} not so of {logits.size}")
    return logits


def _check_pictures(fake, real, value_range, similarity):
    fake, real = np.asarray(fake), np.asarray(real)
    if similarity not in SIMILARITIES:
        raise ValueError(f"`similarity` must be of {SIMILARITIES}. Received: {similarity!r}")
    side = WINDOW if similarity == "ssim" else 1
    fit = fake.ndim == real.ndim == 4 and fake.shape[1:] == real.shape[1:]
    if not fit or len(fake) < 1 or len(real) < 2 or min(fake.shape[1:3]) < side:
        raise ValueError(
            "Pictures must be (n, height, width, channels), generated ones with n ≥ 1 and others "
            f"with n ≥ 2, of sides of {side} or more. Received: {fake.shape} and {real.shape}"
        )
    for pictures in (fake, real):
        check_range(pictures, value_range)
    return fake, real


def _most_alike(pictures, references, value_range, similarity, others=False):
    """Index and similarity of the nearest reference; with `others` never the picture itself."""
    pairs = _structural if similarity == "ssim" else _cosines
    indices, best = np.empty(len(pictures), int), np.empty(len(pictures))
    # SSIM's products are small and many: threads would spend five times as long on waiting.
    with threadpool_limits(1 if similarity == "ssim" else None, "blas"):
        for rows, values in pairs(pictures, references, value_range, similarity):
            if others:
                np.fill_diagonal(values[:, rows], -np.inf)
            indices[rows], best[rows] = values.argmax(axis=1), values.max(axis=1)
    return indices, np.clip(best, -1, 1)


def _cosines(pictures, references, value_range, similarity):
    """Yields slices of `pictures` and their cosines with all references."""
    span = ValueRange(value_range)

    def unit(images):
        return (np.asarray(images, "float64") - span.low) / (span.high - span.low)

    centre = unit(references).mean(axis=0) if similarity == "cosine" else 0.0

    def directions(images):
        vectors = unit(images) - centre
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
    m = len(references)
    for rows in blocks(len(pictures), m):
        part = pictures[rows]
        total, count = np.zeros((len(part), m)), 0
        for left, right in zip(_windows(part), _windows(references), strict=True):
            (means, variances, values), count = right, count + 1
            for tile in blocks(len(part), m * TILE):
                mean, variance, value = (x[tile] for x in left)
                luminance = np.outer(2 * mean, means) + C1
                luminance /= np.add.outer(mean**2 + C1, means**2)
                contrast = (2 * value) @ values.T + C2
                contrast /= np.add.outer(variance + C2, variances)
                total[tile] += luminance * contrast
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
