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
from ganlib.callbacks.best import KeepBest, StopWhenHigh
from ganlib.content import LikenessLoss
from ganlib.data import load_parts
from ganlib.experiment.fit import fit_gan
from ganlib.experiment.study import Source, Study
from ganlib.features import networks
from ganlib.metrics import boundary as metrics
from ganlib.metrics import fidelity
from ganlib.models import boundary as models

SIZE = 32  # pixels of a picture's side
SCORED = 1  # seed of latents; those of 0 chose the epoch
SHOWN, NEIGHBOURS = 36, 8  # pictures of a sample grid; of those beside their nearest real ones
PATHS, STEPS = 100, 41  # of D's landscape: ways from a picture to its nearest real one
FROM, TO = -0.5, 1.5  # where a way begins and ends: 0 is the generated picture, 1 the real one
SLOW = {"ssim": 300}  # most pictures on either side, of a similarity that takes long


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The write-up's method; what it leaves open is as DCGAN's authors have it."""

    gamma: float | None = 0.8  # of the boundary loss; None: plain binary cross-entropy
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
    judged: int = 500  # generated pictures that are scored after each epoch
    samples: int = 600  # generated pictures that are scored at the end
    high: tuple[float, ...] = (0.998, 0.999, 1.0)  # s1, s2, and s3 over its ceiling: "all high"
    patience: int = 3  # epochs in a row, all high, after which training stops; 0: it never does
    similarity: str = "correlation"  # of s3; see `ganlib.metrics.boundary`
    network: str = "efficientnet_lite0_small"  # whose features KID, precision and recall stand on


# fmt: off
PROFILES = {
    "quick": {"g_filters": 12, "d_filters": 12, "batch_size": 32, "epochs": 12,
        "g_learning_rate": 1e-3, "d_learning_rate": 1e-3, "judged": 200, "samples": 200},
    "cpu": {}, "full": {},  # these networks are small
}
# What helped in short runs, by the score on validation pictures.
REPAIRED = {"upsample": "resize", "likeness": 6.0, "augment": ("orientation",), "d_filters": 40,
    "g_learning_rate": 1.2e-4, "d_learning_rate": 5e-4, "g_rest": 0.2, "d_rest": 1.0,
    "patience": 10}  # D goes on to settle
REPAIRED_QUICK = {"d_filters": 12, "g_learning_rate": 1e-3, "d_learning_rate": 2e-3, "g_rest": 0.5}
# A generator that gets ahead of D for a while: more lifelike pictures, of which D is less sure.
FASTER = {"likeness": 4.0, "g_learning_rate": 1.5e-4, "g_rest": 0.25}
# fmt: on
QUICK_NAMES = ("bce", "gamma-0.2", "gamma-0.8", "repaired", "repaired-bce", "idle-generator")
GAMMAS, QUICK_GAMMAS = (0.1, 0.3, 0.5, 0.8, 1.0), (0.2, 0.8)


def variations(study):
    """The write-up's two losses, its γ, the repaired recipe, and what each repair is worth."""
    but, submitted, quick = dataclasses.replace, study.base, study.profile == "quick"
    repaired = but(submitted, **{**REPAIRED, **(REPAIRED_QUICK if quick else {})})
    gammas = QUICK_GAMMAS if quick else GAMMAS
    recipes = {
        "bce": but(submitted, gamma=None),
        **{f"gamma-{gamma:g}": but(submitted, gamma=gamma) for gamma in gammas},
        "repaired": repaired,
        "faster-generator": but(repaired, **FASTER),
        "repaired-bce": but(repaired, gamma=None),
        "no-rest": but(repaired, g_rest=0.0),
        "no-likeness": but(repaired, likeness=0.0),
        "no-turns": but(repaired, augment=()),
        # A control: D and its loss alone, before a generator that never learns.
        "idle-generator": but(repaired, g_learning_rate=0.0, g_rest=0.0, likeness=0.0),
    }
    return {name: recipes[name] for name in QUICK_NAMES} if quick else recipes


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
    loss = "non_saturating" if recipe.gamma is None else losses.Boundary(recipe.gamma)
    return Adversarial(generator, discriminator, loss, update="shared", seed=seed, **options)


def to_rest(rate, steps):
    """A learning rate that falls to zero over so many steps; None, it stays, for none."""
    falling = keras.optimizers.schedules.PolynomialDecay
    return falling(rate, max(1, round(steps)), end_learning_rate=0.0) if steps else None


def train(trial, data, run):
    """Trains and scores one trial; see `ganlib.experiment.study.Study`."""
    recipe = trial.recipe
    gan = build_gan(recipe, trial.seed)
    criteria = Criteria(gan, data, recipe)
    options = {"lower": False, "epochs": recipe.epochs}
    best = KeepBest(gan, run.path / "best.npz", criteria, "score", **options)
    high = dict(zip(("s1", "s2", "s3"), recipe.high, strict=True))
    high["s3"] *= criteria.ceiling
    steps = recipe.epochs * math.ceil(len(data.train) / recipe.batch_size)
    d_rate = to_rest(recipe.d_learning_rate, recipe.d_rest * steps)
    g_rate = to_rest(recipe.g_learning_rate, recipe.g_rest * steps)
    options = {"callbacks": [best, StopWhenHigh(high, recipe.patience)]}
    _, outcome = fit_gan(gan, data, trial, run, d_rate=d_rate, g_rate=g_rate, **options)
    results = {**outcome, "best_epoch": best.epoch, "high": high}
    return {**results, **examine(gan, best, recipe, data, run)}


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
    images = make_images(gan.sampler, latents)
    scores = {"last": _scored(gan, images, data, recipe)}
    if scores["last"]:  # when D has settled; an epoch that s2 chose flatters BCE
        _save_landscape(gan, images, data, recipe, run)
    best.restore()
    gan.save(run.model)
    images = make_images(gan.sampler, latents)
    scores["best"] = _scored(gan, images, data, recipe)
    if not scores["last"]:
        _save_landscape(gan, images, data, recipe, run)
    save_grid(images[:SHOWN], run.path / "samples.png")
    _save_neighbours(images, data, recipe, run)
    start = time.perf_counter()
    metrics.s3(images, test, "unit", recipe.similarity)
    seconds = time.perf_counter() - start
    some = {name: slice(SLOW.get(name)) for name in metrics.SIMILARITIES}
    alike = {n: metrics.s3(images[s], test[s], "unit", n) for n, s in some.items()}
    eye, folder = networks.get(recipe.network), run.path.parent / "features"
    reference, real = (networks.cached(eye, part, folder) for part in (data.test, data.validation))
    quality = {}
    for name, seen in {"generated": eye(images, "unit"), "real": real}.items():
        about = seen.features, eye, seen.probabilities
        quality[name] = fidelity.evaluate(reference.features, *about)
    return {"scores": scores, "similarities": alike, "fidelity": quality, "s3_seconds": seconds}


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


def _save_neighbours(images, data, recipe, run):
    test, train = (part.as_range("unit") for part in (data.test, data.train))
    near, values = metrics.most_alike(images, test, "unit", recipe.similarity)
    trained, _ = metrics.most_alike(images, train, "unit", recipe.similarity)
    order = np.argsort(-values)
    # One picture each: some real pictures are the nearest of many.
    chosen = order[np.sort(np.unique(near[order], return_index=True)[1])[:NEIGHBOURS]]
    rows = [images[chosen], test[near[chosen]], train[trained[chosen]]]
    save_grid(np.concatenate(rows), run.path / "neighbours.png", len(chosen))


def _save_landscape(gan, images, data, recipe, run):
    """D's logits on sets of pictures, on ways from generated to real ones, and on a plane."""
    test = data.test.as_range("unit")
    train = data.train.subset(slice(len(test))).as_range("unit")
    noise = np.random.default_rng(0).random(test.shape, dtype="float32")
    sets = {"real": test, "train": train, "fake": images, "noise": noise}
    logits = {name: discriminate(gan, pictures) for name, pictures in sets.items()}
    fake = images[:PATHS]
    indices = metrics.most_alike(fake, test, "unit", recipe.similarity)[0]
    near, other = test[indices], test[indices[0] - 1]
    at = np.linspace(FROM, TO, STEPS, dtype="float32")
    across = at[:, None, None, None]
    ways = [a + across * (b - a) for a, b in zip(fake, near, strict=True)]
    # A generated picture is (0, 0), its nearest real one (1, 0), another real one (0, 1).
    plane = [fake[0] + across * (near[0] - fake[0]) + y * (other - fake[0]) for y in at]
    for name, pictures in {"ways": ways, "plane": plane}.items():
        pictures = np.clip(np.concatenate(pictures), 0.0, 1.0)
        logits[name] = discriminate(gan, pictures).reshape(-1, STEPS)
    np.savez_compressed(run.path / "landscape.npz", at=at, **logits)


SOURCE = Source("tissue", None, ("boundary", "lung_cells", "cells"))
STUDY = Study("boundary", "A boundary GAN on cells: s1, s2, s3", Recipe, PROFILES, variations,
    load_data, train, module=__name__, source=SOURCE)  # fmt: skip
