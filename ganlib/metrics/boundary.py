"""The boundary GAN's scores: s1 for real pictures, s2 for the boundary, s3 for likeness.

The write-up's best are s1 0.9982962608337402, s2 0.9999310374259949, s3 0.6801146268844604 and
score 0.6789090664113528, which is their product to the last digit. The course's own scorer is not
public: s1 and s2 follow from its text and its loss, s3 is this project's definition.
"""

import typing

import numpy as np
from threadpoolctl import threadpool_limits

from ganlib.images import as_unit, check_range, convert
from ganlib.metrics.checks import blocks

SIMILARITIES = ("correlation", "cosine", "plain_cosine", "ssim")
EMPTY = 1e-6  # root mean square, of the range's width, up to which a vector is rounding alone
WINDOW, SIGMA = 11, 1.5  # SSIM's Gaussian window, in pixels
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # and its constants, for bytes
TILE = 128  # SSIM's pairs at once are fewer by this: they stay in the processor's cache


class NearestSimilarity(typing.NamedTuple):
    """How much generated pictures are like their nearest real ones.

    Attributes:
        value: float in [-1, 1], 1 for copies of real pictures.
        similarity: str, one of `SIMILARITIES`.
        n_real, n_fake: int. The value rises with n_real: compare at equal n_real.
    """

    value: float
    similarity: str
    n_real: int
    n_fake: int


def s1(real_logits):
    """Mean D(x) over real pictures, where D is the sigmoid of the logit.

    Args:
        real_logits: array of any shape, D's logits (no probabilities) of real pictures.

    Returns:
        float in (0, 1), but for rounding.

    Raises:
        ValueError: no logits, or logits that are not finite.
    """
    logits = _check_logits(real_logits, "real_logits")
    small = np.exp(-np.abs(logits))
    return float(np.mean(np.where(logits >= 0, 1.0, small) / (1 + small)))


def s2(fake_logits):
    """Mean of 1 - 4(D(G(z)) - ½)² over generated pictures: 1 on the boundary.

    From the logit l it is 4·sigmoid(l)·sigmoid(-l), exact however far from the boundary.

    Args:
        fake_logits: array of any shape, D's logits (no probabilities) of generated pictures.

    Returns:
        float in (0, 1], but for rounding.

    Raises:
        ValueError: no logits, or logits that are not finite.
    """
    small = np.exp(-np.abs(_check_logits(fake_logits, "fake_logits")))
    return float(np.mean(4 * small / (1 + small) ** 2))


def s3(fake, real, value_range, similarity="correlation"):
    """Mean over generated pictures of the similarity to the nearest real picture.

    All pairs are compared, exactly, a block at a time. The similarities:

    - "correlation", the default, in [-1, 1]: cosine of the pixel vectors after each picture has
      lost its own mean colour. Brightness and colour earn nothing, only detail in its place does.
    - "cosine", in [-1, 1]: of the pixel vectors less the mean picture of `real`, so that what all
      real pictures share earns nothing.
    - "plain_cosine", in [0, 1]: of the pixel vectors. Even noise has most of the score.
    - "ssim", in [-1, 1]: `ganlib.images.ssim`; takes seconds for 500 × 500 pictures of 32×32×3.

    Read each beside its ceiling, real pictures, and its floor, noise. Cells of 32×32×3 of lung
    tissue, 501 of them against 602 of other tiles (300 against 300 for SSIM):

    | similarity   | real | noise | flat | mean |
    |--------------|------|-------|------|------|
    | correlation  | 0.63 | 0.05  | 0.00 | 0.86 |
    | cosine       | 0.61 | 0.31  | 0.77 | 0.59 |
    | plain_cosine | 0.98 | 0.86  | 0.99 | 1.00 |
    | ssim         | 0.43 | 0.04  | 0.46 |      |

    "flat" are the same cells, each of one colour, its mean: all but "correlation" prefer these to
    real ones. "mean" is one picture, the mean of all. To be like the nearest real picture, it pays
    to be smooth and to be typical, whatever the similarity: above the ceiling, s3 does not mean
    better than real. `score_boundary` gives all of these, and "s3_back", which asks for variety.

    Args:
        fake: array `(n, height, width, channels)`, n ≥ 1.
        real: array `(m, height, width, channels)`, m ≥ 2.
        value_range: `ganlib.images.ValueRange` of both, or its name.
        similarity: str, one of `SIMILARITIES`.

    Returns:
        `NearestSimilarity`.

    Raises:
        ValueError: shapes that differ, too few pictures, values outside the range, an unknown
            similarity, or sides below SSIM's window of 11 pixels.
    """
    fake, real = _check_pictures(fake, real, value_range, similarity)
    value = _nearest(fake, real, value_range, similarity)
    return NearestSimilarity(value, similarity, len(real), len(fake))


def most_alike(fake, real, value_range, similarity="correlation"):
    """The real picture that each generated one is most alike.

    Args and errors as of `s3`.

    Returns:
        Indices `(n,)` into `real`, and the similarities `(n,)`, whose mean is s3.
    """
    fake, real = _check_pictures(fake, real, value_range, similarity)
    return _most_alike(fake, real, value_range, similarity)


def s3_ceiling(real, value_range, similarity="correlation"):
    """s3 that real pictures have: each against all others.

    Args and errors as of `s3`, with `real` for `fake`, too.

    Returns:
        `NearestSimilarity`; its n_real is m - 1.
    """
    real, _ = _check_pictures(real, real, value_range, similarity)
    value = _nearest(real, real, value_range, similarity, others=True)
    return NearestSimilarity(value, similarity, len(real) - 1, len(real))


def score_boundary(
    real_logits,
    fake_logits,
    fake,
    real,
    train=None,
    *,
    value_range,
    similarity="correlation",
    seed=0,
):
    """s1, s2, s3 and their product, with what s3 is to be read beside.

    Args:
        real_logits, fake_logits: arrays `(m,)` and `(n,)`, or `(m, 1)` and `(n, 1)`, D's logits of
            `real` and `fake`.
        fake, real, value_range, similarity: as `s3`; real pictures should be held out.
        train: array `(k, height, width, channels)`, what G was trained on, in the same range.
        seed: int, of the noise.

    Returns:
        dict with "s1", "s2", "s3"; "score", exactly s1 * s2 * s3; "similarity"; "n", the number of
        generated pictures, "n_real" and, with `train`, "n_train". To read s3 beside:

        - "s3_real", the ceiling: each real picture against the other m - 1, as many as s3 less one.
        - "s3_noise", the floor: n pictures of uniform noise against `real`.
        - "s3_flat": `fake`, each of one colour, its mean. An s3 no higher owes nothing to detail.
        - "s3_mean": the mean picture of `real`, which a collapsed generator may come to.
        - "s3_back": the other way round, `real` against `fake`: is every real picture matched? Low
          where the generated ones do not vary. With n = m - 1, real pictures have "s3_real".
        - "s3_train", with `train`: `fake` against `train`. Clearly above s3, G copies; but more
          references raise it too, which `s3(real, train, ...)` shows.

    Raises:
        ValueError: as `s1`, `s2` and `s3`, or other than one logit for each picture.
    """
    fake, real = _check_pictures(fake, real, value_range, similarity)
    for logits, pictures in ((real_logits, real), (fake_logits, fake)):
        if np.shape(logits) not in ((len(pictures),), (len(pictures), 1)):
            received = f"logits {np.shape(logits)}, {len(pictures)} pictures"
            raise ValueError(f"There must be one logit for each picture. Received: {received}")
    if train is not None:
        _, train = _check_pictures(fake, train, value_range, similarity, "train")
    how = {"value_range": value_range, "similarity": similarity}
    noise = convert(np.random.default_rng(seed).random(fake.shape), "unit", value_range)
    flat = np.broadcast_to(fake.mean(axis=(1, 2), keepdims=True, dtype="float64"), fake.shape)
    scores = {"s1": s1(real_logits), "s2": s2(fake_logits), "s3": _nearest(fake, real, **how)}
    scores["score"] = scores["s1"] * scores["s2"] * scores["s3"]
    scores["s3_real"] = _nearest(real, real, **how, others=True)
    scores["s3_noise"] = _nearest(noise, real, **how)
    scores["s3_flat"] = _nearest(flat, real, **how)
    scores["s3_mean"] = _nearest(real.mean(axis=0, keepdims=True), real, **how)
    scores["s3_back"] = _nearest(real, fake, **how)
    if train is not None:
        scores |= {"s3_train": _nearest(fake, train, **how), "n_train": len(train)}
    return scores | {"n": len(fake), "n_real": len(real), "similarity": similarity}


def _check_logits(logits, name):
    logits = np.asarray(logits, "float64")
    bad = int((~np.isfinite(logits)).sum())
    if bad or not logits.size:
        raise ValueError(f"`{name}` must be finite. Received: {bad} not so of {logits.size}")
    return logits


def _check_pictures(fake, real, value_range, similarity, name="real"):
    fake, real = np.asarray(fake), np.asarray(real)
    if similarity not in SIMILARITIES:
        raise ValueError(f"`similarity` must be of {SIMILARITIES}. Received: {similarity!r}")
    fit = fake.ndim == real.ndim == 4 and fake.shape[1:] == real.shape[1:]
    if not fit or len(fake) < 1 or len(real) < 2:
        raise ValueError(
            f"`fake` must be (n, height, width, channels) with n ≥ 1, and `{name}` the same with "
            f"n ≥ 2. Received: {fake.shape} and {real.shape}"
        )
    if similarity == "ssim" and min(fake.shape[1:3]) < WINDOW:
        raise ValueError(f"SSIM needs {WINDOW}×{WINDOW} pixels. Received: {fake.shape}")
    check_range(fake, value_range)
    check_range(real, value_range)
    return fake, real


def _nearest(pictures, references, value_range, similarity, others=False):
    """Mean similarity to the nearest reference; `others`: that is not the picture itself."""
    values = _most_alike(pictures, references, value_range, similarity, others)[1]
    return float(values.mean())


def _most_alike(pictures, references, value_range, similarity, others=False):
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
    """Yields slices of `pictures` and their SSIM with all references."""
    pictures, references = (convert(x, value_range, "byte") for x in (pictures, references))
    m = len(references)
    for rows in blocks(len(pictures), m):
        part = pictures[rows]
        total, count = np.zeros((len(part), m)), 0
        for left, right in zip(_windows(part), _windows(references), strict=True):
            count += 1
            for tile in blocks(len(part), m * TILE):
                total[tile] += _window_ssim([x[tile] for x in left], right)
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


def _window_ssim(left, right):
    """SSIM `(n, m)` of one window, of all pairs: Wang et al. (2004), equation 13."""
    (means, variances, values), (others, spreads, patches) = left, right
    luminance = np.outer(2 * means, others) + C1
    luminance /= np.add.outer(means**2 + C1, others**2)
    contrast = (2 * values) @ patches.T + C2
    contrast /= np.add.outer(variances + C2, spreads)
    return luminance * contrast
