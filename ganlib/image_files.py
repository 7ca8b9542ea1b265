"""Image files into image files: each is worked on, and one that fails does not stop the others."""

import os
import pathlib
import sys
import time

from ganlib.data import DataError
from ganlib.data.files import open_image


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
