"""ganlib's larger networks, compiled and fed as their studies do it."""

import dataclasses

import keras
from keras import layers
from keras_contenders import precision, timed_fit

from ganlib.data import Augment, Batches, Images, Patches
from ganlib.experiment import fit as training
from ganlib.features import perceptual
from ganlib.studies import srgan, unet


@dataclasses.dataclass(frozen=True)
class RandomVGG16(perceptual.Extractor):
    """The layers of `perceptual.VGG16` with random weights, which cost what trained ones cost."""

    width: int = 64

    def build(self):
        x = images = keras.Input((None, None, 3))
        x, maps = perceptual._as_caffe(x), []
        for block, count in enumerate((2, 2, 3, 3, 3)):
            if block:
                x = layers.MaxPooling2D(2, padding="same")(x)
            for _ in range(count):
                x = layers.Conv2D(self.width << min(block, 3), 3, padding="same")(x)
                x = layers.ReLU()(x)
            maps.append(perceptual._unit_length(x))
        return keras.Model(images, maps, name="vgg16")


def sr_recipe(task):
    """The study's repaired recipe, or an attempt's, in the task's sizes."""
    full = {**srgan.PROFILES["full"], "perceptual": srgan.PERCEPTUAL["vgg16"]}
    if task.generator == "paper":
        full = {**srgan.SUBMITTED, "perceptual": 0.1, "pretraining_epochs": 1}
    sizes = {"filters": task.filters, "blocks": task.blocks, "d_filters": task.d_filters}
    sizes |= {"patch": task.patch, "batch_size": task.batch}
    return srgan.Recipe(**{**full, **sizes, "features": RandomVGG16(task.feature_width)})


def unet_recipe(task):
    names = ("architecture", "filters", "depth", "size")
    sizes = {name: getattr(task, name) for name in names}
    return unet.Recipe(**sizes, batch_size=task.batch)


def compiled(task):
    """The model to fit; an adversarial task's is an `Adversarial`."""
    if task.kind == "unet":
        unet._compiled.cache_clear()  # its model may have another precision
        return unet.prepare(unet_recipe(task), seed=0)
    recipe = sr_recipe(task)
    generator, discriminator = srgan.build_players(recipe, 0, None)
    if task.kind == "adversarial":
        gan = srgan.build_gan(generator, discriminator, recipe, 0)
        rates = recipe.d_learning_rate, recipe.g_learning_rate
        gan.compile(*(keras.optimizers.Adam(rate, recipe.beta_1) for rate in rates))
        return gan
    schedule = keras.optimizers.schedules.CosineDecay(
        recipe.pretraining_rate, recipe.pretraining_epochs * recipe.steps
    )
    optimizer = keras.optimizers.Adam(schedule, beta_2=recipe.pretraining_beta_2)
    training.compile_supervised(generator, optimizer, "mean_absolute_error")
    return generator


def networks(model, task):
    """The networks that a step runs, those that train first."""
    if task.kind != "adversarial":
        return [model]
    return [model.generator, model.discriminator, model.content.features.model]


def feed(task, steps):
    """An epoch of the study's own batches."""
    if task.kind == "unet":
        return Batches(
            task.arrays(steps * task.batch), task.batch, 0, change=Augment(("orientation",))
        )
    pictures = (255 * task.arrays(4)[1]).astype("uint8")
    pictures = pictures.repeat(2, axis=1).repeat(2, axis=2)
    signed = "signed" if task.generator == "paper" else "unit"
    patches = Patches(Images(pictures), task.scale, task.patch, signed)
    return Batches(patches, task.batch, 0, steps=steps)


def ganlib_task(task, policy="float32"):
    """`fit` of ganlib's model on the study's batches, an epoch a turn."""
    with precision(policy):
        model = compiled(task)
    last = networks(model, task)[0].trainable_variables[-1]
    return timed_fit(model, last, lambda steps: feed(task, steps))
