"""The command line: what it prints, where it writes, and how it says no."""

import json
import re
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
from helpers import installed, make_gan, run_python
from image_models import make_brightness, make_nearest, noise
from keras import layers
from PIL import Image

import ganlib as package
from ganlib import __main__ as command_line
from ganlib.data import embedded
from ganlib.experiment import local
from ganlib.experiment import ray as cluster

BACKEND = keras.backend.backend()
HEAVY = {"keras", "tensorflow", "jax", "torch", "matplotlib", "pandas", "ray"}
COMMANDS = ["doctor", "run", "status", "report", "sample", "upscale", "segment", "score"]


@pytest.fixture
def ganlib(monkeypatch, capsys, tmp_path):
    """`ganlib(*arguments)` returns `(exit code, standard output, standard error)`."""

    def ganlib(*arguments):
        monkeypatch.setattr(sys, "argv", ["ganlib", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            command_line.main()
        return end.value.code or 0, *capsys.readouterr()

    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    yield ganlib
    signal.signal(signal.SIGTERM, before)  # `run` takes it as Ctrl-C


def squeezed(text):
    """Without the line breaks and the frame that the terminal's width asks for."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", text).split())


def test_help(ganlib):
    for command in COMMANDS:
        output = squeezed(ganlib(command, "--help")[1])
        assert f"Usage: ganlib {command}" in output
        assert f"Example: ganlib {command}" in output
    assert ganlib("--version") == (0, f"ganlib {package.__version__}\n", "")


def test_nothing_heavy_before_it_is_needed():
    script = f"""
import sys
import ganlib.__main__, ganlib.data, ganlib.experiment.local, ganlib.experiment.ray

sys.argv = ["ganlib", "score", "--help"]
try:
    ganlib.__main__.main()
except SystemExit as end:
    assert not end.code
print("loaded:", *sorted({HEAVY!r} & set(sys.modules)))
"""
    assert run_python("-c", script, backend=BACKEND).splitlines()[-1] == "loaded:"


WITHOUT_TENSORFLOW = """
import importlib, pkgutil, sys

class Without:  # torch asks whether there is a TensorFlow, and gets a no
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, *rest):
        if name.split(".")[0] in ("tensorflow", "tensorflow_datasets"):
            return None
        return self.finder.find_spec(name, *rest)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]

import keras
import ganlib

others = {"tensorflow", "jax", "torch"} - {keras.backend.backend()}
modules = [m.name for m in pkgutil.walk_packages(ganlib.__path__, "ganlib.", onerror=print)]
for name in modules:
    if name not in {f"ganlib.backends.{other}" for other in others}:
        importlib.import_module(name)
assert all(getattr(ganlib, name) for name in ganlib.__all__)

import helpers

gan = helpers.make_gan(batch_norm=True)
helpers.fit(gan, helpers.images(8))
assert int(gan.optimizer.iterations) == 2
assert "tensorflow" not in sys.modules
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_imports_and_trains_without_tensorflow(backend):
    if not installed(backend):
        pytest.skip(f"{backend} is not installed")
    run_python("-c", WITHOUT_TENSORFLOW, backend=backend)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("run digit", "did you mean digits"),
        ("run digits --trials bse", "the names are base, "),
        ("run digits --gpus 0.5", "--gpus is not for --engine local"),
        ("run digits --set epochs=5 --set epochs", "as name=value, e.g. epochs=5. Received: 'ep"),
        ("status digits --set g_learning_rate=-1", "g_learning_rate must be at least 0"),
        ("report digits --set epoch=5", "did you mean epochs"),
        ("run digits --data none.npz", "none.npz"),
        ("run digits --data tiny.npz", "are too few images"),
        ("report digits", "No trial in runs/digits has finished: ganlib run digits"),
        ("sample none.keras", "can't be loaded as a Keras model"),
        ("sample plain.keras", "must make pictures"),
        ("score sr plain.keras photos -n 5", "no option --n"),
        ("score boundary plain.keras digits", "must hold a ganlib Adversarial model"),
        ("score sr plain.keras photos", "The model must enlarge RGB pictures"),
    ],
)
def test_what_is_asked_for_wrongly_exits_with_2(ganlib, tmp_path, command, message):
    if "tiny" in command:
        images = np.random.default_rng(0).integers(0, 256, (20, 28, 28, 1), "uint8")
        np.savez("tiny.npz", x_train=images, y_train=np.arange(20) % 10, x_test=images[:10])
    if "plain" in command:
        keras.Sequential([keras.Input((1,)), layers.Dense(1)]).save("plain.keras")
    code, output, errors = ganlib(*command.split())
    assert code == 2
    assert message in squeezed(errors)
    assert output == ""
    assert "Traceback" not in errors
    assert not list(tmp_path.rglob("trial.json"))


def test_engines(ganlib, monkeypatch):
    asked = []

    def run_local(study, out, *, workers, devices, fresh, show):
        asked.append((workers, devices, fresh, show))
        raise KeyboardInterrupt

    def run_cluster(study, out, *, cpus=1, gpus=None, address=None, devices, fresh, show):
        asked.append((address, cpus, gpus))
        raise KeyboardInterrupt

    monkeypatch.setattr(local, "run", run_local)
    monkeypatch.setattr(local, "default_workers", lambda: 7)
    monkeypatch.setattr(cluster, "run", run_cluster)
    code, _, errors = ganlib("run", "digits", "--fresh")
    assert code == 1
    assert "resume with:\n  ganlib run digits\n" in errors
    ganlib("run", "digits", "--workers", 3, "--json")
    share = ["--address", "auto", "--cpus", 4, "--gpus", 0.5]
    ganlib("run", "digits", "--engine", "ray", *share)
    assert asked == [(7, 1, True, True), (3, 1, False, False), ("auto", 4, 0.5)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """`(folder, options, process)` of a digits trial on few digits, run as users run it."""
    folder = tmp_path_factory.mktemp("digits")
    train, test = embedded.digits().split(0.8, seed=0)
    parts = {"x_train": train.images[::6], "y_train": train.labels[::6]}
    np.savez(folder / "tiny.npz", **parts, x_test=test.images[::4], y_test=test.labels[::4])
    options = ["digits", "--profile", "cpu", "--data", "tiny.npz", "--set", "epochs=1"]
    command = ["run", *options, "--trials", "base", "--workers", "1", "--json"]
    how = {"cwd": folder, "capture_output": True, "text": True, "timeout": 300}
    process = subprocess.run([sys.executable, "-m", "ganlib", *command], **how)
    assert process.returncode == 0, process.stderr
    return folder, options, process


def test_run_status_report(finished, ganlib, monkeypatch):
    folder, options, process = finished
    (result,) = json.loads(process.stdout)
    assert (result["name"], result["seed"], result["recipe"]["epochs"]) == ("base", 0, 1)
    assert (folder / "runs" / "digits" / result["id"] / "model.keras").is_file()
    assert "01_digits.ipynb; `ganlib report` executes it." in process.stderr

    monkeypatch.chdir(folder)
    rows = json.loads(ganlib("status", *options, "--json")[1])
    statuses = {row["id"].partition("-seed0-")[0]: row["status"] for row in rows}
    assert (statuses["base"], statuses["repaired"]) == (result["status"], "to do")
    assert result["id"] in ganlib("status", *options)[1]

    # The chapter runs from start to end at another profile, and trains none of the study's trials.
    code, output, _ = ganlib("report", *options, "--reports", "again")
    assert (code, output) == (0, "Report: again/cpu/digits\n")
    assert len(list((folder / "runs" / "digits").glob("*/trial.json"))) == 1
    report = folder / "again" / "cpu" / "digits"
    run = json.loads((report / "run.json").read_text())
    assert [trial["name"] for trial in run["trials"]] == ["base"]
    assert {"samples.pdf", "samples.png", "scores.csv", "scores.tex", "claims.md"} <= {
        *run["files"]
    }
    assert "not run" in (report / "claims.csv").read_text()
    assert "data:image/png;base64," in (report / "notebook.html").read_text()
    assert ganlib("report", "--all", "--reports", "again")[1] == "Page: again/write-up.html\n"


def test_sample_and_score(finished, ganlib, monkeypatch):
    folder, _, process = finished
    monkeypatch.chdir(folder)
    model = f"runs/digits/{json.loads(process.stdout)[0]['id']}/model.keras"
    code, output, _ = ganlib("sample", model, "-n", 5, "--out", "new/grid.png")
    assert (code, output) == (0, "new/grid.png: 5 pictures of 28×28\n")
    scores = json.loads(ganlib("score", "gan", model, "tiny.npz", "-n", 100, "--json")[1])
    assert scores["generated"]["n"] == 100
    real, noises = (scores["baselines"][name] for name in ("real", "noise"))
    assert real["digit_score"] > scores["generated"]["digit_score"] >= 1
    assert real["frechet_distance"] < noises["frechet_distance"]


def test_score_a_plain_generator_file(ganlib, tmp_path):
    keras.utils.set_random_seed(0)
    stack = [keras.Input((8,)), layers.Dense(32 * 32 * 3), layers.Reshape((32, 32, 3))]
    keras.Sequential([*stack, layers.Activation("sigmoid")]).save("generator.keras")
    code, output, _ = ganlib("sample", "generator.keras", "-n", 4)
    assert (code, output) == (0, "grid.png: 4 pictures of 32×32\n")
    _, output, _ = ganlib("score", "gan", "generator.keras", "rooms", "-n", 100)
    assert output.split()[:3] == ["model", "real", "noise"]


def test_score_boundary(ganlib, tmp_path):
    make_gan(loss="boundary").save("gan.keras")
    np.savez("cells.npz", x=noise(12, 8, 8, 1))
    _, output, _ = ganlib("score", "boundary", "gan.keras", "cells.npz", "-n", 9, "--json")
    scores = json.loads(output)
    assert scores["score"] == pytest.approx(scores["s1"] * scores["s2"] * scores["s3"])
    assert (scores["n"], scores["n_real"]) == (9, 12)


def test_score_sr_and_segmentation(ganlib, tmp_path):
    make_nearest(2).save("sr.keras")
    (tmp_path / "photos").mkdir()
    for name in "ab":
        smooth = Image.fromarray(noise(12, 12, 3)).resize((96, 96))
        smooth.save(tmp_path / "photos" / f"{name}.png")
    scores = json.loads(ganlib("score", "sr", "sr.keras", "./photos", "--json")[1])
    assert scores["bicubic"]["psnr_y"] > scores["model"]["psnr_y"] > 20
    assert scores["n"] == 2
    make_brightness().save("net.keras")
    masks = np.zeros((4, 20, 30), "uint8")
    masks[:, :5] = 1
    np.savez("cells.npz", x=200 * masks, y=masks)
    _, output, _ = ganlib("score", "segmentation", "net.keras", "cells.npz")
    assert re.search(r"jaccard +1\.0+ +0\.0+ +0\.25", output)


def test_upscale_and_segment(ganlib, tmp_path):
    make_nearest().save("sr.keras")
    make_brightness().save("net.keras")
    (tmp_path / "in").mkdir()
    for name in "ab":
        Image.fromarray(noise(6, 9, 3)).save(tmp_path / "in" / f"{name}.png")
    _, output, _ = ganlib("upscale", "sr.keras", "in", "--out", "large", "--json")
    assert [row["output"] for row in json.loads(output)] == ["large/a_x2.png", "large/b_x2.png"]
    whole = (tmp_path / "in" / "b.png").read_bytes()
    (tmp_path / "in" / "b.png").write_bytes(whole[:80])
    code, output, errors = ganlib("segment", "net.keras", "in")
    assert code == 1  # one could not be read; the other is made
    assert re.match(r"segmented/a_mask\.png, [\d.]+% foreground", output)
    assert "b.png" in errors
