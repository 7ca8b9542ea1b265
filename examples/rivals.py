"""A study of your own: does the squared hinge draw better digits than the hinge?

From this folder: `ganlib run rivals`, `ganlib status rivals`, `ganlib report rivals`.
"""

import dataclasses

import keras
import numpy as np
from dense import build_discriminator, build_generator
from squared_hinge import SquaredHinge

from ganlib.adversarial import Adversarial
from ganlib.apply import sample_images
from ganlib.data import load_parts
from ganlib.experiment.fit import fit_gan
from ganlib.experiment.study import Source, Study
from ganlib.metrics.kernel import kernel_distance

LOSSES = {"hinge": "hinge", "squared": SquaredHinge()}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that a trial depends on, except its seed and the data."""

    loss: str = "hinge"  # of `LOSSES`
    latent_dim: int = 32
    width: int = 128
    batch_size: int = 50
    g_learning_rate: float = 1e-3
    d_learning_rate: float = 1e-3
    beta_1: float = 0.5
    epochs: int = 50
    samples: int = 500  # generated pictures that are scored


QUICK = {"width": 64, "g_learning_rate": 3e-3, "d_learning_rate": 3e-3, "epochs": 3}


def variations(study):
    """Name → recipe, from the profile's."""
    return {name: dataclasses.replace(study.base, loss=name) for name in LOSSES}


def load(spec, study):
    """Digits in three parts that share no picture."""
    return load_parts(spec, size=28, channels=1)


def train(trial, data, run):
    """Trains and scores one trial; what it returns becomes the run's result.json."""
    recipe, seed = trial.recipe, trial.seed
    keras.utils.set_random_seed(seed)
    gan = Adversarial(
        build_generator(recipe.latent_dim, recipe.width, seed=seed),
        build_discriminator(recipe.width, seed=seed),
        LOSSES[recipe.loss],
        update="shared",
        seed=seed,
    )
    _, outcome = fit_gan(gan, data, trial, run)  # compiles, resumes, reads back what it trains with
    gan.save(run.model)
    return {**outcome, **score(gan, data, recipe.samples)}


def score(gan, data, samples):
    """The kernel distance to test pictures: of generated, of unseen real ones, and of noise."""
    test, real = (part.as_range("unit")[:samples] for part in (data.test, data.validation))
    noise = np.random.default_rng(0).random(test.shape, "float32")
    candidates = {"": sample_images(gan, len(test)), "_real": real, "_noise": noise}
    distances = {
        f"distance{which}": kernel_distance(means(test), means(images)).value
        for which, images in candidates.items()
    }
    return {**distances, "n": len(test)}


def means(images):
    """Mean grey of each 4×4 block: features `(n, 49)`. Crude, and quick."""
    return images.reshape(-1, 7, 4, 7, 4).mean(axis=(2, 4)).reshape(-1, 49)


STUDY = Study(
    name=__name__,
    title="Hinge against squared hinge",
    recipe=Recipe,
    profiles={"quick": QUICK, "cpu": {"epochs": 20}, "full": {}},
    variations=variations,
    load=load,
    train=train,
    module=__name__,
    source=Source("digits", "tfds:mnist", ("rivals", "digits", "mnist")),
)
