"""One HTML page of all studies, from their reports: to hand in, to print, to read offline."""

import html
import json
import pathlib

import pandas

from ganlib.experiment.profiles import CPU, FULL, MARKS, QUICK
from ganlib.experiment.study import StudyError, write_atomically
from ganlib.kept import KeptFigure
from ganlib.report.export import Table
from ganlib.studies import STUDIES
from ganlib.studies.stories import STORIES

LARGEST_FIRST = (FULL, CPU, QUICK)
FIRST_TABLE, CLAIMS = "scores", "claims"
LONGEST = 40  # rows of a table; a longer one is named and stays in its file
COLOURS = {"supported": "#009e73", "refuted": "#d55e00", "cannot tell": "#777"}
STYLE = pathlib.Path(__file__).with_name("write_up.css")


def write_up(reports="reports"):
    """Writes `write-up.html` into the folder of all reports.

    Of each study it shows the largest profile that has a report: full, else cpu, else quick. The
    page holds its pictures, and asks nothing of the network.

    Args:
        reports: folder of all reports.

    Returns:
        The page's path.

    Raises:
        StudyError: no study has a report there.
    """
    reports = pathlib.Path(reports)
    found = {name: _folder(reports, name) for name in STUDIES}
    if not any(found.values()):
        raise StudyError(
            f"There is no report in {reports}. Make one first: ganlib run digits, or "
            "make reproduce for all in the quick profile."
        )
    chapters = [_chapter(name, folder) for name, folder in found.items()]
    links = "".join(
        f'<li><a href="#{name}">{html.escape(title)}</a></li>' for name, title in STUDIES.items()
    )
    page = _PAGE.format(
        style=STYLE.read_text(encoding="utf-8"), links=links, chapters="".join(chapters)
    )
    path = reports / "write-up.html"
    write_atomically(path, page)
    return path


def _folder(reports, study):
    folders = [reports / profile / study for profile in LARGEST_FIRST]
    return next((folder for folder in folders if (folder / "run.json").is_file()), None)


def _chapter(study, folder):
    story = STORIES[study]
    told = [
        ("The question", story.question),
        ("As submitted", story.submitted),
        ("What went wrong", story.wrong),
        ("What repairs it", story.repaired),
    ]
    parts = [f'<section id="{study}"><h2>{html.escape(STUDIES[study])}</h2>']
    parts += [f"<p><b>{what}.</b> {html.escape(text)}</p>" for what, text in told]
    if folder is None:
        parts.append(f"<p class=scale>No results yet: <code>ganlib run {study}</code></p>")
    else:
        record = _record(folder)
        captions = record.get("captions") or {}
        parts.append(f"<p class=scale>{html.escape(_scale(folder, record))}</p>")
        parts += _tables(folder, [FIRST_TABLE], captions)
        order = list(captions)  # as the report was written

        def place(path):
            return order.index(path.name) if path.name in order else len(order), path.name

        figures = sorted(folder.glob("*.png"), key=place)
        parts += [_figure(path, captions) for path in figures]
        parts += _claims(folder)
        parts += _rest(folder, captions)
        parts.append(_provenance(record))
    return "".join([*parts, "</section>"])


def _record(folder):
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        return record if isinstance(record, dict) else {}
    except (OSError, ValueError, RecursionError):
        return {}


def _scale(folder, record):
    """The scale of the results and the data they are of, in one line."""
    profile, data = folder.parent.name, record.get("data") or {}
    scale = record.get("scale") or MARKS.get(profile, "the write-up's")
    kind = "synthetic data" if data.get("synthetic") else "real data"
    seeds = len(record.get("seeds") or ())
    return f"Scale: {scale}. Data: {data.get('name', 'not recorded')} ({kind}). Seeds: {seeds}."


def _figure(path, captions):
    try:
        bundle, shown = KeptFigure(path)._repr_mimebundle_()
    except (OSError, ValueError):
        return f"<p class=scale>{html.escape(path.name)} can't be read.</p>"
    caption = html.escape(captions.get(path.name) or _spoken(path.stem))
    ((kind, content),) = [(k, c) for k, c in bundle.items() if k.startswith("image/")]
    width = shown[kind]["width"]
    return (
        f'<figure><img src="data:{kind};base64,{content}" width="{width}" alt="{caption}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _tables(folder, names, captions):
    found = []
    for name in names:
        if (table := _read(folder / f"{name}.csv")) is not None:
            caption = captions.get(f"{name}.csv") or _spoken(name)
            found.append(f"<div class=table>{Table(table, caption)._repr_html_()}</div>")
    return found


def _rest(folder, captions):
    """All other tables, folded; the longest stay in their files."""
    names = sorted({path.stem for path in folder.glob("*.csv")} - {FIRST_TABLE, CLAIMS})
    tables = {name: _read(folder / f"{name}.csv") for name in names}
    short = [name for name, table in tables.items() if table is not None and len(table) <= LONGEST]
    inside = _tables(folder, short, captions)
    if longer := [f"{name}.csv" for name in names if name not in short]:
        inside.append(
            f"<p>In files beside this page's figures: {html.escape(', '.join(longer))}.</p>"
        )
    return [f"<details><summary>All tables</summary>{''.join(inside)}</details>"] if inside else []


def _read(path):
    try:
        table = pandas.read_csv(path, keep_default_na=False, na_values=[""])
    except (OSError, ValueError):
        return None
    return table.astype(object).fillna("") if len(table) else None


def _claims(folder):
    table = _read(folder / f"{CLAIMS}.csv")
    if table is None or not {"statement", "verdict", "evidence"} <= set(table.columns):
        return []
    rows = "".join(
        f"<tr><td>{html.escape(str(row.statement))}</td>"
        f'<td><b style="color:{COLOURS.get(row.verdict, "#777")}">{html.escape(str(row.verdict))}'
        f"</b></td><td>{html.escape(str(row.evidence))}</td></tr>"
        for row in table.itertuples()
    )
    head = "<tr><th>claim</th><th>verdict</th><th>evidence</th></tr>"
    return [f"<h3>Claims</h3><div class='table claims'><table>{head}{rows}</table></div>"]


def _provenance(record):
    data, machine = record.get("data") or {}, record.get("environment") or {}
    said = {
        "profile": record.get("profile"),
        "options": json.dumps(record.get("options")),
        "data": data.get("origin"),
        "checksum": data.get("checksum"),
        "software": ", ".join(f"{k} {v}" for k, v in machine.items() if k != "device"),
        "device": machine.get("device"),
        "git revision": record.get("git_revision"),
    }
    rows = "".join(
        f"<tr><th>{what}</th><td>{html.escape(str(value or 'not recorded'))}</td></tr>"
        for what, value in said.items()
    )
    return f"<details><summary>What made these results</summary><table>{rows}</table></details>"


def _spoken(name):
    return name.replace("_", " ").capitalize() + "."


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>ganlib: five studies</title><style>{style}</style></head><body>
<h1>Five studies of GANs and U-Nets: as submitted, diagnosed, repaired</h1>
<p>Every score stands beside its floor and its ceiling; every claim of a write-up is
<b style="color:#009e73">supported</b>, <b style="color:#d55e00">refuted</b> or
<b style="color:#777">cannot tell</b>. Each chapter says at which scale its results were made.</p>
<nav><ol>{links}</ol></nav>{chapters}</body></html>
"""
