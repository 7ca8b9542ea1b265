"""Saved models on new data: loading, sampling, tiles without seams, image files."""

import zipfile

import h5py
import keras
import numpy as np
import pytest
from helpers import build_discriminator, images, make_gan
from image_models import make_brightness, make_nearest, noise, opened
from keras import layers
from PIL import Image

from ganlib import apply
from ganlib.adversarial import Adversarial
from ganlib.apply import files
from ganlib.data import DataError
from ganlib.images import upscale
from ganlib.models import srgan, unet


@pytest.fixture
def model_file(tmp_path):
    keras.Sequential([keras.Input((4,)), layers.Dense(3)]).save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


def test_models_come_back(tmp_path):
    gan = make_gan(ema=0.9)
    gan.save(tmp_path / "gan.keras")
    again = apply.load_gan(tmp_path / "gan.keras")
    latents = apply.draw_latents(gan, 3, seed=5)
    drawn, expected = (apply.make_images(model.sampler, latents) for model in (again, gan))
    np.testing.assert_array_equal(drawn, expected)


def test_what_is_no_model_is_refused(model_file, tmp_path):
    with pytest.raises(DataError, match=r"can't be loaded.*No such file.*none\.keras"):
        apply.load_model(tmp_path / "none.keras")
    model = keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: 2 * x)])
    model.save(tmp_path / "code.keras")
    with pytest.raises(DataError, match="hold no code such as a Lambda layer"):
        apply.load_model(tmp_path / "code.keras")
    for load in (apply.load_upscaler, apply.load_segmenter):
        with pytest.raises(DataError, match=r"build it with keras\.Input"):
            load(model_file)


@pytest.mark.parametrize("kind", ["bomb", "link", "external", "virtual", "huge"])
def test_hostile_files_are_refused(model_file, tmp_path, kind):
    np.zeros(15, "float32").tofile(tmp_path / "secret")
    bomb = {"zeros": bytes(200 * 2**20)} if kind == "bomb" else {}
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        if kind == "link":
            file["kernel"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/kernel")
        elif kind == "external":
            place = [(str(tmp_path / "secret"), 0, 60)]
            file.create_dataset("kernel", (15,), "float32", external=place)
        elif kind == "virtual":
            layout = h5py.VirtualLayout((15,), "float32")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "kernel", (15,))
            file.create_virtual_dataset("kernel", layout)
        else:  # nothing of it is written
            file.create_dataset("kernel", (2**30,), "float32", chunks=(2**20,))
    with zipfile.ZipFile(model_file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members |= {"model.weights.h5": (tmp_path / "weights.h5").read_bytes(), **bomb}
    with zipfile.ZipFile(model_file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(DataError, match=r"outside of the file|than the file holds|would expand to"):
        apply.load_model(model_file)


def test_latents():
    gan = make_gan()
    latents = apply.draw_latents(gan, 5, seed=1)
    np.testing.assert_array_equal(latents, np.random.default_rng(1).normal(size=(5, 4)).astype("f"))
    near = apply.draw_latents(gan, 20_000, truncation=0.5)
    assert np.abs(near).max() <= 0.5
    variance = 1 - 2 * 0.5 * 0.3520653 / 0.3829249  # of a normal cut off at ±½
    assert near.var() == pytest.approx(variance, rel=0.02)
    with pytest.raises(ValueError, match="Received: -1"):
        apply.draw_latents(gan, 5, truncation=-1)


def test_generators_are_sampled_in_their_range():
    inputs = keras.Input((4,))
    inner = keras.ops.tanh(layers.Dense(64)(inputs))  # the last layer shows no activation
    generator = keras.Model(inputs, layers.Identity()(layers.Reshape((8, 8, 1))(inner)))
    drawn = apply.sample_images(generator, 6, seed=2)
    raw = generator(apply.draw_latents(generator, 6, seed=2), training=False)
    np.testing.assert_allclose(drawn, (keras.ops.convert_to_numpy(raw) + 1) / 2, atol=1e-6)
    gan = make_gan(generator=generator)
    np.testing.assert_array_equal(apply.sample_images(gan, 6, seed=2), drawn)


def test_what_makes_no_pictures_of_latents_is_refused_in_one_message(tmp_path):
    given = [keras.Input((4,)), keras.Input((10,))]
    x = layers.Dense(64, activation="tanh")(layers.Concatenate()(given))
    conditional = keras.Model(given, layers.Reshape((8, 8, 1))(x))
    players = srgan.build_generator(2, filters=2, blocks=1), srgan.build_discriminator(2, levels=2)
    gan = Adversarial(*players)
    gan.compile()
    gan.save(tmp_path / "gan.keras")
    for model in (conditional, make_nearest(), apply.load_gan(tmp_path / "gan.keras")):
        with pytest.raises(DataError, match=r"must make pictures .* of latents alone"):
            apply.sample_images(model, 3)
    assert apply.scale_of(apply.load_upscaler(tmp_path / "gan.keras")) == 2  # its sampler
    linear = keras.Sequential([keras.Input((4,)), layers.Dense(64), layers.Reshape((8, 8, 1))])
    with pytest.raises(DataError, match=r"sigmoid or tanh.*Received: outputs without bounds"):
        apply.sample_images(linear, 3)


@pytest.mark.backend
def test_discriminate():
    gan = make_gan(discriminator=build_discriminator(batch_norm=True))
    pictures = (images(5) + 1) / 2
    logits = gan.discriminator(2 * pictures - 1, training=False)
    expected = keras.ops.convert_to_numpy(logits)[:, 0]
    np.testing.assert_allclose(apply.discriminate(gan, pictures), expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        apply.discriminate(gan, 2 * pictures)


def test_interpolation_keeps_to_the_arc():
    start, end = np.array([[1.0, 0.0]]), np.array([[0.0, 2.0]])
    path = apply.interpolate(start, end, 3)
    np.testing.assert_allclose(path[0, [0, 2]], [[1, 0], [0, 2]], atol=1e-7)
    np.testing.assert_allclose(path[0, 1], np.sqrt(0.5) * np.array([1, 2]), atol=1e-7)
    np.testing.assert_allclose(apply.interpolate(start, -start, 3)[0, 1], [0, 0], atol=1e-7)


def test_grids_and_gifs(tmp_path):
    pictures = noise(5, 4, 4, 3)
    grid = apply.tile(pictures, 3)
    assert grid.shape == (8, 12, 3)
    assert not grid[4:, 8:].any()  # a spare cell
    apply.save_grid(pictures / 255, tmp_path / "new" / "grid.png", 3)
    read = apply.read_grid(tmp_path / "new" / "grid.png", 4)
    np.testing.assert_array_equal(read[:5], (pictures / np.float32(255)))
    frames = [np.full((4, 4, 3), value, "uint8") for value in (0, 128, 255)]
    apply.save_gif(frames, tmp_path / "film.gif", milliseconds=100)
    with Image.open(tmp_path / "film.gif") as film:
        film.seek(2)
        assert film.info["duration"] == 2000


@pytest.mark.backend
def test_upscaling_in_tiles_is_that_of_the_whole_picture():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 5, padding="same", activation="tanh")(inputs)  # it reaches 3 pixels
    x = layers.Conv2D(4, 3, padding="same")(layers.UpSampling2D(2)(x))
    model = keras.Model(inputs, layers.Conv2D(3, 1, activation="sigmoid")(x))
    image = noise(13, 22, 3)
    whole = keras.ops.convert_to_numpy(model(image[None].astype("float32") / 255))[0]
    large = apply.upscale_image(model, image, tile=5, overlap=3)
    assert np.abs(large - 255 * whole).max() <= 0.5 + 1e-3
    assert apply.upscale_image(model, image[..., :1]).shape == (26, 44, 1)
    assert (apply.upscale_image(model, image, tile=5, overlap=0) != large).any()  # seams


@pytest.mark.backend
def test_segmenting_in_tiles_is_that_of_the_whole_image():
    keras.utils.set_random_seed(0)
    model = unet.build_unet(unet.ARCHITECTURES[0], filters=2, depth=2)
    assert (apply.divisor_of(model), apply.channels_of(model)) == (4, 1)
    image = noise(100, 70, 1)  # 70 is no multiple of 4
    padded = np.pad(image, ((0, 0), (0, 2), (0, 0)), "reflect").astype("float32") / 255
    whole = apply.predict(model, padded[None])[0, :, :70]
    found = apply.segment(model, image, tile=18, overlap=40)
    assert (found.shape, found.dtype) == ((100, 70, 1), np.float32)
    np.testing.assert_allclose(found, whole, atol=1e-5)
    with pytest.raises(DataError, match="makes NaN"):
        apply.segment(make_brightness(np.nan), image)
    with pytest.raises(ValueError, match="Received: float64"):
        apply.segment(model, image / 255)


def ends(kind):
    """Upscalers of nearest pixels whose values are told in one way or another."""
    inputs = keras.Input((None, None, 3))
    x = layers.UpSampling2D(2)(inputs)
    if kind == "bilinear":  # Keras traces it on TensorFlow for known sizes alone
        return keras.Model(inputs, layers.UpSampling2D(2, interpolation="bilinear")(inputs))
    if kind == "signed":  # tanh far from ±1 is not needed: atanh of what comes in
        x = keras.ops.arctanh(0.999 * (2 * x - 1))
        inner = keras.Sequential([keras.Input((None, None, 3)), layers.Activation("tanh")])
        return keras.Model(inputs, layers.Identity()(inner(x)))
    return keras.Model(inputs, layers.Rescaling(255)(x) if kind == "byte" else x)


@pytest.mark.backend
@pytest.mark.parametrize("kind", ["unit", "signed", "byte", "bilinear"])
def test_upscalers_in_any_range(kind):
    image = np.full((6, 9, 3), 77, "uint8") if kind == "bilinear" else noise(6, 9, 3)
    large = apply.upscale_image(ends(kind), image)
    expected = image.repeat(2, 0).repeat(2, 1)
    assert np.abs(large.astype(int) - expected).max() <= 1


def test_a_segmenter_of_probabilities_is_refused():
    net, inputs = make_brightness(), keras.Input((None, None, 1))
    found = layers.Identity()(keras.Model(net.input, keras.ops.sigmoid(net.output))(inputs))
    with pytest.raises(DataError, match=r"must give logits.*Received: outputs in \[0\.0, 1\.0\]"):
        apply.divisor_of(keras.Model(inputs, found))


def save(pixels, path, **options):
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path, **options)
    return path


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_transparent_edges_keep_their_colour(tmp_path, mode):
    """Black lies where nothing is seen; a network mixes it in, and nobody is to see that."""
    pixels = np.zeros((20, 20, 4), "uint8")
    pixels[5:15, 5:15] = 255
    image = Image.fromarray(pixels)
    if mode == "P":
        image = Image.fromarray(pixels[..., 0] // 255)
        image.putpalette([0, 0, 0, 255, 255, 255])
        image.info["transparency"] = 0
    image.save(tmp_path / "edge.png", icc_profile=b"a profile")
    inputs = keras.Input((None, None, 3))
    blur = layers.AveragePooling2D(3, 1, padding="same")(layers.UpSampling2D(2)(inputs))
    model = keras.Model(inputs, blur)
    (result,) = files.upscale_files(model, [tmp_path / "edge.png"], tmp_path / "out")
    assert opened(result["output"]).info.get("icc_profile") == (
        None if mode == "P" else b"a profile"
    )
    large = np.asarray(opened(result["output"]).convert("RGBA"))
    assert (large[large[..., 3] > 0][:, :3] == 255).all()
    np.testing.assert_array_equal(large[..., 3:], upscale(pixels[..., 3:], 2))


def test_files_are_segmented(tmp_path):
    pixels = np.zeros((6, 9, 1), "uint8")
    pixels[:, :3] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned
    how = make_brightness(), [save(pixels, tmp_path / "a.png", exif=exif)], tmp_path
    (result,) = files.segment_files(*how)
    mask = np.asarray(opened(tmp_path / "a_mask.png"))
    assert (mask.shape, set(mask.ravel().tolist())) == ((9, 6), {0, 255})
    assert result["foreground"] == pytest.approx(1 / 3)
    (result,) = files.segment_files(*how, probabilities=True)
    assert result["output"].endswith("a_probability.png")


def test_what_can_not_be_read_does_not_stop_the_rest_of_a_folder(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    save(noise(6, 9, 3), tmp_path / "in" / "good.png")
    bad = save(noise(60, 90, 3), tmp_path / "in" / "deep" / "bad.png")
    bad.write_bytes(bad.read_bytes()[:2000])
    (tmp_path / "in" / "notes.txt").write_text("no image")
    results = files.upscale_files(make_nearest(), [tmp_path / "in"], tmp_path / "out")
    assert [result["output"] is None for result in results] == [True, False]
    assert "bad.png" in results[0]["error"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good_x2.png"]
    pages = [Image.fromarray(noise(6, 9, 1)[..., 0]) for _ in range(3)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match=r"stack\.tif has several pages.*Received: 3 pages"):
        files.segment_files(make_brightness(), [tmp_path / "stack.tif"], tmp_path / "out")


def test_names_that_would_be_written_twice(tmp_path):
    one = save(noise(6, 9, 3), tmp_path / "a.png")
    other = save(noise(6, 9, 3), tmp_path / "A.jpg")
    with pytest.raises(DataError, match=r"a_x2\.png, of .*a\.png, would replace another"):
        files.upscale_files(make_nearest(), [one, other], tmp_path / "out")
    taken = save(noise(6, 9, 3), tmp_path / "a_x2.png")
    with pytest.raises(DataError, match="would replace another"):
        files.upscale_files(make_nearest(), [one, taken], tmp_path)
    assert not (tmp_path / "out").exists()
