"""Runs notebooks and refreshes their committed outputs: `python -m ganlib.notebooks run|refresh`.

`run` executes every notebook in the quick profile, leaves the committed files alone, and writes an
HTML page of each beside its figures. `refresh` writes the outputs back into the notebooks, without
what differs between machines.
"""

import json
import os
import pathlib
import tempfile
import time

import typer

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, rich_markup_mode=None)

FOLDER = pathlib.Path(__file__).parent.parent / "notebooks"
TIMEOUT_SECONDS = 1800  # a cell
LAST_WORDS = 2000  # characters of what a kernel that died has said
VOLATILE = ("execution", "widgets")  # metadata that changes with every run


class NotebookError(RuntimeError):
    """A notebook did not run to its end."""


@app.command(epilog="Example: python -m ganlib.notebooks run 01_digits")
def run(names: list[str] = typer.Argument(None, help="Notebooks; all by default.")):  # noqa: B008
    """Runs notebooks in the quick profile into reports/quick/."""
    rows, failures = [], []
    paths = _paths(names)
    for i, path in enumerate(paths):
        typer.echo(f"[{i + 1}/{len(paths)}] {path.stem} …", nl=False)
        start = time.monotonic()
        try:
            notebook = execute(path)
        except NotebookError as error:
            typer.echo(" failed")
            failures.append(f"{path.name}: {error}")
            continue
        seconds = time.monotonic() - start
        clean(notebook)
        report = FOLDER.parent / "reports" / "quick" / _study(notebook, path)
        _write_html(notebook, report / "notebook.html")
        typer.echo(f" {seconds:.0f} s → {report.relative_to(FOLDER.parent)}")
        rows.append({"notebook": path.stem, "seconds": round(seconds), **_outcome(report)})
    if rows:
        import pandas

        typer.echo("\n" + pandas.DataFrame(rows).to_markdown(index=False))
    for failure in failures:
        typer.echo(f"\n{failure}", err=True)
    if failures:
        raise typer.Exit(1)


@app.command(epilog="Example: python -m ganlib.notebooks refresh 01_digits")
def refresh(names: list[str] = typer.Argument(None, help="Notebooks; all by default.")):  # noqa: B008
    """Executes notebooks and keeps their outputs, cleaned for committing."""
    import nbformat

    for path in _paths(names):
        typer.echo(f"{path.stem} …", nl=False)
        notebook = execute(path)
        clean(notebook)
        nbformat.write(notebook, path)
        typer.echo(" refreshed")


def _paths(names):
    found = {path.stem: path for path in sorted(FOLDER.glob("*.ipynb"))}
    if unknown := set(names or ()) - found.keys():
        raise typer.BadParameter(f"No such notebook: {', '.join(sorted(unknown))}; "
                                 f"there are {', '.join(found)}")  # fmt: skip
    return [found[name] for name in names] if names else list(found.values())


def _study(notebook, path):
    """The study that a notebook is about: as its metadata says, or else as it is called."""
    return notebook.metadata.get("ganlib", {}).get("study", path.stem.split("_", 1)[1])


def execute(path):
    """Runs a notebook in the quick profile and returns it with its outputs.

    Raises:
        NotebookError: a cell failed, took too long, or ended the kernel; names the cell and the
            error, or what the kernel had to say at last.
    """
    import nbclient
    import nbformat
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook = nbformat.read(path, as_version=4)
    environment = {"GANLIB_PROFILE": "quick", "TF_CPP_MIN_LOG_LEVEL": "3"}
    os.environ.update(environment)
    client = nbclient.NotebookClient(
        notebook, timeout=TIMEOUT_SECONDS, resources={"metadata": {"path": str(path.parent)}}
    )
    # What the kernel's process says itself, in no cell, is of use only when it dies.
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        try:
            client.execute(stderr=log)
        except (CellExecutionError, CellTimeoutError) as error:
            raise NotebookError(str(error)) from error
        except DeadKernelError as error:
            log.seek(0)
            raise NotebookError(f"{error}\n{log.read()[-LAST_WORDS:]}") from error
    return notebook


def clean(notebook):
    """Removes from a notebook what differs from run to run; keeps counts, ids and tags."""
    for cell in notebook.cells:
        for key in VOLATILE:
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
    notebook.metadata.pop("widgets", None)
    notebook.metadata.get("language_info", {}).pop("version", None)


def _write_html(notebook, path):
    from nbconvert import HTMLExporter

    body, _ = HTMLExporter(embed_images=True).from_notebook_node(notebook)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body, encoding="utf-8")


def _outcome(report):
    figures = len(list(report.glob("*.pdf")))
    try:
        verdicts = json.loads((report / "run.json").read_text(encoding="utf-8"))["verdicts"]
    except FileNotFoundError:
        verdicts = {}
    text = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
    return {"figures": figures, "verdicts": text}


if __name__ == "__main__":
    app()
