"""The examples that CONTRIBUTING points at, and README's code: they run, and do what is said."""

import importlib
import json
import pathlib
import re
import signal
import sys

import keras
import numpy as np
import pytest

from ganlib import __main__ as command_line
from ganlib import studies
from ganlib.adversarial import Adversarial
from ganlib.experiment.run import run_trial
from ganlib.experiment.status import study_status

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The examples can be imported, and runs and reports go elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("project"))
        patch.setattr(sys, "path", [str(ROOT / "examples"), *sys.path])
        yield
    for path in (ROOT / "examples").glob("*.py"):
        sys.modules.pop(path.stem, None)


def run_command(*arguments):
    """Runs `ganlib` in this process; returns its exit code."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ganlib", *arguments])
        with pytest.raises(SystemExit) as end:
            command_line.main()
    signal.signal(signal.SIGTERM, before)  # `run` takes it as Ctrl-C
    return end.value.code or 0


@pytest.mark.backend
def test_the_loss_and_the_models_train_and_are_saved(project, tmp_path):
    loss = importlib.import_module("squared_hinge").SquaredHinge(0.5)
    logits = np.array([-2.0, 0.0, 0.25, 3.0], "float32")
    found = [keras.ops.convert_to_numpy(part(logits)) for part in (loss.real, loss.fake)]
    np.testing.assert_allclose(found, [[6.25, 0.25, 0.0625, 0.0], [0.0, 0.25, 0.5625, 12.25]])
    zero = np.zeros((4, 1), "float32")
    assert float(loss.discriminator_loss(zero, zero)) == loss.chance
    assert float(loss.discriminator_loss(zero + 9, zero - 9)) == loss.floor
    dense = importlib.import_module("dense")
    gan = Adversarial(dense.build_generator(5, 8, seed=1), dense.build_discriminator(8), loss)
    gan.compile("adam", "adam")
    images = np.random.default_rng(0).uniform(-1, 1, (16, 28, 28, 1)).astype("float32")
    history = gan.fit(images, batch_size=8, verbose=0).history
    assert np.isfinite([values[-1] for values in history.values()]).all()
    gan.save(tmp_path / "gan.keras")
    loaded = keras.models.load_model(tmp_path / "gan.keras")
    assert loaded.adversarial_loss == loss
    latents = np.ones((2, 5), "float32")
    same = [keras.ops.convert_to_numpy(model(latents)) for model in (gan, loaded)]
    np.testing.assert_allclose(*same, rtol=1e-6)


def test_the_study_runs_resumes_and_reports(project, capsys):
    study = studies.get("rivals").at(changes={"epochs": 2, "width": 16})

    def interrupt(epoch, epochs):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trial(study, study.trials[0], "runs", interrupt)
    rows = study_status(study, "runs")
    assert [(row["status"], row["epoch"]) for row in rows] == [("interrupted", 1), ("to do", 0)]
    options = ["rivals", "--set", "epochs=2", "--set", "width=16"]
    assert run_command("run", *options, "--workers", "1", "--json") == 0
    results = json.loads(capsys.readouterr().out)
    assert [result["name"] for result in results] == ["hinge", "squared"]
    for metrics in (result["metrics"] for result in results):
        assert abs(metrics["distance_real"]) < 0.01 < metrics["distance"]
        assert metrics["distance"] < metrics["distance_noise"]
    whole = run_trial(study, study.trials[0], "other runs")["metrics"]
    assert results[0]["metrics"]["distance"] == whole["distance"]  # as if never interrupted
    assert run_command("report", *options) == 0
    record = json.loads(pathlib.Path("reports/quick/rivals/run.json").read_text("utf-8"))
    assert "trials.csv" in record["files"]


def blocks(path):
    return re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="it has a GradientTape")
def test_readme_code_runs(monkeypatch, tmp_path):
    from ganlib import data

    load = data.load
    monkeypatch.setattr(data, "load", lambda *a, **o: load(*a, **o).split(0.1, seed=0)[0])
    monkeypatch.chdir(tmp_path)
    first, second = blocks(ROOT / "README.md")
    names = {}
    exec(compile(first, "README.md", "exec"), names)
    assert names["scores"].keys() >= {"kid", "precision", "recall", "baselines"}
    assert keras.models.load_model("gan.keras").latent_shape == names["gan"].latent_shape
    exec(compile(second, "README.md", "exec"), names)
    (finding,) = names["monitor"].findings
    assert finding.check == "generator_frozen"
    assert "learning rate is 0" in str(finding)
