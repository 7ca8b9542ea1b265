"""Kept results: chosen, shown with what made them, and plain about what is missing."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from ganlib import kept
from ganlib.kept import kept_report

RECORD = {
    "scale": "cpu profile",
    "data": {"name": "mnist", "checksum": "abc123"},
    "environment": {"device": "CPU, 2 cores"},
    "seeds": [0, 1],
    "git_revision": None,
    "verdicts": {"supported": 2, "cannot tell": 1},
}


def save(path, pixels):
    Image.fromarray(pixels).save(path)


def write(reports, profile="cpu", study="digits", record=RECORD):
    """A report of one table and one figure; `record` is run.json's content, or its text."""
    folder = reports / profile / study
    folder.mkdir(parents=True)
    table = "name,score,n,left out\na,0.123456,5,\nb,,7,<i>\n"
    (folder / "scores.csv").write_text(table, encoding="utf-8")
    save(folder / "samples.png", np.zeros((10, 10, 3), "uint8"))
    if record is not None:
        text = record if isinstance(record, str) else json.dumps(record)
        (folder / "run.json").write_text(text, encoding="utf-8")
    return folder


def show(reports, study="digits", tables=("scores",), figures=("samples",)):
    return kept_report(study, reports, dict.fromkeys(tables), figures)


def test_shows_tables_figures_and_what_made_them(tmp_path):
    write(tmp_path)
    found = show(tmp_path)
    assert repr(found) == "<kept results of digits: scores, samples>"
    assert found.provenance() == (
        "scale: cpu profile · data: mnist · checksum: abc123 · seeds: 0, 1 · "
        "device: CPU, 2 cores · revision: not recorded · claims: 2 supported, 1 cannot tell"
    )
    page = found._repr_html_()
    assert found.provenance() in page
    assert "0.123" in page
    assert "0.123456" not in page
    assert "NaN" not in page
    assert str(tmp_path) not in page + repr(found)


def test_shows_the_columns_that_are_asked_for_in_their_order(tmp_path):
    write(tmp_path)
    (table,) = kept_report("digits", tmp_path, {"scores": ["n", "name", "unheard of"]}).tables
    assert list(table.frame) == ["n", "name"]


def test_the_full_profile_goes_before_the_cpu_profile_and_whole_ones_before_both(tmp_path):
    write(tmp_path, "cpu")
    write(tmp_path, "quick", record={"scale": "quick profile"})
    full = write(tmp_path, "full", record={"seeds": [0]})
    assert show(tmp_path).provenance().startswith("scale: full profile")
    (full / "run.json").unlink()  # a report that was never finished
    assert show(tmp_path).provenance().startswith("scale: cpu profile")


def test_says_that_nothing_is_kept(tmp_path):
    found = show(tmp_path)
    assert repr(found) == "<kept results of digits: none>"
    assert "ganlib run digits --profile cpu" in found._repr_html_()
    assert not found.figures


def test_says_what_is_missing_and_shows_the_rest(tmp_path):
    folder = write(tmp_path)
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "empty.csv").touch()
    (folder / "binary.csv").write_bytes(b"\xff\xfe\x00")
    found = show(tmp_path, tables=("scores", "empty", "binary"), figures=("gone", "broken"))
    assert repr(found) == "<kept results of digits: scores>"
    assert found.missing == ["empty.csv", "binary.csv", "gone.png", "broken.png"]
    assert "missing: broken.png" in found._repr_html_()


@pytest.mark.parametrize(
    "record",
    ["", "{", "[]", "3", '{"data": 3}', '{"seeds": 3}', '{"environment": []}', "\0", "[" * 100_000],
    ids=range(9),
)
def test_a_run_json_that_is_none_makes_a_clear_text(tmp_path, record):
    write(tmp_path, record=record)
    assert "run.json can't be read" in show(tmp_path).provenance()
    assert "0.123" in show(tmp_path)._repr_html_()


def test_no_run_json_makes_a_clear_text(tmp_path):
    write(tmp_path, record=None)
    assert "there is no run.json" in show(tmp_path)._repr_html_()
    assert "0.123" in show(tmp_path)._repr_html_()


def test_what_run_json_names_is_text_and_never_a_file_or_markup(tmp_path):
    (tmp_path / "secret.csv").write_text("secret\n42\n", encoding="utf-8")
    hostile = {
        "study": "../../secret",
        "scale": "../../secret.csv",
        "data": {"name": "<script>alert(1)</script>", "checksum": "../../secret.csv"},
        "files": {"../../secret.csv": "0"},
    }
    write(tmp_path, record=hostile)
    page = show(tmp_path)._repr_html_()
    assert "<script>" not in page
    assert "<i>" not in page  # of the table
    assert "42" not in page
    assert repr(show(tmp_path)) == "<kept results of digits: scores, samples>"


@pytest.mark.parametrize("name", ["", "..", ".", "../scores", "/etc/passwd", "a\\b", "C:scores"])
def test_names_lead_into_no_other_folder(tmp_path, name):
    for arguments in ({"study": name}, {"tables": [name]}, {"figures": [name]}):
        with pytest.raises(ValueError, match="Received"):
            show(tmp_path, **arguments)


def test_a_small_figure_is_shown_as_it_is(tmp_path):
    folder = write(tmp_path)
    (figure,) = show(tmp_path).figures
    data, metadata = figure._repr_mimebundle_()
    assert repr(figure) == data["text/plain"] == "<kept figure samples>"
    assert base64.b64decode(data["image/png"]) == (folder / "samples.png").read_bytes()
    assert metadata == {"image/png": {"width": 4}}


def test_a_large_figure_is_made_smaller_by_what_it_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "LARGEST", 1000)
    monkeypatch.setattr(kept, "WIDTH", 100)
    folder = write(tmp_path)
    rng = np.random.default_rng(0)
    drawing = rng.choice([0, 255], (200, 300, 1)).repeat(3, axis=2).astype("uint8")
    picture = rng.integers(0, 255, (200, 300, 3)).astype("uint8")
    for name, pixels, kind, width in (
        ("drawing", drawing, "png", 150),
        ("photo", picture, "jpeg", 100),
    ):
        save(folder / f"{name}.png", pixels)
        (figure,) = show(tmp_path, figures=[name]).figures
        data, metadata = figure._repr_mimebundle_()
        shown = Image.open(io.BytesIO(base64.b64decode(data[f"image/{kind}"])))
        assert shown.format == kind.upper()
        assert shown.width == width
        assert metadata == {f"image/{kind}": {"width": 100}}
