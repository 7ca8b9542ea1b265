"""Scores of pictures and masks: boundary GANs, segmentation, super-resolution."""

import types
from unittest import mock

import keras
import numpy as np
import pytest
from scipy.special import expit
from skimage import data

from ganlib import images
from ganlib.data import DataError, Images
from ganlib.metrics import boundary, checks
from ganlib.metrics import super_resolution as metrics
from ganlib.metrics.boundary import SIMILARITIES, s1, s2, s3, s3_ceiling, score_boundary
from ganlib.metrics.segmentation import Jaccard, baselines, score_masks


def pictures(n, seed=0):
    """Smooth random pictures in [0, 1]: neighbouring pixels are alike, brightness differs."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((n, 3, 3, 3)).repeat(5, axis=1).repeat(5, axis=2)
    return 0.7 * coarse[:, :12, :13] + 0.3 * rng.random((n, 12, 13, 3))


def by_loops(fake, real, similarity):
    """The similarity of each pair, as the definitions say it."""

    def cosine(x, y):
        return np.sum(x * y) / np.sqrt(np.sum(x * x) * np.sum(y * y))

    mean = real.mean(axis=0)
    pair = {
        "cosine": lambda x, y: cosine(x - mean, y - mean),
        "plain_cosine": cosine,
        "correlation": lambda x, y: cosine(x - x.mean(axis=(0, 1)), y - y.mean(axis=(0, 1))),
        "ssim": lambda x, y: images.ssim(x, y, "unit", check=False),
    }[similarity]
    return np.array([[pair(x, y) for y in real] for x in fake])


def test_s1_and_s2():
    logits = np.random.default_rng(0).normal(0, 4, (50, 1))
    d = expit(logits)
    assert s1(logits) == pytest.approx(d.mean(), rel=1e-14)
    assert s2(logits) == pytest.approx((1 - 4 * (d - 0.5) ** 2).mean(), rel=1e-12)
    # Not computed in the network's precision: in float32, 1 - 4(d - ½)² is 0 here.
    assert s2(np.full(3, 20, "float32")) == pytest.approx(4 * np.exp(-20), rel=1e-8)
    with pytest.raises(ValueError, match=r"Logits must be finite.* Received: "):
        s1([np.nan, 1.0])


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("block", [1, checks.BLOCK])
def test_s3_by_double_loop(similarity, block):
    fake, real = pictures(7, 1), pictures(5, 2)
    with mock.patch.object(checks, "BLOCK", block):
        found = s3(fake, real, "unit", similarity)
        ceiling = s3_ceiling(real, "unit", similarity)
    wanted = by_loops(fake, real, similarity).max(axis=1).mean()
    assert found == pytest.approx(wanted, abs=1e-12)
    pairs = by_loops(real, real, similarity)
    np.fill_diagonal(pairs, -np.inf)
    assert ceiling == pytest.approx(pairs.max(axis=1).mean(), abs=1e-12)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_s3_of_copies_in_another_range(similarity):
    real = images.convert(pictures(9), "unit", "signed")
    indices, values = boundary.most_alike(real[[4, 2]], real, "signed", similarity)
    assert indices.tolist() == [4, 2]
    assert values == pytest.approx(1, abs=1e-12)


def test_score_boundary():
    rng = np.random.default_rng(3)
    fake, real, train = pictures(4, 1), pictures(9, 2), pictures(5, 3)
    logits = rng.normal(3, 1, (9, 1)), rng.normal(0, 1, 4)
    how = {"value_range": "unit", "similarity": "correlation"}
    scores = score_boundary(*logits, fake, real, train, **how)
    flat = np.broadcast_to(fake.mean(axis=(1, 2), keepdims=True), fake.shape)

    def value(*pair):
        return pytest.approx(s3(*pair, "unit"), abs=1e-12)

    assert abs(scores.pop("s3_noise")) < scores["s3"]
    assert scores == {
        "s1": s1(logits[0]),
        "s2": s2(logits[1]),
        "s3": value(fake, real),
        "score": scores["s1"] * scores["s2"] * scores["s3"],
        "s3_real": s3_ceiling(real, "unit"),
        "s3_flat": value(flat, real),
        "s3_mean": value(real.mean(axis=0, keepdims=True), real),
        "s3_back": value(real, fake),
        "s3_train": value(fake, train),
        "n_train": 5,
        "n": 4,
        "n_real": 9,
        "similarity": "correlation",
    }
    with pytest.raises(ValueError, match=r"Received: logits \(3, 2\), n = 4"):
        score_boundary(np.ones(9), np.ones((3, 2)), fake, real, **how)


def test_refused_pictures():
    for fake, real, similarity, message in (
        (pictures(3), pictures(3)[:, :11], "cosine", r"Received: \(3, 12, 13, 3\) and \(3, 11"),
        (pictures(3) * 255, pictures(3), "cosine", 'declared "unit".*minimum='),
    ):
        with pytest.raises(ValueError, match=message):
            s3(fake, real, "unit", similarity)


def a_set(n=6, size=(8, 5)):
    """Logits that know something of their masks: both float32 `(n, height, width, 1)`."""
    rng = np.random.default_rng(0)
    masks = (rng.uniform(size=(n, *size, 1)) < 0.3).astype("float32")
    return rng.normal(2 * masks - 1, 2).astype("float32"), masks


def overlap(kind, found, masks):
    found = found.astype("float64")
    intersection, areas = (found * masks).sum(), found.sum() + masks.sum()
    return 2 * intersection / areas if kind == "dice" else intersection / (areas - intersection)


def measure(metric, logits, masks, batch_size=6):
    metric.reset_state()
    for start in range(0, len(masks), batch_size):
        batch = slice(start, start + batch_size)
        metric.update_state(masks[batch], logits[batch])
    return float(metric.result())


@pytest.mark.backend
@pytest.mark.parametrize("threshold", [0.5, 0.2, None])
def test_metric_is_of_the_whole_set(threshold):
    logits, masks = a_set()
    p = expit(logits.astype("float64"))
    expected = pytest.approx(
        overlap("jaccard", p if threshold is None else p > threshold, masks), 1e-6
    )
    metric = Jaccard(threshold)
    for batch_size in (1, 4, 6):
        assert measure(metric, logits, masks, batch_size) == expected
    for dtype, white in (("bool", 1), ("uint8", 1), ("uint8", 255), ("float32", 255)):
        assert measure(metric, logits, (masks * white).astype(dtype)) == expected
    for wrong in (masks * 2, masks - 1, masks * np.nan, masks * 127):
        assert np.isnan(measure(metric, logits, wrong))
    logits[2, 3, 1] = np.nan
    assert np.isnan(measure(metric, logits, masks, 1))  # and is not forgotten


@pytest.mark.parametrize("threshold", [0.5, None])
def test_nothing_to_find(threshold):
    metric, empty = Jaccard(threshold), np.zeros((1, 4, 4, 1), "float32")
    assert measure(metric, empty - 200, empty) == 1.0  # of which float32's sigmoid is 0
    assert measure(metric, empty - 20, empty) == (0.0 if threshold is None else 1.0)
    assert measure(metric, empty + 200, empty) == 0.0  # found where nothing is
    p = np.array([[[0.0, 1e-9]]])
    scores = [score_masks(x, p * 0) for x in (p * 0, p)]
    assert [(x["jaccard"], x["dice"]) for x in scores] == [(1, 1), (1, 1)]
    assert [(x["jaccard_soft"], x["dice_soft"]) for x in scores] == [(1, 1), (0, 0)]


@pytest.mark.backend
def test_metrics_in_fit():
    logits, masks = a_set()
    model = keras.Sequential([keras.Input((8, 5, 1)), keras.layers.Identity()])
    metrics = [Jaccard(threshold) for threshold in (0.5, None)]
    model.compile(loss="mse", metrics=metrics)
    scores = score_masks(expit(logits.astype("float64")), masks)
    truth = (masks * 255).astype("uint8")
    made = model.evaluate(logits, truth, batch_size=4, verbose=0, return_dict=True)
    for name in ("jaccard", "jaccard_soft"):
        assert made[name] == pytest.approx(scores[name], rel=1e-5)
    with pytest.raises(ValueError, match="same shape"):
        Jaccard().update_state(masks[..., 0], logits)
    with pytest.raises(ValueError, match="knows no sample weights"):
        Jaccard().update_state(masks, logits, sample_weight=np.ones(6))
    with pytest.raises(ValueError, match=r"`threshold` must lie in \(0, 1\).*1.0"):
        Jaccard(1.0)


def test_score_masks_by_hand():
    pairs = [a_set(1, size) for size in ((4, 4), (7, 3), (2, 9))]  # of different sizes
    p, masks = [expit(x)[0] for x, _ in pairs], [m[0] for _, m in pairs]
    flat = [np.concatenate([x.ravel() for x in xs]) for xs in (p, masks)]
    scores = score_masks(p, masks, 0.2)
    for kind in ("jaccard", "dice"):
        assert scores[kind] == pytest.approx(overlap(kind, flat[0] > 0.2, flat[1]))
        assert scores[f"{kind}_soft"] == pytest.approx(overlap(kind, *flat))
    assert (scores["foreground"], scores["n"]) == (pytest.approx(flat[1].mean()), 3)


@pytest.mark.parametrize(("percent", "share"), [(0, 0.0), (0, 0.2), (7, 0.6), (100, 0.5)])
def test_baselines_are_scores_of_constant_pictures(percent, share):
    masks = np.repeat([1, 0], [percent, 100 - percent]).reshape(1, 10, 10, 1)
    made = baselines(masks, share)
    for name, p in {"background": 0.0, "foreground": 1.0, "constant": share}.items():
        scores = score_masks(np.full(masks.shape, p), masks)
        assert made[name] == pytest.approx({key: scores[key] for key in made[name]})


def test_refused_masks():
    p, m = np.full((2, 4, 4, 1), 0.5), np.zeros((2, 4, 4, 1), int)
    for found, masks, message in (
        (p[:1], m, r"must share shapes. Received: 1 of {\(4, 4, 1\)} and 2"),
        (4 * p, m, r"lie in \[0, 1\]; .* need a sigmoid. Received: values from 2.0 to 2.0"),
        (p * np.nan, m, "Received: values from nan"),
        (p, m + 255, "of 0 and 1 only; .*Received: .*255"),
    ):
        with pytest.raises(ValueError, match=message):
            score_masks(found, masks)


PIXELS = types.SimpleNamespace(distance=lambda x, y: np.mean((x - y) ** 2))
# Two pieces of real photographs, no side of which divides by 4.
PHOTOS = Images(
    [data.astronaut()[70:145, 180:263], data.chelsea()[100:151, 100:162]], names=["face", "cat"]
)


def flat(value, *size):
    return np.full((*size, 3), value, "uint8")


def bicubic(scale):
    return lambda low: images.upscale(low, scale)


def test_bicubic_by_hand():
    rows = metrics.evaluate(bicubic(3), PHOTOS, 3, PIXELS, side=21)
    assert [row.pop("name") for row in rows] == ["face", "cat"]
    for row, image in zip(rows, PHOTOS.images, strict=True):
        height, width = (side // 3 * 3 for side in image.shape[:2])
        high = image[:height, :width]
        large = images.upscale(images.downscale(high, 3), 3)
        top, left = (height - 21) // 2, (width - 21) // 2
        centre = (slice(top, top + 21), slice(left, left + 21))
        error = np.mean(((high[centre].astype("float64") - large[centre]) / 255) ** 2)
        assert row.pop("perceptual") == pytest.approx(error, rel=1e-5)
        assert row.pop("sharpness") == metrics.sharpness(large, high)
        assert row == images.compare(large, high, "byte", border=3)


def test_flat_grey_and_sharpness_in_closed_form():
    """Half 60, half 180, across: the mean is 120, and each pixel is off by 60."""
    image = flat(60, 48, 64)
    image[:, 32:] = 180
    (row,) = metrics.evaluate(metrics.flat_grey(4), Images([image]), 4)
    assert row["psnr_rgb"] == pytest.approx(20 * np.log10(255 / 60))
    gain = (65.481 + 128.553 + 24.966) / 255  # of BT.601's luma, 16 to 235
    assert row["psnr_y"] == pytest.approx(20 * np.log10(255 / (60 * gain)))
    assert row["sharpness"] == 0.0
    ramp = np.arange(64, dtype="uint8")[None, :, None].repeat(40, 0).repeat(3, 2)
    assert metrics.sharpness(2 * ramp, ramp) == pytest.approx(2.0)  # its slope, everywhere


def test_a_blank_picture_leaves_the_others_mean():
    blank = flat(7, 40, 40)
    alone = metrics.mean_scores(metrics.evaluate(bicubic(2), PHOTOS, 2))
    rows = metrics.evaluate(bicubic(2), Images([*PHOTOS.images, blank]), 2)
    assert rows[2]["psnr_y"] == rows[2]["psnr_rgb"] == rows[2]["sharpness"] == np.inf
    means = metrics.mean_scores(rows)
    for key in ("psnr_y", "psnr_rgb", "sharpness"):
        assert means[key] == pytest.approx(alone[key])
    assert (means["n"], means["n_infinite"]) == (3, 1)
    with pytest.raises(DataError, match=r"\(31×90\)"):
        metrics.evaluate(bicubic(4), Images([*PHOTOS.images, flat(1, 31, 90)]), 4)


@pytest.mark.parametrize("mistake", images.RANGE_MISTAKES)
def test_a_wrong_range_is_refused_unless_told_otherwise(mistake):
    def enlarge(low):
        seen = images.RANGE_MISTAKES[mistake](images.upscale(low, 2) / 255)
        return images.convert(seen, "unit", "byte")

    with pytest.raises(ValueError, match="after the mistake"):
        metrics.evaluate(enlarge, PHOTOS, 2)
    assert np.isfinite(metrics.evaluate(enlarge, PHOTOS, 2, check=False)[0]["psnr_y"])
    low, high = metrics.low_resolution(PHOTOS.images[0], 2)
    seen = images.RANGE_MISTAKES[mistake](large := images.upscale(low, 2) / 255)
    printed = images.range_mistakes(large, high / 255, only=mistake)[0]
    assert printed["psnr"] == pytest.approx(
        -10 * np.log10(np.mean((seen - high / 255) ** 2)), abs=1e-3
    )
