"""`fit` and `fit_gan`: exact resume after a kill at any moment; the model against its recipe."""

import dataclasses
import os
import random
import shutil
import time
import types

import keras
import numpy as np
import pandas
import pytest
import toy_study
from helpers import (
    TESTS,
    arrays,
    build_discriminator,
    build_generator,
    gap,
    images,
    make_gan,
    run_python,
    start_python,
    state,
)
from toy_study import wait_for, write_plan

from ganlib.adversarial import Adversarial
from ganlib.backends import variables as weights
from ganlib.callbacks.health import Finding
from ganlib.data import Batches
from ganlib.experiment import fit as training
from ganlib.experiment.fit import RecipeMismatch
from ganlib.experiment.run import Run, read_json, run_folder, run_trial
from ganlib.experiment.study import Trial

BACKEND = keras.backend.backend()
TIMING = {"seconds", "seconds_per_epoch"}  # may differ between two runs of a trial
INPUTS = np.random.default_rng(0).normal(size=(10, 3)).astype("float32")
TARGETS = np.random.default_rng(1).normal(size=(10, 2)).astype("float32")
RIGHT = {"learning_rate": 0.05, "batch_size": 4}


def make_model(rate=0.05):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, kernel_initializer="ones")])
    training.compile_supervised(model, keras.optimizers.Adam(rate), "mean_absolute_error")
    model.run_eagerly = True
    return model


def cosine():
    return keras.optimizers.schedules.CosineDecay(0.05, 12)


def fit(model, run, epochs=1, expected=RIGHT, callbacks=()):
    batches = Batches((INPUTS, TARGETS), 4, seed=1)
    return training.fit(model, batches, run, epochs=epochs, expected=expected, callbacks=callbacks)


def plain_state(model):
    return arrays(model.weights + model.optimizer.variables)


@pytest.mark.backend
def test_a_plain_model_trains_as_keras_has_it(tmp_path):
    ours, theirs = make_model(), make_model()
    history = fit(ours, Run(tmp_path), epochs=2)
    batches = Batches((INPUTS, TARGETS), 4, seed=1)
    for batches.epoch in range(2):
        for x, y in batches:
            theirs.train_on_batch(x, y)
    assert gap(plain_state(ours), plain_state(theirs)) < 1e-6
    assert list(zip(history["epoch"], history["images"], strict=True)) == [(1, 10), (2, 10)]


@pytest.mark.backend
def test_a_resumed_plain_model_goes_on_exactly(tmp_path):
    models = [make_model(cosine()) for _ in range(4)]
    unbroken = fit(models[0], Run(tmp_path / "unbroken"), epochs=4)
    fit(models[1], Run(tmp_path / "run"), epochs=2)
    resumed = fit(models[2], Run(tmp_path / "run"), epochs=4)
    fit(models[3], Run(tmp_path / "run"), epochs=4)  # nothing is left to do
    assert gap(plain_state(models[2]), plain_state(models[0])) == 0.0
    assert gap(plain_state(models[3]), plain_state(models[0])) == 0.0
    columns = [column for column in unbroken if column not in TIMING]
    pandas.testing.assert_frame_equal(resumed[columns], unbroken[columns], check_exact=True)


def test_each_phase_keeps_its_own_files_and_progress_counts_on(tmp_path):
    calls = []
    run = Run(tmp_path, lambda *counts: calls.append(counts))
    fit(make_model(), run.phase("first", 0, 5), epochs=2)
    fit(make_model(), run.phase("", 2, 5), epochs=3)
    assert calls == [(epoch, 5) for epoch in (1, 2, 3, 4, 5)]
    assert run.epochs_done() == 5
    fit(make_model(), run.phase("first", 0, 6), epochs=2)  # done before
    fit(make_model(), run.phase("", 2, 6), epochs=4)
    assert calls[5:] == [(6, 6)]


@pytest.mark.backend
def test_a_plain_model_off_its_recipe_stops_after_a_step(tmp_path):
    for wrong in ({"learning_rate": 0.001}, {"batch_size": 5}):
        (key, value), model = *wrong.items(), make_model()
        shown = f"{key}: recipe {value}, model {RIGHT[key]}"
        with pytest.raises(RecipeMismatch, match=shown):
            fit(model, Run(tmp_path), expected={**RIGHT, **wrong})
        assert int(model.optimizer.iterations) == 1
    assert not list(Run(tmp_path).checkpoints.iterdir())
    fit(make_model(cosine()), Run(tmp_path), epochs=2)  # a schedule's first rate is read
    fallen = {**RIGHT, "learning_rate": 0.025}
    with pytest.raises(RecipeMismatch, match=r"learning_rate: recipe 0.025, model 0.05"):
        fit(make_model(cosine()), Run(tmp_path), epochs=4, expected=fallen)


@pytest.mark.backend
@pytest.mark.parametrize(
    ("key", "recipe"), [("d_learning_rate", 0.001), ("g_learning_rate", 0.01), ("batch_size", 8)]
)
def test_a_gan_off_its_recipe(tmp_path, key, recipe):
    gan = make_gan(d_optimizer=keras.optimizers.Adam(0.01), g_optimizer=keras.optimizers.Adam(0.02))
    right = {"d_learning_rate": 0.01, "g_learning_rate": 0.02, "batch_size": 4}
    batches = Batches(images(8), 4, seed=0)
    with pytest.raises(RecipeMismatch, match=f"recipe: {key}: recipe {recipe}, model {right[key]}"):
        training.fit(gan, batches, Run(tmp_path), epochs=1, expected={**right, key: recipe})
    training.fit(make_gan(), batches, Run(tmp_path), epochs=1, expected={"batch_size": 4})


@pytest.mark.backend
def test_an_optimizer_without_a_part_of_its_network(tmp_path):
    gan = make_gan()
    kernel = gan.discriminator.trainable_variables[0]
    gan.discriminator.layers[0].trainable = False
    gan.compile(keras.optimizers.Adam(1e-2), keras.optimizers.Adam(1e-2))
    gan.discriminator.layers[0].trainable = True  # too late for the optimizer
    check = training.ReadBack({})
    check.set_model(gan)
    check.on_train_begin()
    with pytest.raises(RecipeMismatch, match=f"discriminator: its optimizer lacks {kernel.path}"):
        check.on_train_batch_end(0)


HISTORY = pandas.DataFrame({"epoch": [1, 2, 3], "seconds": [9.0, 1.0, 2.0], "loss": 0.5})


def test_the_outcome_of_a_training():
    model = types.SimpleNamespace(stop_training=True)
    told = {"status": "stopped", "epochs": 3, "seconds_per_epoch": 2.0}
    assert training.outcome(model, HISTORY) == told
    (finding,) = training.outcome(model, HISTORY.assign(loss=[0.5, np.nan, 1.0]))["findings"]
    assert (finding["check"], finding["epoch"]) == ("non_finite_loss", 2)
    gan, finding = make_gan(), Finding("generator_blank", 2, "Black.", "Less.")
    told = training.outcome(gan, HISTORY, types.SimpleNamespace(findings=[finding]))
    assert told["g_parameters"] == sum(w.size for w in gan.generator.get_weights())
    assert told["findings"] == [dataclasses.asdict(finding)]


def test_a_gan_by_its_recipe(tmp_path):
    recipe = toy_study.Recipe(epochs=1, batch_size=16, d_learning_rate=0.03)
    gan = Adversarial(build_generator(), build_discriminator())
    ranges = []
    train = types.SimpleNamespace(as_range=lambda name: ranges.append(name) or images(10))
    rate = keras.optimizers.schedules.PolynomialDecay(0.01, 1, 0.0)
    data, trial = types.SimpleNamespace(train=train), Trial("a", recipe, 0)
    history, told = training.fit_gan(gan, data, trial, Run(tmp_path), g_rate=rate)
    assert (told["epochs"], told["findings"], len(history)) == (1, [], 1)
    assert ranges == ["signed"]  # of a generator that ends in tanh
    d_optimizer, g_optimizer = gan.optimizer.optimizers
    assert float(d_optimizer.learning_rate) == pytest.approx(0.03)
    assert float(g_optimizer.learning_rate) == 0.0  # after its one step
    assert {d_optimizer.beta_1, g_optimizer.beta_1} == {0.5}


def test_two_devices_train_as_one_does(tmp_path):
    pytest.importorskip("jax")
    run_python(TESTS / "spread.py", tmp_path, backend="jax")
    one, two = (dict(np.load(tmp_path / f"{n}.npz")) for n in (1, 2))
    assert (one.pop("devices"), two.pop("devices")) == (1, 2)
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, atol=1e-4, err_msg=name)
    assert len(one) > 30


def make_trial(folder, **recipe):
    study = toy_study.build(write_plan(folder / "plan.json", gan={"action": "gan", **recipe}))
    return study, study.trials[0]


def train(study, out, progress=None):
    return run_trial(study, study.trials[0], out, progress)


def without_timing(value):
    if isinstance(value, dict):
        return {k: without_timing(v) for k, v in value.items() if k not in TIMING}
    return value


def left_behind(folder):
    """All that a finished run left, but for timing: `(result, history, files, weights)`."""
    history = pandas.read_csv(folder / "history.csv", dtype=str, keep_default_na=False)
    return (
        without_timing(read_json(folder / "result.json")),
        history[[column for column in history if column not in TIMING]].to_csv(),
        sorted(str(path.relative_to(folder)) for path in folder.rglob("*")),
        state(keras.models.load_model(folder / "model.keras")),
    )


def assert_same(folder, undisturbed):
    *found, weights = left_behind(folder)
    assert found == list(undisturbed[:3])
    assert gap(weights, undisturbed[3]) == 0.0


@pytest.mark.backend
def test_killed_runs_end_as_an_undisturbed_one(tmp_path, monkeypatch):
    # Compiled, in processes of their own; a kill may come in a step or while a checkpoint is made.
    settings = {"epochs": 6, "batch_size": 4, "eager": False, "seconds": 0.03, "hold": True}
    study, trial = make_trial(tmp_path, **settings)
    command = (TESTS / "toy_study.py", "run", tmp_path / "plan.json", tmp_path / "killed", 0)
    folder = run_folder(study, trial, tmp_path / "killed")
    moments = random.Random(0)
    for epoch in (1, 4):
        process = start_python(*command, backend=BACKEND)
        checkpoint = folder / "checkpoints" / f"epoch-{epoch:06d}"
        wait_for(lambda path=checkpoint, process=process: path.exists() or process.poll())
        time.sleep(moments.uniform(0, 0.06))
        process.kill()
        output, _ = process.communicate()
        assert process.returncode == -9, output
        assert not (folder / "result.json").exists()
    toy_study.go_file(tmp_path / "plan.json").touch()
    process = start_python(*command, backend=BACKEND)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    monkeypatch.setattr("ganlib.experiment.run.environment", dict)  # as in the toy's processes
    train(study, tmp_path / "undisturbed")
    assert_same(folder, left_behind(run_folder(study, trial, tmp_path / "undisturbed")))


class Killed(BaseException):
    """No `except Exception` sees it, as none sees a kill."""


def cut(path):
    os.truncate(path, os.path.getsize(path) // 2)


class Disk:
    """Ends the process before the `kill_at`-th change to the disk, or halfway through weights."""

    def __init__(self, patch, kill_at):
        self.changes, self.kill_at = 0, kill_at
        patch.setattr(os, "replace", self.count(os.replace))
        patch.setattr(shutil, "rmtree", self.count(shutil.rmtree))
        patch.setattr(keras.Model, "save", self.count(keras.Model.save, half=1))
        patch.setattr(weights, "save", self.count(weights.save, half=0))

    def count(self, function, half=None):
        def counted(*args, **kwargs):
            self.changes += 1
            if self.changes != self.kill_at:
                return function(*args, **kwargs)
            if half is not None:
                function(*args, **kwargs)
                cut(args[half])
            raise Killed

        return counted


def kill_after(last):
    def progress(epoch, epochs):
        if epoch == last:
            raise Killed

    return progress


def test_killed_before_every_change_to_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINTS_KEPT", 1)  # so that two epochs do all there is
    study, trial = make_trial(tmp_path)
    train(study, tmp_path / "undisturbed")
    undisturbed = left_behind(run_folder(study, trial, tmp_path / "undisturbed"))
    folder = run_folder(study, trial, tmp_path / "out")
    # From each checkpoint on: before the first change, the second, …, until an epoch came through.
    kills, change, newest, result = 0, 1, None, None
    while result is None:
        with monkeypatch.context() as patch:
            Disk(patch, kill_at=change)
            try:
                result = train(study, tmp_path / "out")
            except Killed:
                kills, change = kills + 1, change + 1
        before, newest = newest, max(folder.glob("checkpoints/epoch-*"), default=None)
        if newest != before:
            change = 1
    assert kills >= 20
    assert_same(folder, undisturbed)


@pytest.fixture
def interrupted(tmp_path):
    study, trial = make_trial(tmp_path, epochs=4)
    train(study, tmp_path / "undisturbed")
    with pytest.raises(Killed):
        train(study, tmp_path / "killed", progress=kill_after(3))
    return study, *(run_folder(study, trial, tmp_path / name) for name in ("undisturbed", "killed"))


def epochs_trained(study, folder):
    epochs = []
    train(study, folder.parent.parent, progress=lambda epoch, _: epochs.append(epoch))
    return epochs


@pytest.mark.parametrize("damage", ["cut", "flipped", "state", "both"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(interrupted, damage):
    study, undisturbed, folder = interrupted
    newest, before = (folder / "checkpoints" / f"epoch-00000{n}" for n in (3, 2))
    if damage == "flipped":
        content = bytearray((newest / "variables.npz").read_bytes())
        content[len(content) // 2] ^= 1
        (newest / "variables.npz").write_bytes(content)
    else:
        cut(newest / ("state.json" if damage == "state" else "variables.npz"))
    if damage == "both":
        cut(before / "variables.npz")
    assert epochs_trained(study, folder) == ([1, 2, 3, 4] if damage == "both" else [3, 4])
    assert_same(folder, left_behind(undisturbed))


def test_a_checkpoint_of_another_model_is_no_fresh_start(interrupted, monkeypatch):
    study, _, folder = interrupted
    monkeypatch.setattr("helpers.build_generator", lambda **_: build_generator())
    assert epochs_trained(study, folder) == []
    result = read_json(folder / "result.json")
    assert "does not fit the model" in result["error"]
    assert "--fresh" in result["error"]
    assert (folder / "checkpoints" / "epoch-000003").exists()


def test_a_full_disk_is_named_and_loses_nothing(interrupted, monkeypatch):
    study, undisturbed, folder = interrupted

    def full(path, variables):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(weights, "save", full)
        assert epochs_trained(study, folder) == []
    error = read_json(folder / "result.json")["error"]
    assert error.startswith("OSError: [Errno 28] No space left on device: ")
    assert f"{folder.name}'. Free some space" in error
    assert epochs_trained(study, folder) == [4]
    assert_same(folder, left_behind(undisturbed))


@pytest.mark.backend
@pytest.mark.parametrize("dtype", ["bfloat16", "uint32"])
def test_variables_come_back_exactly(tmp_path, dtype):
    # Of dropout's state a float would lose digits; eleven, since "10" sorts before "2".
    values = [np.array([2**32 - 1 if dtype == "uint32" else 1, i % 2]) for i in range(11)]
    saved = [keras.Variable(value, dtype=dtype, trainable=False) for value in values]
    others = [keras.Variable(np.zeros(2), dtype=dtype, trainable=False) for _ in saved]
    weights.save(tmp_path / "a.npz", saved)
    weights.load(tmp_path / "a.npz", others)
    assert {variable.dtype for variable in others} == {dtype}
    assert gap(arrays(others), values) == 0.0


def test_variables_that_do_not_fit_change_nothing(tmp_path):
    path = tmp_path / "a.npz"
    weights.save(path, [keras.Variable(np.ones((2, 3))), keras.Variable(1.0)])
    for shapes in ([(2, 3)], [(3, 2), ()], [(2, 3), (), ()]):
        others = [keras.Variable(np.zeros(shape)) for shape in shapes]
        with pytest.raises(ValueError, match="holds weights of another model"):
            weights.load(path, others)
        assert not any(np.any(array) for array in arrays(others))
    cut(path)
    with pytest.raises(ValueError, match="can't be read as weights"):
        weights.load(path, others)
