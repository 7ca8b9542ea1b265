"""The boundary GAN study: generated cells on the decision boundary, and what that says of them."""

import dataclasses

from ganlib.data import Parts, load_parts
from ganlib.experiment import profiles
from ganlib.experiment.changes import changed
from ganlib.experiment.sources import Source, locate
from ganlib.experiment.study import Study, Trial
from ganlib.features import networks
from ganlib.studies.boundary_scoring import examine
from ganlib.studies.boundary_training import build_gan, train_gan

SOURCE = Source("tissue", None, ("boundary", "lung_cells", "cells"))
QUICK_GAMMAS, GAMMAS = (0.2, 0.8), (0.1, 0.3, 0.5, 0.8, 1.0)
SIZE = 32  # pixels of a picture's side


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that a boundary trial depends on, except its seed.

    The defaults are the write-up's method. What it leaves open is as DCGAN's authors have it, with
    Keras' initial values.
    """

    data: str = "tissue"
    gamma: float | None = 0.8  # of the boundary loss; None: plain binary cross-entropy
    g_filters: int = 24  # of G's last hidden layer
    d_filters: int = 24  # of D's first
    latent_dim: int = 256
    upsample: str = "transpose"
    d_normalisation: str | None = None  # "batch", "spectral" or none
    likeness: float = 0.0  # weight of `ganlib.likeness.LikenessLoss` in what G minimises
    augment: tuple[str, ...] = ()  # the policy of `ganlib.augment.DiffAugment`
    batch_size: int = 64
    g_learning_rate: float = 2e-4
    d_learning_rate: float = 2e-4
    g_rest: float = 0.0  # share of the steps over which G's rate falls to zero; 0: it stays
    d_rest: float = 0.0  # the same for D
    beta_1: float = 0.5
    epochs: int = 60
    judged: int = 500  # generated pictures that are scored after each epoch
    samples: int = 600  # generated pictures that are scored at the end
    high: tuple[float, ...] = (0.998, 0.999, 1.0)  # s1, s2, and s3 over its ceiling: "all high"
    patience: int = 3  # epochs in a row, all high, after which training stops; 0: it never does
    similarity: str = "correlation"  # of s3; see `ganlib.metrics.boundary`
    # Whose features KID, precision and recall stand on; 32 pixels hold no more than it sees.
    network: str = "efficientnet_lite0_small"


# What helped in short runs, by the score on validation pictures.
REPAIRED = {
    "upsample": "resize",
    "likeness": 6.0,
    "augment": ("orientation",),
    "d_filters": 40,
    "g_learning_rate": 1.2e-4,
    "d_learning_rate": 5e-4,
    "g_rest": 0.2,
    "d_rest": 1.0,
    "patience": 10,  # D goes on to settle
}
# A generator that gets ahead of D for a while: more lifelike pictures, of which D is less sure.
FASTER = {"likeness": 4.0, "g_learning_rate": 1.5e-4, "g_rest": 0.25}
# The quick profile: narrow networks, few steps, and rates that let so short a run arrive somewhere.
QUICK = {
    "g_filters": 12,
    "d_filters": 12,
    "batch_size": 32,
    "epochs": 12,
    "g_learning_rate": 1e-3,
    "d_learning_rate": 1e-3,
    "judged": 200,
    "samples": 200,
}
QUICK_REPAIRED = {
    "d_filters": 12,
    "g_learning_rate": 1e-3,
    "d_learning_rate": 2e-3,
    "g_rest": 0.5,
}
QUICK_NAMES = ("bce", "repaired", "repaired-bce", "idle-generator")


def variations(submitted, repaired, faster, gammas):
    """Name → recipe: the write-up's two losses, its γ, the repair, what each repair is worth."""

    def but(recipe, **changes):
        return dataclasses.replace(recipe, **changes)

    return {
        "bce": but(submitted, gamma=None),
        **{f"gamma-{gamma:g}": but(submitted, gamma=gamma) for gamma in gammas},
        "repaired": repaired,
        "faster-generator": but(repaired, **faster),
        "repaired-bce": but(repaired, gamma=None),
        "no-rest": but(repaired, g_rest=0.0),
        "no-likeness": but(repaired, likeness=0.0),
        "no-turns": but(repaired, augment=()),
        # A control: D and its loss alone, before a generator that never learns.
        "idle-generator": but(repaired, g_learning_rate=0.0, g_rest=0.0, likeness=0.0),
    }


class CellData(Parts):
    """Pictures of cells; `test` is the reference of all final scores."""

    def seen(self, part, network, folder):
        """What a network sees in one part: `Seen`, kept in `folder`."""
        return networks.cached(networks.get(network), getattr(self, part), folder / "features")


def load_data(spec):
    """The cells; argument and errors as of `ganlib.data.load_parts`.

    Where the pictures have groups, such as the tile that a cell was cut from, the parts share none.
    """
    return CellData(*load_parts(spec, size=SIZE, channels=3))


def build(profile="quick", data=None, seeds=None, changes=None):
    """Makes the boundary study.

    Args:
        profile: "quick" (narrow networks, 12 epochs), "full" (the write-up's 60), or "cpu" (the
            same: these networks are small; one seed).
        data: what `ganlib.data.load` takes: "tissue" (embedded, no lung), a folder, or an .npz;
            with `group`, no group is divided. By default "tissue" in quick, else what
            `$GANLIB_DATA` holds, or "tissue".
        seeds: int, number of seeds; by default those of the profile.
        changes: dict, fields of all recipes to change; see `ganlib.experiment.changes`.

    Returns:
        A `Study` with a trial for each variation (in quick of some) and seed.

    Raises:
        ValueError: the profile is unknown, or a change is impossible.
    """
    quick = profiles.check(profile) == profiles.QUICK
    data = SOURCE.choose(profile, data)
    seeds = seeds or profiles.SEEDS[profile]
    submitted = Recipe(data=data, **(QUICK if quick else {}))
    repaired = dataclasses.replace(submitted, **REPAIRED)
    if quick:
        repaired = dataclasses.replace(repaired, **QUICK_REPAIRED)
    gammas = QUICK_GAMMAS if quick else GAMMAS
    recipes = {
        name: changed(recipe, changes or {})
        for name, recipe in variations(submitted, repaired, FASTER, gammas).items()
        if not quick or name in QUICK_NAMES or name.startswith("gamma")
    }
    return Study(
        name="boundary",
        title="A boundary GAN on cells: s1, s2, s3",
        trials=tuple(
            Trial(n, recipe, seed) for seed in range(seeds) for n, recipe in recipes.items()
        ),
        load_data=lambda: load_data(locate(data)),
        train=train,
        module=__name__,
        options={"profile": profile, "data": data, "seeds": seeds, "changes": changes or {}},
        epochs=lambda trial: trial.recipe.epochs,
    )


def train(trial, data, run):
    """Trains and scores one trial; see `ganlib.experiment.study.Study.train`."""
    gan = build_gan(trial.recipe, len(data.train), trial.seed)
    results, best = train_gan(gan, trial, data, run)
    return {**results, **examine(gan, best, trial.recipe, data, run)}
