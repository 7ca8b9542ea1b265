"""Masks for images of any size: tiles without seams, files, and the command.

What it shares with super-resolution is tested in test_tiling.py and test_image_files.py.
"""

import json
import sys

import keras
import numpy as np
import pytest
from helpers import run_python
from image_models import cut, make_brightness, noise, opened
from keras import layers
from PIL import Image

from ganlib import __main__ as command_line
from ganlib import apply
from ganlib.adversarial import Adversarial
from ganlib.data import DataError
from ganlib.models import srgan
from ganlib.models.unet import ARCHITECTURES, build_unet


def make_net(architecture="attention_unet", channels=1, depth=2):
    """A random U-Net whose probabilities are far from all alike."""
    model = build_unet(architecture, 4, depth=depth, channels=channels)
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if weight.name == "kernel":  # those of an initializer are other ones on each backend
            fan_in = np.prod(weight.shape[:-1])
            weight.assign(rng.normal(0, np.sqrt(2 / fan_in), weight.shape))
    last = model.get_layer("logits").kernel
    last.assign(30 * last)
    return model


@pytest.fixture(scope="module")
def net():
    return make_net()


@pytest.fixture
def shapes(monkeypatch):
    """The shapes of all that a model is asked for."""
    seen, run = [], apply.run

    def spy(model, inputs):
        seen.append(inputs.shape)
        return run(model, inputs)

    monkeypatch.setattr(apply, "run", spy)
    return seen


def whole(model, image):
    """The probabilities at once, of an image that the model takes as it is."""
    return apply.predict(model, (image[None] / 255).astype("float32"))[0]


# -- models --------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 4])
def test_what_a_model_takes(depth):
    model = build_unet("unet", 2, depth=depth, channels=3)
    assert apply.channels_of(model) == 3
    assert apply.divisor_of(model) == 2**depth
    assert apply.divisor_of(make_brightness()) == 1


def test_a_divisor_that_no_layer_tells():
    inputs = keras.Input((None, None, 1))
    halves = layers.MaxPooling2D()(layers.Conv2D(2, 3, 2, padding="same")(inputs))
    joined = layers.Concatenate()([inputs, layers.UpSampling2D(4)(halves)])
    assert apply.divisor_of(keras.Model(inputs, layers.Conv2D(1, 1)(joined))) == 4


def test_reach_by_hand():
    # Two 3×3 at each of two levels down, two at the bottom, as many up; 3 pixels of a cell.
    assert apply.reach_of(make_net("unet")) == (2 + 4) + 8 + (4 + 2) + 3
    # A gate spreads the level below by one of its pixels; what the residual adds is 1×1.
    for architecture in ARCHITECTURES[1:]:
        assert apply.reach_of(make_net(architecture)) == 23 + 4 + 2
    assert apply.reach_of(make_brightness()) == 0


def test_reach_within_another_model_is_no_less(net):
    nested = keras.Sequential([keras.Input((None, None, 1)), net])
    assert apply.reach_of(nested) >= apply.reach_of(net)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_net_sees_nearly_as_far_as_its_reach_and_no_farther(architecture):
    model = make_net(architecture)
    image = noise(96, 96, 1)
    images = np.stack([image] * 5)
    for i in range(4):
        images[i, 44 + i, 44 + i] ^= 255
    *changed, before = apply.predict(model, (images / 255).astype("float32"))
    places = [np.argwhere(other != before)[:, :2] for other in changed]
    farthest = max(np.abs(at - (44 + i)).max() for i, at in enumerate(places))
    reach = apply.reach_of(model)
    assert reach - 6 <= farthest <= reach


def test_load(net, tmp_path):
    net.save(tmp_path / "net.keras")
    image = noise(8, 12, 1)
    loaded = apply.load_segmenter(str(tmp_path / "net.keras"))
    np.testing.assert_array_equal(whole(loaded, image), whole(net, image))
    assert not loaded.compiled


def make_gan():
    gan = Adversarial(
        srgan.build_generator(2, filters=2, blocks=1), srgan.build_discriminator(2, levels=1)
    )
    gan.compile()
    return gan


def functional(make, shape=(None, None, 1)):
    inputs = keras.Input(shape)
    return keras.Model(inputs, make(inputs))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, r"no model file there.*Received: '.*x\.keras'"),
        (b"no zip", r"x\.keras can't be loaded as a Keras model"),
        (make_gan, r"x\.keras: The model must turn images.*Received: "),
        (lambda: functional(layers.Dense(4), (4,)), r"one logit a pixel.*Received: "),
        (lambda: build_unet("unet", 2, depth=1, channels=2), r"input shape .*None, 2\)"),
        (lambda: functional(layers.Conv2D(2, 1)), r"Received: output shape .*, 2\) for images of"),
        (lambda: functional(layers.Conv2D(1, 3)), r"output shape \(1, 766, 1022, 1\) .*768×1024"),
        (lambda: functional(layers.Conv2D(1, 1), (16, 16, 1)), r"Input\(\(None, None, ch"),
        (
            lambda: functional(lambda x: [layers.Conv2D(1, 1)(x), layers.Conv2D(1, 1)(x)]),
            r"one logit a pixel.*Received: ",
        ),
        (
            lambda: functional(layers.Conv2D(1, 1, activation="sigmoid", name="end")),
            r"x\.keras: The model must give logits.*Received: a last layer 'end'",
        ),
    ],
)
def test_what_is_no_segmenter(tmp_path, model, message):
    path = tmp_path / "x.keras"
    if isinstance(model, bytes):
        path.write_bytes(model)
    elif model:
        model().save(path)
    with pytest.raises(DataError, match=message):
        apply.load_segmenter(path)


# -- images --------------------------------------------------------------------------------------


@pytest.mark.backend
@pytest.mark.parametrize("tile", [16, 30])
def test_tiles_leave_no_seam(net, tile):
    image = noise(148, 124, 1)
    expected = whole(net, image)
    assert expected.std() > 0.1
    found = apply.segment(net, image, tile=tile)
    assert found.shape == (148, 124, 1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # The test could fail: an overlap below the reach leaves seams.
    seams = apply.segment(net, image, tile=tile, overlap=4)
    assert np.abs(seams - expected).max() > 0.05


def test_tiles_begin_where_cells_do(net, shapes):
    image = noise(80, 76, 1)
    found = apply.segment(net, image, tile=9, overlap=29)  # made 12 and 32
    assert set(shapes) == {(1, 76, 76, 1)}
    assert len(shapes) == 2
    np.testing.assert_allclose(found, whole(net, image), atol=1e-5)


def test_memory_is_bounded_by_the_tile(net, shapes):
    apply.segment(net, noise(300, 70, 1), tile=64, overlap=8)
    assert set(shapes) == {(1, 80, 72, 1)}
    assert len(shapes) == 5


@pytest.mark.backend
@pytest.mark.parametrize("size", [(1, 1), (3, 50), (8, 12), (33, 20), (61, 64)], ids=str)
def test_what_fits_in_a_tile_is_computed_at_once(net, shapes, size):
    height, width = size
    image = noise(*size, 1)
    found = apply.segment(net, image, tile=64)
    assert found.shape == (*size, 1)
    assert 0 <= found.min() <= found.max() <= 1
    assert shapes == [(1, height + -height % 4, width + -width % 4, 1)]
    padded = np.pad(image, ((0, -height % 4), (0, -width % 4), (0, 0)), "reflect")
    np.testing.assert_allclose(found, whole(net, padded)[:height, :width], atol=1e-5)


def test_grey_and_colour():
    colour = noise(7, 9, 3)
    grey = np.asarray(Image.fromarray(colour).convert("L"))[..., None]
    luma = apply.segment(make_brightness(4), colour)
    np.testing.assert_allclose(luma, apply.segment(make_brightness(4), grey), atol=5e-3)
    assert np.ptp(luma) > 0.2
    np.testing.assert_allclose(
        apply.segment(make_brightness(4, channels=3), grey),
        apply.segment(make_brightness(4), grey),
        atol=1e-6,
    )
    mean = 4 * (colour.mean(axis=-1, keepdims=True) / 255 - 0.5)
    found = apply.segment(make_brightness(4, channels=3), colour)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-mean)), atol=1e-6)


def test_an_endless_logit_is_no_error():
    image = np.array([[[0], [255]]], "uint8")
    found = apply.segment(make_brightness(1e38), image)
    np.testing.assert_array_equal(found, image / 255)


# -- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "RGB", "LA", "RGBA", "P", "1"])
def test_a_mask_of_every_mode(tmp_path, mode):
    bright = np.zeros((6, 9), "uint8")
    bright[1:3, 2:8] = 255
    Image.fromarray(bright).convert("RGBA").convert(mode).save(tmp_path / "a.png")
    target, share = apply.segment_file(make_brightness(), tmp_path / "a.png", tmp_path)
    assert target == tmp_path / "a_mask.png"
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "a_mask.png"}
    mask = opened(target)
    assert (mask.mode, mask.size) == ("L", (9, 6))
    np.testing.assert_array_equal(np.asarray(mask), bright)
    assert share == pytest.approx(12 / 54)


def test_threshold_and_probabilities(tmp_path):
    ramp = np.arange(256, dtype="uint8").reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    model = make_brightness(4)
    probabilities = 1 / (1 + np.exp(-4 * (ramp / 255 - 0.5)))
    target, share = apply.segment_file(model, tmp_path / "a.png", tmp_path, threshold=0.7)
    np.testing.assert_array_equal(np.asarray(opened(target)) == 255, probabilities > 0.7)
    assert share == (probabilities > 0.7).mean()
    target, share = apply.segment_file(model, tmp_path / "a.png", tmp_path, threshold=None)
    assert target.name == "a_probability.png"
    np.testing.assert_allclose(np.asarray(opened(target)), 255 * probabilities, atol=0.51)
    assert share == pytest.approx(probabilities.mean(), abs=1e-6)


def test_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90° to view
    Image.new("L", (8, 4), 200).save(tmp_path / "a.jpg", exif=exif)
    target, _ = apply.segment_file(make_brightness(), tmp_path / "a.jpg", tmp_path)
    assert opened(target).size == (4, 8)


def test_files_tell_their_foreground(tmp_path):
    for i in range(3):
        Image.fromarray(np.full((4, 4 + i), 100 * i, "uint8")).save(tmp_path / f"{i}.png")
    Image.fromarray(noise(9, 9)).save(tmp_path / "1.png")
    cut(tmp_path / "1.png")
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    results = apply.segment_files(make_brightness(), paths, tmp_path / "out")
    assert [result["foreground"] for result in results] == [0, None, 1]
    assert [result["output"] is None for result in results] == [False, True, False]


def test_a_threshold_that_is_none_is_refused_before_any_work(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"`threshold` must lie in .*Received: threshold=1"):
        apply.segment_files(make_brightness(), [tmp_path / "a.png"], tmp_path / "out", threshold=1)
    assert len(list(tmp_path.iterdir())) == 1


# -- the command ---------------------------------------------------------------------------------


@pytest.fixture
def ganlib(monkeypatch, capsys, tmp_path):
    """`ganlib("a.png …")` runs the command in a folder with a model; `(exit code, out, err)`."""
    monkeypatch.chdir(tmp_path)
    make_brightness(4).save("model.keras")
    for name in "abc":
        Image.fromarray(noise(40, 5, 3)).save(f"{name}.png")

    def ganlib(arguments):
        monkeypatch.setattr(sys, "argv", ["ganlib", "segment", *arguments.split()])
        with pytest.raises(SystemExit) as end:
            command_line.main()
        return end.value.code or 0, *capsys.readouterr()

    return ganlib


def test_command(ganlib, tmp_path):
    code, output, _ = ganlib("model.keras a.png b.png --out masks --tile 16 --threshold 0.6")
    assert code == 0
    mask = np.asarray(opened(tmp_path / "masks" / "a_mask.png"))
    assert mask.shape == (40, 5)
    assert set(np.unique(mask)) == {0, 255}
    first, second = output.splitlines()
    assert first.startswith(f"masks/a_mask.png: {(mask > 0).mean():.1%} foreground, ")
    assert second.startswith("masks/b_mask.png: ")
    code, output, _ = ganlib("model.keras c.png --json --probabilities")
    assert code == 0
    (result,) = json.loads(output)
    assert list(result) == ["input", "output", "foreground", "seconds"]
    assert (result["input"], result["output"]) == ("c.png", "segmented/c_probability.png")
    levels = np.asarray(opened(tmp_path / result["output"]))
    assert len(np.unique(levels)) > 20
    assert result["foreground"] == pytest.approx(levels.mean() / 255, abs=2e-3)


def test_command_in_a_process_of_its_own_knows_all_parts_of_a_unet(net, tmp_path):
    net.save(tmp_path / "net.keras")
    Image.fromarray(noise(5, 9, 3)).save(tmp_path / "a.png")
    paths = [tmp_path / "net.keras", tmp_path / "a.png", "--out", tmp_path]
    backend = keras.backend.backend()
    run_python("-m", "ganlib", "segment", *map(str, paths), backend=backend)
    assert opened(tmp_path / "a_mask.png").size == (9, 5)


@pytest.mark.parametrize("threshold", ["1", "0", "nan"])
def test_a_threshold_that_is_none_exits_with_2(ganlib, tmp_path, threshold):
    code, output, errors = ganlib(f"model.keras a.png --threshold {threshold}")
    assert (code, output) == (2, "")
    assert f"Received: threshold={float(threshold)}" in errors
    assert not (tmp_path / "segmented").exists()
