"""Figures, tables and their provenance, and the results that are kept."""

import hashlib
import json
import re
import types
import zlib

import matplotlib as mpl
import numpy as np
import pandas
import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from PIL import Image

from ganlib.experiment.machine import StudyError
from ganlib.report.export import Report, git_revision, kept, write_page
from ganlib.report.figures import STRIP, close, show_spaced, style

mpl.use("Agg")
COLUMNS = {"value": [1 / 3, 1234.5678, float("nan")], "n": [1, 2, 30000]}
TABLE = pandas.DataFrame({"a_b & 50%": ["x_1 ~ 2", "{#$^}", "5 ± 1 × γ"], **COLUMNS})


@pytest.fixture
def figure():
    with style() as plt:
        figure, ax = plt.subplots(figsize=(2, 1.5))
        ax.plot([0, 1], [0, 1], color="C1", lw=10)
        ax.set_title("Some letters")
    yield figure  # outside of the style, as every study saves it
    close(figure)


def test_pictures(figure):
    ax = figure.axes[0]
    show_spaced(ax, np.linspace(0, 0.5, 12).reshape(3, 2, 2, 1), 2)
    assert ax.images[0].get_array().shape == (5, 5)
    assert ax.images[0].get_clim() == (0, 1)  # never stretched to the values there are
    for value in (-0.5, 255.0, np.nan):
        with pytest.raises(ValueError, match=r"use ganlib\.images\.convert\. Received: values in"):
            show_spaced(ax, np.full((2, 2, 2, 1), value), 2)


def test_figure_formats(figure, tmp_path):
    assert Report("toy", "full", tmp_path).figure("curve", figure) is figure
    path = tmp_path / "full" / "toy" / "curve.png"
    with Image.open(path) as picture:
        assert picture.size == (600, 450)  # 2 × 1.5 inches at 300 dots per inch
        assert (0xD5, 0x5E, 0x00) in {c for _, c in picture.convert("RGB").getcolors(10**6)}  # C1
    pdf = path.with_suffix(".pdf").read_bytes()
    streams = re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL)
    unpacked = pdf + b"".join(zlib.decompress(s) for s in streams if s[:1] == b"x")
    assert b"/FontFile2" in unpacked  # embedded TrueType: publishers refuse Type 3
    assert b"/Type3" not in unpacked
    assert b"/CreationDate" not in pdf


def test_figures_say_their_scale_in_a_strip_of_its_own(figure, tmp_path):
    report = Report("toy", "quick", tmp_path, {"epochs": 5})
    path = report.path / "curve.png"
    report.figure("curve", figure)
    assert [text.get_text() for text in figure.texts] == ["quick profile; changed: epochs=5"]
    with Image.open(path) as picture:
        grey = np.asarray(picture.convert("L"))
    assert grey.shape == (450 + round(300 * STRIP), 600)
    assert grey[450:].min() < 200  # something is written there


def test_table_formats(tmp_path):
    report = Report("toy", "quick", tmp_path)
    assert report.table("numbers", TABLE, "50 % of a_b").frame is TABLE
    path = report.path / "numbers.csv"
    pandas.testing.assert_frame_equal(pandas.read_csv(path), TABLE)
    markdown = path.with_suffix(".md").read_text(encoding="utf-8").splitlines()
    assert [cell.strip() for cell in markdown[2].strip("|").split("|")] == ["x_1 ~ 2", "0.333", "1"]
    latex = path.with_suffix(".tex").read_text(encoding="utf-8")
    for line in (
        r"\caption{50 \% of a\_b}",
        r"a\_b \& 50\% & value & n \\",
        r"x\_1 \textasciitilde{} 2 & 0.333 & 1 \\",
        r"\{\#\$\textasciicircum{}\} & 1235 & 2 \\",
        r"5 $\pm$ 1 $\times$ $\gamma$ & nan & 30000 \\",
    ):
        assert line in latex


STUDY = types.SimpleNamespace(name="toy", options={"profile": "quick"})
DATA = types.SimpleNamespace(name="toys", origin="A plan.", synthetic=True, checksum="c" * 64)
RESULT = {"id": "a-seed1-0", "name": "a", "seed": 1, "status": "done", "seconds": 2.5, "recipe": {}}


def write_report(folder, profile="quick", figure=None):
    report = Report("toy", profile, folder)
    report.table("scores", TABLE, "The scores")
    if figure:
        report.figure("curve", figure, "A curve")
    report.provenance(STUDY, [RESULT], DATA)
    return report


def test_provenance(figure, tmp_path):
    report = write_report(tmp_path, figure=figure)
    run = json.loads((report.path / "run.json").read_text())
    assert (run["profile"], run["seeds"], run["data"]) == ("quick", [1], vars(DATA))
    assert (run["trials"], run["git_revision"]) == ([RESULT], git_revision())
    assert run["captions"] == {"scores.csv": "The scores", "curve.png": "A curve"}
    on_disk = {path.name: path for path in report.path.iterdir() if path.name != "run.json"}
    assert run["files"] == {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in on_disk.items()
    }


@pytest.fixture
def shown(monkeypatch):
    """What a notebook would show, as bundles of MIME types."""
    publisher = CapturingDisplayPublisher()
    shell = InteractiveShell.instance()
    monkeypatch.setattr(shell, "display_pub", publisher)
    yield publisher.outputs
    InteractiveShell.clear_instance()


def test_kept_results_are_those_of_the_largest_profile(tmp_path, figure, shown):
    write_report(tmp_path, "cpu", figure)
    kept("none", tmp_path, {}, ())
    assert "ganlib run none --profile cpu" in shown.pop()["data"]["text/html"]
    kept("toy", tmp_path, {"scores": ["n"]}, ["curve"])
    line, table, picture = (output["data"] for output in shown)
    for part in ("below the write-up", "toys (synthetic)", "c" * 64, "seeds: 1", "not recorded"):
        assert part in line["text/html"]
    assert 'style="text-align: right">30000<' in table["text/html"]
    assert table["text/plain"] == "<table: n>"  # numbers differ between machines
    assert "image/jpeg" in picture
    assert not re.search(r"0\.3|30000", "".join(output["text/plain"] for output in (line, picture)))


def test_one_page_of_all_studies(tmp_path, figure):
    with pytest.raises(StudyError, match="There is no report in"):
        write_page({"toy": "A toy"}, tmp_path)
    write_report(tmp_path, "quick")
    write_report(tmp_path, "cpu", figure)
    page = write_page({"toy": "A <toy>", "other": "Not run"}, tmp_path)
    text = page.read_text(encoding="utf-8")
    for part in ("A &lt;toy&gt;", "cpu profile", "data:image/jpeg;base64,", "<b>The scores</b>"):
        assert part in text
    for part in ("quick profile", "http", "Not run"):  # cpu is the largest
        assert part not in text
