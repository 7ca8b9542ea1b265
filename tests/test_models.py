"""All builders: shapes, ranges, parameters, seeds, files, and that every weight learns."""

import keras
import numpy as np
import pytest
from draws import RNG
from keras import ops

from ganlib.models import boundary, dcgan, digits, srgan
from ganlib.models.linear import apply_kernel, bicubic_kernel, fit_kernel
from ganlib.models.outputs import output_bounds
from ganlib.models.unet import ARCHITECTURES, build_unet

SIGNED, UNIT = (-1.0, 1.0), (0.0, 1.0)


def case(builder, given, made, bounds, parameters, **arguments):
    return builder, arguments, given, made, bounds, parameters


G, D = {"latent_dim": 5, "filters": 2}, {"filters": 2}
DIGIT, SMALL, BEDROOM, CELL = (28, 28, 1), (16, 16, 3), (24, 24, 3), (32, 32, 3)
TANH = {"output": "tanh", "batch_norm": True}
UNET = {"filters": 2, "depth": 1}
CASES = {
    "digits-g": case(digits.build_generator, (5,), DIGIT, UNIT, 1_893, latent_dim=5, width=4),
    "digits-g-tanh": case(
        digits.build_generator, (5,), DIGIT, SIGNED, 2_709, latent_dim=5, width=4, **TANH
    ),
    "digits-d": case(digits.build_discriminator, DIGIT, (1,), None, 385, width=4),
    "dcgan-g": case(dcgan.build_generator, (5,), SMALL, SIGNED, 571, size=16, **G),
    "dcgan-g-resize": case(
        dcgan.build_generator, (5,), CELL, SIGNED, 1_113, size=32, upsample="resize", **G
    ),
    "dcgan-d": case(dcgan.build_discriminator, SMALL, (1,), None, 307, size=16, **D),
    "dcgan-d-spectral": case(
        dcgan.build_discriminator, SMALL, (1,), None, 302, size=16, normalisation="spectral", **D
    ),
    "assignment-g": case(
        dcgan.build_assignment_generator, (5,), BEDROOM, SIGNED, 5_287, size=24, **G
    ),
    "assignment-d": case(
        dcgan.build_assignment_discriminator, BEDROOM, (1,), None, 3_921, size=24, **D
    ),
    "boundary-g": case(boundary.build_generator, (5,), CELL, SIGNED, 1_435, **G),
    "boundary-d": case(boundary.build_discriminator, CELL, (1,), None, 879, **D),
    "srgan-g": case(
        srgan.build_generator, (4, 6, 3), (8, 12, 3), None, 1_298, scale=2, blocks=1, **D
    ),
    "srgan-paper": case(
        srgan.build_paper_generator, (4, 6, 3), (16, 24, 3), SIGNED, 1_427, blocks=1, **D
    ),
    "srgan-d": case(srgan.build_discriminator, (8, 13, 3), (1,), None, 367, levels=2, **D),
    **{
        name: case(build_unet, (4, 6, 1), (4, 6, 1), None, number, architecture=name, **UNET)
        for name, number in zip(ARCHITECTURES, (481, 574, 628), strict=True)
    },
}
# On every backend one of each kind of layer: compiling takes its time.
ELSEWHERE = ("digits-g-tanh", "dcgan-d-spectral", "srgan-g", "attention_resunet")
NAMES = [
    pytest.param(name, marks=pytest.mark.backend) if name in ELSEWHERE else name for name in CASES
]


def build(name, seed=0, **options):
    keras.utils.set_random_seed(seed)  # the dense layers of SRGAN's discriminator follow it
    builder, arguments = CASES[name][:2]
    return builder(**arguments, **options, seed=seed)


def pictures(*shape):
    return RNG.uniform(0, 1, shape).astype("float32")


def run(model, x, **options):
    return ops.convert_to_numpy(model(x, **options))


@pytest.mark.parametrize("name", NAMES)
def test_builder(name, tmp_path):
    _, _, given, made, bounds, parameters = CASES[name]
    model, x = build(name), pictures(3, *given)
    assert model.count_params() == parameters
    assert output_bounds(model) == bounds
    before = [ops.convert_to_numpy(v).copy() for v in model.trainable_variables]
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    for _ in range(2):  # a new EDSR generator is linear: its trunk moves after its end has
        model.train_on_batch(x, pictures(3, *made))
    for variable, old in zip(model.trainable_variables, before, strict=True):
        assert np.abs(ops.convert_to_numpy(variable) - old).max() > 0, variable.path
    outputs = run(model, x, training=False)
    assert outputs.shape == (3, *made)
    assert np.isfinite(outputs).all()
    assert np.ptp(outputs) > 0
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(run(loaded, x, training=False), outputs)


@pytest.mark.parametrize("name", CASES)
def test_seed_decides_the_weights(name):
    first, again, other = (build(name, seed).get_weights() for seed in (1, 1, 2))
    kernels = [(a, b) for a, b in zip(first, other, strict=True) if a.ndim > 1 and a.any()]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    different = [not np.array_equal(a, b) for a, b in kernels]
    assert sum(different) == len(different) - (name == "srgan-g")  # the linear skip is none of it


@pytest.mark.parametrize(
    ("builder", "options", "parameters"),
    [
        (dcgan.build_assignment_generator, {}, 2_733_507),
        (dcgan.build_assignment_discriminator, {}, 940_801),
        (boundary.build_generator, {}, 690_563),
        (boundary.build_discriminator, {}, 167_649),
        # The paper's, less its batch normalisation of 4 numbers for each of these channels.
        (srgan.build_discriminator, {}, 5_219_137 - 4 * (64 + 2 * (128 + 256 + 512))),
        # As krasserm/super-resolution prints it for its sr_resnet, ×4.
        (srgan.build_paper_generator, {}, 1_554_883),
        # The tutorial's summaries for three channels, less the biases before batch normalisations:
        # 1984 channels on the way down and 960 on the way up, in 2 or 3 convolutions; 960 in gates.
        (build_unet, {"channels": 3}, 31_402_501 - 2 * 2944 - 4),
        (
            *(build_unet, {"architecture": "attention_unet", "channels": 3}),
            37_334_665 - 2 * 2944 - 2 * 960 - 4,
        ),
        (
            *(build_unet, {"architecture": "attention_resunet", "channels": 3}),
            39_090_377 - 3 * 2944 - 2 * 960 - 4,
        ),
    ],
)
def test_parameters_at_the_scale_of_the_write_ups(builder, options, parameters):
    with keras.StatelessScope(initialize_variables=False):
        assert builder(**options).count_params() == parameters


@pytest.mark.parametrize(
    ("builder", "options", "message"),
    [
        (dcgan.build_generator, {"size": 48}, r"power of two.*Received: size=48"),
        (dcgan.build_assignment_generator, {"size": 36}, "multiple of 8.*Received: size=36"),
        (boundary.build_generator, {"upsample": "linear"}, "Received: upsample='linear'"),
        (boundary.build_discriminator, {"normalisation": "he"}, "Received: normalisation='he'"),
        (srgan.build_generator, {"scale": 5}, r"`scale` must be one of.*Received: scale=5"),
        (build_unet, {"architecture": "UNet"}, "Received: architecture='UNet'"),
    ],
)
def test_refusals(builder, options, message):
    with pytest.raises(ValueError, match=message):
        builder(**options)


def test_resize_paints_no_checkerboard():
    """Constant features give a flat picture, away from the border, whatever the weights."""
    spreads = {}
    for upsample in ("resize", "transpose"):
        model = dcgan.build_generator(8, 3, 2, upsample=upsample, seed=1)
        flat = keras.Model(model.get_layer(index=2).output, model.output)
        flat.set_weights([10.0 * np.abs(w) for w in flat.get_weights()])
        inner = flat.predict_on_batch(np.ones((1, 4, 4, 2)))[0, 2:6, 2:6]
        spreads[upsample] = np.ptp(inner, axis=(0, 1)).max()
    assert spreads["resize"] < 1e-6
    assert spreads["transpose"] > 1e-3


# -- super-resolution ----------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, pytest.param(3, marks=pytest.mark.backend), 4])
def test_a_new_generator_is_its_linear_upscaler(scale):
    high, images = pictures(12 * scale, 15 * scale, 3), pictures(1, 2, 5, 3)
    fitted = fit_kernel([(high[::scale, ::scale], high)], scale)
    for kernel in (None, fitted):
        made = run(srgan.build_generator(scale, 4, 2, kernel=kernel), images)
        kernel = bicubic_kernel(scale) if kernel is None else kernel
        np.testing.assert_allclose(made[0], apply_kernel(images[0], kernel, scale), atol=2e-6)
    assert np.abs(fitted - bicubic_kernel(scale)).max() > 0.01


# -- U-Nets --------------------------------------------------------------------------------------


def inner(model, name):
    """The same weights up to one layer."""
    return keras.Model(model.input, model.get_layer(name).output)


@pytest.mark.backend
def test_gates_weigh_the_skip():
    model, images = build("attention_unet"), pictures(2, 8, 12, 1)
    names = ("down0_relu2", "gate0_weights", "gate0_weighted")
    skip, weights, weighted = (run(inner(model, name), images) for name in names)
    assert weights.shape == (2, 8, 12, 1)
    assert 0 < weights.min() < weights.max() < 1
    np.testing.assert_allclose(weighted, skip * weights, atol=1e-6)
    # What is below decides what passes.
    kernel = model.get_layer("bottom_conv1").kernel
    kernel.assign(-kernel)
    assert np.abs(run(inner(model, "gate0_weights"), images) - weights).max() > 1e-4


@pytest.mark.backend
def test_dropout_of_a_unet_follows_its_seed():
    dropping, plain = (build("attention_resunet", dropout=rate) for rate in (0.5, 0.0))
    images = pictures(1, 8, 8, 1)
    np.testing.assert_array_equal(run(dropping, images), run(plain, images))
    first, second = (run(dropping, images, training=True) for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
    again = run(build("attention_resunet", dropout=0.5), images, training=True)
    np.testing.assert_allclose(first, again, atol=1e-6)
