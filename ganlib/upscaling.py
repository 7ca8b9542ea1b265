"""Super-resolution with a trained model: pictures of any size, tile by tile, and image files."""

import functools
import itertools
import os
import pathlib
import sys
import time

import keras
import numpy as np

import ganlib.content  # Keras finds a saved part only where its module is loaded
import ganlib.models.srgan  # noqa: F401
from ganlib.adversarial import Adversarial
from ganlib.data import DataError
from ganlib.data.folder import open_image, pixels_of
from ganlib.images import convert, upscale
from ganlib.loading import load_model

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

    It is the sum over all convolutions of half their width, those at a higher resolution counting
    the less; where branches are parallel, that is more than the truth. Two pixels are added for
    interpolation. What sees the whole picture at once, such as attention, is passed over.

    Args:
        model: `keras.Model`, pictures to pictures.

    Returns:
        int.
    """
    widths = [(layer, _half_width(layer)) for layer in model.layers]
    wide = [(layer, width) for layer, width in widths if width]
    resolutions = _resolutions(model, [layer for layer, _ in wide])
    parts = (width / at for (_, width), at in zip(wide, resolutions, strict=True))
    return 2 + int(np.ceil(sum(parts)))


def _half_width(layer):
    """Half the width of a layer's kernels, those of all the layers within it together."""
    total = 0
    for part in layer._flatten_layers():
        kernel = getattr(part, "kernel", None)
        shape = getattr(kernel, "shape", ())
        size = getattr(part, "kernel_size", shape[:2] if len(shape) == 4 else ())
        half = np.multiply([side // 2 for side in size], getattr(part, "dilation_rate", 1))
        total += int(np.max(half, initial=0))
    return total


def _resolutions(model, layers):
    """How many pixels each layer's input or output has per pixel of the picture, along a side."""
    try:
        ends = [(layer.input, layer.output) for layer in layers]
        shapes = keras.Model(model.inputs, ends).compute_output_shape((1, *PROBE, 3))
        return [min(first[1], second[1]) / PROBE[0] for first, second in shapes]
    except Exception:  # no graph to follow: too large a reach does no harm
        return [1.0] * len(layers)


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
    _check_image(image)
    overlap = min(reach_of(model), MOST_OVERLAP) if overlap is None else overlap
    if tile < 1 or overlap < 0:
        raise ValueError(
            "`tile` must be at least 1 and `overlap` not negative. Received: "
            f"tile={tile}, overlap={overlap}"
        )
    scale, value_range = scale_of(model), _output_range(model)
    height, width, channels = image.shape
    large = np.empty((scale * height, scale * width, channels), np.uint8)
    rows, columns = (_windows(side, tile, overlap) for side in (height, width))
    for (y, h, top, bottom), (x, w, left, right) in itertools.product(rows, columns):
        small = np.broadcast_to(image[y : y + h, x : x + w], (h, w, 3))
        inputs = convert(small[np.newaxis], "byte", "unit")
        outputs = _run(model, inputs)[0]
        outputs = outputs[scale * (top - y) : scale * (bottom - y)]
        outputs = outputs[:, scale * (left - x) : scale * (right - x)]
        if channels == 1:
            outputs = outputs.mean(axis=-1, dtype=np.float32, keepdims=True)
        if not np.isfinite(outputs).all():
            raise DataError(
                "The model makes NaN or infinities: train it anew, or load an earlier one. "
                f"Received: a picture of {height}×{width}"
            )
        part = convert(outputs, value_range, "byte")
        large[scale * top : scale * bottom, scale * left : scale * right] = part
    return large


def _run(model, inputs):
    if keras.backend.backend() != "tensorflow":
        return np.asarray(model.predict_on_batch(inputs))
    return _tensorflow_graph(model)(inputs).numpy()


@functools.lru_cache(maxsize=2)
def _tensorflow_graph(model):
    """One graph for pictures of all sizes.

    `predict` would trace anew for a new size. Without a graph, a functional model keeps all that it
    computes until the end: twice the memory.
    """
    import tensorflow as tf

    signature = [tf.TensorSpec((None, None, None, 3), tf.float32)]
    return tf.function(lambda x: model(x, training=False), input_signature=signature)


def _windows(length, tile, overlap):
    """Where to compute along one side: tuples (start, size, from, to).

    Windows of one size, the last one flush with the border, so that the model sees few shapes; the
    parts (from, to) to keep of them make up the whole side.
    """
    size = min(tile + 2 * overlap, length)
    starts = [*range(0, length - size, tile), length - size]
    ends = [start + size - overlap for start in starts[:-1]] + [length]
    return [(start, size, a, b) for start, a, b in zip(starts, [0, *ends], ends, strict=False)]


def _output_range(model):
    activation = getattr(model.layers[-1], "activation", None)
    return "signed" if activation is keras.activations.tanh else "unit"


def _check_image(image):
    shape = np.shape(image)
    if len(shape) != 3 or shape[-1] not in (1, 3) or 0 in shape or image.dtype != np.uint8:
        raise ValueError(
            "The image must be uint8 of the shape (height, width, 3) or (height, width, 1). "
            f"Received: shape={shape}, dtype={getattr(image, 'dtype', None)}"
        )


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
    from tqdm.auto import tqdm

    paths, out = [pathlib.Path(path) for path in paths], pathlib.Path(out)
    scale = scale_of(model)
    _check_names(paths, out, scale)
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
        _result(model, path, out, tile)
        for path in tqdm(paths, desc="upscale", unit="image", disable=hidden, file=sys.stderr)
    ]


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
    from PIL import Image

    scale = scale_of(model)
    image = open_image(path)
    large = upscale_image(model, pixels_of(image), tile)
    if image.has_transparency_data:
        alpha = np.asarray(image.convert("RGBA"))[..., 3:]
        large = np.concatenate([large, upscale(alpha, scale)], axis=-1)
    profile = image.info.get("icc_profile") if image.mode in ("L", "LA", "RGB", "RGBA") else None
    target = _target(path, out, scale)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        result = Image.fromarray(large[..., 0] if large.shape[-1] == 1 else large)
        result.save(temporary, "PNG", icc_profile=profile)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def _result(model, path, out, tile):
    start = time.perf_counter()
    result = {"input": str(path), "output": None}
    try:
        result["output"] = str(upscale_file(model, path, out, tile))
    except (DataError, OSError, MemoryError) as error:
        result["error"] = f"{type(error).__name__}: {error}"
    return {**result, "seconds": round(time.perf_counter() - start, 3)}


def _target(path, out, scale):
    return pathlib.Path(out, f"{pathlib.Path(path).stem}_x{scale}.png")


def _check_names(paths, out, scale):
    inputs = {path.resolve() for path in paths}
    owners = {}
    for path in paths:
        target = _target(path, out, scale)
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
                f"Several images would be written to {out / name}: rename them, or upscale them "
                f"into different folders. Received: {', '.join(same)}"
            )
