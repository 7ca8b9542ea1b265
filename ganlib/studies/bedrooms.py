"""The bedroom study: the assignment's DCGAN, a repaired one, and what each repair is worth."""

import dataclasses

import keras
import numpy as np

from ganlib import losses
from ganlib.adversarial import Adversarial
from ganlib.apply import draw_latents, interpolate, make_images, save_grid
from ganlib.augment import DiffAugment
from ganlib.backends.precision import half_precision
from ganlib.callbacks.best import BestByKID, is_due, score
from ganlib.callbacks.health import HealthMonitor
from ganlib.data import Images, load_parts
from ganlib.data.room_styles import style_coverage
from ganlib.data.rooms import SIZES
from ganlib.experiment.fit import fit_gan
from ganlib.experiment.study import QUICK, SEEDS, Source, Study, chosen
from ganlib.features import networks
from ganlib.metrics import fidelity
from ganlib.metrics.neighbours import nearest
from ganlib.models import dcgan

GRID, NEIGHBOURS = 8, 8  # pictures in a row of a sample grid; beside the nearest training ones
PATHS, STEPS = 4, 8  # of the latent interpolation
COUNTED = 1152  # generated rooms whose styles are counted: as many as there are styles
PATIENCE = 2  # epochs in a row after which the monitor speaks: quick runs have few
SCORED, SHOWN = 1, 2  # seeds of latents; those of 0 chose the epoch
# Most pictures of each part. LSUN has three million bedrooms.
MOST = {"quick": (1152, 200, 250), "cpu": (2000, 375, 375), "full": (20_000, 2500, 2500)}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The assignment's first run; what it leaves open is as in TensorFlow's DCGAN tutorial."""

    size: int = 64  # pixels of a picture's side
    # "assignment" or "dcgan"; or one's own, see `Study.with_variation`.
    generator: str | dict = "assignment"
    discriminator: str | dict = "assignment"
    filters: int = 32  # of G's last hidden layer and of D's first
    latent_dim: int = 100
    upsample: str = "transpose"
    d_normalisation: str | None = None  # of the DCGAN's D: "batch", "spectral" or none
    loss: str | dict = "non_saturating"
    update: str = "joint"
    augment: tuple[str, ...] = ()  # the policy of `ganlib.augment.DiffAugment`
    r1: float = 0.0
    ema: float = 0.0
    half_precision: bool = False  # bfloat16, where the machine computes in it
    batch_size: int = 128
    g_learning_rate: float = 1e-4
    d_learning_rate: float = 1e-4
    beta_1: float = 0.9
    beta_2: float = 0.999
    epochs: int = 400
    score_every: int = 20  # epochs
    judged: int = 1000  # generated pictures that choose the epoch
    samples: int = 2500  # generated pictures that are scored at the end
    network: str = "efficientnet_lite0"  # whose features all scores stand on
    truncations: tuple[float, ...] = ()  # where the latents are cut off, for the truncation curve


# fmt: off
PROFILES = {
    "quick": {"size": 32, "filters": 4, "g_learning_rate": 2e-3, "d_learning_rate": 2e-3,
        "epochs": 12, "score_every": 3, "judged": 100, "samples": 200,
        "network": "efficientnet_lite0_small"},
    "cpu": {"size": 32, "filters": 24, "epochs": 80, "score_every": 10, "judged": 375,
        "samples": 375, "half_precision": True},  # see benchmarks/HALF_PRECISION.md
    "full": {"half_precision": True},
}
# What helped in short runs on photographs, by KID.
REPAIRED = {"generator": "dcgan", "discriminator": "dcgan", "filters": 64, "upsample": "resize",
    "d_normalisation": "spectral", "update": "shared", "ema": 0.999, "batch_size": 32,
    "augment": ("brightness", "saturation", "contrast", "translation", "cutout"),
    "g_learning_rate": 4e-4, "d_learning_rate": 8e-4, "beta_1": 0.0,
    "truncations": (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)}
REPAIRED_BY_PROFILE = {
    "quick": {"filters": 16, "loss": "hinge", "augment": (), "ema": 0.99, "beta_2": 0.99,
        "g_learning_rate": 2e-3, "d_learning_rate": 8e-4, "epochs": 28, "score_every": 7,
        "truncations": (0.5, 1.0)},
    "cpu": {"filters": 24}, "full": {},
}
# fmt: on
QUICK_NAMES = ("repaired", "batch-128", "batch-256")  # three seeds each


def variations(study):
    """The repaired recipe and its ablations, which take longest, and the assignment's runs."""
    but, assignment = dataclasses.replace, study.base
    if study.profile != QUICK and networks.inception_weights():
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
    return {n: recipes[n] for n in QUICK_NAMES} if study.profile == QUICK else recipes


def load_data(spec, study):
    """Bedrooms as `ganlib.data.Parts`; `test` is the reference of all scores."""
    most = dict(zip(("train", "validation", "test"), MOST[study.profile], strict=True))
    return load_parts(spec, size=study.recipes["repaired"].size, channels=3, most=most)


def seen(data, part, network, folder):
    """What a network sees in "train", "validation" or "test": `Seen`, kept in `folder`."""
    return networks.cached(networks.get(network), getattr(data, part), folder / "features")


def build_gan(recipe, seed):
    """The `Adversarial` of a recipe, not compiled."""
    keras.utils.set_random_seed(seed)
    sizes = {"size": recipe.size, "filters": recipe.filters, "seed": seed}
    latents = {"latent_dim": recipe.latent_dim, **sizes}
    normalised = {"normalisation": recipe.d_normalisation, **sizes}
    builders = {
        "assignment": lambda: dcgan.build_assignment_generator(**latents),
        "dcgan": lambda: dcgan.build_generator(upsample=recipe.upsample, **latents),
    }
    d_builders = {
        "assignment": lambda: dcgan.build_assignment_discriminator(**sizes),
        "dcgan": lambda: dcgan.build_discriminator(**normalised),
    }
    with half_precision(recipe.half_precision):
        generator = chosen(recipe.generator, builders)
        discriminator = chosen(recipe.discriminator, d_builders)
    options = {key: getattr(recipe, key) for key in ("update", "r1", "ema")}
    options["augment"] = DiffAugment(recipe.augment) if recipe.augment else None
    loss = losses.get(recipe.loss)
    return Adversarial(generator, discriminator, loss, seed=seed, **options)


def train(trial, data, run):
    """Trains and scores one trial; see `ganlib.experiment.study.Study`."""
    recipe, folder = trial.recipe, run.path.parent
    gan, eye = build_gan(recipe, trial.seed), networks.get(recipe.network)
    real = seen(data, "validation", recipe.network, folder).features
    when = {"every": recipe.score_every, "epochs": recipe.epochs}
    best = BestByKID(gan, eye, real, run.path / "best.npz", n=recipe.judged, **when)
    stop_on = ("non_finite_loss",)
    monitor = HealthMonitor(data.train.subset(slice(256)), patience=PATIENCE, stop_on=stop_on)
    options = {"monitor": monitor, "callbacks": [best, SampleGrid(gan, run, recipe)]}
    history, outcome = fit_gan(gan, data, trial, run, **options)
    last = {key: float(history[key].iloc[-1]) for key in ("d_accuracy_real", "d_accuracy_fake")}
    outcome |= {"best_epoch": best.epoch, **last}
    return outcome | examine(gan, best, recipe, data, run, folder)


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


def examine(gan, best, recipe, data, run, folder):
    """Scores last and best epoch on the test part (None: not finite); saves model and pictures.

    "unaveraged": the last epoch without G's average; "spread": of features, over real pictures'.
    """

    def spread(features):
        return float(np.sqrt(features.var(axis=0).sum() / real.var(axis=0).sum()))

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
    for cut in recipe.truncations:
        safe = eye(make_images(gan.sampler, draw_latents(gan, recipe.samples, SCORED, cut)), "unit")
        near = fidelity.evaluate(real, safe.features, eye, safe.probabilities)
        near |= {"spread": spread(safe.features), "styles": _styles(gan, data, cut)}
        curve.append({"truncation": cut, **near})
    near = _neighbours(images, made.features, recipe, data, run, folder)
    found = {"scores": scores, "truncation": curve, "neighbours": near}
    return found | {"spread": spread(made.features), "styles": _styles(gan, data)}


def _neighbours(images, features, recipe, data, run, folder):
    parts = ("train", "validation")
    train, held_out = (seen(data, part, recipe.network, folder).features for part in parts)
    indices, distances = nearest(features, train)
    usual = nearest(held_out, train)[1]
    order = np.argsort(distances)
    # One picture each: some training pictures are the nearest of many.
    closest = order[np.sort(np.unique(indices[order], return_index=True)[1])[:NEIGHBOURS]]
    pairs = np.concatenate([images[closest], data.train.subset(indices[closest]).as_range("unit")])
    save_grid(pairs, run.path / "neighbours.png", len(closest))
    # Of real pictures never trained on one in a hundred is as near by chance.
    copies = float((distances < np.quantile(usual, 0.01)).mean())
    own, usual = (float(np.median(values)) for values in (distances, usual))
    return {"distance": own, "held_out_distance": usual, "copies": copies, "n": len(images)}


def _styles(gan, data, truncation=None):
    if data.name != "rooms" or gan.sampler.output_shape[1] not in SIZES:
        return None
    images = make_images(gan.sampler, draw_latents(gan, COUNTED, SCORED, truncation))
    return style_coverage(Images(images, value_range="unit"))


SOURCE = Source("rooms", "tfds:lsun/bedroom", ("bedrooms", "lsun"))
STUDY = Study("bedrooms", "A bedroom DCGAN, and whether its pictures are any good", Recipe,
    PROFILES, variations, load_data, train, module=__name__, source=SOURCE,
    seeds={**SEEDS, QUICK: 3})  # fmt: skip
