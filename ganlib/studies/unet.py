"""The U-Net grid study: 4 learning rates × 3 batch sizes × 3 architectures, and what they show."""

import collections
import dataclasses
import itertools
import statistics

from ganlib.data import Parts, load_parts
from ganlib.experiment import profiles
from ganlib.experiment.changes import changed
from ganlib.experiment.sources import Source, locate
from ganlib.experiment.study import Study, Trial
from ganlib.models.unet import ARCHITECTURES
from ganlib.studies.unet_training import shape_of, train

SOURCE = Source("nuclei", None, ("unet", "nuclei", "cells"))
SECOND = Source("membranes", None, ("second", "isbi", "membranes"), needed=False)
SEEDS = {**profiles.SEEDS, "cpu": 3}  # the grid's question is what seeds alone make different
LEARNING_RATES = (1e-4, 5e-4, 1e-3, 5e-3)
BATCH_SIZES = (8, 16, 32)
FIELDS = ("architecture", "batch_size", "learning_rate")  # what the grid varies
GRID = tuple(itertools.product(ARCHITECTURES, BATCH_SIZES, LEARNING_RATES))
LONGER = {"quick": 2, "cpu": 4, "full": 4}  # times the grid's epochs: at least 100 in full
MISPAIRED = "mispaired"
ENSEMBLE = 5  # of the best cells, whose probabilities are averaged


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that a trial of the grid depends on, except its seed.

    The defaults are the write-up's, and of the grid its recommended middle. It says nothing of
    augmentation: square pictures without up or down are turned and mirrored.
    """

    data: str = "nuclei"
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
    start: str = ""  # id of the trial whose weights this one begins with; none: at random


# Small networks and pictures; what is left of an epoch's meaning is the number of steps.
QUICK = {
    "filters": 8,
    "depth": 2,
    "size": 48,
    "most": 80,
    "held_out": 32,
    "epochs": 6,
    "plateau_patience": 2,
    "patience": 4,
}
# Small networks on a part of the pictures, with the write-up's epochs.
CPU = {"filters": 8, "depth": 3, "size": 48, "most": 128, "held_out": 64}
SETTINGS = {"quick": QUICK, "cpu": CPU, "full": {}}


class TileData(Parts):
    """Tiles with their masks, and for what follows the grid those of a second set.

    Args:
        first: `ganlib.data.Parts`, tiles with their masks.
        second: the same of another set; None where it isn't needed.
    """

    def __init__(self, first, second=None):
        super().__init__(*first)
        self.second = second and TileData(second)
        if second:
            self.checksum += self.second.checksum

    def of(self, recipe):
        """The data that a recipe trains on: these, or the second set."""
        return self if self.second is None or recipe.data != self.second.spec else self.second


def name_of(recipe):
    """A cell's name, for people. Nothing ever reads a setting back out of it."""
    return f"{recipe.architecture}-lr{recipe.learning_rate:g}-bs{recipe.batch_size}"


def cells(base):
    """Name → recipe of the grid's 36 cells, those of one shape behind one another."""
    recipes = (dataclasses.replace(base, **dict(zip(FIELDS, cell, strict=True))) for cell in GRID)
    return {name_of(recipe): recipe for recipe in recipes}


def load_data(recipe, second=None):
    """The tiles that recipes train on, divided; no image is in two parts.

    Args:
        recipe: `Recipe`, whose `data` is what `ganlib.data.load` takes.
        second: the same of a second set, or None.

    Raises:
        DataError: the data can't be used or divided, or are too few.
    """

    def parts(spec):
        most = {"train": recipe.most, "validation": recipe.held_out, "test": recipe.held_out}
        most = {name: count for name, count in most.items() if count}
        return load_parts(locate(spec), tile=recipe.size, channels=recipe.channels, most=most)

    data = TileData(parts(recipe.data), second and parts(second))
    if second:
        data.second.spec = second
    return data


def build(profile="quick", data=None, seeds=None, changes=None, after=None):
    """Makes the grid study, or what follows it.

    Args:
        profile: "quick" (small networks and tiles, 6 epochs), "cpu" (small ones, 30 epochs, three
            seeds) or "full" (64 filters, 256² tiles, 30 epochs).
        data: what `ganlib.data.load` takes: "nuclei" (embedded, synthetic), "membranes", a
            folder of images and masks, a TIFF stack, an .npz, or a set of TFDS. After a comma the
            set on which the best cell is tried in the end, as "a.npz,b.npz"; by default the other
            embedded one. By default "nuclei" in quick, else what `$GANLIB_DATA` holds, or "nuclei".
        seeds: int, number of seeds; by default those of the profile.
        changes: dict, fields of all recipes to change; see `ganlib.experiment.changes`.
        after: dict, the settings of the grid's best cell: makes the trials that follow the grid.
            None: the grid, with the write-up's earlier setting and a control. Its `following` makes
            the rest.

    Returns:
        A `Study`.

    Raises:
        ValueError: the profile is unknown, or a change is impossible.
    """
    profiles.check(profile)
    if fixed := set(FIELDS) & set(changes or {}):
        raise ValueError(
            f"The grid itself varies {', '.join(FIELDS)}: choose cells with --trials, such as "
            f"'unet-lr0.001-bs16'. Received: {', '.join(sorted(fixed))}"
        )
    first, second = _data(profile, data)
    seeds = seeds or SEEDS[profile]
    changes = changes or {}
    options = {"profile": profile, "data": f"{first},{second}", "seeds": seeds, "changes": changes}
    base = Recipe(data=first, **SETTINGS[profile])
    if after:
        best = changed(dataclasses.replace(base, **after), changes)
        trials = following_trials(best, second, LONGER[profile], seeds)
    else:
        recipes = {**cells(base), **controls(base)}
        recipes = {name: changed(recipe, changes) for name, recipe in recipes.items()}
        trials = [Trial(n, recipe, seed) for seed in range(seeds) for n, recipe in recipes.items()]

    def follow(results):
        best = best_cell(results)
        return best and build(**options, after=best)

    return Study(
        name="unet",
        title="A U-Net grid of 36 cells, and what it can tell",
        trials=tuple(trials),
        load_data=lambda: load_data(changed(base, changes), second if after else None),
        train=train,
        module=__name__,
        options={**options, "after": after} if after else options,
        epochs=lambda trial: trial.recipe.epochs,
        shape=lambda trial: shape_of(trial.recipe),
        spreads=True,
        following=(lambda results: None) if after else follow,
    )


def _data(profile, data):
    """The set of the grid, and the one on which its best cell is tried."""
    if not data:
        return SOURCE.choose(profile), SECOND.choose(profile)
    first, _, second = str(data).partition(",")
    return first, second or ("nuclei" if first == "membranes" else "membranes")


def controls(base):
    """Name → recipe: the write-up's earlier setting, and masks that belong to other pictures."""
    earlier = {"learning_rate": 1e-2, "batch_size": 8}
    named = {
        f"earlier-{architecture}": dataclasses.replace(base, architecture=architecture, **earlier)
        for architecture in ARCHITECTURES
    }
    return {**named, MISPAIRED: dataclasses.replace(base, mispaired=True)}


def following_trials(best, second, longer, seeds):
    """What follows the grid: its best cell trained for longer, and on a second set."""
    trials = []
    for seed in range(seeds):
        chosen = Trial(name_of(best), best, seed)
        elsewhere = dataclasses.replace(best, data=second)
        trials += [
            Trial("longer", lengthened(best, longer), seed),
            Trial("second-from-scratch", elsewhere, seed),
            Trial("second-fine-tuned", dataclasses.replace(elsewhere, start=chosen.id), seed),
        ]
    return trials


def lengthened(recipe, times):
    """A recipe with so many times the epochs, and as much more patience to use them."""
    fields = "epochs", "patience", "plateau_patience"
    return dataclasses.replace(recipe, **{f: times * getattr(recipe, f) for f in fields})


def best_cell(results):
    """The settings of the cell with the best validation Jaccard, mean over its seeds.

    Args:
        results: list of result dicts of the grid, each a trial that has finished.

    Returns:
        dict of the recipe's fields that the grid varies; None where no cell has a result.
    """
    found = collections.defaultdict(list)
    for result in results:
        settings = tuple(result["recipe"][field] for field in FIELDS)
        if settings in GRID and result["name"] != MISPAIRED and "jaccard" in result["metrics"]:
            found[settings].append(result["metrics"]["jaccard"])
    if not found:
        return None
    best = max(found, key=lambda settings: statistics.mean(found[settings]))
    return dict(zip(FIELDS, best, strict=True))
