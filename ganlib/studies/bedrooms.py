"""The bedroom study: the assignment's DCGAN, a repaired one, and what each repair is worth."""

import dataclasses

import numpy as np

from ganlib.data import Parts, load_parts
from ganlib.experiment import profiles
from ganlib.experiment.changes import changed
from ganlib.experiment.sources import Source, locate
from ganlib.experiment.study import Study, Trial
from ganlib.features import networks
from ganlib.metrics import fidelity
from ganlib.studies.bedrooms_scoring import examine
from ganlib.studies.bedrooms_training import build_gan, train_gan

SOURCE = Source("rooms", "tfds:lsun/bedroom", ("bedrooms", "lsun"))
# Most pictures of each part. LSUN has three million, of which the assignment can't have seen many.
MOST = {
    "quick": {"train": 768, "validation": 200, "test": 250},
    "cpu": {"train": 2000, "validation": 375, "test": 375},
    "full": {"train": 20_000, "validation": 2500, "test": 2500},
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that a bedroom trial depends on, except its seed.

    The defaults are the assignment's first run, with a batch of 128. What it leaves open is as in
    TensorFlow's DCGAN tutorial: both players learn from one pass, on binary cross-entropy.
    """

    data: str = "tfds:lsun/bedroom"
    size: int = 64  # pixels of a picture's side
    networks: str = "assignment"  # or "dcgan"
    filters: int = 32  # of G's last hidden layer and of D's first
    latent_dim: int = 100
    upsample: str = "transpose"
    d_normalisation: str | None = None  # of the DCGAN's D: "batch", "spectral" or none
    loss: str = "non_saturating"
    update: str = "joint"
    augment: tuple[str, ...] = ()  # the policy of `ganlib.augment.DiffAugment`
    r1: float = 0.0
    ema: float = 0.0
    batch_size: int = 128
    g_learning_rate: float = 1e-4
    d_learning_rate: float = 1e-4
    beta_1: float = 0.9
    epochs: int = 400
    score_every: int = 20  # epochs
    judged: int = 1000  # generated pictures that choose the epoch
    samples: int = 2500  # generated pictures that are scored at the end
    network: str = "efficientnet_lite0"  # whose features all scores stand on
    truncations: tuple[float, ...] = ()  # where the latents are cut off, for the truncation curve


# What helped in short runs on photographs, by KID; the notebook says on which pictures.
REPAIRED = {
    "networks": "dcgan",
    "filters": 64,
    "upsample": "resize",
    "d_normalisation": "spectral",
    "update": "shared",
    "augment": ("brightness", "saturation", "contrast", "translation", "cutout"),
    "ema": 0.999,
    "batch_size": 32,
    "g_learning_rate": 4e-4,
    "d_learning_rate": 8e-4,
    "beta_1": 0.0,
    "truncations": (0.25, 0.5, 0.75, 1.0, 1.5, 2.0),
}
# The quick profile: 32×32 pixels, an eighth of the filters, and learning rates that let so short a
# run arrive somewhere. Five of the nine variations fit into two minutes on two cores.
QUICK = {
    "size": 32,
    "filters": 4,
    "g_learning_rate": 1e-3,
    "d_learning_rate": 1e-3,
    "epochs": 15,
    "score_every": 5,
    "judged": 100,
    "samples": 200,
    "network": "efficientnet_lite0_small",
}
QUICK_REPAIRED = {
    "filters": 16,
    "d_normalisation": "batch",  # spectral normalisation pays later
    "update": "joint",
    "batch_size": 16,
    "augment": ("translation",),
    "g_learning_rate": 2e-3,
    "d_learning_rate": 2e-3,
    "ema": 0.98,
    "truncations": (0.5, 1.0),
}
# The cpu profile: the full one on pictures of 32×32 pixels, narrower and shorter.
CPU = {
    "size": 32,
    "filters": 24,
    "epochs": 80,
    "score_every": 10,
    "judged": 375,
    "samples": 375,
}
QUICK_NAMES = ("batch-128", "batch-256", "repaired", "transposed", "no-augmentation")


def variations(assignment, repaired):
    """Name → recipe: the assignment's runs, what its discussion asks for, repairs, ablations."""

    def but(recipe, **changes):
        return dataclasses.replace(recipe, **changes)

    ablations = {
        "transposed": {"upsample": "transpose"},
        "no-augmentation": {"augment": ()},
        "equal-rates": {"d_learning_rate": repaired.g_learning_rate},
        "no-spectral-norm": {"d_normalisation": "batch"},
    }
    return {
        "batch-128": assignment,
        "batch-256": but(assignment, batch_size=256),
        "batch-32": but(assignment, batch_size=32),
        "slow-discriminator": but(assignment, d_learning_rate=assignment.d_learning_rate / 4),
        "repaired": repaired,
        **{name: but(repaired, truncations=(), **change) for name, change in ablations.items()},
    }


class BedroomData(Parts):
    """Pictures of bedrooms; `test` is the reference of all scores, `validation` the row "real"."""

    def seen(self, part, network, folder):
        """What a network sees in one part: `Seen`, kept in `folder`."""
        eye = networks.get(network)
        return networks.cached(eye, getattr(self, part), folder / "features")

    def compared(self, recipe, folder):
        """What a network sees in real pictures never trained on ("real"), and in "noise"."""
        eye = networks.get(recipe.network)
        noise = np.random.default_rng(0).random(self.validation.shape, dtype="float32")
        return {
            "real": self.seen("validation", recipe.network, folder),
            "noise": networks.cached(eye, noise, folder / "features", "unit"),
        }

    def baselines(self, recipe, folder):
        """Scores of real pictures and of noise, as a recipe's are measured."""
        eye, test = networks.get(recipe.network), self.seen("test", recipe.network, folder)
        return {
            name: fidelity.evaluate(test.features, seen.features, eye, seen.probabilities)
            for name, seen in self.compared(recipe, folder).items()
        }


def load_data(spec, size, most):
    """The bedrooms; arguments and errors as of `ganlib.data.load_parts`."""
    return BedroomData(*load_parts(spec, size=size, channels=3, most=most))


def build(profile="quick", data=None, seeds=None, changes=None):
    """Makes the bedroom study.

    Args:
        profile: "quick" (narrow networks on synthetic rooms of 32×32 pixels), "cpu" (80 epochs on
            photographs of 32×32 pixels) or "full" (the assignment's networks and 400 epochs,
            64×64 pixels).
        data: what `load_data` takes; by default "rooms" in quick, else what `$GANLIB_DATA` holds,
            or "tfds:lsun/bedroom".
        seeds: int, number of seeds; by default those of the profile.
        changes: dict, fields of all recipes to change; see `ganlib.experiment.changes`.

    Returns:
        A `Study` with a trial for each variation (in quick of `QUICK_NAMES`) and seed.

    Raises:
        ValueError: the profile is unknown, or a change is impossible.
    """
    quick = profiles.check(profile) == profiles.QUICK
    data = SOURCE.choose(profile, data)
    seeds = seeds or profiles.SEEDS[profile]
    if quick:
        assignment = Recipe(data=data, **QUICK)
    else:
        network = "inception_v3" if networks.inception_weights() else "efficientnet_lite0"
        assignment = Recipe(data=data, network=network)
    repaired = dataclasses.replace(assignment, **REPAIRED)
    if quick:
        repaired = dataclasses.replace(repaired, **QUICK_REPAIRED)
    if profile == profiles.CPU:
        assignment, repaired = (dataclasses.replace(r, **CPU) for r in (assignment, repaired))
    recipes = {
        name: changed(recipe, changes or {})
        for name, recipe in variations(assignment, repaired).items()
        if not quick or name in QUICK_NAMES
    }
    # The DCGANs first: they take longest, and the assignment's fit beside them.
    order = sorted(recipes, key=lambda name: recipes[name].networks == "assignment")
    size = recipes["repaired"].size
    return Study(
        name="bedrooms",
        title="A bedroom DCGAN, and whether its pictures are any good",
        trials=tuple(Trial(name, recipes[name], seed) for seed in range(seeds) for name in order),
        load_data=lambda: load_data(locate(data), size, MOST[profile]),
        train=train,
        module=__name__,
        options={"profile": profile, "data": data, "seeds": seeds, "changes": changes or {}},
        epochs=lambda trial: trial.recipe.epochs,
    )


def train(trial, data, run):
    """Trains and scores one trial; see `ganlib.experiment.study.Study.train`."""
    gan = build_gan(trial.recipe, trial.seed)
    folder = run.path.parent
    results, best = train_gan(gan, trial, data, run, folder)
    return {**results, **examine(gan, best, trial.recipe, data, run, folder)}
