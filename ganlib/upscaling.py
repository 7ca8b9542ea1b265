"""Super-resolution with a trained model: pictures of any size, tile by tile, and image files."""

import pathlib

import keras
import numpy as np

import ganlib.content  # Keras finds a saved part only where its module is loaded
import ganlib.models.srgan  # noqa: F401
from ganlib.adversarial import Adversarial
from ganlib.data import DataError
from ganlib.data.files import open_image, pixels_of
from ganlib.image_files import work_through, write_png
from ganlib.images import convert, upscale
from ganlib.loading import load_model
from ganlib.tiling import check_image, check_numbers, reach, tiles

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


def reach_of(model):
    """How far at most, in pixels of the small picture, a pixel has a say in the large picture.

    As of `ganlib.tiling.reach`; two pixels are added for interpolation.

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
        overlap: int, in pixels of the small picture. `None`: the model's reach (`reach_of`), or 32
            if that is less.

    Returns:
        uint8 array `(scale · height, scale · width, channels)`.

    Raises:
        ValueError: the image has another shape or dtype, or a number is out of its range.
        DataError: the model is no upscaler, or it makes NaN.
    """
    overlap = min(reach_of(model), MOST_OVERLAP) if overlap is None else overlap
    check_image(image, tile, overlap)
    scale, value_range = scale_of(model), _output_range(model)
    height, width, channels = image.shape
    large = np.empty((scale * height, scale * width, channels), np.uint8)
    small = np.broadcast_to(image, (height, width, 3))
    for place, outputs in tiles(model, small, tile, overlap, scale):
        if channels == 1:
            outputs = outputs.mean(axis=-1, dtype=np.float32, keepdims=True)
        check_numbers(np.isfinite(outputs), image)
        large[place] = convert(outputs, value_range, "byte")
    return large


def _output_range(model):
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
        name=lambda path: _name(path, scale),
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
    target = pathlib.Path(out, _name(path, scale))
    write_png(large, target, icc_profile=profile)
    return target


def _name(path, scale):
    return f"{pathlib.Path(path).stem}_x{scale}.png"
