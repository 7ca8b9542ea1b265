"""`HealthMonitor`: each check on a run that is broken in that way, and healthy runs."""

import json
import types

import keras
import numpy as np
import pytest
from helpers import (
    IMAGE,
    LATENT,
    build_discriminator,
    build_generator,
    build_linear_discriminator,
    fit,
    make_gan,
    state,
)
from keras import layers, ops

from ganlib import losses
from ganlib.adversarial import Adversarial
from ganlib.callbacks.health import HealthMonitor, roc_area
from ganlib.data import load
from ganlib.models import digits as models

STEPS = 4  # per epoch


@pytest.fixture(scope="module")
def digits():
    """Real digits, 28×28, in [0, 1]."""
    return load("digits", split="train").as_range("unit")


@pytest.fixture(scope="module")
def unit(digits):
    """The same at 8×8 in [0, 1], as a generator that ends in a sigmoid makes them."""
    return np.ascontiguousarray(digits[:, 2:26:3, 2:26:3])


@pytest.fixture(scope="module")
def small(digits):
    """The same at 8×8 in [-1, 1], to fit the helpers' players."""
    return np.ascontiguousarray(2.0 * digits[:, 2:26:3, 2:26:3] - 1.0)


def adam(rate):
    return keras.optimizers.Adam(rate, beta_1=0.5)


def names(monitor):
    return [finding.check for finding in monitor.findings]


def players(generator=None, discriminator=None):
    """A model for the no-`fit` protocol."""
    return types.SimpleNamespace(
        generator=generator or build_generator(),
        discriminator=discriminator or build_discriminator(),
    )


def begin(monitor, model):
    monitor.set_model(model)
    monitor.on_train_begin()
    return monitor


def watch(gan, data, epochs=5, steps=STEPS, batch_size=16, **options):
    """Trains for a few short epochs under a monitor with its default thresholds and patience."""
    monitor = HealthMonitor(data[:128], **options)
    data = data[: steps * batch_size]
    fit(gan, data, batch_size=batch_size, epochs=epochs, callbacks=[monitor])
    return monitor


# -- broken runs -----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights")
def test_discriminator_frozen_in_the_classic_loop(small):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    generator, discriminator = build_generator(), build_discriminator()
    bce = keras.losses.BinaryCrossentropy(from_logits=True)
    discriminator.compile(adam(1e-3), bce)
    discriminator.trainable = False
    stack = keras.Sequential([generator, discriminator])
    stack.compile(adam(1e-3), bce)

    monitor = begin(HealthMonitor(small[:64]), players(generator, discriminator))
    labels = np.concatenate([np.ones((16, 1)), np.zeros((16, 1))]).astype("float32")
    for epoch in range(6):
        for _ in range(2):
            latents = rng.normal(size=(16, LATENT)).astype("float32")
            fakes = ops.convert_to_numpy(generator(latents))
            reals = small[rng.integers(0, len(small), 16)]
            d_loss = discriminator.train_on_batch(np.concatenate([reals, fakes]), labels)
            g_loss = stack.train_on_batch(latents, labels[:16])
        monitor.on_epoch_end(epoch, {"d_loss": d_loss, "g_loss": g_loss})
    assert names(monitor) == ["discriminator_frozen"]  # once, though it held for six epochs
    assert monitor.findings[0].epoch == 4  # one check to warm up, three in a row
    assert "0 of the discriminator's 2 kernels" in monitor.findings[0].evidence
    assert "trainable = False" in monitor.findings[0].remedy


@pytest.mark.backend
def test_generator_frozen(small):
    monitor = watch(make_gan(g_optimizer=keras.optimizers.SGD(0.0)), small, epochs=4)
    assert names(monitor) == ["generator_frozen"]
    assert "0 of the generator's 2 kernels" in monitor.findings[0].evidence


@pytest.mark.backend
def test_non_finite_loss_by_a_learning_rate(small):
    def sgd():
        return keras.optimizers.SGD(1e3)

    gan = make_gan(loss="least_squares", d_optimizer=sgd(), g_optimizer=sgd())
    monitor = watch(gan, small, epochs=3, stop_on=["non_finite_loss"])
    assert names(monitor) == ["non_finite_loss"]
    assert "d_loss became" in monitor.findings[0].evidence
    assert len(gan.history.epoch) == monitor.findings[0].epoch  # it stopped there
    # The players alone show it as well, without any logs.
    again = begin(HealthMonitor(small[:64]), players(gan.generator, gan.discriminator))
    again.on_epoch_end(0)
    assert names(again) == ["non_finite_loss"]
    assert "output became" in again.findings[0].evidence


def test_generator_collapsed_to_one_picture(small):
    stack = [keras.Input((LATENT,)), layers.Rescaling(0.0, offset=1.0), *build_generator().layers]
    monitor = watch(make_gan(generator=keras.Sequential(stack)), small)
    assert names(monitor) == ["generator_collapsed"]
    assert "differs from the fake most like it by 0.0" in monitor.findings[0].evidence


def test_generator_blank(small):
    stack = [
        keras.Input((LATENT,)),
        layers.Dense(1, activation="tanh"),  # one grey for the whole picture
        layers.RepeatVector(64),
        layers.Reshape(IMAGE),
    ]
    monitor = watch(make_gan(generator=keras.Sequential(stack)), small)
    assert names(monitor) == ["generator_blank"]
    assert "within a fake is 0.0000" in monitor.findings[0].evidence


def strong_discriminator(patch):
    stack = [keras.Input(IMAGE), layers.Conv2D(8, 4, strides=2, padding="same"), layers.LeakyReLU()]
    judge = [layers.Conv2D(1, 4, padding="same")] if patch else [layers.Flatten(), layers.Dense(1)]
    return keras.Sequential(stack + judge)


@pytest.mark.parametrize("patch", [False, True], ids=["one logit", "a logit per patch"])
def test_discriminator_saturated(small, patch):
    keras.utils.set_random_seed(0)
    gan = make_gan(
        discriminator=strong_discriminator(patch),
        d_optimizer=adam(2e-2),
        g_optimizer=adam(1e-7),
    )
    monitor = watch(gan, small, epochs=8, steps=10)
    assert names(monitor) == ["discriminator_saturated"]
    evidence = monitor.findings[0].evidence
    assert "from perfect (0.0000) to chance (1.3863)" in evidence
    assert "100.0% of 128 × 128 pairs" in evidence


def test_discriminator_at_chance_as_it_starts(small):
    discriminator = build_discriminator()
    discriminator.layers[-1].kernel.assign(ops.zeros_like(discriminator.layers[-1].kernel))
    gan = make_gan(discriminator=discriminator, d_optimizer=adam(1e-6))
    monitor = watch(gan, small)
    assert names(monitor) == ["discriminator_at_chance"]
    assert "without information it is 1.3863" in monitor.findings[0].evidence


# -- broken networks, made up: what a run would look like at its checks ----------------------------


def checked(small, scale, logs, real_first=True, epochs=1, turn=False, nudge=True, **attributes):
    """Findings, name to text, where D(x) = ± scale · (-0.2 - mean brightness)."""
    generator = build_generator()
    # Real digits are dark, and the generator's pictures grey: D tells them by brightness.
    discriminator = build_linear_discriminator(np.full(IMAGE, -scale / 64), -0.2 * scale)
    model = types.SimpleNamespace(
        generator=generator, discriminator=discriminator, stop_training=False, **attributes
    )
    monitor = begin(HealthMonitor(small[:64], warm_up=0, patience=min(epochs, 2)), model)
    for epoch in range(epochs):
        sign = (1 if real_first else -1) * (-1 if turn and epoch % 2 else 1)
        for weight in discriminator.weights:
            weight.assign(sign * (1 + 1e-3 * epoch) * np.abs(weight) * -1.0001)
        for weight in generator.weights if nudge else ():
            weight.assign(1.0001 * weight)
        monitor.on_epoch_end(epoch, logs)
    return {finding.check: str(finding) for finding in monitor.findings}


def test_a_discriminator_that_diverges(small):
    known = {"adversarial_loss": losses.NonSaturating()}
    logs = {"d_loss": 30_012.0, "g_loss": 2_733_856.0}
    found = checked(small, 1e5, logs, real_first=False, **known)
    assert "30012.0000 in training; without information it would be 1.3863" in found.pop(
        "discriminator_diverged"
    )
    assert found == {}
    # In inference mode alone it may be moving statistics that lag behind.
    assert checked(small, 1e5, {"d_loss": 1.0}, real_first=False, **known) == {}


def test_a_discriminator_that_ascends(small):
    known = {"adversarial_loss": losses.NonSaturating()}
    found = checked(small, 3.0, {"d_loss": 1.9}, real_first=False, **known)
    assert "worse than chance" in found["discriminator_diverged"]
    assert checked(small, 3.0, {"d_loss": 1.0}, **known) == {}


def test_shuffled_labels(small):
    known = {"adversarial_loss": losses.NonSaturating()}
    found = checked(small, 0.1, {"d_loss": 1.40}, epochs=4, turn=True, **known)
    assert "Of late that went from " in found["discriminator_at_chance"]


def test_logits_taken_for_probabilities(small):
    found = checked(small, 1e3, {"d_loss": 0.0, "g_loss": 16.1181})
    assert "from_logits=True" in found["loss_clipped"]
    assert "loss_clipped" not in checked(small, 1e3, {"d_loss": 0.0, "g_loss": 12.0})


def test_logits_whose_loss_nobody_told(small):
    assert "discriminator_saturated" in checked(small, 1e3, {"d_loss": 0.001, "g_loss": 12.0})
    for logs in ({}, {"d_loss": -40.0}, {"d_loss": 0.7}):  # another loss's
        assert checked(small, 1e3, logs) == {}


def test_a_generator_whose_gradient_has_underflowed(small):
    found = checked(small, 1e4, {"g_loss": 1e-30}, nudge=False)
    assert "Check the sign of the generator's loss" in found["generator_frozen"]
    wired = checked(small, 0.1, {"g_loss": 0.7}, nudge=False)
    assert "variables reach an optimizer" in wired["generator_frozen"]


# -- value ranges ----------------------------------------------------------------------------------


def test_value_range_mismatch_stops_a_run(small):
    gan = make_gan()
    monitor = watch(gan, (small + 1.0) / 2.0, stop_on="all")
    assert names(monitor) == ["value_range_mismatch"]
    assert len(gan.history.epoch) == 1
    assert int(gan.images_seen.numpy()) <= 16  # one batch


def dense_generator(activation):
    stack = [keras.Input((LATENT,)), layers.Dense(64, activation=activation), layers.Reshape(IMAGE)]
    return keras.Sequential([keras.Input((LATENT,)), keras.Sequential(stack)])


@pytest.mark.parametrize(
    ("activation", "scale", "offset", "evidence"),
    [
        ("tanh", 2.0, -1.0, None),
        ("tanh", 1.0, 0.0, "0.0% of its values lie in the lower half"),
        ("tanh", 2.5, 0.0, "of its values lie outside"),
        ("sigmoid", 1.0, 0.0, None),
        ("sigmoid", 1.0 / 255.0, 0.0, "it covers 0.4% of that"),
        ("linear", 255.0, 0.0, None),
    ],
)
def test_value_ranges(digits, activation, scale, offset, evidence):
    real = digits[:64, 2:26:3, 2:26:3] * scale + offset
    monitor = begin(HealthMonitor(real), players(dense_generator(activation)))
    assert names(monitor) == ([] if evidence is None else ["value_range_mismatch"])
    assert all(evidence in finding.evidence for finding in monitor.findings)


class Container:
    """As ganlib's containers of images."""

    def as_range(self, name):
        low, high = {"unit": (0, 1), "signed": (-1, 1)}[name]
        return np.linspace(low, high, 600 * 64, dtype="float32").reshape(600, *IMAGE)


@pytest.mark.parametrize(("activation", "low"), [("sigmoid", 0.0), ("tanh", -1.0)])
def test_a_whole_data_set(activation, low):
    monitor = begin(HealthMonitor(Container()), players(dense_generator(activation)))
    assert monitor.real.shape == (256, *IMAGE)
    assert (monitor.real.min(), monitor.real.max()) == (low, 1.0)
    assert monitor.findings == []
    with pytest.raises(ValueError, match=r"as_range\('signed'\)"):
        begin(HealthMonitor(Container()), players(dense_generator("linear")))


# -- healthy runs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "real_label", "frequency"),
    [
        ("non_saturating", 0.9, 15),
        ("hinge", 1.0, "epoch"),
        ("wasserstein", 1.0, "epoch"),
    ],
)
def test_healthy_runs_raise_nothing(digits, loss, real_label, frequency):
    keras.utils.set_random_seed(0)
    gan = Adversarial(
        models.build_generator(width=8, batch_norm=True, momentum=0.9),
        models.build_discriminator(8),
        losses.get(loss, real_label),
        update="shared",
    )
    gan.compile(*(keras.optimizers.Adam(1e-3, 0.5, 0.99) for _ in range(2)))
    # Four checks are the fewest at which the default patience can report anything.
    monitor = watch(gan, digits, epochs=4, steps=30, batch_size=32, frequency=frequency)
    assert names(monitor) == []
    assert monitor.get_state()["checks"] == (4 if frequency == "epoch" else 8)


@pytest.mark.backend
def test_training_is_untouched(small):
    def train(callbacks):
        keras.utils.set_random_seed(0)
        gan = make_gan(batch_norm=True, dropout=0.3)
        fit(gan, small[:32], epochs=2, batch_size=8, callbacks=callbacks)
        return state(gan)

    plain, watched = train([]), train([HealthMonitor(small[:64], frequency=1)])
    for a, b in zip(plain, watched, strict=True):
        np.testing.assert_array_equal(a, b)


# -- the class of keras.io's DCGAN, on TensorFlow --------------------------------------------------


def make_generator(*first, bias=0.0, batch_norm=False):
    stack = [
        keras.Input((LATENT,)),
        *first,
        layers.Dense(4 * 4 * 8),
        *([layers.BatchNormalization(momentum=0.9)] if batch_norm else []),
        layers.Reshape((4, 4, 8)),
        layers.Conv2DTranspose(16, 4, strides=2, padding="same"),
        layers.LeakyReLU(negative_slope=0.2),
        layers.Conv2D(
            1,
            5,
            padding="same",
            activation="sigmoid",
            bias_initializer=keras.initializers.Constant(bias),
        ),
    ]
    return keras.Sequential(stack, name="generator")


def make_discriminator(activation="sigmoid"):
    stack = [
        keras.Input(IMAGE),
        layers.Conv2D(16, 4, strides=2, padding="same"),
        layers.LeakyReLU(negative_slope=0.2),
        layers.Flatten(),
        layers.Dropout(0.2, seed=3),
        layers.Dense(1, activation=activation),
    ]
    return keras.Sequential(stack, name="discriminator")


class GAN(keras.Model):
    """As on keras.io, but that `training`, if given, is passed to the players."""

    def __init__(self, discriminator, generator, latent_dim, training=None, label_noise=0.05):
        super().__init__()
        self.discriminator = discriminator
        self.generator = generator
        self.latent_dim = latent_dim
        self.training = {} if training is None else {"training": training}
        self.label_noise = label_noise
        self.seed_generator = keras.random.SeedGenerator(1337)
        self.built = True  # else Keras warns that it can't build what has no `call`

    def compile(self, d_optimizer, g_optimizer, loss_fn):
        super().compile()
        self.d_optimizer = d_optimizer
        self.g_optimizer = g_optimizer
        self.loss_fn = loss_fn
        self.d_loss_metric = keras.metrics.Mean(name="d_loss")
        self.g_loss_metric = keras.metrics.Mean(name="g_loss")

    @property
    def metrics(self):
        return [self.d_loss_metric, self.g_loss_metric]

    def train_step(self, real_images):
        import tensorflow as tf

        batch_size = ops.shape(real_images)[0]
        shape = (batch_size, self.latent_dim)
        latents = keras.random.normal(shape, seed=self.seed_generator)
        generated_images = self.generator(latents, **self.training)
        combined_images = ops.concatenate([generated_images, real_images], axis=0)
        labels = ops.concatenate([ops.ones((batch_size, 1)), ops.zeros((batch_size, 1))], axis=0)
        noise = keras.random.uniform(ops.shape(labels), seed=self.seed_generator)
        labels += self.label_noise * noise

        with tf.GradientTape() as tape:
            predictions = self.discriminator(combined_images, **self.training)
            d_loss = self.loss_fn(labels, predictions)
        weights = self.discriminator.trainable_weights
        self.d_optimizer.apply_gradients(zip(tape.gradient(d_loss, weights), weights, strict=True))

        latents = keras.random.normal(shape, seed=self.seed_generator)
        misleading_labels = ops.zeros((batch_size, 1))
        with tf.GradientTape() as tape:
            generated_images = self.generator(latents, **self.training)
            predictions = self.discriminator(generated_images, **self.training)
            g_loss = self.loss_fn(misleading_labels, predictions)
        weights = self.generator.trainable_weights
        self.g_optimizer.apply_gradients(zip(tape.gradient(g_loss, weights), weights, strict=True))

        self.d_loss_metric.update_state(d_loss)
        self.g_loss_metric.update_state(g_loss)
        return {"d_loss": self.d_loss_metric.result(), "g_loss": self.g_loss_metric.result()}


def watch_keras_io(small, generator=None, d_optimizer=None, g_optimizer=None, steps=20, **options):
    """Trains keras.io's GAN for five short epochs; returns the monitor."""
    keras.utils.set_random_seed(0)
    gan = GAN(make_discriminator(), generator or make_generator(), LATENT, **options)
    gan.compile(
        d_optimizer or adam(2e-3), g_optimizer or adam(4e-3), keras.losses.BinaryCrossentropy()
    )
    monitor = HealthMonitor(small[:128])
    fit(gan, small[: steps * 32], batch_size=32, epochs=5, callbacks=[monitor])
    return monitor


def test_keras_io_gan_is_healthy(unit):
    monitor = watch_keras_io(unit)
    assert monitor.findings == []
    assert monitor.get_state()["checks"] == 5


def test_keras_io_gan_whose_generator_is_blank(unit):
    """Nothing passes a sigmoid at its end: the kernels rest, but their wiring is not at fault."""
    (finding,) = watch_keras_io(unit, make_generator(bias=200.0), adam(1e-6)).findings
    assert finding.check == "generator_blank"
    assert "within a fake is 0.0000" in finding.evidence
    assert "100.0% of the values lie at the ends of its range" in finding.evidence


def test_keras_io_gan_whose_discriminator_is_never_wrong(unit):
    various = layers.Rescaling(20.0)  # else it is found blank, as it begins
    generator = make_generator(various, bias=1.0)
    monitor = watch_keras_io(unit, generator, adam(2e-3), adam(1e-7), steps=40, label_noise=0.0)
    # Its labels are 1 for fakes: read as they come, the ranks would be 0 %.
    assert names(monitor) == ["discriminator_saturated"]
    assert "100.0% of 128 × 128 pairs" in monitor.findings[0].evidence


@pytest.mark.parametrize(
    ("training", "expected"),
    [(True, []), (None, ["batch_norm_not_updated"])],
    ids=["healthy", "without training=True"],
)
def test_batch_norm_of_a_keras_io_gan(unit, training, expected):
    generator = make_generator(layers.Rescaling(20.0), batch_norm=True)
    rates = adam(2e-3), adam(1e-4)
    monitor = watch_keras_io(unit, generator, *rates, training=training, steps=4)
    assert names(monitor) == expected
    for finding in monitor.findings:
        assert "1 of the generator's 1 batch normalisations" in finding.evidence


# -- networks of many kinds ------------------------------------------------------------------------


@pytest.mark.backend
def test_a_schedule_that_ends_at_zero_is_no_fault_of_wiring(small):
    schedule = keras.optimizers.schedules.PolynomialDecay(1e-2, 4, end_learning_rate=0.0)
    gan = make_gan(g_optimizer=adam(schedule))
    monitor = HealthMonitor(small[:64], stop_on="all")
    fit(gan, small[:32], batch_size=8, epochs=7, callbacks=[monitor])
    (finding,) = monitor.findings
    # One epoch at work, three at rest.
    assert (finding.check, finding.epoch) == ("generator_frozen", 4)
    assert "learning rate is 0" in finding.evidence
    assert "schedule" in finding.remedy
    assert len(gan.history.epoch) == 7  # "all" lets it rest


class Subclass(keras.Model):
    """A generator or discriminator whose layers, latents and outputs Keras doesn't show."""

    def __init__(self, *stack):
        super().__init__()
        self.stack = list(stack)

    def call(self, x):  # without `training`
        for layer in self.stack:
            x = layer(x)
        return x


@pytest.mark.backend
def test_subclassed_players_with_a_latent_dim(unit):
    generator = Subclass(layers.Dense(64, activation="sigmoid"), layers.Reshape(IMAGE))
    discriminator = Subclass(layers.Flatten(), layers.Dense(1))
    monitor = HealthMonitor(unit[:64], warm_up=0, patience=1)
    begin(
        monitor,
        types.SimpleNamespace(generator=generator, discriminator=discriminator, latent_dim=LATENT),
    )
    assert not generator.built  # building it would draw weights out of turn
    monitor.on_epoch_end(0)
    assert set(names(monitor)) <= {"discriminator_at_chance", "generator_collapsed"}
    assert generator.built


@pytest.mark.backend
@pytest.mark.parametrize(
    ("head", "shape"),
    [
        ([layers.Flatten, lambda: layers.Dense(1)], (1,)),
        ([lambda: layers.Conv2D(1, 3)], (6, 6, 1)),
        ([lambda: layers.Conv2D(1, 3), lambda: layers.Reshape((6, 6))], (6, 6)),
    ],
    ids=["one", "patches", "patches without channels"],
)
def test_shapes_of_discriminators(small, head, shape):
    discriminator = keras.Sequential([keras.Input(IMAGE), *(make() for make in head)])
    assert discriminator.output_shape[1:] == shape
    monitor = HealthMonitor(small[:64])
    begin(monitor, players(discriminator=discriminator)).on_epoch_end(0)
    assert monitor.findings == []


@pytest.mark.backend
def test_a_conditional_generator_takes_a_structure_of_latents(unit):
    z, label = keras.Input((LATENT,), name="z"), keras.Input((1,), dtype="int32", name="label")
    code = layers.Flatten()(layers.Embedding(10, 4)(label))
    x = layers.Dense(64, activation="sigmoid")(layers.Concatenate()([z, code]))
    generator = keras.Model({"z": z, "label": label}, layers.Reshape(IMAGE)(x))
    rng = np.random.default_rng(0)
    latents = {"z": rng.normal(size=(100, LATENT)).astype("float32")}
    latents["label"] = rng.integers(0, 10, (100, 1))
    monitor = HealthMonitor(unit[:64], latents=latents)
    begin(monitor, players(generator, make_discriminator()))
    monitor.on_epoch_end(0, {"d_loss": 1.0, "note": "no number", "aux_loss": None})
    assert monitor.findings == []


# -- the callback ----------------------------------------------------------------------------------


def test_stop_on(small):
    gan = make_gan(g_optimizer=keras.optimizers.SGD(0.0))
    monitor = watch(gan, small, epochs=8, stop_on="generator_frozen", patience=2)
    assert names(monitor) == ["generator_frozen"]
    assert len(gan.history.epoch) == monitor.findings[0].epoch == 3


def test_resumed_monitor_sees_the_same(small):
    def make():
        gan = make_gan(batch_norm=True, g_optimizer=keras.optimizers.SGD(0.0))
        return gan, HealthMonitor(small[:64], frequency=3)

    gan, whole = make()
    fit(gan, small[:64], batch_size=16, epochs=4, callbacks=[whole])

    gan, first = make()
    fit(gan, small[:64], batch_size=16, epochs=2, callbacks=[first])
    assert first.findings == []
    second = HealthMonitor(small[:64], frequency=3)
    second.set_state(json.loads(json.dumps(first.get_state())))
    fit(gan, small[:64], batch_size=16, epochs=4, initial_epoch=2, callbacks=[second])
    assert names(second) == ["generator_frozen"]
    assert second.get_state() == whole.get_state()


ZEROS = np.zeros((2, 8, 8, 1))


@pytest.mark.parametrize(
    ("real", "options"),
    [
        (ZEROS[:1], {}),
        (ZEROS + np.nan, {}),
        ("photos/", {}),
        (ZEROS, {"stop_on": "blank"}),
        (ZEROS, {"frequency": "batch"}),
    ],
)
def test_errors(real, options):
    with pytest.raises(ValueError, match="Received"):
        HealthMonitor(real, **options)


def two_heads():
    inputs = keras.Input(IMAGE)
    x = layers.Flatten()(inputs)
    return keras.Model(inputs, [layers.Dense(1)(x), layers.Dense(10)(x)])


def ten_classes():
    return keras.Sequential([keras.Input(IMAGE), layers.Flatten(), layers.Dense(10)])


LATENTS = np.zeros((4, LATENT), "float32")


@pytest.mark.parametrize(
    ("parts", "real", "options", "message"),
    [
        ({}, (8, 16, 16, 1), {}, r"discriminator takes \(8, 8, 1\).*\(8, 16, 16, 1\)"),
        ({}, (8, 8, 8, 3), {}, r"judges images alone.*\(8, 8, 8, 3\)"),
        ({"discriminator": ten_classes}, None, {}, r"one an image.*shape \(2, 10\)"),
        ({"discriminator": two_heads}, None, {}, r"player.outputs\[0\]"),
        ({"latent_dim": lambda: 3}, None, {}, "latent_dim=3"),
        ({}, None, {"latents": LATENTS[:, :3]}, r"generator fails.*\(2, 3\)"),
        ({}, None, {"latents": LATENTS + np.nan}, "finite"),
        ({}, None, {"from_logits": False}, "give probabilities"),
    ],
)
def test_what_does_not_fit(parts, real, options, message):
    parts = {"generator": build_generator, "discriminator": build_discriminator, **parts}
    # Far from zero and of both signs, so that no linear discriminator seems to give probabilities.
    images = np.random.default_rng(0).uniform(-1.0, 1.0, real or (8, *IMAGE))
    model = types.SimpleNamespace(**{name: make() for name, make in parts.items()})
    with pytest.raises(ValueError, match=message):
        begin(HealthMonitor(images, **options), model)


def test_a_model_without_networks_and_bytes(small):
    with pytest.raises(ValueError, match="add `self"):
        begin(HealthMonitor(small[:8]), keras.Sequential([build_generator()]))
    images = 255.0 * (small[:16] + 1)
    with pytest.raises(ValueError, match=r"127.5 - 1.*\[0, 510\]"):
        fit(make_gan(), images, callbacks=[HealthMonitor(images)])


def test_roc_area():
    assert roc_area(np.array([2.0, 3.0]), np.array([1.0, 2.0])) == 3.5 / 4
    assert roc_area(np.zeros(3), np.zeros(5)) == 0.5
