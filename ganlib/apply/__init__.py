"""Saved models on new data: load them, sample from them, upscale and segment images."""

import functools
import pathlib
import zipfile

import h5py
import keras
import numpy as np
from scipy.special import expit, ndtr, ndtri

import ganlib.augment
import ganlib.content
import ganlib.metrics.segmentation
import ganlib.models.layers
import ganlib.models.srgan
import ganlib.models.unet  # noqa: F401  a saved model is made of what these register
from ganlib.adversarial import Adversarial
from ganlib.apply.tiles import read_grid, run, save_gif, save_grid, tile_by_tile, untile  # noqa: F401
from ganlib.apply.tiles import tile as tile
from ganlib.data.errors import DataError
from ganlib.data.fit import fit
from ganlib.data.npz import check_members
from ganlib.images import check_range, convert
from ganlib.models.outputs import infer, output_bounds

RANGES = {(0.0, 1.0): "unit", (-1.0, 1.0): "signed", (0.0, 255.0): "byte"}  # by a model's bounds
SMALL = 256 * 2**20  # bytes that a model's variables may need, whatever its file holds
DIVISORS = tuple(2**halvings for halvings in range(9))
PROBE = (24, 32)  # pixels of a picture to ask an upscaler about shapes


def load_model(path, compile=True):
    """Loads a `keras.Model` from a .keras file, which may come from anyone, in Keras' safe mode.

    `compile` brings the optimizers back, too; only training needs them.

    Raises:
        DataError: there is no such file; it can't be read; it holds code, as a Lambda layer does,
            or reads other files; or it would expand to far more than it holds.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise DataError(
            "There is no model file there; a finished trial keeps one as model.keras. "
            f"Received: {str(path)!r}"
        )
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
        # Of Keras' text the one sentence that matters, not the configuration around it.
        lines = map(str.strip, str(error).rpartition("Exception encountered: ")[2].splitlines())
        cause = next((x for x in lines if x and x[-1] != ":"), type(error).__name__)
        raise DataError(
            f"{path} can't be loaded as a Keras model: it must be a whole file from model.save(…), "
            "and hold no code such as a Lambda layer. "
            f"Received: {cause.partition('. ')[0][:300]}"
        ) from error


def _check_variables(file, most):
    links, items = [], []
    file.visititems_links(
        lambda name, link: None if isinstance(link, h5py.HardLink) else links.append(name)
    )
    file.visititems(lambda name, item: items.append(item))
    variables = [item for item in items if isinstance(item, h5py.Dataset)]
    links += [item.name for item in variables if item.external or item.is_virtual]
    if links:
        raise ValueError(f"the variable {links[0]} lies outside of the file")
    if (declared := sum(variable.nbytes for variable in variables)) > most:
        raise ValueError(f"variables of {declared:,} bytes, far more than the file holds")


def load_gan(path):
    """Loads an `Adversarial` from a .keras file; raises DataError for any other model."""
    model = load_model(path)
    if not isinstance(model, Adversarial):
        raise DataError(
            f"{path} must hold a ganlib Adversarial model, which has a discriminator. "
            f"Received: {type(model).__name__}"
        )
    return model


# -- sampling ------------------------------------------------------------------------------------


def output_range(generator):
    """The value range of a generator's pictures, "unit", "signed" or "byte", by what bounds them.

    Raises:
        DataError: nothing bounds the pictures to one of these ranges.
    """
    if (bounds := output_bounds(generator)) not in RANGES:
        raise DataError(
            "The generator must end in a sigmoid or tanh, which tells the range of its pictures. "
            f"Received: outputs {'without bounds' if bounds is None else f'in {list(bounds)}'}"
        )
    return RANGES[bounds]


def check_generator(gan):
    """Raises DataError unless `gan`, `Adversarial` or model, makes pictures of latents alone."""
    generator = getattr(gan, "sampler", gan)
    shapes = [getattr(generator, name, None) for name in ("input_shape", "output_shape")]
    known = all(isinstance(shape, tuple) and None not in shape[1:] for shape in shapes)
    if not known or len(shapes[1]) != 4 or (len(shapes[0]) == 4 and shapes[0][-1] in (1, 3)):
        raise DataError(
            "The model must make pictures (n, height, width, channels) of latents alone. One that "
            "is given pictures or labels can't be sampled so: use `ganlib upscale`, or call its "
            f"`sampler` in Python. Received: inputs {shapes[0]}, outputs {shapes[1]}"
        )
    output_range(generator)


def draw_latents(gan, n, seed=0, truncation=None):
    """Draws latents from N(0, 1), float32 `(n, …)` of the generator's input shape.

    Args:
        gan: `Adversarial`, or a generator.
        n, seed: ints.
        truncation: float above 0, or None. Values that lie farther from 0 are drawn again (Brock et
            al., 2019): the smaller, the better each picture and the less they vary.
    """
    rng = np.random.default_rng(seed)
    shape = (n, *(gan.latent_shape if hasattr(gan, "latent_shape") else gan.input_shape[1:]))
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
    """The pictures that a generator makes of latents, float32 `(n, h, w, c)` in [0, 1].

    Args:
        generator: `keras.Model` that ends in sigmoid or tanh, such as `gan.sampler`.
        latents: array `(n, …)` of the generator's input shape, n > 0.
    """
    images = infer(generator, np.asarray(latents, "float32"), generator.output_shape[1:])
    return convert(images, output_range(generator), "unit")


def sample_images(gan, n, seed=0, truncation=None):
    """n pictures of an `Adversarial` or a generator, of the latents of `draw_latents`."""
    check_generator(gan)
    return make_images(getattr(gan, "sampler", gan), draw_latents(gan, n, seed, truncation))


def discriminate(gan, images):
    """What the discriminator says of pictures, in inference mode; logits: 0 is D = ½.

    Args:
        gan: `Adversarial` whose generator ends in sigmoid or tanh: what the discriminator takes.
        images: array `(n, height, width, channels)` in [0, 1], n > 0.

    Returns:
        float32 `(n,)`.
    """
    check_range(images, "unit")
    images = convert(images, "unit", output_range(gan.generator))
    return infer(gan.discriminator, images, images.shape[1:]).reshape(len(images))


def interpolate(start, end, steps):
    """Spherical interpolation between latents (White, 2016, "Sampling Generative Networks").

    A straight line between two Gaussian latents runs through short ones, such as the generator has
    never seen. Where two latents point along one line there is no one arc, and the line is taken.

    Args:
        start, end: arrays `(n, …)` of one shape; each latent is one vector, whatever its axes.
        steps: int from 2 on, latents on each way, both ends included.

    Returns:
        Array `(n, steps, …)`, float32 if both are.
    """
    start, end = np.asarray(start), np.asarray(end)
    if start.shape != end.shape or start.ndim < 2:
        raise ValueError(f"`start` and `end` must be (n, …). Received: {start.shape}, {end.shape}")
    a, b = (x.reshape(len(x), -1).astype("float64") for x in (start, end))
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
    dtype = np.result_type(start, end, np.float32)
    return path.reshape(len(start), steps, *start.shape[1:]).astype(dtype)


# -- upscaling -----------------------------------------------------------------------------------


def load_upscaler(path):
    """Loads a super-resolution model from a .keras file; of an `Adversarial`, its sampler.

    Returns:
        `keras.Model`, RGB pictures `(n, h, w, 3)` in [0, 1] to `(n, scale · h, scale · w, 3)`.

    Raises:
        DataError: there is no such file, it can't be read, or its model is no upscaler.
    """
    model = load_model(path, compile=False)
    model = model.sampler if isinstance(model, Adversarial) else model
    scale_of(model)
    return model


def scale_of(model):
    """How many times a model enlarges RGB pictures of any size, 2 to 8; DataError if it doesn't."""
    try:
        outputs = model.compute_output_spec(keras.KerasTensor((1, *PROBE, 3), "float32"))
        found = tuple(outputs.shape)
    except Exception as error:  # whatever a model says of an input that it is not for
        found = f"{type(error).__name__}: {error}"
    for scale in range(2, 9):
        if found == (1, *(scale * side for side in PROBE), 3):
            return scale
    raise DataError(
        "The model must enlarge RGB pictures of any size, 2 to 8 times: build it with "
        f"keras.Input((None, None, 3)). Received, for {PROBE[0]}×{PROBE[1]} pixels: {found}"
    )


def upscale_image(model, image, tile=256, overlap=32):
    """Enlarges a picture of any size, a tile at a time.

    Args:
        model: as `load_upscaler` returns it.
        image: uint8 array `(height, width, 3)`, or `(height, width, 1)`: grey is enlarged as RGB,
            and the mean of the colours taken.
        tile: int, height and width of a tile in pixels of the picture. Memory grows with it.
        overlap: int, pixels that a tile gets more on each side, and that are then cut off: as many
            as the model's convolutions reach, and no seam is left.

    Returns:
        uint8 array `(scale · height, scale · width, channels)`.
    """
    scale, value_range = scale_of(model), _upscaled_range(model)

    def finish(outputs):
        if image.shape[-1] == 1:
            outputs = outputs.mean(axis=-1, dtype=np.float32, keepdims=True)
        return convert(outputs, value_range, "byte")

    small = np.broadcast_to(image, (*image.shape[:2], 3))
    return tile_by_tile(model, small, tile, overlap, finish, scale=scale)


def _upscaled_range(model):
    """By what bounds the outputs; where nothing does, by what the model makes of two greys."""
    if (bounds := output_bounds(model)) in RANGES:
        return RANGES[bounds]
    greys = (np.full((1, *PROBE, 3), grey, np.float32) for grey in (0.25, 0.75))
    dark, light = (np.nan_to_num(run(model, grey)).mean() for grey in greys)
    return "byte" if light - dark > 8 else "unit"  # true are 127.5 and 0.5


# -- segmentation --------------------------------------------------------------------------------


def load_segmenter(path):
    """Loads a segmentation model from a .keras file.

    Returns:
        `keras.Model`, images `(n, h, w, 1 or 3)` in [0, 1] to logits `(n, h, w, 1)`.

    Raises:
        DataError: there is no such file, it can't be read, or its model is no segmenter.
    """
    model = load_model(path, compile=False)
    divisor_of(model)
    return model


def channels_of(model):
    """How many channels a segmenter's images have, 1 or 3; DataError for another model."""
    shape = getattr(model, "input_shape", None)  # a subclassed model has none
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[-1] not in (1, 3):
        raise _no_segmenter(f"input shape {shape}")
    return shape[-1]


@functools.lru_cache(maxsize=2)
def divisor_of(model):
    """What the sides of a segmenter's images must be multiples of: a power of 2, found by trying.

    A U-Net that halves its images four times has 16. DataError where none up to 256 will do.
    """
    channels = channels_of(model)
    for divisor in DIVISORS:
        shape = (1, 3 * divisor, 4 * divisor, channels)  # an odd number of cells: no lucky fit
        try:
            found = tuple(model.compute_output_spec(keras.KerasTensor(shape, "float32")).shape)
            if found == (*shape[:3], 1):  # shapes alone show no skip that does not fit
                model(np.zeros(shape, np.float32), training=False)
        except Exception as error:  # whatever a model says of an input that it is not for
            found = f"{type(error).__name__}: {error}"
        if found == (*shape[:3], 1):
            if bounds := output_bounds(model):
                raise DataError(
                    "The model must give logits: leave out the sigmoid that it ends in, or load "
                    f"the model that it was put on. Received: outputs in {list(bounds)}"
                )
            return divisor
    raise _no_segmenter(f"{found} for images of {shape[1]}×{shape[2]}")


def _no_segmenter(received):
    return DataError(
        "The model must turn images of any size and of 1 or 3 channels into one logit a pixel: "
        "build it with keras.Input((None, None, channels)) and a last convolution with one filter. "
        f"Received: {received}"
    )


def predict(model, images, batch_size=16):
    """Probabilities of being foreground, for images of one size that the model takes as they are.

    Args:
        model: as `load_segmenter` returns it.
        images: float32 array `(n, height, width, channels)` in [0, 1].
        batch_size: int.

    Returns:
        float32 array `(n, height, width, 1)` in [0, 1].
    """
    spread = keras.distribution.distribution()
    devices = 1 if spread is None else spread.device_mesh.devices.size
    n = len(images)
    filled = images[np.arange(n + -n % devices) % n]  # devices share every batch evenly
    return _probabilities(model.predict(filled, batch_size=batch_size, verbose=0)[:n])


def _probabilities(logits):
    return expit(np.asarray(logits, np.float32))


def segment(model, image, tile=256, overlap=128):
    """Probabilities of being foreground, for an image of any size, a tile at a time.

    The image is continued by reflection, at the right and at the bottom, until the model can halve
    it; all tiles begin where the model's cells do.

    Args:
        model: as `load_segmenter` returns it.
        image: uint8 array `(height, width, 1 or 3)`. For a model of grey images RGB becomes BT.601
            luma; for one of RGB images grey is repeated.
        tile: int, height and width of a tile in pixels. Memory grows with it.
        overlap: int, as for `upscale_image`; a U-Net of four halvings reaches some 110 pixels.

    Returns:
        float32 array `(height, width, 1)` in [0, 1].
    """
    divisor = divisor_of(model)
    fitted = fit(image, channels=channels_of(model))
    return tile_by_tile(model, fitted, tile, overlap, _probabilities, divisor=divisor)
