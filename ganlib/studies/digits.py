"""The digits study: the tutorial's MNIST GAN, its six variations, and what they did."""

import dataclasses
import time

import keras
import numpy as np

from ganlib import losses
from ganlib.adversarial import Adversarial
from ganlib.apply import infer, save_grid
from ganlib.backends.precision import half_precision
from ganlib.callbacks.best import is_due
from ganlib.callbacks.health import HealthMonitor
from ganlib.data import check, load_train_test
from ganlib.experiment.fit import fit_gan
from ganlib.experiment.study import QUICK, SEEDS, Source, Study, chosen
from ganlib.features.digits import load_or_train
from ganlib.images import convert
from ganlib.metrics.digits import digit_quality, noise_images
from ganlib.models import digits as models

GRID = 64  # pictures in a sample grid
PRINTED = 100  # real and fake images that the write-up's printed accuracy looks at
SCORES = ("confidence", "digit_score", "frechet_distance", "missing_digits", "output_slope")
RANGES = {"sigmoid": "unit", "tanh": "signed"}  # what the data is scaled to
BLACK = {"unit": 0.0, "signed": -1.0}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The write-up's base run; D's step has as many generated images as real ones."""

    # "tutorial", "dcgan" for G, "spectral" for D; or one's own, see `Study.with_variation`.
    generator: str | dict = "tutorial"
    discriminator: str | dict = "tutorial"
    width: int = 128  # of G's hidden layers
    d_width: int = 128
    latent_dim: int = 100
    output: str = "sigmoid"
    batch_norm: bool = False
    momentum: float = 0.99
    dropout: float = 0.4
    loss: str | dict = "non_saturating"
    real_label: float = 1.0
    instance_noise: float = 0.0
    ema: float = 0.0
    update: str = "alternating"
    batch_size: int = 128  # real images a step
    generator_batch: int | None = 256
    g_learning_rate: float = 2e-4
    d_learning_rate: float = 2e-4
    beta_1: float = 0.5
    beta_2: float = 0.999
    half_precision: bool = False  # bfloat16, where the machine computes in it
    epochs: int = 100
    samples: int = 5000  # generated images that are scored
    score_every: int = 5  # epochs
    patience: int = 10  # epochs in a row after which a blank generator ends the run


# fmt: off
PROFILES = {
    # Rates picked after about a hundred short runs: a favourable case, not a fair one.
    "quick": {"width": 16, "d_width": 24, "momentum": 0.9, "update": "shared", "batch_size": 32,
        "generator_batch": None, "g_learning_rate": 2e-3, "d_learning_rate": 2e-3, "epochs": 3,
        "samples": 500, "score_every": 1, "patience": 2},
    "cpu": {"width": 24, "d_width": 24, "batch_size": 32, "generator_batch": 64, "epochs": 3,
        "samples": 2000, "score_every": 1, "patience": 2},
    "full": {"half_precision": True},  # gains where networks are wide; see benchmarks/
}
# What the diagnosis leads to, at every scale: hinge loss, a D that can't run away, a G that is
# normalised, faster than D, and averaged.
REPAIRED = {"generator": "dcgan", "discriminator": "spectral", "output": "tanh", "loss": "hinge",
    "width": 16, "d_width": 16, "dropout": 0.0, "batch_size": 64, "generator_batch": None,
    "update": "shared", "g_learning_rate": 2e-3, "d_learning_rate": 8e-4, "beta_1": 0.0,
    "beta_2": 0.99, "ema": 0.99}
# fmt: on
QUICK_NAMES = ("base", "tanh", "label-smoothing")  # three seeds of what was most surprising


def variations(study):
    """The write-up's variations of its base run, and what its diagnosis leads to."""
    changes = {
        "base": {},
        "tanh": {"output": "tanh"},
        "latent-50": {"latent_dim": 50},
        "label-smoothing": {"real_label": 0.9},
        "batch-norm": {"batch_norm": True},
        "least-squares": {"loss": "least_squares"},
        "hinge": {"loss": "hinge"},
        "instance-noise": {"instance_noise": 0.5},
        "repaired": REPAIRED,
    }
    names = QUICK_NAMES if study.profile == QUICK else changes
    return {name: dataclasses.replace(study.base, **changes[name]) for name in names}


class DigitsData:
    """Digits; `test` is halved into `reference`, of Fréchet distances, and `real`, the ceiling."""

    def __init__(self, train, test):
        self.train, self.test = train, test
        order, half = np.random.default_rng(0).permutation(len(test)), len(test) // 2
        self.reference, self.real = test.subset(order[:half]), test.subset(order[half:])
        self.checksum = f"{train.checksum()[:32]}{test.checksum()[:32]}"
        self.name, self.origin, self.synthetic = train.name, train.origin, train.synthetic

    def classifier(self, folder):
        """The `DigitClassifier` for this data, trained once and kept in `folder`."""
        path = folder / f"classifier-{self.checksum[:8]}.keras"
        return load_or_train(path, self.train, self.test)

    def baselines(self, folder, samples):
        """Quality of `samples` real digits never trained on, and of noise."""
        judge, reference = self.classifier(folder), self.reference.as_range("unit")
        real = self.real.as_range("unit")[:samples]
        pictures = {"real": real, "noise": noise_images(len(real))}
        return {name: digit_quality(judge, images, reference) for name, images in pictures.items()}


def load_data(spec, study=None):
    """Checked `DigitsData`; without a test part they are divided class by class."""
    train, test = load_train_test(spec, size=28, channels=1)
    for part, minimum in ((train, 500), (test, 200)):
        check(part, channels=1, size=28, classes=10, minimum=minimum)
    return DigitsData(train, test)


def build_model(recipe, seed, steps):
    """The `Adversarial` of a recipe, not compiled; instance noise ends after half of the steps."""
    keras.utils.set_random_seed(seed)
    with half_precision(recipe.half_precision):
        generator, discriminator = _networks(recipe, seed)
    options = {key: getattr(recipe, key) for key in ("update", "generator_batch", "ema")}
    # The noise is stated for [0, 1] images and reaches as far in [-1, 1] ones.
    options["instance_noise"] = recipe.instance_noise * (2 if recipe.output == "tanh" else 1)
    options |= {"instance_noise_steps": steps // 2, "seed": seed}
    loss = losses.get(recipe.loss, recipe.real_label)
    return Adversarial(generator, discriminator, loss, **options)


def _networks(recipe, seed):
    options = {key: getattr(recipe, key) for key in ("output", "batch_norm", "momentum")}
    size, d_size = (recipe.latent_dim, recipe.width), recipe.d_width
    builders = {
        "tutorial": lambda: models.build_generator(*size, seed=seed, **options),
        "dcgan": lambda: models.build_dcgan_generator(*size, seed=seed),
    }
    d_builders = {
        "tutorial": lambda: models.build_discriminator(d_size, dropout=recipe.dropout, seed=seed),
        "spectral": lambda: models.build_spectral_discriminator(d_size, seed=seed),
    }
    return chosen(recipe.generator, builders), chosen(recipe.discriminator, d_builders)


def train(trial, data, run):
    """Trains and scores one trial; see `ganlib.experiment.study.Study`."""
    recipe = trial.recipe
    images = data.train.as_range(RANGES[recipe.output])
    gan = build_model(recipe, trial.seed, recipe.epochs * -(-len(images) // recipe.batch_size))
    scorer = Scorer(gan, recipe, data, run)
    stop_on = ("generator_blank", "non_finite_loss")
    monitor = HealthMonitor(images[:256], patience=recipe.patience, warm_up=0, stop_on=stop_on)
    options = {"images": images, "monitor": monitor, "callbacks": [scorer]}
    history, outcome = fit_gan(gan, data, trial, run, **options)
    gan.save(run.model)
    last = {key: float(history[key].iloc[-1]) for key in ("accuracy_real", "accuracy_fake")}
    last["seconds_per_epoch"] = float(history["train_seconds"].median())  # without the scoring
    return {**outcome, **scorer.quality(), **last}


class Scorer(keras.callbacks.Callback):
    """Adds an epoch's scores to the logs (`printed_…`: as the write-up's metric), saves grids."""

    def __init__(self, gan, recipe, data, run):
        super().__init__()
        self.gan, self.recipe, self.run = gan, recipe, run
        self.range = RANGES[recipe.output]
        self.classifier = data.classifier(run.path.parent)
        self.reference = data.reference.as_range("unit")
        self.real = data.real.as_range(self.range)[:PRINTED]
        count = max(recipe.samples, GRID, PRINTED)
        latents = np.random.default_rng(0).normal(size=(count, recipe.latent_dim))
        self.latents = latents.astype("float32")  # the same for all trials

    def images(self, n):
        """n generated images in [0, 1], float32 `(n, 28, 28, 1)`; what is not finite is black."""
        made = infer(self.gan.sampler, self.latents[:n], self.real.shape[1:])
        return convert(np.where(np.isfinite(made), made, BLACK[self.range]), self.range, "unit")

    def quality(self):
        """The scores of `digit_quality`, and the mean slope of G's output over the steepest."""
        images = self.images(self.recipe.samples)  # u: of sigmoid and tanh alike it is 4u(1 - u)
        slope = float((4 * images * (1 - images)).mean())
        return {**digit_quality(self.classifier, images, self.reference), "output_slope": slope}

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        logs["train_seconds"] = round(time.monotonic() - self._start, 3)
        fakes = convert(self.images(PRINTED), "unit", self.range)
        boundary = self.gan.adversarial_loss.boundary
        for side, x, label in (("real", self.real, self.recipe.real_label), ("fake", fakes, 0.0)):
            logits = keras.ops.convert_to_numpy(self.gan.discriminator(x, training=False))
            right = logits > boundary if side == "real" else logits < boundary
            logs[f"accuracy_{side}"] = float(right.mean())
            # The tutorial's D ends in a sigmoid, and its metric compares rounded probabilities.
            logs[f"printed_{side}"] = float(np.mean((logits > boundary) == label))
        if is_due(epoch, self.recipe.score_every, self.recipe.epochs):
            quality = self.quality()
            logs |= {key: quality[key] for key in SCORES}
            save_grid(self.images(GRID), self.run.samples / f"epoch-{epoch + 1:04d}.png", 8)


SOURCE = Source("digits", "tfds:mnist", ("digits", "mnist"))
STUDY = Study("digits", "An MNIST GAN and its six variations", Recipe, PROFILES, variations,
    load_data, train, module=__name__, source=SOURCE, seeds={**SEEDS, QUICK: 3})  # fmt: skip
