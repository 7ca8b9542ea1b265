"""Image files through a model: `upscale_files`, `segment_files`."""

import collections
import pathlib

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt
from tqdm.auto import tqdm

from ganlib.apply import scale_of, segment, upscale_image
from ganlib.data.errors import DataError
from ganlib.data.files import image_paths, open_image, pixels_of
from ganlib.data.writing import replacing
from ganlib.images import convert, upscale


def upscale_files(model, paths, out, tile=256, show=False):
    """Enlarges image files into `<out>/<stem>_x<scale>.png`; alpha is enlarged bicubically.

    `model` is as of `load_upscaler`, of a folder among `paths` all images are taken. Returns dicts
    with `input` and `output`; where one failed, `output` is None and `error` says why. Raises
    DataError before any work if an input is no image, or an output would replace a file.
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


def segment_files(model, paths, out, tile=256, probabilities=False, show=False):
    """Segments image files into PNGs, as `upscale_files`; adds `foreground`, the PNG's mean.

    `<stem>_mask.png` has 255 above a probability of ½, `<stem>_probability.png` grey levels.
    """

    def work(image):
        found = segment(model, pixels_of(image), tile)
        found = found if probabilities else (found > 0.5).astype(np.float32)
        return convert(found, "unit", "byte"), {}, {"foreground": found.mean(dtype=np.float64)}

    suffix = "_probability.png" if probabilities else "_mask.png"
    return _each_file(paths, out, suffix, work, "segment", show)


def _fill_hidden(pixels, hidden):
    """Colours where alpha is 0 become those of the nearest pixel seen, or they would bleed in."""
    if hidden.all() or not hidden.any():
        return pixels
    nearest = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    return pixels[tuple(nearest)]


def _each_file(paths, out, suffix, work, verb, show):
    """Writes a PNG of each image file; `work(image)` returns pixels, PNG options and results."""
    out, given = pathlib.Path(out), map(pathlib.Path, paths)
    paths = [file for path in given for file in (image_paths(path)[0] if path.is_dir() else [path])]
    for path in paths:
        open_image(path, pixels=False)
    inputs = {path.resolve() for path in paths}
    targets = {path: out / (path.stem + suffix) for path in paths}
    names = collections.Counter(target.name.casefold() for target in targets.values())
    for path, target in targets.items():
        if target.resolve() in inputs or names[target.name.casefold()] > 1:
            raise DataError(f"{target}, of {path}, would replace another file: rename one.")
    out.mkdir(parents=True, exist_ok=True)
    results = []
    for path, target in tqdm(targets.items(), verb, disable=None if show else True):
        result = {"input": str(path), "output": None}
        try:
            pixels, options, found = work(open_image(path))
            image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
            with replacing(target) as aside:
                image.save(aside, "PNG", **options)
            result |= {"output": str(target), **found}
        except (DataError, OSError, MemoryError) as error:
            result["error"] = f"{type(error).__name__}: {error}"
        results.append(result)
    return results
