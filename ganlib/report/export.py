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
from PIL import Image

from ganlib.experiment.machine import StudyError, environment
from ganlib.experiment.run import write_atomically, write_json
from ganlib.experiment.study import mark
from ganlib.report import figures

PRINT, SCREEN, WIDTH = 300, 120, 840  # dots per inch of a file and of a page; pixels of a page
LONGEST = 40  # rows of a table that a page shows
MATH = {"±": "pm", "×": "times", "≥": "ge", "≤": "le", "γ": "gamma", "Δ": "Delta"}  # of our tables
LATEX = {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--"}
LATEX |= {character: rf"$\{name}$" for character, name in MATH.items()}


class Report:
    """The folder `<out>/<profile>/<study>`; figures of a smaller scale, or changed, say so."""

    def __init__(self, study, profile, out="reports", changes=None):
        self.study, self.profile, self.mark = study, profile, mark(profile, changes)
        self.path = pathlib.Path(out) / profile / study
        self.written, self.captions = [], {}

    def __repr__(self):
        return f"<Report {self.study}, {self.profile} profile>"

    def file(self, name, suffix):
        """The path of a further file, for the caller to write: run.json lists it, too."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.written.append(self.path / f"{name}.{suffix}")
        return self.written[-1]

    def figure(self, name, figure, caption=""):
        """Saves a matplotlib figure as PDF and PNG; returns it closed, for a notebook to show."""
        self.captions[f"{name}.png"] = caption
        # Lines named C0, C1… take their colours, and files their dpi and fonts, now.
        with figures.style():
            part = figures.mark(figure, self.mark) if self.mark else None
            for suffix, metadata in (("pdf", {"CreationDate": None}), ("png", {})):
                figure.savefig(self.file(name, suffix), metadata=metadata, bbox_inches=part)
        figures.close(figure)  # else a notebook would show it twice
        return figure

    def table(self, name, table, caption=""):
        """Saves a `pandas.DataFrame` as CSV with every digit, Markdown and LaTeX with three.

        Returns it as a `Table`.
        """
        self.captions[f"{name}.csv"] = caption
        shown = table.map(_three_digits)
        latex = shown.map(_escape).rename(columns=_escape)
        about = {"caption": _escape(caption) or None, "label": f"tab:{self.study}-{name}"}
        markdown = shown.to_markdown(index=False, disable_numparse=True) + "\n"
        write_atomically(self.file(name, "md"), markdown)
        write_atomically(self.file(name, "tex"), latex.to_latex(index=False, **about))
        write_atomically(self.file(name, "csv"), table.to_csv(index=False))
        return Table(table, caption)

    def provenance(self, study, results, data, claims=None):
        """Writes run.json: what made these files of a `Study`, from which data, by which code."""
        spec, files = study.options.get("data"), sorted(set(self.written))
        told = ("id", "name", "seed", "status", "seconds", "recipe")
        record = {
            "study": study.name,
            "profile": self.profile,
            "scale": self.mark or "the write-up's",
            "options": study.options | {"data": spec if spec is None else str(spec)},
            "environment": environment(),
            "git_revision": git_revision(),
            "data": {k: getattr(data, k) for k in ("name", "origin", "synthetic", "checksum")},
            "seeds": sorted({r["seed"] for r in results}),
            "wall_time_seconds": round(sum(r["seconds"] for r in results), 1),
            "verdicts": claims.count() if claims else {},
            "trials": [{key: r[key] for key in told} for r in results],
            "captions": self.captions,
            "files": {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files},
        }
        write_json(self.path / "run.json", record)


class Table:
    """A `pandas.DataFrame`: numbers in HTML, its columns alone in text, which tests compare."""

    def __init__(self, frame, caption=""):
        self.frame, self.caption = frame, caption

    def __repr__(self):
        return f"<table: {', '.join(map(str, self.frame.columns))}>"

    def _repr_html_(self):
        # Words begin at the left, as Jupyter's own style sheet does only where it is told.
        words = self.frame.map(lambda cell: isinstance(cell, str) and cell != "")
        sides = ["left" if any_words else "right" for any_words in words.any()]
        cells = self.frame.map(_three_digits).itertuples(index=False, name=None)
        rows = "\n".join(_row("td", row, sides) for row in cells)  # a line each, for notebook diffs
        head = f"<thead>{_row('th', self.frame.columns, sides)}</thead>"
        table = f'<table class="dataframe">\n{head}\n<tbody>{rows}</tbody></table>'
        return f"<p><b>{html.escape(self.caption)}</b></p>{table}"


def git_revision():
    """The commit of the working tree that ganlib runs from, "+" if it has changes; else None."""
    here, run = pathlib.Path(__file__).parents[2], {"text": True, "timeout": 10}

    def ask(*words):
        return subprocess.check_output(["git", *words], cwd=here, stderr=subprocess.DEVNULL, **run)

    try:
        if not ask("ls-files", "ganlib"):  # installed into some other project's tree
            return None
        return ask("rev-parse", "HEAD").strip() + "+" * bool(ask("status", "--porcelain", "ganlib"))
    except (OSError, subprocess.SubprocessError):
        return None


def _row(tag, cells, sides):
    pairs = zip(sides, map(html.escape, map(str, cells)), strict=True)
    inside = (f'<{tag} style="text-align: {side}">{cell}</{tag}>' for side, cell in pairs)
    return f"<tr>{''.join(inside)}</tr>"


def _three_digits(value):
    if not isinstance(value, float):
        return value
    return f"{value:.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:.3g}"


def _escape(text):
    if not isinstance(text, str):
        return text
    text = re.sub(r"([&%$#_{}])", r"\\\1", text.replace("\\", r"\textbackslash "))
    return text.translate(str.maketrans(LATEX))


def kept(study, reports, tables, figures):
    """Shows in a notebook the largest results kept of a study; `tables`: name → columns or None."""
    from IPython import display as shown

    folder, record = _largest(study, reports, ("full", "cpu"))
    if folder is None:
        hint = f"<code>ganlib run {study} --profile cpu</code>"
        shown.display(shown.HTML(f"<p>No results are kept: {hint}</p>"))
        return
    shown.display(shown.HTML(f"<p><small>{html.escape(_told(record))}</small></p>"))
    for name, columns in tables.items():
        shown.display(Table(_read(folder / f"{name}.csv", columns), f"{study}: {name}"))
    for name in figures:
        content, width = _on_screen(folder / f"{name}.png")
        shown.display(shown.Image(content, format="jpeg", width=width))


def write_page(studies, reports):
    """Writes `write-up.html`, of each study (name → title) the largest report; returns its path."""
    parts = []
    for study, title in studies.items():
        folder, record = _largest(study, reports, ("full", "cpu", "quick"))
        if folder is None:
            continue
        captions = record["captions"]
        parts += [f"<h2>{html.escape(title)}</h2>", f"<p>{html.escape(_told(record))}</p>"]
        for path in sorted(folder.glob("*.png")):
            content, width = _on_screen(path)
            source = f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
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


def _largest(study, reports, profiles):  # the first report's folder, and its run.json
    for profile in profiles:
        path = pathlib.Path(reports, profile, study, "run.json")
        if path.is_file():
            return path.parent, json.loads(path.read_text(encoding="utf-8"))
    return None, None


def _told(record):  # what made its results
    data = record["data"]
    kind = "synthetic" if data["synthetic"] else "real"
    told = {"scale": record["scale"], "data": f"{data['name']} ({kind})"}
    told |= {"checksum": data["checksum"], "seeds": ", ".join(map(str, record["seeds"]))}
    told |= {"device": record["environment"]["device"], "revision": record["git_revision"]}
    told["claims"] = ", ".join(f"{n} {v}" for v, n in record["verdicts"].items())
    return " · ".join(f"{name}: {value or 'not recorded'}" for name, value in told.items())


def _read(path, columns=None):
    if not path.read_text(encoding="utf-8").strip():  # a table without columns
        return pandas.DataFrame()
    frame = pandas.read_csv(path, keep_default_na=False, na_values=[""])
    shown = [column for column in columns or frame if column in frame]
    return frame[shown].astype(object).fillna("")


def _on_screen(path):  # as JPEG, small enough for a notebook, and its width there
    with Image.open(path) as file:
        image = file.convert("RGB")
    width = min(WIDTH, image.width * SCREEN // PRINT)
    image.thumbnail((WIDTH, image.height))
    image.save(file := io.BytesIO(), "jpeg", optimize=True, quality=85)
    return file.getvalue(), width
