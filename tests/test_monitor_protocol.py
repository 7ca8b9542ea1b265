"""`HealthMonitor` on models that know nothing of ganlib, and what it refuses before training."""

import types

import keras
import numpy as np
import pytest
from helpers import IMAGE, LATENT, build_discriminator, build_generator, fit, make_gan
from keras import layers, ops

from ganlib import HealthMonitor
from ganlib.callbacks.players import at_rest, last_activation
from ganlib.data import load


@pytest.fixture(scope="module")
def small():
    """Real digits, 8×8, in [0, 1], as a generator that ends in a sigmoid makes them."""
    digits = load("digits", split="train").as_range("unit")
    return np.ascontiguousarray(digits[:, 2:26:3, 2:26:3])


def adam(rate):
    return keras.optimizers.Adam(rate, beta_1=0.5)


def names(monitor):
    return [finding.check for finding in monitor.findings]


def begin(monitor, **attributes):
    """Starts a monitor on a model of those attributes, without any `fit`."""
    monitor.set_model(types.SimpleNamespace(**attributes))
    monitor.on_train_begin()
    return monitor


# -- players: a convolutional pair on 8×8 images, as in keras.io's example -------------------------


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


# -- the class of keras.io's "DCGAN to generate face images", on TensorFlow -----------------------


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


class Untrained(keras.optimizers.SGD):
    """An optimizer whose steps are lost, as where the wrong variables are passed."""

    def apply_gradients(self, grads_and_vars):
        pass


def watch(small, generator=None, d_optimizer=None, g_optimizer=None, steps=20, **options):
    """Trains keras.io's GAN for five short epochs; returns the monitor."""
    keras.utils.set_random_seed(0)
    gan = GAN(make_discriminator(), generator or make_generator(), LATENT, **options)
    gan.compile(
        d_optimizer or adam(2e-3), g_optimizer or adam(4e-3), keras.losses.BinaryCrossentropy()
    )
    monitor = HealthMonitor(small[:128])
    fit(gan, small[: steps * 32], batch_size=32, epochs=5, callbacks=[monitor])
    return monitor


def test_keras_io_gan_is_healthy(small):
    monitor = watch(small)
    assert monitor.findings == []
    assert monitor.get_state()["checks"] == 5


def test_keras_io_gan_whose_discriminator_never_trains(small):
    monitor = watch(small, d_optimizer=Untrained(1e-3))
    assert names(monitor) == ["discriminator_frozen"]
    assert "0 of the discriminator's 2 kernels" in monitor.findings[0].evidence
    assert "trainable = False" in monitor.findings[0].remedy


def test_keras_io_gan_whose_generator_is_blank(small):
    """Nothing passes a sigmoid at its end: the kernels rest, but their wiring is not at fault."""
    (finding,) = watch(small, make_generator(bias=200.0), adam(1e-6)).findings
    assert finding.check == "generator_blank"
    assert "within a fake is 0.0000" in finding.evidence
    assert "100.0% of the values lie at the ends of its sigmoid" in finding.evidence


def test_keras_io_gan_whose_generator_collapsed(small):
    # Whatever the latents are, the generator sees ones.
    same = layers.Rescaling(0.0, offset=1.0)
    monitor = watch(small, make_generator(same), adam(1e-4), adam(1e-4))
    assert names(monitor) == ["generator_collapsed"]


def test_keras_io_gan_whose_discriminator_is_never_wrong(small):
    various = layers.Rescaling(20.0)  # else it is found blank, as it begins
    generator = make_generator(various, bias=1.0)
    monitor = watch(small, generator, adam(2e-3), adam(1e-7), steps=40, label_noise=0.0)
    # Its labels are 1 for fakes: read as they come, the ranks would be 0 %.
    assert names(monitor) == ["discriminator_saturated"]
    assert "100.0% of 128 × 128 pairs" in monitor.findings[0].evidence


@pytest.mark.parametrize(
    ("training", "expected"),
    [(True, []), (None, ["batch_norm_not_updated"])],
    ids=["healthy", "without training=True"],
)
def test_batch_norm_of_a_keras_io_gan(small, training, expected):
    generator = make_generator(layers.Rescaling(20.0), batch_norm=True)
    rates = adam(2e-3), adam(1e-4)
    monitor = watch(small, generator, *rates, training=training, steps=4)
    assert names(monitor) == expected
    for finding in monitor.findings:
        assert "1 of the generator's 1 batch normalisations" in finding.evidence


# -- a GAN of plain Keras, on every backend --------------------------------------------------------


class Reversal(keras.Model):
    """Both players under one loss and one optimizer; `fit` logs nothing but `loss`.

    The generator's gradient is reversed (Ganin & Lempitsky, 2015), so what the discriminator
    descends the generator climbs: the GAN of the minimax game, with no training step of its own.
    """

    def __init__(self, generator, discriminator):
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator

    def call(self, inputs, training=False):
        latents, images = inputs
        fakes = self.generator(latents, training=training)
        fakes = 2.0 * ops.stop_gradient(fakes) - fakes  # fakes, with the gradient -1
        logits = [self.discriminator(x, training=training) for x in (images, fakes)]
        return ops.concatenate(logits, axis=1)


def watch_reversal(small, generator, optimizer, epochs=5, steps=4, **options):
    gan = Reversal(generator, build_discriminator())
    gan.compile(optimizer, keras.losses.BinaryCrossentropy(from_logits=True))
    n = steps * 16
    latents = np.random.default_rng(1).normal(size=(n, LATENT)).astype("float32")
    labels = np.tile([1.0, 0.0], (n, 1)).astype("float32")
    monitor = HealthMonitor(2.0 * small[:128] - 1.0, **options)
    inputs = latents, 2.0 * small[:n] - 1.0
    history = fit(gan, inputs, y=labels, batch_size=16, epochs=epochs, callbacks=[monitor])
    assert history.keys() == {"loss"}
    return monitor


@pytest.mark.backend
def test_plain_keras_gan_is_healthy(small):
    assert watch_reversal(small, build_generator(batch_norm=True), adam(1e-3)).findings == []


@pytest.mark.backend
def test_plain_keras_gan_whose_generator_collapsed(small):
    stack = [keras.Input((LATENT,)), layers.Rescaling(0.0, offset=1.0), *build_generator().layers]
    monitor = watch_reversal(small, keras.Sequential(stack), adam(1e-3))
    assert names(monitor) == ["generator_collapsed"]


@pytest.mark.backend
def test_plain_keras_gan_whose_generator_is_cut_off(small):
    cut = layers.Lambda(lambda x: ops.stop_gradient(x) + 0.0 * x, output_shape=IMAGE)
    stack = [keras.Input((LATENT,)), *build_generator().layers, cut]
    monitor = watch_reversal(small, keras.Sequential(stack), keras.optimizers.SGD(1e-2))
    assert names(monitor) == ["generator_frozen"]
    assert "variables reach an optimizer" in monitor.findings[0].remedy


@pytest.mark.backend
def test_plain_keras_gan_at_rest(small):
    monitor = watch_reversal(small, build_generator(), keras.optimizers.SGD(0.0))
    assert names(monitor) == ["generator_frozen", "discriminator_frozen"]
    for finding in monitor.findings:
        assert finding.evidence.endswith("Its optimizer's learning rate is 0.")
        assert "because its optimizer says so" in finding.remedy


@pytest.mark.backend
def test_a_schedule_that_ends_at_zero_is_no_fault_of_wiring(small):
    schedule = keras.optimizers.schedules.PolynomialDecay(1e-2, 4, end_learning_rate=0.0)
    gan = make_gan(g_optimizer=adam(schedule))
    monitor = HealthMonitor(2.0 * small[:64] - 1.0, stop_on="all")
    fit(gan, 2.0 * small[:32] - 1.0, batch_size=8, epochs=7, callbacks=[monitor])
    (finding,) = monitor.findings
    # One epoch at work, three at rest.
    assert (finding.check, finding.epoch) == ("generator_frozen", 4)
    assert "learning rate is 0" in finding.evidence
    assert "schedule" in finding.remedy
    assert len(gan.history.epoch) == 7  # "all" lets it rest


@pytest.mark.backend
def test_a_player_may_rest_first_and_be_badly_wired_later(small):
    parts = {"generator": build_generator(), "discriminator": build_discriminator()}
    optimizer = keras.optimizers.SGD(0.0)
    monitor = HealthMonitor(2.0 * small[:64] - 1.0, warm_up=0, patience=1)
    begin(monitor, **parts, g_optimizer=optimizer, d_optimizer=keras.optimizers.SGD(0.0))
    monitor.on_epoch_end(0)
    optimizer.learning_rate = 1e-3
    monitor.on_epoch_end(1)
    first, _, last = monitor.findings
    assert (first.check, last.check) == ("generator_frozen", "generator_frozen")
    assert "says so" in first.remedy
    assert "reach an optimizer" in last.remedy


@pytest.mark.parametrize("name", ["g_optimizer", "generator_optimizer", "gen_optimizer"])
def test_the_usual_names_of_optimizers(name):
    model = types.SimpleNamespace(generator=build_generator(), **{name: keras.optimizers.SGD(0.0)})
    assert at_rest(model, "generator")
    getattr(model, name).learning_rate = 1e-4
    assert not at_rest(model, "generator")
    assert not at_rest(types.SimpleNamespace(generator=build_generator()), "generator")
    setattr(model, name, "no optimizer")
    assert not at_rest(model, "generator")


# -- players of many kinds -------------------------------------------------------------------------


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
def test_subclassed_players_with_a_latent_dim(small):
    generator = Subclass(layers.Dense(64, activation="sigmoid"), layers.Reshape(IMAGE))
    discriminator = Subclass(layers.Flatten(), layers.Dense(1))
    monitor = HealthMonitor(small[:64], warm_up=0, patience=1)
    begin(monitor, generator=generator, discriminator=discriminator, latent_dim=LATENT)
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
        ([lambda: layers.Conv2D(1, 8), lambda: layers.Reshape(())], ()),
        ([lambda: layers.Conv2D(1, 3), lambda: layers.Reshape((6, 6))], (6, 6)),
    ],
    ids=["one", "patches", "no axis", "patches without channels"],
)
def test_shapes_of_discriminators(small, head, shape):
    discriminator = keras.Sequential([keras.Input(IMAGE), *(make() for make in head)])
    assert discriminator.output_shape[1:] == shape
    monitor = HealthMonitor(2.0 * small[:64] - 1.0)
    begin(monitor, generator=build_generator(), discriminator=discriminator).on_epoch_end(0)
    assert monitor.findings == []


def test_probabilities_that_keras_does_not_show(small):
    sigmoid = layers.Lambda(lambda x: ops.sigmoid(20.0 * (x - 0.5)))
    level = [keras.Input(IMAGE), layers.GlobalMaxPooling2D(), sigmoid]
    # Grey fakes and real images that reach white: the discriminator is never wrong.
    grey = [keras.Input((LATENT,)), layers.Dense(64, "sigmoid"), layers.Rescaling(0.1)]
    parts = {
        "generator": keras.Sequential([*grey, layers.Reshape(IMAGE)]),
        "discriminator": keras.Sequential(level),
    }
    bright = np.maximum(small[:64], 0.0)
    bright[:, 4, 4] = 1.0
    blind = begin(HealthMonitor(bright, warm_up=0, patience=1), **parts)
    blind.on_epoch_end(0)
    assert "discriminator_saturated" not in names(blind)
    told = begin(HealthMonitor(bright, warm_up=0, patience=1, from_logits=False), **parts)
    told.on_epoch_end(0)
    assert "discriminator_saturated" in names(told)


@pytest.mark.backend
@pytest.mark.parametrize("structure", [list, tuple, dict])
def test_conditional_generators_take_a_structure_of_latents(small, structure):
    z, label = keras.Input((LATENT,), name="z"), keras.Input((1,), dtype="int32", name="label")
    code = layers.Flatten()(layers.Embedding(10, 4)(label))
    x = layers.Dense(64, activation="sigmoid")(layers.Concatenate()([z, code]))
    inputs = {"z": z, "label": label} if structure is dict else [z, label]
    generator = keras.Model(inputs, layers.Reshape(IMAGE)(x))
    rng = np.random.default_rng(0)
    latents = {
        "z": rng.normal(size=(100, LATENT)).astype("float32"),
        "label": rng.integers(0, 10, (100, 1)),
    }
    latents = latents if structure is dict else structure(latents.values())
    monitor = HealthMonitor(small[:64], latents=latents)
    begin(monitor, generator=generator, discriminator=make_discriminator())
    monitor.on_epoch_end(0, {"d_loss": 1.0, "note": "no number", "aux_loss": None})
    assert monitor.findings == []


def graph(*operations):
    """A functional model of those operations."""
    x = inputs = keras.Input(IMAGE)
    for operation in operations:
        x = operation(x)
    return keras.Model(inputs, x)


@pytest.mark.backend
@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([layers.Dense(1, activation="sigmoid")], "sigmoid"),
        ([layers.Dense(1), layers.Activation("tanh"), layers.Flatten()], "tanh"),
        ([ops.sigmoid], "sigmoid"),
        ([ops.tanh, layers.Reshape((64,))], "tanh"),
        ([layers.Dense(1, activation="tanh"), lambda x: 127.5 * x], "multiply"),
        ([layers.Activation("tanh"), layers.Rescaling(127.5)], None),
        ([layers.Dense(1)], "linear"),
    ],
)
def test_last_activation(operations, expected):
    model = graph(*operations)
    assert last_activation(model) == expected
    assert last_activation(keras.Sequential([keras.Input(IMAGE), model])) == expected


def test_last_activation_of_the_output_and_not_of_the_last_layer():
    inputs = keras.Input((2,))
    late = layers.Dense(2, activation="tanh")
    outputs = layers.Add()([layers.Dense(2)(inputs), late(inputs)])
    assert last_activation(keras.Model(inputs, outputs)) is None
    assert last_activation(Subclass(late)) is None


# -- what is refused before training ---------------------------------------------------------------


class Renamed(keras.Model):
    def __init__(self):
        super().__init__()
        self.gen, self.disc = make_generator(), make_discriminator()


@pytest.mark.backend
def test_a_model_without_players(small):
    monitor = HealthMonitor(small[:8])
    monitor.set_model(Renamed())
    with pytest.raises(ValueError, match=r"add `self.generator = …` and .*disc, gen$"):
        monitor.on_train_begin()
    with pytest.raises(ValueError, match=r"with `weights`. Received: generator=<built-in"):
        begin(monitor, generator=abs, discriminator=make_discriminator())
    with pytest.raises(ValueError, match="Received: NoneType"):
        HealthMonitor(small[:8]).on_train_begin()
    with pytest.raises(RuntimeError, match=r"set_model\(model\) and on_train_begin\(\)"):
        HealthMonitor(small[:8]).check()


@pytest.mark.backend
def test_nothing_is_trained_with_wrong_images(small):
    gan = make_gan()
    before = gan.generator.get_weights()
    images = 255.0 * small[:16]
    with pytest.raises(ValueError, match=r"tanh, \[-1, 1\].*127.5 - 1.*Received: .*\[0, 255\]"):
        fit(gan, images, callbacks=[HealthMonitor(images)])
    for was, now in zip(before, gan.generator.get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)


def scores(*shape):
    """A discriminator whose outputs have that shape."""
    layer = layers.Dense(int(np.prod(shape)))
    return keras.Sequential([keras.Input(IMAGE), layers.Flatten(), layer, layers.Reshape(shape)])


def two_heads():
    inputs = keras.Input(IMAGE)
    x = layers.Flatten()(inputs)
    return keras.Model(inputs, [layers.Dense(1)(x), layers.Dense(10)(x)])


def picture_generator():
    return keras.Sequential([keras.Input(IMAGE), layers.Conv2D(1, 3, padding="same")])


LATENTS = np.zeros((4, LATENT), "float32")


@pytest.mark.backend
@pytest.mark.parametrize(
    ("parts", "real", "options", "message"),
    [
        ({}, (8, 16, 16, 1), {}, r"discriminator takes \(8, 8, 1\).*Received: .*\(8, 16, 16, 1\)"),
        ({}, (8, 8, 8, 3), {}, r"discriminator takes \(8, 8, 1\): resize.*\(8, 8, 8, 3\)"),
        (
            {"discriminator": lambda: Subclass(layers.Flatten(), layers.Dense(1))},
            (8, 16, 16, 1),
            {},
            r"generator makes \(8, 8, 1\).*Received: real of shape \(8, 16, 16, 1\)",
        ),
        ({"discriminator": lambda: scores(10)}, None, {}, r"one score an image.*shape \(2, 10\)"),
        ({"discriminator": lambda: scores(2, 2, 3)}, None, {}, r"shape \(2, 2, 2, 3\)"),
        ({"discriminator": two_heads}, None, {}, r"player.outputs\[0\].*list of 2"),
        ({"generator": picture_generator}, None, {}, "seems to take pictures: pass `latents`"),
        ({"latent_dim": lambda: 3}, None, {}, r"than the model's latents.*latent_dim=3"),
        ({}, None, {"latents": LATENTS[:, :3]}, r"fails on the first 2 of `latents`.*\(2, 3\)"),
        ({}, None, {"latents": [LATENTS, LATENTS[:3]]}, r"of one length.*\[\(4, 4\), \(3, 4\)\]"),
        ({}, None, {"latents": LATENTS[:1]}, r"at least two.*\[\(1, 4\)\]"),
        ({}, None, {"latents": LATENTS + np.nan}, "must be finite"),
        ({}, None, {"from_logits": False}, r"give probabilities.*Received: -?\d"),
    ],
)
def test_what_does_not_fit(parts, real, options, message):
    parts = {"generator": build_generator, "discriminator": build_discriminator, **parts}
    # Far from zero and of both signs, so that no linear discriminator seems to give probabilities.
    images = np.random.default_rng(0).uniform(-1.0, 1.0, real or (8, *IMAGE))
    with pytest.raises(ValueError, match=message):
        begin(HealthMonitor(images, **options), **{name: make() for name, make in parts.items()})
