"""The super-resolution study: seven attempts as submitted, and a network that beats bicubic."""

import dataclasses
import functools

from ganlib.data import Batches, Parts, Patches, check, load_parts
from ganlib.experiment import profiles
from ganlib.experiment.changes import changed
from ganlib.experiment.sources import Source, locate
from ganlib.experiment.study import Study, Trial
from ganlib.features import perceptual
from ganlib.images import apply_kernel, convert, fit_kernel, upscale
from ganlib.metrics import super_resolution as metrics
from ganlib.studies.srgan_attempts import ATTEMPTS
from ganlib.studies.srgan_training import (
    build_gan,
    build_players,
    pretrain,
    save_generator,
    score,
    train_adversarially,
)

SOURCE = Source("photos", "tfds:div2k/bicubic_x4", ("srgan", "photos", "div2k", "bsds"))
# By profile: how many of the write-up's epochs are one of ours (a log line, a checkpoint), and the
# factor on its learning rates, because a shorter attempt takes fewer steps.
EPOCHS_A_LOG = {"quick": 500, "cpu": 250, "full": 100}
RATE_FACTOR = {"quick": 20, "cpu": 10, "full": 1}
RATES = ("g_learning_rate", "d_learning_rate")
RANGE_MISTAKE = "denormalised twice"  # what fits the write-up's scores; see the notebook


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that a super-resolution trial depends on, except its seed.

    The generator minimises `pixel` · content + `perceptual` · features + `adversarial` ·
    adversarial loss. The defaults are what the repaired recipe is made of.
    """

    data: str = "photos"
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
    # Pixel pretraining: mean absolute error, Adam, cosine decay.
    pretraining_epochs: int = 0
    pretraining_rate: float = 2e-3
    pretraining_beta_2: float = 0.95
    # The adversarial phase.
    epochs: int = 0
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
    # Scoring.
    judge: str = "filters"  # whose features measure the perceptual distance
    judged_side: int | None = None  # pixels of the centre that it looks at
    mistake: str = "none"  # of value range, in the scores that the trial's author prints

    @property
    def value_range(self):
        return "signed" if self.generator == "paper" else "unit"


# As submitted: SRGAN from scratch, no pixel pretraining, the loss 1 - D(x) + D(G(z)).
SUBMITTED = {
    "generator": "paper",
    "linear_start": False,
    "loss": "absolute_error",
    "distance": "l2",
    "mistake": RANGE_MISTAKE,
}
# Feature distances differ in size from network to network: these weights make them count alike.
PERCEPTUAL = {"filters": 6.0, "vgg16": 0.1, "vgg19": 0.1}
# Sizes by profile, for the attempts and for the repaired recipe.
SIZES = {
    "quick": (
        {"filters": 16, "blocks": 2, "d_filters": 8, "patch": 48, "batch_size": 4, "steps": 16},
        {
            "filters": 32,
            "blocks": 4,
            "d_filters": 16,
            "patch": 64,
            "batch_size": 8,
            "steps": 100,
            "pretraining_epochs": 6,
            "epochs": 3,
            "d_learning_rate": 5e-4,  # in three hundred steps it has to learn something
            "ema": 0.99,
        },
    ),
    "cpu": (
        {"filters": 32, "blocks": 4, "d_filters": 16, "patch": 64, "batch_size": 8, "steps": 40},
        {
            "filters": 32,
            "blocks": 6,
            "d_filters": 32,
            "batch_size": 8,
            "steps": 500,
            "pretraining_epochs": 16,
            "pretraining_rate": 1e-3,
            "epochs": 4,
            "ema": 0.995,
        },
    ),
    "full": (
        {"filters": 64, "blocks": 16, "d_filters": 64, "patch": 96, "batch_size": 16, "steps": 400},
        {
            "filters": 96,
            "blocks": 16,
            "patch": 192,
            "steps": 1000,
            "pretraining_epochs": 30,
            "pretraining_rate": 5e-4,
            "epochs": 10,
            "g_learning_rate": 1e-4,
            "ema": 0.999,
        },
    ),
}


class PhotoData(Parts):
    """Photographs in three parts that share no picture (nor scene, where it is known).

    `train` also fits the linear upscaler.
    """

    @functools.cache  # noqa: B019  lives as long as the data, which live as long as the process
    def kernel(self, scale):
        """The best linear upscaler of the training pictures."""
        return best_linear_kernel(self.train, scale)

    @functools.cache  # noqa: B019
    def baselines(self, recipe):
        """Scores on the test pictures of what needs no network, as a recipe's are measured."""
        scale = recipe.scale
        kernel = self.kernel(scale)
        upscalers = {
            "flat grey": metrics.flat_grey(scale),
            "bicubic": lambda low: upscale(low, scale),
            "linear": lambda low: enlarge_linearly(low, kernel, scale),
        }
        return {
            name: metrics.evaluate(
                enlarge, self.test, scale, perceptual.get(recipe.judge), recipe.judged_side
            )
            for name, enlarge in upscalers.items()
        }


def best_linear_kernel(photos, scale):
    """The linear upscaler of least squared error on `Images`; see `ganlib.images.fit_kernel`."""
    pairs = (metrics.low_resolution(image, scale) for image in photos.images)
    return fit_kernel(([convert(x, "byte", "unit") for x in pair] for pair in pairs), scale)


def enlarge_linearly(low, kernel, scale):
    """A uint8 picture through a linear upscaler, as uint8."""
    return convert(apply_kernel(convert(low, "byte", "unit"), kernel, scale), "unit", "byte")


def load_data(spec, patch):
    """Loads and checks photographs: "photos" (embedded), a folder, or tfds:div2k/bicubic_x4.

    Raises:
        DataError: there are none, or one is smaller than a patch.
    """
    train, validation, test = load_parts(spec, channels=3, any_size=True)
    check(train, at_least=patch)
    for part in (validation, test):
        check(part, at_least=metrics.SMALLEST)
    return PhotoData(train, validation, test)


def build(profile="quick", data=None, seeds=None, changes=None):
    """Makes the super-resolution study, ×4.

    Args:
        profile: "quick" (small networks, ten embedded photographs), "cpu" (middling ones, real
            data) or "full" (the repaired recipe at its best).
        data: what `load_data` takes; by default "photos" in quick, else what `$GANLIB_DATA` holds,
            or "tfds:div2k/bicubic_x4".
        seeds: int, number of seeds; by default those of the profile.
        changes: dict of recipe field → value, for all trials; see `ganlib.experiment.changes`.

    Returns:
        A `Study` with a trial for each attempt, the repaired recipe and each seed.

    Raises:
        ValueError: the profile is unknown, or a change does not fit the recipe.
    """
    data = SOURCE.choose(profiles.check(profile), data)
    seeds = seeds or profiles.SEEDS[profile]
    changes = changes or {}
    submitted, repaired = SIZES[profile]
    judge = perceptual.best_at_hand()
    # A deep network costs more than all the rest of a small one's step.
    features = judge if profile == profiles.FULL else "filters"
    common = {"data": data, "features": features, "judge": judge}
    common["judged_side"] = {"quick": 96, "cpu": 128}.get(profile)
    recipes = {"repaired": Recipe(perceptual=PERCEPTUAL[features], **common, **repaired)}
    for attempt in ATTEMPTS:
        rates = {key: RATE_FACTOR[profile] * attempt.settings[key] for key in RATES}
        recipes[attempt.name] = Recipe(
            **common,
            epochs=attempt.epochs // EPOCHS_A_LOG[profile],
            **SUBMITTED,
            **submitted,
            **{**attempt.settings, **rates},
        )
    recipes = {name: changed(recipe, changes) for name, recipe in recipes.items()}
    largest = max(recipe.patch for recipe in recipes.values())
    return Study(
        name="srgan",
        title="A super-resolution GAN in seven attempts",
        # The repaired one first: it takes longest, and the others fit beside it.
        trials=tuple(
            Trial(name, recipe, seed) for seed in range(seeds) for name, recipe in recipes.items()
        ),
        load_data=lambda: load_data(locate(data), largest),
        train=train,
        module=__name__,
        options={"profile": profile, "data": data, "seeds": seeds, "changes": changes},
        epochs=lambda trial: trial.recipe.pretraining_epochs + trial.recipe.epochs,
        phases=phases,
    )


def phases(trial):
    """Its pixel pretraining and its adversarial phase, each as a trial of its own, with epochs."""
    recipe = trial.recipe
    alone = {"pretraining_epochs": {"epochs": 0}, "epochs": {"pretraining_epochs": 0}}
    return [
        (dataclasses.replace(trial, recipe=dataclasses.replace(recipe, **other)), count)
        for field, other in alone.items()
        if (count := getattr(recipe, field))
    ]


def train(trial, data, run):
    """Pretrains on pixels, then adversarially, and scores."""
    recipe = trial.recipe
    generator, discriminator = build_players(recipe, trial.seed, data.kernel(recipe.scale))
    patches = Batches(
        Patches(data.train, recipe.scale, recipe.patch, recipe.value_range),
        recipe.batch_size,
        trial.seed,
        steps=recipe.steps,
    )
    epochs = recipe.pretraining_epochs + recipe.epochs
    results = {"parameters": generator.count_params(), "scores": {}}
    if recipe.pretraining_epochs:
        phase = run.phase("pretraining", 0, epochs)
        results |= pretrain(generator, patches, recipe, data, phase)
        results["scores"]["pretrained"] = score(generator, recipe, data, phase)
        save_generator(generator, run.model)
    if recipe.epochs:
        phase = run.phase("", recipe.pretraining_epochs, epochs)
        gan = build_gan(generator, discriminator, recipe, trial.seed)
        before = results.get("findings", [])
        results |= train_adversarially(gan, patches, recipe, data, phase, trial.seed)
        results["findings"] = before + results["findings"]
        results["scores"]["adversarial"] = score(gan.sampler, recipe, data, phase)
        # Of two phases the first has the smaller error, and the second its own file.
        name = "adversarial.keras" if recipe.pretraining_epochs else run.model.name
        save_generator(gan.sampler, run.path / name)
    return results
