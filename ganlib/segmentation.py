"""Masks from a trained segmentation network: images of any size, tile by tile, and image files."""

import functools
import itertools
import math
import os
import pathlib
import sys
import time

import keras
import numpy as np

from ganlib.data import DataError
from ganlib.data.folder import open_image, pixels_of
from ganlib.data.resize import fit
from ganlib.devices import spread_over
from ganlib.images import convert
from ganlib.loading import load_model
from ganlib.metrics.segmentation import check_threshold
from ganlib.models.unet import CheckSize

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

    It is the sum over all convolutions and poolings of how far they reach, in pixels of the image:
    at a lower resolution the more. Where branches are parallel, that is more than the truth. What
    sees the whole image at once is passed over.

    Args:
        model: as `load_segmenter` returns it.

    Returns:
        int.
    """
    divisor = divisor_of(model)
    shape = (1, *(divisor * side for side in PROBE), channels_of(model))
    wide = [layer for layer in model.layers if _half_width(layer)]
    try:
        ends = [(layer.input, layer.output) for layer in wide]
        shapes = keras.Model(model.inputs, ends).compute_output_shape(shape) if wide else []
        cells = [shape[1] / min(first[1], second[1]) for first, second in shapes]
    except Exception:  # no graph to follow: as if all were at the lowest resolution
        cells = [divisor] * len(wide)
    reach = sum(_half_width(layer) * cell for layer, cell in zip(wide, cells, strict=True))
    return math.ceil(reach) + divisor - 1  # a pixel has a say in all of its lowest cell


def _half_width(layer):
    """How far a layer's windows reach beyond their own step, those of all within it together."""
    total = 0
    for part in layer._flatten_layers():
        size = np.array(getattr(part, "kernel_size", getattr(part, "pool_size", ())))
        if size.size == 2:
            size = 1 + (size - 1) * getattr(part, "dilation_rate", 1)
            enlarges = isinstance(part, keras.layers.Conv2DTranspose)
            total += int(np.max(size - (1 if enlarges else part.strides) + 1) // 2)
    return total


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
    _check_image(image)
    overlap = reach_of(model) if overlap is None else overlap
    if tile < 1 or overlap < 0:
        raise ValueError(
            "`tile` must be at least 1 and `overlap` not negative. Received: "
            f"tile={tile}, overlap={overlap}"
        )
    divisor = divisor_of(model)
    height, width = image.shape[:2]
    image = fit(image, channels=channels_of(model))
    image = np.pad(image, ((0, -height % divisor), (0, -width % divisor), (0, 0)), "reflect")
    found = np.empty((*image.shape[:2], 1), np.float32)
    tile, overlap = (size + -size % divisor for size in (tile, overlap))
    rows, columns = (_windows(side, tile, overlap) for side in found.shape[:2])
    for (y, h, top, bottom), (x, w, left, right) in itertools.product(rows, columns):
        inputs = convert(image[np.newaxis, y : y + h, x : x + w], "byte", "unit")
        logits = _run(model, inputs)[0, top - y : bottom - y, left - x : right - x]
        found[top:bottom, left:right] = _probabilities(logits)
    found = found[:height, :width]
    if np.isnan(found).any():
        raise DataError(
            "The model makes NaN: train it anew, or load an earlier one. "
            f"Received: an image of {height}×{width}"
        )
    return found


def _probabilities(logits):
    from scipy.special import expit

    return expit(np.asarray(logits, np.float32))


def _run(model, inputs):
    if keras.backend.backend() != "tensorflow":
        return np.asarray(model.predict_on_batch(inputs))
    return _tensorflow_graph(model)(inputs).numpy()


@functools.lru_cache(maxsize=2)
def _tensorflow_graph(model):
    """One graph for images of all sizes; `predict` would trace anew for each."""
    import tensorflow as tf

    signature = [tf.TensorSpec((None, None, None, channels_of(model)), tf.float32)]
    return tf.function(lambda x: model(x, training=False), input_signature=signature)


def _windows(length, tile, overlap):
    """Where to compute along one side: tuples (start, size, from, to).

    Windows of one size, the last one flush with the border, so that the model sees few shapes; the
    parts (from, to) to keep of them make up the whole side. Of multiples of the divisor come such.
    """
    size = min(tile + 2 * overlap, length)
    starts = [*range(0, length - size, tile), length - size]
    ends = [start + size - overlap for start in starts[:-1]] + [length]
    return [(start, size, a, b) for start, a, b in zip(starts, [0, *ends], ends, strict=False)]


def _check_image(image):
    shape = np.shape(image)
    if len(shape) != 3 or shape[-1] not in (1, 3) or 0 in shape or image.dtype != np.uint8:
        raise ValueError(
            "The image must be uint8 of the shape (height, width, 3) or (height, width, 1). "
            f"Received: shape={shape}, dtype={getattr(image, 'dtype', None)}"
        )


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
    from tqdm.auto import tqdm

    if threshold is not None:
        check_threshold(threshold)
    paths, out = [pathlib.Path(path) for path in paths], pathlib.Path(out)
    _check_names(paths, out, threshold)
    for path in paths:
        if not path.is_file():
            raise DataError(f"There is no image file there. Received: {str(path)!r}")
        open_image(path, pixels=False)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"The folder {out} can't be made: choose another. Received: {error}"
        ) from error
    hidden = not show or len(paths) < 2 or not sys.stderr.isatty()
    return [
        _result(model, path, out, tile, threshold)
        for path in tqdm(paths, desc="segment", unit="image", disable=hidden, file=sys.stderr)
    ]


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
    from PIL import Image

    found = segment(model, pixels_of(open_image(path)), tile)[..., 0]
    found = found if threshold is None else (found > threshold).astype(np.float32)
    target = _target(path, out, threshold)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        Image.fromarray(convert(found, "unit", "byte")).save(temporary, "PNG")
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target, float(found.mean(dtype=np.float64))


def _result(model, path, out, tile, threshold):
    start = time.perf_counter()
    result = {"input": str(path), "output": None, "foreground": None}
    try:
        target, result["foreground"] = segment_file(model, path, out, tile, threshold)
        result["output"] = str(target)
    except (DataError, OSError, MemoryError) as error:
        result["error"] = f"{type(error).__name__}: {error}"
    return {**result, "seconds": round(time.perf_counter() - start, 3)}


def _target(path, out, threshold):
    kind = "probability" if threshold is None else "mask"
    return pathlib.Path(out, f"{pathlib.Path(path).stem}_{kind}.png")


def _check_names(paths, out, threshold):
    inputs = {path.resolve() for path in paths}
    owners = {}
    for path in paths:
        target = _target(path, out, threshold)
        if target.resolve() in inputs:
            raise DataError(
                f"{target} would replace an input: choose another folder for the results. "
                f"Received: {str(path)!r}"
            )
        # Some file systems take two names for one if they differ in case alone.
        owners.setdefault(target.name.casefold(), []).append(str(path))
    for name, same in owners.items():
        if len(same) > 1:
            raise DataError(
                f"Several images would be written to {out / name}: rename them, or segment them "
                f"into different folders. Received: {', '.join(same)}"
            )
