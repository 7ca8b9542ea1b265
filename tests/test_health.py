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
from ganlib.callbacks.health import PLAYERS, HealthMonitor, roc_area
from ganlib.data import load
from ganlib.models import digits as models

STEPS = 4  # per epoch


@pytest.fixture(scope="module")
def digits():
    """Real digits, 28×28, in [0, 1]."""
    return load("digits", split="train").as_range("unit")


@pytest.fixture(scope="module")
def unit(digits):
    """The same at 8×8, as a generator that ends in a sigmoid makes them."""
    return np.ascontiguousarray(digits[:, 2:26:3, 2:26:3])


@pytest.fixture(scope="module")
def small(unit):
    """The same in [-1, 1], to fit the helpers' players."""
    return 2.0 * unit - 1.0


def adam(rate):
    return keras.optimizers.Adam(rate, beta_1=0.5)


def names(monitor):
    return [finding.check for finding in monitor.findings]


def players(generator=None, discriminator=None, **attributes):
    """A model for the no-`fit` protocol."""
    networks = generator or build_generator(), discriminator or build_discriminator()
    return types.SimpleNamespace(**dict(zip(PLAYERS, networks, strict=True)), **attributes)


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


def blank_generator():
    grey = layers.Dense(1, activation="tanh")  # one for the whole picture
    return keras.Sequential(
        [keras.Input((LATENT,)), grey, layers.RepeatVector(64), layers.Reshape(IMAGE)]
    )


def collapsed_generator():
    same = layers.Rescaling(0.0, offset=1.0)
    return keras.Sequential([keras.Input((LATENT,)), same, *build_generator().layers])


@pytest.mark.parametrize(
    ("generator", "check", "evidence"),
    [
        (blank_generator, "generator_blank", "within a fake is 0.0000"),
        (collapsed_generator, "generator_collapsed", "from the fake most like it by 0.0"),
    ],
)
def test_generators_without_variety(small, generator, check, evidence):
    monitor = watch(make_gan(generator=generator()), small)
    assert names(monitor) == [check]
    assert evidence in monitor.findings[0].evidence


@pytest.mark.parametrize("patch", [False, True], ids=["one logit", "a logit per patch"])
def test_discriminator_saturated(small, patch):
    keras.utils.set_random_seed(0)
    judge = [layers.Conv2D(1, 4, padding="same")] if patch else [layers.Flatten(), layers.Dense(1)]
    convolution = layers.Conv2D(8, 4, strides=2, padding="same")
    strong = keras.Sequential([keras.Input(IMAGE), convolution, layers.LeakyReLU(), *judge])
    gan = make_gan(discriminator=strong, d_optimizer=adam(2e-2), g_optimizer=adam(1e-7))
    monitor = watch(gan, small, epochs=8, steps=10)
    assert names(monitor) == ["discriminator_saturated"]
    evidence = monitor.findings[0].evidence
    assert "from perfect (0.0000) to chance (1.3863)" in evidence
    assert "100.0% of 128 × 128 pairs" in evidence


def test_discriminator_at_chance_as_it_starts(small):
    discriminator = build_discriminator()
    discriminator.layers[-1].kernel.assign(ops.zeros_like(discriminator.layers[-1].kernel))
    monitor = watch(make_gan(discriminator=discriminator, d_optimizer=adam(1e-6)), small)
    assert names(monitor) == ["discriminator_at_chance"]
    assert "without information it is 1.3863" in monitor.findings[0].evidence


def checked(small, scale, logs, real_first=True, epochs=1, turn=False, nudge=True, **attributes):
    """Findings, name to text, where D(x) = ± scale · (-0.2 - mean brightness)."""
    generator = build_generator()
    # Real digits are dark, and the generator's pictures grey: D tells them by brightness.
    discriminator = build_linear_discriminator(np.full(IMAGE, -scale / 64), -0.2 * scale)
    model = players(generator, discriminator, **attributes)
    monitor = begin(HealthMonitor(small[:64], warm_up=0, patience=min(epochs, 2)), model)
    for epoch in range(epochs):
        sign = (1 if real_first else -1) * (-1 if turn and epoch % 2 else 1)
        for weight in discriminator.weights:
            weight.assign(sign * (1 + 1e-3 * epoch) * np.abs(weight) * -1.0001)
        for weight in generator.weights if nudge else ():
            weight.assign(1.0001 * weight)
        monitor.on_epoch_end(epoch, logs)
    return {finding.check: str(finding) for finding in monitor.findings}


KNOWN = {"adversarial_loss": losses.NonSaturating()}


def test_a_discriminator_that_diverges(small):
    logs = {"d_loss": 30_012.0, "g_loss": 2_733_856.0}
    found = checked(small, 1e5, logs, real_first=False, **KNOWN)
    assert "30012.0000 in training; without information it would be 1.3863" in found.pop(
        "discriminator_diverged"
    )
    assert found == {}
    # In inference mode alone it may be moving statistics that lag behind.
    assert checked(small, 1e5, {"d_loss": 1.0}, real_first=False, **KNOWN) == {}


def test_a_discriminator_that_ascends_and_shuffled_labels(small):
    found = checked(small, 3.0, {"d_loss": 1.9}, real_first=False, **KNOWN)
    assert "worse than chance" in found["discriminator_diverged"]
    assert checked(small, 3.0, {"d_loss": 1.0}, **KNOWN) == {}
    found = checked(small, 0.1, {"d_loss": 1.40}, epochs=4, turn=True, **KNOWN)
    assert "Of late that went from " in found["discriminator_at_chance"]


def test_logits_whose_loss_nobody_told(small):
    found = checked(small, 1e3, {"d_loss": 0.0, "g_loss": 16.1181})
    assert "from_logits=True" in found["loss_clipped"]
    found = checked(small, 1e3, {"d_loss": 0.001, "g_loss": 12.0})
    assert found.keys() == {"discriminator_saturated"}
    for logs in ({}, {"d_loss": -40.0}, {"d_loss": 0.7}):  # another loss's
        assert checked(small, 1e3, logs) == {}


def test_a_generator_whose_gradient_has_underflowed(small):
    found = checked(small, 1e4, {"g_loss": 1e-30}, nudge=False)
    assert "Check the sign of the generator's loss" in found["generator_frozen"]
    wired = checked(small, 0.1, {"g_loss": 0.7}, nudge=False)
    assert "variables reach an optimizer" in wired["generator_frozen"]


def test_value_range_mismatch_stops_a_run(small):
    gan = make_gan()
    monitor = watch(gan, (small + 1.0) / 2.0, stop_on="all")
    assert names(monitor) == ["value_range_mismatch"]
    assert len(gan.history.epoch) == 1
    assert int(gan.images_seen.numpy()) <= 16  # one batch


def dense_generator(activation, shape=IMAGE):
    dense = layers.Dense(int(np.prod(shape)), activation=activation)
    stack = [keras.Input((LATENT,)), dense, layers.Reshape(shape)]
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


@pytest.mark.parametrize(("activation", "low"), [("sigmoid", 0.0), ("tanh", -1.0)])
def test_a_whole_data_set(activation, low):
    images = load("digits", split="train")
    judge = keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(1)])
    made = players(dense_generator(activation, (28, 28, 1)), judge)
    monitor = begin(HealthMonitor(images), made)
    assert monitor.real.shape == (256, 28, 28, 1)
    assert (monitor.real.min(), monitor.real.max()) == (low, 1.0)
    assert monitor.findings == []
    with pytest.raises(ValueError, match=r"as_range\('signed'\)"):
        begin(HealthMonitor(images), players(dense_generator("linear")))


@pytest.mark.parametrize(
    ("loss", "real_label", "frequency"),
    [("non_saturating", 0.9, 15), ("hinge", 1.0, "epoch"), ("wasserstein", 1.0, "epoch")],
)
def test_healthy_runs_raise_nothing(digits, loss, real_label, frequency):
    keras.utils.set_random_seed(0)
    generator = models.build_generator(width=8, batch_norm=True, momentum=0.9)
    judge = models.build_discriminator(8)
    gan = Adversarial(generator, judge, losses.get(loss, real_label), update="shared")
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


def make_generator(*first, bias=0.0, batch_norm=False):
    bias = keras.initializers.Constant(bias)
    stack = [
        keras.Input((LATENT,)),
        *first,
        layers.Dense(4 * 4 * 8),
        *([layers.BatchNormalization(momentum=0.9)] if batch_norm else []),
        layers.Reshape((4, 4, 8)),
        layers.Conv2DTranspose(16, 4, strides=2, padding="same"),
        layers.LeakyReLU(negative_slope=0.2),
        layers.Conv2D(1, 5, padding="same", activation="sigmoid", bias_initializer=bias),
    ]
    return keras.Sequential(stack)


def make_discriminator():
    stack = [
        keras.Input(IMAGE),
        layers.Conv2D(16, 4, strides=2, padding="same"),
        layers.LeakyReLU(negative_slope=0.2),
        layers.Flatten(),
        layers.Dense(1, activation="sigmoid"),
    ]
    return keras.Sequential(stack)


class GAN(keras.Model):
    """As on keras.io: probabilities, fakes labelled 1, and players that aren't told `training`."""

    def __init__(self, discriminator, generator, d_rate, g_rate, noise):
        super().__init__()
        self.discriminator, self.generator = discriminator, generator
        self.latent_dim, self.noise, self.seed = LATENT, noise, keras.random.SeedGenerator(1337)
        self.built = True  # else Keras warns that it can't build what has no `call`
        self.compile()
        self.d_optimizer, self.g_optimizer = adam(d_rate), adam(g_rate)

    def make(self, n):
        return self.generator(keras.random.normal((n, self.latent_dim), seed=self.seed))

    def train_step(self, real):
        import tensorflow as tf

        bce, n = keras.losses.BinaryCrossentropy(), ops.shape(real)[0]
        images = ops.concatenate([self.make(n), real], axis=0)
        labels = ops.concatenate([ops.ones((n, 1)), ops.zeros((n, 1))], axis=0)
        labels += self.noise * keras.random.uniform(ops.shape(labels), seed=self.seed)
        with tf.GradientTape() as tape:
            d_loss = bce(labels, self.discriminator(images))
        weights = self.discriminator.trainable_weights
        self.d_optimizer.apply(tape.gradient(d_loss, weights), weights)
        with tf.GradientTape() as tape:
            g_loss = bce(ops.zeros((n, 1)), self.discriminator(self.make(n)))
        weights = self.generator.trainable_weights
        self.g_optimizer.apply(tape.gradient(g_loss, weights), weights)
        return {"d_loss": d_loss, "g_loss": g_loss}


BLANK = "within a fake is 0.0000", "100.0% of the values lie at the ends of its range"
NORM = ("1 of the generator's 1 batch normalisations",)


@pytest.mark.parametrize(
    ("options", "rates", "steps", "check", "evidence"),
    [
        ({}, (2e-3, 4e-3, 0.05), 20, None, ()),
        # Nothing passes a sigmoid at its end: the kernels rest, but their wiring is not at fault.
        ({"bias": 200.0}, (1e-6, 4e-3, 0.05), 20, "generator_blank", BLANK),
        # Its labels are 1 for fakes: read as they come, the ranks would be 0 %.
        ({"bias": 1.0}, (2e-3, 1e-7, 0.0), 40, "discriminator_saturated", ("100.0% of 128 × 128",)),
        ({"batch_norm": True}, (2e-3, 1e-4, 0.05), 4, "batch_norm_not_updated", NORM),
    ],
)
def test_the_gan_of_keras_io(unit, options, rates, steps, check, evidence):
    keras.utils.set_random_seed(0)
    # Else the last two are found blank, as they begin.
    various = [layers.Rescaling(20.0)] if check and check != "generator_blank" else []
    gan = GAN(make_discriminator(), make_generator(*various, **options), *rates)
    monitor = watch(gan, unit, steps=steps, batch_size=32)
    assert names(monitor) == ([check] if check else [])
    assert all(text in monitor.findings[0].evidence for text in evidence)


@pytest.mark.backend
def test_a_schedule_that_ends_at_zero_is_no_fault_of_wiring(small):
    schedule = keras.optimizers.schedules.PolynomialDecay(1e-2, 4, end_learning_rate=0.0)
    gan = make_gan(g_optimizer=adam(schedule))
    monitor = HealthMonitor(small[:64], stop_on="all")
    fit(gan, small[:32], batch_size=8, epochs=7, callbacks=[monitor])
    (finding,) = monitor.findings
    # One epoch at work, three at rest.
    assert (finding.check, finding.epoch) == ("generator_frozen", 4)
    assert "0 of the generator's 2 kernels" in finding.evidence
    assert "learning rate is 0" in finding.evidence
    assert "schedule" in finding.remedy
    assert len(gan.history.epoch) == 7  # "all" lets it rest


class Subclass(keras.Model):
    """A generator or discriminator whose layers, latents and outputs Keras doesn't show."""

    def __init__(self, first, last):
        super().__init__()
        self.first, self.last = first, last

    def call(self, x):  # without `training`
        return self.last(self.first(x))


@pytest.mark.backend
def test_subclassed_players_with_a_latent_dim(unit):
    generator = Subclass(layers.Dense(64, activation="sigmoid"), layers.Reshape(IMAGE))
    discriminator = Subclass(layers.Flatten(), layers.Dense(1))
    model = players(generator, discriminator, latent_dim=LATENT)
    monitor = begin(HealthMonitor(unit[:64], warm_up=0, patience=1), model)
    assert not generator.built  # building it would draw weights out of turn
    monitor.on_epoch_end(0)
    assert set(names(monitor)) <= {"discriminator_at_chance", "generator_collapsed"}
    assert generator.built


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


def judge(units, more=0):
    inputs = keras.Input(IMAGE)
    x = layers.Flatten()(inputs)
    heads = [layers.Dense(units)(x), *[layers.Dense(1)(x)] * more]
    return keras.Model(inputs, heads if more else heads[0])


LATENTS = np.zeros((4, LATENT), "float32")


@pytest.mark.parametrize(
    ("parts", "real", "options", "message"),
    [
        ({}, (8, 16, 16, 1), {}, r"another shape, \(8, 8, 1\).*\(8, 16, 16, 1\)"),
        ({"discriminator": lambda: judge(10)}, None, {}, r"one an image.*shape \(2, 10\)"),
        ({"discriminator": lambda: judge(1, more=1)}, None, {}, r"player.outputs\[0\]"),
        ({"latent_dim": lambda: 3}, None, {}, "latent_dim=3"),
        ({}, None, {"latents": LATENTS[:, :3]}, r"generator fails.*\(2, 3\)"),
        ({}, None, {"latents": LATENTS + np.nan}, "finite"),
        ({}, None, {"from_logits": False}, "give probabilities"),
        ({}, None, {"stop_on": "blank"}, "generator_blank.*Received"),
    ],
)
def test_what_does_not_fit(parts, real, options, message):
    # Far from zero and of both signs, so that no linear discriminator seems to give probabilities.
    images = np.random.default_rng(0).uniform(-1.0, 1.0, real or (8, *IMAGE))
    model = players(**{name: make() for name, make in parts.items()})
    with pytest.raises(ValueError, match=message):
        begin(HealthMonitor(images, **options), model)


def test_a_model_without_networks_and_wrong_images(small):
    for real in (small[:8] + np.nan, "photos/"):
        with pytest.raises(ValueError, match="Received"):
            HealthMonitor(real)
    with pytest.raises(ValueError, match="add `self"):
        begin(HealthMonitor(small[:8]), keras.Sequential([build_generator()]))
    images = 255.0 * (small[:16] + 1)
    with pytest.raises(ValueError, match=r"127.5 - 1.*\[0, 510\]"):
        fit(make_gan(), images, callbacks=[HealthMonitor(images)])


def test_roc_area():
    assert roc_area(np.array([2.0, 3.0]), np.array([1.0, 2.0])) == 3.5 / 4
    assert roc_area(np.zeros(3), np.zeros(5)) == 0.5
