"""Figures, tables and their provenance, as a write-up takes them."""

import hashlib
import json
import re
import types
import zlib

import keras
import matplotlib as mpl
import numpy as np
import pandas
import pytest
import toy_study
from PIL import Image

from ganlib.apply import tile
from ganlib.experiment.study import run_trial
from ganlib.report import export as report_module
from ganlib.report.claims import SUPPORTED, Claim, Claims
from ganlib.report.export import Report, Table, git_revision
from ganlib.report.figures import STRIP, close, show_images, style

mpl.use("Agg")
TABLE = pandas.DataFrame(
    {
        "a_b & 50%": ["x_1 ~ 2", "{#$^}", "5 ± 1 × γ"],
        "value": [1 / 3, 1234.5678, float("nan")],
        "n": [1, 2, 30000],
    }
)


@pytest.fixture
def figure():
    with style() as plt:
        figure, ax = plt.subplots(figsize=(2, 1.5))
        ax.plot([0, 1], [0, 1])
        ax.set_title("Some letters")
        yield figure
    close(figure)


# -- pictures ------------------------------------------------------------------------------------


def test_tile():
    images = np.arange(1, 6)[:, None, None, None] * np.ones((5, 2, 3, 1))
    grid = tile(images, 2)
    assert grid.shape == (6, 6, 1)
    np.testing.assert_array_equal(grid[::2, ::3, 0], [[1, 2], [3, 4], [5, 0]])
    np.testing.assert_array_equal(grid[:2, :3], images[0])
    assert tile(images.astype("uint8"), 5).dtype == np.uint8


@pytest.mark.parametrize("shape", [(0, 2, 2, 1), (2, 2, 1), (3, 2, 2)])
def test_tile_needs_images(shape):
    with pytest.raises(ValueError, match=rf"Received: shape {re.escape(str(shape))}"):
        tile(np.zeros(shape), 2)


@pytest.mark.parametrize(("channels", "drawn"), [(1, (4, 4)), (3, (4, 4, 3))])
def test_show_images(figure, channels, drawn):
    ax = figure.axes[0]
    show_images(ax, np.linspace(0, 1, 3 * 4 * channels).reshape(3, 2, 2, channels), 2, "title")
    picture = ax.images[0]
    assert picture.get_array().shape == drawn
    assert picture.get_clim() == (0, 1)  # never stretched to the values there are
    assert ax.get_title() == "title"


@pytest.mark.parametrize("value", [-0.5, 1.5, 255.0, np.nan, np.inf])
def test_show_images_refuses_other_ranges(figure, value):
    images = np.zeros((2, 2, 2, 1))
    images[1, 0, 0] = value
    with pytest.raises(ValueError, match=r"use ganlib.images.convert. Received: values in"):
        show_images(figure.axes[0], images, 2)
    with pytest.raises(ValueError, match="at least one image"):
        show_images(figure.axes[0], images[:0], 2)


# -- figures -------------------------------------------------------------------------------------


def test_figure_formats(figure, tmp_path):
    report = Report("toy", "full", tmp_path)
    path = report.figure("curve", figure)
    assert path == tmp_path / "full" / "toy" / "curve.png"
    with Image.open(path) as picture:
        assert picture.size == (600, 450)  # 2 × 1.5 inches at 300 dots per inch
    pdf = path.with_suffix(".pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    # Publishers refuse Type 3 fonts, matplotlib's default.
    unpacked = pdf + b"".join(inflated(pdf))
    assert b"/Type3" not in unpacked
    assert b"/FontFile2" in unpacked  # embedded TrueType


def test_figures_are_saved_in_the_style_that_they_were_made_in(tmp_path):
    with style() as plt:  # left before the figure is saved, as by every study
        figure, ax = plt.subplots(figsize=(2, 1.5))
        ax.axhline(0.5, color="C1", lw=20)
    path = Report("toy", "full", tmp_path).figure("line", figure)
    plt.close(figure)
    with Image.open(path) as picture:
        assert picture.size == (600, 450)
        assert (0xD5, 0x5E, 0x00) in {c for _, c in picture.convert("RGB").getcolors(10**6)}


def inflated(pdf):
    for match in re.finditer(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL):
        try:
            yield zlib.decompress(match.group(1))
        except zlib.error:
            continue


def test_pdf_does_not_tell_the_time(figure, tmp_path):
    Report("toy", "full", tmp_path).figure("curve", figure)
    pdf = (tmp_path / "full" / "toy" / "curve.pdf").read_bytes()
    assert b"/Creator" in pdf  # else: the metadata are not to be seen
    assert b"/CreationDate" not in pdf


@pytest.mark.parametrize(
    ("profile", "changes", "marks"),
    [
        ("quick", None, ["quick profile"]),
        ("cpu", None, ["cpu profile: below the write-up's scale"]),
        ("full", None, []),
        ("full", {"epochs": 5, "loss": "hinge"}, ["changed: epochs=5, loss=hinge"]),
        ("quick", {"epochs": 5}, ["quick profile; changed: epochs=5"]),
    ],
)
def test_figures_say_where_they_are_not_of_the_write_ups_scale(
    figure, tmp_path, profile, changes, marks
):
    Report("toy", profile, tmp_path, changes).figure("curve", figure)
    assert [text.get_text() for text in figure.texts] == marks


def test_the_mark_has_a_strip_of_its_own(figure, tmp_path):
    path = Report("toy", "quick", tmp_path).figure("curve", figure)
    (text,) = figure.texts
    figure.canvas.draw()  # sizes as on the screen again
    assert text.get_window_extent().y1 <= 0
    with Image.open(path) as marked, Image.open(report_of(figure, tmp_path)) as plain:
        assert marked.width == plain.width
        assert marked.height == plain.height + round(300 * STRIP)
        strip = np.asarray(marked.convert("L"))[plain.height :]
        assert strip.min() < 200  # something is written there
        top = np.asarray(marked.convert("L"))[: plain.height]
        assert np.abs(top.astype(int) - np.asarray(plain.convert("L"))).mean() < 1


def test_long_labels_are_not_cut_off(tmp_path):
    """As those of the U-Net cells: at this size text is narrower on a screen than in a file."""
    with style() as plt:
        figure, ax = plt.subplots(figsize=(5, 3))
        ax.set_yticks(range(36), ["attention_resunet-lr0.0005-bs16"] * 36, fontsize=5)
    with Image.open(Report("toy", "quick", tmp_path).figure("cells", figure)) as saved:
        edge = np.asarray(saved.convert("L"))[:, :4]
    close(figure)
    assert edge.min() == 255


def test_a_legend_outside_stays_above_the_strip(tmp_path):
    with style() as plt:
        figure, ax = plt.subplots(figsize=(2, 1.5))
        ax.plot([0, 1], label="a line")
        legend = figure.legend(loc="outside lower center")
    with Image.open(Report("toy", "quick", tmp_path).figure("curve", figure)) as saved:
        grey = np.asarray(saved.convert("L"))
    close(figure)
    strip = round(300 * STRIP)
    gap = grey[-strip - 6 : -strip + 10]  # between the legend and the mark
    assert gap.min() > 200
    assert legend.get_window_extent().y0 >= 0


def report_of(figure, folder):
    """The file of the same figure without a mark."""
    for text in figure.texts:
        text.remove()
    return Report("toy", "full", folder).figure("curve", figure)


# -- tables --------------------------------------------------------------------------------------


def test_table_formats(tmp_path):
    report = Report("toy", "quick", tmp_path)
    path = report.table("numbers", TABLE, "50 % of a_b")
    assert path == tmp_path / "quick" / "toy" / "numbers.csv"
    pandas.testing.assert_frame_equal(pandas.read_csv(path), TABLE)
    markdown = path.with_suffix(".md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown]
    assert cells[0] == list(TABLE)
    assert cells[2] == ["x_1 ~ 2", "0.333", "1"]
    assert cells[3][1] == "1235"
    latex = path.with_suffix(".tex").read_text(encoding="utf-8")
    for line in (
        r"\caption{50 \% of a\_b}",
        r"\label{tab:toy-numbers}",
        r"a\_b \& 50\% & value & n \\",
        r"x\_1 \textasciitilde{} 2 & 0.333 & 1 \\",
        r"\{\#\$\textasciicircum{}\} & 1235 & 2 \\",
        r"5 $\pm$ 1 $\times$ $\gamma$ & nan & 30000 \\",
        r"\toprule",
    ):
        assert line in latex


def test_an_empty_table(tmp_path):
    path = Report("toy", "quick", tmp_path).table("none", TABLE[:0])
    assert path.read_text() == "a_b & 50%,value,n\n"
    assert r"\bottomrule" in path.with_suffix(".tex").read_text()


@pytest.mark.parametrize(
    ("text", "latex"),
    [("a\\b", r"a\textbackslash b"), ("Δ ≥ 2 – 3", r"$\Delta$ $\ge$ 2 -- 3"), (3, 3), ("é", "é")],
)
def test_latex_escapes(text, latex):
    assert report_module._escape(text) == latex


def test_a_table_has_two_faces():
    table = Table(TABLE, "50 <b>")
    assert repr(table) == "<table of 3 rows: a_b & 50%, value, n>"
    shown = table._repr_html_()
    assert "50 &lt;b&gt;" in shown
    assert "0.333" in shown
    assert "x_1 ~ 2" in shown


@pytest.mark.parametrize(
    ("before", "whole", "after"),
    [
        ("", "attempt-7", ""),
        ("0.719 ", "[0.692, 0.746]", ""),
        ("-0.1 ", "[-0.342, 1.1e-05]", " (n = 3)"),
        ("well-known to many", "", ""),
        ("a list, [as of seeds, or of others]", "", ""),
    ],
)
def test_short_names_and_intervals_are_not_broken(before, whole, after):
    shown = Table(pandas.DataFrame({"cell": [before + whole + after]}))._repr_html_()
    whole = f'<span style="white-space: nowrap">{whole}</span>' if whole else ""
    assert f">{before}{whole}{after}</td>" in shown


def test_words_begin_at_the_left_and_numbers_end_at_the_right():
    frame = pandas.DataFrame({"name": ["a", "b"], "value": [0.5, 2.0], "n": [1, ""]})
    shown = Table(frame)._repr_html_()
    for tag, cells in (("th", "name value n"), ("td", "a 0.5 1"), ("td", "b 2 ")):
        name, *numbers = cells.split(" ")
        row = f'<{tag} style="text-align: left">{name}</{tag}>'
        row += "".join(f'<{tag} style="text-align: right">{n}</{tag}>' for n in numbers)
        assert f"<tr>{row}</tr>" in shown


# -- provenance ----------------------------------------------------------------------------------


def test_provenance(figure, tmp_path):
    plan = toy_study.write_plan(tmp_path / "plan.json", seeds=2, a={"epochs": 3}, b="fail")
    study = toy_study.build(data=str(plan))
    data = study.load_data()
    results = [run_trial(study, trial, data, tmp_path) for trial in study.trials]
    report = Report("toy", "quick", tmp_path)
    report.figure("curve", figure)
    report.table("numbers", TABLE)
    report.table("numbers", TABLE[:1])  # written twice: the file that there is counts
    claims = Claims((Claim("It works.", SUPPORTED, "It did."),))
    report.provenance(study, results, data, claims)
    run = json.loads((report.path / "run.json").read_text())
    assert (run["study"], run["profile"], run["options"]) == ("toy", "quick", study.options)
    assert run["data"] == {
        "name": "toys",
        "origin": "a plan",
        "synthetic": True,
        "checksum": "c" * 64,
    }
    assert run["seeds"] == [0, 1]
    assert run["wall_time_seconds"] == round(sum(r["seconds"] for r in results), 1)
    assert run["verdicts"]["supported"] == 1
    backend = keras.backend.backend()
    assert run["environment"]["backend"] == backend
    for key in ("ganlib", "keras", "numpy", "python", "device", backend):
        assert run["environment"][key]
    assert run["git_revision"] == git_revision()
    assert [trial["status"] for trial in run["trials"]] == ["done", "failed"] * 2
    assert run["trials"][0]["recipe"]["epochs"] == 3
    assert run["trials"][0]["id"] == study.trials[0].id
    on_disk = {path.name: path for path in report.path.iterdir() if path.name != "run.json"}
    assert on_disk.keys() == {f"curve.{x}" for x in ("pdf", "png")} | {
        f"numbers.{x}" for x in ("csv", "md", "tex")
    }
    assert run["files"] == {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in on_disk.items()
    }


def test_provenance_lists_what_others_wrote(tmp_path):
    plan = toy_study.write_plan(tmp_path / "plan.json", seeds=1)
    study = toy_study.build(data=str(plan))
    report = Report("toy", "quick", tmp_path)
    path = report.file("training", "gif")
    assert path == tmp_path / "quick" / "toy" / "training.gif"
    path.write_bytes(b"GIF89a")  # the folder is there
    report.provenance(study, [], study.load_data())
    run = json.loads((report.path / "run.json").read_text())
    assert run["files"] == {"training.gif": hashlib.sha256(b"GIF89a").hexdigest()}


def answers(**outputs):
    """A `subprocess.run` for git: what each subcommand prints."""

    def run(command, **_):
        return types.SimpleNamespace(stdout=outputs[command[3].replace("-", "_")])

    return run


@pytest.mark.parametrize(
    ("files", "changes", "revision"),
    [
        ("ganlib/experiment/study.py\n", "", "abc"),
        ("ganlib/experiment/study.py\n", " M ganlib/experiment/study.py\n", "abc+"),
        ("", "", None),  # inside another project's repository
    ],
)
def test_git_revision(monkeypatch, files, changes, revision):
    run = answers(rev_parse="abc\n", ls_files=files, status=changes)
    monkeypatch.setattr(report_module.subprocess, "run", run)
    assert git_revision() == revision


def test_no_git(monkeypatch):
    def run(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(report_module.subprocess, "run", run)
    assert git_revision() is None
