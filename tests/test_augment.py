"""DiffAugment against NumPy, and where the adversarial step uses it."""

import keras
import numpy as np
import pytest
from helpers import IMAGE, arrays, build_discriminator, build_generator, fit, gap, make_gan, state
from helpers import images as gan_images
from keras import ops

from ganlib.adversarial import UPDATES
from ganlib.augment import DiffAugment

BACKEND = pytest.mark.backend
EAGER = {"run_eagerly": True}
PICTURES = np.random.default_rng(0).uniform(-1.0, 1.0, (200, 10, 12, 3)).astype("float32")


def augment(*policy, images=PICTURES, seed=1):
    seeds = keras.random.SeedGenerator(seed)
    return ops.convert_to_numpy(DiffAugment(policy)(ops.convert_to_tensor(images), seeds))


def moments(images):
    """Each image's mean, and the distance of its pixels from it."""
    mean = images.mean((1, 2, 3), keepdims=True)
    return mean.ravel(), images - mean


# -- each change ---------------------------------------------------------------------------------


@BACKEND
def test_brightness_moves_the_mean():
    by = augment("brightness") - PICTURES
    assert np.ptp(by, axis=(1, 2, 3)).max() < 1e-6
    by = by[:, 0, 0, 0]
    assert -0.5 <= by.min() < -0.45
    assert 0.45 < by.max() <= 0.5


@BACKEND
def test_saturation_scales_the_distance_from_grey():
    grey = PICTURES.mean(3, keepdims=True)
    factor = np.sum((augment("saturation") - grey) * (PICTURES - grey), axis=(1, 2, 3))
    factor /= np.sum((PICTURES - grey) ** 2, axis=(1, 2, 3))
    expected = grey + factor[:, None, None, None] * (PICTURES - grey)
    np.testing.assert_allclose(augment("saturation"), expected, atol=1e-5)
    assert 0.0 <= factor.min() < 0.1
    assert 1.9 < factor.max() <= 2.0
    one_channel = PICTURES[..., :1]
    np.testing.assert_allclose(augment("saturation", images=one_channel), one_channel, atol=1e-6)


@BACKEND
def test_contrast_scales_the_distance_from_the_mean():
    mean, distance = moments(PICTURES)
    new_mean, new_distance = moments(augment("contrast"))
    np.testing.assert_allclose(new_mean, mean, atol=1e-5)
    factor = new_distance.std((1, 2, 3)) / distance.std((1, 2, 3))
    np.testing.assert_allclose(new_distance, factor[:, None, None, None] * distance, atol=1e-5)
    assert 0.5 <= factor.min() < 0.55
    assert 1.45 < factor.max() <= 1.5


def shifted(image, down, right):
    """NumPy's way: the image on a larger black canvas, cut out again."""
    height, width, _ = image.shape
    canvas = np.pad(image, ((2, 2), (2, 2), (0, 0)))
    return canvas[2 - down : 2 - down + height, 2 - right : 2 - right + width]


@BACKEND
def test_translation_shifts_with_zero_padding():
    steps = [(down, right) for down in range(-1, 2) for right in range(-2, 3)]
    found = []
    for before, after in zip(PICTURES, augment("translation"), strict=True):
        same = [step for step in steps if np.array_equal(shifted(before, *step), after)]
        assert len(same) == 1
        found += same
    assert set(found) == set(steps)  # up to an eighth: 1 of 10 rows, 2 of 12 columns


@BACKEND
def test_cutout_zeroes_a_box():
    corners = set()
    for before, after in zip(PICTURES, augment("cutout"), strict=True):
        cut = np.all(after == 0.0, axis=2)
        np.testing.assert_array_equal(after[~cut], before[~cut])
        rows, columns = np.flatnonzero(cut.any(1)), np.flatnonzero(cut.any(0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert cut.sum() == height * width  # a full box
        assert 3 <= width <= 6
        assert 3 <= height <= 5
        if rows[0] > 0 and rows[-1] < 9:
            assert height == 5
        if columns[0] > 0 and columns[-1] < 11:
            assert width == 6
        corners.add((rows[0], columns[0]))
    assert len(corners) > 30


@BACKEND
def test_orientation_gives_the_eight_symmetries_of_a_square():
    square = np.random.default_rng(1).uniform(-1.0, 1.0, (10, 10, 3)).astype("float32")
    turned = [np.rot90(side, k) for side in (square, square[:, ::-1]) for k in range(4)]
    changed = augment("orientation", images=np.repeat(square[None], 800, axis=0))
    counts = [np.all(changed == form, axis=(1, 2, 3)).sum() for form in turned]
    assert sum(counts) == 800  # none is anything else
    assert min(counts) > 60  # 100 each, ± 9.4
    with pytest.raises(ValueError, match=r"square images.*Received: shape \(200, 10, 12, 3\)"):
        augment("orientation")


# -- all together --------------------------------------------------------------------------------


@BACKEND
def test_the_same_seed_gives_the_same_pictures():
    paper = DiffAugment().policy
    first, again, other = (augment(*paper, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 0.1
    seeds = keras.random.SeedGenerator(1)
    one, two = (ops.convert_to_numpy(DiffAugment()(PICTURES, seeds)) for _ in range(2))
    np.testing.assert_array_equal(one, first)
    assert np.abs(one - two).mean() > 0.1
    same = augment(*paper, images=np.repeat(PICTURES[:1], 8, axis=0))
    assert min(np.abs(same[0] - image).max() for image in same[1:]) > 0.01  # each its own change


@BACKEND
def test_config():
    change = DiffAugment(["cutout", "brightness"])
    assert change == DiffAugment(("cutout", "brightness")) == DiffAugment(**change.get_config())
    config = keras.saving.serialize_keras_object(change)
    assert keras.saving.deserialize_keras_object(config) == change
    assert DiffAugment("cutout").policy == ("cutout",)


@pytest.mark.parametrize("policy", [(), ("blur",), ("cutout", "cutout")])
def test_unknown_changes(policy):
    with pytest.raises(ValueError, match=r"`policy` must name some of .*Received: policy="):
        DiffAugment(policy)


# -- in the step ---------------------------------------------------------------------------------


@keras.saving.register_keras_serializable("ganlib_tests")
class Shade:
    """Scales and shifts by plain numbers, and uses the random state."""

    def __init__(self, scale=1.0, shift=0.0):
        self.scale, self.shift = scale, shift

    def __call__(self, images, seed_generator):
        noise = keras.random.normal((1,), seed=seed_generator)
        return self.scale * images + self.shift + 0.0 * noise

    def get_config(self):
        return {"scale": self.scale, "shift": self.shift}


@BACKEND
@pytest.mark.parametrize("update", UPDATES)
def test_the_discriminator_sees_changed_images_in_training_only(update):
    def last_seen(augment):
        gan = make_gan(
            generator=build_generator(),
            discriminator=build_discriminator(probe=True),
            augment=augment,
            update=update,
            d_optimizer="sgd",
            g_optimizer="sgd",
            compile_options=EAGER,
        )
        probe = gan.discriminator.get_layer("probe")
        fit(gan, gan_images(4))
        trained = probe.read()
        gan.evaluate(gan_images(4), verbose=0)
        return trained, probe.read()

    nothing, evaluated = last_seen(Shade(0.0))
    assert nothing[0] == {"alternating": 3, "shared": 3, "joint": 2}[update]
    assert nothing[2] == 0.0
    assert evaluated[2] > 0.0
    assert last_seen(Shade(3.0))[0][2] > 0.0


@BACKEND
@pytest.mark.parametrize("update", UPDATES)
def test_the_gradient_reaches_the_generator(update):
    def generator_after(augment):
        gan = make_gan(augment=augment, update=update, compile_options=EAGER)
        fit(gan, gan_images(4))
        return arrays(gan.generator.weights)

    start = arrays(build_generator().weights)
    assert gap(start, generator_after(Shade(0.0))) == 0.0  # nothing comes through
    assert gap(start, generator_after(DiffAugment())) > 1e-3


@BACKEND
def test_penalties_are_taken_on_the_changed_images():
    """Far from 0 the discriminator is flat, so its gradient there is none."""
    logs = [
        fit(make_gan(augment=augment, r1=1.0, compile_options=EAGER), gan_images(4))
        for augment in (Shade(1.0), Shade(0.0, 1e3))
    ]
    assert logs[0]["d_penalty"][0] > 1e-3
    assert logs[1]["d_penalty"][0] < 1e-6


@BACKEND
def test_training_goes_on_exactly_from_a_file(tmp_path):
    gan = make_gan(augment=DiffAugment(), ema=0.9)
    fit(gan, gan_images(6))
    gan.save(tmp_path / "gan.keras")
    loaded = keras.models.load_model(tmp_path / "gan.keras", safe_mode=True)
    assert loaded.augment == gan.augment
    for model in (gan, loaded):
        fit(model, gan_images(6))
    assert gap(state(gan), state(loaded)) == 0.0
    assert make_gan().get_config()["augment"] is None


@BACKEND
def test_mixed_precision():
    half = ops.cast(ops.ones((2, *IMAGE)), "bfloat16")
    out = DiffAugment()(half, keras.random.SeedGenerator(0))
    assert keras.backend.standardize_dtype(out.dtype) == "float32"
