import itertools

import keras
import numpy as np
import pytest
from helpers import fit, gap

from ganlib.adversarial import Adversarial
from ganlib.models import dcgan
from ganlib.models.layers import Conv2DTranspose, SpectralConv2D, SpectralDense


def trainable(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def convolution(inputs, outputs, kernel, bias=True):
    return kernel**2 * inputs * outputs + bias * outputs


# -- the assignment ------------------------------------------------------------------------------


def test_assignment_generator():
    model = dcgan.build_assignment_generator()
    widths = (256, 128, 64, 32)
    expected = 100 * 16384 + 16384 + convolution(32, 3, 5)
    for inputs, outputs in itertools.pairwise(widths):
        expected += convolution(inputs, outputs, 5) + 4 * outputs  # 4: batch normalisation
    assert model.count_params() == expected == 2_733_507
    assert trainable(model) == expected - 2 * (128 + 64 + 32)
    shapes = [
        layer.output.shape[1:] for layer in model.layers if isinstance(layer, Conv2DTranspose)
    ]
    assert shapes == [(16, 16, 128), (32, 32, 64), (64, 64, 32), (64, 64, 3)]
    assert model.get_layer("images").strides == (1, 1)
    assert model.get_layer("images").activation is keras.activations.tanh


def test_assignment_discriminator():
    model = dcgan.build_assignment_discriminator()
    expected = convolution(3, 32, 5) + convolution(32, 128, 5) + convolution(128, 256, 5)
    expected += 8 * 8 * 256 + 1
    assert model.count_params() == trainable(model) == expected == 940_801
    assert model.output_shape == (None, 1)
    assert model.get_layer("logits").activation is keras.activations.linear


def test_small_assignment():
    generator = dcgan.build_assignment_generator(5, size=32, filters=8)
    dense = 4 * 4 * 64
    expected = 5 * dense + dense + convolution(8, 3, 5)
    for inputs, outputs in itertools.pairwise((64, 32, 16, 8)):
        expected += convolution(inputs, outputs, 5) + 4 * outputs
    assert generator.count_params() == expected
    assert (generator.input_shape, generator.output_shape) == ((None, 5), (None, 32, 32, 3))
    discriminator = dcgan.build_assignment_discriminator(size=32, filters=8)
    expected = convolution(3, 8, 5) + convolution(8, 32, 5) + convolution(32, 64, 5) + dense + 1
    assert discriminator.count_params() == expected
    assert (discriminator.input_shape, discriminator.output_shape) == ((None, 32, 32, 3), (None, 1))


def test_assignment_of_a_size_that_is_no_power_of_two():
    assert dcgan.build_assignment_generator(3, size=24, filters=1).output_shape[1:] == (24, 24, 3)
    assert dcgan.build_assignment_discriminator(size=24, filters=1).input_shape[1:] == (24, 24, 3)


# -- the configurable one ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [32, 64, 128])
@pytest.mark.parametrize("upsample", dcgan.UPSAMPLING)
def test_generator(size, upsample):
    model = dcgan.build_generator(size, filters=2, latent_dim=5, upsample=upsample)
    assert model.output_shape == (None, size, size, 3)
    levels = {32: 3, 64: 4, 128: 5}[size]
    widths = [2 << level for level in reversed(range(levels))]
    kernel = 4 if upsample == "transpose" else 3
    expected = 5 * 16 * widths[0] + 4 * widths[0] + convolution(2, 3, kernel)
    for inputs, outputs in itertools.pairwise(widths):
        expected += convolution(inputs, outputs, kernel, bias=False) + 4 * outputs
    assert model.count_params() == expected


@pytest.mark.parametrize("size", [32, 128])
@pytest.mark.parametrize("normalisation", ["batch", "spectral", None])
def test_discriminator(size, normalisation):
    model = dcgan.build_discriminator(size, filters=2, normalisation=normalisation)
    levels = {32: 3, 128: 5}[size]
    widths = [2 << level for level in range(levels)]
    batch = normalisation == "batch"
    expected = convolution(3, 2, 4) + 4 * 4 * widths[-1] + 1
    for inputs, outputs in itertools.pairwise(widths):
        expected += convolution(inputs, outputs, 4, bias=not batch) + 4 * outputs * batch
    if normalisation == "spectral":
        expected += sum(widths) + 1  # the power iterations' vectors
        kinds = {type(layer) for layer in model.layers if layer.weights}
        assert kinds == {SpectralConv2D, SpectralDense}
    assert model.count_params() == expected
    assert model.get_layer("logits").activation is keras.activations.linear


def test_resize_paints_no_checkerboard():
    """A flat picture stays flat, away from the border, whatever the weights; transposed doesn't."""
    spreads = {}
    for upsample in dcgan.UPSAMPLING:
        model = dcgan.build_generator(16, 1, 3, 2, normalisation=None, upsample=upsample, seed=1)
        flat = keras.Model(model.layers[2].output, model.output)
        flat.set_weights([10.0 * np.abs(w) for w in flat.get_weights()])
        inner = flat.predict_on_batch(np.ones((1, 4, 4, 4)))[0, 6:10, 6:10]
        spreads[upsample] = np.ptp(inner)
    assert spreads["resize"] < 1e-6
    assert spreads["transpose"] > 1e-3


@pytest.mark.parametrize("build", [dcgan.build_generator, dcgan.build_discriminator])
def test_initial_values(build):
    same, other = build(16, filters=16), build(16, filters=16, seed=1)
    assert gap(same.get_weights(), build(16, filters=16).get_weights()) == 0.0
    kernels = [w for w in same.get_weights() if w.ndim == 4]
    assert all(np.std(kernel) == pytest.approx(0.02, rel=0.15) for kernel in kernels)
    assert gap(same.get_weights(), other.get_weights()) > 0.01
    kernel = next(
        w for w in build(16, filters=16, initializer="keras").get_weights() if w.ndim == 4
    )
    fan = kernel.shape[0] * kernel.shape[1] * (kernel.shape[2] + kernel.shape[3])
    assert np.abs(kernel).max() == pytest.approx(np.sqrt(6 / fan), rel=0.02)


@pytest.mark.backend
def test_trains():
    generator = dcgan.build_generator(8, 1, 3, 2, upsample="resize")
    discriminator = dcgan.build_discriminator(8, 1, 2, normalisation="spectral")
    gan = Adversarial(generator, discriminator, "hinge")
    gan.compile("sgd", "sgd", run_eagerly=True)
    history = fit(gan, np.zeros((4, 8, 8, 1), "float32"))
    assert np.isfinite([values[0] for values in history.values()]).all()


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (dcgan.build_generator, {"size": 48}, r"power of two.*Received: size=48"),
        (dcgan.build_generator, {"normalisation": "spectral"}, "`normalisation` must be one of"),
        (dcgan.build_generator, {"upsample": "linear"}, "`upsample`.*Received: upsample='linear'"),
        (dcgan.build_discriminator, {"normalisation": "layer"}, "Received: normalisation='layer'"),
        (dcgan.build_discriminator, {"initializer": "he"}, "Received: initializer='he'"),
        (dcgan.build_assignment_generator, {"size": 36}, "multiple of 8.*Received: size=36"),
        (dcgan.build_assignment_discriminator, {"size": 8}, "from 16 on.*Received: size=8"),
    ],
)
def test_refusals(build, options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)
