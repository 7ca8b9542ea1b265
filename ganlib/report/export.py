"""Figures and tables with their provenance, in the formats that a write-up takes."""

import hashlib
import html
import pathlib
import re
import subprocess

from ganlib.experiment import profiles
from ganlib.experiment.machine import environment
from ganlib.experiment.study import write_atomically, write_json
from ganlib.report import figures

# What browsers would break in a narrow cell: a short name, such as attempt-7, at its hyphen, and an
# interval at its space.
UNBREAKABLE = re.compile(r"^(?=.*-)\S{1,20}$|\[[-+.\w]+, [-+.\w]+\]")


class Report:
    """The folder `<out>/<profile>/<study>`, and all that is written into it.

    Args:
        study: name of the study.
        profile: one of `ganlib.experiment.profiles.PROFILES`.
        out: folder of all reports.
        changes: dict, what was changed in all recipes. Figures of a smaller scale than the
            write-up's, or of changed recipes, say so on themselves.
    """

    def __init__(self, study, profile, out="reports", changes=None):
        self.study = study
        self.profile = profile
        self.mark = profiles.mark(profile, changes)
        self.path = pathlib.Path(out) / profile / study
        self.written = []
        self.captions = {}

    def file(self, name, suffix):
        """The path of a further file, for the caller to write: in the folder, which is made.

        run.json lists it with its checksum, so it must be there when `provenance` is called.

        Args:
            name: str, the file's name.
            suffix: str, without the dot, as "gif".
        """
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
        write = self._write
        write(name, "csv", table.to_csv(index=False))
        write(name, "md", shown.to_markdown(index=False, disable_numparse=True) + "\n")
        latex = shown.map(_escape).rename(columns=_escape)
        write(
            name,
            "tex",
            latex.to_latex(
                index=False, caption=_escape(caption) or None, label=f"tab:{self.study}-{name}"
            ),
        )
        return self.path / f"{name}.csv"

    def provenance(self, study, results, data, claims=None):
        """Writes run.json: what made these files, from which data and by which code.

        Args:
            study: `ganlib.experiment.study.Study`.
            results: list of result dicts.
            data: the study's data, with `checksum`, `name` and `origin`.
            claims: `ganlib.report.claims.Claims`, or None.
        """
        write_json(
            self.path / "run.json",
            {
                "study": study.name,
                "profile": self.profile,
                "scale": self.mark or "the write-up's",
                "options": study.options,
                "environment": environment(),
                "git_revision": git_revision(),
                "data": {
                    "name": data.name,
                    "origin": data.origin,
                    "synthetic": data.synthetic,
                    "checksum": data.checksum,
                },
                "seeds": sorted({result["seed"] for result in results}),
                "wall_time_seconds": round(sum(result["seconds"] for result in results), 1),
                "verdicts": claims.count() if claims else {},
                "trials": [
                    {k: r[k] for k in ("id", "name", "seed", "status", "seconds", "recipe")}
                    for r in results
                ],
                "captions": self.captions,
                "files": {path.name: _sha256(path) for path in sorted(set(self.written))},
            },
        )

    def _write(self, name, suffix, text):
        write_atomically(self.file(name, suffix), text)

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
    whole = r'<span style="white-space: nowrap">\g<0></span>'
    shown = (UNBREAKABLE.sub(whole, html.escape(str(cell))) for cell in cells)
    inside = (
        f'<{tag} style="text-align: {side}">{cell}</{tag}>'
        for side, cell in zip(sides, shown, strict=True)
    )
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


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()
