"""The losses against closed forms: adversarial, focal, content; and DiffAugment."""

import dataclasses

import keras
import numpy as np
import pytest
from draws import RNG
from helpers import LATENT, arrays, fit, fixed_random, gap, images, make_gan
from keras import ops
from scipy.optimize import minimize_scalar

from ganlib import losses
from ganlib.augment import DiffAugment
from ganlib.content import ContentLoss, LikenessLoss
from ganlib.features.perceptual import VGG16, VGG19, Extractor, FilterBank
from ganlib.losses import (
    AbsoluteError,
    AdversarialLoss,
    BinaryFocal,
    Boundary,
    Hinge,
    LeastSquares,
    NonSaturating,
    Wasserstein,
)

LOGITS = np.array([-80.0, -4.0, -1.0, -0.3, 0.0, 0.7, 1.0, 5.0, 80.0])


def log_sigmoid(x):
    return -np.logaddexp(0.0, -x)


def cross_entropy(label):
    # 1 - sigmoid(x) = sigmoid(-x)
    return lambda x: -label * log_sigmoid(x) - (1.0 - label) * log_sigmoid(-x)


def square(label):
    return lambda x: 0.5 * (x - label) ** 2


def off_boundary(x):
    # -log(4·d·(1 - d))
    return -np.log(4.0) - log_sigmoid(x) - log_sigmoid(-x)


# real, fake and generator in float64, from the papers' formulas
CASES = {
    "non_saturating": (NonSaturating(), cross_entropy(1.0), cross_entropy(0.0), cross_entropy(1.0)),
    "smoothed": (NonSaturating(0.9), cross_entropy(0.9), cross_entropy(0.0), cross_entropy(1.0)),
    "least_squares": (LeastSquares(), square(1.0), square(0.0), square(1.0)),
    "smoothed_squares": (LeastSquares(0.8), square(0.8), square(0.0), square(1.0)),
    "hinge": (
        Hinge(),
        lambda x: np.maximum(0.0, 1.0 - x),
        lambda x: np.maximum(0.0, 1.0 + x),
        lambda x: -x,
    ),
    "wasserstein": (Wasserstein(), lambda x: -x, lambda x: x, lambda x: -x),
    "boundary": (
        Boundary(),
        cross_entropy(1.0),
        lambda x: 0.8 * off_boundary(x),
        cross_entropy(1.0),
    ),
    "boundary_of_other_weight": (
        Boundary(0.1),
        cross_entropy(1.0),
        lambda x: 0.1 * off_boundary(x),
        cross_entropy(1.0),
    ),
    "absolute_error": (
        AbsoluteError(),
        lambda x: 1.0 - np.exp(log_sigmoid(x)),
        lambda x: np.exp(log_sigmoid(x)),
        lambda x: 1.0 - np.exp(log_sigmoid(x)),
    ),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


@pytest.mark.backend
def test_values(case):
    loss, *oracle = case
    logits = ops.convert_to_tensor(LOGITS.astype("float32"))
    for function, expected in zip((loss.real, loss.fake, loss.generator), oracle, strict=True):
        values = ops.convert_to_numpy(function(logits))
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, expected(LOGITS), rtol=2e-6, atol=1e-6)


@pytest.mark.backend
def test_player_losses_are_means(case):
    loss, real, fake, generator = case
    a, b = LOGITS[:5, None], LOGITS[3:, None]  # a ragged pair: each mean is over its own batch
    d_loss = loss.discriminator_loss(ops.convert_to_tensor(a), ops.convert_to_tensor(b))
    g_loss = loss.generator_loss(ops.convert_to_tensor(b))
    assert float(d_loss) == pytest.approx(real(a).mean() + fake(b).mean(), rel=1e-6)
    assert float(g_loss) == pytest.approx(generator(b).mean(), rel=1e-6)


def test_chance_is_the_best_constant_output(case):
    loss, real, fake, _ = case
    best = minimize_scalar(lambda x: real(x) + fake(x), bounds=(-20, 20), method="bounded")
    assert loss.chance == pytest.approx(best.fun, abs=1e-6)


def test_floor_is_the_least_loss(case):
    loss, real, fake, _ = case
    grid = np.linspace(-80.0, 80.0, 160_001)
    least = real(grid).min() + fake(grid).min()
    if loss.floor is None:
        assert least < -100  # falls with the range of the logits: there is none
    else:
        assert loss.floor == pytest.approx(least, abs=1e-6)


def test_round_trip(case):
    loss = case[0]
    config = keras.saving.serialize_keras_object(loss)
    assert losses.get(config) == loss
    assert losses.get(loss) is loss


def test_get_by_name():
    for name, cls in losses.LOSSES.items():
        assert losses.get(name) == cls()
    assert losses.get("non_saturating", real_label=0.9) == NonSaturating(0.9)
    assert losses.get("least_squares", real_label=0.9) == LeastSquares(0.9)


@pytest.mark.parametrize("gamma", [0.0, -0.5, float("nan"), float("inf")])
def test_boundary_weight_out_of_range(gamma):
    with pytest.raises(ValueError, match=f"`gamma` must be a positive.*Received: {gamma}"):
        Boundary(gamma)


@pytest.mark.parametrize("cls", [NonSaturating, LeastSquares])
@pytest.mark.parametrize("real_label", [0.5, 1.1])
def test_real_label_out_of_range(cls, real_label):
    with pytest.raises(ValueError, match=f"Received: real_label={real_label}"):
        cls(real_label)


@keras.saving.register_keras_serializable("ganlib_tests")
@dataclasses.dataclass(frozen=True)
class Quartic(AdversarialLoss):
    target: float = 1.0

    def real(self, logits):
        return (logits - self.target) ** 4

    def fake(self, logits):
        return logits**4

    def generator(self, logits):
        return (logits - self.target) ** 4


@pytest.mark.backend
def test_a_loss_of_ones_own_trains():
    gan = make_gan(loss=Quartic(0.5), compile_options={"run_eagerly": True})
    assert type(gan).from_config(gan.get_config()).adversarial_loss == Quartic(0.5)
    before = arrays(gan.trainable_variables)
    with fixed_random():
        fakes = gan.generator(keras.random.normal((4, LATENT)), training=True)
        real_logits, fake_logits = map(gan.discriminator.predict_on_batch, (images(4), fakes))
        history = fit(gan, images(4))
    expected = np.mean((real_logits - 0.5) ** 4) + np.mean(fake_logits**4)
    assert history["d_loss"][0] == pytest.approx(expected, rel=1e-5)
    assert gap(before, arrays(gan.trainable_variables)) > 1e-3


# -- the focal loss ------------------------------------------------------------------------------


def focal(x, label, gamma):
    """The paper's formula in float64, as it stands."""
    log_p = log_sigmoid(x) if label else log_sigmoid(-x)
    return (1.0 - np.exp(log_p)) ** gamma * -log_p


def focal_slope(x, label, gamma):
    """Its derivative, -(±1)·(1 - p)^γ·(1 - p - γ·p·log p)."""
    sign = 1.0 if label else -1.0
    log_p = log_sigmoid(sign * x)
    p, rest = np.exp(log_p), np.exp(log_sigmoid(-sign * x))
    return -sign * rest**gamma * (rest - gamma * p * log_p)


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
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal_values_and_slopes(gamma, label):
    loss = BinaryFocal(gamma, reduction=None)
    logits = LOGITS.astype("float32")[:, None]
    masks = np.full_like(logits, label)
    values = ops.convert_to_numpy(loss(masks, logits))
    np.testing.assert_allclose(values, focal(LOGITS, label, gamma), rtol=1e-5, atol=1e-8)
    made = slopes(lambda x: loss(masks, x), logits)[:, 0]
    np.testing.assert_allclose(made, focal_slope(LOGITS, label, gamma), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("gamma", [-1.0, float("nan"), float("inf")])
def test_focal_gamma_out_of_range(gamma):
    with pytest.raises(ValueError, match=f"`gamma` must be a finite.*Received: {gamma}"):
        BinaryFocal(gamma)


@pytest.mark.backend
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_focal_masks_of_bytes_are_masks(dtype):
    logits = np.random.default_rng(0).normal(0, 2, (2, 4, 4, 1)).astype("float32")
    masks = (logits > 0.3).astype(dtype)
    expected = float(BinaryFocal()(masks, logits))
    assert float(BinaryFocal()(masks * np.asarray(255, dtype), logits)) == expected


@pytest.mark.backend
@pytest.mark.parametrize("logit", [-80.0, -1.0, 0.0, 17.0, 80.0])
def test_boundary_is_finite_with_its_gradient(logit):
    """Where D rounds to 1, the literal form is infinite: |l| - log 4, with the slope tanh(l/2)."""
    loss, x = Boundary(1.0), np.array([logit], "float32")
    expected = abs(logit) + 2 * np.log1p(np.exp(-abs(logit))) - np.log(4)
    assert float(loss.fake(ops.convert_to_tensor(x))[0]) == pytest.approx(expected, abs=1e-5)
    assert slopes(loss.fake, x)[0] == pytest.approx(np.tanh(logit / 2), abs=1e-6)


# -- content: pixels, features, likeness -----------------------------------------------------------


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
def test_pixels(distance, oracle):
    fake, real = pictures(3, 5, 4, 3), pictures(3, 5, 4, 3)
    expected = 0.7 * oracle(fake.astype("float64") - real).mean()
    loss = ContentLoss(0.7, distance)
    assert value(loss, fake, real) == pytest.approx(expected, rel=1e-5)
    assert value(loss, fake, fake) == 0.0


@pytest.mark.backend
def test_features():
    fake, real = pictures(2, 6, 6, 3), pictures(2, 6, 6, 3)
    difference = fake.astype("float64") - real
    first, second = (difference.sum(-1) ** 2).mean(), (3.0 * difference**2).mean() * 3.0
    loss = ContentLoss(pixel=0.5, distance="l1", perceptual=0.2, features=Sums(3.0))
    expected = 0.5 * np.abs(difference).mean() + 0.2 * (first + second) / 2
    assert value(loss, fake, real) == pytest.approx(expected, rel=1e-5)
    alone = ContentLoss(pixel=0.0, perceptual=0.2, features=Sums(3.0))
    assert value(alone, fake, real) == pytest.approx(0.1 * (first + second), rel=1e-5)
    assert value(loss, real, real) == 0.0


@pytest.mark.parametrize(
    "loss",
    [
        ContentLoss(),
        ContentLoss(0.5, "l2", value_range="signed"),
        ContentLoss(0.1, "l2", 2.0, FilterBank(2), "signed"),
        ContentLoss(0.0, "l1", 1.0, VGG16(3)),
        ContentLoss(0.0, "l1", 1.0, VGG19("block2_conv2")),
        ContentLoss(1.0, "l1", 1.0, Sums(7.0)),
    ],
)
def test_content_comes_back_without_its_network(loss):
    # Building no network: a model is loaded where its weights need not be at hand.
    config = keras.saving.serialize_keras_object(loss)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is ContentLoss
    assert again == loss
    if loss.features is not None:
        assert "model" not in vars(again.features)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pixel": -1.0}, "must not be negative.*Received: pixel=-1.0, perceptual=0.0"),
        ({"perceptual": -0.1}, "must not be negative.*Received: pixel=1.0, perceptual=-0.1"),
        ({"pixel": 0.0}, "one of them above 0. Received: pixel=0.0, perceptual=0.0"),
        ({"distance": "l3"}, r"`distance` must be one of \['l1', 'l2'\]. Received: 'l3'"),
        ({"value_range": "half"}, "Received: value_range='half'"),
        ({"perceptual": 1.0, "features": "vgg"}, "`features` must be .*Received: 'vgg'"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        ContentLoss(**options)


def distance(x, y):
    """Of two pictures, as the loss defines it."""
    x, y = (a.astype("float64") - a.mean(axis=(0, 1), dtype="float64") for a in (x, y))
    return 1 - 2 * (x * y).sum() / ((x * x).sum() + (y * y).sum())


def both_ways(fake, real):
    """`(there, back)`: each generated picture to its nearest real one, and the other way round."""
    there = np.mean([min(distance(x, y) for y in real) for x in fake])
    back = np.mean([min(distance(x, y) for x in fake) for y in real])
    return there, back


@pytest.mark.backend
@pytest.mark.parametrize(("n", "m"), [(4, 7), (7, 4), (1, 3), (3, 1), (1, 1)])
def test_each_picture_to_its_nearest_both_ways(n, m):
    fake, real = pictures(n, 6, 5, 3), pictures(m, 6, 5, 3)
    real[0] = fake[-1] * 0.6 + 0.1  # near, but with less contrast and of another brightness
    there, back = both_ways(fake, real)
    loss = value(LikenessLoss(), fake, real)
    assert loss == pytest.approx((there + back) / 2, rel=1e-5)
    assert 0.0 < loss < 2.0
    if n != m:
        assert there != pytest.approx(back, rel=1e-2)  # or one way would do


@pytest.mark.backend
@pytest.mark.parametrize("grey", [0.0, 0.3, -0.7])
def test_a_picture_of_one_colour_is_like_none(grey):
    # Also where rounding leaves a little of it beside its mean.
    fake, real = np.full((3, 6, 5, 3), grey, "float32"), pictures(4, 6, 5, 3)
    assert value(LikenessLoss(), fake, real) == pytest.approx(1.0, abs=0.01)
    assert value(LikenessLoss(2.5), fake, fake) == pytest.approx(2.5, abs=0.01)
    made = slopes(lambda x: LikenessLoss()(x, ops.convert_to_tensor(real)), fake)
    assert np.isfinite(made).all()


def test_likeness_keeps_its_name_in_files():
    config = keras.saving.serialize_keras_object(LikenessLoss(0.7))
    assert config["registered_name"] == "ganlib>LikenessLoss"
    assert keras.saving.deserialize_keras_object(config) == LikenessLoss(0.7)
    with pytest.raises(ValueError, match=r"`weight` must be above 0. Received: weight=nan"):
        LikenessLoss(float("nan"))


# -- DiffAugment -----------------------------------------------------------------------------------

PICTURES = np.random.default_rng(0).uniform(-1.0, 1.0, (200, 10, 12, 3)).astype("float32")


def augment(*policy, images=PICTURES, seed=1):
    seeds = keras.random.SeedGenerator(seed)
    return ops.convert_to_numpy(DiffAugment(policy)(ops.convert_to_tensor(images), seeds))


@pytest.mark.backend
def test_saturation_scales_the_distance_from_grey():
    grey = PICTURES.mean(3, keepdims=True)
    factor = np.sum((augment("saturation") - grey) * (PICTURES - grey), axis=(1, 2, 3))
    factor /= np.sum((PICTURES - grey) ** 2, axis=(1, 2, 3))
    expected = grey + factor[:, None, None, None] * (PICTURES - grey)
    np.testing.assert_allclose(augment("saturation"), expected, atol=1e-5)
    assert 0.0 <= factor.min() < 0.1
    assert 1.9 < factor.max() <= 2.0
    one_channel = PICTURES[..., :1]
    np.testing.assert_allclose(augment("saturation", images=one_channel), one_channel, atol=1e-6)


def shifted(image, down, right):
    """NumPy's way: the image on a larger black canvas, cut out again."""
    height, width, _ = image.shape
    canvas = np.pad(image, ((2, 2), (2, 2), (0, 0)))
    return canvas[2 - down : 2 - down + height, 2 - right : 2 - right + width]


@pytest.mark.backend
def test_translation_shifts_with_zero_padding():
    steps = [(down, right) for down in range(-1, 2) for right in range(-2, 3)]
    found = []
    for before, after in zip(PICTURES, augment("translation"), strict=True):
        same = [step for step in steps if np.array_equal(shifted(before, *step), after)]
        assert len(same) == 1
        found += same
    assert set(found) == set(steps)  # up to an eighth: 1 of 10 rows, 2 of 12 columns


@pytest.mark.backend
def test_cutout_zeroes_a_box():
    corners = set()
    for before, after in zip(PICTURES, augment("cutout"), strict=True):
        cut = np.all(after == 0.0, axis=2)
        np.testing.assert_array_equal(after[~cut], before[~cut])
        rows, columns = np.flatnonzero(cut.any(1)), np.flatnonzero(cut.any(0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert cut.sum() == height * width  # a full box
        assert 3 <= width <= 6
        assert 3 <= height <= 5
        if rows[0] > 0 and rows[-1] < 9:
            assert height == 5
        if columns[0] > 0 and columns[-1] < 11:
            assert width == 6
        corners.add((rows[0], columns[0]))
    assert len(corners) > 30


@pytest.mark.backend
def test_orientation_gives_the_eight_symmetries_of_a_square():
    square = np.random.default_rng(1).uniform(-1.0, 1.0, (10, 10, 3)).astype("float32")
    turned = [np.rot90(side, k) for side in (square, square[:, ::-1]) for k in range(4)]
    changed = augment("orientation", images=np.repeat(square[None], 800, axis=0))
    counts = [np.all(changed == form, axis=(1, 2, 3)).sum() for form in turned]
    assert sum(counts) == 800  # none is anything else
    assert min(counts) > 60  # 100 each, ± 9.4
    with pytest.raises(ValueError, match=r"square images.*Received: shape \(200, 10, 12, 3\)"):
        augment("orientation")


@pytest.mark.backend
def test_config():
    change = DiffAugment(["cutout", "brightness"])
    assert change == DiffAugment(("cutout", "brightness")) == DiffAugment(**change.get_config())
    config = keras.saving.serialize_keras_object(change)
    assert keras.saving.deserialize_keras_object(config) == change
    assert DiffAugment("cutout").policy == ("cutout",)
