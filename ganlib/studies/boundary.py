"""The boundary GAN study: generated cells on the decision boundary, and what that says of them."""

import dataclasses
import math
import time

import keras
import numpy as np

from ganlib import losses
from ganlib.adversarial import Adversarial
from ganlib.apply import discriminate, draw_latents, make_images, save_grid
from ganlib.augment import DiffAugment
from ganlib.backends.precision import half_precision
from ganlib.callbacks.best import BestByKID, KeepBest, StopWhenHigh
from ganlib.content import LikenessLoss
from ganlib.data import load_parts
from ganlib.experiment.fit import fit_gan
from ganlib.experiment.study import QUICK, SEEDS, Source, Study
from ganlib.features import networks
from ganlib.metrics import boundary as metrics
from ganlib.metrics import fidelity
from ganlib.models import boundary as models
from ganlib.models.layers import BatchNormalization

SIZE = 32  # pixels of a picture's side
SCORED = 1  # seed of latents; those of 0 chose the epoch
SHOWN = 36  # pictures of a sample grid
SHIFTED = ("translation", "cutout")  # `augment` of the lifelike phase


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The write-up's method; what it leaves open is as DCGAN's authors have it."""

    gamma: float | None = 0.8  # of the boundary loss; None: plain binary cross-entropy
    loss: dict | None = None  # one's own in place of these; see `Study.with_variation`
    g_filters: int = 24  # of G's last hidden layer
    d_filters: int = 24  # of D's first
    latent_dim: int = 256
    upsample: str = "transpose"
    d_normalisation: str | None = None  # "batch", "spectral" or none
    likeness: float = 0.0  # weight of `ganlib.content.LikenessLoss` in what G minimises
    augment: tuple[str, ...] = ()  # the policy of `ganlib.augment.DiffAugment`
    half_precision: bool = False  # bfloat16, where the machine computes in it
    batch_size: int = 64
    g_learning_rate: float = 2e-4
    d_learning_rate: float = 2e-4
    g_rest: float = 0.0  # share of the steps over which G's rate falls to zero; 0: it stays
    d_rest: float = 0.0  # the same for D
    beta_1: float = 0.5
    epochs: int = 60
    # Before these G may learn by another GAN, to make lifelike pictures; then it rests.
    lifelike_epochs: int = 0
    lifelike_g_rate: float = 1e-3
    lifelike_d_rate: float = 8e-4
    judged: int = 500  # generated pictures that are scored after each epoch
    samples: int = 600  # generated pictures that are scored at the end
    high: tuple[float, ...] = (0.998, 0.999, 1.0)  # s1, s2, and s3 over its ceiling: "all high"
    patience: int = 3  # epochs in a row, all high, after which training stops; 0: it never does
    similarity: str = "correlation"  # of s3; see `ganlib.metrics.boundary`
    network: str = "efficientnet_lite0_small"  # whose features KID, precision and recall stand on


# fmt: off
PROFILES = {
    "quick": {"g_filters": 12, "d_filters": 12, "batch_size": 32, "epochs": 10,
        "g_learning_rate": 1e-3, "d_learning_rate": 1e-3, "judged": 200, "samples": 200},
    "cpu": {}, "full": {},  # these networks are small
}
# D alone, which settles before a generator that rests.
SETTLED = {"g_learning_rate": 0.0, "d_filters": 40, "d_learning_rate": 1e-3, "d_rest": 1.0,
    "patience": 0}
LIFELIKE = {"upsample": "resize", "lifelike_epochs": 80}
# What wins the score without cells: G minimises how far it is from s3.
FOR_S3 = {"upsample": "resize", "likeness": 6.0, "augment": ("orientation",), "d_filters": 40,
    "g_learning_rate": 1.2e-4, "d_learning_rate": 5e-4, "g_rest": 0.2, "d_rest": 1.0,
    "patience": 10}  # D goes on to settle
# fmt: on
QUICK_NAMES = ("bce", "gamma-0.8", "idle-generator")
GAMMAS = (0.1, 0.3, 0.5, 0.8, 1.0)


def variations(study):
    """The write-up's two losses and its γ, the repaired recipe, and what each part of it does."""
    changes = {
        "bce": {"gamma": None},
        **{f"gamma-{gamma:g}": {"gamma": gamma} for gamma in GAMMAS},
        "repaired": LIFELIKE | SETTLED,
        "for-s3": FOR_S3,
        "idle-generator": SETTLED | {"d_filters": study.base.d_filters},  # it never learns
    }
    names = QUICK_NAMES if study.profile == QUICK else changes
    return {name: dataclasses.replace(study.base, **changes[name]) for name in names}


def load_data(spec, study):
    """Cells as `ganlib.data.Parts`; no group of them, such as those of a tile, is divided."""
    return load_parts(spec, size=SIZE, channels=3)


def build_gan(recipe, seed):
    """The `Adversarial` of a recipe, not compiled."""
    keras.utils.set_random_seed(seed)
    latents = {"latent_dim": recipe.latent_dim, "upsample": recipe.upsample, "seed": seed}
    normalised = {"normalisation": recipe.d_normalisation, "seed": seed}
    options = {"content": LikenessLoss(recipe.likeness) if recipe.likeness else None}
    options["augment"] = DiffAugment(recipe.augment) if recipe.augment else None
    with half_precision(recipe.half_precision):
        generator = models.build_generator(recipe.g_filters, **latents)
        discriminator = models.build_discriminator(recipe.d_filters, **normalised)
    loss = losses.get("non_saturating") if recipe.gamma is None else losses.Boundary(recipe.gamma)
    if recipe.loss:
        loss = losses.get(recipe.loss)
    return Adversarial(generator, discriminator, loss, update="shared", seed=seed, **options)


def to_rest(rate, steps):
    """A learning rate that falls to zero over so many steps; None, it stays, for none."""
    falling = keras.optimizers.schedules.PolynomialDecay
    return falling(rate, max(1, round(steps)), end_learning_rate=0.0) if steps else None


def train(trial, data, run):
    """Trains and scores one trial; see `ganlib.experiment.study.Study`."""
    recipe = trial.recipe
    gan = build_gan(recipe, trial.seed)
    found = []
    if recipe.lifelike_epochs:
        phase = run.phase("lifelike", 0, all_epochs(recipe))
        found = make_lifelike(gan.generator, trial, data, phase)
    criteria = Criteria(gan, data, recipe)
    options = {"lower": False, "epochs": recipe.epochs}
    best = KeepBest(gan, run.path / "best.npz", criteria, "score", **options)
    high = dict(zip(("s1", "s2", "s3"), recipe.high, strict=True))
    high["s3"] *= criteria.ceiling
    steps = recipe.epochs * math.ceil(len(data.train) / recipe.batch_size)
    d_rate = to_rest(recipe.d_learning_rate, recipe.d_rest * steps)
    g_rate = to_rest(recipe.g_learning_rate, recipe.g_rest * steps)
    options = {"callbacks": [best, StopWhenHigh(high, recipe.patience)]}
    phase = run.phase("", recipe.lifelike_epochs, all_epochs(recipe))
    _, outcome = fit_gan(gan, data, trial, phase, d_rate=d_rate, g_rate=g_rate, **options)
    found += outcome["findings"]
    results = {**outcome, "findings": found, "best_epoch": best.epoch, "high": high}
    return {**results, **examine(gan, best, recipe, data, run)}


def make_lifelike(generator, trial, data, run):
    """Trains G by a hinge GAN and gives it the average of least KID; returns the findings.

    Its batch statistics are then those of use: D settles before the very pictures that are scored.
    """
    recipe, seed = trial.recipe, trial.seed
    with half_precision(recipe.half_precision):
        d = models.build_discriminator(recipe.g_filters, normalisation="spectral", seed=seed)
    options = {"update": "shared", "ema": 0.99, "augment": DiffAugment(SHIFTED), "seed": seed}
    gan = Adversarial(generator, d, "hinge", **options)
    changes = {"epochs": recipe.lifelike_epochs, "beta_1": 0.0}
    changes |= {
        "g_learning_rate": recipe.lifelike_g_rate,
        "d_learning_rate": recipe.lifelike_d_rate,
    }
    trial = dataclasses.replace(trial, recipe=dataclasses.replace(recipe, **changes))
    eye = networks.get(recipe.network)
    real = networks.cached(eye, data.validation, run.path.parents[1] / "features").features
    often = {"n": recipe.judged, "every": 10, "epochs": recipe.lifelike_epochs}
    best = BestByKID(gan, eye, real, run.path / "best.npz", **often)
    _, outcome = fit_gan(gan, data, trial, run, callbacks=[best])
    best.restore()
    generator.set_weights(gan.average.get_weights())
    for layer in generator.layers:
        layer.trainable = not isinstance(layer, BatchNormalization)
    return outcome["findings"]


def all_epochs(recipe):
    return recipe.lifelike_epochs + recipe.epochs


class Criteria:
    """s1, s2 and s3 on the validation part, always from the same latents; `ceiling` is s3's."""

    def __init__(self, gan, data, recipe):
        self.gan, self.how = gan, ("unit", recipe.similarity)
        self.real = data.validation.as_range("unit")
        self.trained = data.train.subset(slice(len(self.real))).as_range("unit")
        self.latents = draw_latents(gan, recipe.judged)
        self.ceiling = metrics.s3_ceiling(self.real, *self.how)

    def __call__(self):
        images = make_images(self.gan.sampler, self.latents)
        logits = _finite(self.gan, images, images, self.real, self.trained)
        if logits is None:  # D or the pictures are not finite
            return None
        fake, real, trained = logits
        alike = metrics.s3(images, self.real, *self.how)
        scores = {"s1": metrics.s1(real), "s2": metrics.s2(fake), "s3": alike}
        scores["score"] = math.prod(scores.values())
        # Of as many pictures that D has seen: far above s1, D has learnt them by heart.
        return scores | {"s1_train": metrics.s1(trained)}


def examine(gan, best, recipe, data, run):
    """Scores last and best epoch on the test part (None: not finite); saves model and pictures."""
    latents, test = draw_latents(gan, recipe.samples, SCORED), data.test.as_range("unit")
    scores = {"last": _scored(gan, make_images(gan.sampler, latents), data, recipe)}
    best.restore()
    gan.save(run.model)
    images = make_images(gan.sampler, latents)
    scores["best"] = _scored(gan, images, data, recipe)
    save_grid(images[:SHOWN], run.samples / "best.png")
    start = time.perf_counter()
    metrics.s3(images, test, "unit", recipe.similarity)
    found = {"scores": scores, "s3_seconds": time.perf_counter() - start}
    eye, folder = networks.get(recipe.network), run.path.parent / "features"
    reference, seen = networks.cached(eye, data.test, folder), eye(images, "unit")
    about = seen.features, eye, seen.probabilities
    return found | {"fidelity": fidelity.evaluate(reference.features, *about)}


def _scored(gan, images, data, recipe):  # None where something is not finite
    test, train = (part.as_range("unit") for part in (data.test, data.train))
    how = {"value_range": "unit", "similarity": recipe.similarity}
    logits = _finite(gan, images, test, images)
    return logits and metrics.score_boundary(*logits, images, test, train, **how)


def _finite(gan, images, *sets):
    if not np.isfinite(images).all():
        return None
    logits = [discriminate(gan, pictures) for pictures in sets]
    return logits if all(np.isfinite(values).all() for values in logits) else None


SOURCE = Source("tissue", None, ("boundary", "lung_cells", "cells"))
STUDY = Study("boundary", "A boundary GAN on cells: s1, s2, s3", Recipe, PROFILES, variations,
    load_data, train, module=__name__, source=SOURCE, epochs=all_epochs,
    seeds={**SEEDS, QUICK: 3})  # fmt: skip
