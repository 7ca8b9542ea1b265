"""Super-resolution networks: where pixels go, what a new one does, shapes and sizes."""

import json

import keras
import numpy as np
import pytest
from draws import RNG
from helpers import run_python
from keras import ops

from ganlib.images import apply_kernel, bicubic_kernel, fit_kernel, upscale
from ganlib.models.srgan import (
    ICNR,
    SCALES,
    LinearUpscaling,
    PixelShuffle,
    build_discriminator,
    build_generator,
    build_paper_generator,
)
from ganlib.studies.srgan import Recipe
from ganlib.studies.srgan_training import generator_parameters

BUILDERS = {"residual": build_generator, "paper": build_paper_generator}

every_scale = pytest.mark.parametrize("scale", SCALES)
every_generator = pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)


def pictures(*shape):
    return RNG.uniform(0, 1, shape).astype("float32")


def run(layer, x):
    return ops.convert_to_numpy(layer(x))


def some_kernel(scale):
    """A fitted kernel, which is not bicubic's."""
    high = pictures(12 * scale, 15 * scale, 3)
    low = high[::scale, ::scale]
    return fit_kernel([(low, high)], scale)


# -- pixel shuffle -------------------------------------------------------------------------------


@pytest.mark.backend
@pytest.mark.parametrize("channels", [1, 3])
@every_scale
def test_where_each_channel_goes(scale, channels):
    x = pictures(2, 3, 4, scale**2 * channels)
    expected = np.empty((2, 3 * scale, 4 * scale, channels), "float32")
    for i in range(scale):
        for j in range(scale):
            first = (i * scale + j) * channels  # the order of `bicubic_kernel`
            expected[:, i::scale, j::scale] = x[..., first : first + channels]
    np.testing.assert_array_equal(run(PixelShuffle(scale), x), expected)


def test_no_pixel_is_lost():
    x = pictures(2, 6, 9, 2)
    blocks = x.reshape(2, 2, 3, 3, 3, 2).transpose(0, 1, 3, 2, 4, 5).reshape(2, 2, 3, 18)
    np.testing.assert_array_equal(run(PixelShuffle(3), blocks), x)


def test_shapes_of_a_shuffle():
    assert PixelShuffle(3).compute_output_shape((None, None, 5, 18)) == (None, None, 15, 2)
    assert PixelShuffle.from_config(PixelShuffle(3).get_config()).scale == 3


# -- the linear upscaler -------------------------------------------------------------------------


@every_scale
def test_linear_upscaler_is_bicubic_to_the_borders(scale):
    layer = LinearUpscaling(scale)
    for size in [(1, 1), (1, 4), (2, 1), (2, 2), (3, 7), (9, 6)]:
        batch = pictures(2, *size, 3)
        for image, large in zip(batch, run(layer, batch), strict=True):
            np.testing.assert_allclose(large, upscale(image, scale), atol=2e-6)


@every_scale
def test_linear_upscaler_with_a_fitted_kernel(scale):
    kernel = some_kernel(scale)
    assert np.abs(kernel - bicubic_kernel(scale)).max() > 0.01
    layer = LinearUpscaling(scale, kernel)
    for size in [(1, 1), (2, 3), (8, 5)]:
        image = pictures(*size, 3)
        expected = apply_kernel(image, kernel, scale)
        np.testing.assert_allclose(run(layer, image[None])[0], expected, atol=2e-6)


def test_linear_upscaler_is_never_trained():
    layer = LinearUpscaling(2)
    layer.build((None, None, None, 3))
    assert layer.trainable_variables == []
    layer.trainable = True
    assert layer.trainable_variables == []


# -- ICNR ----------------------------------------------------------------------------------------


@every_scale
def test_icnr_begins_as_nearest_neighbour(scale):
    convolution = keras.layers.Conv2D(
        2 * scale**2, 3, padding="same", kernel_initializer=ICNR(scale, seed=3)
    )
    large = run(PixelShuffle(scale), convolution(pictures(1, 5, 6, 3)))
    corner = large[:, ::scale, ::scale]
    np.testing.assert_array_equal(large, corner.repeat(scale, axis=1).repeat(scale, axis=2))
    assert np.ptp(corner) > 0.1


def test_icnr_deviation_and_seed():
    shape = (3, 3, 40, 4 * 50)
    kernel = ops.convert_to_numpy(ICNR(2, gain=0.5, seed=1)(shape, "float32"))
    assert kernel.dtype == np.float32
    assert kernel.std() == pytest.approx(0.5 * np.sqrt(2 / 360), rel=0.02)
    again = ICNR.from_config(ICNR(2, gain=0.5, seed=1).get_config())
    np.testing.assert_array_equal(kernel, ops.convert_to_numpy(again(shape, "float32")))
    other = ops.convert_to_numpy(ICNR(2, gain=0.5, seed=2)(shape, "float32"))
    assert np.abs(kernel - other).max() > 0.01


# -- generators ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, pytest.param(3, marks=pytest.mark.backend), 4])
def test_new_generator_is_its_linear_upscaler(scale):
    images = pictures(1, 2, 5, 3)
    for kernel in (None, some_kernel(scale)):
        generator = build_generator(scale, filters=4, blocks=2, kernel=kernel)
        made = run(generator, images)
        np.testing.assert_array_equal(made, run(LinearUpscaling(scale, kernel), images))
        kernel = bicubic_kernel(scale) if kernel is None else kernel
        np.testing.assert_allclose(made[0], apply_kernel(images[0], kernel, scale), atol=2e-6)


def test_new_generator_can_learn():
    # All of the trunk must move once the zeros before the sum have; the linear part never does.
    generator = build_generator(2, filters=4, blocks=1, seed=1)
    generator.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    before = [w.copy() for w in generator.get_weights()]
    x, y = pictures(2, 4, 4, 3), pictures(2, 8, 8, 3)
    for _ in range(2):
        generator.train_on_batch(x, y)
    for variable, old in zip(generator.weights, before, strict=True):
        moved = np.abs(ops.convert_to_numpy(variable) - old).max()
        assert moved == 0 if "skip" in variable.path else moved > 0, variable.path


@every_generator
@every_scale
def test_any_picture_size(build, scale):
    generator = build(scale, filters=4, blocks=1)
    assert generator.name == "generator"
    assert generator.output_shape == (None, None, None, 3)
    for size in [(1, 1), (5, 8)]:
        images = run(generator, pictures(2, *size, 3))
        assert images.shape == (2, scale * size[0], scale * size[1], 3)
        assert np.isfinite(images).all()


def test_one_channel():
    images = run(build_generator(2, filters=4, blocks=1, channels=1), pictures(1, 4, 5, 1))
    assert images.shape == (1, 8, 10, 1)
    assert build_paper_generator(3, filters=4, blocks=1, channels=1).output_shape[-1] == 1


def test_range_of_the_papers_generator():
    low = pictures(1, 6, 6, 3)

    def images(output):
        generator = build_paper_generator(2, filters=4, blocks=1, output=output, seed=2)
        kernel = generator.get_layer("images").kernel
        kernel.assign(30 * kernel)  # as after a wild step: what comes out is far from 0
        return run(generator, low)

    signed, linear = images("tanh"), images("linear")
    assert -1 <= signed.min() < -0.9
    assert 0.9 < signed.max() <= 1
    assert np.abs(linear).max() > 1.5
    np.testing.assert_allclose(signed, np.tanh(linear), atol=1e-6)


@every_generator
def test_seed_decides_the_weights(build):
    first, again, other = (build(2, filters=4, blocks=1, seed=s).get_weights() for s in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize(
    "sizes", [(2, 4, 1), (3, 5, 2), (4, 6, 3)], ids=lambda sizes: "×{} {} {}".format(*sizes)
)
@pytest.mark.parametrize("kind", BUILDERS)
def test_parameters_by_formula(kind, sizes):
    scale, filters, blocks = sizes
    recipe = Recipe(generator=kind, scale=scale, filters=filters, blocks=blocks)
    model = BUILDERS[kind](scale, filters, blocks)
    assert generator_parameters(recipe) == model.count_params()


def test_parameters_of_a_public_srresnet():
    # As krasserm/super-resolution prints it for its sr_resnet, ×4.
    assert generator_parameters(Recipe(generator="paper", filters=64, blocks=16)) == 1_554_883


# -- the discriminator ---------------------------------------------------------------------------


@pytest.mark.backend
def test_discriminator_judges_patches_of_any_size():
    discriminator = build_discriminator(2, levels=2)
    for size in [(4, 4), (13, 6)]:
        logits = run(discriminator, pictures(3, *size, 3))
        assert logits.shape == (3, 1)
        assert len(np.unique(logits)) == 3


def test_logits_do_not_depend_on_the_rest_of_the_batch():
    discriminator = build_discriminator(2, levels=1)
    images = pictures(3, 8, 8, 3)
    alone = run(discriminator, images[1:2])
    np.testing.assert_allclose(run(discriminator, images)[1:2], alone, atol=1e-6)


def test_discriminator_of_the_paper():
    """Eight convolutions of 64 to 512 channels, batch norm on all but the first, no sigmoid."""
    discriminator = build_discriminator(batch_norm=True, size=96)
    kinds = [type(layer).__name__ for layer in discriminator.layers]
    assert (kinds.count("Conv2D"), kinds.count("BatchNormalization")) == (8, 7)
    widths = [x.filters for x in discriminator.layers if isinstance(x, keras.layers.Conv2D)]
    assert widths == [64, 64, 128, 128, 256, 256, 512, 512]
    pooled = next(x for x in discriminator.layers if "pooling" in x.name)
    assert pooled.input.shape == (None, 6, 6, 512)
    assert discriminator.input_shape == (None, 96, 96, 3)
    assert discriminator.layers[-1].activation is keras.activations.linear


# -- files ---------------------------------------------------------------------------------------

LOAD = """
import json, sys
import numpy as np
from ganlib.apply import load_model
x = np.load(sys.argv[1])
outputs = [load_model(path).predict_on_batch(x) for path in sys.argv[3:]]
np.savez(sys.argv[2], *outputs)
print(json.dumps([name for name in sys.modules if name.endswith("models.srgan")]))
"""


def test_models_load_in_a_fresh_process(tmp_path):
    """Nothing but the file: no builder, no kernel, no custom objects."""
    models = [
        build_generator(2, filters=4, blocks=1, kernel=some_kernel(2), seed=1),
        build_paper_generator(4, filters=4, blocks=1, seed=1),
        build_discriminator(2, levels=2, seed=1),
    ]
    x = pictures(2, 7, 8, 3)
    np.save(tmp_path / "x.npy", x)
    paths = [tmp_path / f"{i}.keras" for i in range(len(models))]
    for model, path in zip(models, paths, strict=True):
        for variable in model.trainable_variables:  # away from the initial zeros and ones
            variable.assign_add(RNG.normal(0, 0.05, variable.shape))
        model.save(path)
    script = tmp_path / "load.py"
    script.write_text(LOAD)
    output = run_python(
        script, tmp_path / "x.npy", tmp_path / "y.npz", *paths, backend=keras.backend.backend()
    )
    assert json.loads(output.splitlines()[-1]) == ["ganlib.models.srgan"]
    with np.load(tmp_path / "y.npz") as loaded:
        for i, model in enumerate(models):
            np.testing.assert_array_equal(loaded[f"arr_{i}"], model.predict_on_batch(x))


# -- refusals ------------------------------------------------------------------------------------


@every_generator
@pytest.mark.parametrize("scale", [1, 5, 2.5, "4", None])
def test_other_scales_are_refused(build, scale):
    with pytest.raises(ValueError, match=r"`scale` must be one of \(2, 3, 4\). Received: scale="):
        build(scale, filters=4, blocks=1)


def test_other_outputs_are_refused():
    with pytest.raises(ValueError, match=r"`output` must be .*Received: output='sigmoid'"):
        build_paper_generator(output="sigmoid")
