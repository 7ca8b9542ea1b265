"""The command line: `ganlib`, or `python -m ganlib`.

Nothing here imports a Keras backend before a command needs it, so `--help` answers at once.
"""

import contextlib
import enum
import os
import pathlib
import shlex
import signal
import sys
from typing import Annotated

import typer

from ganlib.file_commands import files
from ganlib.score_commands import score
from ganlib.terminal import AsJson, load_keras, print_json, print_table

app = typer.Typer(
    help="Reproduce, diagnose and repair the GAN experiments people learn with.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(files)  # without a name: its commands stand beside those below
app.add_typer(score, name="score")

StudyName = Annotated[str, typer.Argument(help="Name of a study; see `ganlib studies`.")]
Profile = Annotated[
    str,
    typer.Option(
        help="quick: minutes; cpu: hours on two cores, real data; full: the write-up's, on a GPU."
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        help="digits, tissue, rooms, photos, nuclei, membranes, tfds:NAME, an .npz or a folder."
    ),
]
Seeds = Annotated[
    int | None, typer.Option(min=1, help="Seeds a variation; default: the profile's.")
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="Change every recipe, e.g. epochs=5; may be repeated."
    ),
]
Out = Annotated[pathlib.Path, typer.Option(help="Folder of all runs.")]
Reports = Annotated[pathlib.Path, typer.Option(help="Folder of all reports.")]
DEFAULT_PROFILE = os.environ.get("GANLIB_PROFILE", "quick")


class Engine(enum.StrEnum):
    """What runs the trials."""

    local = "local"
    ray = "ray"


def _study(name, profile, data, seeds, changes, trials=None):
    load_keras()
    from ganlib import studies
    from ganlib.experiment.changes import parse

    if name not in studies.STUDIES and (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)  # as for `python -m ganlib`: a study of one's own may lie here
    try:
        changes = parse(changes or ())
        study = studies.build(name, profile=profile, data=data, seeds=seeds, changes=changes)
        return study.select(trials) if trials else study
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


@app.command(epilog="Example: ganlib doctor --data digits")
def doctor(data: Data = None, out: Out = pathlib.Path("runs"), as_json: AsJson = False):
    """Checks the environment: backends, devices, folders, data. Every problem comes with a remedy.

    With --data it loads a data set and says what is in it, or what is wrong with it.
    """
    error = load_keras()
    from ganlib import doctor

    facts = doctor.examine(data, out, error)
    if as_json:
        print_json(facts)
    else:
        typer.echo(doctor.describe(facts))
    if facts["problems"]:
        raise typer.Exit(1)


@app.command(epilog="Example: ganlib studies --json")
def studies(as_json: AsJson = False):
    """Lists the studies."""
    from ganlib.studies import STUDIES

    if as_json:
        print_json(STUDIES)
        return
    for name, title in STUDIES.items():
        typer.echo(f"{name:12} {title}")


@app.command(epilog="Example: ganlib run digits --profile full --data mnist.npz --trials base")
def run(
    study: StudyName,
    profile: Profile = DEFAULT_PROFILE,
    data: Data = None,
    trials: Annotated[str | None, typer.Option(help="A variation, or a pattern of ids.")] = None,
    seeds: Seeds = None,
    changes: Changes = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Worker processes; default: one a core, none beside a GPU."),
    ] = None,
    devices: Annotated[
        int, typer.Option(min=1, help="Spread each batch over so many devices (JAX, TensorFlow).")
    ] = 1,
    engine: Annotated[Engine, typer.Option(help="local: this machine; ray: a cluster.")] = (
        Engine.local
    ),
    address: Annotated[
        str | None,
        typer.Option(help="Of a Ray cluster: auto or HOST:PORT; default: one of this machine."),
    ] = None,
    cpus: Annotated[
        int | None, typer.Option(min=1, help="Cores a trial, on Ray; default: 1.")
    ] = None,
    gpus: Annotated[
        float | None, typer.Option(min=0, help="GPUs a trial, on Ray, e.g. 0.5; default: 1 if any.")
    ] = None,
    out: Out = pathlib.Path("runs"),
    reports: Reports = pathlib.Path("reports"),
    fresh: Annotated[bool, typer.Option(help="Begin again; deletes what there is.")] = False,
    as_json: AsJson = False,
):
    """Runs a study's trials that are not finished, and writes its report.

    Stop it with Ctrl-C, or kill it: the same command goes on where it was.
    """
    # A cluster's scheduler sends SIGTERM before it kills.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _resumable():
        chosen = _study(study, profile, data, seeds, changes, trials)
        try:
            if engine is Engine.ray:
                run_study, options = _ray(workers, devices, address, cpus, gpus)
            else:
                run_study, options = _local(workers, devices, address, cpus, gpus)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        options |= {"devices": devices, "fresh": fresh, "show": not as_json}
        from ganlib.experiment.machine import check_writable
        from ganlib.experiment.run import run_stages

        check_writable(reports / profile / study, "--reports")  # not after hours of training
        results = run_stages(chosen, lambda stage: run_study(stage, out, **options))
        failed = [r for r in results if r["status"] not in ("done", "stopped")]
        if as_json:
            print_json(results)
        for result in failed:
            typer.echo(f"{result['id']}: {result['status']}: {result.get('error', '')}", err=True)
        if len(failed) < len(results):
            path = _report(_study(study, profile, data, seeds, changes), out, reports)
            typer.echo(f"Report: {path}", err=as_json)
    if failed:
        raise typer.Exit(1)


@contextlib.contextmanager
def _resumable():
    """Says how to go on, should Ctrl-C or SIGTERM end what is within."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("\nInterrupted. Everything up to the last epoch is kept; resume with:", err=True)
        resume = [word for word in sys.argv[1:] if word != "--fresh"]
        typer.echo(f"  ganlib {shlex.join(resume)}", err=True)
        raise typer.Exit(1) from None


def _local(workers, devices, address, cpus, gpus):
    """The local engine, and the options that it alone has."""
    from ganlib.experiment import local

    for name, value in (("--address", address), ("--cpus", cpus), ("--gpus", gpus)):
        if value is not None:
            raise ValueError(f"{name} is for --engine ray: add that, or leave {name} out.")
    if workers is None:  # asking claims an accelerator, which a worker would then lack
        workers = local.default_workers() if devices == 1 else 0
    if devices > 1 and workers:
        raise ValueError("Several devices share one trial: leave --workers out.")
    return local.run, {"workers": workers}


def _ray(workers, devices, address, cpus, gpus):
    """The Ray engine, and the options that it alone has."""
    from ganlib.experiment import ray as cluster

    if workers is not None:
        raise ValueError(
            "--workers is for --engine local. On Ray as many trials run at once as have their "
            "--cpus and --gpus."
        )
    cpus = 1 if cpus is None else cpus
    cluster.check_resources(cpus, gpus, devices)
    return cluster.run, {"address": address, "cpus": cpus, "gpus": gpus}


@app.command(epilog="Example: ganlib status digits --profile full")
def status(
    study: StudyName,
    profile: Profile = DEFAULT_PROFILE,
    data: Data = None,
    seeds: Seeds = None,
    changes: Changes = None,
    out: Out = pathlib.Path("runs"),
    as_json: AsJson = False,
):
    """Shows what is done, running and still to do, the time left, and how busy the machine is.

    Changed recipes are trials of their own: give the same --set as to `run`.
    """
    from ganlib.experiment.status import describe, study_status, summary

    chosen = _study(study, profile, data, seeds, changes)
    rows = study_status(chosen, out)
    if as_json:
        print_json(rows)
        return
    import pandas

    print_table(pandas.DataFrame(rows))
    typer.echo(describe(summary(chosen, rows, out)))


@app.command(epilog="Example: ganlib estimate srgan --profile full --data photographs/")
def estimate(
    study: StudyName,
    profile: Profile = DEFAULT_PROFILE,
    data: Data = None,
    seeds: Seeds = None,
    changes: Changes = None,
    out: Out = pathlib.Path("runs"),
    as_json: AsJson = False,
):
    """Measures some training steps, and says how long the rest of a study takes on this machine.

    And how much memory. What is finished already takes no time.
    """
    chosen = _study(study, profile, data, seeds, changes)
    from ganlib import estimate

    parts = estimate.estimate(chosen, out)
    if as_json:
        print_json([{**vars(part), "seconds": part.seconds} for part in parts])
        return
    if parts:
        print_table(estimate.table(parts))
    typer.echo(f"{study}: {estimate.describe(parts)}")


@app.command(epilog="Example: ganlib report digits --profile quick; ganlib report --all")
def report(
    study: Annotated[str | None, typer.Argument(help="Name of a study.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="One page of all studies, from the reports there are.")
    ] = False,
    profile: Profile = DEFAULT_PROFILE,
    data: Data = None,
    seeds: Seeds = None,
    changes: Changes = None,
    out: Out = pathlib.Path("runs"),
    reports: Reports = pathlib.Path("reports"),
):
    """Writes figures and tables from the trials that have finished.

    With --all it puts the five studies together on one page that needs no network, of each the
    largest profile that has a report.

    Changed recipes are trials of their own: give the same --set as to `run`.
    """
    from ganlib.experiment.machine import check_writable

    if every == (study is not None):
        raise typer.BadParameter("Give the name of one study, or --all.")
    if every:
        from ganlib.write_up import write_up

        check_writable(reports, "--reports")
        typer.echo(f"Write-up: {write_up(reports)}")
        return
    chosen = _study(study, profile, data, seeds, changes)
    check_writable(reports / profile / study, "--reports")
    typer.echo(f"Report: {_report(chosen, out, reports)}")


def _report(study, out, reports):
    from ganlib.reporting import make_report

    return make_report(study, out, reports)


@app.command(epilog="Example: ganlib sample runs/digits/base-…/model.keras -n 64 --out grid.png")
def sample(
    model: Annotated[pathlib.Path, typer.Argument(help="A .keras file of an Adversarial model.")],
    n: Annotated[int, typer.Option("-n", min=1, help="Number of pictures.")] = 64,
    out: Annotated[pathlib.Path, typer.Option(help="PNG file to write.")] = pathlib.Path(
        "grid.png"
    ),
    seed: Annotated[int, typer.Option(help="Of the latents.")] = 0,
):
    """Draws pictures from a trained generator."""
    load_keras()
    from ganlib.apply import load_gan, sample_images, save_grid

    images = sample_images(load_gan(model), n, seed)
    save_grid(images, out)
    typer.echo(f"{out}: {n} pictures of {images.shape[1]}×{images.shape[2]}")


def main():
    """Runs the command line: 0 success, 1 the work failed, 2 it was asked for wrongly."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from ganlib.data import DataError
    from ganlib.experiment.machine import StudyError, of_a_file

    try:
        app(prog_name="ganlib")
    except (DataError, StudyError) as error:  # one clear message; only a bug shows its traceback
        typer.echo(str(error), err=True)
        sys.exit(2)
    except OSError as error:
        if (message := of_a_file(error)) is None:
            raise
        typer.echo(message, err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
