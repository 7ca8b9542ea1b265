"""The kernel distance against loops, closed forms, and its own scatter."""

import itertools

import numpy as np
import pytest

from ganlib.metrics.kernel import kernel_distance, subset_kernel_distance


def features(n, d, seed=0, scale=1.0, shift=0.0):
    return np.random.default_rng(seed).normal(shift, scale, (n, d))


def by_loops(real, fake):
    def kernel(x, y):
        return (float(np.dot(x, y)) / len(x) + 1.0) ** 3

    def within(rows):
        return np.mean([kernel(x, y) for x, y in itertools.permutations(rows, 2)])

    between = np.mean([kernel(x, y) for x, y in itertools.product(real, fake)])
    return within(real) + within(fake) - 2 * between


def expected_kernel(a, b):
    """Mean of the kernel over x from N(a, I) and y from N(b, I), by their moments."""
    d, ab, aa, bb = len(a), a @ b, a @ a, b @ b
    first = ab
    second = ab**2 + bb + d + aa
    third = ab**3 + 3 * ab * bb + 3 * ab * (aa + d + 2)
    return 1 + 3 * first / d + 3 * second / d**2 + third / d**3


@pytest.mark.parametrize(("n", "m", "d"), [(3, 3, 1), (12, 9, 4), (7, 20, 30)])
def test_kernel_distance_by_loops(n, m, d):
    real, fake = features(n, d, 1), features(m, d, 2, 1.5, 0.5)
    distance = kernel_distance(real, fake)
    assert distance.value == pytest.approx(by_loops(real, fake), rel=1e-10)
    assert (distance.n_real, distance.n_fake) == (n, m)
    assert kernel_distance(fake, real).value == pytest.approx(distance.value, rel=1e-10)
    single = kernel_distance(real.astype("float32"), fake.astype("float32"))
    assert single.value == pytest.approx(distance.value, rel=1e-4)


def test_its_standard_error_is_the_jackknife():
    real, fake = features(6, 3, 1), features(8, 3, 2, 1.5, 0.5)
    variance = 0.0
    for side, rows in enumerate((real, fake)):
        without = []
        for i in range(len(rows)):
            pair = [real, fake]
            pair[side] = np.delete(rows, i, axis=0)
            without.append(by_loops(*pair))
        variance += (len(rows) - 1) * np.var(without)
    error = kernel_distance(real, fake).standard_error
    assert error == pytest.approx(np.sqrt(variance), rel=1e-10)


@pytest.mark.parametrize("shift", [0.0, 0.6])
def test_it_is_unbiased_and_its_standard_error_holds(shift):
    d, n, m, draws = 6, 30, 40, 1500
    a, b = np.zeros(d), np.full(d, shift)
    truth = expected_kernel(a, a) + expected_kernel(b, b) - 2 * expected_kernel(a, b)
    assert (truth == 0) == (shift == 0)
    rng = np.random.default_rng(0)
    found = [
        kernel_distance(rng.normal(size=(n, d)) + a, rng.normal(size=(m, d)) + b)
        for _ in range(draws)
    ]
    values = np.array([x.value for x in found])
    assert values.mean() == pytest.approx(truth, abs=4 * values.std() / np.sqrt(draws))
    if shift == 0:
        assert (values < 0).mean() > 0.3  # an unbiased distance of equal sets is as often below 0
    claimed = np.sqrt(np.mean([x.standard_error**2 for x in found]))
    print(f"standard error / scatter: {claimed / values.std():.2f}")
    low, high = (1.2, 1.55) if shift == 0 else (0.9, 1.25)  # about √2 where nothing differs
    assert low < claimed / values.std() < high


def test_a_bias_that_grows_as_n_falls_is_not_there():
    # The Fréchet distance of equal distributions is far above 0 here.
    pairs = ((features(20, 50, s), features(20, 50, 1000 + s)) for s in range(200))
    few = np.mean([kernel_distance(*pair).value for pair in pairs])
    assert abs(few) < 0.005


def test_caution():
    rows = features(500, 2)
    assert kernel_distance(rows, rows[:400]).caution.startswith("n = 400 is below 500")
    assert kernel_distance(rows, rows).caution is None


def test_subsets():
    real, fake = features(200, 5, 1), features(150, 5, 2, 1.3)
    whole = kernel_distance(real, fake[:150])
    one = subset_kernel_distance(fake, real[:150], subsets=1, size=150)
    assert one.value == pytest.approx(kernel_distance(fake, real[:150]).value, rel=1e-10)
    assert (one.deviation, one.subsets, one.size) == (0.0, 1, 150)
    many = subset_kernel_distance(real, fake, subsets=300, size=50)
    assert many.value == pytest.approx(whole.value, abs=4 * many.deviation / np.sqrt(300))
    assert many == subset_kernel_distance(real, fake, subsets=300, size=50)
    assert many != subset_kernel_distance(real, fake, subsets=300, size=50, seed=1)
    assert subset_kernel_distance(real, fake, subsets=2).size == 150  # no larger than the sets


@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (features(9, 3), features(9, 4), r"\(n, d\) and \(m, d\).*\(9, 3\) and \(9, 4\)"),
        (features(2, 3), features(9, 3), r"n, m ≥ 3.*\(2, 3\) and \(9, 3\)"),
        (np.full((4, 2), np.nan), features(4, 2), "must be finite"),
    ],
)
def test_errors(real, fake, message):
    with pytest.raises(ValueError, match=message):
        kernel_distance(real, fake)


@pytest.mark.parametrize("numbers", [{"subsets": 0}, {"size": 1}])
def test_subset_errors(numbers):
    with pytest.raises(ValueError, match=r"1 or more, and `size` 2 or more. Received: subsets="):
        subset_kernel_distance(features(9, 3), features(9, 3), **numbers)
