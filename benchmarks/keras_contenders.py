"""ganlib and its peers among Keras programs. Each builder returns `run(steps) -> seconds`."""

import contextlib
import time

import keras
import numpy as np
from keras import ops

from ganlib.adversarial import Adversarial
from ganlib.data import Batches
from ganlib.models import dcgan, digits
from ganlib.models.layers import Conv2DTranspose, ThinConv2D


def players(workload):
    """ganlib's generator and discriminator for a workload."""
    if workload.kind == "digits":
        return (
            digits.build_generator(workload.latent_dim, workload.width),
            digits.build_discriminator(workload.d_width),
        )
    size, channels = workload.size, workload.channels
    return (
        dcgan.build_generator(size, channels, workload.latent_dim, workload.width),
        dcgan.build_discriminator(size, channels, workload.d_width),
    )


def plain(model):
    """The same model from Keras' own layers alone."""
    own = {Conv2DTranspose: keras.layers.Conv2DTranspose, ThinConv2D: keras.layers.Conv2D}

    def clone(layer):
        return own.get(type(layer), type(layer)).from_config(layer.get_config())

    return keras.models.clone_model(model, clone_function=clone)


@contextlib.contextmanager
def precision(policy):
    """What is built within computes by a dtype policy, such as "mixed_bfloat16"."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def adam():
    return keras.optimizers.Adam(2e-4, beta_1=0.5)


def synchronize(variable):
    """Waits until all that was started is done: `variable` is among the last to change."""
    backend = keras.backend.backend()
    if backend == "jax":
        variable.value.block_until_ready()
    elif backend == "torch":
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
    else:
        variable.numpy()


class Clock(keras.callbacks.Callback):
    """Notes when the epoch began: what `fit` does before that, it does once a run."""

    def on_epoch_begin(self, epoch, logs=None):
        self.begin = time.perf_counter()


def timed_fit(model, variable, make_data, **options):
    """A `run` of one epoch of `fit`."""

    def run(steps):
        data, clock = make_data(steps), Clock()
        model.fit(data, epochs=1, verbose=0, callbacks=[clock], **options)
        synchronize(variable)
        return time.perf_counter() - clock.begin

    return run


def ganlib(workload, update="alternating", feed="batches", policy="float32", **compile_options):
    """ganlib as its studies use it."""
    own_batch = update == "alternating" and workload.generator_batch != workload.batch
    with precision(policy):
        gan = Adversarial(
            *players(workload),
            update=update,
            generator_batch=workload.generator_batch if own_batch else None,
        )
        gan.compile(adam(), adam(), **compile_options)
    last = gan.generator.trainable_variables[-1]
    if feed == "numpy":
        return timed_fit(gan, last, workload.images, batch_size=workload.batch)
    return timed_fit(
        gan, last, lambda steps: Batches(workload.images(steps), workload.batch, seed=0)
    )


def tutorial(workload):
    """The tutorial's loop, made to train: D's step is traced before D is frozen.

    As the tutorial has it, the generator's fakes come from `predict`, both halves of D's batch go
    through it in one call, and only then is the generator trained through the stack.
    """
    generator, discriminator = map(plain, players(workload))
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    discriminator.compile(adam(), loss, metrics=["accuracy"])
    n, m = workload.batch, workload.generator_batch
    dataset = workload.images(8)
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.ones((n, 1)), np.zeros((n, 1))])
    discriminator.train_on_batch(np.concatenate([dataset[:n], dataset[:n]]), labels)
    discriminator.trainable = False
    stack = keras.Sequential([generator, discriminator])
    stack.compile(adam(), loss)

    def run(steps):
        begin = time.perf_counter()
        for _ in range(steps):
            real = dataset[rng.integers(0, len(dataset), n)]
            fake = generator.predict(rng.normal(size=(n, workload.latent_dim)), verbose=0)
            discriminator.train_on_batch(np.concatenate([real, fake]), labels)
            stack.train_on_batch(rng.normal(size=(m, workload.latent_dim)), np.ones((m, 1)))
        return time.perf_counter() - begin  # train_on_batch returns numbers: nothing is pending

    before = discriminator.get_weights()
    run(1)
    after = discriminator.get_weights()
    moved = max(np.abs(a - b).max() for a, b in zip(before, after, strict=True))
    if not moved:
        raise RuntimeError("this version of Keras never trains the discriminator")
    return run


class OverriddenStep(keras.Model):
    """A GAN as the examples on keras.io write it: a GradientTape in `train_step`."""

    def __init__(self, generator, discriminator, workload):
        super().__init__()
        self.generator, self.discriminator, self.workload = generator, discriminator, workload
        self.seeds = keras.random.SeedGenerator(0)
        self.loss_fn = keras.losses.BinaryCrossentropy(from_logits=True)
        self.d_metric = keras.metrics.Mean(name="d_loss")
        self.g_metric = keras.metrics.Mean(name="g_loss")
        self.d_optimizer, self.g_optimizer = adam(), adam()
        self.built = True

    @property
    def metrics(self):
        return [self.d_metric, self.g_metric]

    def logits(self, real, fake):
        if self.workload.kind == "digits":  # no batch normalisation: one pass may hold both
            return self.discriminator(ops.concatenate([real, fake]), training=True)
        return ops.concatenate(
            [self.discriminator(real, training=True), self.discriminator(fake, training=True)]
        )

    def train_step(self, real):
        import tensorflow as tf

        n, m = ops.shape(real)[0], self.workload.generator_batch
        latents = keras.random.normal((n, self.workload.latent_dim), seed=self.seeds)
        fake = self.generator(latents, training=True)
        labels = ops.concatenate([ops.ones((n, 1)), ops.zeros((n, 1))])
        with tf.GradientTape() as tape:
            d_loss = self.loss_fn(labels, self.logits(real, fake))
        weights = self.discriminator.trainable_weights
        self.d_optimizer.apply(tape.gradient(d_loss, weights), weights)

        latents = keras.random.normal((m, self.workload.latent_dim), seed=self.seeds)
        with tf.GradientTape() as tape:
            logits = self.discriminator(self.generator(latents, training=True), training=True)
            g_loss = self.loss_fn(ops.ones((m, 1)), logits)
        weights = self.generator.trainable_weights
        self.g_optimizer.apply(tape.gradient(g_loss, weights), weights)
        self.d_metric.update_state(d_loss)
        self.g_metric.update_state(g_loss)
        return {"d_loss": self.d_metric.result(), "g_loss": self.g_metric.result()}


def keras_io(workload):
    """The keras.io way: `OverriddenStep` fed by tf.data; TensorFlow only."""
    import tensorflow as tf

    model = OverriddenStep(*map(plain, players(workload)), workload)
    model.compile(optimizer=adam())  # its own two train; this one only keeps `compile` content

    def data(steps):
        images = tf.data.Dataset.from_tensor_slices(workload.images(steps))
        return images.shuffle(1024).batch(workload.batch).prefetch(tf.data.AUTOTUNE)

    return timed_fit(model, model.generator.trainable_variables[-1], data)
