"""The boundary GAN's scores against naive formulas, double loops and known answers."""

import warnings
from unittest import mock

import numpy as np
import pytest

from ganlib import images
from ganlib.metrics import checks
from ganlib.metrics.boundary import SIMILARITIES, s1, s2, s3, score_boundary


def pictures(n, seed=0, shape=(12, 13, 3)):
    """Smooth random pictures in [0, 1]: neighbouring pixels are alike, brightness differs."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((n, 3, 3, shape[-1])).repeat(5, axis=1).repeat(5, axis=2)
    fine = rng.random((n, *shape))
    return 0.7 * coarse[:, : shape[0], : shape[1]] + 0.3 * fine


def value(fake, real, similarity="correlation", value_range="unit"):
    return s3(fake, real, value_range, similarity).value


def flatten(fake):
    return np.broadcast_to(fake.mean(axis=(1, 2), keepdims=True), fake.shape)


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


def test_logits_by_naive_formulas():
    logits = np.random.default_rng(0).normal(0, 4, (50, 1))
    d = 1 / (1 + np.exp(-logits))
    assert s1(logits) == pytest.approx(d.mean(), rel=1e-14)
    assert s2(logits) == pytest.approx((1 - 4 * (d - 0.5) ** 2).mean(), rel=1e-12)
    assert (s1([0.0]), s2([0.0])) == (0.5, 1.0)
    # Not computed in the network's precision: in float32, 1 - 4(d - ½)² is 0 here.
    assert s2(np.full(3, 20, "float32")) == pytest.approx(4 * np.exp(-20), rel=1e-8)


def test_extreme_logits():
    with warnings.catch_warnings(), np.errstate(over="raise", invalid="raise", divide="raise"):
        warnings.simplefilter("error")
        assert (s1([1000.0]), s1([-1000.0]), s1([1000.0, -1000.0])) == (1.0, 0.0, 0.5)
        assert (s2([1000.0]), s2([-1000.0]), s2([0.0, 1000.0])) == (0.0, 0.0, 0.5)


def test_write_up():
    # Its score is the product, to the last digit, as ours is.
    product = 0.9982962608337402 * 0.9999310374259949 * 0.6801146268844604
    assert product == 0.6789090664113528
    # Logits with its means of d and of 4d(1 - d) give its s1 and s2.
    d = 0.9982962608337402
    assert s1([np.log(d / (1 - d))]) == pytest.approx(d, abs=1e-15)
    d = 0.5 + np.sqrt(1 - 0.9999310374259949) / 2
    assert s2([np.log(d / (1 - d))]) == pytest.approx(0.9999310374259949, abs=1e-15)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("block", [1, 300, 30_000, checks.BLOCK])
def test_by_double_loop(similarity, block):
    fake, real = pictures(7, 1), pictures(5, 2)
    with mock.patch.object(checks, "BLOCK", block):
        found = s3(fake, real, "unit", similarity)
    wanted = by_loops(fake, real, similarity).max(axis=1).mean()
    assert found == (pytest.approx(wanted, abs=1e-12), similarity, 5, 7)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("block", [1, checks.BLOCK])
def test_ceiling_leaves_the_picture_itself_out(similarity, block):
    fake, real = pictures(2, 1), pictures(6, 2)
    with mock.patch.object(checks, "BLOCK", block):
        scores = score_boundary(
            np.ones(6), np.ones(2), fake, real, value_range="unit", similarity=similarity
        )
    pairs = by_loops(real, real, similarity)
    np.fill_diagonal(pairs, -np.inf)
    assert scores["s3_real"] == pytest.approx(pairs.max(axis=1).mean(), abs=1e-12)


@pytest.mark.parametrize("shape", [(11, 11, 1), (32, 32, 3)])
def test_ssim_of_other_shapes(shape):
    fake, real = pictures(1, 1, (15, 15, shape[-1])), pictures(2, 2, (15, 15, shape[-1]))
    fake, real = (np.resize(x, (len(x), *shape)) for x in (fake, real))
    wanted = by_loops(fake, real, "ssim").max()
    assert value(fake, real, "ssim") == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_copies(similarity):
    real = pictures(9)
    assert value(real[[4, 2]], real, similarity) == pytest.approx(1.0, abs=1e-12)
    assert value(real[[4, 2]], real, similarity) <= 1.0
    assert value(pictures(2, 5), real, similarity) < 0.995


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_value_ranges_agree(similarity):
    fake, real = (images.convert(pictures(n, n), "unit", "byte") for n in (4, 6))
    wanted = value(fake, real, similarity, "byte")
    for name in ("unit", "signed"):
        both = (images.convert(x, "byte", name) for x in (fake, real))
        assert value(*both, similarity, name) == pytest.approx(wanted, abs=1e-6)


def test_noise():
    rng = np.random.default_rng(0)
    noise, real = rng.random((20, 16, 16, 3)), rng.random((20, 16, 16, 3))
    assert abs(value(noise, real, "cosine")) < 0.1
    assert abs(value(noise, real, "correlation")) < 0.1
    assert abs(value(noise, real, "ssim")) < 0.2
    assert value(noise, real, "plain_cosine") > 0.7


def test_what_all_share_earns_nothing():
    real = pictures(20)
    mean = np.repeat(real.mean(axis=0, keepdims=True), 3, axis=0)
    assert value(mean, real, "plain_cosine") > 0.9
    assert value(mean, real, "cosine") == 0.0
    assert value(mean.astype("float32"), real, "cosine") == 0.0  # and no noise of rounding


def test_brightness():
    # Real pictures of one brightness: a lighter fake is no more like any of them, only less.
    real = pictures(20)
    real += 0.5 - real.mean(axis=(1, 2, 3), keepdims=True)
    real = 0.25 + real / 3
    light = real.mean(axis=0, keepdims=True) + 0.1
    assert value(light, real, "cosine") == pytest.approx(0.0, abs=1e-12)
    assert value(light, real, "plain_cosine") > 0.9
    fake = pictures(5, 1) / 3
    fake += 0.25 + 1 / 6 - fake.mean(axis=(1, 2, 3), keepdims=True)
    assert value(fake + 0.1, real, "cosine") < value(fake, real, "cosine")
    same = pytest.approx(value(fake, real, "correlation"), abs=1e-12)
    assert value(fake + 0.1, real, "correlation") == same


def test_flat_pictures():
    # Where real pictures differ in brightness, the right brightness alone scores: a warning that
    # "s3_flat" gives. Only the correlation gives nothing for it.
    rng = np.random.default_rng(0)
    real = 0.25 * pictures(30, 1) + 0.75 * rng.random((30, 1, 1, 1))
    fake = 0.25 * pictures(10, 2) + 0.75 * rng.random((10, 1, 1, 1))
    assert value(flatten(fake), real, "cosine") > value(fake, real, "cosine") > 0.5
    assert value(flatten(fake), real, "correlation") == 0.0


def test_a_collapsed_generator_is_like_real_pictures_and_they_are_not_like_it():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(1, 16, 16, 3))
    real = 0.5 + 0.05 * (shared + rng.normal(size=(30, 16, 16, 3)))
    one = np.repeat(real.mean(axis=0, keepdims=True), 30, axis=0)
    scores = score_boundary(np.ones(30), np.zeros(30), one, real, value_range="unit")
    assert scores["s3"] == pytest.approx(scores["s3_mean"], abs=1e-12)
    varied = score_boundary(np.ones(30), np.zeros(30), real, real, value_range="unit")
    assert varied["s3_back"] == pytest.approx(1.0, abs=1e-12)
    assert scores["s3"] > scores["s3_real"] + 0.1  # more typical than any real picture
    assert varied["s3_back"] > scores["s3_back"] + 0.1


def test_score():
    rng = np.random.default_rng(3)
    fake, real, train = pictures(4, 1), pictures(9, 2), pictures(5, 3)
    logits = rng.normal(3, 1, (9, 1)), rng.normal(0, 1, 4)
    scores = score_boundary(*logits, fake, real, value_range="unit")
    assert list(scores) == [
        *("s1", "s2", "s3", "score", "s3_real", "s3_noise", "s3_flat"),
        *("s3_mean", "s3_back"),
        *("n", "n_real", "similarity"),
    ]
    assert (scores["s1"], scores["s2"]) == (s1(logits[0]), s2(logits[1]))
    assert scores["score"] == scores["s1"] * scores["s2"] * scores["s3"]
    assert scores["s3"] == value(fake, real)
    assert scores["s3_flat"] == pytest.approx(value(flatten(fake), real), abs=1e-12)
    assert scores["s3_mean"] == value(real.mean(axis=0, keepdims=True), real)
    assert scores["s3_back"] == value(real, fake)
    assert (scores["n"], scores["n_real"], scores["similarity"]) == (4, 9, "correlation")
    again = score_boundary(*logits, fake, real, train, value_range="unit", seed=1)
    assert (again.pop("s3_train"), again.pop("n_train")) == (value(fake, train), 5)
    assert again.pop("s3_noise") != scores["s3_noise"]
    assert again.items() <= scores.items()


@pytest.mark.parametrize("value_range", ["unit", "signed", "byte"])
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_score_of_copies(value_range, similarity):
    fake, real, train = (images.convert(pictures(n, n), "unit", value_range) for n in (3, 8, 9))
    train[-3:] = fake
    scores = score_boundary(
        np.ones(8), np.zeros(3), fake, real, train, value_range=value_range, similarity=similarity
    )
    assert scores["s3_train"] == pytest.approx(1.0, abs=1e-12)
    assert scores["s3_noise"] < scores["s3"] < scores["s3_train"]


@pytest.mark.parametrize("logits", [[np.nan, 1.0], [np.inf], []])
def test_logits_errors(logits):
    for score, name in ((s1, "real_logits"), (s2, "fake_logits")):
        with pytest.raises(ValueError, match=f"`{name}` must be finite.*Received: "):
            score(logits)


@pytest.mark.parametrize(
    ("fake", "real", "similarity", "message"),
    [
        (pictures(3), pictures(3)[:, :11], "cosine", r"Received: \(3, 12, 13, 3\) and \(3, 11"),
        (pictures(3)[0], pictures(3), "cosine", r"n ≥ 1.* Received: \(12, 13, 3\) and"),
        (pictures(3)[:0], pictures(3), "cosine", r"n ≥ 1.* Received: \(0, "),
        (pictures(3), pictures(1), "cosine", r"`real` the same with n ≥ 2. Received: .*\(1, "),
        (pictures(3), pictures(3), "dot", "must be of .*'ssim'.* Received: 'dot'"),
        (pictures(3) * 255, pictures(3), "cosine", 'declared "unit".*Received: minimum='),
        (pictures(3), pictures(3) * np.nan, "cosine", 'declared "unit".*Received: minimum=nan'),
        (pictures(3)[:, 2:], pictures(3)[:, 2:], "ssim", r"11×11 pixels. Received: \(3, 10"),
    ],
)
def test_errors(fake, real, similarity, message):
    with pytest.raises(ValueError, match=message):
        s3(fake, real, "unit", similarity)
    with pytest.raises(ValueError, match=message):
        score_boundary(
            np.ones(len(real)), [0, 0, 0], fake, real, value_range="unit", similarity=similarity
        )


def test_score_errors():
    fake, real = pictures(3), pictures(4)
    with pytest.raises(ValueError, match=r"Received: logits \(3,\), 4 pictures"):
        score_boundary(np.ones(3), np.ones(3), fake, real, value_range="unit")
    with pytest.raises(ValueError, match=r"Received: logits \(3, 2\), 3 pictures"):
        score_boundary(np.ones(4), np.ones((3, 2)), fake, real, value_range="unit")
    with pytest.raises(ValueError, match="`train` the same with n ≥ 2"):
        score_boundary(np.ones(4), np.ones(3), fake, real, fake[:1], value_range="unit")
    with pytest.raises(ValueError, match="`value_range` must be"):
        s3(fake, real, "float")
