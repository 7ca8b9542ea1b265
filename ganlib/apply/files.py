"""Image files through a model: `upscale_files`, `segment_files`."""

import os
import pathlib
import sys
import time

import numpy as np
from scipy.ndimage import distance_transform_edt

from ganlib.apply import scale_of, segment, upscale_image
from ganlib.data.errors import DataError
from ganlib.data.files import image_paths, open_image, pixels_of
from ganlib.images import convert, upscale
from ganlib.metrics.segmentation import check_threshold


def upscale_files(model, paths, out, tile=256, show=False):
    """Enlarges image files into `<out>/<stem>_x<scale>.png`; one that fails does not stop the rest.

    EXIF orientation is applied, a colour profile kept, alpha enlarged by bicubic interpolation.

    Args:
        model: as `load_upscaler` returns it.
        paths: list of paths; of a folder, all images in it.
        out: path of the folder; made if there is none.
        tile: int, as for `upscale_image`.
        show: bool, whether to show progress.

    Returns:
        List of dicts with `input`, `output` (both str) and `seconds`; where a file failed, `output`
        is `None` and `error` says why.

    Raises:
        DataError: before any work: an input is missing or no image, two would get the same name, an
            output would replace an input, or the folder can't be made.
    """
    scale = scale_of(model)

    def work(image):
        pixels = pixels_of(image)
        if not image.has_transparency_data:
            large = upscale_image(model, pixels, tile)
        else:
            alpha = np.asarray(image.convert("RGBA"))[..., 3:]
            large = upscale_image(model, _fill_hidden(pixels, alpha[..., 0] == 0), tile)
            large = np.concatenate([large, upscale(alpha, scale)], axis=-1)
        has_profile = image.mode in ("L", "LA", "RGB", "RGBA")
        return large, {"icc_profile": image.info.get("icc_profile") if has_profile else None}, {}

    return _each_file(paths, out, f"_x{scale}.png", work, "upscale", show)


def segment_files(model, paths, out, tile=256, threshold=0.5, show=False):
    """Segments image files into PNGs of their size; one that fails does not stop the others.

    Args:
        model: as `load_segmenter` returns it.
        paths, out, tile, show: as for `upscale_files`.
        threshold: float in (0, 1), the probability above which a pixel counts as foreground: a mask
            of 0 and 255, `<out>/<stem>_mask.png`. `None`: probabilities as grey levels, 255 for 1,
            `<out>/<stem>_probability.png`.

    Returns:
        As of `upscale_files`, with `foreground`, the mean of what was written in [0, 1].
    """
    if threshold is not None:
        check_threshold(threshold)

    def work(image):
        found = segment(model, pixels_of(image), tile)
        found = found if threshold is None else (found > threshold).astype(np.float32)
        return convert(found, "unit", "byte"), {}, {"foreground": found.mean(dtype=np.float64)}

    suffix = "_probability.png" if threshold is None else "_mask.png"
    return _each_file(paths, out, suffix, work, "segment", show)


def _fill_hidden(pixels, hidden):
    """Colours where alpha is 0 become those of the nearest pixel seen, or they would bleed in."""
    if hidden.all() or not hidden.any():
        return pixels
    nearest = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    return pixels[tuple(nearest)]


def _each_file(paths, out, suffix, work, verb, show):
    """Writes a PNG of each image file; `work(image)` returns pixels, PNG options and results."""
    from tqdm.auto import tqdm

    out = pathlib.Path(out)
    given = map(pathlib.Path, paths)
    paths = [file for path in given for file in (image_paths(path)[0] if path.is_dir() else [path])]
    for path in paths:  # before any is resolved: links in a circle are none
        if not path.is_file():
            raise DataError(f"There is no image file there. Received: {str(path)!r}")
        open_image(path, pixels=False)
    inputs, targets = {path.resolve() for path in paths}, {}
    for path in paths:
        target = out / (path.stem + suffix)
        # Some file systems take two names for one if they differ in case alone.
        other = targets.setdefault(target.name.casefold(), (path, target))[0]
        if target.resolve() in inputs or other != path:
            raise DataError(
                f"{target} would replace an input, or come of two: rename it, or choose another "
                f"folder. Received: {', '.join({str(other): 0, str(path): 0})}"
            )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"The folder {out} can't be made: choose another. {error}") from error
    hidden = not show or len(paths) < 2 or not sys.stderr.isatty()
    results = []
    for path, target in tqdm(targets.values(), verb, unit="image", disable=hidden):
        start, result = time.perf_counter(), {"input": str(path), "output": None}
        try:
            pixels, options, found = work(open_image(path))
            _write_png(pixels, target, **options)
            result |= {"output": str(target), **found}
        except (DataError, OSError, MemoryError) as error:
            result["error"] = f"{type(error).__name__}: {error}"
        results.append({**result, "seconds": round(time.perf_counter() - start, 3)})
    return results


def _write_png(pixels, target, **options):
    """Writes uint8 pixels `(height, width, 1 to 4)` as PNG, whole or not at all."""
    from PIL import Image

    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)  # a link that lies there in wait would be written through
    try:
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        image.save(temporary, "PNG", **options)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
