"""Executes the notebooks in the quick profile: `refresh.py [--html] [NAME …]`.

Their outputs are kept in them, without what differs from run to run; with --html the files stay as
they are, and a page of each goes beside its figures, reports/quick/STUDY/notebook.html.
"""

import os
import pathlib
import subprocess
import sys

import nbclient
import nbformat

FOLDER = pathlib.Path(__file__).resolve().parent


def refresh(path, as_html):
    """Executes one notebook; a cell that fails raises an error that names it."""
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(FOLDER)}}
    client = nbclient.NotebookClient(notebook, timeout=1800, resources=place)
    client.execute(stderr=subprocess.DEVNULL)  # what a kernel says itself, in no cell
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
    notebook.metadata.pop("widgets", None)
    notebook.metadata.language_info.pop("version", None)
    if not as_html:
        return nbformat.write(notebook, path)
    from nbconvert import HTMLExporter

    page = FOLDER.parent / "reports" / "quick" / notebook.metadata.ganlib.study / "notebook.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    body, _ = HTMLExporter(embed_images=True).from_notebook_node(notebook)
    return page.write_text(body, encoding="utf-8")


if __name__ == "__main__":
    os.environ |= {"GANLIB_PROFILE": "quick", "TF_CPP_MIN_LOG_LEVEL": "3"}
    wanted = [word for word in sys.argv[1:] if word != "--html"]
    for found in sorted(FOLDER.glob("*.ipynb")):
        if not wanted or found.stem in wanted:
            print(found.stem, flush=True)
            refresh(found, "--html" in sys.argv)
