"""Saved models on new data: sample, upscale, segment."""

import concurrent.futures
import functools
import itertools
import json
import math
import os
import pathlib
import random
import sys
import time
import zipfile

import h5py
import keras
import numpy as np
from scipy.special import ndtr, ndtri

import ganlib.augment
import ganlib.content
import ganlib.likeness
import ganlib.metrics.segmentation
import ganlib.models.layers
import ganlib.models.spectral
import ganlib.models.srgan
import ganlib.models.unet  # noqa: F401  a saved model is made of what these register
from ganlib.adversarial import Adversarial
from ganlib.data.archives import check_members
from ganlib.data.errors import DataError
from ganlib.data.folder import open_image, pixels_of
from ganlib.data.resize import fit
from ganlib.experiment.devices import spread_over
from ganlib.images import check_range, convert, upscale
from ganlib.metrics.segmentation import check_threshold
from ganlib.models.unet import CheckSize

# -- keras_file --

CONFIG, MOST_CONFIG = "config.json", 64 * 2**20  # bytes; that of a hundred layers has 100 kB
WEIGHTS = "model.weights.h5"
SMALL = 256 * 2**20  # bytes that a model may need, whatever its file holds


def load_model(path, compile=True):
    """Loads a model from a .keras file, in Keras' safe mode.

    Args:
        path: path.
        compile: bool, bring the optimizers back, too; needed only to train on.

    Returns:
        `keras.Model`.

    Raises:
        DataError: there is no such file; it can't be read; it holds code, as a Lambda layer does;
            or it would expand to far more than it holds.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise DataError(
            "There is no model file there; a finished trial keeps one as model.keras. "
            f"Received: {str(path)!r}"
        )
    try:
        _check_file(path)
        return keras.models.load_model(path, compile=compile, safe_mode=True)
    except DataError:
        raise
    except Exception as error:  # zip, HDF5, JSON and Keras errors all mean the same to the caller
        raise DataError(
            f"{path} can't be loaded as a Keras model: it must be a whole file from model.save(…), "
            f"and hold no code such as a Lambda layer. Received: {_cause(error)}"
        ) from error


def _cause(error):
    """The one sentence that matters: Keras adds the configuration, and how to run code anyway."""
    text = str(error).rpartition("Exception encountered: ")[2]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = next((line for line in lines if not line.endswith(":")), type(error).__name__)
    return told.partition(". ")[0][:300]


def _check_file(path):
    """Refuses a file that would take far more memory than its own, or reads another file."""
    with zipfile.ZipFile(path) as archive:
        held = check_members(path, archive, packed=100)
        most = max(SMALL, 4 * held)  # bytes of all variables
        if archive.getinfo(CONFIG).file_size > MOST_CONFIG:
            raise DataError(
                f"{path} describes no model that can be: get the file again. Received: {CONFIG} of "
                f"{archive.getinfo(CONFIG).file_size:,} bytes"
            )
        config = json.loads(archive.read(CONFIG))
        if WEIGHTS in archive.namelist():
            with archive.open(WEIGHTS) as file, h5py.File(file) as variables:
                _check_variables(variables, most)
    config["compile_config"] = None
    # Keras' notes of unfinished variables are the thread's own: here they end with it.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        needed = pool.submit(_needed, config).result()
    if needed > most:
        raise DataError(
            f"{path} describes a model of {needed / 2**30:,.1f} GiB and holds {held:,} bytes: it "
            "is cut off or made to fill the memory. Get the file again from where you trust it"
        )


def _check_variables(file, most):
    """Raises ValueError for variables of another file, or of more than `most` bytes.

    Newer releases of Keras refuse them, too; those up to 3.13.2 not all.
    """
    elsewhere = file.visititems_links(
        lambda name, link: None if isinstance(link, h5py.HardLink) else name
    )
    if elsewhere:
        raise ValueError(f"the variable {elsewhere} is a link")
    items = []
    file.visititems(lambda name, item: items.append(item))
    variables = [item for item in items if isinstance(item, h5py.Dataset)]
    for variable in variables:
        if variable.external or variable.is_virtual:
            raise ValueError(f"the variable {variable.name} lies outside of the file")
    if (stated := sum(variable.nbytes for variable in variables)) > most:
        raise ValueError(f"variables of {stated:,} bytes, far more than the file holds")


def _needed(config):
    """The bytes of a model's variables, found without making any of them; 0 where it can't be."""
    state = random.getstate()  # initializers draw their seeds from it
    try:
        with keras.StatelessScope(initialize_variables=False):
            model = keras.saving.deserialize_keras_object(config, safe_mode=True)
        return sum(4 * math.prod(variable.shape) for variable in model.variables)
    except Exception:  # loading it will say what is wrong, if something is
        return 0
    finally:
        random.setstate(state)


# -- inference --

PIXELS = 2**20  # at once: 256 images of 64×64, 16 of 256×256
SIDE = 256  # taken for one that is not known


def infer(model, inputs, image_shape):
    """What a model makes of all its inputs, in inference mode.

    Args:
        model: `keras.Model`, or whatever is called like one.
        inputs: array `(n, …)`, or a structure of such, n > 0.
        image_shape: `(height, width, …)` of the images that it makes or judges: so large, so few at
            once. Layer by layer a call costs more than small images do.

    Returns:
        float32 array with a row an input, or a structure of such where the model returns one. What
        is no row an input is left for the caller to see: a scalar a call becomes a row a call.
    """
    n = len(keras.tree.flatten(inputs)[0])
    height, width = (side or SIDE for side in image_shape[:2])
    size = max(1, PIXELS // (height * width))
    parts = []
    for i in range(0, n, size):
        part = keras.tree.map_structure(lambda x, i=i: x[i : i + size], inputs)
        parts.append(keras.tree.map_structure(_to_array, model(part, training=False)))
    return keras.tree.map_structure(_join, *parts)


def _to_array(output):
    return keras.ops.convert_to_numpy(keras.ops.cast(output, "float32"))


def _join(*parts):
    return np.concatenate(parts) if all(part.ndim for part in parts) else np.array(parts)


# -- sampling --

RANGES = {"sigmoid": "unit", "tanh": "signed"}
HOLD = 2000  # milliseconds, of a GIF's last frame


def load_gan(path):
    """Loads an `Adversarial` from a .keras file, in Keras' safe mode.

    Args:
        path: of the file.

    Returns:
        `ganlib.adversarial.Adversarial`, compiled as it was saved.

    Raises:
        DataError: there is no such file, it can't be read, or it holds another kind of model.
    """
    model = load_model(path)
    if not isinstance(model, Adversarial):
        raise DataError(
            f"{path} must hold a ganlib Adversarial model. Received: {type(model).__name__}"
        )
    return model


def output_range(generator):
    """The value range that the generator's last activation declares: "unit" or "signed".

    Raises:
        DataError: the last layer ends in neither sigmoid nor tanh.
    """
    activation = getattr(generator.layers[-1], "activation", None)
    name = getattr(activation, "__name__", None)
    if name not in RANGES:
        raise DataError(
            f"The generator must end in one of {sorted(RANGES)}, which tells its value range. "
            f"Received: {name}"
        )
    return RANGES[name]


def draw_latents(gan, n, seed=0, truncation=None):
    """Draws latents from N(0, 1).

    Args:
        gan: `Adversarial`.
        n: int, how many.
        seed: int.
        truncation: float above 0, or None. Values that lie farther from 0 are drawn again (Brock et
            al., 2019): the smaller, the better each picture and the less they vary.

    Returns:
        float32 `(n, *gan.latent_shape)`.

    Raises:
        ValueError: `truncation` is no positive finite number.
    """
    rng = np.random.default_rng(seed)
    shape = (n, *gan.latent_shape)
    if truncation is None:
        return rng.normal(size=shape).astype("float32")
    if not 0 < truncation < np.inf:  # NaN, too
        raise ValueError(
            f"`truncation` must be a positive finite number, or None. Received: {truncation}"
        )
    # What drawing again comes to, in one draw: the inverse of the truncated normal's distribution.
    below = ndtr(-truncation)
    values = ndtri(below + (1 - 2 * below) * rng.random(shape))
    return np.clip(values, -truncation, truncation).astype("float32")  # ndtri(0) is -∞


def make_images(generator, latents):
    """The pictures that a generator makes of given latents.

    Args:
        generator: `keras.Model` that ends in sigmoid or tanh, such as `gan.sampler`.
        latents: array `(n, …)` of the generator's input shape, n > 0.

    Returns:
        float32 `(n, height, width, channels)` in [0, 1].

    Raises:
        ValueError: `latents` has another shape.
        DataError: the generator does not tell its value range.
    """
    latents = np.asarray(latents, "float32")
    shape = tuple(generator.input_shape[1:])
    if not len(latents) or latents.shape[1:] != shape:
        wanted = ", ".join(map(str, ("n", *shape)))
        raise ValueError(
            f"`latents` must have shape ({wanted}), n > 0. Received: shape {latents.shape}"
        )
    images = infer(generator, latents, generator.output_shape[1:])
    return convert(images, output_range(generator), "unit")


def discriminate(gan, images):
    """What the discriminator says of pictures, in inference mode.

    Args:
        gan: `Adversarial` whose generator ends in sigmoid or tanh: what the discriminator takes.
        images: array `(n, height, width, channels)` in [0, 1], n > 0.

    Returns:
        float32 `(n,)`, the logits: 0 is D = ½.

    Raises:
        ValueError: the images have another shape, or values outside [0, 1].
        DataError: the generator does not tell its value range.
    """
    images = np.asarray(images, "float32")
    shape = tuple(gan.discriminator.input_shape[1:])
    if not len(images) or images.shape[1:] != shape:
        wanted = ", ".join(map(str, ("n", *shape)))
        raise ValueError(
            f"`images` must have shape ({wanted}), n > 0. Received: shape {images.shape}"
        )
    check_range(images, "unit")
    images = convert(images, "unit", output_range(gan.generator))
    return infer(gan.discriminator, images, shape).reshape(len(images))


def sample_images(gan, n, seed=0, truncation=None):
    """n pictures of `gan.sampler`, float32 `(n, height, width, channels)` in [0, 1].

    Args:
        gan: `ganlib.adversarial.Adversarial`.
        n: int.
        seed: int, of the latents, which are those of `draw_latents`.
        truncation: float, beyond which latents are drawn anew, or None.

    Returns:
        float32 array.
    """
    return make_images(gan.sampler, draw_latents(gan, n, seed, truncation))


def interpolate(start, end, steps):
    """Spherical interpolation between latents (White, 2016, "Sampling Generative Networks").

    A straight line between two Gaussian latents runs through short ones, such as the generator has
    never seen; the arc keeps to their length. Where two latents point along one line, in the same
    direction or in opposite ones, there is no one arc, and the line is taken.

    Args:
        start: array `(n, …)`; each latent is one vector, whatever its axes.
        end: array of the same shape.
        steps: int from 2 on, latents on each way, both ends included.

    Returns:
        Array `(n, steps, …)`, float32 if both are; the first and last steps are `start` and `end`.

    Raises:
        ValueError: the shapes differ, there is no axis beside n, or `steps` is below 2.
    """
    start, end = np.asarray(start), np.asarray(end)
    if start.shape != end.shape or start.ndim < 2:
        raise ValueError(
            "`start` and `end` must have one shape, (n, …). Received: shapes "
            f"{start.shape} and {end.shape}"
        )
    if steps < 2:
        raise ValueError(f"`steps` must be at least 2, both ends included. Received: {steps}")
    a, b = (x.reshape(len(x), -1).astype("float64") for x in (start, end))
    angle = _angle(a, b)[:, None]
    t = np.linspace(0, 1, steps)
    sine = np.sin(angle)
    straight = sine < 1e-6
    sine[straight] = 1.0  # not used
    weight_a = np.where(straight, 1 - t, np.sin((1 - t) * angle) / sine)
    weight_b = np.where(straight, t, np.sin(t * angle) / sine)
    path = weight_a[..., None] * a[:, None] + weight_b[..., None] * b[:, None]
    dtype = np.result_type(start, end, np.float32)
    return path.reshape(len(start), steps, *start.shape[1:]).astype(dtype)


def _angle(a, b):
    """Between vectors `(n, d)`; exact for small angles, too, as the arc cosine is not (Kahan)."""
    tiny = np.finfo("float64").tiny  # a vector of zeros stays one
    a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), tiny) for x in (a, b))
    return 2 * np.arctan2(np.linalg.norm(a - b, axis=1), np.linalg.norm(a + b, axis=1))


def tile(images, columns):
    """Puts images beside one another: `(n, h, w, c)` to `(rows·h, columns·w, c)`; spare cells 0."""
    images = np.asarray(images)
    if images.ndim != 4 or not len(images):
        raise ValueError(
            "`images` must hold at least one image, (n, height, width, channels). Received: shape "
            f"{images.shape}"
        )
    n, height, width, channels = images.shape
    rows = -(-n // columns)
    blank = np.zeros((rows * columns - n, height, width, channels), images.dtype)
    cells = np.concatenate([images, blank]).reshape(rows, columns, height, width, channels)
    return cells.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)


def untile(grid, size):
    """Undoes `tile`: `(rows·size, columns·size, c)` to `(rows·columns, size, size, c)`.

    Raises:
        ValueError: the grid does not divide into squares of that size.
    """
    grid = np.asarray(grid)
    if grid.ndim != 3 or size < 1 or grid.shape[0] % size or grid.shape[1] % size:
        raise ValueError(
            f"`grid` must be (rows·{size}, columns·{size}, channels). Received: shape {grid.shape}"
        )
    height, width, channels = grid.shape
    cells = grid.reshape(height // size, size, width // size, size, channels)
    return cells.transpose(0, 2, 1, 3, 4).reshape(-1, size, size, channels)


def read_grid(path, size):
    """The pictures of a saved grid, float32 `(n, size, size, 3)` in [0, 1]."""
    from PIL import Image

    with Image.open(path) as file:
        grid = np.asarray(file.convert("RGB"))
    return convert(untile(grid, size), "byte", "unit")


def save_grid(images, path, columns=None):
    """Saves images as one PNG, in a grid.

    Args:
        images: float array `(n, height, width, 1 or 3)` in [0, 1].
        path: of the file; its folder is made.
        columns: int, of the grid; None: so many that it is about square.
    """
    from PIL import Image

    columns = columns or int(np.ceil(np.sqrt(len(images))))
    grid = convert(tile(images, columns), "unit", "byte")
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid[..., 0] if grid.shape[-1] == 1 else grid).save(path)


def save_gif(frames, path, milliseconds=250):
    """Saves pictures as an animated GIF that loops for ever; its last frame stays for 2 seconds.

    Each frame has its own palette of up to 256 colours. Equal frames in a row become one that stays
    for as long as all of them.

    Args:
        frames: list of arrays `(height, width, 1 or 3)` of one shape, uint8 or in [0, 1].
        path: of the file; its folder is made.
        milliseconds: int, how long a frame stays; GIF counts in hundredths of a second.

    Raises:
        ValueError: there are no frames, their shapes differ or are none of a picture, or their
            values lie outside [0, 1].
    """
    from PIL import Image

    frames = [np.asarray(frame) for frame in frames]
    shapes = sorted({frame.shape for frame in frames})
    if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][-1] not in (1, 3):
        raise ValueError(
            "`frames` must hold at least one picture, all of one shape, (height, width, 1 or 3). "
            f"Received: {len(frames)} frames of shapes {shapes}"
        )
    pictures = []
    for frame in frames:
        if frame.dtype != np.uint8:
            check_range(frame, "unit")
            frame = convert(frame, "unit", "byte")
        frame = frame[..., 0] if frame.shape[-1] == 1 else frame
        pictures.append(Image.fromarray(frame).quantize())
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    pictures[0].save(
        path,
        format="GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=[milliseconds] * (len(pictures) - 1) + [max(milliseconds, HOLD)],
        loop=0,
        optimize=True,
    )


# -- tiling --


def reach(model, shape, lowest=1):
    """How far at most, in pixels of an image, a pixel has a say in what the model makes of it.

    It is the sum over all convolutions and poolings of how far they reach, in pixels of the image:
    at a lower resolution the more, at a higher one the less. Where branches are parallel, that is
    more than the truth. What sees the whole image at once, such as attention, is passed over.

    Args:
        model: `keras.Model`, images to images.
        shape: tuple `(1, height, width, channels)`, an image to ask the model about shapes.
        lowest: int, how many pixels of the image a pixel at the lowest resolution stands for, where
            the model's graph does not tell.

    Returns:
        int.
    """
    widths = {layer: width for layer in model.layers if (width := _half_width(layer))}
    try:
        ends = [(layer.input, layer.output) for layer in widths]
        shapes = keras.Model(model.inputs, ends).compute_output_shape(shape) if widths else []
        cells = [shape[1] / min(first[1], second[1]) for first, second in shapes]
    except Exception:  # no graph to follow: as if all were at the lowest resolution
        cells = [lowest] * len(widths)
    far = sum(width * cell for width, cell in zip(widths.values(), cells, strict=True))
    return math.ceil(far) + math.ceil(max([lowest, *cells])) - 1  # a say in all of its lowest cell


def _half_width(layer):
    """How far a layer's windows reach beyond their own step, those of all within it together."""
    total = 0
    for part in layer._flatten_layers():
        kernel = getattr(getattr(part, "kernel", None), "shape", ())
        size = getattr(part, "kernel_size", getattr(part, "pool_size", kernel[:2]))
        if len(size) == 2 and len(kernel) in (0, 4):
            size = 1 + (np.array(size) - 1) * getattr(part, "dilation_rate", 1)
            enlarges = isinstance(part, keras.layers.Conv2DTranspose)
            step = 1 if enlarges else getattr(part, "strides", 1)
            total += int(np.max(size - step + 1) // 2)
    return total


def check_image(image, tile, overlap):
    """Raises ValueError unless `image` is uint8 `(height, width, 1 or 3)` and the sizes can be."""
    shape = np.shape(image)
    if len(shape) != 3 or shape[-1] not in (1, 3) or 0 in shape or image.dtype != np.uint8:
        raise ValueError(
            "The image must be uint8 of the shape (height, width, 3) or (height, width, 1). "
            f"Received: shape={shape}, dtype={getattr(image, 'dtype', None)}"
        )
    if tile < 1 or overlap < 0:
        raise ValueError(
            "`tile` must be at least 1 and `overlap` not negative. Received: "
            f"tile={tile}, overlap={overlap}"
        )


def check_numbers(good, image):
    """Raises DataError unless all of `good` is true: what a model made of an image is a number."""
    if not np.all(good):
        raise DataError(
            "The model makes NaN or infinities: train it anew, or load an earlier one. "
            f"Received: an image of {image.shape[0]}×{image.shape[1]}"
        )


def tiles(model, image, tile, overlap, scale=1):
    """Runs a model over an image, a tile at a time.

    A tile is computed with `overlap` more pixels on each side, which are then cut off, so that its
    border is not seen. Memory grows with the tile, and not with the image.

    Args:
        model: `keras.Model`, images `(1, height, width, channels)` in [0, 1] to images that are
            `scale` times as high and wide.
        image: uint8 array `(height, width, channels)`.
        tile: int, height and width of a tile in pixels of the image.
        overlap: int, in pixels of the image.
        scale: int.

    Yields:
        `(place, outputs)`: where the tile lies in the result, two slices, and what the model makes
        of it, array `(height, width, channels)`. The places make up the whole result.
    """
    rows, columns = (windows(side, tile, overlap) for side in image.shape[:2])
    for (y, h, top, bottom), (x, w, left, right) in itertools.product(rows, columns):
        outputs = run(model, convert(image[np.newaxis, y : y + h, x : x + w], "byte", "unit"))[0]
        outputs = outputs[scale * (top - y) : scale * (bottom - y)]
        place = slice(scale * top, scale * bottom), slice(scale * left, scale * right)
        yield place, outputs[:, scale * (left - x) : scale * (right - x)]


def windows(length, tile, overlap):
    """Where to compute along one side: tuples (start, size, from, to).

    Windows of one size, the last one flush with the border, so that the model sees few shapes; the
    parts (from, to) to keep of them make up the whole side. Of multiples of a number come such.
    """
    size = min(tile + 2 * overlap, length)
    starts = [*range(0, length - size, tile), length - size]
    ends = [start + size - overlap for start in starts[:-1]] + [length]
    return [(start, size, a, b) for start, a, b in zip(starts, [0, *ends], ends, strict=False)]


def run(model, inputs):
    """What a model makes of float32 images `(n, height, width, channels)`, as a NumPy array."""
    if keras.backend.backend() != "tensorflow":
        return np.asarray(model.predict_on_batch(inputs))
    return _tensorflow_graph(model, inputs.shape[-1])(inputs).numpy()


@functools.lru_cache(maxsize=2)
def _tensorflow_graph(model, channels):
    """One graph for images of all sizes.

    `predict` would trace anew for a new size. Without a graph, a functional model keeps all that it
    computes until the end: twice the memory.
    """
    import tensorflow as tf

    graph = tf.function(lambda x: model(x, training=False))
    # Traced once, here: of one that traces when it is called TensorFlow warns, model after model.
    return graph.get_concrete_function(tf.TensorSpec((None, None, None, channels), tf.float32))


# -- upscaling --

SCALES = range(2, 9)
MOST_OVERLAP = 32
PROBE = (24, 32)  # a picture to ask a model about shapes, in pixels


# -- models --------------------------------------------------------------------------------------


def load_upscaler(path):
    """Loads a super-resolution model from a .keras file, in Keras' safe mode.

    Args:
        path: path. Of a saved `Adversarial`, the generator to sample from is taken.

    Returns:
        `keras.Model`, RGB pictures `(n, height, width, 3)` in [0, 1] to `(n, scale · height,
        scale · width, 3)`, in [0, 1] too, or in [-1, 1] if it ends in tanh; see `scale_of`.

    Raises:
        DataError: there is no such file, it can't be read, or its model is no upscaler.
    """
    model = load_model(path, compile=False)
    model = model.sampler if isinstance(model, Adversarial) else model
    try:
        scale_of(model)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return model


def scale_of(model):
    """How many times larger a model makes a picture, in height and width; int from 2 to 8.

    Raises:
        DataError: the model is no upscaler of RGB pictures of any size.
    """
    try:
        outputs = model.compute_output_spec(keras.KerasTensor((1, *PROBE, 3), "float32"))
        shape = tuple(outputs.shape)
    except Exception as error:  # whatever a model says of an input that it is not for
        raise DataError(
            "The model must enlarge RGB pictures of any size, shape (n, height, width, 3): build "
            f"it with keras.Input((None, None, 3)). Received: {type(error).__name__}: {error}"
        ) from error
    for scale in SCALES:
        if shape == (1, *(scale * side for side in PROBE), 3):
            return scale
    raise DataError(
        f"The model must enlarge RGB pictures by a whole factor of {SCALES[0]} to {SCALES[-1]}. "
        f"Received: output shape {shape} for a picture of {PROBE[0]}×{PROBE[1]}"
    )


def reach_of_upscaler(model):
    """How far at most, in pixels of the small picture, a pixel has a say in the large picture.

    As of `reach`; two pixels are added for interpolation.

    Args:
        model: `keras.Model`, pictures to pictures.

    Returns:
        int.
    """
    return 2 + reach(model, (1, *PROBE, 3))


# -- pictures ------------------------------------------------------------------------------------


def upscale_image(model, image, tile=256, overlap=None):
    """Enlarges a picture of any size, a tile at a time.

    A tile is computed with `overlap` more pixels on each side, which are then cut off, so that its
    border is not seen. With an overlap as large as the model's reach, the result is that of the
    whole picture at once, whatever the tile.

    Args:
        model: as `load_upscaler` returns it.
        image: uint8 array `(height, width, 3)`, or `(height, width, 1)`: grey is enlarged as RGB,
            and the mean of the colours taken.
        tile: int, height and width of a tile in pixels of the small picture. Memory grows with it,
            and not with the picture, the result aside.
        overlap: int, in pixels of the small picture. `None`: the model's reach, or
            32 if that is less.

    Returns:
        uint8 array `(scale · height, scale · width, channels)`.

    Raises:
        ValueError: the image has another shape or dtype, or a number is out of its range.
        DataError: the model is no upscaler, or it makes NaN.
    """
    overlap = min(reach_of_upscaler(model), MOST_OVERLAP) if overlap is None else overlap
    check_image(image, tile, overlap)
    scale, value_range = scale_of(model), _upscaled_range(model)
    height, width, channels = image.shape
    large = np.empty((scale * height, scale * width, channels), np.uint8)
    small = np.broadcast_to(image, (height, width, 3))
    for place, outputs in tiles(model, small, tile, overlap, scale):
        if channels == 1:
            outputs = outputs.mean(axis=-1, dtype=np.float32, keepdims=True)
        check_numbers(np.isfinite(outputs), image)
        large[place] = convert(outputs, value_range, "byte")
    return large


def _upscaled_range(model):
    activation = getattr(model.layers[-1], "activation", None)
    return "signed" if activation is keras.activations.tanh else "unit"


# -- files ---------------------------------------------------------------------------------------


def upscale_files(model, paths, out, tile=256, show=False):
    """Enlarges image files into a folder; one that fails does not stop the others.

    Args:
        model: as `load_upscaler` returns it.
        paths: list of paths.
        out: path of the folder; made if there is none.
        tile: int, as in `upscale_image`.
        show: bool, whether to show progress on standard error, if there are several files.

    Returns:
        List of dicts with `input`, `output` (both str) and `seconds`; where a file failed, `output`
        is `None` and `error` says why.

    Raises:
        DataError: before any work: an input is missing or no image, two would get the same name, an
            output would replace an input, or the folder can't be made.
    """
    scale = scale_of(model)
    return work_through(
        paths,
        out,
        name=lambda path: _large_name(path, scale),
        work=lambda path: [upscale_file(model, path, out, tile)],
        verb="upscale",
        show=show,
    )


def upscale_file(model, path, out, tile=256):
    """Enlarges one image file and writes it as `<out>/<stem>_x<scale>.png`, whole or not at all.

    EXIF orientation is applied; a colour profile is kept. Alpha, also of a palette, is enlarged by
    bicubic interpolation.

    Args:
        model: as `load_upscaler` returns it.
        path: path.
        out: path of a folder that exists.
        tile: int, as in `upscale_image`.

    Returns:
        `pathlib.Path` of the new file.

    Raises:
        DataError: the file can't be read, or has more than 8 bits per channel.
    """
    scale = scale_of(model)
    image = open_image(path)
    large = upscale_image(model, pixels_of(image), tile)
    if image.has_transparency_data:
        alpha = np.asarray(image.convert("RGBA"))[..., 3:]
        large = np.concatenate([large, upscale(alpha, scale)], axis=-1)
    profile = image.info.get("icc_profile") if image.mode in ("L", "LA", "RGB", "RGBA") else None
    target = pathlib.Path(out, _large_name(path, scale))
    write_png(large, target, icc_profile=profile)
    return target


def _large_name(path, scale):
    return f"{pathlib.Path(path).stem}_x{scale}.png"


# -- segmentation --

DIVISORS = tuple(2**halvings for halvings in range(9))
CELLS = (3, 4)  # an image to ask a model about shapes, in divisors: an odd side can't be halved


# -- models --------------------------------------------------------------------------------------


def load_segmenter(path):
    """Loads a segmentation model from a .keras file, in Keras' safe mode.

    Args:
        path: path.

    Returns:
        `keras.Model`, images `(n, height, width, channels)` in [0, 1], channels 1 or 3, to logits
        `(n, height, width, 1)`; see `channels_of` and `divisor_of`.

    Raises:
        DataError: there is no such file, it can't be read, or its model is no segmenter.
    """
    model = load_model(path, compile=False)
    try:
        divisor_of(model)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return model


def channels_of(model):
    """How many channels a model's images have: 1 or 3.

    Raises:
        DataError: the model is no segmenter of such images.
    """
    try:
        _, _, _, channels = shape = tuple(model.input_shape)
    except Exception as error:  # several inputs, or no graph that knows them
        raise _no_segmenter(f"{type(error).__name__}: {error}") from error
    if channels not in (1, 3):
        raise _no_segmenter(f"input shape {shape}")
    return channels


@functools.lru_cache(maxsize=2)
def divisor_of(model):
    """What the height and width of a model's images must be multiples of: a power of 2 up to 256.

    A U-Net that halves its images four times has 16. Of a network without `CheckSize`, which says
    so, it is found by trying.

    Raises:
        DataError: the model is no segmenter of images of any size.
    """
    channels = channels_of(model)
    told = [part.divisor for part in model._flatten_layers() if isinstance(part, CheckSize)]
    for divisor in [math.lcm(*told)] if told else DIVISORS:
        shape = (1, *(divisor * side for side in CELLS))
        try:
            outputs = model.compute_output_spec(keras.KerasTensor((*shape, channels), "float32"))
            found = tuple(outputs.shape)
            if found == (*shape, 1) and not told:  # shapes alone show no skip that does not fit
                model(np.zeros((*shape, channels), np.float32), training=False)
        except Exception as error:  # whatever a model says of an input that it is not for
            cause, received = error, f"{type(error).__name__}: {error}"
        else:
            if found == (*shape, 1):
                _check_logits(model)
                return divisor
            cause, received = None, f"output shape {found} for images of {shape[1]}×{shape[2]}"
    raise _no_segmenter(received) from cause


@functools.lru_cache(maxsize=2)
def reach_of(model):
    """How far at most, in pixels, a pixel of an image has a say in the probabilities.

    As of `reach`.

    Args:
        model: as `load_segmenter` returns it.

    Returns:
        int.
    """
    divisor = divisor_of(model)
    shape = (1, *(divisor * side for side in CELLS), channels_of(model))
    return reach(model, shape, lowest=divisor)


def _check_logits(model):
    if getattr(model.layers[-1], "activation", None) is keras.activations.sigmoid:
        raise DataError(
            "The model must give logits, and ends in a sigmoid: leave that out, or load the model "
            f"that it was put on. Received: a last layer {model.layers[-1].name!r}"
        )


def _no_segmenter(received):
    return DataError(
        "The model must turn images of any size and of 1 or 3 channels into one logit a pixel: "
        "build it with keras.Input((None, None, channels)) and a last convolution with one filter. "
        f"Received: {received}"
    )


# -- images --------------------------------------------------------------------------------------


def predict(model, images, batch_size=16):
    """Probabilities of being foreground, for images of one size that the model takes as they are.

    Args:
        model: `keras.Model` that gives logits `(batch_size, height, width, 1)`.
        images: float32 array `(n, height, width, channels)` in [0, 1].
        batch_size: int.

    Returns:
        float32 array `(n, height, width, 1)` in [0, 1].
    """
    n = len(images)
    filled = images[np.arange(n + -n % spread_over()) % n]  # devices share every batch evenly
    return _probabilities(model.predict(filled, batch_size=batch_size, verbose=0))[:n]


def segment(model, image, tile=256, overlap=None):
    """Probabilities of being foreground, for an image of any size, a tile at a time.

    The image is continued by reflection, at the right and at the bottom, until the model can halve
    it. A tile is computed with `overlap` more pixels on each side, which are then cut off; all
    tiles begin where the model's cells do. So with an overlap as large as the model's reach the
    result is that of the whole image at once, whatever the tile.

    Args:
        model: as `load_segmenter` returns it.
        image: uint8 array `(height, width, 3)` or `(height, width, 1)`. For a model of grey images
            RGB becomes BT.601 luma; for one of RGB images grey is repeated.
        tile: int, height and width of a tile in pixels. Memory grows with it, and not with the
            image, the result aside. An image that is no larger is one tile.
        overlap: int, in pixels. `None`: the model's reach, see `reach_of`. Both are rounded up to
            multiples of the model's divisor.

    Returns:
        float32 array `(height, width, 1)` in [0, 1].

    Raises:
        ValueError: the image has another shape or dtype, or a number is out of its range.
        DataError: the model is no segmenter, or it makes NaN.
    """
    overlap = reach_of(model) if overlap is None else overlap
    check_image(image, tile, overlap)
    divisor = divisor_of(model)
    height, width = image.shape[:2]
    fitted = fit(image, channels=channels_of(model))
    fitted = np.pad(fitted, ((0, -height % divisor), (0, -width % divisor), (0, 0)), "reflect")
    found = np.empty((*fitted.shape[:2], 1), np.float32)
    tile, overlap = (size + -size % divisor for size in (tile, overlap))
    for place, logits in tiles(model, fitted, tile, overlap):
        check_numbers(~np.isnan(logits), image)
        found[place] = _probabilities(logits)
    return found[:height, :width]


def _probabilities(logits):
    from scipy.special import expit

    return expit(np.asarray(logits, np.float32))


# -- files ---------------------------------------------------------------------------------------


def segment_files(model, paths, out, tile=256, threshold=0.5, show=True):
    """Segments image files into a folder; one that fails does not stop the others.

    Args:
        model: as `load_segmenter` returns it.
        paths: list of paths.
        out: path of the folder; made if there is none.
        tile: int, as in `segment`.
        threshold: float or `None`, as in `segment_file`.
        show: bool, whether to show progress on standard error, if there are several files and it is
            a terminal.

    Returns:
        List of dicts with `input`, `output` (both str), `foreground` (share of the pixels; without
        a threshold the mean probability) and `seconds`; where a file failed, `output` and
        `foreground` are `None` and `error` says why.

    Raises:
        ValueError: the threshold is out of its range.
        DataError: before any work: an input is missing or no image, two would get the same name, an
            output would replace an input, or the folder can't be made.
    """
    if threshold is not None:
        check_threshold(threshold)
    return work_through(
        paths,
        out,
        name=lambda path: _mask_name(path, threshold),
        work=lambda path: segment_file(model, path, out, tile, threshold),
        fields=("output", "foreground"),
        verb="segment",
        show=show,
    )


def segment_file(model, path, out, tile=256, threshold=0.5):
    """Segments one image file and writes a grey PNG of its size, whole or not at all.

    EXIF orientation is applied, so that the mask fits the image as it is shown; alpha is dropped.

    Args:
        model: as `load_segmenter` returns it.
        path: path.
        out: path of a folder that exists.
        tile: int, as in `segment`.
        threshold: float in (0, 1), the probability above which a pixel counts as foreground: a mask
            of 0 and 255, `<out>/<stem>_mask.png`. `None`: probabilities as grey levels, 255 for 1,
            `<out>/<stem>_probability.png`.

    Returns:
        `pathlib.Path` of the new file, and the foreground's share: the mean of what was written,
        before rounding, in [0, 1].

    Raises:
        DataError: the file can't be read, or has more than 8 bits per channel.
    """
    found = segment(model, pixels_of(open_image(path)), tile)
    found = found if threshold is None else (found > threshold).astype(np.float32)
    target = pathlib.Path(out, _mask_name(path, threshold))
    write_png(convert(found, "unit", "byte"), target)
    return target, float(found.mean(dtype=np.float64))


def _mask_name(path, threshold):
    return f"{pathlib.Path(path).stem}_{'probability' if threshold is None else 'mask'}.png"


# -- image_files --


def work_through(paths, out, name, work, fields=("output",), verb="change", show=False):
    """Makes an image file in a folder of each of several image files.

    Args:
        paths: list of paths.
        out: path of the folder; made if there is none.
        name: function from an input's `pathlib.Path` to the name of the file to be made of it.
        work: function that makes it, from the path to a tuple, the values of `fields`.
        fields: names of what `work` returns; the first is "output", the new file's path.
        verb: str, what is done to the images, for progress and messages.
        show: bool, whether to show progress on standard error, if there are several files and it is
            a terminal.

    Returns:
        List of dicts with `input` (str), `fields` and `seconds`; where a file failed, `fields` are
        `None` and `error` says why.

    Raises:
        DataError: before any work: an input is missing or no image, two would get the same name, an
            output would replace an input, or the folder can't be made.
    """
    from tqdm.auto import tqdm

    paths, out = [pathlib.Path(path) for path in paths], pathlib.Path(out)
    for path in paths:  # before any is resolved: links in a circle are none
        if not path.is_file():
            raise DataError(f"There is no image file there. Received: {str(path)!r}")
    _check_names(paths, [out / name(path) for path in paths], verb)
    for path in paths:
        open_image(path, pixels=False)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"The folder {out} can't be made: choose another. Received: {error}"
        ) from error
    hidden = not show or len(paths) < 2 or not sys.stderr.isatty()
    return [
        _result(path, work, fields)
        for path in tqdm(paths, desc=verb, unit="image", disable=hidden, file=sys.stderr)
    ]


def write_png(pixels, target, **options):
    """Writes uint8 pixels as PNG, whole or not at all.

    Args:
        pixels: uint8 array `(height, width)` or `(height, width, 1 to 4)`.
        target: `pathlib.Path`; a file or a symbolic link that is there is replaced.
        options: further ones of Pillow's, such as `icc_profile`.
    """
    from PIL import Image

    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)  # a link that lies there in wait would be written through
    try:
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)
        image.save(temporary, "PNG", **options)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _result(path, work, fields):
    start = time.perf_counter()
    result = {"input": str(path), **dict.fromkeys(fields)}
    try:
        result |= zip(fields, work(path), strict=True)
        result["output"] = str(result["output"])
    except (DataError, OSError, MemoryError) as error:
        result["error"] = f"{type(error).__name__}: {error}"
    return {**result, "seconds": round(time.perf_counter() - start, 3)}


def _check_names(paths, targets, verb):
    inputs = {path.resolve() for path in paths}
    owners = {}
    for path, target in zip(paths, targets, strict=True):
        if target.resolve() in inputs:
            raise DataError(
                f"{target} would replace an input: choose another folder for the results. "
                f"Received: {str(path)!r}"
            )
        # Some file systems take two names for one if they differ in case alone.
        owners.setdefault(target.with_name(target.name.casefold()), []).append(str(path))
    for target, same in owners.items():
        if len(same) > 1:
            raise DataError(
                f"Several images would be written to {target}: rename them, or {verb} them into "
                f"different folders. Received: {', '.join(same)}"
            )
