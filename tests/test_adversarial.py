import keras
import numpy as np
import pytest
from helpers import (
    IMAGE,
    LATENT,
    arrays,
    build_discriminator,
    build_generator,
    build_linear_discriminator,
    fit,
    fixed_random,
    gap,
    images,
    make_gan,
    state,
)
from keras import layers, ops

from ganlib.adversarial import UPDATES, Adversarial
from ganlib.losses import AdversarialLoss, LeastSquares, NonSaturating

BACKEND = keras.backend.backend()
EAGER = {"run_eagerly": True}  # one step costs less than a trace or a compilation

every_update = pytest.mark.parametrize("update", UPDATES)


def sgd(rate):
    return keras.optimizers.SGD(rate)


# -- who moves -----------------------------------------------------------------------------------


@pytest.mark.backend
@every_update
def test_each_player_moves_by_its_own_loss_alone(update):
    def one_step(d_rate, g_rate):
        gan = make_gan(
            update=update,
            d_optimizer=sgd(d_rate),
            g_optimizer=sgd(g_rate),
            compile_options=EAGER,
        )
        fit(gan, images(4))
        return arrays(gan.discriminator.weights), arrays(gan.generator.weights)

    start = arrays(build_discriminator().weights), arrays(build_generator().weights)
    d_alone, g_alone, both = one_step(0.1, 0.0), one_step(0.0, 0.1), one_step(0.1, 0.1)
    assert gap(d_alone[0], start[0]) > 1e-3
    assert gap(d_alone[1], start[1]) == 0.0
    assert gap(g_alone[0], start[0]) == 0.0
    assert gap(g_alone[1], start[1]) > 1e-5
    # The discriminator goes first: the generator's step can't change where it lands …
    assert gap(both[0], d_alone[0]) == 0.0
    # … while the generator goes through the updated discriminator, except in a joint update.
    changed = gap(both[1], g_alone[1])
    assert changed == 0.0 if update == "joint" else changed > 1e-6


@pytest.mark.backend
@pytest.mark.parametrize(
    ("options", "passes"),  # training passes of (generator, discriminator) in a step
    [
        ({"update": "alternating"}, (2, 3)),
        ({"update": "alternating", "d_steps": 3, "generator_batch": 6}, (4, 7)),
        ({"update": "shared"}, (1, 3)),
        ({"update": "joint"}, (1, 2)),
    ],
)
def test_work_of_a_step(options, passes):
    gan = make_gan(probe=True, compile_options=EAGER, **options)
    fit(gan, images(8), batch_size=4)
    g_passes, g_batch, _ = gan.generator.get_layer("probe").read()
    d_passes, _, _ = gan.discriminator.get_layer("probe").read()
    assert (g_passes, d_passes) == (2 * passes[0], 2 * passes[1])
    assert g_batch == options.get("generator_batch", 4)  # the generator's own step comes last
    iterations = [int(o.iterations) for o in gan.optimizer.optimizers]
    assert iterations == [2 * options.get("d_steps", 1), 2]
    assert int(gan.optimizer.iterations) == 2
    assert int(gan.images_seen) == 8


# -- as any Keras model --------------------------------------------------------------------------


@pytest.fixture(scope="module", params=UPDATES)
def trained(request):
    """A trained GAN with all that has state, and how it got there."""
    options = {"d_steps": 2, "generator_batch": 3} if request.param == "alternating" else {}
    gan = make_gan(
        update=request.param,
        loss=NonSaturating(0.9),
        batch_norm=True,
        dropout=0.2,
        ema=0.9,
        instance_noise=0.1,
        d_optimizer=keras.optimizers.Adam(5e-3, beta_1=0.5),
        g_optimizer=keras.optimizers.Adam(1e-2, beta_1=0.5),
        **options,
    )
    before = arrays(gan.variables)
    history = fit(gan, images(14), epochs=40)  # 14 images in batches of 4: the last one is ragged
    return gan, before, history


@pytest.mark.backend
def test_fit(trained):
    gan, before, history = trained
    assert set(history) == {"d_loss", "g_loss", "d_accuracy_real", "d_accuracy_fake", "loss"}
    assert all(len(values) == 40 and np.isfinite(values).all() for values in history.values())
    assert int(gan.images_seen) == 40 * 14
    assert int(gan.optimizer.generator.iterations) == 40 * 4
    assert int(gan.optimizer.discriminator.iterations) == 40 * 4 * gan.options["d_steps"]
    # All state moves: both players' weights and batch statistics, the average, the random states.
    after = zip(gan.variables, before, arrays(gan.variables), strict=True)
    assert [v.path for v, old, new in after if np.array_equal(old, new)] == []
    # Labels are hard in the accuracies: rounded predictions would never equal a label of 0.9.
    assert 0.3 < np.mean(history["d_accuracy_real"]) <= 1.0


@pytest.mark.backend
def test_the_generator_learns(trained):
    gan, _, _ = trained
    latents = np.random.default_rng(1).normal(size=(64, LATENT)).astype("float32")
    untrained = build_generator(batch_norm=True).predict(latents, verbose=0)
    learnt = gan.predict(latents, verbose=0)
    target = images(14).mean()
    assert abs(learnt.mean() - target) < 0.7 * abs(untrained.mean() - target)


@pytest.mark.backend
def test_evaluate_and_predict_change_no_weights(trained):
    gan, _, _ = trained
    before = arrays(gan.weights + gan.optimizer.variables)
    logs = gan.evaluate(images(10), batch_size=4, verbose=0, return_dict=True)
    assert set(logs) == {"d_loss", "g_loss", "d_accuracy_real", "d_accuracy_fake", "loss"}
    assert np.isfinite(list(logs.values())).all()
    latents = np.ones((5, LATENT), "float32")
    assert gan.predict(latents, verbose=0).shape == (5, *IMAGE)
    assert gap(before, arrays(gan.weights + gan.optimizer.variables)) == 0.0


@pytest.mark.backend
def test_samples_come_from_the_average(trained):
    gan, _, _ = trained
    latents = np.ones((5, LATENT), "float32")
    assert gan.sampler is gan.average
    samples = gan.predict(latents, verbose=0)
    np.testing.assert_allclose(samples, ops.convert_to_numpy(gan.average(latents)), atol=1e-6)
    assert np.max(np.abs(samples - ops.convert_to_numpy(gan.generator(latents)))) > 1e-3
    trainable = {id(v) for v in gan.trainable_variables}
    assert not trainable & {id(v) for v in gan.average.variables}


@pytest.mark.backend
def test_average_is_the_papers():
    """Against NumPy: min(ema, (1 + t) / (10 + t)), from the initial weights, after each step."""
    gan = make_gan(batch_norm=True, ema=0.3, compile_options=EAGER)
    expected = arrays(gan.generator.weights)
    for t in range(1, 6):  # warm up until t = 4, the constant decay from there
        fit(gan, images(4))
        decay = min(0.3, (1 + t) / (10 + t))
        current = arrays(gan.generator.weights)
        expected = [decay * a + (1 - decay) * w for a, w in zip(expected, current, strict=True)]
        assert gap(expected, arrays(gan.average.weights)) < 1e-6
    assert gap(expected, current) > 1e-3


@pytest.mark.backend
def test_without_an_average_the_generator_samples():
    gan = make_gan(batch_norm=True, compile_options=EAGER)
    fit(gan, images(4))
    latents = np.ones((5, LATENT), "float32")
    assert gan.average is None
    assert gan.sampler is gan.generator
    expected = ops.convert_to_numpy(gan.generator(latents, training=False))
    np.testing.assert_allclose(gan.predict(latents, verbose=0), expected, atol=1e-6)


def execution_modes():
    modes = [EAGER, {"jit_compile": False}]
    if (
        BACKEND != "torch"
    ):  # there, Keras refuses several steps, and jit_compile needs a C++ compiler
        modes += [{"jit_compile": True}, {"jit_compile": True, "steps_per_execution": 3}]
        modes += [{"steps_per_execution": 2}]  # of three steps: the last execution is cut short
    return modes


@pytest.mark.backend
def test_execution_modes_agree():
    def run(options):
        with fixed_random():  # TensorFlow draws other numbers under XLA
            gan = make_gan(compile_options=options, ema=0.5)
            history = fit(gan, images(12))
        return [np.array(history[name]) for name in sorted(history)] + state(gan)

    expected = run({})
    for options in execution_modes():
        assert gap(expected, run(options)) < 1e-5, options


@pytest.mark.backend
@pytest.mark.skipif(BACKEND != "torch", reason="a limit of Keras on torch")
def test_torch_takes_one_step_at_a_time():
    with pytest.raises(ValueError, match="steps_per_execution"):
        fit(make_gan(compile_options={"steps_per_execution": 2}), images(8))


@pytest.mark.backend
def test_mixed_precision():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        gan = make_gan(batch_norm=True, gradient_penalty=1.0, r1=1.0, instance_noise=0.1, ema=0.9)
    finally:
        keras.config.set_dtype_policy(policy)
    assert gan.generator.compute_dtype == gan.discriminator.compute_dtype == "bfloat16"
    history = fit(gan, images(4))
    assert {v.dtype for v in gan.weights} == {"float32", "int32"}
    for name in ("d_loss", "g_loss", "d_penalty"):
        value = np.float32(history[name][0])
        assert np.isfinite(value)
        # bfloat16 keeps 8 bits of a float32's 24: a loss computed in it would end in zeros.
        assert value.view(np.uint32) & 0xFFFF, name


@pytest.mark.backend
def test_labels_are_ignored():
    first, second = (make_gan(compile_options=EAGER) for _ in range(2))
    fit(first, images(4))
    second.fit(images(4), np.arange(4), batch_size=4, shuffle=False, verbose=0)
    assert gap(state(first), state(second)) == 0.0


# -- accuracy and noise --------------------------------------------------------------------------


def make_scorer(bias, **options):
    """A GAN whose logits are `bias` + 1 on white images and about `bias` - 1 on its own."""
    generator = build_generator()
    for weights in generator.weights[2:]:  # the last layer's: images are black whatever the latents
        weights.assign(np.full(weights.shape, 0.0 if len(weights.shape) > 1 else -8.0))
    discriminator = build_linear_discriminator(np.full(IMAGE, 1 / 64), bias)
    return make_gan(
        generator=generator, discriminator=discriminator, compile_options=EAGER, **options
    )


@pytest.mark.backend
@pytest.mark.parametrize(
    ("loss", "bias", "expected"),  # accuracies on (real, fake)
    [
        (NonSaturating(0.9), 0.0, (1, 1)),
        (NonSaturating(0.9), 1.1, (1, 0)),
        (NonSaturating(0.9), -1.1, (0, 1)),
        (LeastSquares(0.8), -0.5, (1, 1)),  # its boundary is half way between 0 and 0.8
        (LeastSquares(0.8), -0.7, (0, 1)),
        (LeastSquares(0.8), 1.5, (1, 0)),
        ("wasserstein", 100.0, (1, 1)),  # a critic's zero means nothing: half way between the means
    ],
)
def test_accuracy_against_the_losses_boundary(loss, bias, expected):
    gan = make_scorer(bias, loss=loss)
    logs = gan.evaluate(np.ones((4, *IMAGE)), verbose=0, return_dict=True)
    assert (logs["d_accuracy_real"], logs["d_accuracy_fake"]) == expected


@pytest.mark.backend
def test_logs_weigh_batches_by_their_size():
    data = np.ones((10, *IMAGE), "float32")
    data[8:] = -1.0  # the last batch of two is the one misjudged
    logs = make_scorer(0.0).evaluate(data, batch_size=4, verbose=0, return_dict=True)
    assert logs["d_accuracy_real"] == pytest.approx(0.8)


@pytest.mark.backend
@pytest.mark.parametrize("steps", [0, 4])
def test_instance_noise(steps):
    generator = build_generator()
    generator.set_weights([np.zeros(w.shape) for w in generator.weights])
    gan = make_gan(
        generator=generator,
        discriminator=build_discriminator(probe=True),
        instance_noise=0.5,
        instance_noise_steps=steps,
        d_optimizer=sgd(0.1),
        g_optimizer=sgd(0.0),
        compile_options=EAGER,
    )
    probe = gan.discriminator.get_layer("probe")
    black = np.zeros((16, *IMAGE), "float32")  # so the probe sees the noise alone
    for done in range(1, 6):  # the probe's last look comes after the discriminator's step
        fit(gan, black, batch_size=16)
        expected = 0.5 * max(0.0, 1.0 - done / steps) if steps else 0.5
        assert probe.read()[2] == pytest.approx(expected, rel=0.1, abs=0.0)
    gan.evaluate(black, verbose=0)
    assert probe.read()[2] == 0.0  # none outside training


# -- penalties -----------------------------------------------------------------------------------

WEIGHTS = np.random.default_rng(3).normal(0.0, 0.3, IMAGE).astype("float32")
NORM = float(np.linalg.norm(WEIGHTS))


class Silent(AdversarialLoss):
    """Asks for nothing, which leaves the penalties alone."""

    def real(self, logits):
        return 0.0 * logits

    fake = generator = real


@pytest.mark.backend
@every_update
def test_r1_on_a_linear_discriminator(update):
    """D(x) = w·x has R1 = γ/2·|w|², whose gradient is γw."""
    discriminator = build_linear_discriminator(WEIGHTS)
    gan = make_gan(
        discriminator=discriminator,
        loss=Silent(),
        update=update,
        r1=3.0,
        d_optimizer=sgd(0.05),
        compile_options=EAGER,
    )
    logs = gan.evaluate(images(4), verbose=0, return_dict=True)
    assert logs["d_penalty"] == pytest.approx(1.5 * NORM**2, rel=1e-5)
    history = fit(gan, images(4))
    assert history["d_penalty"] == pytest.approx([1.5 * NORM**2], rel=1e-5)
    moved = discriminator.get_weights()[0].reshape(IMAGE)
    np.testing.assert_allclose(moved, (1.0 - 0.05 * 3.0) * WEIGHTS, rtol=1e-5)


@pytest.mark.backend
@every_update
def test_gradient_penalty_on_a_linear_discriminator(update):
    """D(x) = w·x has the penalty λ(|w| - 1)², whose gradient is 2λ(|w| - 1)·w/|w|."""
    discriminator = build_linear_discriminator(WEIGHTS)
    gan = make_gan(
        discriminator=discriminator,
        loss=Silent(),
        update=update,
        gradient_penalty=10.0,
        d_optimizer=sgd(0.01),
        compile_options=EAGER,
    )
    logs = gan.evaluate(images(4), verbose=0, return_dict=True)
    assert logs["d_penalty"] == pytest.approx(10.0 * (NORM - 1.0) ** 2, rel=1e-5)
    fit(gan, images(4))
    moved = discriminator.get_weights()[0].reshape(IMAGE)
    shrunk = 1.0 - 0.01 * 2.0 * 10.0 * (NORM - 1.0) / NORM
    np.testing.assert_allclose(moved, shrunk * WEIGHTS, rtol=1e-5)


@pytest.mark.backend
def test_r1_on_a_curved_discriminator():
    """Against central differences; batch statistics and dropout take no part."""
    discriminator = build_discriminator(batch_norm=True, dropout=0.5)
    gan = make_gan(discriminator=discriminator, loss="hinge", r1=2.0, compile_options=EAGER)
    fit(gan, images(8), batch_size=8)  # moves the statistics away from the initial 0 and 1
    x, h = images(1, seed=9), 0.01
    steps = h * np.eye(64, dtype="float32").reshape(64, *IMAGE)
    up, down = (discriminator.predict_on_batch(x + s).astype("float64") for s in (steps, -steps))
    expected = np.sum(((up - down) / (2 * h)) ** 2)
    for _ in range(2):
        logs = gan.evaluate(x, verbose=0, return_dict=True)
        assert logs["d_penalty"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.backend
def test_penalties_take_batch_statistics_as_given():
    """D(x) = (w·x - μ)/σ with moving μ and σ: R1's gradient is γw/σ², with none through σ(w)."""
    stack = [
        keras.Input(IMAGE),
        layers.Flatten(),
        layers.Dense(1, use_bias=False),
        layers.BatchNormalization(momentum=0.0, center=False, scale=False),
    ]
    discriminator = keras.Sequential(stack)
    discriminator.layers[1].set_weights([WEIGHTS.reshape(-1, 1)])
    gan = make_gan(
        discriminator=discriminator,
        loss=Silent(),
        update="joint",  # the last passes before the penalty are the last of the step
        r1=3.0,
        d_optimizer=sgd(0.05),
        compile_options=EAGER,
    )
    fit(gan, images(4))
    moved, _, variance = discriminator.get_weights()
    expected = (1.0 - 0.05 * 3.0 / (variance + 1e-3)) * WEIGHTS
    np.testing.assert_allclose(moved.reshape(IMAGE), expected, rtol=1e-4, atol=1e-6)


def test_wasserstein_brings_its_penalty():
    assert make_gan(loss="wasserstein").options["gradient_penalty"] == 10.0
    assert make_gan(loss="wasserstein", gradient_penalty=0.0).options["gradient_penalty"] == 0.0
    assert make_gan(loss="hinge").options["gradient_penalty"] == 0.0


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "bce"}, "`loss` must be .*Received: bce"),
        ({"update": "both"}, "`update` must be one of .*Received: update='both'"),
        ({"d_steps": 0}, "`d_steps` must be at least 1. Received: d_steps=0"),
        ({"update": "joint", "d_steps": 2}, "only mean something.*Received: update='joint'"),
        ({"update": "shared", "generator_batch": 2}, "only mean something.*generator_batch=2"),
        ({"generator_batch": 0}, "`generator_batch` must be at least 1.*generator_batch=0"),
        ({"gradient_penalty": -1.0}, "`gradient_penalty` must not be negative"),
        ({"r1": -1.0}, "`r1` must not be negative. Received: r1=-1.0"),
        ({"instance_noise": -0.1}, "`instance_noise` must not be negative"),
        ({"instance_noise_steps": -1}, "`instance_noise_steps` must not be negative"),
        ({"ema": 1.0}, r"`ema` must lie in \[0, 1\). Received: ema=1.0"),
        ({"ema": -0.1}, r"`ema` must lie in \[0, 1\). Received: ema=-0.1"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        make_gan(**options)


def test_players_that_do_not_fit():
    wrong = keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(1)])
    with pytest.raises(ValueError, match=r"input shape. Received: .*8, 8, 1.*8, 8, 3"):
        Adversarial(build_generator(), wrong)


@pytest.mark.parametrize("name", ["generator", "discriminator"])
def test_players_must_be_built(name):
    players = {"generator": build_generator(), "discriminator": build_discriminator()}
    players[name] = keras.Sequential([layers.Dense(1)])
    with pytest.raises(ValueError, match=f"The {name} must be built"):
        Adversarial(**players)


@pytest.mark.parametrize("argument", ["loss", "optimizer"])
def test_compile_takes_neither_loss_nor_optimizer(argument):
    gan = Adversarial(build_generator(), build_discriminator())
    with pytest.raises(ValueError, match=f"`{argument}` is not an argument here.*Received"):
        gan.compile(**{argument: "adam"})
