"""`fit` for a trial: resumable exactly, checked against its recipe, with a history file."""

import dataclasses
import hashlib
import json
import logging
import math
import os
import shutil
import time
import zipfile

import keras
import numpy as np
import pandas

from ganlib.backends import variables as weights
from ganlib.callbacks.health import REMEDIES, Finding, HealthMonitor
from ganlib.data import Batches, EpochOrder
from ganlib.experiment.machine import StudyError
from ganlib.experiment.run import STOPPED, read_json, write_atomically
from ganlib.models.outputs import VALUE_RANGES, output_bounds

CHECKPOINTS_KEPT = 2  # one may be cut short by a full disk; the one before it still stands
EXPECTED = ("d_learning_rate", "g_learning_rate", "batch_size")  # of a GAN, by its recipe
MONITORED = 256  # real images that the health monitor compares with


class RecipeMismatch(RuntimeError):
    """What the model trains with is not what the recipe says."""


def fit(model, batches, run, *, epochs, expected, validation=None, callbacks=()):
    """Trains `model` to `epochs`, from the run's last checkpoint if there is one.

    A resumed run equals an uninterrupted one, bit for bit on the same machine.

    Args:
        model: compiled `Adversarial`, or any other model, compiled by `compile_supervised`.
        batches: `ganlib.data.Batches`; several devices must be able to share them evenly.
        run: `ganlib.experiment.run.Run`, or a phase of one.
        epochs, expected: int; dict for `ReadBack`.
        validation: pair of arrays, inputs and targets, measured after each epoch; not for a GAN.
        callbacks: Keras callbacks. What they add to the epoch's `logs` lands in the history. One
            with `get_state() -> dict` and `set_state(dict)` is saved and restored, too; a file of
            weights that it keeps is its `path`, an .npz: without it the training begins again.

    Returns the history, a `pandas.DataFrame` with a row an epoch. Raises RecipeMismatch as
    `ReadBack` does, and StudyError if the last checkpoint is another model's.
    """
    checkpoint = Checkpoint(run, epochs, callbacks)
    start = checkpoint.restore(model)
    checkpoint.write_history()  # a kill may have come between the last checkpoint and its row
    if start and not _schedule(model.optimizer):  # read back then; callbacks may have lowered it
        expected = {key: value for key, value in expected.items() if key != "learning_rate"}
    if start < epochs and not checkpoint.stopped:
        watchers = [EpochOrder(batches), ReadBack(expected), *callbacks, *run.callbacks, checkpoint]
        options = {"validation_data": validation, "validation_batch_size": batches.batch_size}
        options |= {"epochs": epochs, "initial_epoch": start, "callbacks": watchers}
        model.fit(batches, shuffle=False, verbose=0, **options)
    return pandas.DataFrame(checkpoint.rows)


def fit_gan(
    gan, data, trial, run, *, images=None, monitor=None, callbacks=(), d_rate=None, g_rate=None
):
    """Compiles an `Adversarial` with Adam by the trial's recipe, and trains it as `fit` does.

    Args:
        gan, data: `Adversarial`, not compiled; the study's, its `train` are the default images.
        trial: `Trial` of a recipe with `d_learning_rate`, `g_learning_rate`, `beta_1`,
            `batch_size`, `epochs` and perhaps `beta_2`.
        run, callbacks: as of `fit`; the monitor comes last.
        images: float32 array `(n, height, width, channels)` in the generator's range, or `Batches`.
        monitor: `HealthMonitor`; None: one of the first images that stops the training at a loss
            that is not finite, or none where `images` are `Batches`.
        d_rate, g_rate: `LearningRateSchedule` of a player that begins at the recipe's rate.

    Returns `(history, outcome)`, the `pandas.DataFrame` of `fit` and the dict of `outcome`.
    """
    recipe = trial.recipe
    expected = {key: getattr(recipe, key) for key in EXPECTED}
    moments = {"beta_1": recipe.beta_1, "beta_2": getattr(recipe, "beta_2", 0.999)}
    rates = d_rate or recipe.d_learning_rate, g_rate or recipe.g_learning_rate
    gan.compile(*(keras.optimizers.Adam(rate, **moments) for rate in rates))
    if images is None:
        value_range = VALUE_RANGES.get(output_bounds(gan.generator))
        if value_range is None:
            raise ValueError("Give `images`: the generator ends in neither sigmoid nor tanh.")
        images = data.train.as_range(value_range)
    if isinstance(images, np.ndarray):
        monitor = monitor or HealthMonitor(images[:MONITORED], stop_on=("non_finite_loss",))
        expected["batch_size"] = min(recipe.batch_size, len(images))
        images = Batches(images, recipe.batch_size, seed=trial.seed)
    callbacks = [*callbacks, *([monitor] if monitor else [])]
    history = fit(gan, images, run, epochs=recipe.epochs, expected=expected, callbacks=callbacks)
    return history, outcome(gan, history, monitor)


def compile_supervised(model, optimizer, loss, metrics=()):
    """`model.compile` of a plain Keras model such that `fit` can read back what it trains on."""
    model.compile(optimizer, loss, metrics=[ImageCount(), *metrics])
    # Not at the first step: a checkpoint's slots would find none to be loaded into.
    model.optimizer.build(model.trainable_variables)


@keras.saving.register_keras_serializable("ganlib")
class ImageCount(keras.metrics.Metric):
    """Number of images that an epoch's steps were given."""

    def __init__(self, name="images", **kwargs):
        super().__init__(name=name, **kwargs)
        self.count = self.add_weight(name="count", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.count.assign_add(keras.ops.cast(keras.ops.shape(y_true)[0], "float32"))

    def result(self):
        return self.count + 0.0


def outcome(model, history, monitor=None):
    """What any trial's result tells of its training, by what `fit` trained, and returned.

    A dict with `epochs`, `seconds_per_epoch` (the median: the first epoch compiles), `findings`
    (list of dicts; without a `HealthMonitor` only one of a loss that is not finite), of a GAN
    `g_parameters` and `d_parameters`, and `status`, "stopped", if a callback ended it early.
    """
    found = {"status": STOPPED} if model.stop_training else {}
    found |= {"epochs": len(history), "seconds_per_epoch": float(history["seconds"].median())}
    for player in ("generator", "discriminator"):
        if hasattr(model, player):
            found[f"{player[0]}_parameters"] = getattr(model, player).count_params()
    if monitor is None:
        return found | findings(history)
    return found | {"findings": [dataclasses.asdict(finding) for finding in monitor.findings]}


def findings(history):
    """`{"findings": …}`, as of a `HealthMonitor`, if a loss was ever not finite; else nothing."""
    for row in history.to_dict("records"):
        losses = {key: row[key] for key in ("loss", "val_loss") if key in row}
        if not all(map(math.isfinite, losses.values())):
            shown = ", ".join(f"{key} {value:.3g}" for key, value in losses.items())
            evidence = f"After epoch {row['epoch']}: {shown}."
            told = "non_finite_loss", row["epoch"], evidence, REMEDIES["non_finite_loss"]
            return {"findings": [dataclasses.asdict(Finding(*told))]}
    return {}


class ReadBack(keras.callbacks.Callback):
    """Compares the model with its recipe after the first step, and stops at a difference.

    The numbers come from the optimizers' variables and the images that went through, as a
    misspelt argument may be ignored; and no trainable variable may lack an optimizer.

    `expected` is a dict with any of `d_learning_rate`, `g_learning_rate` and `batch_size`; of a
    plain model `learning_rate` and `batch_size`.
    """

    def __init__(self, expected):
        super().__init__()
        self.expected, self._checked = expected, False

    def on_train_begin(self, logs=None):
        model = self.model
        self._players, self._seen_before = [("", model.optimizer, model)], 0
        if hasattr(model, "discriminator"):
            d, g = model.optimizer.optimizers
            self._players = [("d_", d, model.discriminator), ("g_", g, model.generator)]
            self._seen_before = int(model.images_seen.numpy())

    def on_train_batch_end(self, batch, logs=None):
        if self._checked:
            return
        self._checked = True
        model = self.model  # on JAX asking for it brings the variables up to date
        seen = model.images_seen.numpy() if len(self._players) == 2 else _scalar(logs["images"])
        actual = {f"{name}learning_rate": _rate(optimizer) for name, optimizer, _ in self._players}
        actual["batch_size"] = int(seen) - self._seen_before
        wrong = [
            f"{key}: recipe {value:.12g}, model {actual[key]:.7g}"
            for key, value in self.expected.items()
            if abs(value - actual[key]) > 1e-6 * abs(value)
        ]
        for _, optimizer, network in self._players:
            owned = {id(variable) for variable in optimizer._trainable_variables}
            lost = [v.path for v in network.trainable_variables if id(v) not in owned]
            if lost or not owned:
                wrong.append(f"{network.name}: its optimizer lacks {', '.join(lost) or 'all'}")
        if wrong:
            raise RecipeMismatch(
                f"The model does not train by its recipe: {'; '.join(wrong)}. Do the builder and "
                "compile() pass these settings on?"
            )


def _schedule(optimizer):
    rate = getattr(optimizer, "_learning_rate", None)
    return rate if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule) else None


def _rate(optimizer):
    """The learning rate; where a schedule makes it, the one that it starts from."""
    schedule = _schedule(optimizer)
    return _scalar(schedule.initial_learning_rate if schedule else optimizer.learning_rate)


def _scalar(value):
    return float(keras.ops.convert_to_numpy(value))


class Checkpoint(keras.callbacks.Callback):
    """Saves all that a resumed run needs after each epoch, and the history as history.csv."""

    def __init__(self, run, epochs, callbacks=()):
        super().__init__()
        self.run, self.epochs = run, epochs
        self.stateful = [c for c in callbacks if hasattr(c, "get_state")]
        self.rows, self.stopped = [], False

    def restore(self, model):
        """Loads the newest checkpoint that is whole; returns the epochs done."""
        folders = sorted(self.run.checkpoints.glob("epoch-*"), reverse=True)
        kept = [callback.path for callback in self.stateful if hasattr(callback, "path")]
        if folders and not all(map(_is_whole, kept)):
            _remove(folders, "is of no use without the best weights: the training begins again")
            return 0
        for folder in folders:
            state, values = read_json(folder / "state.json"), folder / "variables.npz"
            # Cut short: the one before still stands. Loading would find out only halfway through.
            if not state or not values.exists() or state["variables"] != _sha256(values):
                _remove([folder], "is damaged: its epoch is trained again")
                continue
            try:
                weights.load(values, _variables(model))
            except ValueError as error:  # to begin again would be a silent loss
                advice = "whose code must have changed: begin again with --fresh"
                raise StudyError(f"{folder} does not fit the model, {advice}. {error}") from error
            self.rows = state["rows"]
            self.stopped = model.stop_training = state["stopped"]
            for callback, saved in zip(self.stateful, state["callbacks"], strict=True):
                callback.set_state(saved)
            return len(self.rows)
        return 0

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch + 1, **{key: float(value) for key, value in (logs or {}).items()}}
        self.rows.append({**row, "seconds": round(time.monotonic() - self._start, 3)})
        self._save(epoch + 1)
        self.write_history()
        self.run.progress(epoch + 1, self.epochs)

    def write_history(self):
        if self.rows:
            table = pandas.DataFrame(self.rows).to_csv(index=False)
            write_atomically(self.run.path / "history.csv", table)

    def _save(self, epoch):
        temporary = self.run.checkpoints / ".writing"
        shutil.rmtree(temporary, ignore_errors=True)  # a kill's
        temporary.mkdir()
        values = temporary / "variables.npz"
        weights.save(values, _variables(self.model))
        state = {"rows": self.rows, "stopped": bool(self.model.stop_training)}
        state["callbacks"] = [callback.get_state() for callback in self.stateful]
        state["variables"] = _sha256(values)
        # Not write_json, which has no infinity: the rows must come back as they are.
        write_atomically(temporary / "state.json", json.dumps(state))
        folder = self.run.checkpoints / f"epoch-{epoch:06d}"
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
        _remove(sorted(self.run.checkpoints.glob("epoch-*"))[:-CHECKPOINTS_KEPT])


def random_states(model):
    """What Keras does not save: the states of dropout and of whatever else is random."""
    saved = [*model.weights, *(v for metric in model.metrics for v in metric.variables)]
    known = set(map(id, saved))
    return [variable for variable in model.variables if id(variable) not in known]


def _variables(model):
    return [*model.weights, *random_states(model), *model.optimizer.variables]


def _is_whole(path):
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is None
    except (EOFError, FileNotFoundError, zipfile.BadZipFile):
        return False


def _remove(folders, why=None):
    for folder in folders:
        if why:
            logging.getLogger(__name__).warning("%s %s.", folder, why)
        shutil.rmtree(folder, ignore_errors=True)


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
