"""Pictures from a saved model."""

import pathlib

import numpy as np
from scipy.special import ndtr, ndtri

from ganlib.adversarial import Adversarial
from ganlib.data import DataError
from ganlib.images import check_range, convert
from ganlib.inference import infer
from ganlib.loading import load_model
from ganlib.report.figures import tile

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
