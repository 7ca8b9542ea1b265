"""Scores over features against plain NumPy, closed forms and the papers' definitions; digits."""

import itertools
import json
import types
from unittest import mock

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from scipy.spatial.distance import cdist

from ganlib.metrics import checks, fidelity
from ganlib.metrics.digits import digit_quality
from ganlib.metrics.fidelity import evaluate, frechet_distance, frechet_name, inception_score
from ganlib.metrics.kernel import kernel_distance
from ganlib.metrics.neighbours import compare, nearest

NETWORK = types.SimpleNamespace(name="toy", title="Toy", resize="none", size=8)


def features(n, d, seed=0, scale=1.0, shift=0.0):
    return np.random.default_rng(seed).normal(shift, scale, (n, d))


def frechet_by_sqrtm(first, second):
    """The textbook form, with a matrix square root that is not symmetric."""
    a, b = np.cov(first.T), np.cov(second.T)
    difference = first.mean(axis=0) - second.mean(axis=0)
    return difference @ difference + np.trace(a + b - 2 * np.real(scipy.linalg.sqrtm(a @ b)))


@pytest.mark.parametrize(("n", "m", "d"), [(50, 70, 3), (400, 300, 24), (30, 200, 24)])
def test_frechet_distance_by_another_square_root(n, m, d):
    mix = features(d, d, 5)
    first, second = features(n, d, 1) @ mix, features(m, d, 2, 2.0, 0.5)
    expected = frechet_by_sqrtm(first, second)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-8)
    # A shift adds its squared length; far from 0 a float32 covariance would cancel to noise.
    far = [(x + 1000).astype("float32") for x in (first, second)]
    expected = frechet_by_sqrtm(*(x.astype("float64") for x in far))
    assert frechet_distance(*far) == pytest.approx(expected, rel=1e-7)
    assert frechet_distance(first, first + 3.0) == pytest.approx(9.0 * d, rel=1e-9)


def test_frechet_distance_in_closed_form_and_with_degenerate_covariances():
    # In one dimension it is the squared difference of means and of standard deviations.
    first, second = features(30, 1, 1, 2.0), features(50, 1, 2, 0.5, 3.0)
    expected = (first.mean() - second.mean()) ** 2 + (first.std(ddof=1) - second.std(ddof=1)) ** 2
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-12)
    first = features(5, 12, 1)  # fewer rows than features
    assert frechet_distance(first, first[::-1]) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(np.zeros((4, 3)), np.full((4, 3), 2.0)) == pytest.approx(12.0)


def test_kernel_distance_by_loops_with_the_jackknifes_error():
    real, fake = features(9, 4, 1), features(7, 4, 2, 1.5)

    def by_loops(x, y):
        def mean(pairs):
            return np.mean([(a @ b / 4 + 1) ** 3 for a, b in pairs])

        within = (mean(itertools.permutations(rows, 2)) for rows in (x, y))
        return sum(within) - 2 * mean(itertools.product(x, y))

    found = kernel_distance(real, fake)
    assert found.value == pytest.approx(by_loops(real, fake), rel=1e-12)
    left = [by_loops(np.delete(real, i, 0), fake) for i in range(9)]
    right = [by_loops(real, np.delete(fake, i, 0)) for i in range(7)]
    variance = 8 * np.var(left) + 6 * np.var(right)
    assert found.standard_error == pytest.approx(np.sqrt(variance), rel=1e-10)


def by_distances(real, fake):
    """Precision, recall, density, coverage, as Kynkäänniemi et al. and Naeem et al. write them."""
    between = cdist(real, fake)
    ours, theirs = (np.sort(cdist(x, x), axis=1) for x in (real, fake))  # the 0-th is the image
    near = between < ours[:, 5:6]
    return {
        "precision": (between <= ours[:, 3:4]).any(axis=0).mean(),
        "recall": (between <= theirs[:, 3]).any(axis=1).mean(),
        "density": near.sum() / (5 * len(fake)),
        "coverage": near.any(axis=1).mean(),
    }


@pytest.mark.parametrize(("n", "m", "d"), [(40, 60, 3), (90, 50, 12), (6, 7, 2)])
def test_neighbours_by_distances(n, m, d):
    real, fake = features(n, d, 1, shift=5.0), features(m, d, 2, 1.2, 5.2)
    assert compare(real, fake) == pytest.approx(by_distances(real, fake), abs=1e-12)


def test_an_outlier_does_not_make_all_distances_equal():
    a, b = features(300, 32, 1), features(300, 32, 2, shift=6)
    b[0] = 1e8
    for real, fake in ((a, b), (b, a)):
        assert compare(real, fake) == pytest.approx(by_distances(real, fake), abs=1e-12)
    assert set(compare(a, b).values()) == {0.0}


def test_ties_are_near_and_not_nearer():
    rows = features(60, 24, shift=1e3)
    assert [*compare(rows, rows[::-1]).values()] == [1, 1, pytest.approx(1), 1]
    many = np.repeat(features(10, 20, shift=1e3), 6, axis=0)  # all radii are 0
    assert [*compare(many, many[::-1]).values()] == [1, 1, 0, 0]
    assert [*compare(many, many[:30] + 1e-3).values()] == [0, 0, 0, 0]


@pytest.mark.parametrize("block", [1, checks.BLOCK])
def test_nearest_by_distances_and_copies(block):
    queries, references = features(20, 7, 1), features(30, 7, 2)
    with mock.patch.object(checks, "BLOCK", block):
        indices, distances = nearest(queries, references)
    between = cdist(queries, references)
    np.testing.assert_array_equal(indices, between.argmin(axis=1))
    np.testing.assert_allclose(distances, between.min(axis=1), rtol=1e-12)
    references = features(50, 30, shift=100.0).astype("float32")
    references[9] = 1e15
    for found, expected in zip(nearest(references[[7, 3]], references), ([7, 3], 0), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_inception_score():
    rows = np.random.default_rng(0).dirichlet(np.full(10, 0.2), 300)
    divergences = scipy.stats.entropy(rows, rows.mean(axis=0), axis=1)
    assert inception_score(rows) == pytest.approx(np.exp(divergences.mean()), rel=1e-12)
    assert inception_score(np.eye(10)) == pytest.approx(10)
    assert inception_score(np.full((7, 10), 0.1)) == pytest.approx(1)
    for rows in ([[2.0, 3.0]], [[1.5, -0.5]], [0.5, 0.5], [[np.nan, 1]]):
        with pytest.raises(ValueError, match=r"sum to 1 .*Received: shape"):
            inception_score(np.array(rows))


def test_evaluate():
    real, fake = features(60, 5, 1), features(50, 5, 2, 1.2)
    rows = np.random.default_rng(0).dirichlet(np.full(10, 0.2), 50)
    found = evaluate(real, fake, NETWORK, rows)
    assert len(found["cautions"]) == 5
    assert json.loads(json.dumps(found)) == found
    about = {"network": "Toy", "resize": "none, to 8×8", "n_real": 60, "n_fake": 50}
    assert found.items() >= (about | compare(real, fake)).items()
    assert found["frechet"] == frechet_distance(real, fake)
    assert (found["kid"], found["kid_standard_error"]) == kernel_distance(real, fake)
    assert found["inception_score"] == inception_score(rows)
    assert frechet_name(NETWORK) == "Fréchet distance (Toy)"
    assert frechet_name(types.SimpleNamespace(name="inception_v3", title="x")) == "FID"
    with mock.patch.object(checks, "BLOCK", 700):  # whatever the blocks
        cut = evaluate(real, fake, NETWORK, rows)
    for name, value in found.items():
        assert cut[name] == (pytest.approx(value, 1e-9) if type(value) is float else value)


def test_evaluate_large_sets():
    real, fake = features(2100, 4, 1), features(2100, 4, 2, 1.2)
    whole = evaluate(real, fake, NETWORK)
    with mock.patch.object(fidelity, "MOST", 300):
        drawn = evaluate(real, fake, NETWORK)
    assert (whole["cautions"], whole["inception_score"]) == ([], None)
    assert drawn["frechet"] == whole["frechet"]
    assert 0 < abs(drawn["kid"] - whole["kid"]) < 4 * drawn["kid_standard_error"]
    assert "300 images drawn at random" in drawn["cautions"][-1]


@pytest.mark.parametrize(
    "real", [features(9, 4), features(1, 3), np.full((9, 3), np.nan), np.full((9, 3), np.inf)]
)
def test_refused_features(real):
    for score in (frechet_distance, kernel_distance, compare):
        with pytest.raises(ValueError, match=r"must be finite.*: \(\d, \d\) and \(9, 3\)"):
            score(real, features(9, 3))


def reader(images):
    """A classifier of "images" that are ten probabilities and two features."""
    return images[:, :10], images[:, 10:]


def digits(classes, sure, seed=0):
    images = np.random.default_rng(seed).random((len(classes), 12))
    images[:, :10] = (1 - sure) / 9
    images[np.arange(len(classes)), classes] = sure
    return images


def test_digit_quality():
    # 200 images: 1 % is two. Two sevens are enough, one eight is not, and there is no nine.
    classes = np.array([0] * 47 + list(np.repeat(range(1, 7), 25)) + [7] * 2 + [8])
    images, reference = digits(classes, sure=0.8), digits(range(10), sure=1.0, seed=1)
    quality = digit_quality(reader, images, reference)
    assert (quality["n"], quality["missing_digits"], quality["no_digit"]) == (200, 2, 0.0)
    assert quality["histogram"] == [0.235, *[0.125] * 6, 0.01, 0.005, 0.0]
    assert quality["confidence"] == pytest.approx(0.8)
    assert quality["digit_score"] == inception_score(images[:, :10])
    assert quality["frechet_distance"] == frechet_distance(images[:, 10:], reference[:, 10:])
    images[classes == 4] = digits([4], sure=0.49)  # not sure enough
    quality = digit_quality(reader, images, reference)
    assert (quality["no_digit"], quality["missing_digits"]) == (0.125, 3)
