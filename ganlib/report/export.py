"""Figures and tables with their provenance, in the formats that a write-up takes."""

import base64
import hashlib
import html
import io
import json
import pathlib
import re
import subprocess

import pandas

from ganlib.experiment.machine import StudyError, environment
from ganlib.experiment.run import write_atomically, write_json
from ganlib.experiment.study import mark
from ganlib.report import figures

PRINT, SCREEN, WIDTH = 300, 120, 840  # dots per inch of a file and of a page; pixels of a page
LARGE = 100_000  # bytes of a figure above which a page gets a smaller one
LONGEST = 40  # rows of a table that a page shows


class Report:
    """The folder `<out>/<profile>/<study>`, and all that is written into it.

    Figures of a smaller scale than the write-up's, or of changed recipes, say so on themselves.

    Args:
        study: name of the study.
        profile: one of `ganlib.experiment.study.PROFILES`.
        out: folder of all reports.
        changes: dict, what was changed in all recipes.
    """

    def __init__(self, study, profile, out="reports", changes=None):
        self.study = study
        self.profile = profile
        self.mark = mark(profile, changes)
        self.path = pathlib.Path(out) / profile / study
        self.written = []
        self.captions = {}

    def file(self, name, suffix):
        """The path of a further file, for the caller to write: run.json lists it, too."""
        self.path.mkdir(parents=True, exist_ok=True)
        path = self.path / f"{name}.{suffix}"
        self.written.append(path)
        return path

    def figure(self, name, figure, caption=""):
        """Saves a matplotlib figure as PDF and PNG; returns the PNG's path."""
        self.captions[f"{name}.png"] = caption
        # Lines named C0, C1… take their colours, and files their dpi and fonts, now.
        with figures.style():
            part = figures.mark(figure, self.mark) if self.mark else None
            for suffix, metadata in (("pdf", {"CreationDate": None}), ("png", {})):
                figure.savefig(self.file(name, suffix), metadata=metadata, bbox_inches=part)
        return self.path / f"{name}.png"

    def table(self, name, table, caption=""):
        """Saves a `pandas.DataFrame` as CSV, Markdown and LaTeX (booktabs); returns the CSV's path.

        CSV keeps every digit; the other two show three significant ones, or all before the point.
        """
        self.captions[f"{name}.csv"] = caption
        shown = table.map(_three_digits)
        latex = shown.map(_escape).rename(columns=_escape)
        about = {"caption": _escape(caption) or None, "label": f"tab:{self.study}-{name}"}
        for suffix, text in {
            "csv": table.to_csv(index=False),
            "md": shown.to_markdown(index=False, disable_numparse=True) + "\n",
            "tex": latex.to_latex(index=False, **about),
        }.items():
            write_atomically(self.file(name, suffix), text)
        return self.path / f"{name}.csv"

    def provenance(self, study, results, data, claims=None):
        """Writes run.json: what made these files, from which data and by which code.

        Args:
            study: `ganlib.experiment.study.Study`.
            results: list of result dicts.
            data: the study's data, with `checksum`, `name`, `origin` and `synthetic`.
            claims: `ganlib.report.claims.Claims`, or None.
        """
        about = {name: getattr(data, name) for name in ("name", "origin", "synthetic", "checksum")}
        trials = ("id", "name", "seed", "status", "seconds", "recipe")
        record = {
            "study": study.name,
            "profile": self.profile,
            "scale": self.mark or "the write-up's",
            "options": study.options | {"data": _named(study.options.get("data"))},
            "environment": environment(),
            "git_revision": git_revision(),
            "data": about,
            "seeds": sorted({result["seed"] for result in results}),
            "wall_time_seconds": round(sum(result["seconds"] for result in results), 1),
            "verdicts": claims.count() if claims else {},
            "trials": [{key: result[key] for key in trials} for result in results],
            "captions": self.captions,
            "files": {
                path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted(set(self.written))
            },
        }
        write_json(self.path / "run.json", record)

    def __repr__(self):
        return f"<Report {self.study}, {self.profile} profile>"


class Table:
    """A table with two faces: all numbers in HTML for the reader, its size alone in text.

    Text is what strict notebook tests compare, and numbers differ between machines.

    Args:
        frame: `pandas.DataFrame`.
        caption: str.
    """

    def __init__(self, frame, caption=""):
        self.frame = frame
        self.caption = caption

    def __repr__(self):
        return f"<table of {len(self.frame)} rows: {', '.join(map(str, self.frame.columns))}>"

    def _repr_html_(self):
        # Words begin at the left, which Jupyter's own style sheet does only where it is told.
        words = self.frame.map(lambda cell: isinstance(cell, str) and cell != "")
        sides = ["left" if any_words else "right" for any_words in words.any()]
        head = _row("th", self.frame.columns, sides)
        rows = "\n".join(  # a line each, for the differences between two notebooks
            _row("td", row, sides)
            for row in self.frame.map(_three_digits).itertuples(index=False, name=None)
        )
        table = f'<table class="dataframe">\n<thead>{head}</thead>\n<tbody>{rows}</tbody></table>'
        return f"<p><b>{html.escape(self.caption)}</b></p>{table}"


def _named(data):
    """The data as JSON has them: a path as text, images by what they say of themselves."""
    return data if data is None else str(data)


def git_revision():
    """The commit of the working tree that ganlib runs from, "+" if it has changes; else None."""
    root = pathlib.Path(__file__).parents[2]
    try:
        command = ["git", "-C", str(root)]
        run = {"capture_output": True, "text": True, "check": True, "timeout": 10}
        revision = subprocess.run([*command, "rev-parse", "HEAD"], **run).stdout.strip()
        tracked = subprocess.run([*command, "ls-files", "ganlib"], **run).stdout
        changes = subprocess.run([*command, "status", "--porcelain", "ganlib"], **run).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    if not tracked:  # installed into some other project's tree
        return None
    return revision + ("+" if changes else "")


def _row(tag, cells, sides):
    pairs = zip(sides, map(html.escape, map(str, cells)), strict=True)
    inside = (f'<{tag} style="text-align: {side}">{cell}</{tag}>' for side, cell in pairs)
    return f"<tr>{''.join(inside)}</tr>"


def _three_digits(value):
    if not isinstance(value, float):
        return value
    return f"{value:.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:.3g}"


def _escape(text):
    """LaTeX's special characters, and the few others that our tables use."""
    if not isinstance(text, str):
        return text
    text = re.sub(r"([&%$#_{}])", r"\\\1", text.replace("\\", r"\textbackslash "))
    for character, command in {
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "×": r"$\times$",
        "≥": r"$\ge$",
        "≤": r"$\le$",
        "γ": r"$\gamma$",
        "Δ": r"$\Delta$",
        "–": "--",
    }.items():
        text = text.replace(character, command)
    return text


# -- kept results --------------------------------------------------------------------------------


def kept(study, reports="reports", tables=(), figures=()):
    """Shows in a notebook a study's results at the largest scale that is kept, full or cpu.

    Args:
        study: str, the study's name.
        reports: folder of all reports.
        tables: names of the tables to show, or dict of name → list of columns (None: all).
        figures: names of the figures to show.
    """
    from IPython.display import HTML, Image, display

    folder, record = _largest(study, reports, ("full", "cpu"))
    if folder is None:
        display(HTML(f"<p>No results are kept: <code>ganlib run {study} --profile cpu</code></p>"))
        return
    display(HTML(f"<p><small>{html.escape(_told(folder, record))}</small></p>"))
    columns = tables if isinstance(tables, dict) else dict.fromkeys(tables)
    for name in columns:
        display(Table(_read(folder / f"{name}.csv", columns[name]), f"{study}: {name}"))
    for name in figures:
        kind, content, width = _on_screen(folder / f"{name}.png")
        display(Image(content, format=kind, width=width))


def write_page(studies, reports="reports"):
    """Writes `write-up.html`, of each study the largest profile with a report; returns its path.

    The page holds its pictures, and asks nothing of the network.

    Args:
        studies: dict of name → title.
        reports: folder of all reports.

    Raises:
        StudyError: no study has a report there.
    """
    parts = []
    for study, title in studies.items():
        folder, record = _largest(study, reports, ("full", "cpu", "quick"))
        if folder is None:
            continue
        captions = record.get("captions", {})
        parts += [f"<h2>{html.escape(title)}</h2>", f"<p>{html.escape(_told(folder, record))}</p>"]
        for path in sorted(folder.glob("*.png")):
            kind, content, width = _on_screen(path)
            source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
            caption = html.escape(captions.get(path.name) or path.stem)
            parts.append(f'<p><img src="{source}" width="{width}" alt=""><br>{caption}</p>')
        first = [folder / "scores.csv", folder / "claims.csv"]
        for path in sorted(folder.glob("*.csv"), key=lambda path: (path not in first, path)):
            table, caption = _read(path), captions.get(path.name) or path.stem
            if len(table) > LONGEST:
                table, caption = table[:0], f"{caption} (in {path.name})"
            parts.append(Table(table, caption)._repr_html_())
    if not parts:
        raise StudyError(f"There is no report in {reports}. Make one first: ganlib run digits")
    path = pathlib.Path(reports, "write-up.html")
    write_atomically(path, PAGE.format("\n".join(parts)))
    return path


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>ganlib: five studies</title><style>
body {{ max-width: 56em; margin: auto; font-family: sans-serif; line-height: 1.4 }}
table {{ border-collapse: collapse; font-size: 80% }} td, th {{ padding: 2px 8px }}
img {{ max-width: 100%; height: auto }}</style></head><body>
<h1>GANs and U-Nets: as submitted, diagnosed, repaired</h1>
{}
</body></html>
"""


def _largest(study, reports, profiles):
    """The folder of the first of these profiles that has a report, and its run.json."""
    for profile in profiles:
        folder = pathlib.Path(reports, profile, study)
        if (folder / "run.json").is_file():
            return folder, json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return None, {}


def _told(folder, record):
    """What made the results in a folder; one line of text."""
    data = record.get("data", {})
    told = {
        "scale": record.get("scale", f"{folder.parent.name} profile"),
        "data": f"{data.get('name')} ({'synthetic' if data.get('synthetic') else 'real'})",
        "checksum": data.get("checksum"),
        "seeds": ", ".join(map(str, record.get("seeds", ()))),
        "device": record.get("environment", {}).get("device"),
        "revision": record.get("git_revision"),
        "claims": ", ".join(f"{n} {v}" for v, n in record.get("verdicts", {}).items()),
    }
    return " · ".join(f"{name}: {value or 'not recorded'}" for name, value in told.items())


def _read(path, columns=None):
    if not path.read_text(encoding="utf-8").strip():  # a table without columns
        return pandas.DataFrame()
    frame = pandas.read_csv(path, keep_default_na=False, na_values=[""])
    shown = [column for column in columns or frame if column in frame]
    return frame[shown].astype(object).fillna("")


def _on_screen(path):
    """A saved figure's format, content and width on a page; a large one is made smaller."""
    from PIL import Image

    with Image.open(path) as file:
        image = file.convert("RGB")
    content, width = path.read_bytes(), min(WIDTH, image.width * SCREEN // PRINT)
    if len(content) <= LARGE:
        return "png", content, width
    image.thumbnail((WIDTH, image.height))
    made = {}  # drawings are smaller with 256 colours, photographs as JPEG
    for kind, picture in (("png", image.quantize(dither=Image.Dither.NONE)), ("jpeg", image)):
        picture.save(file := io.BytesIO(), kind, optimize=True, quality=85)
        made[kind] = file.getvalue()
    kind = min(made, key=lambda name: len(made[name]))
    return kind, made[kind], width
