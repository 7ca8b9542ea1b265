"""Each check of `HealthMonitor` on a run that is broken in that way, and on healthy ones."""

import json
import types

import keras
import numpy as np
import pytest
from helpers import IMAGE, LATENT, build_discriminator, build_generator, fit, make_gan, state
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


# -- broken runs ---------------------------------------------------------------------------------


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


def test_batch_norm_frozen_on_purpose_is_no_fault(small):
    gan = make_gan(batch_norm=True)
    (norm,) = [x for x in gan.generator.layers if isinstance(x, layers.BatchNormalization)]
    norm.trainable = False
    gan.compile(adam(1e-2), adam(1e-2))
    assert names(watch(gan, small)) == []


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


@pytest.mark.backend
def test_non_finite_loss_in_a_tensor(small):
    monitor = begin(HealthMonitor(small[:64]), players())
    monitor.on_epoch_end(0, {"d_loss": 1.3, "g_loss": ops.convert_to_tensor([1.0, 2.0])})
    assert names(monitor) == []
    monitor.on_epoch_end(1, {"d_loss": 1.3, "g_loss": ops.log(ops.convert_to_tensor(-1.0))})
    assert [str(f).split(":")[0] for f in monitor.findings] == ["non_finite_loss (epoch 2)"]
    assert "g_loss became nan" in monitor.findings[0].evidence


def test_generator_collapsed_to_one_picture(small):
    stack = [keras.Input((LATENT,)), layers.Rescaling(0.0, offset=1.0), *build_generator().layers]
    monitor = watch(make_gan(generator=keras.Sequential(stack)), small)
    assert names(monitor) == ["generator_collapsed"]
    assert "differs from the fake most like it by 0.0" in monitor.findings[0].evidence


def test_generator_collapsed_to_sixteen_pictures(small):
    signs = [layers.Rescaling(1e6), layers.Activation("tanh")]
    stack = [keras.Input((LATENT,)), *signs, *build_generator().layers]
    assert names(watch(make_gan(generator=keras.Sequential(stack)), small)) == [
        "generator_collapsed"
    ]


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


def test_discriminator_at_chance_on_images_that_the_generator_makes(small):
    # Wasserstein's chance value is 0, which nothing can be relative to: the ranks decide.
    gan = make_gan(loss="wasserstein", d_optimizer=adam(1e-3), g_optimizer=adam(1e-7))
    rng = np.random.default_rng(1)
    made = ops.convert_to_numpy(gan.generator(rng.normal(size=(1000, LATENT)).astype("float32")))
    monitor = HealthMonitor(made)
    fit(gan, made[:64], batch_size=16, epochs=5, callbacks=[monitor])
    assert names(monitor) == ["discriminator_at_chance"]
    assert "of 1000 × 1000 pairs (chance: 50%)" in monitor.findings[0].evidence


# -- value ranges --------------------------------------------------------------------------------


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
        ("tanh", 1.999, -0.9995, None),
        ("tanh", 1.2, -1.0, None),
        ("tanh", 1.0, 0.0, "0.0% of its values lie in the lower half"),
        ("tanh", 0.6, 0.0, "0.0% of its values lie in the lower half"),
        ("tanh", 1.0, -0.01, "0.0% of its values lie in the lower half"),  # a resize's overshoot
        ("tanh", 2.5, 0.0, "of its values lie outside"),
        ("sigmoid", 1.0, 0.0, None),
        ("sigmoid", 0.6, 0.0, None),
        ("sigmoid", 0.5, 0.5, None),
        ("sigmoid", 2.0, -1.0, "of its values lie outside"),
        ("sigmoid", 1.0 / 255.0, 0.0, "it covers 0.4% of that"),
        ("linear", 255.0, 0.0, None),
    ],
)
def test_value_ranges(digits, activation, scale, offset, evidence):
    real = digits[:64, 2:26:3, 2:26:3] * scale + offset
    monitor = begin(HealthMonitor(real), players(dense_generator(activation)))
    assert names(monitor) == ([] if evidence is None else ["value_range_mismatch"])
    assert all(evidence in finding.evidence for finding in monitor.findings)


# -- healthy runs --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "real_label", "frequency"),
    [
        ("non_saturating", 1.0, 15),
        ("non_saturating", 0.9, "epoch"),
        ("least_squares", 1.0, "epoch"),
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


def test_a_blank_phase_that_ends_is_waited_for(digits):
    """Without batch normalisation these players are blank for their first hundred steps."""
    keras.utils.set_random_seed(0)
    gan = Adversarial(
        models.build_generator(width=16), models.build_discriminator(16), update="shared"
    )
    gan.compile(*(keras.optimizers.Adam(1e-3, 0.5, 0.99) for _ in range(2)))
    by_epoch = HealthMonitor(digits[:256], stop_on="all")
    close = HealthMonitor(digits[:64], frequency=25, patience=1, warm_up=0)
    fit(gan, digits, batch_size=32, epochs=2, callbacks=[by_epoch, close])
    assert "generator_blank" in names(close)  # the phase is there,
    assert "generator_blank" not in close.get_state()["streaks"]  # it ends,
    assert by_epoch.findings == []  # and patience by epochs is enough
    assert len(gan.history.epoch) == 2


# -- the callback --------------------------------------------------------------------------------


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


def test_frequency_counts_across_epochs_and_executions(small):
    gan = make_gan(compile_options={"steps_per_execution": 2})
    monitor = watch(gan, small, epochs=6, frequency=6)  # longer than an epoch of 4
    assert monitor.get_state()["checks"] == 4
    assert monitor.get_state()["unchecked"] == 0


def test_stop_on(small):
    gan = make_gan(g_optimizer=keras.optimizers.SGD(0.0))
    monitor = watch(gan, small, epochs=8, stop_on=["generator_frozen"], patience=2)
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


def test_two_faces(small):
    monitor = begin(HealthMonitor(small[:64], warm_up=0, patience=1), players())
    assert repr(monitor) == "<HealthMonitor: nothing found>"
    assert "nothing found in 0 checks" in monitor._repr_html_()
    monitor.on_epoch_end(0, {"d_loss": float("nan")})
    monitor.on_epoch_end(1, {"d_loss": 1.0})  # the players never moved
    expected = ["non_finite_loss", "generator_frozen", "discriminator_frozen"]
    assert repr(monitor) == f"<HealthMonitor: {', '.join(expected)}>"
    table = monitor._repr_html_()
    for finding in monitor.findings:
        assert finding.check in table
        assert finding.remedy.replace("'", "&#x27;") in table
    assert "d_loss became nan" in table
    assert table.count("<tr>") == 4


@pytest.mark.parametrize(
    ("real", "options", "message"),
    [
        (np.zeros((1, 8, 8, 1)), {}, r"at least two images.*Received: shape \(1, 8, 8, 1\)"),
        (np.zeros((9, 8, 8)), {}, r"at least two images.*Received: shape \(9, 8, 8\)"),
        (np.full((2, 8, 8, 1), np.nan), {}, "without NaN"),
        (np.zeros((2, 8, 8, 1)), {"stop_on": ["blank"]}, r"names checks.*Received: \['blank'\]"),
        (np.zeros((2, 8, 8, 1)), {"frequency": 0}, "Received: frequency=0"),
        (np.zeros((2, 8, 8, 1)), {"frequency": "batch"}, "Received: frequency='batch'"),
        (np.zeros((2, 8, 8, 1)), {"loss": "bce"}, "Received: bce"),
    ],
)
def test_errors(real, options, message):
    with pytest.raises(ValueError, match=message):
        HealthMonitor(real, **options)


def test_errors_of_the_model(small):
    with pytest.raises(ValueError, match=r"`generator` and `discriminator`.*Received: Sequential"):
        begin(HealthMonitor(small[:2]), build_generator())
    label = keras.Input((1,))
    other = keras.Input((2,))
    image = layers.Reshape(IMAGE)(layers.Dense(64)(layers.Concatenate()([label, other])))
    conditional = keras.Model([label, other], image)
    with pytest.raises(ValueError, match=r"Pass `latents`.*Received: generator.input_shape=\["):
        begin(HealthMonitor(small[:2]), players(conditional))


def test_players_that_are_built_late(small):
    """A subclass or a Sequential without Input has no weights before its first call."""
    generator = keras.Sequential([layers.Dense(64), layers.Reshape(IMAGE)])
    latents = np.random.default_rng(0).normal(size=(64, LATENT)).astype("float32")
    monitor = HealthMonitor(small[:64], latents=latents, warm_up=0, patience=1)
    begin(monitor, players(generator))
    monitor.on_epoch_end(0)
    assert "generator_frozen" not in names(monitor)  # nothing to compare its weights with
    monitor.on_epoch_end(1)
    assert "0 of the generator's 1 kernels" in monitor.findings[-1].evidence


def test_roc_area():
    assert roc_area(np.array([2.0, 3.0]), np.array([1.0, 2.0])) == 3.5 / 4
    assert roc_area(np.zeros(3), np.zeros(5)) == 0.5
