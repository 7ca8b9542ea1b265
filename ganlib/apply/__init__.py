"""Saved models on new data: load them, sample from them, upscale and segment images."""

import functools
import itertools
import math
import pathlib
import zipfile

import h5py
import keras
import numpy as np
from PIL import Image
from scipy.special import expit, ndtr, ndtri

import ganlib.augment
import ganlib.content
import ganlib.metrics.segmentation
import ganlib.models.layers
import ganlib.models.srgan
import ganlib.models.unet  # noqa: F401  a saved model is made of what these register
from ganlib.adversarial import Adversarial
from ganlib.data.errors import DataError
from ganlib.data.fit import fit
from ganlib.data.npz import check_members
from ganlib.images import check_range, convert
from ganlib.models.outputs import VALUE_RANGES, infer, output_bounds

SMALL = 256 * 2**20  # bytes that a model's variables may need, whatever its file holds
PROBE = (24, 32)  # pixels of a picture to ask an upscaler about shapes
HOLD = 2000  # milliseconds, of a film's last frame


def load_model(path, compile=True):
    """Loads a `keras.Model` from a .keras file, which may come from anyone.

    A file that can't be read, holds code or other files' paths, or expands far is a DataError.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            held = check_members(path, archive, packed=100)
            if "model.weights.h5" in archive.namelist():
                with archive.open("model.weights.h5") as file, h5py.File(file) as variables:
                    _check_variables(variables, max(SMALL, 4 * held))
        return keras.models.load_model(path, compile=compile, safe_mode=True)
    except DataError:
        raise
    except Exception as error:  # zip, HDF5, JSON and Keras errors all mean the same to the caller
        lines = map(str.strip, str(error).rpartition("Exception encountered: ")[2].splitlines())
        cause = next((x for x in lines if x and x[-1] != ":"), type(error).__name__)
        raise DataError(
            f"{path} can't be loaded as a Keras model: it must be a whole file from model.save(…), "
            f"and hold no code such as a Lambda layer. Received: {cause.partition('. ')[0][:300]}"
        ) from error


def _check_variables(file, most):
    links, items = [], []
    file.visititems_links(lambda name, link: links.append(link))
    file.visititems(lambda name, item: items.append(item))
    variables = [item for item in items if isinstance(item, h5py.Dataset)]
    linked = not all(isinstance(link, h5py.HardLink) for link in links)
    if linked or any(variable.external or variable.is_virtual for variable in variables):
        raise ValueError("a variable lies outside of the file")
    if (declared := sum(variable.nbytes for variable in variables)) > most:
        raise ValueError(f"variables of {declared:,} bytes, far more than the file holds")


def load_gan(path):
    """Loads an `Adversarial` from a .keras file; raises DataError for any other model."""
    if not isinstance(model := load_model(path), Adversarial):
        raise DataError(f"{path} must hold a ganlib Adversarial model. Received: {type(model)}")
    return model


def _picture_range(generator):
    if (bounds := output_bounds(generator)) not in VALUE_RANGES:
        found = "without bounds" if bounds is None else f"in {list(bounds)}"
        raise DataError(f"The generator must end in sigmoid or tanh. Received: outputs {found}")
    return VALUE_RANGES[bounds]


def check_generator(gan):
    """Raises DataError unless `gan`, `Adversarial` or model, makes pictures of latents alone."""
    generator = getattr(gan, "sampler", gan)
    shapes = [getattr(generator, name, None) for name in ("input_shape", "output_shape")]
    known = all(isinstance(shape, tuple) and None not in shape[1:] for shape in shapes)
    if not known or len(shapes[1]) != 4 or (len(shapes[0]) == 4 and shapes[0][-1] in (1, 3)):
        raise DataError(
            "The model must make pictures (n, height, width, channels) of latents alone; of "
            f"pictures, use `ganlib upscale`. Received: inputs {shapes[0]}, outputs {shapes[1]}"
        )
    _picture_range(generator)


def draw_latents(gan, n, seed=0, truncation=None):
    """Draws n latents of an `Adversarial` or a generator from N(0, 1), float32 `(n, …)`.

    With `truncation`, a float, values farther from 0 are drawn again (Brock et al., 2019).
    """
    rng = np.random.default_rng(seed)
    shape = (n, *(gan.latent_shape if hasattr(gan, "latent_shape") else gan.input_shape[1:]))
    if truncation is None:
        return rng.normal(size=shape).astype("float32")
    if not truncation > 0:  # NaN, too
        raise ValueError(f"`truncation` must be a positive number. Received: {truncation}")
    # As drawing again, in one draw: the inverse of the truncated normal's distribution.
    below = ndtr(-truncation)
    values = ndtri(below + (1 - 2 * below) * rng.random(shape))
    return np.clip(values, -truncation, truncation).astype("float32")  # ndtri(0) is -∞


def make_images(generator, latents):
    """The pictures, float32 `(n, h, w, c)` in [0, 1], that G makes of latents `(n, …)`."""
    images = infer(generator, np.asarray(latents, "float32"), generator.output_shape[1:])
    return convert(images, _picture_range(generator), "unit")


def sample_images(gan, n, seed=0, truncation=None):
    """n pictures of an `Adversarial` or a generator, of the latents of `draw_latents`."""
    check_generator(gan)
    return make_images(getattr(gan, "sampler", gan), draw_latents(gan, n, seed, truncation))


def discriminate(gan, images):
    """What an `Adversarial`'s D says of pictures `(n, h, w, c)` in [0, 1]: logits `(n,)`."""
    check_range(images, "unit")
    images = convert(images, "unit", _picture_range(gan.generator))
    return infer(gan.discriminator, images, images.shape[1:]).reshape(len(images))


def interpolate(start, end, steps):
    """Spherical interpolation between latents (White, 2016, "Sampling Generative Networks").

    Of arrays `(n, latent_dim)` it makes `(n, steps, latent_dim)`, both ends included; a straight
    line only where two point along one line.
    """
    a, b = (np.asarray(x, "float64") for x in (start, end))
    tiny = np.finfo("float64").tiny  # a vector of zeros stays one
    u, v = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), tiny) for x in (a, b))
    # Exact for small angles, too, as the arc cosine is not (Kahan).
    angle = 2 * np.arctan2(np.linalg.norm(u - v, axis=1), np.linalg.norm(u + v, axis=1))[:, None]
    t, sine = np.linspace(0, 1, steps), np.sin(angle)
    straight = sine < 1e-6
    sine[straight] = 1.0  # not used
    weight_a = np.where(straight, 1 - t, np.sin((1 - t) * angle) / sine)
    weight_b = np.where(straight, t, np.sin(t * angle) / sine)
    path = weight_a[..., None] * a[:, None] + weight_b[..., None] * b[:, None]
    return path.astype(np.result_type(start, end, np.float32))


def tile(images, columns):
    """Puts images beside one another: `(n, h, w, c)` to `(rows·h, columns·w, c)`; spare cells 0."""
    images = np.asarray(images)
    n, height, width, channels = images.shape
    rows = -(-n // columns)
    blank = np.zeros((rows * columns - n, height, width, channels), images.dtype)
    cells = np.concatenate([images, blank]).reshape(rows, columns, height, width, channels)
    return cells.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)


def read_grid(path, size):
    """The pictures of a saved grid, float32 `(n, size, size, 3)` in [0, 1]."""
    with Image.open(path) as file:
        grid = np.asarray(file.convert("RGB"))
    rows, columns = (side // size for side in grid.shape[:2])
    cells = grid.reshape(rows, size, columns, size, 3)  # refuses what does not divide
    return convert(cells.transpose(0, 2, 1, 3, 4).reshape(-1, size, size, 3), "byte", "unit")


def save_grid(images, path, columns=None):
    """Saves images `(n, h, w, 1 or 3)` in [0, 1] as one PNG; without `columns` about square."""
    grid = convert(tile(images, columns or math.ceil(len(images) ** 0.5)), "unit", "byte")
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid[..., 0] if grid.shape[-1] == 1 else grid).save(path)


def save_gif(frames, path, milliseconds=250):
    """Saves uint8 pictures `(h, w, 3)` as a GIF that loops; the last stays for 2 seconds."""
    pictures = [Image.fromarray(frame).quantize() for frame in frames]
    times = [milliseconds] * (len(pictures) - 1) + [HOLD]
    options = {"append_images": pictures[1:], "duration": times, "loop": 0, "optimize": True}
    pictures[0].save(path, format="GIF", save_all=True, **options)


def _tile_by_tile(model, image, tile, overlap, finish, scale=1, divisor=1):
    if image.dtype != np.uint8:
        raise ValueError(f"The image must be uint8. Received: {image.dtype}")
    height, width = image.shape[:2]
    image = np.pad(image, ((0, -height % divisor), (0, -width % divisor), (0, 0)), "reflect")
    tile, overlap = (size + -size % divisor for size in (tile, overlap))
    rows, columns = (_windows(side, tile, overlap) for side in image.shape[:2])
    whole = None
    for (y, h, top, bottom), (x, w, left, right) in itertools.product(rows, columns):
        outputs = _run(model, convert(image[np.newaxis, y : y + h, x : x + w], "byte", "unit"))[0]
        if np.isnan(outputs).any():
            raise DataError("The model makes NaN: train it anew, or load an earlier one.")
        outputs = outputs[scale * (top - y) : scale * (bottom - y)]
        part = finish(outputs[:, scale * (left - x) : scale * (right - x)])
        if whole is None:
            sides = (scale * side for side in image.shape[:2])
            whole = np.empty((*sides, part.shape[-1]), part.dtype)
        whole[scale * top : scale * bottom, scale * left : scale * right] = part
    return whole[: scale * height, : scale * width]


def _windows(length, tile, overlap):
    """Tuples (start, size, from, to) along one side; all of one size, for few shapes of graphs."""
    size = min(tile + 2 * overlap, length)
    starts = [*range(0, length - size, tile), length - size]
    ends = [start + size - overlap for start in starts[:-1]] + [length]
    return [(start, size, a, b) for start, a, b in zip(starts, [0, *ends], ends, strict=False)]


def _run(model, inputs):
    if keras.backend.backend() != "tensorflow":
        return np.asarray(model.predict_on_batch(inputs), np.float32)
    return _graph(model, inputs.shape)(inputs).numpy().astype("float32", copy=False)


@functools.lru_cache(maxsize=2)
def _graph(model, shape):
    """A TensorFlow graph: without, a model keeps all that it computes, twice the memory."""
    import tensorflow as tf

    graph = tf.function(lambda x: model(x, training=False))
    concrete = graph.get_concrete_function(tf.TensorSpec(shape, tf.float32))
    return lambda inputs: concrete(tf.constant(inputs))


def _shape_of_output(model, shape):
    """The shape that a model makes of one, or in words why it makes none."""
    try:
        found = tuple(model.compute_output_spec(keras.KerasTensor(shape, "float32")).shape)
        if found == (*shape[:3], 1):  # of a segmenter: shapes alone show no skip that does not fit
            model(np.zeros(shape, np.float32), training=False)
        return found
    except Exception as error:  # whatever a model says of an input that it is not for
        return f"{type(error).__name__}: {error}"


def load_upscaler(path):
    """Loads a model that `upscale_image` takes, or raises DataError; of an `Adversarial`, G."""
    loaded = load_model(path, compile=False)
    scale_of(model := getattr(loaded, "sampler", loaded))
    return model


def scale_of(model):
    """How many times a model enlarges RGB pictures of any size, 2 to 8; DataError if it doesn't."""
    found = _shape_of_output(model, (1, *PROBE, 3))
    for scale in range(2, 9):
        if found == (1, *(scale * side for side in PROBE), 3):
            return scale
    needed = "must enlarge RGB pictures 2 to 8 times: build it with keras.Input((None, None, 3))"
    raise DataError(f"The model {needed}. Received, for {PROBE} pixels: {found}")


def upscale_image(model, image, tile=256, overlap=32):
    """Enlarges a picture of any size, a tile at a time: uint8 `(scale · h, scale · w, channels)`.

    Args:
        model, image: of `load_upscaler`; uint8 `(h, w, 1 or 3)`, grey is enlarged as RGB, averaged.
        tile, overlap: int, a tile's side in pixels, with which memory grows, and how far around it
            the model looks: as far as it reaches, or seams are left.
    """
    scale, value_range = scale_of(model), _upscaled_range(model)

    def finish(outputs):
        if image.shape[-1] == 1:
            outputs = outputs.mean(axis=-1, dtype=np.float32, keepdims=True)
        return convert(outputs, value_range, "byte")

    small = np.broadcast_to(image, (*image.shape[:2], 3))
    return _tile_by_tile(model, small, tile, overlap, finish, scale=scale)


def _upscaled_range(model):
    """By what bounds the outputs; where nothing does, by what the model makes of two greys."""
    if (bounds := output_bounds(model)) in VALUE_RANGES:
        return VALUE_RANGES[bounds]
    greys = (np.full((1, *PROBE, 3), grey, np.float32) for grey in (0.25, 0.75))
    dark, light = (np.nan_to_num(_run(model, grey)).mean() for grey in greys)
    return "byte" if light - dark > 8 else "unit"  # true are 127.5 and 0.5


def load_segmenter(path):
    """Loads a model of images in [0, 1] to logits `(n, h, w, 1)`, or raises DataError."""
    divisor_of(model := load_model(path, compile=False))
    return model


def channels_of(model):
    """How many channels a segmenter's images have, 1 or 3; DataError for another model."""
    shape = getattr(model, "input_shape", None)  # a subclassed model has none
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[-1] not in (1, 3):
        raise _no_segmenter(f"input shape {shape}")
    return shape[-1]


@functools.lru_cache(maxsize=2)
def divisor_of(model):
    """What a segmenter's images' sides must be multiples of, a power of 2, found by trying."""
    channels = channels_of(model)
    for divisor in (2**halvings for halvings in range(9)):
        shape = (1, 3 * divisor, 4 * divisor, channels)  # an odd number of cells: no lucky fit
        if (found := _shape_of_output(model, shape)) == (*shape[:3], 1):
            break
    else:
        raise _no_segmenter(f"{found} for images of {shape[1]}×{shape[2]}")
    if bounds := output_bounds(model):
        advice = "leave out the sigmoid that it ends in"
        raise DataError(f"It must give logits: {advice}. Received: outputs in {list(bounds)}")
    return divisor


def _no_segmenter(received):
    advice = "build it with keras.Input((None, None, 1 or 3)), of one logit a pixel"
    return DataError(f"The model can't segment any image: {advice}. Received: {received}")


def predict(model, images, batch_size=16):
    """Probabilities of being foreground, float32 `(n, h, w, 1)`.

    `images` are float32 `(n, h, w, channels)` in [0, 1], which the model takes as they are.
    """
    spread = keras.distribution.distribution()
    n, devices = len(images), 1 if spread is None else spread.device_mesh.devices.size
    filled = images[np.arange(n + -n % devices) % n]  # devices share every batch evenly
    return expit(model.predict(filled, batch_size=batch_size, verbose=0)[:n].astype("float32"))


def segment(model, image, tile=256, overlap=128):
    """Probabilities of being foreground, float32 `(h, w, 1)`, of an image of any size, in tiles.

    `image` is uint8 `(height, width, 1 or 3)`, and brought to the model's channels; `tile` and
    `overlap` are as of `upscale_image`. A U-Net of four halvings reaches some 110 pixels.
    """
    image = fit(image, channels=channels_of(model))
    return _tile_by_tile(model, image, tile, overlap, expit, divisor=divisor_of(model))
