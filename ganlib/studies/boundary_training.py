"""How a boundary trial trains."""

import math

import keras
import numpy as np

from ganlib import losses
from ganlib.adversarial import Adversarial
from ganlib.apply import discriminate, draw_latents, make_images
from ganlib.augment import DiffAugment
from ganlib.callbacks.best import KeepBest, StopWhenHigh
from ganlib.callbacks.health import HealthMonitor
from ganlib.content import LikenessLoss
from ganlib.experiment import fit as training
from ganlib.metrics.boundary import s1, s2, s3, s3_ceiling
from ganlib.models import boundary

CRITERIA = ("s1", "s2", "s3")


def build_gan(recipe, n, seed):
    """The compiled `Adversarial` of a recipe.

    Args:
        recipe: `ganlib.studies.boundary.Recipe`.
        n: int, training pictures.
        seed: int.
    """
    keras.utils.set_random_seed(seed)
    gan = Adversarial(
        boundary.build_generator(
            recipe.g_filters, latent_dim=recipe.latent_dim, upsample=recipe.upsample, seed=seed
        ),
        boundary.build_discriminator(
            recipe.d_filters, normalisation=recipe.d_normalisation, seed=seed
        ),
        "non_saturating" if recipe.gamma is None else losses.Boundary(recipe.gamma),
        update="shared",
        content=LikenessLoss(recipe.likeness) if recipe.likeness else None,
        augment=DiffAugment(recipe.augment) if recipe.augment else None,
        seed=seed,
    )
    steps = recipe.epochs * math.ceil(n / recipe.batch_size)
    gan.compile(
        keras.optimizers.Adam(_rate(recipe.d_learning_rate, recipe.d_rest * steps), recipe.beta_1),
        keras.optimizers.Adam(_rate(recipe.g_learning_rate, recipe.g_rest * steps), recipe.beta_1),
    )
    return gan


def _rate(rate, steps):
    """A rate that falls to zero over so many steps; constant for none."""
    if not steps:
        return rate
    return keras.optimizers.schedules.PolynomialDecay(
        rate, max(1, round(steps)), end_learning_rate=0.0
    )


def expected(recipe, n):
    """What `ReadBack` must find, computed from the recipe and not from the builders.

    Args:
        recipe: `ganlib.studies.boundary.Recipe`.
        n: int, training pictures.
    """
    f, kernel = recipe.g_filters, {"transpose": 16, "resize": 9}[recipe.upsample]
    generator = recipe.latent_dim * 64 * f + 4 * (4 + 2 + 1) * f  # Dense; batch normalisation
    generator += kernel * (4 * 2 + 2 * 1) * f * f + (kernel * f + 1) * 3
    f = recipe.d_filters
    discriminator = 16 * (3 + 2 * f + 8 * f) * f + 64 * f + 1
    if recipe.d_normalisation == "batch":
        discriminator += (1 + 4 * 2 + 4 * 4) * f
    else:
        discriminator += 7 * f
    if recipe.d_normalisation == "spectral":  # the vectors of the power iteration
        discriminator += 7 * f + 1
    return {
        "d_learning_rate": recipe.d_learning_rate,
        "g_learning_rate": recipe.g_learning_rate,
        "batch_size": min(recipe.batch_size, n),
        "g_parameters": generator,
        "d_parameters": discriminator,
    }


def train_gan(gan, trial, data, run):
    """Trains a boundary GAN; returns the result so far, and its `KeepBest`."""
    recipe = trial.recipe
    images = data.train.as_range("signed")
    criteria = Criteria(gan, data, recipe)
    best = KeepBest(
        gan,
        run.path / "best.npz",
        criteria,
        "score",
        lower=False,
        epochs=recipe.epochs,
    )
    high = dict(zip(CRITERIA, recipe.high, strict=True))
    high["s3"] *= criteria.ceiling
    monitor = HealthMonitor(images[:256], stop_on=("non_finite_loss",))
    history = training.fit(
        gan,
        images,
        run,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        seed=trial.seed,
        expected=expected(recipe, len(images)),
        callbacks=[best, StopWhenHigh(high, recipe.patience), monitor],
    )
    results = {
        **training.outcome(gan, history, monitor),
        "best_epoch": best.epoch,
        "high": high,
    }
    return results, best


class Criteria:
    """s1, s2 and s3 on the validation part, always from the same latents.

    Args:
        gan: `ganlib.adversarial.Adversarial`.
        data: `ganlib.studies.boundary.CellData`.
        recipe: `ganlib.studies.boundary.Recipe`.

    Attributes:
        ceiling: float, s3 of the validation pictures among themselves.
    """

    def __init__(self, gan, data, recipe):
        self.gan, self.how = gan, ("unit", recipe.similarity)
        self.real = data.validation.as_range("unit")
        self.trained = data.train.subset(slice(len(self.real))).as_range("unit")
        self.latents = draw_latents(gan, recipe.judged)
        self.ceiling = s3_ceiling(self.real, *self.how).value

    def __call__(self):
        """Scores for the history; None where D or the pictures are not finite."""
        images = make_images(self.gan.sampler, self.latents)
        if not np.isfinite(images).all():
            return None
        fake, real, trained = (discriminate(self.gan, x) for x in (images, self.real, self.trained))
        if not all(np.isfinite(logits).all() for logits in (fake, real, trained)):
            return None
        scores = {"s1": s1(real), "s2": s2(fake), "s3": s3(images, self.real, *self.how).value}
        scores["score"] = math.prod(scores.values())
        # Of as many pictures that D has seen: far above s1, D has learnt them by heart.
        return scores | {"s1_train": s1(trained)}
