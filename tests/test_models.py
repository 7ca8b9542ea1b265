"""All builders: shapes, ranges, parameters, seeds, files, and that every weight learns."""

import keras
import numpy as np
import pytest
from draws import RNG
from keras import ops

from ganlib.backends import precision
from ganlib.models import boundary, dcgan, digits, srgan
from ganlib.models.linear import apply_kernel, bicubic_kernel, fit_kernel
from ganlib.models.outputs import output_bounds
from ganlib.models.unet import build_unet

SIGNED, UNIT = (-1.0, 1.0), (0.0, 1.0)


G, D, TANH = {"latent_dim": 5, "filters": 2}, {"filters": 2}, {"output": "tanh", "batch_norm": True}
RESIZE, SPECTRAL = {"upsample": "resize"}, {"normalisation": "spectral"}
GATED, RESIDUAL = {"architecture": "attention_unet"}, {"architecture": "attention_resunet"}
DIGIT, SMALL, CELL = (28, 28, 1), (16, 16, 3), (32, 32, 3)
# Of each: builder, arguments, shape of one output, its bounds, number of parameters.
CASES = {
    "digits-g": (digits.build_generator, {"latent_dim": 5, "width": 4}, DIGIT, UNIT, 1_893),
    "digits-g-tanh": (digits.build_generator, {"width": 4, **TANH}, DIGIT, SIGNED, 21_329),
    "digits-d": (digits.build_discriminator, {"width": 4}, (1,), None, 385),
    "dcgan-g": (dcgan.build_generator, {"size": 16, **G}, SMALL, SIGNED, 571),
    "dcgan-g-resize": (dcgan.build_generator, {"size": 32, **G, **RESIZE}, CELL, SIGNED, 1_113),
    "dcgan-d": (dcgan.build_discriminator, {"size": 16, **D}, (1,), None, 307),
    "dcgan-d-spectral": (dcgan.build_discriminator, {"size": 16, **D, **SPECTRAL}, (1,), None, 302),
    "assignment-g": (dcgan.build_assignment_generator, {"size": 16, **G}, SMALL, SIGNED, 4_807),
    "assignment-d": (dcgan.build_assignment_discriminator, {"size": 16, **D}, (1,), None, 3_841),
    "boundary-g": (boundary.build_generator, G, CELL, SIGNED, 1_435),
    "boundary-d": (boundary.build_discriminator, D, (1,), None, 879),
    "srgan-g": (srgan.build_generator, {"scale": 2, "blocks": 1, **D}, SMALL, None, 1_298),
    "srgan-paper": (srgan.build_paper_generator, {"blocks": 1, **D}, CELL, SIGNED, 1_427),
    "srgan-d": (srgan.build_discriminator, {"levels": 2, **D}, (1,), None, 367),
    "unet": (build_unet, {"depth": 1, **D}, (8, 8, 1), None, 481),
    "attention_unet": (build_unet, {"depth": 1, **D, **GATED}, (8, 8, 1), None, 574),
    "attention_resunet": (build_unet, {"depth": 1, **D, **RESIDUAL}, (8, 8, 1), None, 628),
}
EVERYWHERE = ("digits-g-tanh", "dcgan-d-spectral", "srgan-g", "attention_resunet")
NAMES = [
    pytest.param(name, marks=pytest.mark.backend) if name in EVERYWHERE else name for name in CASES
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
    _, _, made, bounds, parameters = CASES[name]
    model = build(name)
    x = pictures(3, *(side or 8 for side in model.input_shape[1:]))
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
    assert 0 < np.ptp(outputs) < np.inf
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(run(loaded, x, training=False), outputs)


@pytest.mark.parametrize("name", NAMES)
def test_in_half_precision_pictures_logits_and_weights_stay_float32(name, monkeypatch):
    whole = build(name)
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    with precision.half_precision():
        model = build(name)
    kinds = {layer.compute_dtype for layer in model.layers}
    assert kinds == {"bfloat16", "float32"}
    assert {keras.backend.standardize_dtype(w.dtype) for w in model.weights} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"
    x = pictures(3, *(side or 8 for side in model.input_shape[1:]))
    outputs, exact = run(model, x, training=False), run(whole, x, training=False)
    assert outputs.dtype == "float32"
    gap = np.abs(outputs - exact).max()
    assert gap < 0.05 * max(1, np.abs(exact).max())
    assert (gap > 0) == (name != "srgan-g")  # new it is its linear skip, and that stays float32


def test_half_precision_only_where_it_is_wanted_and_the_machine_has_it(monkeypatch):
    for wanted, there, policy in ((True, False, "float32"), (False, True, "float32")):
        monkeypatch.setattr(precision, "has_bfloat16", lambda there=there: there)
        with precision.half_precision(wanted):
            assert keras.config.dtype_policy().name == policy


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
        (build_unet, {"channels": 3, **GATED}, 37_334_665 - 2 * 2944 - 2 * 960 - 4),
        (build_unet, {"channels": 3, **RESIDUAL}, 39_090_377 - 3 * 2944 - 2 * 960 - 4),
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
        (srgan.build_generator, {"scale": 5}, r"`scale` must be one of.*Received: scale=5"),
        (build_unet, {"architecture": "UNet"}, "Received: architecture='UNet'"),
    ],
)
def test_refusals(builder, options, message):
    with pytest.raises(ValueError, match=message):
        builder(**options)


def test_resize_paints_no_checkerboard():
    spreads = {}  # of the picture of constant features, away from the border
    for upsample in ("resize", "transpose"):
        model = dcgan.build_generator(8, 3, 2, upsample=upsample, seed=1)
        flat = keras.Model(model.get_layer(index=2).output, model.output)
        flat.set_weights([10.0 * np.abs(w) for w in flat.get_weights()])
        inner = flat.predict_on_batch(np.ones((1, 4, 4, 2)))[0, 2:6, 2:6]
        spreads[upsample] = np.ptp(inner, axis=(0, 1)).max()
    assert spreads["resize"] < 1e-6
    assert spreads["transpose"] > 1e-3


@pytest.mark.parametrize("scale", [2, pytest.param(3, marks=pytest.mark.backend), 4])
def test_a_new_generator_is_its_linear_upscaler(scale):
    high, images = pictures(12 * scale, 15 * scale, 3), pictures(1, 2, 5, 3)
    fitted = fit_kernel([(high[::scale, ::scale], high)], scale)
    for kernel in (None, fitted):
        made = run(srgan.build_generator(scale, 4, 2, kernel=kernel), images)
        kernel = bicubic_kernel(scale) if kernel is None else kernel
        np.testing.assert_allclose(made[0], apply_kernel(images[0], kernel, scale), atol=2e-6)


@pytest.mark.backend
def test_gates_weigh_the_skip():
    model, images = build("attention_unet"), pictures(2, 8, 12, 1)
    names = ("down0_relu2", "gate0_weights", "gate0_weighted")
    inner = keras.Model(model.input, [model.get_layer(name).output for name in names])
    skip, weights, weighted = (ops.convert_to_numpy(x) for x in inner(images))
    assert 0 < weights.min() < weights.max() < 1
    np.testing.assert_allclose(weighted, skip * weights, atol=1e-6)


@pytest.mark.backend
def test_dropout_of_a_unet_follows_its_seed():
    dropping, plain = (build("attention_resunet", dropout=rate) for rate in (0.5, 0.0))
    images = pictures(1, 8, 8, 1)
    np.testing.assert_array_equal(run(dropping, images), run(plain, images))
    first, second = (run(dropping, images, training=True) for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
    again = run(build("attention_resunet", dropout=0.5), images, training=True)
    np.testing.assert_allclose(first, again, atol=1e-6)
