"""Precision, recall, density, coverage and nearest neighbours against plain distance matrices."""

from unittest import mock

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from ganlib.metrics import checks
from ganlib.metrics.neighbours import (
    compare,
    density_coverage,
    expected_coverage,
    nearest,
    precision_recall,
)


def features(n, d, seed=0, scale=1.0, shift=0.0):
    return np.random.default_rng(seed).normal(shift, scale, (n, d))


def by_distances(real, fake, k):
    """Precision, recall, density, coverage, as the papers write them."""
    between = cdist(real, fake)
    real_radii = np.sort(cdist(real, real), axis=1)[:, k]  # the 0-th is the image itself
    fake_radii = np.sort(cdist(fake, fake), axis=1)[:, k]
    inside = between <= real_radii[:, None]
    return (
        inside.any(axis=0).mean(),
        (between <= fake_radii).any(axis=1).mean(),
        inside.sum() / (k * len(fake)),
        inside.any(axis=1).mean(),
    )


def scores(real, fake, k):
    precise, dense = compare(real, fake, k, k)
    return (*precise[:2], *dense[:2])


@pytest.mark.parametrize(("n", "m", "d", "k"), [(40, 60, 3, 1), (90, 50, 12, 3), (70, 70, 2, 5)])
@pytest.mark.parametrize("block", [1, 500, checks.BLOCK])
def test_by_distances(n, m, d, k, block):
    real, fake = features(n, d, 1, shift=5.0), features(m, d, 2, 1.2, 5.2)
    wanted = by_distances(real, fake, k)
    assert min(wanted) > 0
    with mock.patch.object(checks, "BLOCK", block):
        assert scores(real, fake, k) == pytest.approx(wanted, abs=1e-12)
        precise, dense = compare(real, fake, k_precision=2, k_density=k)
    assert precise[:2] == pytest.approx(by_distances(real, fake, 2)[:2], abs=1e-12)
    assert dense[:2] == pytest.approx(wanted[2:], abs=1e-12)


def test_defaults():
    real, fake = features(40, 3, 1), features(30, 3, 2)
    precise, dense = precision_recall(real, fake), density_coverage(real, fake)
    assert (precise, dense) == compare(real, fake)
    assert (precise.k, precise.n_real, precise.n_fake) == (3, 40, 30)
    assert (dense.k, dense.n_real, dense.n_fake) == (5, 40, 30)
    assert dense.ceiling == expected_coverage(40, 30)


def test_identical_and_disjoint_sets():
    rows = features(50, 8)
    precision, recall, density, coverage = scores(rows, rows, 3)
    assert (precision, recall, coverage) == (1.0, 1.0, 1.0)
    assert density == pytest.approx(4 / 3)  # the image itself, and the three in its reach
    assert scores(rows, rows + 100.0, 3) == (0.0, 0.0, 0.0, 0.0)


def test_copies_count_whatever_the_rounding():
    # Far from 0 and many times the same: all distances are 0, and so are the radii.
    real = np.repeat(features(10, 20, shift=1e3), 6, axis=0)
    assert scores(real, real[::-1], 3)[:2] == (1.0, 1.0)
    assert scores(real, real[:30] + 1e-3, 3)[:2] == (0.0, 0.0)  # and no more than that


def test_quality_and_diversity_apart():
    left, right = features(100, 4, 1), features(100, 4, 2, shift=50.0)
    both = np.concatenate([left, right])
    half = features(200, 4, 3)  # good, of one kind alone
    precision, recall, _, coverage = scores(both, half, 3)
    assert precision > 0.8
    assert max(recall, coverage) <= 0.5
    wide = np.concatenate([half, features(200, 4, 4, shift=200.0)])  # and as many bad ones
    assert scores(both, wide, 3)[0] == pytest.approx(precision / 2, abs=0.02)
    assert scores(both, wide, 3)[1] == recall


def test_density_is_less_moved_by_outliers():
    # One lonely real image reaches far: all fakes around it count as precise.
    real = np.concatenate([features(200, 4), np.full((1, 4), 30.0)])
    fake = features(200, 4, 1, shift=15.0)
    precision, _, density, coverage = scores(real, fake, 5)
    assert precision > 0.9
    assert density < 0.25
    assert coverage < 0.01


@pytest.mark.parametrize(("n", "m", "k"), [(30, 30, 5), (40, 20, 3), (15, 60, 1)])
def test_means_for_equal_distributions(n, m, k):
    rng = np.random.default_rng(0)
    draws = [compare(rng.random((n, 2)), rng.random((m, 2)), k, k)[1] for _ in range(400)]
    coverage, density = (np.array([x[i] for x in draws]) for i in (1, 0))
    assert coverage.mean() == pytest.approx(expected_coverage(n, m, k), abs=0.2 * coverage.std())
    assert density.mean() == pytest.approx(1.0, abs=0.2 * density.std())  # 4 standard errors


def test_expected_coverage():
    assert expected_coverage(10, 10, 1) == pytest.approx(1 - 9 / 19)
    assert expected_coverage(5, 3, 2) == pytest.approx(1 - (4 * 3) / (7 * 6))
    assert expected_coverage(10**6, 10**6, 5) == pytest.approx(1 - 2**-5, abs=1e-5)


def test_cautions():
    rows = features(1000, 2)
    few, many = compare(rows, rows[:999]), compare(rows, rows)
    assert all(x.caution.startswith("n = 999 is below 1,000") for x in few)
    assert [x.caution for x in many] == [None, None]


@pytest.mark.parametrize(("n", "m", "k"), [(20, 30, 1), (25, 10, 4), (5, 6, 6)])
@pytest.mark.parametrize("block", [1, 200, checks.BLOCK])
def test_nearest_by_distances(n, m, k, block):
    queries, references = features(n, 7, 1), features(m, 7, 2)
    with mock.patch.object(checks, "BLOCK", block):
        indices, distances = nearest(queries, references, k)
    between = cdist(queries, references)
    np.testing.assert_array_equal(indices, np.argsort(between, axis=1)[:, :k])
    np.testing.assert_allclose(distances, np.sort(between, axis=1)[:, :k], rtol=1e-12)


def test_nearest_finds_copies():
    references = features(50, 30, shift=100.0).astype("float32")
    indices, distances = nearest(references[[7, 3]], references, 2)
    np.testing.assert_array_equal(indices[:, 0], [7, 3])
    np.testing.assert_array_equal(distances[:, 0], 0.0)
    assert distances[:, 1].min() > 0
    indices, distances = nearest(references[:1], references[[5, 5, 5]], 3)
    np.testing.assert_array_equal(indices, [[0, 1, 2]])  # the earlier one first


@pytest.mark.parametrize(
    ("real", "fake", "k", "message"),
    [
        (features(9, 3), features(9, 4), 3, r"\(9, 3\) and \(9, 4\)"),
        (features(3, 3), features(9, 3), 3, r"n, m ≥ 4.*\(3, 3\) and \(9, 3\)"),
        (features(9, 3), features(9, 3), 0, "whole number from 1 on. Received: k="),
        (features(9, 3), features(9, 3), 2.5, "whole number from 1 on. Received: k="),
        (features(9, 3), np.full((9, 3), np.inf), 3, "must be finite"),
    ],
)
def test_errors(real, fake, k, message):
    for score in (precision_recall, density_coverage):
        with pytest.raises(ValueError, match=message):
            score(real, fake, k)


@pytest.mark.parametrize("k", [0, 10, 1.0])
def test_nearest_errors(k):
    with pytest.raises(ValueError, match=f"from 1 to 9. Received: k={k}"):
        nearest(features(4, 2), features(9, 2), k)
