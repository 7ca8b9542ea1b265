"""How a super-resolution trial trains and is scored."""

import keras
import numpy as np

from ganlib import losses
from ganlib.adversarial import Adversarial
from ganlib.apply import upscale_image
from ganlib.backends import variables as weights
from ganlib.callbacks.health import HealthMonitor
from ganlib.callbacks.plateau import StopWhenLost
from ganlib.content import ContentLoss
from ganlib.data import DataError
from ganlib.experiment import fit as training
from ganlib.features import perceptual
from ganlib.images import psnr
from ganlib.metrics import super_resolution as metrics
from ganlib.models import srgan as models

KEPT = 5  # test pictures whose enlargements are saved
SEEN = 64  # patches that the health monitor looks at


def build_players(recipe, seed, kernel):
    """The generator and the discriminator of a recipe.

    Args:
        recipe: `Recipe`.
        seed: int.
        kernel: the linear upscaler to start from.
    """
    keras.utils.set_random_seed(seed)
    sizes = {"scale": recipe.scale, "filters": recipe.filters, "blocks": recipe.blocks}
    if recipe.generator == "paper":
        generator = models.build_paper_generator(**sizes, seed=seed)
    else:
        kernel = kernel if recipe.linear_start else None
        generator = models.build_generator(**sizes, kernel=kernel, seed=seed)
    discriminator = models.build_discriminator(recipe.d_filters, levels=recipe.d_levels, seed=seed)
    return generator, discriminator


def pretrain(generator, patches, recipe, data, run):
    """Fits the generator to pixels; leaves it with the weights that validated best."""
    schedule = keras.optimizers.schedules.CosineDecay(
        recipe.pretraining_rate, recipe.pretraining_epochs * recipe.steps
    )
    optimizer = keras.optimizers.Adam(schedule, beta_2=recipe.pretraining_beta_2)
    training.compile_supervised(generator, optimizer, "mean_absolute_error")
    best = Validation(data.validation, recipe.scale, run.path / "best.npz")
    history = training.fit(
        generator,
        patches,
        run,
        epochs=recipe.pretraining_epochs,
        expected={
            "learning_rate": recipe.pretraining_rate,
            "batch_size": recipe.batch_size,
            "parameters": generator_parameters(recipe),
        },
        callbacks=[best, StopWhenLost()],
    )
    weights.load(best.path, generator.weights)
    return {
        "pretraining_loss": float(history["loss"].iloc[-1]),
        "pretraining_seconds": float(history["seconds"].sum()),
        "best_epoch": best.epoch,
        "validation_psnr_y": best.value,
        **training.findings(history),
    }


def build_gan(generator, discriminator, recipe, seed):
    """The compiled `Adversarial` of a recipe."""
    content = ContentLoss(
        recipe.pixel, recipe.distance, recipe.perceptual, recipe.features, recipe.value_range
    )
    gan = Adversarial(
        generator,
        discriminator,
        losses.get(recipe.loss),
        update="shared",  # the same low-resolution patches make the same pictures
        ema=recipe.ema,
        content=content,
        adversarial_weight=recipe.adversarial,
        seed=seed,
    )
    gan.compile(
        keras.optimizers.Adam(recipe.d_learning_rate, recipe.beta_1),
        keras.optimizers.Adam(recipe.g_learning_rate, recipe.beta_1),
    )
    return gan


def train_adversarially(gan, patches, recipe, data, run, seed):
    low, high = _some_patches(patches)
    monitor = HealthMonitor(high, latents=low, stop_on=("non_finite_loss",))
    history = training.fit(
        gan,
        patches,
        run,
        epochs=recipe.epochs,
        expected={
            "d_learning_rate": recipe.d_learning_rate,
            "g_learning_rate": recipe.g_learning_rate,
            "batch_size": recipe.batch_size,
            "g_parameters": generator_parameters(recipe),
        },
        callbacks=[monitor],
    )
    last = history.iloc[-1]
    return {
        **training.outcome(gan, history, monitor),
        **{key: float(last[key]) for key in ("g_loss", "g_content", "d_loss")},
        "d_accuracy": float((last["d_accuracy_real"] + last["d_accuracy_fake"]) / 2),
    }


def _some_patches(patches):
    """Patches for the monitor, the same in every run; no training reaches their epoch."""
    count = -(-SEEN // patches.batch_size)
    batches = [patches.batch(2**31, step) for step in range(count)]
    return (np.concatenate(part)[:SEEN] for part in zip(*batches, strict=True))


def generator_parameters(recipe):
    """Parameters of the generator, from the recipe and not from the builder."""
    f, b, s, c = recipe.filters, recipe.blocks, recipe.scale, 3
    square = 9 * f * f + f
    if recipe.generator == "residual":
        skip = 25 * c * c * s * s
        return (9 * c + 1) * f + (2 * b + 1) * square + (9 * f + 1) * c * s * s + skip
    trunk = (81 * c + 1) * f + f + b * (2 * square + 8 * f + f) + square + 4 * f
    steps = (2, 2) if s == 4 else (s,)
    return trunk + sum((9 * f + 1) * f * r * r + f for r in steps) + (81 * f + 1) * c


def score(generator, recipe, data, run):
    """Scores on the test pictures, as measured and as the trial's author prints them."""
    kept = []

    def enlarge(low):
        kept.append(enlarged(generator, low, recipe.scale))
        return kept[-1]

    judge = perceptual.get(recipe.judge)
    # The range is right by construction, and a failed attempt may look like anything.
    rows = metrics.evaluate(
        enlarge, data.test, recipe.scale, judge, recipe.judged_side, check=False
    )
    printed = [
        metrics.printed_scores(
            large, metrics.low_resolution(image, recipe.scale)[1], recipe.mistake
        )
        for large, image in zip(kept, data.test.images, strict=True)
    ]
    for name, large in zip(data.test.names[:KEPT], kept, strict=False):
        save_picture(large, run.samples / f"{safe_name(name)}.png")
    return {
        **metrics.mean_scores(rows),
        **{f"printed_{k}": float(np.mean([p[k] for p in printed])) for k in ("psnr", "ssim")},
        "pictures": rows,
    }


def enlarged(generator, low, scale):
    """`upscale_image`, but black where the network makes no numbers: it has to be scored, too."""
    try:
        return upscale_image(generator, low)
    except DataError:
        height, width, channels = low.shape
        return np.zeros((scale * height, scale * width, channels), "uint8")


def save_generator(generator, path):
    """Saves the network alone: whoever loads it to use it needs no optimizer and no metric."""
    copy = type(generator).from_config(generator.get_config())
    copy.set_weights(generator.get_weights())
    copy.save(path)


def safe_name(name):
    """A picture's name as a file name: no folder, no dot but the suffix's."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)


def save_picture(image, path):
    from PIL import Image

    Image.fromarray(image).save(path)


class Validation(keras.callbacks.Callback):
    """Adds `validation_psnr_y` to the logs, and keeps the weights with the best one in `path`.

    Training may start from something good, so the weights before the first epoch compete, too.
    """

    def __init__(self, photos, scale, path):
        super().__init__()
        self.pairs = [metrics.low_resolution(image, scale) for image in photos.images]
        self.scale = scale
        self.path = path
        self.value, self.epoch = None, 0

    def on_train_begin(self, logs=None):
        if self.value is None:
            self._compete(self.measure(), 0)

    def on_epoch_end(self, epoch, logs=None):
        value = logs["validation_psnr_y"] = self.measure()
        if value > self.value:
            self._compete(value, epoch + 1)

    def measure(self):
        """Mean luma PSNR in dB over the validation pictures."""
        values = [
            psnr(
                enlarged(self.model, low, self.scale),
                high,
                "byte",
                border=self.scale,
                luma_only=True,
            )
            for low, high in self.pairs
        ]
        return float(np.mean(values))

    def _compete(self, value, epoch):
        self.value, self.epoch = value, epoch
        temporary = self.path.with_name(f"writing-{self.path.name}")
        weights.save(temporary, self.model.weights)
        temporary.replace(self.path)

    def get_state(self):
        return {"value": self.value, "epoch": self.epoch}

    def set_state(self, state):
        self.value, self.epoch = state["value"], state["epoch"]
