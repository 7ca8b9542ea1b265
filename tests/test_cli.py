"""The command line: what it prints, where it writes, and how it says no."""

import functools
import json
import re
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
from helpers import run_python

from ganlib import __main__ as command_line
from ganlib import scoring
from ganlib.data import ImageSet, embedded
from ganlib.experiment import local
from ganlib.experiment import ray as cluster

BACKEND = keras.backend.backend()
HEAVY = {
    "keras",
    "tensorflow",
    "jax",
    "torch",
    "matplotlib",
    "pandas",
    "tensorflow_datasets",
    "ray",
}
COMMANDS = (
    "doctor",
    "studies",
    "estimate",
    "run",
    "status",
    "report",
    "sample",
    "upscale",
    "segment",
    "score",
    "score gan",
    "score boundary",
    "score sr",
    "score segmentation",
)


@pytest.fixture
def ganlib(monkeypatch, capsys):
    """`ganlib(*arguments)` returns `(exit code, standard output, standard error)`."""

    def ganlib(*arguments):
        monkeypatch.setattr(sys, "argv", ["ganlib", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            command_line.main()
        return end.value.code or 0, *capsys.readouterr()

    before = signal.getsignal(signal.SIGTERM)
    yield ganlib
    signal.signal(signal.SIGTERM, before)  # `run` takes it as Ctrl-C


def squeezed(text):
    """Without the line breaks and the frame that the terminal's width asks for."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", text).split())


# -- help and lists ------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(ganlib, command):
    code, output, _ = ganlib(*command.split(), "--help")
    assert code == 0
    assert f"Usage: ganlib {command}" in squeezed(output)
    if command != "score":  # which only holds others
        assert f"Example: ganlib {command}" in squeezed(output)


def test_help_lists_every_command(ganlib):
    _, output, _ = ganlib("--help")
    listed = output.partition("Commands:")[2]
    assert {line.split()[0] for line in listed.splitlines() if line.strip()} == {
        command for command in COMMANDS if " " not in command
    }


@pytest.mark.parametrize(
    "statement",
    [
        "import ganlib, ganlib.data, ganlib.experiment.study, ganlib.experiment.local",
        "import ganlib.experiment.worker, ganlib.experiment.status, ganlib.experiment.changes",
        "import ganlib.experiment.ray",
        "main('--help')",
        "main('run', '--help')",
        "main('score', 'boundary', '--help')",
        "main('studies', '--json')",
    ],
)
def test_nothing_heavy_before_it_is_needed(statement):
    script = f"""
import sys

def main(*arguments):
    from ganlib import __main__
    sys.argv = ["ganlib", *arguments]
    try:
        __main__.main()
    except SystemExit as end:
        assert not end.code

{statement}
assert "ganlib" in sys.modules
print("loaded:", *sorted({HEAVY!r} & set(sys.modules)))
"""
    assert run_python("-c", script, backend=BACKEND).splitlines()[-1] == "loaded:"


def test_studies(ganlib):
    code, output, _ = ganlib("studies", "--json")
    assert code == 0
    studies = json.loads(output)
    assert "digits" in studies
    code, output, _ = ganlib("studies")
    assert code == 0
    assert [line.split()[0] for line in output.splitlines()] == list(studies)


# -- doctor --------------------------------------------------------------------------------------


def test_doctor(ganlib):
    code, output, _ = ganlib("doctor", "--json")
    facts = json.loads(output)
    assert code == 0
    assert facts["problems"] == []
    assert facts["backend"] == BACKEND
    assert facts["packages"]["keras"] == keras.__version__
    assert facts["device"]
    assert facts["data"] is None
    assert facts["memory_gib"] > 0.5


def test_doctor_looks_at_data(ganlib, tmp_path):
    path = tmp_path / "small.npz"
    images = np.arange(250, dtype="uint8").reshape(10, 5, 5, 1)
    np.savez(path, x=images, y=[0, 1] * 5)
    code, output, _ = ganlib("doctor", "--data", path, "--json")
    data = json.loads(output)["data"]
    assert code == 0
    assert (data["name"], data["images"], data["shape"]) == ("small", 10, [5, 5, 1])
    assert (data["minimum"], data["maximum"], data["classes"]) == (0, 249, 2)
    assert data["checksum"] == ImageSet(images, [0, 1] * 5).checksum()
    code, output, _ = ganlib("doctor", "--data", path)
    assert code == 0
    assert "images 10" in output
    assert output.endswith("All is well.\n")


def test_doctor_looks_at_photographs_of_several_sizes(ganlib):
    code, output, _ = ganlib("doctor", "--data", "photos", "--json")
    facts = json.loads(output)
    assert code == 0
    assert facts["data"]["images"] == 10
    assert facts["data"]["sides"] == [300, 1411]


def test_doctor_looks_at_masks(ganlib, tmp_path):
    x = np.zeros((6, 20, 30), np.uint8)
    np.savez(tmp_path / "masked.npz", x=x, y=x.copy() + (np.arange(30) < 3).astype(np.uint8))
    for data, n, share in (("nuclei", 64, None), (tmp_path / "masked.npz", 6, 0.1)):
        code, output, _ = ganlib("doctor", "--data", data, "--json")
        assert code == 0
        found = json.loads(output)["data"]
        assert found["images with masks"] == n
        assert share in (None, found["foreground"])


def test_doctor_names_what_is_wrong_with_data(ganlib, tmp_path):
    path = tmp_path / "bad.npz"
    images = np.ones((4, 8, 8, 1), "float32")
    images[2, 3, 4] = np.nan
    np.savez(path, x=images)
    code, output, _ = ganlib("doctor", "--data", path)
    assert code == 1
    assert "PROBLEM:" in output
    assert "1 of 256 values" in output
    assert "All is well" not in output
    code, output, _ = ganlib("doctor", "--data", tmp_path / "none.npz", "--json")
    assert code == 1
    (problem,) = json.loads(output)["problems"]
    assert "none.npz" in problem


def test_doctor_helps_with_a_wrong_backend():
    output = run_python("-m", "ganlib", "doctor", "--json", backend="tensorflaw", expect=1)
    facts = json.loads(output)
    assert facts["backend"] is None
    (problem,) = facts["problems"]
    assert f"KERAS_BACKEND={next(k for k, v in facts['backends'].items() if v)}" in problem


# -- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("run digit", "choose from digits"),
        ("status digit", "Received: 'digit'"),
        ("report digit", "Received: 'digit'"),
        ("run digits --trials bse", "the names are base, batch-norm"),
        ("run digits --profile fast", "Received: profile='fast'"),
        ("run digits --workers 0", "--workers"),
        ("run digits --engine cloud", "'cloud' is not one of 'local', 'ray'"),
        ("run digits --address auto", "--address is for --engine ray"),
        ("run digits --gpus 0.5", "--gpus is for --engine ray"),
        ("run digits --cpus 2 --workers 1", "--cpus is for --engine ray"),
        ("run digits --engine ray --workers 2", "--workers is for --engine local"),
        ("run digits --engine ray --gpus 1.5", "Received: gpus=1.5"),
        ("run digits --engine ray --gpus 1 --devices 2", "devices=2, gpus=1.0"),
        ("run digits --set epochs=5 --set epochs", "as name=value, e.g. epochs=5. Received: 'ep"),
        ("run digits --set epochs=5 --set epochs=6", "Received: 'epochs=6' after another epochs"),
        ("status digits --set epochs=five", "epochs must be a whole number. Received: 'five'"),
        ("report digits --set epoch=5", "choose from width, d_width, latent_dim"),
        ("run digits --set data=tiny.npz", "choose them with --data"),
        ("run digits --data none.npz", "none.npz"),
        ("run digits --data tiny.npz", "has too few images"),
        ("report digits", "No trial in runs/digits has finished: ganlib run digits"),
        ("sample none.keras", "There is no model file there"),
        ("sample tiny.npz", "can't be loaded as a Keras model"),
        ("sample plain.keras", "must hold a ganlib Adversarial model"),
        ("score gan none.keras digits", "There is no model file there"),
        ("score gan plain.keras digits -n 5", "-n"),
        ("score boundary plain.keras digits", "must hold a ganlib Adversarial model"),
        ("score boundary plain.keras digits -n 0", "-n"),
        ("segment plain.keras tiny.npz", "The model must turn images of any size"),
        ("score segmentation plain.keras nuclei", "The model must turn images of any size"),
        ("paint", "paint"),
    ],
)
def test_what_is_asked_for_wrongly_exits_with_2(ganlib, tmp_path, monkeypatch, command, message):
    monkeypatch.chdir(tmp_path)
    if "tiny" in command:
        images = np.random.default_rng(0).integers(0, 256, (20, 28, 28, 1), "uint8")
        np.savez("tiny.npz", x_train=images, y_train=np.arange(20) % 10, x_test=images[:5])
    if "plain" in command:
        keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]).save("plain.keras")
    code, output, errors = ganlib(*command.split())
    assert code == 2
    assert message in squeezed(errors)
    assert output == ""
    assert "Traceback" not in errors
    assert not list(tmp_path.rglob("trial.json"))


@pytest.mark.parametrize(
    ("options", "workers"), [([], "the default"), (["--workers", 3], 3), (["--workers", 1], 1)]
)
def test_workers(ganlib, monkeypatch, options, workers):
    asked = []

    def run(*_, workers, **__):
        asked.append(workers)
        raise KeyboardInterrupt

    monkeypatch.setattr(local, "run", run)
    # On an accelerator it is 0: the trials run in this process, the only one that has the device.
    default = ["the default"]
    monkeypatch.setattr(local, "default_workers", default.pop)
    assert ganlib("run", "digits", *options)[0] == 1
    assert asked == [workers]
    assert bool(default) == bool(options)  # not even asked for, which would claim the device


def test_ray(ganlib, monkeypatch):
    asked = []

    def run(*_, out=None, **options):
        asked.append(options)
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster, "run", run)
    monkeypatch.setattr(local, "default_workers", None)  # calling it would claim the device
    assert ganlib("run", "digits", "--engine", "ray")[0] == 1
    share = ["--address", "auto", "--cpus", 4, "--gpus", 0.5]
    assert ganlib("run", "digits", "--engine", "ray", *share)[0] == 1
    common = {"devices": 1, "fresh": False, "show": True}
    assert asked == [
        {"address": None, "cpus": 1, "gpus": None, **common},
        {"address": "auto", "cpus": 4, "gpus": 0.5, **common},
    ]


def test_ray_is_not_installed(ganlib, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # importing it fails
    code, output, errors = ganlib("run", "digits", "--engine", "ray", "--out", tmp_path)
    assert (code, output) == (2, "")
    assert "Ray is not installed: pip install 'ganlib[ray]'" in errors


def test_set(ganlib, tmp_path):
    plain = {row["id"] for row in status_rows(ganlib, tmp_path)}
    options = ["--set", "epochs=1", "--set", "d_learning_rate=1e-4"]
    rows = status_rows(ganlib, tmp_path, *options)
    assert {row["epochs"] for row in rows} == {1}
    assert len(rows) == len(plain)
    assert not plain & {row["id"] for row in rows}  # finished runs stay what they are
    # The quick profile's own values: the same trials.
    options = ["--set", "epochs=3.0", "--set", "latent_dim=50"]
    same = {row["id"] for row in status_rows(ganlib, tmp_path, *options)} & plain
    assert [trial_id.partition("-seed")[0] for trial_id in same] == ["latent-50"]


def status_rows(ganlib, out, *options):
    code, output, _ = ganlib("status", "digits", "--out", out, *options, "--json")
    assert code == 0
    return json.loads(output)


# -- one study from the command to its report ------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """`(folder, options, output)` of a digits trial on few digits, run as users run it."""
    folder = tmp_path_factory.mktemp("digits")
    train, test = embedded.digits().split(0.8, seed=0)
    np.savez(
        folder / "tiny.npz",
        x_train=train.images[:640],
        y_train=train.labels[:640],
        x_test=test.images[:200],
        y_test=test.labels[:200],
    )
    options = ["digits", "--seeds", "1", "--data", "tiny.npz"]
    command = ["run", *options, "--trials", "base", "--workers", "1", "--json"]
    process = subprocess.run(
        [sys.executable, "-m", "ganlib", *command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    return folder, options, process


@pytest.fixture
def inside(finished, monkeypatch):
    folder, options, _ = finished
    monkeypatch.chdir(folder)
    return folder, options


def test_run(finished):
    folder, _, process = finished
    (result,) = json.loads(process.stdout)
    assert (result["name"], result["seed"]) == ("base", 0)
    # On so few digits the generator may stay blank, for which the monitor stops it.
    assert result["status"] in ("done", "stopped")
    run = folder / "runs" / "digits" / result["id"]
    left = {path.name for path in run.iterdir()}
    assert left == {
        ".lock",
        "trial.json",
        "history.csv",
        "samples",
        "model.keras",
        "result.json",
    }
    assert len(list((run / "samples").glob("*.png"))) == result["metrics"]["epochs"] > 0
    assert "Report: reports/quick/digits" in process.stderr
    assert "Traceback" not in (folder / "runs" / "digits" / "workers.log").read_text()


def test_status(inside, finished, ganlib):
    _, options = inside
    (result,) = json.loads(finished[2].stdout)
    code, output, _ = ganlib("status", *options, "--json")
    assert code == 0
    rows = {row["id"].partition("-seed0-")[0]: row for row in json.loads(output)}
    base = rows.pop("base")
    assert (base["id"], base["status"]) == (result["id"], result["status"])
    assert (base["epoch"], base["seconds"]) == (result["metrics"]["epochs"], result["seconds"])
    assert base["epochs"] == result["recipe"]["epochs"]
    assert {row["status"] for row in rows.values()} == {"to do"}
    assert {"tanh", "batch-norm", "repaired"} < rows.keys()
    code, output, _ = ganlib("status", *options)
    assert code == 0
    assert base["id"] in output


def test_report(inside, ganlib):
    folder, options = inside
    code, output, _ = ganlib("report", *options, "--reports", "again")
    assert code == 0
    assert output == "Report: again/quick/digits\n"
    written = folder / "again" / "quick" / "digits"
    run = json.loads((written / "run.json").read_text())
    assert [trial["name"] for trial in run["trials"]] == ["base"]
    assert run["data"]["name"] == "tiny"
    for name in ("samples.pdf", "samples.png", "scores.csv", "scores.tex", "scores.md"):
        assert (written / name).stat().st_size > 0
        assert name in run["files"]
    first = {path.name for path in (folder / "reports" / "quick" / "digits").iterdir()}
    assert first == {path.name for path in written.iterdir()}


def test_tables_are_latex_that_compiles_without_extras(inside):
    # pdfLaTeX stops at a character that no package declares; T1's letters are fine.
    folder, _ = inside
    tables = list((folder / "reports" / "quick" / "digits").glob("*.tex"))
    assert tables
    for path in tables:
        foreign = {c for c in path.read_text(encoding="utf-8") if ord(c) > 0x17F}
        assert foreign <= set("…"), path.name


def model_of(folder):
    (path,) = (folder / "runs" / "digits").glob("base-*/model.keras")
    return path


def test_sample(inside, ganlib):
    from PIL import Image

    folder, _ = inside
    code, output, _ = ganlib("sample", model_of(folder), "-n", 5, "--out", "new/grid.png")
    assert code == 0
    assert output == "new/grid.png: 5 pictures of 28×28\n"
    grid = np.asarray(Image.open(folder / "new" / "grid.png"))
    assert grid.shape == (2 * 28, 3 * 28)
    assert grid[:28].std() > 0
    assert grid[28:, 56:].max() == 0  # the sixth cell is spare
    ganlib("sample", model_of(folder), "-n", 5, "--out", "same.png")
    ganlib("sample", model_of(folder), "-n", 5, "--out", "other.png", "--seed", 1)
    same, other = (np.asarray(Image.open(folder / f"{x}.png")) for x in ("same", "other"))
    np.testing.assert_array_equal(same, grid)
    assert (other != grid).any()


def test_score(inside, ganlib, monkeypatch):
    # A fifth of the steps: for these few digits they will do.
    few_steps = functools.partial(scoring.train_classifier, steps=140)
    monkeypatch.setattr(scoring, "train_classifier", few_steps)
    folder, _ = inside
    code, output, _ = ganlib("score", "gan", model_of(folder), "tiny.npz", "-n", 100, "--json")
    assert code == 0
    scores = json.loads(output)
    assert scores["generated"]["n"] == 100
    real, noise = (scores["baselines"][name] for name in ("real", "noise"))
    assert real["digit_score"] > scores["generated"]["digit_score"] >= 1
    assert real["digit_score"] > noise["digit_score"]
    assert real["frechet_distance"] < noise["frechet_distance"]
    assert scores["classifier"]["n"] == 200
    assert scores["classifier"]["accuracy"] > 0.7
