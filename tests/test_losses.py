"""The losses against closed forms: adversarial, focal, content; and DiffAugment."""

import dataclasses

import keras
import numpy as np
import pytest
from draws import RNG
from keras import ops
from scipy.optimize import minimize_scalar

from ganlib import losses
from ganlib.augment import DiffAugment
from ganlib.content import ContentLoss, LikenessLoss
from ganlib.features.perceptual import VGG16, Extractor, FilterBank
from ganlib.losses import BinaryFocal, Boundary, Hinge, LeastSquares, NonSaturating, Wasserstein

LOGITS = np.array([-80.0, -4.0, -1.0, -0.3, 0.0, 0.7, 1.0, 5.0, 80.0])


def log_sigmoid(x):
    return -np.logaddexp(0.0, -x)


def cross_entropy(label):
    return lambda x: -label * log_sigmoid(x) - (1.0 - label) * log_sigmoid(-x)


def square(label):
    return lambda x: 0.5 * (x - label) ** 2


def probability(x):
    return np.exp(log_sigmoid(x))


def wrong(x):
    return 1.0 - probability(x)


def off_boundary(x):
    return -np.log(4.0) - log_sigmoid(x) - log_sigmoid(-x)  # -log(4·D·(1 - D))


ones = cross_entropy(1.0)
# real, fake and generator in float64, from the papers' formulas
CASES = {
    "non_saturating": (NonSaturating(), ones, cross_entropy(0.0), ones),
    "smoothed": (NonSaturating(0.9), cross_entropy(0.9), cross_entropy(0.0), ones),
    "least_squares": (LeastSquares(), square(1.0), square(0.0), square(1.0)),
    "hinge": (Hinge(), lambda x: np.fmax(0, 1 - x), lambda x: np.fmax(0, 1 + x), lambda x: -x),
    "wasserstein": (Wasserstein(), lambda x: -x, lambda x: x, lambda x: -x),
    "boundary": (Boundary(0.1), ones, lambda x: 0.1 * off_boundary(x), ones),
    "absolute_error": (losses.AbsoluteError(), wrong, probability, wrong),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


@pytest.mark.backend
def test_values_and_their_means(case):
    loss, *oracle = case
    logits = ops.convert_to_tensor(LOGITS.astype("float32"))
    for function, expected in zip((loss.real, loss.fake, loss.generator), oracle, strict=True):
        values = ops.convert_to_numpy(function(logits))
        np.testing.assert_allclose(values, expected(LOGITS), rtol=2e-6, atol=1e-6)
    real, fake, generator = oracle
    a, b = LOGITS[:5, None], LOGITS[3:, None]  # a ragged pair: each mean is over its own batch
    d_loss = loss.discriminator_loss(ops.convert_to_tensor(a), ops.convert_to_tensor(b))
    assert float(d_loss) == pytest.approx(real(a).mean() + fake(b).mean(), rel=1e-6)
    g_loss = loss.generator_loss(ops.convert_to_tensor(b))
    assert float(g_loss) == pytest.approx(generator(b).mean(), rel=1e-6)


def test_chance_is_the_best_constant_and_floor_the_least_loss(case):
    loss, real, fake, _ = case
    best = minimize_scalar(lambda x: real(x) + fake(x), bounds=(-20, 20), method="bounded")
    assert loss.chance == pytest.approx(best.fun, abs=1e-6)
    grid = np.linspace(-80.0, 80.0, 160_001)
    least = real(grid).min() + fake(grid).min()
    assert least < -100 if loss.floor is None else loss.floor == pytest.approx(least, abs=1e-6)


def test_by_name_and_from_files(case):
    assert losses.get(keras.saving.serialize_keras_object(case[0])) == case[0]
    assert losses.get("non_saturating", real_label=0.9) == NonSaturating(0.9)
    assert {name: losses.get(name) for name in losses.LOSSES} == {
        name: cls() for name, cls in losses.LOSSES.items()
    }


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (Boundary, float("nan")),
        (NonSaturating, 1.1),
        (BinaryFocal, float("nan")),
        (LikenessLoss, float("nan")),
        (lambda value: ContentLoss(pixel=value), -1.0),
        (lambda value: ContentLoss(pixel=value), 0.0),
        (lambda value: ContentLoss(distance=value), "l3"),
        (lambda value: ContentLoss(perceptual=value), 1.0),  # of which features?
        (lambda value: losses.get("hinge", value), 0.9),
        (DiffAugment, ("cutout", "blur")),
        (DiffAugment, ()),
    ],
)
def test_values_that_are_refused(make, value):
    with pytest.raises(ValueError, match="Received: "):
        make(value)


def slopes(function, x):
    """Gradient of the sum of a function of x, on any backend."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        x = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = ops.sum(tf.function(function)(x))  # a graph: it has no sigmoid to look up
        return tape.gradient(total, x).numpy()
    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(lambda x: ops.sum(function(x)))(x))
    variable = keras.Variable(x)
    ops.sum(function(variable.value)).backward()
    return ops.convert_to_numpy(variable.value.grad)


@pytest.mark.backend
@pytest.mark.parametrize("label", [0.0, 1.0])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_values_and_slopes(gamma, label):
    """The paper's formula and its derivative, -(±1)·(1 - p)^γ·(1 - p - γ·p·log p), in float64."""
    loss, sign = BinaryFocal(gamma, reduction=None), 2 * label - 1
    logits = LOGITS.astype("float32")[:, None]
    masks = np.full_like(logits, label)
    p, rest, log_p = (
        probability(sign * LOGITS),
        probability(-sign * LOGITS),
        log_sigmoid(sign * LOGITS),
    )
    values = ops.convert_to_numpy(loss(masks, logits))
    np.testing.assert_allclose(values, rest**gamma * -log_p, rtol=1e-5, atol=1e-8)
    made = slopes(lambda x: loss(masks, x), logits)[:, 0]
    expected = -sign * rest**gamma * (rest - gamma * p * log_p)
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-8)
    bytes_ = (255 * masks).astype("uint8")
    np.testing.assert_array_equal(ops.convert_to_numpy(loss(bytes_, logits)), values)


@keras.saving.register_keras_serializable("ganlib_tests")
@dataclasses.dataclass(frozen=True)
class Sums(Extractor):
    """Two maps with a closed form: the sum of the colours, and `factor` times the picture."""

    factor: float = 2.0

    def build(self):
        images = keras.Input((None, None, 3))
        total = keras.layers.Conv2D(1, 1, use_bias=False, kernel_initializer="ones")(images)
        return keras.Model(images, [total, self.factor * images])


def pictures(*shape):
    return RNG.uniform(-1, 1, shape).astype("float32")


def value(loss, fake, real):
    return float(loss(*map(ops.convert_to_tensor, (fake, real))))


@pytest.mark.backend
@pytest.mark.parametrize(("distance", "oracle"), [("l1", np.abs), ("l2", np.square)])
def test_pixels_and_features(distance, oracle):
    fake, real = pictures(2, 6, 6, 3), pictures(2, 6, 6, 3)
    difference = fake.astype("float64") - real
    first, second = (difference.sum(-1) ** 2).mean(), (3.0 * difference**2).mean() * 3.0
    pixels, features = 0.5 * oracle(difference).mean(), 0.2 * (first + second) / 2
    assert value(ContentLoss(0.5, distance), fake, real) == pytest.approx(pixels, rel=1e-5)
    both = ContentLoss(0.5, distance, 0.2, Sums(3.0))
    assert value(both, fake, real) == pytest.approx(pixels + features, rel=1e-5)
    signed = ContentLoss(0.0, distance, 0.2, Sums(3.0), "signed")  # features see [0, 1]
    assert value(signed, fake, real) == pytest.approx(features / 4, rel=1e-5)
    assert value(both, real, real) == 0.0


@pytest.mark.parametrize(
    "loss",
    [
        ContentLoss(0.1, "l2", 2.0, FilterBank(2), "signed"),
        ContentLoss(0.0, "l1", 1.0, VGG16(3)),
        ContentLoss(1.0, "l1", 1.0, Sums(7.0)),
        LikenessLoss(0.7),
        DiffAugment(["cutout", "brightness"]),
    ],
)
def test_round_trip(loss):
    config = keras.saving.serialize_keras_object(loss)
    assert config["registered_name"] == f"ganlib>{type(loss).__name__}"
    again = keras.saving.deserialize_keras_object(config)
    assert again == loss
    # Building no network: a model is loaded where its weights need not be at hand.
    assert "model" not in vars(getattr(again, "features", Sums()))


@pytest.mark.backend
@pytest.mark.parametrize(("n", "m"), [(4, 7), (7, 4), (1, 1)])
def test_each_picture_to_its_nearest_both_ways(n, m):
    def distance(x, y):
        x, y = (a.astype("float64") - a.mean(axis=(0, 1), dtype="float64") for a in (x, y))
        return 1 - 2 * (x * y).sum() / ((x * x).sum() + (y * y).sum())

    fake, real = pictures(n, 6, 5, 3), pictures(m, 6, 5, 3)
    real[0] = fake[-1] * 0.6 + 0.1  # near, but with less contrast and of another brightness
    there = np.mean([min(distance(x, y) for y in real) for x in fake])
    back = np.mean([min(distance(x, y) for x in fake) for y in real])
    assert value(LikenessLoss(), fake, real) == pytest.approx((there + back) / 2, rel=1e-5)


@pytest.mark.backend
@pytest.mark.parametrize("grey", [0.0, 0.3])
def test_a_picture_of_one_colour_is_like_none(grey):
    # Also where rounding leaves a little of it beside its mean.
    fake, real = np.full((3, 6, 5, 3), grey, "float32"), pictures(4, 6, 5, 3)
    assert value(LikenessLoss(), fake, real) == pytest.approx(1.0, abs=0.01)
    assert value(LikenessLoss(2.5), fake, fake) == pytest.approx(2.5, abs=0.01)
    made = slopes(lambda x: LikenessLoss()(x, ops.convert_to_tensor(real)), fake)
    assert np.isfinite(made).all()


PICTURES = np.random.default_rng(0).uniform(-1.0, 1.0, (200, 10, 12, 3)).astype("float32")


def augment(policy, images=PICTURES):
    seeds = keras.random.SeedGenerator(1)
    return ops.convert_to_numpy(DiffAugment(policy)(ops.convert_to_tensor(images), seeds))


@pytest.mark.backend
@pytest.mark.parametrize(
    ("policy", "axes", "low", "high"),
    [("saturation", (3,), 0.0, 2.0), ("contrast", (1, 2, 3), 0.5, 1.5)],
)
def test_colours_are_scaled_about_their_mean(policy, axes, low, high):
    mean = PICTURES.mean(axes, keepdims=True)
    changed, away = augment(policy), PICTURES - mean
    factor = np.sum((changed - mean) * away, axis=(1, 2, 3)) / np.sum(away**2, axis=(1, 2, 3))
    np.testing.assert_allclose(changed, mean + factor[:, None, None, None] * away, atol=1e-5)
    assert low <= factor.min() < low + 0.1
    assert high - 0.1 < factor.max() <= high


@pytest.mark.backend
def test_translation_shifts_with_zero_padding():
    def shifted(image, down, right):
        """NumPy's way: the image on a larger black canvas, cut out again."""
        canvas = np.pad(image, ((2, 2), (2, 2), (0, 0)))
        return canvas[2 - down : 12 - down, 2 - right : 14 - right]

    steps = [(down, right) for down in range(-1, 2) for right in range(-2, 3)]
    found = []
    for before, after in zip(PICTURES, augment("translation"), strict=True):
        found += [step for step in steps if np.array_equal(shifted(before, *step), after)]
    assert len(found) == len(PICTURES)
    assert set(found) == set(steps)  # up to an eighth: 1 of 10 rows, 2 of 12 columns


@pytest.mark.backend
def test_cutout_zeroes_a_box():
    corners = set()
    for before, after in zip(PICTURES, augment("cutout"), strict=True):
        cut = np.all(after == 0.0, axis=2)
        np.testing.assert_array_equal(after[~cut], before[~cut])
        rows, columns = np.flatnonzero(cut.any(1)), np.flatnonzero(cut.any(0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert cut.sum() == height * width  # a full box, of half the sides unless at the border
        assert height == 5 or (height >= 3 and (rows[0] == 0 or rows[-1] == 9))
        assert width == 6 or (width >= 3 and (columns[0] == 0 or columns[-1] == 11))
        corners.add((rows[0], columns[0]))
    assert len(corners) > 30


@pytest.mark.backend
def test_orientation_gives_the_eight_symmetries_of_a_square():
    square = np.random.default_rng(1).uniform(-1.0, 1.0, (10, 10, 3)).astype("float32")
    turned = [np.rot90(side, k) for side in (square, square[:, ::-1]) for k in range(4)]
    changed = augment("orientation", np.repeat(square[None], 800, axis=0))
    counts = [np.all(changed == form, axis=(1, 2, 3)).sum() for form in turned]
    assert sum(counts) == 800  # none is anything else
    assert min(counts) > 60  # 100 each, ± 9.4
