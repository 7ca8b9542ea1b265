"""Results kept with the repository, shown in a notebook with what made them."""

import base64
import html
import io
import json
import pathlib

import pandas

from ganlib.experiment.profiles import CPU, FULL
from ganlib.report.export import Table

WIDTH = 840  # pixels of a figure, as a notebook shows it
SCREEN, PRINTED = 120, 300  # dots per inch: as wide as in the notebook, of a file for print
LARGEST = 100_000  # bytes of a figure that is shown as it is on disk
DRAWING = 2.5  # root mean square error, of 255, up to which 256 colours do


def kept_report(study, reports="reports", tables=None, figures=()):
    """A study's results at the largest scale that is kept: of the full, else of the cpu profile.

    Args:
        study: str, the study's name.
        reports: folder of all reports.
        tables: dict of the names of the tables to show → list of their columns, or None for all.
        figures: list of the names of the figures to show.

    Returns:
        `Kept`, which says what is missing.

    Raises:
        ValueError: a name is not that of a file.
    """
    for name in (study, *(tables or {}), *figures):
        if not name or name == ".." or pathlib.PureWindowsPath(name).name != name:
            raise ValueError(f"A name must be a file's, without its folder. Received: {name!r}")
    folders = [pathlib.Path(reports) / profile / study for profile in (FULL, CPU)]
    whole = [folder for folder in folders if (folder / "run.json").is_file()]
    folder = next((folder for folder in whole + folders if folder.is_dir()), None)
    return Kept(study, folder, tables or {}, figures)


class Kept:
    """Kept results; in a notebook `display(kept, *kept.figures)`. The text holds no numbers."""

    def __init__(self, study, folder, tables, figures):
        self.study, self.folder = study, folder
        self.tables, self.figures, self.missing = [], [], []
        wanted = [(self.tables, f"{name}.csv", self._table, c) for name, c in tables.items()]
        wanted += [(self.figures, f"{name}.png", KeptFigure, None) for name in figures]
        for shown, name, read, columns in wanted if folder else ():
            try:
                shown.append(read(folder / name, columns))
            except (OSError, ValueError):
                self.missing.append(name)

    def _table(self, path, columns):
        frame = pandas.read_csv(path, keep_default_na=False, na_values=[""])
        frame = frame[[column for column in columns or frame if column in frame]]
        return Table(frame.astype(object).fillna(""), f"{self.study}: {path.stem}")

    def provenance(self):
        """What made these results, by run.json; one line of text."""
        if not self.folder:
            return f"No results are kept here; `ganlib run {self.study} --profile cpu` makes some."
        try:
            record = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
            data, machine = record.get("data", {}), record.get("environment", {})
            said = {
                "scale": record.get("scale", f"{self.folder.parent.name} profile"),
                "data": data.get("name"),
                "checksum": data.get("checksum"),
                "seeds": ", ".join(map(str, record.get("seeds", ()))),
                "device": machine.get("device"),
                "revision": record.get("git_revision"),
                "claims": ", ".join(f"{n} {v}" for v, n in record.get("verdicts", {}).items()),
            }
        except FileNotFoundError:
            return "What made these results is not known: there is no run.json."
        except (OSError, ValueError, AttributeError, TypeError, RecursionError):
            return "What made these results is not known: run.json can't be read."
        return " · ".join(f"{name}: {value or 'not recorded'}" for name, value in said.items())

    def __repr__(self):
        shown = [table.caption.removeprefix(f"{self.study}: ") for table in self.tables]
        shown += [figure.name for figure in self.figures]
        return f"<kept results of {self.study}: {', '.join(shown) or 'none'}>"

    def _repr_html_(self):
        said = self.provenance() + "".join(f" · missing: {name}" for name in self.missing)
        tables = "".join(table._repr_html_() for table in self.tables)
        return f"<p><small>{html.escape(said)}</small></p>{tables}"


class KeptFigure:
    """A saved figure; a large one as a PNG of 256 colours, or a JPEG where they are too few."""

    def __init__(self, path, _=None):
        from PIL import Image, ImageChops, ImageStat

        self.name, self.kind, self.content = path.stem, "png", path.read_bytes()
        with Image.open(path) as file:
            image = file.convert("RGB")
        self.shown = {"width": min(WIDTH, image.width * SCREEN // PRINTED)}
        if len(self.content) > LARGEST:
            image.thumbnail((WIDTH * 3 // 2, image.height))
            few = image.quantize(dither=Image.Dither.NONE)
            if max(ImageStat.Stat(ImageChops.difference(image, few.convert("RGB"))).rms) > DRAWING:
                self.kind, few = "jpeg", image
                few.thumbnail((WIDTH, image.height))
            few.save(file := io.BytesIO(), self.kind, optimize=True, quality=85)
            self.content = file.getvalue()

    def __repr__(self):
        return f"<kept figure {self.name}>"

    def _repr_mimebundle_(self, include=None, exclude=None):
        content = base64.b64encode(self.content).decode()
        kind = f"image/{self.kind}"
        return {kind: content, "text/plain": repr(self)}, {kind: self.shown}
