"""ganlib and its peers among Keras programs. Each builder returns `run(steps) -> seconds`."""

import time

import keras
from keras import ops

from ganlib.adversarial import Adversarial
from ganlib.backends.precision import half_precision
from ganlib.content import ContentLoss
from ganlib.data import Batches
from ganlib.experiment.fit import compile_supervised
from ganlib.losses import BinaryFocal
from ganlib.models import dcgan, digits, srgan, unet
from ganlib.models.layers import BatchNormalization, Conv2D, Conv2DTranspose


def networks(workload):
    """ganlib's networks for a workload, the generator first."""
    s = workload.sizes
    if workload.kind == "digits":
        return digits.build_generator(s["latent_dim"], s["g"]), digits.build_discriminator(s["d"])
    if workload.kind == "dcgan":
        generator = dcgan.build_generator(workload.size, s["latent_dim"], s["g"])
        return generator, dcgan.build_discriminator(workload.size, s["d"])
    if workload.kind == "unet":
        return (unet.build_unet(s["architecture"], s["filters"], depth=s["depth"]),)
    generator = srgan.build_generator(4, s["filters"], s["blocks"])
    return (generator, srgan.build_discriminator(s["d"]))[: 1 + (workload.kind == "adversarial")]


def adam(rate=2e-4, beta_1=0.5, **options):
    return keras.optimizers.Adam(rate, beta_1, **options)


def compiled(workload, update):
    """The model to fit."""
    parts = networks(workload)
    if workload.kind == "unet":
        compile_supervised(*parts, adam(1e-3, 0.9, clipnorm=1.0), BinaryFocal())
        return parts[0]
    if workload.kind == "pixels":
        compile_supervised(*parts, adam(5e-4, 0.9), "mean_absolute_error")
        return parts[0]
    options = {"update": update}
    if workload.kind == "adversarial":
        options = {"update": "shared", "content": ContentLoss(), "adversarial_weight": 0.02}
        options["ema"] = 0.999
    elif update == "alternating" and workload.g_batch != workload.batch:
        options["generator_batch"] = workload.g_batch
    gan = Adversarial(*parts, "hinge" if "content" in options else "non_saturating", **options)
    gan.compile(adam(), adam())
    return gan


def timed_fit(model, make_data, **options):
    """A `run` of one epoch of `fit`, from its beginning: what comes before is once a training."""
    last = model.trainable_variables[-1]

    def run(steps):
        begin = []
        clock = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: begin.append(time.perf_counter())
        )
        model.fit(*make_data(steps), epochs=1, verbose=0, callbacks=[clock], **options)
        keras.ops.convert_to_numpy(last)  # waits until all that was started is done
        return time.perf_counter() - begin[0]

    return run


def ganlib(workload, update="alternating", feed="batches", half=False):
    """ganlib as its studies use it; with feed="arrays" as a reader writes it."""
    with half_precision(half):
        model = compiled(workload, update)
    if feed == "arrays":
        return timed_fit(model, workload.arrays, batch_size=workload.batch)
    return timed_fit(model, lambda n: (Batches(workload.arrays(n), workload.batch, seed=0),))


def plain(model):
    """The same model from Keras' own layers alone."""
    ours = BatchNormalization, Conv2D, Conv2DTranspose

    def clone(layer):
        kind = type(layer).__base__ if type(layer) in ours else type(layer)
        return kind.from_config(layer.get_config())

    return keras.models.clone_model(model, clone_function=clone)


def plain_fit(workload):
    """Keras' own `compile` and `fit` on arrays, for networks without an adversary."""
    model = plain(*networks(workload))
    if workload.kind == "unet":
        loss = keras.losses.BinaryFocalCrossentropy(from_logits=True)
        model.compile(adam(1e-3, 0.9, clipnorm=1.0), loss)
    else:
        model.compile(adam(5e-4, 0.9), "mean_absolute_error")
    return timed_fit(model, workload.arrays, batch_size=workload.batch)


class OverriddenStep(keras.Model):
    """A GAN as keras.io's examples write it."""

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

    def latents(self, n):
        return keras.random.normal((n, self.workload.sizes["latent_dim"]), seed=self.seeds)

    def logits(self, real, fake):
        if self.workload.kind == "digits":  # no batch normalisation: one pass may hold both
            return self.discriminator(ops.concatenate([real, fake]), training=True)
        passes = [self.discriminator(images, training=True) for images in (real, fake)]
        return ops.concatenate(passes)

    def train_step(self, real):
        import tensorflow as tf

        n, m = ops.shape(real)[0], self.workload.g_batch
        fake = self.generator(self.latents(n), training=True)
        labels = ops.concatenate([ops.ones((n, 1)), ops.zeros((n, 1))])
        with tf.GradientTape() as tape:
            d_loss = self.loss_fn(labels, self.logits(real, fake))
        weights = self.discriminator.trainable_weights
        self.d_optimizer.apply(tape.gradient(d_loss, weights), weights)
        latents = self.latents(m)
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

    model = OverriddenStep(*map(plain, networks(workload)), workload)
    model.compile(optimizer=adam())  # its own two train; this one only keeps `compile` content

    def data(steps):
        images = tf.data.Dataset.from_tensor_slices(*workload.arrays(steps))
        return (images.shuffle(1024).batch(workload.batch).prefetch(tf.data.AUTOTUNE),)

    return timed_fit(model, data)


def product(workload, size, dtype="float32"):
    """Matrix products of `size` × `size`, 2·size³ operations each: the machine's peak."""
    a = ops.cast(keras.random.uniform((size, size), seed=0), dtype)
    multiply = ops.matmul
    if keras.backend.backend() == "jax":
        import jax

        multiply = jax.jit(multiply)

    def run(steps):
        begin = time.perf_counter()
        for _ in range(steps):
            b = multiply(a, a)
        ops.convert_to_numpy(b[0, 0])
        return time.perf_counter() - begin

    return run
