"""How a bedroom trial trains."""

import itertools

import keras
import numpy as np

from ganlib import losses
from ganlib.adversarial import Adversarial
from ganlib.apply import draw_latents, make_images, save_grid
from ganlib.augment import DiffAugment
from ganlib.callbacks.best import BestByKID, is_due
from ganlib.callbacks.health import HealthMonitor
from ganlib.experiment import fit as training
from ganlib.features import networks
from ganlib.models import dcgan

GRID = 8  # pictures in a row, and in a column, of a sample grid


def build_gan(recipe, seed):
    """The compiled `Adversarial` of a recipe."""
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
    gan = Adversarial(
        generator,
        discriminator,
        losses.get(recipe.loss),
        update=recipe.update,
        r1=recipe.r1,
        ema=recipe.ema,
        augment=DiffAugment(recipe.augment) if recipe.augment else None,
        seed=seed,
    )
    gan.compile(
        keras.optimizers.Adam(recipe.d_learning_rate, recipe.beta_1),
        keras.optimizers.Adam(recipe.g_learning_rate, recipe.beta_1),
    )
    return gan


def expected(recipe, n):
    """What `ReadBack` must find, computed from the recipe and not from the builders.

    Args:
        recipe: `ganlib.studies.bedrooms.Recipe`.
        n: int, training pictures.
    """
    g_parameters, d_parameters = (
        _assignment_parameters(recipe)
        if recipe.networks == "assignment"
        else _dcgan_parameters(recipe)
    )
    return {
        "d_learning_rate": recipe.d_learning_rate,
        "g_learning_rate": recipe.g_learning_rate,
        "batch_size": min(recipe.batch_size, n),
        "g_parameters": g_parameters,
        "d_parameters": d_parameters,
    }


def _assignment_parameters(recipe):
    f, area = recipe.filters, (recipe.size // 8) ** 2
    widths = (8 * f, 4 * f, 2 * f, f)
    generator = (recipe.latent_dim + 1) * area * 8 * f + (25 * f + 1) * 3
    generator += sum((25 * a + 1) * b + 4 * b for a, b in itertools.pairwise(widths))
    widths = (3, f, 4 * f, 8 * f)
    discriminator = sum((25 * a + 1) * b for a, b in itertools.pairwise(widths))
    return generator, discriminator + area * 8 * f + 1


def _dcgan_parameters(recipe):
    f, levels = recipe.filters, recipe.size.bit_length() - 3
    area = {"transpose": 16, "resize": 9}[recipe.upsample]
    widths = [f << level for level in range(levels)]
    generator = recipe.latent_dim * 16 * widths[-1] + (area * f + 1) * 3
    generator += sum(4 * a for a in widths)
    generator += sum(area * a * b for a, b in itertools.pairwise(widths))
    discriminator = sum(16 * a * b for a, b in zip([3, *widths], widths, strict=False))
    discriminator += 16 * widths[-1] + 1
    if recipe.d_normalisation == "batch":
        discriminator += widths[0] + sum(4 * a for a in widths[1:])
    else:
        discriminator += sum(widths)
    if recipe.d_normalisation == "spectral":  # the vectors of the power iteration
        discriminator += sum(widths) + 1
    return generator, discriminator


def train_gan(gan, trial, data, run, folder):
    """Trains a bedroom GAN; returns the result so far, and its `BestByKID`."""
    recipe = trial.recipe
    images = data.train.as_range("signed")
    best = BestByKID(
        gan,
        networks.get(recipe.network),
        data.seen("validation", recipe.network, folder).features,
        run.path / "best.npz",
        n=recipe.judged,
        every=recipe.score_every,
        epochs=recipe.epochs,
    )
    monitor = HealthMonitor(images[:256], stop_on=("non_finite_loss",))
    history = training.fit(
        gan,
        images,
        run,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        seed=trial.seed,
        expected=expected(recipe, len(images)),
        callbacks=[best, SampleGrid(gan, run, recipe), monitor],
    )
    results = {
        **training.outcome(gan, history, monitor),
        "best_epoch": best.epoch,
        **{key: float(history[key].iloc[-1]) for key in ("d_accuracy_real", "d_accuracy_fake")},
    }
    return results, best


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
