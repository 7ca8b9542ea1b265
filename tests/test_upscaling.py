"""Super-resolution of pictures of any size: tiles without seams, files, and the command.

What it shares with segmentation is tested in test_tiling.py and test_image_files.py.
"""

import keras
import numpy as np
import pytest
from helpers import run_python
from image_models import make_nearest, noise, opened
from keras import layers, ops
from PIL import Image

from ganlib import apply
from ganlib.adversarial import Adversarial
from ganlib.content import ContentLoss
from ganlib.data import DataError
from ganlib.images import upscale
from ganlib.models import srgan


@keras.saving.register_keras_serializable("ganlib_tests")
class Shuffle(layers.Layer):
    """Two pixels for one, along both sides."""

    def call(self, inputs):
        _, height, width, channels = ops.shape(inputs)
        x = ops.reshape(inputs, (-1, height, width, 2, 2, channels // 4))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (-1, 2 * height, 2 * width, channels // 4))

    def compute_output_shape(self, shape):
        n, height, width, channels = shape
        larger = [None if side is None else 2 * side for side in (height, width)]
        return (n, *larger, channels // 4)


def make_net(activation="sigmoid"):
    """A random net for a scale of 2 that reaches 4 pixels: a flat picture becomes a rich one."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((None, None, 3))

    def convolution(filters, size, **options):
        spread = keras.initializers.RandomNormal(stddev=1.5 / size)
        return layers.Conv2D(
            filters,
            size,
            padding="same",
            kernel_initializer=spread,
            bias_initializer=spread,
            **options,
        )

    x = convolution(4, 3, dilation_rate=2, activation="tanh")(inputs)
    x = Shuffle()(convolution(12, 3)(x))
    return keras.Model(inputs, convolution(3, 5, activation=activation)(x))


@pytest.fixture(scope="module")
def net():
    return make_net()


def whole(model, image):
    """The picture at once."""
    outputs = model.predict_on_batch((image[None] / 255).astype("float32"))[0]
    return np.rint(255 * outputs).astype(int)


# -- models --------------------------------------------------------------------------------------


def test_scale(net):
    assert apply.scale_of(net) == 2
    assert apply.scale_of(make_nearest(3)) == 3


def test_reach_is_the_sum_of_half_widths_at_their_resolution(net):
    assert apply.reach_of_upscaler(net) == 2 + 2 + 1 + 1  # dilated, plain, 5×5 on half pixels
    nested = keras.Sequential([keras.Input((None, None, 3)), net])
    assert apply.reach_of_upscaler(nested) == 2 + 2 + 1 + 2  # inside, resolutions are not looked at
    assert apply.reach_of_upscaler(make_nearest()) == 2


def test_net_sees_as_far_as_its_reach_at_most(net):
    image = noise(21, 21, 3)
    other = image.copy()
    other[10, 10] ^= 255
    changed = np.argwhere((whole(net, image) != whole(net, other)).any(axis=-1)) // 2
    assert np.abs(changed - 10).max() == 4


def test_load(net, tmp_path):
    net.save(tmp_path / "net.keras")
    image = noise(5, 6, 3)
    loaded = apply.load_upscaler(tmp_path / "net.keras")
    np.testing.assert_array_equal(whole(loaded, image), whole(net, image))
    gan = Adversarial(net, srgan.build_discriminator(2, levels=1), ema=0.9)
    gan.average.set_weights([0.5 * weight for weight in net.get_weights()])
    gan.compile()
    gan.save(tmp_path / "gan.keras")
    loaded = apply.load_upscaler(str(tmp_path / "gan.keras"))
    np.testing.assert_array_equal(whole(loaded, image), whole(gan.average, image))
    assert (whole(loaded, image) != whole(net, image)).any()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, r"no model file there.*Received: '.*x\.keras'"),
        (b"no zip", r"x\.keras can't be loaded as a Keras model"),
        (lambda: make_nearest(1), r"by a whole factor of 2 to 8.*\(1, 24, 32, 3\) for .*24×32"),
        (lambda: make_nearest((2, 3)), r"Received: output shape \(1, 48, 96, 3\)"),
        (
            lambda: keras.Sequential([keras.Input((4,)), layers.Dense(4)]),
            r"x\.keras: The model must enlarge RGB.*Input\(\(None, None, 3\)\).*Received: ",
        ),
        (
            lambda: keras.Sequential([keras.Input((16, 16, 3)), layers.UpSampling2D()]),
            r"of any size.*Received: ",
        ),
    ],
)
def test_what_is_no_upscaler(tmp_path, model, message):
    path = tmp_path / "x.keras"
    if isinstance(model, bytes):
        path.write_bytes(model)
    elif model:
        model().save(path)
    with pytest.raises(DataError, match=message):
        apply.load_upscaler(path)


# -- pictures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (33, 20), (64, 61), (16, 17), (40, 2)])
@pytest.mark.parametrize("tile", [11, 16])
def test_tiles_leave_no_seam(net, shape, tile):
    image = noise(*shape, 3)
    large = apply.upscale_image(net, image, tile=tile)
    assert large.shape == (2 * shape[0], 2 * shape[1], 3)
    assert large.dtype == np.uint8
    np.testing.assert_allclose(large, whole(net, image), atol=1)
    # The test could fail: an overlap below the reach leaves seams.
    if min(shape) > 30:
        seams = apply.upscale_image(net, image, tile=tile, overlap=1)
        assert np.abs(seams.astype(int) - whole(net, image)).max() > 10


def test_the_model_sees_one_shape_and_never_the_whole(net, monkeypatch):
    shapes, run = [], apply.run

    def spy(model, inputs):
        shapes.append(inputs.shape)
        return run(model, inputs)

    monkeypatch.setattr(apply, "run", spy)
    image = noise(50, 47, 3)
    large = apply.upscale_image(net, image, tile=12, overlap=5)
    assert set(shapes) == {(1, 22, 22, 3)}
    assert len(shapes) == 4 * 4
    np.testing.assert_allclose(large, whole(net, image), atol=1)


def test_grey_is_the_mean_of_the_colours(net):
    image = noise(9, 14, 1)
    large = apply.upscale_image(net, image, tile=4)
    assert large.shape == (18, 28, 1)
    outputs = net.predict_on_batch((image.repeat(3, axis=2)[None] / 255).astype("float32"))
    expected = 255 * outputs[0].mean(axis=-1, keepdims=True)
    np.testing.assert_allclose(large, expected, atol=0.51)


def test_nearest_neighbour_is_exact():
    image = noise(9, 31, 3)
    large = apply.upscale_image(make_nearest(3), image, tile=5)
    np.testing.assert_array_equal(large, image.repeat(3, axis=0).repeat(3, axis=1))


def test_overshoot_is_clipped_and_tanh_is_from_minus_one():
    image = np.full((4, 4, 3), 204, "uint8")
    inputs = keras.Input((None, None, 3))
    large = layers.UpSampling2D()(inputs)
    for outputs, expected in (
        (layers.Rescaling(2.0)(large), 255),
        (layers.Rescaling(-1.0)(large), 0),
        (layers.Activation("tanh")(large), round(127.5 * (np.tanh(0.8) + 1))),
    ):
        model = keras.Model(inputs, outputs)
        assert (apply.upscale_image(model, image) == expected).all()


# -- files ---------------------------------------------------------------------------------------


def enlarged(image, tmp_path, name="a.png", **options):
    """The result of an image file, through a nearest-neighbour model of scale 2."""
    image.save(tmp_path / name, **options)
    target = apply.upscale_file(make_nearest(), tmp_path / name, tmp_path)
    assert target == tmp_path / "a_x2.png"
    assert {path.name for path in tmp_path.iterdir()} == {name, "a_x2.png"}
    return opened(target)


@pytest.mark.parametrize("mode", ["L", "RGB", "LA", "RGBA"])
def test_modes_are_kept_and_alpha_is_bicubic(tmp_path, mode):
    image = Image.fromarray(noise(6, 9, 4), "RGBA" if mode == "RGBA" else None).convert(mode)
    result = enlarged(image, tmp_path)
    assert (result.mode, result.size) == (mode, (18, 12))
    before, after = (np.atleast_3d(np.asarray(x)) for x in (image, result))
    colours = len(mode.removesuffix("A"))
    expected = before[..., :colours].repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(after[..., :colours], expected)
    if mode.endswith("A"):
        np.testing.assert_array_equal(after[..., colours:], upscale(before[..., colours:], 2))


def test_palettes_and_single_bits(tmp_path):
    image = Image.new("P", (4, 3), 1)
    image.putpalette([9, 9, 9, 200, 100, 50, 7, 7, 7])
    assert enlarged(image, tmp_path).getpixel((7, 5)) == (200, 100, 50)
    result = enlarged(image, tmp_path, transparency=bytes([0, 128, 255]))
    assert result.getpixel((7, 5)) == (200, 100, 50, 128)
    assert enlarged(Image.new("1", (4, 3), 1), tmp_path).getpixel((7, 5)) == 255


def test_orientation_and_profile(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90° to view
    image = Image.new("RGB", (8, 4), (10, 20, 30))
    result = enlarged(image, tmp_path, "a.jpg", exif=exif, icc_profile=b"a profile")
    assert result.size == (8, 16)
    assert result.info["icc_profile"] == b"a profile"
    assert not result.getexif()


# -- the command ---------------------------------------------------------------------------------


def test_command_in_a_process_of_its_own_knows_all_parts_of_a_gan(tmp_path):
    generator = srgan.build_paper_generator(2, filters=4, blocks=1)
    discriminator = srgan.build_discriminator(2, levels=1)
    gan = Adversarial(generator, discriminator, content=ContentLoss())
    gan.compile()
    gan.save(tmp_path / "gan.keras")
    Image.fromarray(noise(4, 5, 3)).save(tmp_path / "a.png")
    paths = [tmp_path / "gan.keras", tmp_path / "a.png", "--out", tmp_path]
    backend = keras.backend.backend()
    run_python("-m", "ganlib", "upscale", *map(str, paths), backend=backend)
    assert opened(tmp_path / "a_x2.png").size == (10, 8)
