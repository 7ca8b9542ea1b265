"""Zip archives that may come from anyone: .npz and .keras files."""

import pathlib

from ganlib.data.errors import DataError

SMALL = 64 * 2**20  # bytes that an archive may expand to, however small it is


def check_members(path, archive, packed=None):
    """Looks at an archive's table of contents, before anything in it is read.

    Args:
        path: path of the file, for messages.
        archive: `zipfile.ZipFile`.
        packed: number or `None`, how many times its own size the archive may expand to.

    Returns:
        int, the bytes of all members together, as the archive declares them.

    Raises:
        DataError: a member's name leads out of the folder that it would be unpacked into, or the
            archive expands to more than that.
    """
    for name in archive.namelist():
        place = pathlib.PurePosixPath(name.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts or pathlib.PureWindowsPath(name).drive:
            raise DataError(
                f"The file {path} has a member that leads out of its folder, which may be an "
                f"attack: get the file again from where you trust it. Received: {name!r}"
            )
    total = sum(member.file_size for member in archive.infolist())
    size = pathlib.Path(path).stat().st_size
    if packed and total > max(SMALL, packed * size):
        raise DataError(
            f"The file {path} of {size:,} bytes would expand to {total / 2**30:,.1f} GiB, which "
            "may be an attack: get the file again from where you trust it."
        )
    return total
