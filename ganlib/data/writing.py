"""Files that are written whole or not at all, and drawings that are made once."""

import contextlib
import os
import pathlib
import zipfile
import zlib

import numpy as np

VARIABLE = "GANLIB_CACHE"  # the folder where drawings are kept; by default ~/.cache/ganlib


@contextlib.contextmanager
def replacing(path):
    """A path, of the same suffix, whose file takes the place of `path` in one step at the end.

    After an error, such as of a full disk, what was at `path` is still there.
    """
    path = pathlib.Path(path)
    aside = path.with_name(f".writing-{os.getpid()}-{path.name}")
    aside.unlink(missing_ok=True)  # a link in wait there would be written through
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def drawn_once(name, code, draw):
    """The arrays that `draw()` returns, kept in `$GANLIB_CACHE` for the next command.

    `name` tells these drawings from others of the same module, whose file is `code`: another
    version of it draws anew. Where nothing can be kept, this is `draw()`.
    """
    folder = pathlib.Path(os.environ.get(VARIABLE) or "~/.cache/ganlib").expanduser()
    path = folder / f"{name}-{zlib.crc32(pathlib.Path(code).read_bytes()):08x}.npz"
    try:
        with path.open("rb") as archive, np.load(archive, allow_pickle=False) as file:
            return tuple(file[str(i)] for i in range(len(file.files)))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        arrays = draw()  # there are none, or they are damaged
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as aside:
            np.savez(aside, **{str(i): array for i, array in enumerate(arrays)})
    return arrays
