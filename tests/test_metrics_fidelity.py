"""Moments in batches, Fréchet distance from them, Inception Score in splits, and `evaluate`."""

import json
import types
from unittest import mock

import numpy as np
import pytest

from ganlib.metrics import checks, kernel, neighbours
from ganlib.metrics.fidelity import (
    Moments,
    evaluate,
    frechet_distance,
    frechet_name,
    inception_score,
    split_inception_score,
)
from ganlib.metrics.moments import frechet

NETWORK = types.SimpleNamespace(name="toy", title="Toy", resize="none", size=8)


def features(n, d, seed=0, scale=1.0, shift=0.0):
    return np.random.default_rng(seed).normal(shift, scale, (n, d))


def exact(mean, covariance):
    """`Moments` of rows that have exactly this mean and covariance."""
    n, d = len(mean) + 2, len(mean)
    rows = features(n, d)
    whitened = np.linalg.qr(rows - rows.mean(axis=0))[0] * np.sqrt(n - 1)
    return Moments(whitened @ np.linalg.cholesky(np.asarray(covariance, "float64")).T + mean)


# -- moments -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[200], [1] * 200, [3, 0, 150, 47], [199, 1]], ids=len)
@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_moments_in_batches(sizes, shift):
    rows = features(200, 6, shift=shift) @ features(6, 6, seed=1)
    moments = Moments()
    for start, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
        moments.update(rows[start : start + size])
    assert moments.n == 200
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance, np.cov(rows.T), rtol=1e-8, atol=1e-8)


def test_moments_merge():
    rows = features(90, 4, shift=3.0)
    first, second = Moments(rows[:20]), Moments(rows[20:])
    kept = second.mean.copy(), second.scatter.copy()
    assert first.merge(second) is first
    np.testing.assert_allclose(first.covariance, np.cov(rows.T), rtol=1e-12)
    np.testing.assert_array_equal(second.mean, kept[0])
    np.testing.assert_array_equal(second.scatter, kept[1])
    new = Moments().merge(second)
    new.update(rows)  # must not write into what it was merged from
    np.testing.assert_array_equal(second.scatter, kept[1])
    assert first.merge(Moments()).n == 90


def test_moments_of_float32_are_float64():
    rows = (features(500, 3) + 1000.0).astype("float32")
    wanted = np.cov(rows.astype("float64").T)
    np.testing.assert_allclose(Moments(rows).covariance, wanted, rtol=1e-10)


def test_moments_errors():
    with pytest.raises(ValueError, match=r"must be \(n, d\)\. Received: shape=\(3,\)"):
        Moments(np.zeros(3))
    with pytest.raises(ValueError, match=r"must be \(n, 3\)\. Received: shape=\(2, 4\)"):
        Moments(np.zeros((2, 3))).update(np.zeros((2, 4)))
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="must be finite"):
            Moments(np.array([[0.0], [bad], [np.inf]]))
    with pytest.raises(ValueError, match=r"same number of features. Received: 3 and 4"):
        Moments(np.zeros((2, 3))).merge(Moments(np.zeros((2, 4))))
    with pytest.raises(ValueError, match=r"two rows at least. Received: n=1"):
        _ = Moments(np.zeros((1, 3))).covariance


# -- Fréchet distance from moments ---------------------------------------------------------------


def test_frechet_distance_of_gaussians_in_the_plane():
    # Of a 2×2 matrix M the trace of its root is √(tr M + 2 √det M): no root need be computed.
    a, b = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[1.0, -0.7], [-0.7, 3.0]])
    product = a @ b
    root = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    wanted = 1.0 + 4.0 + np.trace(a + b) - 2 * root
    distance = frechet_distance(exact([0, 0], a), exact([1, -2], b))
    assert distance == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("d", [1, 7, 40])
def test_frechet_distance_of_round_gaussians(d):
    # |m|² + d (s - t)²
    first = exact(np.zeros(d), 4.0 * np.eye(d))
    second = exact(np.full(d, 3.0), 0.25 * np.eye(d))
    assert frechet_distance(first, second) == pytest.approx(9.0 * d + d * 1.5**2, rel=1e-12)


def test_frechet_distance_whatever_the_batches():
    first, second = features(300, 12, 1), features(200, 12, 2, 1.5, 0.5)
    whole = frechet_distance(first, second)
    for size in (1, 17, 200):
        parts = [Moments() for _ in range(2)]
        for moments, rows in zip(parts, (first, second), strict=True):
            for start in range(0, len(rows), size):
                moments.update(rows[start : start + size])
        assert frechet_distance(*parts) == pytest.approx(whole, rel=1e-10)
        assert frechet_distance(parts[0], second) == pytest.approx(whole, rel=1e-10)


@pytest.mark.parametrize("n", [2, 9, 19, 20, 21, 50])
@pytest.mark.parametrize("m", [2, 12, 20, 60])
def test_frechet_distance_of_more_features_than_rows(n, m):
    # Its textbook form: the eigenvalues of C1 C2 are those of a positive semi-definite matrix.
    first, second = features(n, 20, 1) @ features(20, 20, 3), features(m, 20, 2, 1.5, 0.5)
    a, b = np.cov(first.T), np.cov(second.T)
    step = first.mean(axis=0) - second.mean(axis=0)
    roots = np.sqrt(np.clip(np.linalg.eigvals(a @ b).real, 0, None))
    wanted = step @ step + np.trace(a) + np.trace(b) - 2 * roots.sum()
    parts = Moments(first[: n // 2]).update(first[n // 2 :])
    merged = Moments(second[:1]).merge(Moments(second[1:]))
    assert frechet_distance(first, second) == pytest.approx(wanted, rel=1e-6)
    assert frechet_distance(parts, merged) == pytest.approx(wanted, rel=1e-6)


def test_frechet_distance_of_too_little():
    with pytest.raises(ValueError, match=r"n, m ≥ 2.*Received: \(0, 0\) and \(9, 3\)"):
        frechet_distance(Moments(), features(9, 3))
    with pytest.raises(ValueError, match=r"Received: \(9, 3\) and \(9, 4\)"):
        frechet_distance(Moments(features(9, 3)), features(9, 4))


def test_frechet_cautions():
    rows = features(2500, 3)
    few, many = frechet(rows[:2047], rows), frechet(rows[:2048], rows)
    assert (few.n_real, few.n_fake, few.value) == (2047, 2500, frechet_distance(rows[:2047], rows))
    assert "n = 2,047 is below 2,048" in few.caution
    assert "rank" not in few.caution
    assert many.caution is None
    wide = features(30, 30)
    assert "30 features has no full rank" in frechet(wide, wide).caution


# -- Inception Score in splits -------------------------------------------------------------------


def test_splits_of_the_inception_score():
    rows = np.random.default_rng(0).dirichlet(np.full(10, 0.2), 103)
    score = split_inception_score(rows, 4)
    parts = [inception_score(rows[i * 103 // 4 : (i + 1) * 103 // 4]) for i in range(4)]
    assert score == (pytest.approx(np.mean(parts)), pytest.approx(np.std(parts)), 4)
    whole = split_inception_score(rows, 1, seed=3)
    assert whole == (pytest.approx(inception_score(rows)), 0.0, 1)
    assert score.mean < whole.mean  # fewer images, less to be seen of the marginal


def test_splits_can_be_shuffled():
    certain = np.repeat(np.eye(10), 50, axis=0)  # class by class
    assert split_inception_score(certain, 10).mean == pytest.approx(1.0)
    shuffled = split_inception_score(certain, 10, seed=0)
    assert 8.0 < shuffled.mean < 10.0
    assert shuffled == split_inception_score(certain, 10, seed=0)
    assert shuffled != split_inception_score(certain, 10, seed=1)


@pytest.mark.parametrize("splits", [0, 8])
def test_splits_out_of_range(splits):
    with pytest.raises(ValueError, match=f"from 1 to.*, 7. Received: splits={splits}"):
        split_inception_score(np.full((7, 2), 0.5), splits)


# -- everything at once --------------------------------------------------------------------------


def test_evaluate():
    real, fake = features(60, 5, 1), features(50, 5, 2, 1.2, 0.3)
    rows = np.random.default_rng(0).dirichlet(np.full(10, 0.2), 50)
    scores = evaluate(real, fake, NETWORK, rows)
    distance = kernel.kernel_distance(real, fake)
    precise, dense = (
        neighbours.precision_recall(real, fake),
        neighbours.density_coverage(real, fake),
    )
    assert scores.pop("cautions")
    assert scores == {
        "kid": distance.value,
        "kid_standard_error": distance.standard_error,
        "frechet": frechet_distance(real, fake),
        "inception_score": inception_score(rows),
        "precision": precise.precision,
        "recall": precise.recall,
        "density": dense.density,
        "coverage": dense.coverage,
        "network": "Toy",
        "resize": "none, to 8×8",
        "n_real": 60,
        "n_fake": 50,
    }
    json.dumps(scores)
    assert evaluate(real, fake, NETWORK)["inception_score"] is None


def test_evaluate_says_which_numbers_mislead():
    few = evaluate(features(50, 5, 1), features(40, 5, 2), NETWORK, np.full((40, 2), 0.5))
    for words in ("Fréchet", "kernel distance", "precision", "coverage", "Inception Score"):
        assert sum(words in text for text in few["cautions"]) >= 1, words
    many = evaluate(features(2100, 5, 1), features(2100, 5, 2), NETWORK)
    assert many["cautions"] == []


def test_evaluate_draws_from_large_sets():
    real, fake = features(300, 4, 1), features(250, 4, 2, 1.2)
    whole, drawn = (evaluate(real, fake, NETWORK, most=most) for most in (300, 100))
    assert drawn["frechet"] == whole["frechet"]
    assert (drawn["n_real"], drawn["n_fake"]) == (300, 250)
    assert drawn["kid"] != whole["kid"]
    assert abs(drawn["kid"] - whole["kid"]) < 4 * drawn["kid_standard_error"]
    assert "random draw of 100 real and 100 generated" in drawn["cautions"][-1]
    assert drawn == evaluate(real, fake, NETWORK, most=100)
    assert drawn["kid"] != evaluate(real, fake, NETWORK, most=100, seed=1)["kid"]


def test_evaluate_whatever_the_blocks():
    real, fake = features(70, 5, 1), features(90, 5, 2, 1.2)
    whole = evaluate(real, fake, NETWORK)
    for block in (1, 100, 1000):
        with mock.patch.object(checks, "BLOCK", block):
            cut = evaluate(real, fake, NETWORK)
        for name, value in whole.items():
            assert cut[name] == (pytest.approx(value, 1e-9) if type(value) is float else value)


def test_frechet_name():
    assert frechet_name(types.SimpleNamespace(name="inception_v3", title="x")) == "FID"
    assert frechet_name(NETWORK) == "Fréchet distance (Toy)"
