"""How a trial of the U-Net grid trains, and what is measured of it."""

import dataclasses
import functools
import math

import keras
import numpy as np

from ganlib import losses
from ganlib.backends import variables as weights
from ganlib.callbacks.best import KeepBest
from ganlib.callbacks.meter import Meter
from ganlib.callbacks.plateau import ReduceOnPlateau, StopOnPlateau, StopWhenLost
from ganlib.data import Augment, Batches
from ganlib.experiment import fit as training
from ganlib.experiment.devices import clipping_whole_batches, is_mirrored, spread_over
from ganlib.experiment.study import DONE, STOPPED, Run, StudyError
from ganlib.metrics.segmentation import Jaccard, baselines, score_masks
from ganlib.models.unet import build_unet
from ganlib.models.unet_size import parameters
from ganlib.segmentation import predict
from ganlib.stats import mad, std

WATCHED = "val_jaccard"
BEST = "best.npz"


def train(trial, data, run):
    """Trains and scores one trial; see `ganlib.experiment.study.Study.train`."""
    try:
        return _train(trial, data, run)
    except Exception:
        _compiled.cache_clear()  # what ran out of memory must not hold on to what it had
        raise


def _train(trial, data, run):
    recipe, tiles = trial.recipe, data.of(trial.recipe)
    model = prepare(recipe, trial.seed)
    results = {"parameters": model.count_params()}
    if recipe.start:
        start_from(recipe.start, model, run)
        results["before"] = score(model, tiles.test, recipe)[0]
    results |= train_model(model, trial, tiles, run)
    weights.load(run.path / BEST, model.weights)
    results["test"], found = score(model, tiles.test, recipe)
    # For figures and ensembles, which then need no model.
    np.savez_compressed(run.path / "predictions.npz", probabilities=found.astype("float16"))
    keras.Model(model.inputs[0], model.outputs[0], name=model.name).save(run.model)
    return {
        **results,
        "baselines": baselines(tiles.test.masks, tiles.train.foreground),
        "model_bytes": run.model.stat().st_size,
    }


def start_from(trial_id, model, run):
    """Gives a model the best weights of another trial of the study.

    Raises:
        StudyError: that trial has not finished, or its weights can't be read.
    """
    other = Run(run.path.parent / trial_id)
    result = other.finished()
    if result is None or result["status"] not in (DONE, STOPPED):
        raise StudyError(
            f"This trial begins with the weights of {trial_id}, which "
            f"{'has no result yet' if result is None else 'ran out of memory'}: run that one first."
        )
    try:
        weights.load(other.path / BEST, model.weights)
    except (FileNotFoundError, ValueError) as error:
        raise StudyError(
            f"This trial begins with the weights of {trial_id}, which can't be read: run that one "
            f"again first, with --trials {trial_id} --fresh. Received: {error}"
        ) from error


def shape_of(recipe):
    """What decides the compiled programs and the memory that they need: a recipe with no rate."""
    free = {"learning_rate": 0.0, "mispaired": False, "start": "", "data": "", "epochs": 1}
    return dataclasses.replace(recipe, **free)


def _network(recipe):
    """The part of a recipe's shape that its model is built from."""
    return dataclasses.replace(shape_of(recipe), batch_size=1)


def prepare(recipe, seed):
    """A compiled model with initial weights of its own, and an optimizer that knows nothing.

    Compiling takes as long as several epochs. So a process keeps the last model, whose programs
    serve every learning rate and seed: those are numbers in variables. TensorFlow's serve every
    batch size, too; JAX compiles anew for each.

    Args:
        recipe: `ganlib.studies.unet.Recipe`.
        seed: int.
    """
    fresh = _build(recipe, seed)
    # What is made for several devices belongs to their scope, which ends with the trial.
    model = _compiled.__wrapped__(recipe) if spread_over() > 1 else _compiled(_network(recipe))
    for variable, value in zip(_state(model), _state(fresh), strict=True):
        variable.assign(keras.ops.convert_to_numpy(value))
    for variable in model.optimizer.variables:
        variable.assign(np.zeros(variable.shape, "float32"))
    model.optimizer.learning_rate = recipe.learning_rate
    return model


def _build(recipe, seed):
    return build_unet(
        recipe.architecture,
        recipe.filters,
        depth=recipe.depth,
        channels=recipe.channels,
        dropout=recipe.dropout,
        momentum=recipe.momentum,
        synchronized=is_mirrored(),
        seed=seed,
    )


@functools.lru_cache(maxsize=1)
def _compiled(recipe):
    model = _build(recipe, seed=0)
    training.compile_supervised(
        model,
        clipping_whole_batches(keras.optimizers.Adam)(1.0, recipe.beta_1, clipnorm=recipe.clipnorm),
        losses.BinaryFocal(recipe.focal_gamma),
        [Jaccard(), Jaccard(threshold=None)],
    )
    return model


def _state(model):
    return [*model.weights, *training.random_states(model)]


def expected(recipe, n):
    """What `ReadBack` must find, computed from the recipe and not from the builder.

    Args:
        recipe: `ganlib.studies.unet.Recipe`.
        n: int, training tiles.
    """
    return {
        "learning_rate": recipe.learning_rate,
        "batch_size": min(recipe.batch_size, n),
        "parameters": parameters(
            recipe.architecture, recipe.filters, recipe.depth, recipe.channels
        ),
    }


def train_model(model, trial, tiles, run):
    """Trains, with the write-up's rules; returns what came out, of the epoch that was best."""
    recipe, seed = trial.recipe, trial.seed
    images, masks = tiles.train.arrays()
    validation = tiles.validation.arrays()
    if recipe.mispaired:
        masks, validation = shuffled(masks, seed), (validation[0], shuffled(validation[1], seed))
    best = KeepBest(model, run.path / BEST, None, WATCHED, lower=False, epochs=recipe.epochs)
    meter = Meter()
    rules = {"monitor": WATCHED, "mode": "max"}
    history = training.fit(
        model,
        Batches((images, masks), recipe.batch_size, seed, change=Augment(recipe.augment)),
        run,
        epochs=recipe.epochs,
        expected=expected(recipe, len(images)),
        validation=validation,
        callbacks=[
            best,
            ReduceOnPlateau(
                factor=recipe.plateau_factor,
                patience=recipe.plateau_patience,
                min_lr=recipe.least_learning_rate,
                **rules,
            ),
            StopOnPlateau(patience=recipe.patience, **rules),
            StopWhenLost(),
            meter,
        ],
    )
    kept = history.iloc[max(0, best.epoch - 1)]  # 0: no epoch was better than nothing
    lost = not np.isfinite(kept["val_loss"])  # from the first epoch on, or another would be kept
    return {
        **training.outcome(model, history),
        "best_epoch": best.epoch,
        "jaccard": float(kept["val_jaccard"]),
        "jaccard_soft": 0.0 if lost else float(kept["val_jaccard_soft"]),
        "loss_std": _spread(std, history["val_loss"]),
        "loss_mad": _spread(mad, history["val_loss"]),
        "gap": float(kept["val_loss"] - kept["loss"]),
        "gap_last": float(history["val_loss"].iloc[-1] - history["loss"].iloc[-1]),
        "processor_seconds_per_epoch": float(history["processor_seconds"].median()),
        **meter.costs(),
    }


def _spread(measure, values):
    """A measure of spread; NaN where a training has lost its way, which is no reason to fail."""
    return measure(values) if np.isfinite(values).all() else math.nan


def shuffled(masks, seed):
    """Masks in another order, as an unsorted directory gives them."""
    return masks[np.random.default_rng(seed).permutation(len(masks))]


def score(model, tiles, recipe):
    """Scores on tiles, and the probabilities `(n, size, size, 1)` behind them.

    What is not a number is no foreground: so little is a network worth that has lost its way.
    """
    found = np.nan_to_num(predict(model, tiles.arrays()[0], recipe.batch_size), nan=0.0)
    return score_masks(found, tiles.masks), found
