"""Masks from a trained segmentation network: images of any size, tile by tile, and image files."""

import functools
import math
import pathlib

import keras
import numpy as np

from ganlib.data import DataError
from ganlib.data.files import open_image, pixels_of
from ganlib.data.fit import fit
from ganlib.experiment.devices import spread_over
from ganlib.image_files import work_through, write_png
from ganlib.images import convert
from ganlib.loading import load_model
from ganlib.metrics.segmentation import check_threshold
from ganlib.models.unet import CheckSize
from ganlib.tiling import check_image, check_numbers, reach, tiles

DIVISORS = tuple(2**halvings for halvings in range(9))
PROBE = (3, 4)  # an image to ask a model about shapes, in divisors: an odd side can't be halved


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
        shape = (1, *(divisor * side for side in PROBE))
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

    As of `ganlib.tiling.reach`.

    Args:
        model: as `load_segmenter` returns it.

    Returns:
        int.
    """
    divisor = divisor_of(model)
    shape = (1, *(divisor * side for side in PROBE), channels_of(model))
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
        name=lambda path: _name(path, threshold),
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
    target = pathlib.Path(out, _name(path, threshold))
    write_png(convert(found, "unit", "byte"), target)
    return target, float(found.mean(dtype=np.float64))


def _name(path, threshold):
    return f"{pathlib.Path(path).stem}_{'probability' if threshold is None else 'mask'}.png"
