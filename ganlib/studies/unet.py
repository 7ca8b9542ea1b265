"""The U-Net grid study: 4 learning rates × 3 batch sizes × 3 architectures, and what they show."""

import collections
import dataclasses
import functools
import itertools
import math
import statistics

import keras
import numpy as np

from ganlib import losses
from ganlib.apply import predict
from ganlib.backends import variables as weights
from ganlib.callbacks.best import KeepBest
from ganlib.callbacks.plateau import Meter, ReduceOnPlateau, StopOnPlateau, StopWhenLost
from ganlib.data import Augment, Batches, load_parts
from ganlib.data.parts import Parts
from ganlib.experiment import fit as training
from ganlib.experiment.machine import StudyError
from ganlib.experiment.run import DONE, STOPPED, Run
from ganlib.experiment.study import Source, Study, Trial
from ganlib.metrics.segmentation import Jaccard, baselines, score_masks
from ganlib.models.unet import ARCHITECTURES, build_unet
from ganlib.stats import mad, std

LEARNING_RATES = (1e-4, 5e-4, 1e-3, 5e-3)
BATCH_SIZES = (8, 16, 32)
FIELDS = ("architecture", "batch_size", "learning_rate")  # what the grid varies
GRID = tuple(itertools.product(ARCHITECTURES, BATCH_SIZES, LEARNING_RATES))
LONGER = {"quick": 2, "cpu": 4, "full": 4}  # times the grid's epochs: at least 100 in full
MISPAIRED = "mispaired"
SECOND = Source("membranes", None, ("second", "isbi", "membranes"), needed=False)
WATCHED = "val_jaccard"
BEST = "best.npz"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that a trial of the grid depends on, except its data and seed.

    The defaults are the write-up's, and of the grid its recommended middle. It says nothing of
    augmentation: square pictures without up or down are turned and mirrored.
    """

    architecture: str = "unet"
    learning_rate: float = 1e-3
    batch_size: int = 16
    filters: int = 64  # of the first level
    depth: int = 4
    dropout: float = 0.0
    size: int = 256  # pixels of a tile's side
    channels: int = 1
    most: int | None = None  # training tiles at most, drawn at random
    held_out: int | None = None  # validation tiles at most, and test tiles
    augment: tuple[str, ...] = ("orientation",)
    mispaired: bool = False  # a control: masks of other pictures
    focal_gamma: float = 2.0
    clipnorm: float = 1.0
    beta_1: float = 0.9
    momentum: float = 0.9  # of batch normalisation; see `ganlib.models.unet`
    epochs: int = 30
    plateau_factor: float = 0.5
    plateau_patience: int = 5
    least_learning_rate: float = 1e-6
    patience: int = 10  # epochs without a better validation Jaccard, after which training stops
    times: int = 1  # so many times the epochs, and as much more patience to use them
    second: bool = False  # train and score on the second set
    start: str = ""  # name of the trial whose weights this one begins with; none: at random


# fmt: off
PROFILES = {
    # Small networks and pictures; what is left of an epoch's meaning is the number of steps.
    "quick": {"filters": 8, "depth": 2, "size": 48, "most": 80, "held_out": 32, "epochs": 6,
        "plateau_patience": 2, "patience": 4},
    # Small networks on a part of the pictures, with the write-up's epochs.
    "cpu": {"filters": 8, "depth": 3, "size": 48, "most": 128, "held_out": 64},
    "full": {},
}
# fmt: on


def name_of(recipe):
    """A cell's name, for people. Nothing ever reads a setting back out of it."""
    return f"{recipe.architecture}-lr{recipe.learning_rate:g}-bs{recipe.batch_size}"


def variations(study):
    """The grid's 36 cells with two controls; or, after them, what follows from the best cell.

    The controls are the write-up's earlier setting, and masks that belong to other pictures.

    Raises:
        ValueError: a change of what the grid itself varies.
    """
    if fixed := set(FIELDS) & set(study.changes):
        raise ValueError(
            f"The grid itself varies {', '.join(FIELDS)}: choose cells with --trials, such as "
            f"'unet-lr0.001-bs16'. Received: {', '.join(sorted(fixed))}"
        )
    make = functools.partial(dataclasses.replace, study.base)
    if study.after:
        best = make(**study.after)
        second = dataclasses.replace(best, second=True)
        return {
            "longer": dataclasses.replace(best, times=LONGER[study.profile]),
            "second-from-scratch": second,
            "second-fine-tuned": dataclasses.replace(second, start=name_of(best)),
        }
    # Those of one shape behind one another.
    recipes = [make(**dict(zip(FIELDS, cell, strict=True))) for cell in GRID]
    recipes = {name_of(recipe): recipe for recipe in recipes}
    for name in ARCHITECTURES:
        recipes[f"earlier-{name}"] = make(architecture=name, learning_rate=1e-2, batch_size=8)
    return {**recipes, MISPAIRED: make(mispaired=True)}


def best_cell(study, results):
    """The settings of the cell with the best validation Jaccard, mean over its seeds.

    Returns:
        dict of the recipe's fields that the grid varies; None where no cell has a result.
    """
    scores = collections.defaultdict(list)
    for result in results:
        settings = tuple(result["recipe"][field] for field in FIELDS)
        if settings in GRID and result["name"] != MISPAIRED and "jaccard" in result["metrics"]:
            scores[settings].append(result["metrics"]["jaccard"])
    if not scores:
        return None
    best = max(scores, key=lambda settings: statistics.mean(scores[settings]))
    return dict(zip(FIELDS, best, strict=True))


@dataclasses.dataclass(eq=False)
class TileData:
    """Tiles with their masks: those of the grid, and of the set on which its best cell is tried."""

    first: Parts
    second: Parts

    def __post_init__(self):
        for name in ("train", "validation", "test", "name", "origin", "synthetic"):
            setattr(self, name, getattr(self.first, name))
        self.checksum = self.first.checksum + self.second.checksum

    def of(self, recipe):
        """The data that a recipe trains on."""
        return self.second if recipe.second else self.first


def load(spec, study):
    """Both sets, divided; no image is in two parts.

    `spec` is what `ganlib.data.load` takes: "nuclei" (embedded, synthetic), "membranes", a folder
    of images and masks, a TIFF stack, an .npz, or a set of TFDS. After a comma the second set, as
    "a.npz,b.npz"; by default the other embedded one.
    """
    first, _, second = spec.partition(",") if isinstance(spec, str) else (spec, "", "")
    if not second:
        other = "nuclei" if first == "membranes" else "membranes"
        second = SECOND.choose(study.profile) if study.options["data"] is None else other
    recipe = next(iter(study.recipes.values()))
    most = {"train": recipe.most, "validation": recipe.held_out, "test": recipe.held_out}
    most = {part: count for part, count in most.items() if count}
    options = {"tile": recipe.size, "channels": recipe.channels, "most": most}
    return TileData(load_parts(first, **options), load_parts(second, **options))


def train(trial, data, run):
    """Trains and scores one trial; see `ganlib.experiment.study.Study`."""
    recipe, tiles = trial.recipe, data.of(trial.recipe)
    try:
        model = prepare(recipe, trial.seed)
        results = {"parameters": model.count_params()}
        if recipe.start:
            start_from(trial, model, run)
            results["before"] = score(model, tiles.test, recipe)[0]
        results |= fit(model, trial, tiles, run)
        weights.load(run.path / BEST, model.weights)
        results["test"], found = score(model, tiles.test, recipe)
    except Exception:
        _compiled.cache_clear()  # what ran out of memory must not hold on to what it had
        raise
    # For figures and ensembles, which then need no model.
    np.savez_compressed(run.path / "predictions.npz", probabilities=found.astype("float16"))
    keras.Model(model.inputs[0], model.outputs[0], name=model.name).save(run.model)
    results["baselines"] = baselines(tiles.test.masks, tiles.train.foreground)
    return {**results, "model_bytes": run.model.stat().st_size}


def start_from(trial, model, run):
    """Gives a model the best weights of the trial that its own begins with, of the same seed.

    Raises:
        StudyError: that trial has not finished, or its weights can't be read.
    """
    recipe = dataclasses.replace(trial.recipe, second=False, start="")
    name = Trial(trial.recipe.start, recipe, trial.seed, trial.data).id
    other = Run(run.path.parent / name)
    result = other.finished() or {"status": "no result yet"}
    try:
        if result["status"] not in (DONE, STOPPED):
            raise FileNotFoundError(result["status"])
        weights.load(other.path / BEST, model.weights)
    except (FileNotFoundError, ValueError) as error:
        raise StudyError(
            f"This trial begins with the weights of {name}, which can't be read: run that one "
            f"first, with --trials {name} --fresh. Received: {error}"
        ) from error


def shape_of(recipe):
    """What decides the compiled programs and the memory that they need: a recipe with no rate."""
    free = {"learning_rate": 0.0, "mispaired": False, "start": "", "second": False, "epochs": 1}
    return dataclasses.replace(recipe, **free, times=1)


def prepare(recipe, seed):
    """A compiled model with initial weights of its own, and an optimizer that knows nothing.

    Compiling takes as long as several epochs. So a process keeps the last model, whose programs
    serve every learning rate and seed: those are numbers in variables. TensorFlow's serve every
    batch size, too; JAX compiles anew for each.
    """
    fresh = _build(recipe, seed)
    model = _compiled(dataclasses.replace(shape_of(recipe), batch_size=1))
    for variable, value in zip(_state(model), _state(fresh), strict=True):
        variable.assign(keras.ops.convert_to_numpy(value))
    for variable in model.optimizer.variables:
        variable.assign(np.zeros(variable.shape, "float32"))
    model.optimizer.learning_rate = recipe.learning_rate
    return model


def _build(recipe, seed):
    settings = ("filters", "depth", "channels", "dropout", "momentum")
    settings = {name: getattr(recipe, name) for name in settings}
    return build_unet(recipe.architecture, **settings, seed=seed)


@functools.lru_cache(maxsize=1)
def _compiled(recipe):
    model = _build(recipe, seed=0)
    optimizer = keras.optimizers.Adam(1.0, recipe.beta_1, clipnorm=recipe.clipnorm)
    metrics = [Jaccard(), Jaccard(threshold=None)]
    loss = losses.BinaryFocal(recipe.focal_gamma)
    training.compile_supervised(model, optimizer, loss, metrics)
    return model


def _state(model):
    return [*model.weights, *training.random_states(model)]


def fit(model, trial, tiles, run):
    """Trains, with the write-up's rules; returns what came out, of the epoch that was best."""
    recipe, seed = trial.recipe, trial.seed
    (images, masks), validation = tiles.train.arrays(), tiles.validation.arrays()
    if recipe.mispaired:
        masks, validation = shuffled(masks, seed), (validation[0], shuffled(validation[1], seed))
    epochs, rules = recipe.times * recipe.epochs, {"monitor": WATCHED, "mode": "max"}
    best = KeepBest(model, run.path / BEST, None, WATCHED, lower=False, epochs=epochs)
    plateau = {"factor": recipe.plateau_factor, "min_lr": recipe.least_learning_rate, **rules}
    slower = ReduceOnPlateau(patience=recipe.times * recipe.plateau_patience, **plateau)
    enough = StopOnPlateau(patience=recipe.times * recipe.patience, **rules)
    meter = Meter()
    change = Augment(recipe.augment) if recipe.augment else None
    history = training.fit(
        model,
        Batches((images, masks), recipe.batch_size, seed, change=change),
        run,
        epochs=epochs,
        expected={
            "learning_rate": recipe.learning_rate,
            "batch_size": min(recipe.batch_size, len(images)),
        },
        validation=validation,
        callbacks=[best, slower, enough, StopWhenLost(), meter],
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


STUDY = Study(
    name="unet",
    title="A U-Net grid of 36 cells, and what it can tell",
    recipe=Recipe,
    profiles=PROFILES,
    variations=variations,
    load=load,
    train=train,
    module=__name__,
    source=Source("nuclei", None, ("unet", "nuclei", "cells")),
    seeds={"quick": 1, "cpu": 3, "full": 3},  # the question is what seeds alone make different
    epochs=lambda recipe: recipe.times * recipe.epochs,
    shape=shape_of,
    follow=best_cell,
)
