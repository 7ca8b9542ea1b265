"""The command line: `ganlib`, or `python -m ganlib`. `--help` imports no Keras backend."""

import contextlib
import enum
import functools
import importlib
import inspect
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
from typing import Annotated

import typer

import ganlib

PLAIN = {"add_completion": False, "pretty_exceptions_enable": False, "rich_markup_mode": None}
app = typer.Typer(no_args_is_help=True, **PLAIN)
PROFILE = os.environ.get("GANLIB_PROFILE", "quick")
NAMES = ("runs", "reports", "grid.png", "upscaled", "segmented")
RUNS, REPORTS, GRID, LARGE, MASKS = map(pathlib.Path, NAMES)

STUDY = typer.Argument(help="digits, bedrooms, boundary, srgan, unet, or a module of your own.")
StudyName = Annotated[str, STUDY]
Profile = Annotated[str, typer.Option(help="quick: minutes; cpu: hours; full: the write-up's.")]
Text, Number = str | None, int | None
Data = Annotated[Text, typer.Option(help="An embedded set's name, tfds:NAME, .npz or folder.")]
Seeds = Annotated[Number, typer.Option(min=1, help="Of each variation.")]
SET = {"metavar": "NAME=VALUE", "help": "Change every recipe: give it to status and report, too."}
Changes = Annotated[list[str] | None, typer.Option("--set", **SET)]
Out = Annotated[pathlib.Path, typer.Option(help="Folder of the results, or of all runs.")]
Reports = Annotated[pathlib.Path, typer.Option(help="Folder of all reports.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a machine.")]
Model = Annotated[pathlib.Path, typer.Argument(help="A .keras file.")]
Images = Annotated[list[pathlib.Path], typer.Argument(help="Image files, or folders of them.")]
Tile = Annotated[int, typer.Option(min=16, help="Side in pixels; smaller needs less memory.")]
Engine = enum.StrEnum("Engine", ["local", "ray"])
Kind = enum.StrEnum("Kind", ["gan", "boundary", "sr", "segmentation"])


def load_keras():
    """Imports Keras without TensorFlow's greeting; returns None, or the exception."""
    greeting = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            import keras  # noqa: F401
        except Exception as error:  # a broken backend raises whatever it likes
            return error
        finally:
            os.dup2(greeting, 2)
            os.close(greeting)


@contextlib.contextmanager
def _asked_for_wrongly():
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _show(value, as_json, in_words=str):
    from ganlib.experiment.run import plain

    typer.echo(json.dumps(plain(value), indent=2) if as_json else in_words(value))


def _version(asked: bool):
    if asked:
        typer.echo(f"ganlib {ganlib.__version__}")
        raise typer.Exit


@app.callback(help="Reproduce, diagnose and repair the GAN experiments people learn with.")
def _common(version: Annotated[bool, typer.Option(callback=_version, is_eager=True)] = False):
    pass


def _study(name, profile, data, seeds, changes):
    load_keras()
    from ganlib import studies
    from ganlib.experiment.changes import parse

    if name not in studies.STUDIES and (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)  # as for `python -m ganlib`: a study of one's own may lie here
    with _asked_for_wrongly():
        return studies.get(name).at(profile, data, seeds, parse(changes or ()))


@app.command(epilog="Example: ganlib run digits --profile full --data mnist.npz --trials base")
def run(
    study: StudyName,
    profile: Profile = PROFILE,
    data: Data = None,
    trials: Annotated[Text, typer.Option(help="A variation, or a pattern of ids.")] = None,
    seeds: Seeds = None,
    changes: Changes = None,
    workers: Annotated[Number, typer.Option(min=1, help="Processes; default: one a core.")] = None,
    devices: Annotated[int, typer.Option(min=1, help="Devices that share each batch, on JAX.")] = 1,
    engine: Annotated[Engine, typer.Option(help="This machine, or a cluster.")] = Engine.local,
    address: Annotated[Text, typer.Option(help="Of a Ray cluster: auto or HOST:PORT.")] = None,
    cpus: Annotated[Number, typer.Option(min=1, help="Cores a trial, on Ray.")] = None,
    gpus: Annotated[float | None, typer.Option(min=0, help="A trial, on Ray, e.g. 0.5.")] = None,
    out: Out = RUNS,
    reports: Reports = REPORTS,
    fresh: Annotated[bool, typer.Option(help="Begin again; deletes what there is.")] = False,
    as_json: AsJson = False,
):
    """Runs a study's unfinished trials; if killed, give it again.

    `ganlib report` then shows what came out.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clusters send it before they kill
    try:
        whole = _study(study, profile, data, seeds, changes)
        with _asked_for_wrongly():
            chosen = whole.select(trials) if trials else whole
        from ganlib.experiment.machine import check_writable
        from ganlib.experiment.run import run_stages
        from ganlib.studies import chapter

        check_writable(reports / profile / study, "--reports")  # not after hours of training
        with _asked_for_wrongly():
            go = _engine(engine, devices, workers=workers, address=address, cpus=cpus, gpus=gpus)
            results = run_stages(chosen, lambda s: go(s, out, fresh=fresh, show=not as_json))
        failed = [r for r in results if r["status"] not in ("done", "stopped")]
        if as_json:
            _show(results, as_json)
        for r in failed:
            typer.echo(f"{r['id']}: {r['status']}: {r.get('error', '')}", err=True)
        if len(failed) < len(results) and (path := chapter(whole.name)):
            typer.echo(f"Shown by {path}; `ganlib report` executes it.", err=as_json)
        elif len(failed) < len(results):
            typer.echo(f"Report: {_write_report(whole, out, reports)}", err=as_json)
    except KeyboardInterrupt:
        resume = shlex.join(["ganlib", *(word for word in sys.argv[1:] if word != "--fresh")])
        kept = "Interrupted. Everything up to the last epoch is kept; resume with:"
        typer.echo(f"\n{kept}\n  {resume}", err=True)
        raise typer.Exit(1) from None
    if failed:
        raise typer.Exit(1)


def _engine(engine, devices, **options):
    """An engine's `run`, and those of the options that were given."""
    run_study = importlib.import_module(f"ganlib.experiment.{engine}").run
    given = {name: value for name, value in options.items() if value is not None}
    if foreign := given.keys() - inspect.signature(run_study).parameters.keys():
        raise ValueError(f"--{min(foreign)} is not for --engine {engine}: leave it out.")
    if engine is Engine.local and "workers" not in given:
        from ganlib.experiment.local import default_workers

        # Asking claims an accelerator, which a worker would then lack.
        given["workers"] = default_workers() if devices == 1 else 0
    return functools.partial(run_study, devices=devices, **given)


@app.command(epilog="Example: ganlib status digits --profile full")
def status(
    study: StudyName,
    profile: Profile = PROFILE,
    data: Data = None,
    seeds: Seeds = None,
    changes: Changes = None,
    out: Out = RUNS,
    as_json: AsJson = False,
):
    """Shows what is done, running and still to do, the time left, and how busy the machine is."""
    import pandas

    from ganlib.experiment.status import describe, study_status

    chosen = _study(study, profile, data, seeds, changes)
    rows = study_status(chosen, out)
    if not as_json:
        typer.echo(pandas.DataFrame(rows).to_string(index=False))
    _show(rows, as_json, lambda rows: describe(chosen, rows, out))


@app.command(epilog="Example: ganlib report digits --profile quick; ganlib report --all")
def report(
    study: Annotated[Text, STUDY] = None,
    every: Annotated[bool, typer.Option("--all", help="One page of all studies.")] = False,
    profile: Profile = PROFILE,
    data: Data = None,
    seeds: Seeds = None,
    changes: Changes = None,
    out: Out = RUNS,
    reports: Reports = REPORTS,
):
    """Writes figures, tables and claims of the finished trials; --all: a page of all reports.

    Where a study's chapter makes them, it is executed: its own examples train for about a minute.
    """
    if every == (study is not None):
        raise typer.BadParameter("Give the name of one study, or --all.")
    from ganlib.experiment.machine import check_writable

    check_writable(reports, "--reports")
    if every:
        from ganlib.report.export import write_page
        from ganlib.studies import STUDIES

        typer.echo(f"Page: {write_page(STUDIES, reports)}")
    else:
        chosen = _study(study, profile, data, seeds, changes)
        typer.echo(f"Report: {_write_report(chosen, out, reports)}")


def _write_report(study, out, reports):
    from ganlib.experiment.machine import StudyError
    from ganlib.experiment.run import DONE, STOPPED, results
    from ganlib.studies import chapter, report_module

    finished = [r for r in results(study, out) if r["status"] in (DONE, STOPPED)]
    if not finished:
        raise StudyError(f"No trial in {out / study.name} has finished: ganlib run {study.name}")
    if path := chapter(study.name):
        return _execute(path, study, out, reports)
    return report_module(study.name).write_report(study, finished, study.data, out, reports).path


def _execute(chapter, study, out, reports):
    """Executes a study's notebook over its finished trials, and keeps the page that it makes."""
    from ganlib.experiment.machine import StudyError

    options, folder = study.options, reports / study.profile / study.name
    data = options["data"]
    data = data if data is None or not os.path.exists(data) else os.path.abspath(data)
    chosen = {"data": data, "seeds": options["seeds"], "changes": options["changes"]}
    paths = {"GANLIB_RUNS": str(out.resolve()), "GANLIB_REPORTS": str(reports.resolve())}
    asked = {"GANLIB_PROFILE": options["profile"], "GANLIB_OPTIONS": json.dumps(chosen)}
    here = [str(pathlib.Path(ganlib.__file__).parents[1]), os.environ.get("PYTHONPATH")]
    asked |= {"GANLIB_TRAIN": "no", "PYTHONPATH": os.pathsep.join(filter(None, here))}
    command = [sys.executable, "-m", "nbconvert", "--execute", "--to", "html", "--embed-images"]
    command += ["--ExecutePreprocessor.timeout=3600", "--output-dir", folder]
    command += ["--output", "notebook", chapter]
    done = subprocess.run(command, env={**os.environ, **paths, **asked}, stderr=subprocess.PIPE)
    if done.returncode:
        raise StudyError(f"{chapter} failed:\n{done.stderr.decode()[-2000:]}")
    return folder


@app.command(epilog="Example: ganlib sample runs/digits/base-…/model.keras -n 64 --out grid.png")
def sample(
    model: Model,
    n: Annotated[int, typer.Option("-n", min=1, help="Number of pictures.")] = 64,
    out: Annotated[pathlib.Path, typer.Option(help="PNG file to write.")] = GRID,
    seed: Annotated[int, typer.Option(help="Of the latents.")] = 0,
):
    """Draws pictures from a trained GAN, or from a generator."""
    load_keras()
    from ganlib.apply import load_model, sample_images, save_grid

    images = sample_images(load_model(model, compile=False), n, seed)
    with _asked_for_wrongly():  # Pillow knows no such file
        save_grid(images, out)
    typer.echo(f"{out}: {n} pictures of {images.shape[1]}×{images.shape[2]}")


@app.command(epilog="Example: ganlib score gan model.keras digits --json")
def score(
    kind: Annotated[Kind, typer.Argument(help="What the model is.")],
    model: Model,
    data: Annotated[str, typer.Argument(help="Real images: as --data of `ganlib run`.")],
    n: Annotated[Number, typer.Option("-n", min=1, help="Pictures to make.")] = None,
    network: Annotated[Text, typer.Option(help="gan: efficientnet_lite0, inception_v3.")] = None,
    as_json: AsJson = False,
):
    """Scores a model on the test part of real data, beside a ceiling and a floor.

    gan: KID, Fréchet distance, precision, recall, density and coverage. boundary: s1, s2 and s3.
    sr: PSNR and SSIM of pictures made small and enlarged again. segmentation: Jaccard and Dice.
    """
    load_keras()
    from ganlib.studies import score as scoring

    with _asked_for_wrongly():
        scores = scoring.score(kind, model, data, n=n, network=network, progress=not as_json)
    _show(scores, as_json, scoring.describe)


@app.command(epilog="Example: ganlib upscale model.keras photo.jpg scan.png --out large/")
def upscale(
    model: Model, images: Images, out: Out = LARGE, tile: Tile = 256, as_json: AsJson = False
):
    """Enlarges image files of any size, into PNGs; exit code 1 if one fails, which stops none."""
    load_keras()
    from ganlib.apply import load_upscaler
    from ganlib.apply.files import upscale_files

    _print_results(upscale_files(load_upscaler(model), images, out, tile, not as_json), as_json)


@app.command(epilog="Example: ganlib segment model.keras slide.png scan.tif --out masks/")
def segment(
    model: Model,
    images: Images,
    out: Out = MASKS,
    tile: Tile = 256,
    probabilities: Annotated[bool, typer.Option(help="Write these, as grey levels.")] = False,
    as_json: AsJson = False,
):
    """Writes PNG masks of image files: 255 is foreground; exit code 1 if one fails, as upscale."""
    load_keras()
    from ganlib.apply import load_segmenter
    from ganlib.apply.files import segment_files

    found = segment_files(load_segmenter(model), images, out, tile, probabilities, not as_json)
    _print_results(found, as_json)


def _print_results(results, as_json):
    if as_json:
        _show(results, as_json)
    for result in results:
        if result["output"] is None:
            typer.echo(f"{result['input']}: {result['error']}", err=True)
        elif not as_json:
            share = f", {result['foreground']:.1%} foreground" if "foreground" in result else ""
            typer.echo(f"{result['output']}{share}")
    if any(result["output"] is None for result in results):
        raise typer.Exit(1)


@app.command(epilog="Example: ganlib doctor --data digits")
def doctor(data: Data = None, as_json: AsJson = False):
    """Shows versions, backend, device, what is wrong, and what studies can do with --data."""
    from ganlib import doctor

    facts = doctor.examine(data, load_keras())
    _show(facts, as_json, doctor.describe)
    if facts["problems"]:
        raise typer.Exit(1)


def main():
    """Runs the command line: 0 success, 1 the work failed, 2 it was asked for wrongly."""
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, "MPLBACKEND": "Agg"}
    from ganlib.data import DataError
    from ganlib.experiment.machine import StudyError, of_a_file

    try:
        app(prog_name="ganlib")
    except (DataError, StudyError, OSError) as error:  # only a bug shows its traceback
        message = of_a_file(error) if isinstance(error, OSError) else str(error)
        if message is None:
            raise
        typer.echo(message, err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
