"""One adversarial step for TensorFlow, JAX and torch, trained by `model.fit()`."""

import keras
import numpy as np
from keras import ops

from ganlib import losses
from ganlib.backends import BackendStep
from ganlib.backends.optimizers import OptimizerPair
from ganlib.data.batches import Batches, EpochOrder
from ganlib.models.outputs import check_networks, looks_across_batch

DISCRIMINATOR, GENERATOR = 0, 1
UPDATES = ("alternating", "shared", "joint")
# Arguments of `fit` that need Keras' own way of reading arrays.
KERAS_FEEDS = {"shuffle", "validation_split", "steps_per_epoch", "sample_weight", "class_weight"}
PARTS = ("generator", "discriminator", "content", "augment")


@keras.saving.register_keras_serializable("ganlib")
class Adversarial(BackendStep, keras.Model):
    """A generator and a discriminator, with an optimizer each, as one `keras.Model`.

    `fit`, `evaluate`, `save` and Keras' callbacks work as on any model. A saved model holds both
    networks, both optimizers and every random state: training goes on from it exactly. Calling the
    model maps latents to images. The `loss` in the logs is the sum of all that is minimised.

    Real and generated images go through D in one batch, or in two that never mix them if it keeps
    batch statistics (`ganlib.models.outputs.looks_across_batch`). On pairs, `fit(inputs, images)`,
    G gets the inputs in place of latents; labels are left aside.

    Args:
        generator: functional or Sequential `keras.Model` G, latents to images `(batch_size, …)`.
        discriminator: the same, D, images to logits: one an image, `(batch_size, 1)`, or one a
            patch, `(batch_size, height, width, 1)`; no sigmoid at its end.
        loss: `ganlib.losses.AdversarialLoss`, or the name of one.
        update: `"alternating"`: `d_steps` steps of D, then one of G through the updated D, on fresh
            latents (Goodfellow et al., 2014); `"shared"`: the same on D's fakes (the PyTorch DCGAN
            tutorial); `"joint"`: both gradients from one forward pass (the TensorFlow one).
        d_steps: int, D's steps a step of G, on the same real images; only `"alternating"`.
        generator_batch: int, latents in G's own step, or None: a batch's; only `"alternating"`.
        gradient_penalty: float, weight of the two-sided penalty between real and generated images
            (Gulrajani et al., 2017). `None`: what the loss asks for.
        r1: float, weight γ of the R1 penalty γ/2·‖∇D(x)‖² on real images (Mescheder et al., 2018).
        instance_noise: float, standard deviation of Gaussian noise on all that D sees in training
            (Sønderby et al., 2017), in units of the images.
        instance_noise_steps: int, D's steps in which the noise falls linearly to 0. 0: it stays.
        ema: float in [0, 1), decay of a moving average of G, which then makes the samples
            (`sampler`). Warmed up as min(ema, (1 + t) / (10 + t)). 0: none.
        content: callable `(fake, real) -> scalar`, added to G's loss, such as
            `ganlib.content.ContentLoss`. Needs pairs, unless its attribute `paired` is False.
        adversarial_weight: float, of the adversarial part of G's loss.
        augment: callable `(images, seed_generator) -> images`, such as
            `ganlib.augment.DiffAugment`, of all that D sees in training.
        seed: int, of latents, penalties, augmentation and instance noise.

    Raises ValueError for an option out of its range, and for a discriminator without logits.
    """

    def __init__(
        self,
        generator,
        discriminator,
        loss="non_saturating",
        *,
        update="alternating",
        d_steps=1,
        generator_batch=None,
        gradient_penalty=None,
        r1=0.0,
        instance_noise=0.0,
        instance_noise_steps=0,
        ema=0.0,
        content=None,
        adversarial_weight=1.0,
        augment=None,
        seed=0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.content, self.augment = content, augment
        self.adversarial_loss = losses.get(loss)
        if gradient_penalty is None:
            gradient_penalty = self.adversarial_loss.gradient_penalty
        self.options = {
            "update": update,
            "d_steps": d_steps,
            "generator_batch": generator_batch,
            "gradient_penalty": gradient_penalty,
            "r1": r1,
            "instance_noise": instance_noise,
            "instance_noise_steps": instance_noise_steps,
            "ema": ema,
            "adversarial_weight": adversarial_weight,
            "seed": seed,
        }
        _check_options(**self.options)
        check_networks(generator, discriminator)
        self.generator, self.discriminator = generator, discriminator
        self.one_pass = not looks_across_batch(discriminator)
        self.average = type(generator).from_config(generator.get_config()) if ema else None
        if ema:
            self.average.trainable = False
            self.average.set_weights(generator.get_weights())
        self.random = keras.random.SeedGenerator(seed)
        count = {"dtype": "int32", "initializer": "zeros", "trainable": False}
        self.images_seen = self.add_weight(shape=(), name="images_seen", **count)
        names = ["d_loss", "g_loss", "d_accuracy_real", "d_accuracy_fake"]
        names += ["g_content"] if content is not None else []
        names += ["d_penalty"] if gradient_penalty or r1 else []
        self.trackers = [keras.metrics.Mean(name=name) for name in (*names, "loss")]
        self.built = True  # or loading leaves weights and slots unrestored, with a mere warning

    @property
    def metrics(self):
        return self.trackers  # in place of the base class's, whose "loss" nothing updates

    @property
    def sampler(self):
        """The generator to sample from: the moving average where there is one."""
        return self.average or self.generator

    @property
    def latent_shape(self):
        return tuple(self.generator.input_shape[1:])

    def call(self, latents, training=False):
        network = self.generator if training else self.sampler
        return network(latents, training=training)

    def play(self, real, inputs=None):
        """One training step on real images, made from `inputs` or latents; returns the logs."""
        update = getattr(self, f"_{self.options['update']}_update")
        parts, n = update(real, inputs), ops.shape(real)[0]
        self.images_seen.assign_add(ops.cast(n, "int32"))
        if self.options["ema"]:
            self._update_average()
        return self._report(*parts, n)

    def score(self, real, inputs=None):
        """The losses and accuracies on `real` in inference mode; returns the logs."""
        n = ops.shape(real)[0]
        fake = self.sampler(self._inputs(n, inputs), training=False)
        logits = [self._logits(images, training=False) for images in (real, fake)]
        d_loss = self.adversarial_loss.discriminator_loss(*logits)
        d_parts = d_loss, self._penalty(real, fake), *logits
        return self._report(self._generator_loss(fake, logits[1], real), d_parts, n)

    def _alternating_update(self, real, inputs):
        n = ops.shape(real)[0]
        for _ in range(self.options["d_steps"]):
            fake = self.generator(self._inputs(n, inputs), training=True)
            d_parts = self._discriminator_step(real, fake)
        source = self._inputs(self.options["generator_batch"] or n, inputs)
        g_parts, _ = self._generator_step(real, source)
        return g_parts, d_parts

    def _shared_update(self, real, inputs):
        source = self._inputs(ops.shape(real)[0], inputs)
        return self._generator_step(real, source, self._discriminator_step)

    def _joint_update(self, real, inputs):
        source = self._inputs(ops.shape(real)[0], inputs)

        def objective():
            fake = self.generator(source, training=True)
            d_total, d_parts = self._judge(real, fake)
            loss, content = self._generator_loss(fake, d_parts[-1], real)
            return (d_total, loss), (content, *d_parts)

        (_, g_loss), (content, *d_parts) = self._descend(objective, DISCRIMINATOR, GENERATOR)
        return (g_loss, content), d_parts

    def _generator_loss(self, fake, fake_logits, real):
        """All that the generator minimises, and its content part."""
        weight = self.options["adversarial_weight"]
        loss = weight * self.adversarial_loss.generator_loss(fake_logits)
        if self.content is None:
            return loss, ops.zeros((), "float32")
        content = ops.cast(self.content(fake, real), "float32")
        return loss + content, content

    def _generator_step(self, real, source, first=None):
        def objective():
            fake = self.generator(source, training=True)
            d_parts = first(real, fake) if first else ()  # the discriminator descends within
            logits = self._logits(self._augmented(fake))
            loss, content = self._generator_loss(fake, logits, real)
            return (loss,), (content, *d_parts)

        (g_loss,), (content, *d_parts) = self._descend(objective, GENERATOR)
        return (g_loss, content), d_parts

    def _discriminator_step(self, real, fake):
        def objective():
            total, aux = self._judge(real, ops.stop_gradient(fake))
            return (total,), aux

        return self._descend(objective, DISCRIMINATOR)[1]

    def _judge(self, real, fake):
        """The discriminator's total loss, and (loss, penalty, real logits, fake logits)."""
        real, fake = self._augmented(real), self._augmented(fake)
        if self.one_pass:
            logits, n = self._logits(real, fake), ops.shape(real)[0]
            real_logits, fake_logits = logits[:n], logits[n:]
        else:
            real_logits, fake_logits = self._logits(real), self._logits(fake)
        loss = self.adversarial_loss.discriminator_loss(real_logits, fake_logits)
        penalty = self._penalty(real, fake)
        return loss + penalty, (loss, penalty, real_logits, fake_logits)

    def _descend(self, objective, *which):
        """Each network descends its own loss; `objective()` returns (losses, auxiliary tensors)."""
        optimizers = [self.optimizer.optimizers[i] for i in which]
        groups = [self.optimizer.networks[i].trainable_variables for i in which]
        results, aux, gradients = self.value_and_gradients(objective, optimizers, groups)
        for optimizer, gradient, group in zip(optimizers, gradients, groups, strict=True):
            optimizer.apply(gradient, group)
        return results, aux

    def _inputs(self, n, inputs):
        shape = n, *self.latent_shape
        return keras.random.normal(shape, seed=self.random) if inputs is None else inputs

    def _augmented(self, images):
        return self.augment(images, self.random) if self.augment else images

    def _logits(self, *images, training=True):
        """Float32, whatever the discriminator computes in; of several batches in one pass."""
        if training and self.options["instance_noise"]:
            images = [self._noisy(x) for x in images]
        joined = ops.concatenate(images) if len(images) > 1 else images[0]
        return ops.cast(self.discriminator(joined, training=training), "float32")

    def _noisy(self, images):
        noise = self.options["instance_noise"]
        if steps := self.options["instance_noise_steps"]:
            done = ops.cast(self.optimizer.discriminator.iterations, "float32")
            noise = noise * ops.maximum(0.0, 1.0 - done / steps)
        images = ops.cast(images, self.compute_dtype)
        random = keras.random.normal(ops.shape(images), seed=self.random)
        return images + ops.cast(noise * random, images.dtype)

    def _penalty(self, real, fake):
        """The weighted penalties on D's input gradient: between real and fake, and R1."""

        def squared_norm(images):
            # In inference mode: batch statistics would make one image's gradient depend on others.
            gradient = self.input_gradient(lambda x: self._logits(x, training=False), images)
            return ops.sum(ops.square(gradient), axis=tuple(range(1, len(images.shape))))

        total, real = ops.zeros((), "float32"), ops.cast(real, "float32")
        if weight := self.options["gradient_penalty"]:
            shape = (ops.shape(real)[0],) + (1,) * (len(real.shape) - 1)
            mix = keras.random.uniform(shape, seed=self.random)
            between = mix * real + (1.0 - mix) * ops.cast(ops.stop_gradient(fake), "float32")
            norm = ops.sqrt(squared_norm(between) + 1e-12)
            total = total + weight * ops.mean(ops.square(norm - 1.0))
        if weight := self.options["r1"]:
            total = total + 0.5 * weight * ops.mean(squared_norm(real))
        return total

    def _update_average(self):
        t = ops.cast(self.optimizer.generator.iterations, "float32")
        decay = ops.minimum(self.options["ema"], (1.0 + t) / (10.0 + t))
        for average, current in zip(self.average.weights, self.generator.weights, strict=True):
            value = ops.cast(current, average.dtype)
            # a - (1 - decay)(a - c) and not the textbook sum: equal weights stay exactly equal.
            average.assign(average - ops.cast(1.0 - decay, average.dtype) * (average - value))

    def _report(self, g_parts, d_parts, n):
        (g_loss, content), (d_loss, penalty, real_logits, fake_logits) = g_parts, d_parts
        boundary = self.adversarial_loss.boundary
        if boundary is None:
            boundary = 0.5 * (ops.mean(real_logits) + ops.mean(fake_logits))
        values = {
            "d_loss": d_loss,
            "g_loss": g_loss,
            # Against hard labels: a rounded prediction never equals a smoothed label of 0.9.
            "d_accuracy_real": ops.mean(ops.cast(real_logits > boundary, "float32")),
            "d_accuracy_fake": ops.mean(ops.cast(fake_logits < boundary, "float32")),
            "g_content": content,
            "d_penalty": penalty,
            "loss": d_loss + penalty + g_loss,
        }
        for tracker in self.trackers:
            tracker.update_state(values[tracker.name], sample_weight=n)
        return self.get_metrics_result()

    def compile(self, d_optimizer="adam", g_optimizer="adam", **kwargs):
        """Sets the two optimizers, two objects; other arguments as for `keras.Model.compile`."""
        if "loss" in kwargs:
            raise ValueError("Give the `loss` to Adversarial(…), not to compile.")
        optimizers = map(keras.optimizers.get, (d_optimizer, g_optimizer))
        pair = OptimizerPair(*optimizers, (self.discriminator, self.generator))
        if hasattr(self.content, "prepare"):
            self.content.prepare()
        super().compile(pair, auto_scale_loss=False, **kwargs)
        pair.build()  # a model saved before its first step, or to load weights into, needs slots
        self._compile_options = kwargs

    def fit(self, x=None, y=None, batch_size=None, *args, **kwargs):
        """As `keras.Model.fit`, on images, or on (inputs, images).

        `Batches` feeds NumPy arrays, in an order by the model's `seed` and the epoch's number, so
        that `initial_epoch` goes on exactly; tf.data holds up the end of an epoch by a second.
        """
        arrays = [x] if y is None else [x, y]
        plain = all(isinstance(a, np.ndarray) and len(a) == len(x) > 0 for a in arrays)
        if plain and not args and not kwargs.keys() & KERAS_FEEDS:
            arrays = (a.astype("float32", copy=False) if a.dtype.kind == "f" else a for a in arrays)
            x, y = Batches(tuple(arrays), batch_size or 32, self.options["seed"]), None
            more = keras.tree.flatten(kwargs.pop("callbacks", None) or [])
            kwargs["callbacks"], batch_size = [EpochOrder(x), *more], None
        return super().fit(x, y, batch_size, *args, **kwargs)

    def export(self, filepath, *args, **kwargs):
        """Exports the `sampler`, latents to images; arguments as of `keras.Model.export`."""
        self.sampler.export(filepath, *args, **kwargs)

    def get_compile_config(self):
        if not self.compiled:
            return None
        d_optimizer, g_optimizer = map(keras.optimizers.serialize, self.optimizer.optimizers)
        return {"d_optimizer": d_optimizer, "g_optimizer": g_optimizer, **self._compile_options}

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))

    def get_config(self):
        parts = {name: getattr(self, name) for name in PARTS}
        parts["loss"] = self.adversarial_loss
        parts = {k: keras.saving.serialize_keras_object(part) for k, part in parts.items()}
        return {"name": self.name, **parts, **self.options}

    @classmethod
    def from_config(cls, config):
        parts = {name: keras.saving.deserialize_keras_object(config[name]) for name in PARTS}
        return cls(**{**config, **parts})

    def _own_state(self):
        # Keras saves no SeedGenerator, neither ours nor a Dropout layer's. Resuming needs them all.
        weights = {id(weight) for weight in self.weights}
        return [self.images_seen, *(v for v in self.variables if id(v) not in weights)]

    def save_own_variables(self, store):
        for i, variable in enumerate(self._own_state()):
            store[f"state_{i}"] = ops.convert_to_numpy(variable)

    def load_own_variables(self, store):
        for i, variable in enumerate(self._own_state()):
            variable.assign(store[f"state_{i}"])


def _check_options(update, d_steps, generator_batch, ema, seed, **weights):
    if update not in UPDATES:
        raise ValueError(f"`update` must be one of {UPDATES}. Received: update={update!r}")
    if update != "alternating" and (d_steps != 1 or generator_batch is not None):
        raise ValueError(
            '`d_steps` and `generator_batch` need update="alternating". Received: '
            f"update={update!r}, d_steps={d_steps}, generator_batch={generator_batch}"
        )
    for name, value in weights.items():
        if value < 0:
            raise ValueError(f"`{name}` must not be negative. Received: {name}={value}")
    if not 0.0 <= ema < 1.0:
        raise ValueError(f"`ema` must lie in [0, 1). Received: ema={ema}")
