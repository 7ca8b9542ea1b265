import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from ganlib.metrics.digits import digit_quality, noise_images
from ganlib.metrics.fidelity import frechet_distance, inception_score
from ganlib.stats import (
    CANNOT_TELL,
    REFUTED,
    SUPPORTED,
    Claim,
    Claims,
    Interval,
    judge,
    judge_interval,
    judge_negative,
    judge_positive,
    mean_interval,
    paired_interval,
)


def features(n, d, seed=0, scale=1.0, shift=0.0):
    return np.random.default_rng(seed).normal(shift, scale, (n, d))


def exact(mean, covariance, n, seed=0):
    """n rows whose sample mean and sample covariance are exactly these."""
    x = features(n, len(mean), seed)
    x -= x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    return x @ scipy.linalg.sqrtm(covariance).T + mean


# -- Fréchet distance ----------------------------------------------------------------------------


def frechet_by_sqrtm(first, second):
    """The textbook form, with a matrix square root that is not symmetric."""
    a, b = np.cov(first.T), np.cov(second.T)
    root = scipy.linalg.sqrtm(a @ b)
    difference = first.mean(axis=0) - second.mean(axis=0)
    return difference @ difference + np.trace(a + b - 2 * np.real(root))


@pytest.mark.parametrize(("n", "m", "d"), [(50, 70, 3), (400, 300, 24)])
def test_frechet_distance_by_another_square_root(n, m, d):
    mix = np.random.default_rng(5).normal(size=(d, d))
    first, second = features(n, d, 1) @ mix, features(m, d, 2, 2.0, 0.5)
    expected = frechet_by_sqrtm(first, second)
    assert expected > 1
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-8)


def test_frechet_distance_in_closed_form():
    # Covariances that commute: |m1 - m2|² + Σ (√a - √b)².
    a, b = np.array([4.0, 1.0, 0.25]), np.array([1.0, 9.0, 0.25])
    turn = np.linalg.qr(features(3, 3))[0]
    m = np.array([1.0, -2.0, 0.5])
    first = exact(np.zeros(3), turn @ np.diag(a) @ turn.T, 40)
    second = exact(m, turn @ np.diag(b) @ turn.T, 60, seed=1)
    assert frechet_distance(first, second) == pytest.approx(5.25 + (1.0 + 4.0 + 0.0), rel=1e-9)


def test_frechet_distance_in_one_dimension():
    first, second = features(30, 1, 1, 2.0), features(50, 1, 2, 0.5, 3.0)
    expected = (first.mean() - second.mean()) ** 2 + (first.std(ddof=1) - second.std(ddof=1)) ** 2
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-12)


def test_frechet_distance_is_a_distance():
    first, second = features(60, 5, 1), features(80, 5, 2, 1.5, 1.0)
    forth, back = frechet_distance(first, second), frechet_distance(second, first)
    assert forth == pytest.approx(back, rel=1e-10)
    assert forth > 0
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(first, first[::-1]) == pytest.approx(0, abs=1e-10)  # order is nothing
    # A shift adds its squared length, whatever the covariance.
    assert frechet_distance(first, first + 3.0) == pytest.approx(9.0 * 5, rel=1e-10)


def test_frechet_distance_nears_the_distributions_from_above():
    truth = 4 * ((2.0 - 1.0) ** 2 + 0.5**2)

    def measured(n):
        return frechet_distance(features(n, 4, 1), features(n, 4, 2, 2.0, 0.5))

    assert measured(100_000) == pytest.approx(truth, rel=0.02)
    # The bias that the docstring warns of: equal distributions, yet well above 0 on few samples.
    few, many = (frechet_distance(features(n, 20, 3), features(n, 20, 4)) for n in (40, 4000))
    assert few > 50 * many > 0


def test_frechet_distance_with_degenerate_covariances():
    # Fewer rows than dimensions; the same column twice; one that is constant.
    first, second = features(5, 12, 1), features(7, 12, 2)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(first, second) > 1
    x, y = features(90, 1, 3), features(90, 1, 4, 2.0, 1.0)
    doubled = frechet_distance(np.hstack([x, x]), np.hstack([y, y]))
    assert doubled == pytest.approx(2 * frechet_distance(x, y), rel=1e-6)
    flat = np.zeros((90, 1))
    padded = frechet_distance(np.hstack([x, flat]), np.hstack([y, flat]))
    assert padded == pytest.approx(frechet_distance(x, y), rel=1e-6)
    # Two constants: the distance between two points.
    assert frechet_distance(np.zeros((4, 3)), np.full((4, 3), 2.0)) == pytest.approx(12.0)


def test_frechet_distance_of_float32_features():
    # Far from 0 a float32 covariance would cancel to noise; it is computed in float64.
    first = (features(500, 8, 1) + 1000.0).astype("float32")
    second = (features(500, 8, 2, 1.5) + 1000.0).astype("float32")
    expected = frechet_by_sqrtm(first.astype("float64"), second.astype("float64"))
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (features(9, 3), features(9, 4), r"\(n, d\) and \(m, d\).*\(9, 3\) and \(9, 4\)"),
        (features(1, 3), features(9, 3), r"n, m ≥ 2.*\(1, 3\) and \(9, 3\)"),
        (features(9, 3)[0], features(9, 3), r"Received: \(3,\) and \(9, 3\)"),
        (np.full((4, 2), np.nan), features(4, 2), "must be finite"),
        (features(4, 2), np.full((4, 2), np.inf), "must be finite"),
    ],
)
def test_frechet_distance_errors(first, second, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance(first, second)


# -- Inception score -----------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_inception_score_bounds(classes):
    certain = np.eye(classes)
    assert inception_score(certain) == pytest.approx(classes)
    assert inception_score(np.full((7, classes), 1 / classes)) == pytest.approx(1.0)
    assert inception_score(np.tile(certain[0], (7, 1))) == pytest.approx(1.0)  # one digit only
    rows = np.random.default_rng(0).dirichlet(np.ones(classes), 50)
    assert 1.0 < inception_score(rows) < classes


def test_inception_score_by_scipy():
    rows = np.random.default_rng(0).dirichlet(np.full(10, 0.2), 300)
    divergences = scipy.stats.entropy(rows, rows.mean(axis=0), axis=1)
    assert inception_score(rows) == pytest.approx(math.exp(divergences.mean()), rel=1e-12)
    assert inception_score(rows.astype("float32")) == pytest.approx(inception_score(rows), rel=1e-5)
    assert inception_score(rows[::-1]) == pytest.approx(inception_score(rows), rel=1e-12)


def test_inception_score_with_a_class_that_never_occurs():
    rows = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.5, 0.0]])
    # Means are ½, ½, 0: two images pay log 2 each, the third nothing.
    assert inception_score(rows) == pytest.approx(2 ** (2 / 3))


@pytest.mark.parametrize(
    "rows",
    [
        np.array([[2.0, 3.0]]),
        np.array([[1.5, -0.5]]),
        np.array([0.5, 0.5]),
        np.zeros((2, 3)),
        np.zeros((0, 10)),
    ],
    ids=["logits", "negative", "one row", "zeros", "empty"],
)
def test_inception_score_errors(rows):
    with pytest.raises(ValueError, match=r"sum to 1 \(apply softmax.*Received: shape"):
        inception_score(rows)


# -- digits --------------------------------------------------------------------------------------


def reader(images):
    """A classifier that reads an image's class off its first pixel, and how sure it is off the
    second; features are two other pixels."""
    images = np.asarray(images, "float64")
    taken_for = np.rint(10 * images[:, 0, 0, 0]).astype(int)
    sure = images[:, 0, 1, 0][:, None]
    probabilities = np.full((len(images), 10), (1.0 - sure) / 9)
    probabilities[np.arange(len(images)), taken_for] = sure[:, 0]
    return probabilities, images[:, 1, :2, 0]


def pictures(classes, sure, seed=0):
    images = np.random.default_rng(seed).random((len(classes), 28, 28, 1))
    images[:, 0, 0, 0] = np.asarray(classes) / 10
    images[:, 0, 1, 0] = sure
    return images


def test_digit_quality():
    # 200 images: 1 % is two. Two sevens are enough, one eight is not, and there is no nine.
    classes = [0] * 47 + list(np.repeat(range(1, 7), 25)) + [7] * 2 + [8]
    images, reference = pictures(classes, sure=0.8), pictures(range(10), sure=1.0, seed=1)
    quality = digit_quality(reader, images, reference)
    assert quality["n"] == 200
    assert quality["missing_digits"] == 2
    assert quality["histogram"] == [0.235, *[0.125] * 6, 0.01, 0.005, 0.0]
    assert quality["confidence"] == pytest.approx(0.8)
    probabilities, seen = reader(images)
    assert quality["digit_score"] == pytest.approx(inception_score(probabilities))
    expected = frechet_distance(seen, reader(reference)[1])
    assert quality["frechet_distance"] == pytest.approx(expected)
    assert quality["no_digit"] == 0.0


def test_digit_quality_counts_unsure_pictures_as_no_digit():
    even, reference = np.tile(np.arange(10), 20), pictures(range(10), sure=1.0)
    images = pictures(even, sure=0.5)  # just sure enough
    images[even == 4, 0, 1, 0] = 0.49
    quality = digit_quality(reader, images, reference)
    assert quality["no_digit"] == pytest.approx(0.1)
    assert quality["histogram"] == [0.1] * 4 + [0.0] + [0.1] * 5  # shares of all images
    assert quality["missing_digits"] == 1


def test_digit_quality_between_its_ends():
    even = np.tile(np.arange(10), 20)
    best = digit_quality(reader, pictures(even, sure=1.0), pictures(even, sure=1.0))
    assert best["digit_score"] == pytest.approx(10.0)
    assert (best["confidence"], best["missing_digits"]) == (1.0, 0)
    assert best["frechet_distance"] == pytest.approx(0, abs=1e-10)
    worst = digit_quality(reader, pictures([3] * 20, sure=0.1), pictures(even, sure=1.0))
    assert worst["digit_score"] == pytest.approx(1.0)
    assert worst["confidence"] == pytest.approx(0.1)
    assert (worst["missing_digits"], worst["no_digit"]) == (10, 1.0)


def test_noise_images():
    noise = noise_images(50, seed=1)
    assert (noise.shape, noise.dtype) == ((50, 28, 28, 1), np.float32)
    assert 0.0 <= noise.min() < 0.01 < 0.99 < noise.max() <= 1.0
    np.testing.assert_array_equal(noise, noise_images(50, seed=1))
    assert not np.array_equal(noise, noise_images(50, seed=2))


# -- intervals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("n", [2, 3, 30])
def test_mean_interval_by_scipy(n, confidence):
    values = np.random.default_rng(n).normal(5.0, 2.0, n)
    interval = mean_interval(values, confidence)
    error = scipy.stats.sem(values)
    expected = scipy.stats.t.interval(confidence, n - 1, loc=values.mean(), scale=error)
    assert (interval.low, interval.high) == pytest.approx(expected, rel=1e-12)
    assert (interval.mean, interval.n) == (pytest.approx(values.mean()), n)


def test_mean_interval_of_known_values():
    # mean 2, s = 1, t(0.975; 2) = 4.302653: 2 ± 4.302653 / √3
    interval = mean_interval([1.0, 2.0, 3.0])
    assert (interval.low, interval.high) == pytest.approx((-0.484138, 4.484138), abs=1e-6)
    assert f"{interval:.2f}" == "2.00 [-0.48, 4.48] (n = 3)"
    assert f"{interval}" == "2 [-0.484, 4.48] (n = 3)"


def test_mean_interval_of_one_seed_has_no_ends():
    interval = mean_interval([0.25])
    assert interval == Interval(0.25, None, None, 1)
    assert f"{interval:.3f}" == "0.250 (n = 1)"
    assert mean_interval([7.0, 7.0, 7.0]) == Interval(7.0, 7.0, 7.0, 3)


def test_mean_interval_covers_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(1.5, 3.0, (2000, 3))  # 2,000 studies of three seeds
    for confidence in (0.95, 0.5):
        intervals = [mean_interval(values, confidence) for values in draws]
        covered = np.mean([i.low <= 1.5 <= i.high for i in intervals])
        error = math.sqrt(confidence * (1 - confidence) / len(draws))
        assert covered == pytest.approx(confidence, abs=4 * error)


def test_paired_interval():
    # Seeds differ a lot, the pairs little: pairing is what makes the difference visible.
    baseline = np.array([10.0, 20.0, 30.0])
    values = baseline + np.array([1.0, 1.1, 0.9])
    interval = paired_interval(values, baseline)
    assert interval == mean_interval(values - baseline)
    assert interval.mean == pytest.approx(1.0)
    assert judge_interval(interval, low=0.0) == SUPPORTED
    assert judge_interval(mean_interval(values), low=mean_interval(baseline).mean) == CANNOT_TELL
    assert paired_interval([2.0], [0.5]) == Interval(1.5, None, None, 1)


def test_paired_interval_of_no_pairs():
    nothing = paired_interval([], [])
    assert f"{nothing:+.3f}" == "no seed has both (n = 0)"
    assert nothing.brief() == "no seed has both"
    assert np.isnan(nothing.mean)
    for judged in (judge_positive, judge_negative, judge_interval):
        assert judged(nothing) == CANNOT_TELL


def test_above_and_below_zero():
    for judged, sign in ((judge_positive, 1), (judge_negative, -1)):
        assert judged(Interval(sign * 0.2, sign * 0.2 - 0.1, sign * 0.2 + 0.1, 3)) == SUPPORTED
        assert judged(Interval(sign * -0.2, sign * -0.2 - 0.1, sign * -0.2 + 0.1, 3)) == REFUTED
        assert judged(Interval(0.0, -0.1, 0.1, 3)) == CANNOT_TELL
        assert judged(mean_interval([0.0, 0.0])) == REFUTED  # no difference is no improvement


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_mean_interval_errors(values):
    with pytest.raises(ValueError, match="finite and at least one"):
        mean_interval(values)


def test_paired_interval_errors():
    with pytest.raises(ValueError, match="Received: 2 and 3"):
        paired_interval([1.0, 2.0], [1.0, 2.0, 3.0])


# -- claims --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [
        ((1.2, 1.8), SUPPORTED),
        ((1.0, 2.0), SUPPORTED),  # the ends belong to it
        ((0.5, 1.5), CANNOT_TELL),
        ((1.5, 2.5), CANNOT_TELL),
        ((0.5, 2.5), CANNOT_TELL),
        ((0.2, 0.9), REFUTED),
        ((2.1, 3.0), REFUTED),
        ((None, None), CANNOT_TELL),
    ],
)
def test_judge_interval(ends, verdict):
    assert judge_interval(Interval(1.5, *ends, 3), low=1.0, high=2.0) == verdict


def test_judge_interval_with_one_end():
    assert judge_interval(Interval(5.0, 4.0, 6.0, 3), low=3.0) == SUPPORTED
    assert judge_interval(Interval(5.0, 4.0, 6.0, 3), high=3.0) == REFUTED
    assert judge_interval(Interval(5.0, 4.0, 6.0, 3), high=5.0) == CANNOT_TELL


def test_judge():
    assert [judge(x) for x in (True, False, None)] == [SUPPORTED, REFUTED, CANNOT_TELL]


def test_claims():
    claims = Claims(
        (
            Claim("a < b", SUPPORTED, "0.25 (n = 3)"),
            Claim("b", REFUTED, ""),
            Claim("c", REFUTED, ""),
        )
    )
    assert claims.count() == {SUPPORTED: 1, REFUTED: 2, CANNOT_TELL: 0}
    assert repr(claims) == "<3 claims>"
    assert "a &lt; b" in claims._repr_html_()
    assert "0.25 (n = 3)" in claims._repr_html_()
    assert list(claims.table().columns) == ["statement", "verdict", "evidence"]
    assert [claim.verdict for claim in claims] == list(claims.table()["verdict"])
