import keras
import numpy as np
import pytest
from helpers import fit, gap

from ganlib.adversarial import Adversarial
from ganlib.models import boundary
from ganlib.models.layers import Conv2DTranspose


def convolution(inputs, outputs, bias=True):
    return 4 * 4 * inputs * outputs + bias * outputs


@pytest.mark.parametrize(
    ("filters", "latent_dim", "upsample", "total"),
    [(32, 256, "transpose", 690_563), (8, 100, "transpose", None), (8, 100, "resize", None)],
)
def test_generator(filters, latent_dim, upsample, total):
    model = boundary.build_generator(filters, latent_dim=latent_dim, upsample=upsample)
    kernel = 4 if upsample == "transpose" else 3
    wide, middle, last = 4 * filters, 2 * filters, filters
    expected = latent_dim * 4 * 4 * wide + 4 * wide  # 4: batch normalisation
    expected += kernel**2 * wide * middle + 4 * middle + kernel**2 * middle * last + 4 * last
    expected += kernel**2 * last * 3 + 3
    assert model.count_params() == expected
    assert total in (None, expected)
    assert (model.input_shape, model.output_shape) == ((None, latent_dim), (None, 32, 32, 3))
    kinds = [type(layer) for layer in model.layers]
    assert kinds.count(Conv2DTranspose) == (3 if upsample == "transpose" else 0)


@pytest.mark.parametrize(("filters", "total"), [(32, 167_649), (8, None)])
def test_discriminator(filters, total):
    model = boundary.build_discriminator(filters)
    expected = convolution(3, filters) + convolution(filters, 2 * filters)
    expected += convolution(2 * filters, 4 * filters) + 4 * 4 * 4 * filters + 1
    assert model.count_params() == expected
    assert total in (None, expected)
    assert (model.input_shape, model.output_shape) == ((None, 32, 32, 3), (None, 1))
    # Nothing that a batch's statistics could change: all weights are trained.
    assert not [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert not model.non_trainable_variables
    assert model.get_layer("logits").activation is keras.activations.linear


def test_defaults_are_those_of_the_write_up():
    assert boundary.build_generator().input_shape == (None, 256)
    assert boundary.build_generator().count_params() == 690_563
    assert boundary.build_discriminator().count_params() == 167_649


@pytest.mark.backend
def test_images_reach_for_both_ends_of_the_signed_range():
    model = boundary.build_generator(4)
    latents = np.random.default_rng(0).normal(0, 1e4, (3, 256)).astype("float32")
    images = keras.ops.convert_to_numpy(model(latents, training=False))
    assert images.shape == (3, 32, 32, 3)
    assert -1 <= images.min() < -0.99
    assert 0.99 < images.max() <= 1
    assert model.layers[-1].activation is keras.activations.tanh


@pytest.mark.parametrize("build", [boundary.build_generator, boundary.build_discriminator])
def test_initial_values(build):
    """Keras' defaults: Glorot's uniform kernels, not DCGAN's normal ones."""
    same, again, other = (build(seed=seed).get_weights() for seed in (0, 0, 1))
    assert gap(same, again) == 0.0
    assert gap(same, other) > 0.01
    kernels = [w for w in same if w.ndim == 4]
    assert len(kernels) == 3
    for kernel in kernels:
        fan = 4 * 4 * (kernel.shape[2] + kernel.shape[3])
        assert np.abs(kernel).max() == pytest.approx(np.sqrt(6 / fan), rel=0.02)


@pytest.mark.backend
def test_probabilities_are_the_sigmoid_of_the_logits():
    model = boundary.build_discriminator(2)
    before = [w.copy() for w in model.get_weights()]
    both = boundary.with_probabilities(model)
    images = np.random.default_rng(0).uniform(-1, 1, (5, 32, 32, 3)).astype("float32")

    def compare(least):
        logits, d = (keras.ops.convert_to_numpy(m(images, training=False)) for m in (model, both))
        assert d.shape == (5, 1)
        assert np.ptp(logits) > least
        np.testing.assert_allclose(d, 1 / (1 + np.exp(-logits.astype("float64"))), atol=1e-6)

    compare(0.01)
    assert gap(model.get_weights(), before) == 0.0
    assert [id(v) for v in both.variables] == [id(v) for v in model.variables]
    model.set_weights([3 * w for w in before])  # trained on: the other one follows
    compare(0.1)


@pytest.mark.backend
def test_trains_on_the_boundary():
    gan = Adversarial(boundary.build_generator(2), boundary.build_discriminator(2), "boundary")
    gan.compile("sgd", "sgd", run_eagerly=True)
    history = fit(gan, np.zeros((4, 32, 32, 3), "float32"))
    assert np.isfinite([values[0] for values in history.values()]).all()


def test_refusal():
    with pytest.raises(ValueError, match=r"`upsample`.*Received: upsample='linear'"):
        boundary.build_generator(upsample="linear")
