"""Latents, the pictures made of them, and animations."""

import re

import keras
import numpy as np
import pytest
from helpers import IMAGE, build_linear_discriminator, make_gan
from PIL import Image
from scipy import stats

from ganlib import apply
from ganlib.apply import (
    discriminate,
    draw_latents,
    interpolate,
    make_images,
    sample_images,
    save_gif,
)
from ganlib.data import DataError


@pytest.fixture(scope="module")
def gan():
    return make_gan()


# -- latents -------------------------------------------------------------------------------------


def test_latents_without_truncation_are_numpys(gan):
    expected = np.random.default_rng(3).normal(size=(5, 4)).astype("float32")
    latents = draw_latents(gan, 5, seed=3)
    assert latents.dtype == np.float32
    np.testing.assert_array_equal(latents, expected)


@pytest.mark.parametrize("truncation", [0.1, 0.7, 2, 10.0, 100.0])
def test_truncated_latents(gan, truncation):
    latents = draw_latents(gan, 5000, seed=1, truncation=truncation)
    assert (latents.shape, latents.dtype) == ((5000, 4), np.float32)
    assert np.abs(latents).max() <= np.float32(truncation)
    oracle = stats.truncnorm(-truncation, truncation)  # N(0, 1) where it is wide
    assert latents.var() == pytest.approx(oracle.var(), rel=0.03)
    assert stats.kstest(latents.ravel(), oracle.cdf).pvalue > 0.01
    again, other = (draw_latents(gan, 5000, seed, truncation) for seed in (1, 2))
    np.testing.assert_array_equal(latents, again)
    assert np.abs(latents - other).max() > truncation / 100


@pytest.mark.parametrize("truncation", [0, -1.0, np.nan, np.inf])
def test_truncation_is_a_positive_number(gan, truncation):
    with pytest.raises(ValueError, match=rf"positive finite number.*Received: {truncation}"):
        draw_latents(gan, 2, truncation=truncation)


# -- pictures ------------------------------------------------------------------------------------


@pytest.mark.backend
def test_images_do_not_depend_on_the_batches(gan, monkeypatch):
    latents = draw_latents(gan, 7)
    images = make_images(gan.sampler, latents)
    assert (images.shape, images.dtype) == ((7, 8, 8, 1), np.float32)
    signed = keras.ops.convert_to_numpy(gan.generator(latents, training=False))
    np.testing.assert_allclose(images, (signed + 1) / 2, atol=1e-6)
    monkeypatch.setattr(apply, "PIXELS", 3 * 8 * 8)  # the last batch is a partial one
    np.testing.assert_allclose(make_images(gan.sampler, latents), images, atol=1e-6)


def test_samples_are_the_images_of_the_drawn_latents(gan):
    for truncation in (None, 0.5):
        latents = draw_latents(gan, 3, 2, truncation)
        np.testing.assert_array_equal(
            sample_images(gan, 3, 2, truncation), make_images(gan.sampler, latents)
        )


def test_the_average_makes_the_images():
    gan = make_gan(ema=0.5)
    latents = draw_latents(gan, 2)
    gan.average.set_weights([0 * w for w in gan.average.get_weights()])
    np.testing.assert_array_equal(make_images(gan.sampler, latents), 0.5)  # tanh(0), in [0, 1]


@pytest.mark.parametrize("shape", [(0, 4), (2, 5), (2, 3, 4), (4,)])
def test_latents_of_another_shape_are_refused(gan, shape):
    with pytest.raises(ValueError, match=rf"\(n, 4\).*Received: shape {re.escape(str(shape))}"):
        make_images(gan.sampler, np.zeros(shape))


# -- logits --------------------------------------------------------------------------------------


def unit_images(n, seed=0):
    return np.random.default_rng(seed).random((n, *IMAGE), dtype="float32")


@pytest.mark.backend
def test_logits_are_the_discriminators_in_inference_mode(monkeypatch):
    monkeypatch.setattr(apply, "PIXELS", 250 * 8 * 8)
    gan = make_gan(batch_norm=True, dropout=0.5, probe=True)
    images = unit_images(501)
    wanted = keras.ops.convert_to_numpy(gan.discriminator(2 * images - 1, training=False))
    state = [w.copy() for w in gan.discriminator.get_weights()]
    logits = discriminate(gan, images)
    assert (logits.shape, logits.dtype) == ((501,), np.float32)
    np.testing.assert_allclose(logits, wanted[:, 0], atol=1e-5)
    assert np.ptp(logits) > 0.1
    assert gan.discriminator.get_layer("probe").read()[:2] == (0.0, 1.0)  # 250, 250 and 1
    probe = len(gan.discriminator.get_layer("probe").weights)
    for before, after in zip(state[probe:], gan.discriminator.get_weights()[probe:], strict=True):
        np.testing.assert_array_equal(after, before)


def make_ranged_gan(activation):
    """Its discriminator's logit is the pixel in row 2, column 3."""
    generator = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(64),
            keras.layers.Reshape(IMAGE),
            keras.layers.Activation(activation),
        ]
    )
    pixel = np.zeros(IMAGE)
    pixel[2, 3] = 1
    return make_gan(generator=generator, discriminator=build_linear_discriminator(pixel))


@pytest.mark.parametrize(
    ("activation", "seen"), [("sigmoid", [0.0, 0.25, 1.0]), ("tanh", [-1.0, -0.5, 1.0])]
)
def test_the_discriminator_sees_the_generators_range(activation, seen):
    images = np.full((3, *IMAGE), 0.5)
    images[:, 2, 3, 0] = [0.0, 0.25, 1.0]
    logits = discriminate(make_ranged_gan(activation), images)
    np.testing.assert_allclose(logits, seen, atol=1e-6)


def test_a_generator_without_a_range_leaves_the_discriminator_without_one():
    with pytest.raises(DataError, match=r"one of \['sigmoid', 'tanh'\].*Received: relu"):
        discriminate(make_ranged_gan("relu"), unit_images(2))


@pytest.mark.parametrize("shape", [(0, 8, 8, 1), (2, 8, 8, 3), (2, 8, 9, 1), (8, 8, 1)])
def test_images_of_another_shape_are_refused(gan, shape):
    with pytest.raises(
        ValueError, match=rf"\(n, 8, 8, 1\), n > 0.*Received: shape {re.escape(str(shape))}"
    ):
        discriminate(gan, np.zeros(shape))


@pytest.mark.parametrize("value", [-0.5, 1.5, np.nan])
def test_images_outside_of_0_to_1_are_refused(gan, value):
    images = unit_images(3)
    images[1, 2, 3] = value
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        discriminate(gan, images)


# -- interpolation -------------------------------------------------------------------------------


def test_the_arc_between_orthogonal_vectors():
    start, end = np.eye(3)[None, 0], np.eye(3)[None, 1]
    path = interpolate(start, end, 5)
    angles = np.linspace(0, np.pi / 2, 5)
    expected = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    np.testing.assert_allclose(path, expected[None], atol=1e-15)
    np.testing.assert_allclose(interpolate(2 * start, 2 * end, 5), 2 * path)


def test_each_latent_is_one_vector_whatever_its_axes():
    start, end = np.random.default_rng(0).normal(size=(2, 4, 2, 3)).astype("float32")
    path = interpolate(start, end, 6)
    assert (path.shape, path.dtype) == ((4, 6, 2, 3), np.float32)
    np.testing.assert_array_equal(path[:, 0], start)
    np.testing.assert_array_equal(path[:, -1], end)
    flat = interpolate(start.reshape(4, 6), end.reshape(4, 6), 6)
    np.testing.assert_array_equal(path.reshape(4, 6, 6), flat)
    np.testing.assert_array_equal(path[1:2], interpolate(start[1:2], end[1:2], 6))


def test_the_arc_keeps_the_length_of_gaussian_latents():
    start, end = np.random.default_rng(0).normal(size=(2, 10, 1000))
    middle = interpolate(start, end, 3)[:, 1]
    np.testing.assert_allclose(np.linalg.norm(middle, axis=1), np.sqrt(1000), rtol=0.1)
    line = (start + end) / 2  # the control
    assert np.linalg.norm(line, axis=1).max() < 0.8 * np.sqrt(1000)


@pytest.mark.parametrize("factor", [1.0, 3.0, -1.0, 0.0, 1 + 1e-9])
def test_on_one_line_the_way_is_straight(factor):
    start = np.random.default_rng(0).normal(size=(2, 4))
    path = interpolate(start, factor * start, 5)
    np.testing.assert_array_equal(path[:, [0, -1]], np.stack([start, factor * start], axis=1))
    assert np.isfinite(path).all()
    if factor:  # zeros have no direction
        t = np.linspace(0, 1, 5)[:, None]
        np.testing.assert_allclose(
            path, (1 - t) * start[:, None] + t * factor * start[:, None], atol=1e-12
        )


def test_the_arc_goes_over_into_the_line():
    """No jump where the formula changes, at an angle of 1e-6."""
    start = np.array([[1.0, 0.0]] * 2)
    end = np.array([[1.0, 0.99e-6], [1.0, 1.01e-6]])
    line = (start + end) / 2
    np.testing.assert_allclose(interpolate(start, end, 3)[:, 1], line, atol=1e-11)


@pytest.mark.parametrize(
    ("start", "end", "steps", "message"),
    [
        ((2, 3), (2, 4), 5, r"one shape.*Received: shapes \(2, 3\) and \(2, 4\)"),
        ((3,), (3,), 5, r"Received: shapes \(3,\)"),
        ((2, 3), (2, 3), 1, "at least 2, both ends included. Received: 1"),
    ],
)
def test_what_cannot_be_interpolated(start, end, steps, message):
    with pytest.raises(ValueError, match=message):
        interpolate(np.ones(start), np.ones(end), steps)


# -- animations ----------------------------------------------------------------------------------


def read_gif(path):
    """`(frames as RGB arrays, their milliseconds, number of loops, 0 for ever)`."""
    frames, durations = [], []
    with Image.open(path) as picture:
        for i in range(picture.n_frames):
            picture.seek(i)
            frames.append(np.asarray(picture.convert("RGB")))
            durations.append(picture.info["duration"])
        return frames, durations, picture.info["loop"]


def smooth(n, channels):
    """Frames `(n, 24, 32, channels)`, uint8, which change everywhere."""
    y, x, c = np.meshgrid(np.arange(24), np.arange(32), np.arange(channels), indexing="ij")
    return [(4 * y + 3 * x + 60 * c + 20 * i).clip(0, 255).astype("uint8") for i in range(n)]


@pytest.mark.parametrize(("channels", "error"), [(1, 0), (3, 8)])
def test_gif(tmp_path, channels, error):
    frames = smooth(4, channels)
    path = tmp_path / "new" / "training.gif"
    save_gif(frames, path, milliseconds=120)
    read, durations, loop = read_gif(path)
    assert (durations, loop) == ([120, 120, 120, 2000], 0)
    for frame, saved in zip(frames, read, strict=True):
        assert saved.shape == (24, 32, 3)
        assert np.abs(saved.astype(int) - frame).max() <= error  # the palette's 256 colours
    save_gif([frame / 255 for frame in frames], tmp_path / "floats.gif", 120)
    assert (tmp_path / "floats.gif").read_bytes() == path.read_bytes()


def test_equal_frames_keep_their_time(tmp_path):
    a, b = smooth(2, 3)
    save_gif([a, a, b, b, b], tmp_path / "held.gif")
    read, durations, _ = read_gif(tmp_path / "held.gif")
    assert durations == [500, 2500]
    assert np.abs(read[1].astype(int) - b).max() <= 8
    save_gif([a], tmp_path / "one.gif")
    assert read_gif(tmp_path / "one.gif")[1:] == ([2000], 0)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "at least one picture.*Received: 0 frames"),
        (
            [np.zeros((4, 4, 1)), np.zeros((4, 5, 1))],
            r"one shape.*2 frames of shapes \[\(4, 4, 1\), \(4, 5, 1\)\]",
        ),
        ([np.zeros((4, 4))], r"Received: 1 frames of shapes \[\(4, 4\)\]"),
        ([np.zeros((4, 4, 2))], r"1 or 3\)"),
        ([np.full((4, 4, 1), -1.0)], r"must lie in \[0, 1\].*Received: minimum=-1"),
        ([np.full((4, 4, 1), np.nan)], "NaN"),
    ],
)
def test_what_is_no_animation(tmp_path, frames, message):
    with pytest.raises(ValueError, match=message):
        save_gif(frames, tmp_path / "none.gif")
    assert not list(tmp_path.iterdir())
