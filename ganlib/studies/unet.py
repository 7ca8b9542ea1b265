"""The U-Net grid study: 4 learning rates × 3 batch sizes × 3 architectures, and what they show."""

import collections
import dataclasses
import functools
import itertools
import json
import math
import statistics

import keras
import numpy as np

from ganlib import losses
from ganlib.apply import predict
from ganlib.backends import variables as weights
from ganlib.backends.precision import half_precision
from ganlib.callbacks.best import KeepBest
from ganlib.callbacks.plateau import Meter, ReduceOnPlateau, StopOnPlateau, StopWhenLost
from ganlib.data import Augment, Batches, load_parts
from ganlib.experiment import fit as training
from ganlib.experiment.machine import StudyError
from ganlib.experiment.run import DONE, STOPPED, Run
from ganlib.experiment.study import QUICK, Source, Study, Trial, chosen
from ganlib.metrics.segmentation import Jaccard, baselines, score_masks
from ganlib.models.unet import ARCHITECTURES, build_unet
from ganlib.stats import mad, std

LEARNING_RATES = (1e-4, 5e-4, 1e-3, 5e-3)
BATCH_SIZES = (8, 16, 32)
FIELDS = ("architecture", "batch_size", "learning_rate")  # what the grid varies
GRID = tuple(itertools.product(ARCHITECTURES, BATCH_SIZES, LEARNING_RATES))
# Three seeds of a few cells tell more than one of each.
QUICK_GRID = (*(("unet", 8, rate) for rate in LEARNING_RATES), ("attention_resunet", 8, 1e-3))
LONGER = {"quick": 2, "cpu": 4, "full": 4}  # times the grid's epochs: at least 100 in full
MISPAIRED = "mispaired"
SECOND = Source("membranes", None, ("second", "isbi", "membranes"), needed=False)
WATCHED, BEST = "val_jaccard", "best.npz"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a trial of the grid depends on, except its data and seed; by default the write-up's."""

    architecture: str | dict = "unet"  # or one's own, see `Study.with_variation`
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
    half_precision: bool = False  # bfloat16, where the machine computes in it
    epochs: int = 30
    plateau_factor: float = 0.5
    plateau_patience: int = 5
    least_learning_rate: float = 1e-6
    patience: int = 10  # epochs without a better validation Jaccard, after which training stops
    times: int = 1  # so many times the epochs, and as much more patience to use them
    second: bool = False  # train and score on the second set
    start: str = ""  # name of the trial whose weights this one begins with; none: at random


_QUICK = {"filters": 8, "depth": 2, "size": 48, "most": 80, "held_out": 32}
_QUICK |= {"batch_size": 8, "epochs": 12, "plateau_patience": 3, "patience": 6}
_CPU = {"filters": 8, "depth": 3, "size": 48, "most": 128, "held_out": 64}
PROFILES = {"quick": _QUICK, "cpu": _CPU, "full": {"half_precision": True}}


def name_of(recipe):
    """A cell's name, for people: nothing ever reads a setting back out of it."""
    return f"{recipe.architecture}-lr{recipe.learning_rate:g}-bs{recipe.batch_size}"


def variations(study):
    """The grid's cells with controls; or, after them, what follows from the best cell."""
    if fixed := sorted(set(FIELDS) & set(study.changes)):
        told = f"The grid itself varies {', '.join(FIELDS)}: choose cells with --trials, such as "
        raise ValueError(f"{told}'unet-lr0.001-bs16'. Received: {', '.join(fixed)}")
    make = functools.partial(dataclasses.replace, study.base)
    if study.after:
        best = functools.partial(make, **study.after)
        return {
            "longer": best(times=LONGER[study.profile]),
            "second-from-scratch": best(second=True),
            "second-fine-tuned": best(second=True, start=name_of(best())),
        }
    quick = study.profile == QUICK
    grid = QUICK_GRID if quick else GRID
    cells = [make(**dict(zip(FIELDS, cell, strict=True))) for cell in grid]
    recipes = {name_of(recipe): recipe for recipe in cells}
    for name in ARCHITECTURES[: 1 if quick else None]:  # the write-up's earlier setting
        recipes[f"earlier-{name}"] = make(architecture=name, learning_rate=1e-2, batch_size=8)
    return {**recipes, MISPAIRED: make(mispaired=True)}


def best_cell(study, results):
    """Field → value of the cell with the best mean validation Jaccard; None where none has one."""
    scores = collections.defaultdict(list)
    for result in results:
        settings = tuple(result["recipe"][field] for field in FIELDS)
        if settings in GRID and result["name"] != MISPAIRED and "jaccard" in result["metrics"]:
            scores[settings].append(result["metrics"]["jaccard"])
    best = max(scores, key=lambda settings: statistics.mean(scores[settings]), default=None)
    return best and dict(zip(FIELDS, best, strict=True))


class TileData:
    """Tiles with masks, as `Parts`: the grid's, and those on which its best cell is tried."""

    def __init__(self, first, second):
        self.first, self.second = first, second
        for name in ("train", "validation", "test", "name", "origin", "synthetic"):
            setattr(self, name, getattr(first, name))
        self.checksum = self.first.checksum + self.second.checksum


def load(spec, study):
    """Both sets, divided; `spec` may name the second after a comma, as "a.npz,b.npz"."""
    first, _, second = spec.partition(",") if isinstance(spec, str) else (spec, "", "")
    if not second:
        other = "nuclei" if first == "membranes" else "membranes"
        second = SECOND.choose(study.profile) if study.options["data"] is None else other
    recipe = next(iter(study.recipes.values()))
    most = {"train": recipe.most, "validation": recipe.held_out, "test": recipe.held_out}
    most = {part: count for part, count in most.items() if count}
    options = {"tile": recipe.size, "channels": recipe.channels, "most": most}
    return TileData(*(load_parts(spec, **options) for spec in (first, second)))


def train(trial, data, run):
    """Trains and scores one trial; see `ganlib.experiment.study.Study`."""
    recipe, tiles = trial.recipe, data.second if trial.recipe.second else data.first
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
    np.savez_compressed(run.path / "predictions.npz", probabilities=found.astype("float16"))
    keras.Model(model.inputs[0], model.outputs[0], name=model.name).save(run.model)
    results["baselines"] = baselines(tiles.test.masks, tiles.train.foreground)
    return {**results, "model_bytes": run.model.stat().st_size}


def start_from(trial, model, run):
    """Gives a model the best weights of the trial that its own begins with; StudyError if none."""
    recipe = dataclasses.replace(trial.recipe, second=False, start="")
    name = Trial(trial.recipe.start, recipe, trial.seed, trial.data).id
    other = Run(run.path.parent / name)
    status = (other.finished() or {"status": "no result yet"})["status"]
    if status not in (DONE, STOPPED):
        told = "This trial begins with the weights of another: run that one first, with "
        raise StudyError(f"{told}--trials {name} --fresh. Received: {status}")
    weights.load(other.path / BEST, model.weights)


def shape_of(recipe):
    """What decides the compiled programs and the memory that they need."""
    free = {"learning_rate": 0.0, "mispaired": False, "start": "", "second": False, "epochs": 1}
    return json.dumps(dataclasses.asdict(recipe) | free | {"times": 1})


def prepare(recipe, seed):
    """A compiled model with initial weights of its own, and an optimizer that knows nothing."""
    fresh = _build(recipe, seed)
    model = _compiled(shape_of(dataclasses.replace(recipe, batch_size=1)))
    states = ([*m.weights, *training.random_states(m)] for m in (model, fresh))
    for variable, value in zip(*states, strict=True):
        variable.assign(keras.ops.convert_to_numpy(value))
    for variable in model.optimizer.variables:
        variable.assign(np.zeros(variable.shape, "float32"))
    model.optimizer.learning_rate = recipe.learning_rate
    return model


def _build(recipe, seed):
    keras.utils.set_random_seed(seed)  # of a reader's own
    names = ("filters", "depth", "channels", "dropout", "momentum")
    options = {name: getattr(recipe, name) for name in names} | {"seed": seed}
    builders = {name: functools.partial(build_unet, name, **options) for name in ARCHITECTURES}
    with half_precision(recipe.half_precision):
        return chosen(recipe.architecture, builders)


@functools.lru_cache(maxsize=1)  # compiling takes as long as several epochs
def _compiled(shape):
    recipe = Recipe(**json.loads(shape))
    model = _build(recipe, seed=0)
    optimizer = keras.optimizers.Adam(1.0, recipe.beta_1, clipnorm=recipe.clipnorm)
    loss, metrics = losses.BinaryFocal(recipe.focal_gamma), [Jaccard(), Jaccard(threshold=None)]
    training.compile_supervised(model, optimizer, loss, metrics)
    return model


def fit(model, trial, tiles, run):
    """Trains, with the write-up's rules; returns what came out, of the epoch that was best."""
    recipe, seed = trial.recipe, trial.seed
    (images, masks), validation = tiles.train.arrays(), tiles.validation.arrays()
    if recipe.mispaired:  # in another order, as an unsorted directory gives them
        masks, others = (np.random.default_rng(seed).permutation(x) for x in (masks, validation[1]))
        validation = validation[0], others
    epochs, rules = recipe.times * recipe.epochs, {"monitor": WATCHED, "mode": "max"}
    best = KeepBest(model, run.path / BEST, None, WATCHED, lower=False, epochs=epochs)
    plateau = {"factor": recipe.plateau_factor, "min_lr": recipe.least_learning_rate, **rules}
    slower = ReduceOnPlateau(patience=recipe.times * recipe.plateau_patience, **plateau)
    enough = StopOnPlateau(patience=recipe.times * recipe.patience, **rules)
    meter, change = Meter(), Augment(recipe.augment) if recipe.augment else None
    batches = Batches((images, masks), recipe.batch_size, seed, change=change)
    size = min(recipe.batch_size, len(images))
    expected = {"learning_rate": recipe.learning_rate, "batch_size": size}
    options = {"epochs": epochs, "expected": expected, "validation": validation}
    callbacks = [best, slower, enough, StopWhenLost(), meter]
    history = training.fit(model, batches, run, **options, callbacks=callbacks)
    kept = history.iloc[max(0, best.epoch - 1)]  # 0: no epoch was better than nothing
    lost = not np.isfinite(kept["val_loss"])  # from the first epoch on, or another would be kept
    steady = np.isfinite(history["val_loss"]).all()  # or there is no spread, and no reason to fail
    return {
        **training.outcome(model, history),
        "best_epoch": best.epoch,
        "jaccard": float(kept["val_jaccard"]),
        "jaccard_soft": 0.0 if lost else float(kept["val_jaccard_soft"]),
        "loss_std": std(history["val_loss"]) if steady else math.nan,
        "loss_mad": mad(history["val_loss"]) if steady else math.nan,
        "gap": float(kept["val_loss"] - kept["loss"]),
        "gap_last": float(history["val_loss"].iloc[-1] - history["loss"].iloc[-1]),
        "processor_seconds_per_epoch": float(history["processor_seconds"].median()),
        **meter.costs(),
    }


def score(model, tiles, recipe):
    """Scores on tiles, and the probabilities `(n, size, size, 1)`; 0 where they are no numbers."""
    found = np.nan_to_num(predict(model, tiles.arrays()[0], recipe.batch_size), nan=0.0)
    return score_masks(found, tiles.masks), found


SOURCE = Source("nuclei", None, ("unet", "nuclei", "cells"))
SEEDS = {"quick": 3, "cpu": 3, "full": 3}  # the question is what seeds alone make different
STUDY = Study("unet", "A U-Net grid of 36 cells, and what it can tell", Recipe, PROFILES,
    variations, load, train, module=__name__, source=SOURCE, seeds=SEEDS, shape=shape_of,
    follow=best_cell, epochs=lambda recipe: recipe.times * recipe.epochs)  # fmt: skip
