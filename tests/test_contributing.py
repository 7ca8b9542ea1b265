"""CONTRIBUTING.md and README.md: their code runs, and what they say of the code is so."""

import functools
import importlib
import json
import pathlib
import re
import shlex
import signal
import sys

import keras
import matplotlib.figure
import numpy as np
import pandas
import pytest
import test_packaging
import typer
from helpers import fit, images, make_gan

from ganlib import __main__ as command_line
from ganlib import data, losses, studies
from ganlib.experiment import local, profiles
from ganlib.experiment.study import Run, read_json, run_folder, run_trial
from ganlib.studies import score

ROOT = pathlib.Path(__file__).parent.parent
GUIDE, README = ROOT / "CONTRIBUTING.md", ROOT / "README.md"


def blocks(path, language):
    """The code blocks of a Markdown file that are in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with the guide's examples in files, as each names itself; it is the current one."""
    folder = tmp_path_factory.mktemp("project")
    names = []
    for block in blocks(GUIDE, "python"):
        names.append(re.match(r"# (\w+)\.py\n", block)[1])
        (folder / f"{names[-1]}.py").write_text(block, encoding="utf-8")
    assert {"squared_hinge", "dense", "rivals", "rivals_report"} <= set(names)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", [str(folder), *sys.path])
        yield folder
    for name in names:
        sys.modules.pop(name, None)


def run_command(*arguments):
    """Runs `ganlib` in this process; returns its exit code."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ganlib", *arguments])
        with pytest.raises(SystemExit) as end:
            command_line.main()
    signal.signal(signal.SIGTERM, before)  # `run` takes it as Ctrl-C
    return end.value.code or 0


# -- the loss ------------------------------------------------------------------------------------


@pytest.fixture
def loss(project):
    return importlib.import_module("squared_hinge").SquaredHinge(0.5)


@pytest.mark.backend
def test_the_loss_has_its_values(loss):
    logits = np.array([-2.0, -0.5, 0.0, 0.25, 0.5, 3.0], "float32")
    found = [keras.ops.convert_to_numpy(part(logits)) for part in (loss.real, loss.fake)]
    np.testing.assert_allclose(found[0], [6.25, 1.0, 0.25, 0.0625, 0.0, 0.0])
    np.testing.assert_allclose(found[1], [0.0, 0.0, 0.25, 0.5625, 1.0, 12.25])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(loss.generator(logits)), -logits)


@pytest.mark.backend
def test_the_loss_says_what_chance_and_certainty_cost(loss):
    constants = np.linspace(-1, 1, 201, dtype="float32")[:, None]
    costs = [float(loss.discriminator_loss(c, c)) for c in constants]
    assert min(costs) == pytest.approx(loss.chance) == costs[100]
    sure = np.full((4, 1), 9.0, "float32")
    assert float(loss.discriminator_loss(sure, -sure)) == loss.floor


@pytest.mark.parametrize("margin", [0, -1, np.nan, np.inf])
def test_the_loss_refuses_margins(loss, margin):
    with pytest.raises(ValueError, match="Received: margin="):
        type(loss)(margin)


@pytest.mark.backend
def test_the_loss_trains_and_is_saved_with_the_model(loss, tmp_path):
    gan = make_gan(loss=loss)
    history = fit(gan, images(8))
    assert np.isfinite([values[-1] for values in history.values()]).all()
    gan.save(tmp_path / "gan.keras")
    assert keras.models.load_model(tmp_path / "gan.keras").adversarial_loss == loss
    assert losses.get(keras.saving.serialize_keras_object(loss)) == loss


# -- the model -----------------------------------------------------------------------------------


@pytest.mark.backend
def test_the_model_builds_saves_and_loads(project, tmp_path):
    dense = importlib.import_module("dense")
    players = dense.build_generator(5, 8, seed=1), dense.build_discriminator(8, seed=1)
    latents = np.random.default_rng(0).normal(size=(3, 5)).astype("float32")
    pictures = keras.ops.convert_to_numpy(players[0](latents))
    assert pictures.shape == (3, 28, 28, 1)
    assert np.abs(pictures).max() <= 1
    inputs, outputs = (latents, pictures), (pictures, players[1](pictures))
    assert outputs[1].shape == (3, 1)
    assert players[1].count_params() == (784 + 1) * 8 + 8 + 1
    for player, given, wanted in zip(players, inputs, outputs, strict=True):
        path = tmp_path / f"{player.name}.keras"
        player.save(path)
        found = keras.models.load_model(path)(given)
        np.testing.assert_allclose(*map(keras.ops.convert_to_numpy, (found, wanted)), rtol=1e-6)


def test_the_model_is_made_by_its_seed(project):
    dense = importlib.import_module("dense")
    first, again, other = (dense.build_discriminator(4, seed=s).get_weights() for s in (0, 0, 1))
    np.testing.assert_array_equal(first[0], again[0])
    assert np.abs(first[0] - other[0]).max() > 0


# -- the study -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(project):
    """The quick study, interrupted once and then run by the command; what its figures say."""
    study = studies.build("rivals")
    trial, texts = study.trials[0], []

    def interrupt(epoch, epochs):
        if epoch == 2:
            raise KeyboardInterrupt

    def savefig(figure, *arguments, **options):
        texts.append([text.get_text() for text in figure.texts])
        return save(figure, *arguments, **options)

    with pytest.raises(KeyboardInterrupt):
        run_trial(study, trial, study.load_data(), "runs", interrupt)
    rows = pandas.DataFrame(local_status("rivals"))
    save = matplotlib.figure.Figure.savefig
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matplotlib.figure.Figure, "savefig", savefig)
        patch.setattr(local, "default_workers", lambda: 0)  # two starts of a backend take longest
        assert run_command("run", "rivals") == 0
    return study, rows, texts


def local_status(name):
    from ganlib.experiment.status import study_status

    return study_status(studies.build(name))


def test_the_study_goes_on_exactly_where_it_was(finished, tmp_path):
    study, before, _ = finished
    assert before["status"].tolist() == ["interrupted", "to do"]
    assert before["epoch"].tolist() == [2, 0]
    assert [row["status"] for row in local_status("rivals")] == ["done", "done"]
    trial = study.trials[0]
    whole = run_trial(study, trial, study.load_data(), tmp_path)
    resumed = Run(run_folder(study, trial, "runs")).result()
    for result in (resumed, whole):
        del result["metrics"]["seconds_per_epoch"]
    assert resumed["metrics"] == whole["metrics"]


def test_the_study_scores_between_floor_and_ceiling(finished):
    study, _, _ = finished
    for trial in study.trials:
        metrics = Run(run_folder(study, trial, "runs")).result()["metrics"]
        assert metrics["n"] == 500
        assert abs(metrics["distance_real"]) < 0.01 < metrics["distance"]
        assert metrics["distance"] < metrics["distance_noise"] / 2


def test_the_study_s_report_has_its_files_and_its_mark(finished):
    _, _, texts = finished
    folder = pathlib.Path("reports", "quick", "rivals")
    run = read_json(folder / "run.json")
    tables = {
        f"{name}.{suffix}"
        for name in ("scores", "findings", "claims")
        for suffix in ("csv", "md", "tex")
    }
    assert run["files"].keys() == {"losses.pdf", "losses.png"} | tables
    assert texts
    assert all(profiles.mark("quick") in found for found in texts)
    assert run["scale"] == profiles.mark("quick")
    assert run["verdicts"]["cannot tell"] == 1  # one seed
    scores = pandas.read_csv(folder / "scores.csv")
    assert scores["pictures"].tolist()[:2] == ["hinge", "squared"]


def test_the_study_s_commands(finished, capsys):
    assert run_command("status", "rivals", "--json") == 0
    assert [row["status"] for row in json.loads(capsys.readouterr().out)] == ["done", "done"]
    assert run_command("report", "rivals") == 0
    assert "rivals" in capsys.readouterr().out


@pytest.mark.parametrize("profile", profiles.PROFILES)
def test_the_study_has_every_profile(project, profile):
    study = studies.build("rivals", profile=profile, data="digits", seeds=2)
    assert [trial.name for trial in study.trials] == ["hinge", "squared"] * 2


# -- README and what both say --------------------------------------------------------------------


def test_the_readmes_gan(monkeypatch, tmp_path):
    load = data.load

    def load_few(*arguments, **options):
        found = load(*arguments, **options)
        return found.subset(np.random.default_rng(0).permutation(len(found))[:64])

    monkeypatch.setattr(data, "load", load_few)
    few_steps = functools.partial(score.train_classifier, steps=2)
    monkeypatch.setattr(score, "train_classifier", few_steps)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(blocks(README, "python")[0], str(README), "exec"), names)
    assert names["gan"].images_seen == 5 * 64
    assert names["scores"].keys() >= {"kid", "precision", "recall", "baselines"}
    loaded = keras.models.load_model("gan.keras")
    latents = np.ones((2, *loaded.latent_shape), "float32")
    found, wanted = loaded(latents), names["gan"](latents)
    np.testing.assert_allclose(*map(keras.ops.convert_to_numpy, (found, wanted)), rtol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="it has a GradientTape")
@pytest.mark.parametrize("rate", ["0.0", "1e-4"])
def test_the_readmes_gan_of_keras_io(rate):
    (block,) = blocks(README, "python")[1:]
    names = {}
    exec(compile(block.replace("rate = 0.0", f"rate = {rate}"), str(README), "exec"), names)
    found = {finding.check: finding for finding in names["monitor"].findings}
    assert ("generator_frozen" in found) == (rate == "0.0")
    if found:
        assert "learning rate is 0" in str(found["generator_frozen"])


def commands():
    """Each `ganlib …` in the code of the two pages, as words."""
    code = [*blocks(GUIDE, "sh"), *re.findall(r"^ {4}(ganlib .*)", README.read_text("utf-8"), re.M)]
    for line in "\n".join(code).splitlines():
        if line.startswith("ganlib "):
            yield shlex.split(line, comments=True)[1:]


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_the_commands_and_options_exist(words):
    command = typer.main.get_command(command_line.app)
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= options


def test_the_picture_shows_the_layers():
    layer = {name: i for i, names in enumerate(test_packaging.LAYERS) for name in names}
    picture = next(block for block in blocks(GUIDE, "text") if "__main__" in block)
    shown = [re.split(r" {2,}", line)[0].split() for line in picture.splitlines()]
    where = [{layer[name] for name in names} for names in shown]
    assert all(len(layers) == 1 for layers in where), "a line shows names of several layers"
    order = [layers.pop() for layers in where]
    assert order == sorted(order)
    folders = {path.parent.name for path in test_packaging.PACKAGE.glob("*/__init__.py")}
    assert folders <= {name for names in shown for name in names}


def test_links_lead_somewhere():
    for path in (README, GUIDE):
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
            assert (ROOT / target).exists(), f"{path.name} → {target}"


def test_make_targets_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    for path in (README, GUIDE):
        named = re.findall(r"(?:^ {4}|`)make ([\w-]+)", path.read_text(encoding="utf-8"), re.M)
        assert named
        assert set(named) <= targets


def test_named_files_exist():
    named = re.findall(r"`((?:tests|ganlib|docs)/[\w/]+\.\w+)`", GUIDE.read_text(encoding="utf-8"))
    examples = {"ganlib/models/dense.py", "ganlib/studies/rivals.py"}  # where they would be
    assert examples < set(named)
    assert not [name for name in set(named) - examples if not (ROOT / name).exists()]
