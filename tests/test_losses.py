import dataclasses

import keras
import numpy as np
import pytest
from helpers import LATENT, arrays, fit, fixed_random, gap, images, make_gan
from keras import ops
from scipy.optimize import minimize_scalar

from ganlib import losses
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


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"hinge.*wasserstein.*Received: bce"):
        losses.get("bce")


@pytest.mark.parametrize("name", ["hinge", "wasserstein"])
def test_nothing_to_smooth(name):
    with pytest.raises(ValueError, match=f"'{name}' has none.*Received: real_label=0.9"):
        losses.get(name, real_label=0.9)


@pytest.mark.backend
def test_boundary_where_the_literal_form_is_infinite():
    logits = np.array([-1000.0, -30.0, -17.0, 0.0, 17.0, 30.0, 1000.0], "float32")
    with np.errstate(divide="ignore", over="ignore"):
        d = 1 / (1 + np.exp(-logits))
        literal = -np.log(1 - 4 * (d - np.float32(0.5)) ** 2)
    assert literal.dtype == np.float32
    assert np.isinf(literal[[0, -2, -1]]).all()
    values = ops.convert_to_numpy(Boundary(1.0).fake(ops.convert_to_tensor(logits)))
    wanted = np.abs(logits.astype("float64")) + 2 * np.log1p(np.exp(-np.abs(logits))) - np.log(4)
    np.testing.assert_allclose(values, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, -0.5, float("nan"), float("inf")])
def test_boundary_weight_out_of_range(gamma):
    with pytest.raises(ValueError, match=f"`gamma` must be a positive.*Received: {gamma}"):
        Boundary(gamma)


@pytest.mark.backend
def test_boundary_draws_d_to_one_half():
    gan = make_gan(loss="boundary", compile_options={"run_eagerly": True})
    slope = {}
    for start in (-2.0, 2.0):  # the gradient is γ·tanh(l/2), towards 0 from either side
        a, b = (float(gan.adversarial_loss.fake(ops.convert_to_tensor(start + h))) for h in (0, 1))
        slope[start] = b - a
    assert slope[-2.0] < 0 < slope[2.0]
    history = fit(gan, images(4))
    assert np.isfinite(history["d_loss"][0])


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


@pytest.mark.parametrize("method", ["real", "fake", "generator"])
def test_what_a_loss_must_define(method):
    with pytest.raises(NotImplementedError, match=rf"AdversarialLoss must define {method}\("):
        getattr(AdversarialLoss(), method)(0.0)


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


def test_focal_slopes_by_difference():
    x, h = np.linspace(-6, 6, 25), 1e-5
    for label in (0.0, 1.0):
        difference = (focal(x + h, label, 2.0) - focal(x - h, label, 2.0)) / (2 * h)
        np.testing.assert_allclose(focal_slope(x, label, 2.0), difference, atol=1e-9)


@pytest.mark.backend
def test_focal_agrees_with_keras_where_nothing_saturates():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (2, 5, 4, 1)).astype("float32")
    masks = (rng.uniform(size=logits.shape) < 0.3).astype("uint8")
    for gamma in (0.0, 2.0):
        keras_own = keras.losses.BinaryFocalCrossentropy(gamma=gamma, from_logits=True)
        expected = float(keras_own(masks, logits))
        assert float(BinaryFocal(gamma)(masks, logits)) == pytest.approx(expected, rel=1e-5)
    cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)
    assert float(BinaryFocal(0.0)(masks, logits)) == pytest.approx(
        float(cross_entropy(masks, logits)), rel=1e-6
    )


def test_focal_round_trip():
    config = keras.saving.serialize_keras_object(BinaryFocal(1.5))
    assert config["registered_name"] == "ganlib>BinaryFocal"
    again = keras.saving.deserialize_keras_object(config)
    assert (again.gamma, again.name) == (1.5, "binary_focal")


@pytest.mark.parametrize("gamma", [-1.0, float("nan"), float("inf")])
def test_focal_gamma_out_of_range(gamma):
    with pytest.raises(ValueError, match=f"`gamma` must be a finite.*Received: {gamma}"):
        BinaryFocal(gamma)


@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 4, 1, 1)])
def test_focal_does_not_broadcast_masks(shape):
    with pytest.raises(ValueError, match=r"same shape.*Received: .* and \(2, 4, 4, 1\)"):
        BinaryFocal()(np.zeros(shape, "float32"), np.zeros((2, 4, 4, 1), "float32"))
