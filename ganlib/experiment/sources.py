"""Where a study's data come from when nobody says: embedded, a folder of one's own, or TFDS."""

import dataclasses
import os
import pathlib

from ganlib.data import DataError
from ganlib.experiment.profiles import QUICK

VARIABLE = "GANLIB_DATA"  # the folder that holds the data of all studies
FILES = (".npz", ".tif", ".tiff")


@dataclasses.dataclass(frozen=True)
class Source:
    """The data of a study by default.

    Attributes:
        embedded: what comes with ganlib; the quick profile's.
        download: `tfds:NAME` of the larger profiles; None: they take the embedded data, too.
        names: how a file or folder in `$GANLIB_DATA` begins that holds them, the study's name
            first. Where that variable is set it goes before TFDS.
        needed: bool; where it holds no such data they are missed, or the embedded ones are taken.
    """

    embedded: str
    download: str | None
    names: tuple[str, ...]
    needed: bool = True

    def choose(self, profile, data=None):
        """The data of a profile, as a study's recipes name it.

        A file in `$GANLIB_DATA` is named relative to it. A trial's id holds that name, so a study
        goes on where it was after its runs and its data were moved, to another machine for example.

        Raises:
            DataError: `$GANLIB_DATA` is set, and holds nothing of these names or several.
        """
        if data:
            return str(data)
        if profile == QUICK:
            return self.embedded
        if folder := os.environ.get(VARIABLE):
            found = _only(pathlib.Path(folder).expanduser(), self.names, self.needed)
            return f"${VARIABLE}/{found}" if found else self.embedded
        return self.download or self.embedded


def locate(spec):
    """The path of data that `Source.choose` found; anything else as it is.

    Args:
        spec: str, data as a recipe names them.

    Returns:
        str, for what loads the data.

    Raises:
        DataError: the data lie in `$GANLIB_DATA`, which is not set.
    """
    prefix = f"${VARIABLE}/"
    if not spec.startswith(prefix):
        return spec
    folder = os.environ.get(VARIABLE)
    if not folder:
        raise DataError(
            f"Set {VARIABLE} to the folder that holds the data, or name other data with --data. "
            f"Received: {spec!r}, and {VARIABLE} is not set"
        )
    return str(pathlib.Path(folder).expanduser() / spec.removeprefix(prefix))


def _only(folder, names, needed):
    """The name of the one entry of `folder` that begins with the first name of which there is."""
    if not folder.is_dir():
        raise DataError(f"{VARIABLE} must be a folder. Received: {str(folder)!r}")
    entries = sorted(entry for entry in folder.iterdir() if _is_data(entry))
    for name in names:
        found = [entry.name for entry in entries if entry.name.lower().startswith(name)]
        if len(found) > 1:
            raise DataError(
                f"{VARIABLE} has several data sets that begin with {name!r}: choose one with "
                f"--data. Received: {', '.join(found)}"
            )
        if found:
            return found[0]
    if not needed:
        return None
    raise DataError(
        f"{VARIABLE} must hold an .npz file or a folder whose name begins with "
        f"{' or '.join(names)}; or leave {VARIABLE} unset, or name data with --data. Received: "
        f"{', '.join(entry.name for entry in entries) or 'nothing'} in {folder}"
    )


def _is_data(entry):
    if entry.name.startswith("."):
        return False
    return entry.is_dir() or entry.suffix.lower() in FILES
