"""The super-resolution study: seven attempts as submitted, and a network that beats bicubic."""

import dataclasses
import functools

import keras
import numpy as np
from PIL import Image

from ganlib import losses
from ganlib.adversarial import Adversarial
from ganlib.apply import upscale_image
from ganlib.backends.precision import half_precision
from ganlib.callbacks.best import KeepBest
from ganlib.callbacks.health import HealthMonitor
from ganlib.callbacks.plateau import StopWhenLost
from ganlib.content import ContentLoss
from ganlib.data import Batches, DataError, Patches, check, load_parts
from ganlib.experiment import fit as training
from ganlib.experiment.study import FULL, Source, Study
from ganlib.features import perceptual
from ganlib.images import convert, psnr, range_mistakes, upscale
from ganlib.metrics import super_resolution as metrics
from ganlib.models import srgan as models
from ganlib.models.linear import apply_kernel, fit_kernel
from ganlib.studies.srgan_attempts import ATTEMPTS

KEPT = 5  # test pictures whose enlargements are saved
SEEN = 64  # patches that the health monitor looks at
WATCHED = "validation_psnr_y"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """G minimises `pixel`·content + `perceptual`·features + `adversarial`·adversarial loss."""

    scale: int = 4
    generator: str = "residual"  # or "paper"
    filters: int = 64
    blocks: int = 16
    linear_start: bool = True  # G begins as the best linear upscaler, not as bicubic
    d_filters: int = 64
    d_levels: int = 4
    patch: int = 96  # pixels of a high-resolution patch's side
    batch_size: int = 16
    steps: int = 1000  # an epoch
    half_precision: bool = False  # bfloat16, where the machine computes in it
    pretraining_epochs: int = 0  # on pixels: mean absolute error, Adam, cosine decay
    pretraining_rate: float = 2e-3
    pretraining_beta_2: float = 0.95
    epochs: int = 0  # of the adversarial phase
    loss: str = "hinge"
    pixel: float = 1.0
    distance: str = "l1"
    perceptual: float = 6.0
    features: str = "filters"
    adversarial: float = 0.02
    g_learning_rate: float = 2e-4
    d_learning_rate: float = 1e-4
    beta_1: float = 0.9
    ema: float = 0.0
    judge: str = "filters"  # whose features measure the perceptual distance
    judged_side: int | None = None  # pixels of the centre that it looks at
    mistake: str = "none"  # of value range, in the scores that the trial's author prints

    @property
    def value_range(self):
        return "signed" if self.generator == "paper" else "unit"


# The repaired recipe by profile; in quick's three hundred steps D has to learn something.
_QUICK = {"filters": 32, "blocks": 4, "d_filters": 16, "patch": 64, "batch_size": 8, "steps": 100}
_QUICK |= {"pretraining_epochs": 9, "epochs": 3, "d_learning_rate": 5e-4, "ema": 0.99}
_CPU = {"filters": 32, "blocks": 6, "d_filters": 32, "batch_size": 8, "steps": 500}
_CPU |= {"pretraining_epochs": 16, "pretraining_rate": 1e-3, "epochs": 4, "ema": 0.995}
_FULL = {"filters": 96, "blocks": 16, "patch": 192, "pretraining_epochs": 30, "epochs": 10}
_FULL |= {"pretraining_rate": 5e-4, "g_learning_rate": 1e-4, "ema": 0.999}
_CPU["half_precision"] = _FULL["half_precision"] = True  # see benchmarks/HALF_PRECISION.md
PROFILES = {"quick": _QUICK | {"judged_side": 96}, "cpu": _CPU | {"judged_side": 128}}
PROFILES |= {"full": _FULL}
# As submitted: SRGAN from scratch, no pixel pretraining, the loss 1 - D(x) + D(G(z)).
SUBMITTED = {"generator": "paper", "linear_start": False, "loss": "absolute_error"}
SUBMITTED |= {"distance": "l2", "mistake": "denormalised twice"}  # fits the write-up's scores
SIZES = ("filters", "blocks", "d_filters", "patch", "batch_size", "steps")
SUBMITTED_SIZES = {"quick": (16, 2, 8, 48, 4, 16), "cpu": (32, 4, 16, 64, 8, 40)}
SUBMITTED_SIZES |= {"full": (64, 16, 64, 96, 16, 400)}
# The write-up's epochs in one of ours; the factor on its rates, as a short attempt has fewer steps.
EPOCHS_A_LOG = {"quick": 500, "cpu": 250, "full": 100}
RATE_FACTOR = {"quick": 20, "cpu": 10, "full": 1}
# Feature distances differ in size from network to network: these weights make them count alike.
PERCEPTUAL = {"filters": 6.0, "vgg16": 0.1}


def variations(study):
    """The repaired recipe, first because it takes longest, and the seven attempts."""
    judge = perceptual.best_at_hand()
    features = judge if study.profile == FULL else "filters"  # a deep network's would cost the most
    common = {"features": features, "judge": judge}
    repaired = dataclasses.replace(study.base, perceptual=PERCEPTUAL[features], **common)
    recipes, profile = {"repaired": repaired}, study.profile
    common |= SUBMITTED | dict(zip(SIZES, SUBMITTED_SIZES[profile], strict=True))
    common["judged_side"] = study.base.judged_side
    for attempt in ATTEMPTS:
        settings = common | attempt.settings | {"epochs": attempt.epochs // EPOCHS_A_LOG[profile]}
        for rate in ("g_learning_rate", "d_learning_rate"):
            settings[rate] *= RATE_FACTOR[profile]
        recipes[attempt.name] = Recipe(**settings)
    return recipes


def load(spec, study):
    """Photographs in three parts that share no picture; DataError if one is below a patch."""
    parts = load_parts(spec, channels=3, any_size=True)
    check(parts.train, at_least=max(recipe.patch for recipe in study.recipes.values()))
    for part in (parts.validation, parts.test):
        check(part, at_least=metrics.SMALLEST)
    return parts


@functools.cache
def linear_kernel(photos, scale):
    """The best linear upscaler of `Images`; see `ganlib.models.linear.fit_kernel`."""
    pairs = (metrics.low_resolution(image, scale) for image in photos.images)
    return fit_kernel(([convert(x, "byte", "unit") for x in pair] for pair in pairs), scale)


def enlarge_linearly(low, kernel, scale):
    """Enlarges a uint8 picture by a linear upscaler."""
    return convert(apply_kernel(convert(low, "byte", "unit"), kernel, scale), "unit", "byte")


@functools.cache
def baselines(data, recipe):
    """Scores on the test pictures of what needs no network, as a recipe's are measured."""
    scale, kernel = recipe.scale, linear_kernel(data.train, recipe.scale)
    upscalers = {"flat grey": metrics.flat_grey(scale), "bicubic": lambda low: upscale(low, scale)}
    upscalers["linear"] = lambda low: enlarge_linearly(low, kernel, scale)
    judging = data.test, scale, perceptual.get(recipe.judge), recipe.judged_side
    return {name: metrics.evaluate(enlarge, *judging) for name, enlarge in upscalers.items()}


def train(trial, data, run):
    """Pretrains on pixels, then adversarially, and scores; see `Study.train`."""
    recipe, seed = trial.recipe, trial.seed
    players = build_players(recipe, seed, linear_kernel(data.train, recipe.scale))
    generator = players[0]
    patches = Patches(data.train, recipe.scale, recipe.patch, recipe.value_range)
    batches = Batches(patches, recipe.batch_size, seed, steps=recipe.steps)
    epochs = recipe.pretraining_epochs + recipe.epochs
    results = {"parameters": generator.count_params(), "scores": {}}
    if recipe.pretraining_epochs:
        phase = run.phase("pretraining", 0, epochs)
        results |= pretrain(generator, batches, recipe, data, phase)
        results["scores"]["pretrained"] = score(generator, recipe, data, phase)
        save_generator(generator, run.model)
    if recipe.epochs:
        phase = run.phase("", recipe.pretraining_epochs, epochs)
        gan, found = train_adversarially(*players, batches, trial, data, phase)
        found["findings"] = results.get("findings", []) + found["findings"]
        results |= found
        results["scores"]["adversarial"] = score(gan.sampler, recipe, data, phase)
        # Of two phases the first has the smaller error, and the second its own file.
        name = "adversarial.keras" if recipe.pretraining_epochs else run.model.name
        save_generator(gan.sampler, run.path / name)
    return results


def build_players(recipe, seed, kernel):
    """The generator and the discriminator of a recipe; `kernel` is the linear upscaler."""
    keras.utils.set_random_seed(seed)
    build = models.build_paper_generator
    if recipe.generator == "residual":
        kernel = kernel if recipe.linear_start else None
        build = functools.partial(models.build_generator, kernel=kernel)
    with half_precision(recipe.half_precision):
        generator = build(recipe.scale, recipe.filters, recipe.blocks, seed=seed)
        d = models.build_discriminator(recipe.d_filters, levels=recipe.d_levels, seed=seed)
    return generator, d


def pretrain(generator, batches, recipe, data, run):
    """Fits the generator to pixels; leaves it with the weights that validated best."""
    epochs, rate = recipe.pretraining_epochs, recipe.pretraining_rate
    schedule = keras.optimizers.schedules.CosineDecay(rate, epochs * recipe.steps)
    optimizer = keras.optimizers.Adam(schedule, beta_2=recipe.pretraining_beta_2)
    training.compile_supervised(generator, optimizer, "mean_absolute_error")

    scale = recipe.scale
    pairs = [metrics.low_resolution(image, scale) for image in data.validation.images]
    measure = functools.partial(psnr, value_range="byte", border=scale, luma_only=True)

    def validation():
        values = [measure(enlarged(generator, low, scale), high) for low, high in pairs]
        return {WATCHED: metrics.finite_mean(values)}  # of a blank picture it is infinite

    path = run.path / "best.npz"
    best = KeepBest(generator, path, validation, WATCHED, lower=False, epochs=epochs)
    best.value = validation()[WATCHED]  # training may start from something good: that competes, too
    expected = {"learning_rate": rate, "batch_size": recipe.batch_size}
    options = {"epochs": epochs, "expected": expected, "callbacks": [best, StopWhenLost()]}
    history = training.fit(generator, batches, run, **options)
    best.restore()
    found = {"best_epoch": best.epoch, WATCHED: best.value, **training.findings(history)}
    found["pretraining_loss"] = float(history["loss"].iloc[-1])
    return found | {"pretraining_seconds": float(history["seconds"].sum())}


def train_adversarially(generator, discriminator, batches, trial, data, run):
    """Fits the GAN of a recipe under the health monitor; returns it, and what came out."""
    recipe = trial.recipe
    weights = recipe.pixel, recipe.distance, recipe.perceptual
    content = ContentLoss(*weights, recipe.features, recipe.value_range)
    options = {"content": content, "adversarial_weight": recipe.adversarial, "ema": recipe.ema}
    options |= {"update": "shared", "seed": trial.seed}  # the same patches make the same pictures
    gan = Adversarial(generator, discriminator, losses.get(recipe.loss), **options)
    # The same patches in every run; no training reaches their epoch.
    seen = [batches.batch(2**31, step) for step in range(-(-SEEN // batches.batch_size))]
    low, high = (np.concatenate(part)[:SEEN] for part in zip(*seen, strict=True))
    monitor = HealthMonitor(high, latents=low, stop_on=("non_finite_loss",))
    history, outcome = training.fit_gan(gan, data, trial, run, images=batches, monitor=monitor)
    last = history.iloc[-1]
    outcome |= {key: float(last[key]) for key in ("g_loss", "g_content", "d_loss")}
    outcome["d_accuracy"] = float((last["d_accuracy_real"] + last["d_accuracy_fake"]) / 2)
    return gan, outcome


def score(generator, recipe, data, run):
    """Scores on the test pictures, as measured and as the trial's author prints them."""
    kept, scale = [], recipe.scale

    def enlarge(low):
        kept.append(enlarged(generator, low, scale))
        return kept[-1]

    judge = perceptual.get(recipe.judge)
    # The range is right by construction, and a failed attempt may look like anything.
    rows = metrics.evaluate(enlarge, data.test, scale, judge, recipe.judged_side, check=False)
    originals = (metrics.low_resolution(image, scale)[1] for image in data.test.images)
    to_unit = functools.partial(convert, source="byte", target="unit")
    pairs = zip(map(to_unit, kept), map(to_unit, originals), strict=True)
    printed = [range_mistakes(*pair, only=recipe.mistake)[0] for pair in pairs]
    means = {f"printed_{k}": metrics.finite_mean([p[k] for p in printed]) for k in ("psnr", "ssim")}
    for name, large in zip(data.test.names[:KEPT], kept, strict=False):
        Image.fromarray(large).save(run.samples / f"{safe_name(name)}.png")
    return {**metrics.mean_scores(rows), **means, "pictures": rows}


def enlarged(generator, low, scale):
    """`upscale_image`, but black where the network makes no numbers: it has to be scored, too."""
    try:
        return upscale_image(generator, low)
    except DataError:
        return np.zeros_like(low).repeat(scale, axis=0).repeat(scale, axis=1)


def save_generator(generator, path):
    """Saves the network alone: whoever loads it to use it needs no optimizer and no metric."""
    keras.Model(generator.inputs[0], generator.outputs[0], name=generator.name).save(path)


def safe_name(name):
    """A picture's name as a file name: no folder, no dot but the suffix's."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)


SOURCE = Source("photos", "tfds:div2k/bicubic_x4", ("srgan", "photos", "div2k", "bsds"))
STUDY = Study("srgan", "A super-resolution GAN in seven attempts", Recipe, PROFILES, variations,
    load, train, module=__name__, source=SOURCE,
    epochs=lambda recipe: recipe.pretraining_epochs + recipe.epochs)  # fmt: skip
