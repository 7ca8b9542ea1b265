"""The likeness of two batches of pictures, as a loss."""

import dataclasses

import keras
import numpy as np
import pytest
from draws import RNG
from helpers import LATENT, build_generator, fit, gap, images, make_gan, state
from keras import ops

from ganlib.apply import draw_latents, make_images
from ganlib.content import ContentLoss, LikenessLoss
from ganlib.metrics.boundary import s3

SHAPE = (6, 5, 3)
EAGER = {"run_eagerly": True}


def pictures(n, shape=SHAPE):
    return RNG.uniform(-1, 1, (n, *shape)).astype("float32")


def value(loss, fake, real):
    return float(loss(*map(ops.convert_to_tensor, (fake, real))))


def gradient(loss, fake, real):
    """By the fake pictures."""
    real = ops.convert_to_tensor(real)
    found = make_gan().input_gradient(lambda x: loss(x, real), ops.convert_to_tensor(fake))
    return ops.convert_to_numpy(found)


def distance(x, y):
    """Of two pictures, as the loss defines it."""
    x, y = (a.astype("float64") - a.mean(axis=(0, 1), dtype="float64") for a in (x, y))
    return 1 - 2 * (x * y).sum() / ((x * x).sum() + (y * y).sum())


def both_ways(fake, real):
    """`(there, back)`: each generated picture to its nearest real one, and the other way round."""
    there = np.mean([min(distance(x, y) for y in real) for x in fake])
    back = np.mean([min(distance(x, y) for x in fake) for y in real])
    return there, back


# -- its value -----------------------------------------------------------------------------------


@pytest.mark.backend
@pytest.mark.parametrize(("n", "m"), [(4, 7), (7, 4), (1, 3), (3, 1), (1, 1)])
def test_each_picture_to_its_nearest_both_ways(n, m):
    fake, real = pictures(n), pictures(m)
    real[0] = fake[-1] * 0.6 + 0.1  # near, but with less contrast and of another brightness
    there, back = both_ways(fake, real)
    loss = value(LikenessLoss(), fake, real)
    assert loss == pytest.approx((there + back) / 2, rel=1e-5)
    assert 0.0 < loss < 2.0
    if n != m:
        assert there != pytest.approx(back, rel=1e-2)  # or one way would do


@pytest.mark.backend
def test_a_permutation_of_the_real_pictures_loses_nothing():
    real = pictures(6)
    assert value(LikenessLoss(), real[RNG.permutation(6)], real) == pytest.approx(0.0, abs=1e-6)
    assert value(LikenessLoss(), real[:5], real) > 0.05  # one is missing


def test_one_typical_picture_repeated_is_worse_than_many():
    """Each of the generated is as near to a real one in both batches."""
    real = pictures(8)
    varied = (real + 0.3 * pictures(8)).astype("float32")
    typical = np.repeat(real[3:4], 8, axis=0)
    there, back = both_ways(typical, real)
    assert there < both_ways(varied, real)[0]  # a loss of one way would choose it
    assert back > both_ways(varied, real)[1] + 0.1
    assert value(LikenessLoss(), typical, real) > value(LikenessLoss(), varied, real) + 0.1


def test_brightness_earns_nothing_and_contrast_counts():
    real = pictures(3)
    assert value(LikenessLoss(), 0.5 * real, real) == pytest.approx(1 - 2 * 0.5 / 1.25, rel=1e-4)
    assert value(LikenessLoss(), 2.0 * real, real) == pytest.approx(1 - 2 * 2.0 / 5.0, rel=1e-4)
    shifted = real + np.array([0.4, -0.3, 0.1], "float32")  # each colour by itself
    assert value(LikenessLoss(), shifted, real) == pytest.approx(0.0, abs=1e-5)
    opposite = value(LikenessLoss(), -real[:1], real[:1])
    assert opposite == pytest.approx(2.0, rel=1e-5)  # the most there is


def test_pictures_of_equal_contrast_lose_what_s3_lacks():
    """The study's score is the correlation with the nearest, which the loss raises."""
    fake, real = (x - x.mean(axis=(1, 2), keepdims=True) for x in (pictures(5), pictures(6)))
    fake, real = (x / np.sqrt((x**2).mean(axis=(1, 2, 3), keepdims=True)) / 4 for x in (fake, real))
    there = s3(np.clip(fake, -1, 1), np.clip(real, -1, 1), "signed").value
    back = s3(np.clip(real, -1, 1), np.clip(fake, -1, 1), "signed").value
    assert value(LikenessLoss(), fake, real) == pytest.approx(1 - (there + back) / 2, abs=1e-4)


def test_the_weight_scales():
    fake, real = pictures(3), pictures(4)
    once = value(LikenessLoss(), fake, real)
    assert value(LikenessLoss(2.5), fake, real) == pytest.approx(2.5 * once, rel=1e-6)


def test_low_precision_pictures_are_compared_in_full():
    fake, real = (ops.cast(ops.convert_to_tensor(pictures(3)), "bfloat16") for _ in range(2))
    loss = LikenessLoss()
    full = loss(*(ops.cast(x, "float32") for x in (fake, real)))
    found = loss(fake, real)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    assert float(found) == pytest.approx(float(full))


# -- pictures of one colour ----------------------------------------------------------------------


@pytest.mark.backend
@pytest.mark.parametrize("fake", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("real", [0.0, 0.3, -0.7, "pictures"])
def test_a_picture_of_one_colour_is_like_none(fake, real):
    fake = np.full((3, *SHAPE), fake, "float32")
    real = pictures(4) if real == "pictures" else np.full((4, *SHAPE), real, "float32")
    # Also where rounding leaves a little of it beside its mean.
    assert value(LikenessLoss(), fake, real) == pytest.approx(1.0, abs=0.01)
    slope = gradient(LikenessLoss(), fake, real)
    assert slope.shape == fake.shape
    assert np.isfinite(slope).all()


@pytest.mark.backend
def test_the_gradient_leads_to_the_nearest():
    fake, real = pictures(3), pictures(4)
    slope = gradient(LikenessLoss(), fake, real)
    step, i = 1e-2, (1, 2, 3, 0)
    more, less = fake.copy(), fake.copy()
    more[i] += step
    less[i] -= step
    expected = (sum(both_ways(more, real)) - sum(both_ways(less, real))) / (2 * 2 * step)
    assert slope[i] == pytest.approx(expected, rel=1e-2)
    before = value(LikenessLoss(), fake, real)
    assert value(LikenessLoss(), fake - 0.3 * slope / np.abs(slope).max(), real) < before


# -- a GAN's content -----------------------------------------------------------------------------


@pytest.mark.backend
def test_a_gan_trains_on_it_without_pairs():
    options = {"update": "shared", "adversarial_weight": 0.0, "compile_options": EAGER}
    gan, data = make_gan(content=LikenessLoss(3.0), **options), images(8)
    logs = fit(gan, data, batch_size=8, epochs=4)
    assert logs["g_content"] == logs["g_loss"]
    assert 0.0 < logs["g_content"][-1] < logs["g_content"][0] < 2 * 3.0
    scores = gan.evaluate(data, batch_size=8, verbose=0, return_dict=True)
    assert 0.0 < scores["g_content"] < 2 * 3.0


def test_what_the_generator_loses_is_of_its_pictures_and_the_real_ones(monkeypatch):
    latents = RNG.normal(size=(6, LATENT)).astype("float32")
    gan = make_gan(content=LikenessLoss(2.0), compile_options=EAGER)
    monkeypatch.setattr(gan, "_latents", lambda n: ops.convert_to_tensor(latents[:n]))
    made, data = 2 * make_images(gan.sampler, latents) - 1, images(6)
    scores = gan.evaluate(data, batch_size=6, verbose=0, return_dict=True)
    assert scores["g_content"] == pytest.approx(sum(both_ways(made, data)), rel=1e-4)


def test_other_content_still_needs_pairs():
    with pytest.raises(ValueError, match=r"A content loss needs pairs.*Received: images alone"):
        fit(make_gan(content=ContentLoss(), compile_options=EAGER), images(4))

    def content(fake, real):  # says nothing of pairs
        return ops.mean(ops.square(fake - real))

    with pytest.raises(ValueError, match="A content loss needs pairs"):
        fit(make_gan(content=content, compile_options=EAGER), images(4))


def test_a_generator_of_one_colour_begins_to_learn():
    generator = build_generator()
    generator.set_weights([0.0 * weight for weight in generator.get_weights()])
    gan = make_gan(generator=generator, content=LikenessLoss(), compile_options=EAGER)
    assert np.ptp(make_images(gan.sampler, draw_latents(gan, 2))) == 0.0
    logs = fit(gan, images(8), epochs=3)
    assert np.isfinite([*logs["g_content"], *logs["g_loss"]]).all()
    assert all(np.isfinite(x).all() for x in state(gan))


# -- saving --------------------------------------------------------------------------------------


def test_round_trip():
    config = keras.saving.serialize_keras_object(LikenessLoss(0.7))
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is LikenessLoss
    assert again == LikenessLoss(0.7) != LikenessLoss(0.8)
    assert again.paired is False
    assert [field.name for field in dataclasses.fields(again)] == list(again.get_config())


@pytest.mark.backend
def test_a_saved_gan_trains_on(tmp_path):
    gan, data = make_gan(content=LikenessLoss(0.7), compile_options=EAGER), images(4)
    fit(gan, data)
    gan.save(tmp_path / "gan.keras")
    loaded = keras.models.load_model(tmp_path / "gan.keras", safe_mode=True)
    assert loaded.content == gan.content
    assert gap(state(loaded), state(gan)) == 0.0
    assert fit(loaded, data)["g_content"] == pytest.approx(fit(gan, data)["g_content"], rel=1e-5)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan")])
def test_a_weight_that_weighs_nothing(weight):
    with pytest.raises(ValueError, match=f"`weight` must be above 0. Received: weight={weight}"):
        LikenessLoss(weight)
