"""`fit` for a trial: resumable exactly, checked against its recipe, with a history file."""

import dataclasses
import hashlib
import json
import logging
import os
import shutil
import time
import zipfile

import keras
import numpy as np
import pandas

from ganlib.backends import variables as weights
from ganlib.callbacks.health import REMEDIES, Finding
from ganlib.callbacks.players import PLAYERS
from ganlib.data import Batches, EpochAdapter, EpochOrder
from ganlib.experiment.devices import check_batches, mirrors
from ganlib.experiment.faults import naming
from ganlib.experiment.study import STOPPED, StudyError, read_json, write_atomically

CHECKPOINTS_KEPT = 2  # one may be cut short by a full disk; the one before it still stands


class RecipeMismatch(RuntimeError):
    """What the model trains with is not what the recipe says."""


def fit(
    model,
    data,
    run,
    *,
    epochs,
    expected,
    batch_size=None,
    seed=None,
    validation=None,
    callbacks=(),
):
    """Trains `model` to `epochs`, from the run's last checkpoint if there is one.

    The order of the images in an epoch is a function of seed and epoch alone, and a checkpoint
    holds weights, both optimizers, all random states and the state of the callbacks. A resumed run
    therefore equals an uninterrupted one, bit for bit on the same machine.

    Args:
        model: compiled `Adversarial`, or any other model, compiled by `compile_supervised`.
        data: `Batches` or `Patches`; or float32 array `(n, height, width, channels)`.
        run: `ganlib.experiment.study.Run`, or a phase of one.
        epochs: int.
        expected: dict for `ReadBack`.
        batch_size: int, images a step, where `data` is an array.
        seed: int, of the order of the images, where `data` is an array.
        validation: pair of arrays, inputs and targets, measured after each epoch; the history gets
            `val_loss` and, for each metric, `val_…`. For models of `compile_supervised`.
        callbacks: Keras callbacks. What they add to the epoch's `logs` lands in the history. One
            with `get_state() -> dict` and `set_state(dict)` is saved and restored, too. If such a
            one keeps weights in a file of its own, an .npz, that is its `path`: without the file
            the training begins again.

    Returns:
        The history, a `pandas.DataFrame` with a row an epoch.

    Raises:
        RecipeMismatch: see `ReadBack`.
        StudyError: the last checkpoint is another model's.
        ValueError: several devices can't share the batches evenly.
    """
    adapted = isinstance(data, EpochAdapter)
    batches = data if adapted else Batches(data, batch_size, seed=seed)
    check_batches(batches.batch_size + batches.partial_batch_size, batches.batch_size)
    if validation:
        check_batches(len(validation[0]), batches.batch_size)
    checkpoint = Checkpoint(run, epochs, callbacks)
    start = checkpoint.restore(model)
    checkpoint.write_history()  # a kill may have come between the last checkpoint and its row
    if start and not _has_schedule(model):  # read back by then; callbacks may have lowered it since
        expected = {key: value for key, value in expected.items() if key != "learning_rate"}
    if start < epochs and not checkpoint.stopped:
        model.fit(
            batches,
            validation_data=validation,
            validation_batch_size=batches.batch_size,
            epochs=epochs,
            initial_epoch=start,
            shuffle=False,
            verbose=0,
            callbacks=[
                EpochOrder(batches),
                ReadBack(expected),
                *callbacks,
                *run.callbacks,
                checkpoint,
            ],
        )
    return pandas.DataFrame(checkpoint.rows)


def compile_supervised(model, optimizer, loss, metrics=()):
    """Compiles a plain Keras model so that `fit` can read back what it trains on.

    Args:
        model: `keras.Model`.
        optimizer: `keras.optimizers.Optimizer`.
        loss: `keras.losses.Loss`.
        metrics: `keras.metrics.Metric`s, for the history.
    """
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
    """What any trial's result tells of its training.

    Args:
        model: that `fit` has trained.
        history: `pandas.DataFrame`, which `fit` returned.
        monitor: `HealthMonitor` that watched; `None`: only a loss that is not finite is a finding.

    Returns:
        dict with `epochs`, `seconds_per_epoch` (the median: the first epoch compiles) and
        `findings` (a list of dicts; without a monitor only where there is one); of a GAN
        `g_parameters` and `d_parameters`; and `status`, "stopped", if a callback ended it early.
    """
    players = [player for player in PLAYERS if hasattr(model, player)]
    if monitor is None:
        found = findings(history)
    else:
        found = {"findings": [dataclasses.asdict(finding) for finding in monitor.findings]}
    return {
        **({"status": STOPPED} if model.stop_training else {}),
        "epochs": len(history),
        "seconds_per_epoch": float(history["seconds"].median()),
        **{f"{player[0]}_parameters": getattr(model, player).count_params() for player in players},
        **found,
    }


def findings(history):
    """`{"findings": …}`, as of a `HealthMonitor`, if a loss was ever not finite; else nothing."""
    losses = history[[key for key in ("loss", "val_loss") if key in history]]
    lost = np.flatnonzero(~np.isfinite(losses).all(axis=1))
    if not len(lost):
        return {}
    epoch, first = int(history["epoch"].iloc[lost[0]]), losses.iloc[lost[0]]
    shown = ", ".join(f"{key} {value:.3g}" for key, value in first.items())
    evidence = f"After epoch {epoch}: {shown}."
    finding = Finding("non_finite_loss", epoch, evidence, REMEDIES["non_finite_loss"])
    return {"findings": [dataclasses.asdict(finding)]}


class ReadBack(keras.callbacks.Callback):
    """Compares the model with its recipe after the first step, and stops at a difference.

    A published grid search once trained all its learning rates at the default, because the
    optimizer ignored a misspelt argument. So nothing here asks the recipe what it asked for: the
    numbers come from the optimizers' variables, the weights and the images that went through.

    Args:
        expected: dict with any of `d_learning_rate`, `g_learning_rate`, `batch_size` (at most, for
            a set smaller than a batch), `d_parameters`, `g_parameters`; of a plain model
            `learning_rate`, `batch_size` and `parameters`.

    Raises:
        RecipeMismatch: after the first step, naming each value that differs.
    """

    def __init__(self, expected):
        super().__init__()
        self.expected = expected
        self._checked = False

    def on_train_begin(self, logs=None):
        self._adversarial = hasattr(self.model, "discriminator")
        if self._adversarial:
            self._seen_before = int(self.model.images_seen.numpy())

    def on_train_batch_end(self, batch, logs=None):
        if self._checked:
            return
        self._checked = True
        actual = self._read() if self._adversarial else self._read_plain(logs)
        wrong = {k: (v, actual[k]) for k, v in self.expected.items() if not _equal(v, actual[k])}
        if wrong:
            listed = "; ".join(
                f"{k}: recipe {v:.12g}, model {a:.7g}" for k, (v, a) in wrong.items()
            )
            raise RecipeMismatch(
                f"The model does not train by its recipe: {listed}. Check that the builder and "
                "compile() pass these settings on."
            )

    def _read(self):
        rates = {
            f"{player}_learning_rate": _rate(optimizer)
            for player, optimizer in zip("dg", self.model.optimizer.optimizers, strict=True)
        }
        return {
            **rates,
            "batch_size": int(self.model.images_seen.numpy()) - self._seen_before,
            "d_parameters": self.model.discriminator.count_params(),
            "g_parameters": self.model.generator.count_params(),
        }

    def _read_plain(self, logs):
        return {
            "learning_rate": _rate(self.model.optimizer),
            "batch_size": int(_scalar(logs["images"])) * mirrors(),  # the logs are one mirror's
            "parameters": self.model.count_params(),
        }


def _has_schedule(model):
    rate = getattr(model.optimizer, "_learning_rate", None)
    return isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)


def _rate(optimizer):
    """The learning rate; where a schedule makes it, the one that it starts from."""
    schedule = optimizer._learning_rate  # `learning_rate` is the schedule's value by now
    return _scalar(getattr(schedule, "initial_learning_rate", optimizer.learning_rate))


def _scalar(value):
    return float(keras.ops.convert_to_numpy(value))


def _equal(expected, actual):
    return abs(expected - actual) <= 1e-6 * abs(expected)


class Checkpoint(keras.callbacks.Callback):
    """Saves all that a resumed run needs after each epoch, and the history as history.csv.

    Unlike `keras.callbacks.BackupAndRestore` it also carries the history and the other callbacks'
    state, and a kill while it writes leaves the checkpoint before in place.
    """

    def __init__(self, run, epochs, callbacks=()):
        super().__init__()
        self.run = run
        self.epochs = epochs
        self.stateful = [c for c in callbacks if hasattr(c, "get_state")]
        self.rows = []
        self.stopped = False

    def restore(self, model):
        """Loads the newest checkpoint that is whole; returns the epochs done."""
        folders = self._folders()
        for path in self._kept() if folders else ():
            if not _is_whole(path):
                _log(f"{path} is damaged: the training begins again, and makes it anew.")
                _remove(folders)  # they belong to the lost file
                return 0
        for folder in folders:
            state = read_json(folder / "state.json")
            values = folder / "variables.npz"
            # Cut short: the one before still stands. Loading would find out only halfway through.
            if not state or not values.exists() or state.get("variables") != _sha256(values):
                _log(f"{folder} is damaged: it is removed, and its epoch trained again.")
                _remove([folder])
                continue
            try:
                weights.load(values, _variables(model))
            except ValueError as error:  # to begin again would be a silent loss
                raise StudyError(
                    f"{folder} is whole but does not fit the model, whose code must have changed "
                    f"since. Begin again with --fresh. Received: {error}"
                ) from error
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

    def _kept(self):
        return [callback.path for callback in self.stateful if hasattr(callback, "path")]

    def _folders(self):
        return sorted(self.run.checkpoints.glob("epoch-*"), reverse=True)

    def _save(self, epoch):
        temporary = self.run.checkpoints / ".writing"
        shutil.rmtree(temporary, ignore_errors=True)  # a kill's
        temporary.mkdir()
        values = temporary / "variables.npz"
        with naming(values):
            weights.save(values, _variables(self.model))
        state = {
            "rows": self.rows,
            "stopped": bool(self.model.stop_training),
            "callbacks": [callback.get_state() for callback in self.stateful],
            "variables": _sha256(values),
        }
        # Not write_json, which has no infinity: the rows must come back as they are.
        write_atomically(temporary / "state.json", json.dumps(state))
        folder = self.run.checkpoints / f"epoch-{epoch:06d}"
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
        _remove(self._folders()[CHECKPOINTS_KEPT:])


def random_states(model):
    """What Keras does not save: the states of dropout and of whatever else is random."""
    known = [*model.weights, *(v for metric in model.metrics for v in metric.variables)]
    known = {id(variable) for variable in known}
    return [variable for variable in model.variables if id(variable) not in known]


def _variables(model):
    """All that a resumed training needs: weights, optimizer and random states."""
    return [*model.weights, *random_states(model), *model.optimizer.variables]


def _is_whole(path):
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is None
    except (EOFError, FileNotFoundError, zipfile.BadZipFile):
        return False


def _remove(folders):
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _log(message):
    logging.getLogger(__name__).warning(message)


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
