"""What strict nbval can't see: cells that were never run, and outputs that shouldn't be kept."""

import json
import pathlib

import nbformat
import pytest
from nbformat import read
from nbformat.v4 import new_code_cell, new_notebook

from ganlib.notebooks import FOLDER, VOLATILE, NotebookError, clean, execute

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
IGNORED = 3  # cells a notebook may leave out of the comparison


def cells(path):
    return [cell for cell in read(path, as_version=4).cells if cell.cell_type == "code"]


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_was_executed_in_order(path):
    # nbval silently skips the comparison of a cell without an execution count.
    counts = [cell.execution_count for cell in cells(path)]
    assert counts == list(range(1, len(counts) + 1))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_output_holds_a_warning_an_error_or_a_path(path):
    for cell in cells(path):
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            assert output.get("name") != "stderr", cell.source
            data = output.get("data", {"text/plain": output.get("text", "")})
            text = "".join(value for kind, value in data.items() if kind.startswith("text/"))
            for word in (
                "Warning",
                "WARNING",
                "Traceback",
                " at 0x",
                str(pathlib.Path.home()),
                "/tmp/",
            ):
                assert word not in text, cell.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_few_cells_are_left_out_of_the_comparison(path):
    marks = ("nbval-skip", "nbval-ignore-output", "NBVAL_SKIP", "NBVAL_IGNORE_OUTPUT")
    left_out = [cell for cell in cells(path) if any(mark in json.dumps(cell) for mark in marks)]
    assert len(left_out) <= IGNORED


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_clean_for_committing(path):
    notebook = read(path, as_version=4)
    before = json.dumps(notebook, sort_keys=True)
    clean(notebook)
    assert json.dumps(notebook, sort_keys=True) == before
    assert not any(key in cell.metadata for cell in notebook.cells for key in VOLATILE)


DYING = "import os\nos.write(2, b'out of luck')\nos._exit(3)"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("print('fine')", None),
        ("import sys\nraise SystemError('no such thing')", "SystemError.*: no such thing"),
        (DYING, "Kernel died(.|\n)*out of luck"),
    ],
)
def test_execute_says_what_went_wrong(tmp_path, capfd, monkeypatch, source, message):
    monkeypatch.setenv("GANLIB_PROFILE", "quick")  # as `execute` sets it, but not for other tests
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    path = tmp_path / "one.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(source)]), path)
    if message:
        with pytest.raises(NotebookError, match=message):
            execute(path)
    else:
        (cell,) = execute(path).cells
        assert cell.outputs[0].text == "fine\n"
    assert capfd.readouterr().err == ""  # the log of a kernel's own is kept from the terminal
