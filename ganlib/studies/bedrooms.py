"""The bedroom study: the assignment's DCGAN, a repaired one, and what each repair is worth."""

import dataclasses

import keras
import numpy as np

from ganlib import losses
from ganlib.adversarial import Adversarial
from ganlib.apply import draw_latents, interpolate, make_images, save_grid
from ganlib.augment import DiffAugment
from ganlib.callbacks.best import BestByKID, is_due, score
from ganlib.data import Images, load_parts
from ganlib.data.room_styles import style_coverage
from ganlib.data.rooms import SIZES
from ganlib.experiment.fit import fit_gan
from ganlib.experiment.study import Source, Study
from ganlib.features import networks
from ganlib.metrics import fidelity
from ganlib.metrics.neighbours import nearest
from ganlib.models import dcgan

GRID = 8  # pictures in a row, and in a column, of a sample grid
NEIGHBOURS = 8  # generated pictures shown beside their nearest training pictures
PATHS, STEPS = 4, 8  # of the latent interpolation
COUNTED = 1152  # generated rooms whose styles are counted: as many as there are styles
SCORED, SHOWN = 1, 2  # seeds of latents; those of 0 chose the epoch
# Most pictures of each part. LSUN has three million, of which the assignment can't have seen many.
MOST = {
    "quick": {"train": 768, "validation": 200, "test": 250},
    "cpu": {"train": 2000, "validation": 375, "test": 375},
    "full": {"train": 20_000, "validation": 2500, "test": 2500},
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that a bedroom trial depends on, except its data and seed.

    The defaults are the assignment's first run, with a batch of 128. What it leaves open is as in
    TensorFlow's DCGAN tutorial: both players learn from one pass, on binary cross-entropy.
    """

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


# fmt: off
PROFILES = {
    # 32×32 pixels, an eighth of the filters, and learning rates that let so short a run arrive
    # somewhere. Five of the nine variations fit into two minutes on two cores.
    "quick": {"size": 32, "filters": 4, "g_learning_rate": 1e-3, "d_learning_rate": 1e-3,
        "epochs": 15, "score_every": 5, "judged": 100, "samples": 200,
        "network": "efficientnet_lite0_small"},
    # The full profile on pictures of 32×32 pixels, narrower and shorter.
    "cpu": {"size": 32, "filters": 24, "epochs": 80, "score_every": 10, "judged": 375,
        "samples": 375},
    "full": {},
}
# What helped in short runs on photographs, by KID; the notebook says on which pictures.
REPAIRED = {"networks": "dcgan", "filters": 64, "upsample": "resize", "d_normalisation": "spectral",
    "update": "shared", "ema": 0.999, "batch_size": 32,
    "augment": ("brightness", "saturation", "contrast", "translation", "cutout"),
    "g_learning_rate": 4e-4, "d_learning_rate": 8e-4, "beta_1": 0.0,
    "truncations": (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)}
REPAIRED_BY_PROFILE = {
    # Spectral normalisation pays later.
    "quick": {"filters": 16, "d_normalisation": "batch", "update": "joint", "batch_size": 16,
        "augment": ("translation",), "g_learning_rate": 2e-3, "d_learning_rate": 2e-3, "ema": 0.98,
        "truncations": (0.5, 1.0)},
    "cpu": {"filters": PROFILES["cpu"]["filters"]},
    "full": {},
}
# fmt: on
QUICK_NAMES = ("repaired", "transposed", "no-augmentation", "batch-128", "batch-256")


def variations(study):
    """The repaired recipe, its ablations, the assignment's runs, and what its discussion asks for.

    The DCGANs come first: they take longest, and the assignment's fit beside them.
    """
    but, assignment = dataclasses.replace, study.base
    if study.profile != "quick" and networks.inception_weights():
        assignment = but(assignment, network="inception_v3")
    repaired = but(assignment, **{**REPAIRED, **REPAIRED_BY_PROFILE[study.profile]})
    ablated = but(repaired, truncations=())
    recipes = {
        "repaired": repaired,
        "transposed": but(ablated, upsample="transpose"),
        "no-augmentation": but(ablated, augment=()),
        "equal-rates": but(ablated, d_learning_rate=repaired.g_learning_rate),
        "no-spectral-norm": but(ablated, d_normalisation="batch"),
        "batch-128": assignment,
        "batch-256": but(assignment, batch_size=256),
        "batch-32": but(assignment, batch_size=32),
        "slow-discriminator": but(assignment, d_learning_rate=assignment.d_learning_rate / 4),
    }
    if study.profile == "quick":
        return {name: recipes[name] for name in QUICK_NAMES}
    return recipes


# -- data ------------------------------------------------------------------------------------------


def load_data(spec, study):
    """Bedrooms as `ganlib.data.Parts`; `test` is the reference of all scores."""
    size = study.recipes["repaired"].size
    return load_parts(spec, size=size, channels=3, most=MOST[study.profile])


def seen(data, part, network, folder):
    """What a network sees in "train", "validation" or "test": `Seen`, kept in `folder`."""
    return networks.cached(networks.get(network), getattr(data, part), folder / "features")


def compared(data, network, folder):
    """What a network sees in real pictures never trained on ("real"), and in "noise"."""
    noise = np.random.default_rng(0).random(data.validation.shape, dtype="float32")
    return {
        "real": seen(data, "validation", network, folder),
        "noise": networks.cached(networks.get(network), noise, folder / "features", "unit"),
    }


def baselines(data, network, folder):
    """Scores of real pictures and of noise, as those of generated pictures are measured."""
    eye, test = networks.get(network), seen(data, "test", network, folder)
    return {
        name: fidelity.evaluate(test.features, each.features, eye, each.probabilities)
        for name, each in compared(data, network, folder).items()
    }


# -- training --------------------------------------------------------------------------------------


def build_gan(recipe, seed):
    """The `Adversarial` of a recipe, not compiled."""
    keras.utils.set_random_seed(seed)
    sizes = {"size": recipe.size, "filters": recipe.filters, "seed": seed}
    if recipe.networks == "assignment":
        generator = dcgan.build_assignment_generator(recipe.latent_dim, **sizes)
        discriminator = dcgan.build_assignment_discriminator(**sizes)
    else:
        generator = dcgan.build_generator(
            latent_dim=recipe.latent_dim, upsample=recipe.upsample, **sizes
        )
        discriminator = dcgan.build_discriminator(normalisation=recipe.d_normalisation, **sizes)
    return Adversarial(
        generator,
        discriminator,
        losses.get(recipe.loss),
        update=recipe.update,
        r1=recipe.r1,
        ema=recipe.ema,
        augment=DiffAugment(recipe.augment) if recipe.augment else None,
        seed=seed,
    )


def train(trial, data, run):
    """Trains and scores one trial; see `ganlib.experiment.study.Study`."""
    recipe, folder = trial.recipe, run.path.parent
    gan, eye = build_gan(recipe, trial.seed), networks.get(recipe.network)
    real = seen(data, "validation", recipe.network, folder).features
    when = {"every": recipe.score_every, "epochs": recipe.epochs}
    best = BestByKID(gan, eye, real, run.path / "best.npz", n=recipe.judged, **when)
    callbacks = [best, SampleGrid(gan, run, recipe)]
    history, outcome = fit_gan(gan, data, trial, run, callbacks=callbacks)
    last = {key: float(history[key].iloc[-1]) for key in ("d_accuracy_real", "d_accuracy_fake")}
    scores = examine(gan, best, recipe, data, run, folder)
    return {**outcome, "best_epoch": best.epoch, **last, **scores}


class SampleGrid(keras.callbacks.Callback):
    """Saves the same latents' pictures whenever the GAN is scored: frames of a film."""

    def __init__(self, gan, run, recipe):
        super().__init__()
        self.gan, self.run, self.recipe = gan, run, recipe
        self.latents = draw_latents(gan, GRID * GRID)

    def on_epoch_end(self, epoch, logs=None):
        if is_due(epoch, self.recipe.score_every, self.recipe.epochs):
            images = make_images(self.gan.sampler, self.latents)
            if np.isfinite(images).all():
                save_grid(images, self.run.samples / f"epoch-{epoch + 1:04d}.png", GRID)


# -- scoring ---------------------------------------------------------------------------------------


def examine(gan, best, recipe, data, run, folder):
    """Scores the last and the best epoch on the test part, and saves model and pictures.

    The sampler of `gan` gets the weights of `best`, a `BestByKID`; features are kept in `folder`.

    Returns:
        dict: "scores" of "best" and "last" (None where weights are not finite), and, where the
        generator is averaged, of the last one without, "unaveraged"; "truncation", a list of
        scores; "neighbours", how near the training pictures are; "spread", standard deviation of
        the features over that of real ones; "styles", counted in rooms, else None.
    """
    eye, real = networks.get(recipe.network), seen(data, "test", recipe.network, folder).features
    latents, scores = draw_latents(gan, recipe.samples, SCORED), {}
    if best.epoch != recipe.epochs:
        scores["last"] = score(gan.sampler, latents, eye, real)
    if gan.average is not None:
        scores["unaveraged"] = score(gan.generator, latents, eye, real)
    best.restore()
    gan.save(run.model)
    images = make_images(gan.sampler, latents)
    made = eye(images, "unit")
    scores["best"] = fidelity.evaluate(real, made.features, eye, made.probabilities)
    if best.epoch == recipe.epochs:
        scores["last"] = scores["best"]
    ends = draw_latents(gan, 2 * PATHS, SHOWN)
    path = interpolate(ends[:PATHS], ends[PATHS:], STEPS)
    between = make_images(gan.sampler, path.reshape(PATHS * STEPS, *gan.latent_shape))
    save_grid(between, run.path / "interpolation.png", STEPS)
    curve = []
    for truncation in recipe.truncations:
        near = score(gan.sampler, draw_latents(gan, recipe.samples, SCORED, truncation), eye, real)
        styles = _styles(gan, data, truncation)
        curve.append({"truncation": truncation, **near, "styles": styles})
    return {
        "scores": scores,
        "truncation": curve,
        "neighbours": _neighbours(images, made.features, recipe, data, run, folder),
        "spread": float(np.sqrt(made.features.var(axis=0).sum() / real.var(axis=0).sum())),
        "styles": _styles(gan, data),
    }


def _neighbours(images, features, recipe, data, run, folder):
    """Distances to the nearest training pictures; saves the nearest pairs of all."""
    train, held_out = (
        seen(data, part, recipe.network, folder).features for part in ("train", "validation")
    )
    indices, distances = (part[:, 0] for part in nearest(features, train))
    usual = nearest(held_out, train)[1][:, 0]
    order = np.argsort(distances)
    # One picture each: some training pictures are the nearest of many.
    firsts = np.sort(np.unique(indices[order], return_index=True)[1])[:NEIGHBOURS]
    closest = order[firsts]
    pairs = np.concatenate([images[closest], data.train.subset(indices[closest]).as_range("unit")])
    save_grid(pairs, run.path / "neighbours.png", len(closest))
    return {
        "distance": float(np.median(distances)),
        "held_out_distance": float(np.median(usual)),
        # Real pictures never trained on: one in a hundred of them is as near by chance.
        "copies": float((distances < np.quantile(usual, 0.01)).mean()),
        "n": len(images),
    }


def _styles(gan, data, truncation=None):
    """Which styles of room there are among as many pictures as there are styles."""
    if data.name != "rooms" or gan.sampler.output_shape[1] not in SIZES:
        return None
    images = make_images(gan.sampler, draw_latents(gan, COUNTED, SCORED, truncation))
    return style_coverage(Images(images, value_range="unit"))


STUDY = Study(
    "bedrooms",
    "A bedroom DCGAN, and whether its pictures are any good",
    Recipe,
    PROFILES,
    variations,
    load_data,
    train,
    module=__name__,
    source=Source("rooms", "tfds:lsun/bedroom", ("bedrooms", "lsun")),
)
