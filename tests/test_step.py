"""The adversarial step, the same on every backend: who moves, by how much, and what is refused."""

import itertools

import keras
import numpy as np
import pytest
from helpers import (
    IMAGE,
    LATENT,
    TESTS,
    arrays,
    build_discriminator,
    build_generator,
    build_linear_discriminator,
    fit,
    fixed_random,
    gap,
    images,
    installed,
    make_gan,
    run_python,
    start_python,
    state,
)
from keras import layers, ops

from ganlib.adversarial import UPDATES, Adversarial
from ganlib.augment import DiffAugment
from ganlib.content import ContentLoss
from ganlib.losses import AdversarialLoss, LeastSquares, NonSaturating
from ganlib.models.layers import SpectralConv2D
from ganlib.models.outputs import looks_across_batch

BACKEND = keras.backend.backend()
EAGER = {"run_eagerly": True}  # one step costs less than a trace or a compilation
W = np.random.default_rng(3).normal(0.0, 0.3, IMAGE).astype("float32")

every_update = pytest.mark.parametrize("update", UPDATES)


def sgd(rate):
    return keras.optimizers.SGD(rate)


def inputs(n, seed=5):
    """`n` inputs of a conditional generator."""
    return np.random.default_rng(seed).normal(size=(n, LATENT)).astype("float32")


# -- the step by hand ----------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class ByHand:
    """G(z) = A·z and D(x) = w·x + b under cross-entropy and gradient descent, in float64."""

    def __init__(self, a, w, b, rates, latents):
        self.a, self.w, self.b = (np.array(x, "float64") for x in (a, w, b))
        self.d_rate, self.g_rate = rates
        self.latents = latents.astype("float64")

    def descend_d(self, real, fake):
        """D's gradient of softplus(-D(x)) + softplus(D(G(z))), means over the batch."""
        n = len(real)
        up, down = -sigmoid(-(real @ self.w + self.b)) / n, sigmoid(fake @ self.w + self.b) / n
        self.w -= self.d_rate * (real.T @ up + fake.T @ down)
        self.b -= self.d_rate * (up.sum() + down.sum())

    def g_gradient(self, z):
        """Of softplus(-D(A·z)), by A."""
        slope = -sigmoid(-(z @ self.a @ self.w + self.b)) / len(z)
        return z.T @ np.outer(slope, self.w)

    def step(self, update, real, d_steps=1):
        z = self.latents[: len(real)]
        real = real.reshape(len(real), -1).astype("float64")
        gradient = self.g_gradient(z)  # through the discriminator of before
        for _ in range(d_steps):
            self.descend_d(real, z @ self.a)
        if update != "joint":
            gradient = self.g_gradient(z)  # through the updated one
        self.a -= self.g_rate * gradient


def build_linear_generator():
    """Latents to images A·z, with the same A each time."""
    stack = [keras.Input((LATENT,)), layers.Dense(64, use_bias=False), layers.Reshape(IMAGE)]
    model = keras.Sequential(stack, name="generator")
    model.set_weights([np.random.default_rng(6).normal(0, 0.3, (LATENT, 64))])
    return model


@pytest.mark.backend
@pytest.mark.parametrize(
    ("update", "d_steps"), [("alternating", 1), ("alternating", 3), ("shared", 1), ("joint", 1)]
)
def test_five_steps_by_hand(update, d_steps):
    with fixed_random():
        gan = make_gan(
            generator=build_linear_generator(),
            discriminator=build_linear_discriminator(W, 0.1),
            update=update,
            d_steps=d_steps,
            d_optimizer=sgd(0.2),
            g_optimizer=sgd(0.5),
        )
        latents = ops.convert_to_numpy(keras.random.normal((64, LATENT)))
        a = arrays(gan.generator.weights)[0]
        hand = ByHand(a, W.ravel(), 0.1, (0.2, 0.5), latents)
        for step in range(5):
            fit(gan, images(4, step))
            hand.step(update, images(4, step), d_steps)
    w, b = arrays(gan.discriminator.weights)
    assert gap(arrays(gan.generator.weights), [hand.a]) < 1e-5
    assert gap([w[:, 0], b], [hand.w, hand.b]) < 1e-5
    assert gap([a], [hand.a]) > 1e-2


@pytest.mark.backend
@every_update
def test_each_network_moves_by_its_own_loss_alone(update):
    def one_step(d_rate, g_rate):
        gan = make_gan(
            update=update, d_optimizer=sgd(d_rate), g_optimizer=sgd(g_rate), compile_options=EAGER
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


@pytest.mark.skipif(len(installed("tensorflow", "jax", "torch")) < 2, reason="needs two backends")
def test_backends_agree(tmp_path):
    """Five steps of each set-up in `parity.py`: the same losses and weights."""
    backends = installed("tensorflow", "jax", "torch")
    script = TESTS / "parity.py"
    running = [start_python(script, tmp_path / f"{b}.npz", backend=b) for b in backends]
    for process in running:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    found = [dict(np.load(tmp_path / f"{backend}.npz")) for backend in backends]
    for values in found:
        del values["devices"]
    for a, b in itertools.combinations(found, 2):
        assert a.keys() == b.keys()
        assert {k: gap([a[k]], [b[k]]) for k in a if not gap([a[k]], [b[k]]) <= 1e-5} == {}


# -- one pass or two -----------------------------------------------------------------------------


class Counter(layers.Layer):
    """Passes its input on, and counts how many images came at a time."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seen = []

    def call(self, x):
        self.seen.append(x.shape[0])
        return x + 0.0


class MinibatchDeviation(layers.Layer):
    """As in progressive GANs: each image sees how much its batch varies."""

    def call(self, x):
        deviation = ops.mean(ops.std(x, axis=0)) + 0.0 * x[:, :, :, :1]
        return ops.concatenate([x, deviation], axis=-1)


class Statistics(layers.Layer):
    """Keeps a moving mean of its own."""

    def build(self, shape):
        self.mean = self.add_weight(initializer="zeros", trainable=False)

    def call(self, x):
        self.mean.assign(0.9 * self.mean + 0.1 * ops.mean(x))
        return x - self.mean


def judge(*parts):
    """A discriminator of those parts and a linear head."""
    return keras.Sequential([keras.Input(IMAGE), *parts, layers.Flatten(), layers.Dense(1)])


def graph(operation):
    x = keras.Input(IMAGE)
    return keras.Model(x, layers.Dense(1)(layers.Flatten()(operation(x))))


def zero_head():
    model = judge(MinibatchDeviation())
    model.layers[-1].kernel.assign(0.0 * model.layers[-1].kernel)
    return model


@pytest.mark.backend
@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (build_discriminator, False),
        (lambda: judge(layers.LayerNormalization(), layers.Dropout(0.5)), False),
        (lambda: judge(SpectralConv2D(2, 3)), False),
        (lambda: judge(layers.SpectralNormalization(layers.Conv2D(2, 3))), False),
        (lambda: judge(Counter()), False),
        (lambda: graph(ops.tanh), False),
        (lambda: judge(layers.BatchNormalization()), True),
        (lambda: judge(keras.Sequential([layers.Conv2D(2, 3), layers.BatchNormalization()])), True),
        (lambda: judge(Statistics()), True),
        (lambda: judge(MinibatchDeviation()), True),
        (zero_head, True),  # it can't be told
        (lambda: judge(layers.Lambda(lambda x: x - ops.mean(x, axis=0))), True),
        (lambda: graph(lambda x: x - ops.mean(x, axis=0, keepdims=True)), True),
    ],
)
def test_what_looks_across_the_batch(build, expected):
    assert looks_across_batch(build()) is expected


@pytest.mark.backend
@pytest.mark.parametrize(
    ("options", "one", "two"),  # images in each of D's passes in a step of 4
    [
        ({"update": "alternating"}, [8, 4], [4, 4, 4]),
        ({"d_steps": 2, "generator_batch": 6}, [8, 8, 6], [4, 4, 4, 4, 6]),
        ({"update": "shared"}, [8, 4], [4, 4, 4]),
        ({"update": "joint"}, [8], [4, 4]),
    ],
)
def test_passes_of_a_step(options, one, two):
    for parts, expected in (([], one), ([layers.BatchNormalization()], two)):
        counter = Counter()
        gan = make_gan(discriminator=judge(counter, *parts), compile_options=EAGER, **options)
        counter.seen.clear()
        fit(gan, images(4))
        assert counter.seen == expected
        iterations = [int(optimizer.iterations) for optimizer in gan.optimizer.optimizers]
        assert iterations == [options.get("d_steps", 1), 1]
        assert int(gan.images_seen) == 4


@pytest.mark.backend
@pytest.mark.parametrize(
    "options",
    [
        {"d_steps": 2, "loss": "non_saturating", "instance_noise": 0.1},
        {"loss": "wasserstein", "gradient_penalty": 1.0},
        {"update": "shared", "augment": DiffAugment(), "r1": 1.0},
        {"update": "joint", "loss": "least_squares"},
    ],
)
def test_one_pass_is_two_up_to_rounding(options):
    found = []
    for one_pass in (True, False):
        # Not Adam, which blows up the rounding of a gradient that is zero: WGAN's last bias.
        gan = make_gan(d_optimizer=sgd(0.1), g_optimizer=sgd(0.1), **options)
        assert gan.one_pass
        gan.one_pass = one_pass
        logs = [fit(gan, images(6, seed), batch_size=6) for seed in range(5)]
        losses = [np.array([log[key][0] for log in logs]) for key in ("d_loss", "g_loss")]
        found.append(losses + arrays(gan.weights))
    assert gap(*found) < 1e-5


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
    # All state moves: weights and batch statistics, the average, the random states.
    after = zip(gan.variables, before, arrays(gan.variables), strict=True)
    assert [v.path for v, old, new in after if np.array_equal(old, new)] == []
    untrained = build_generator(batch_norm=True).predict(inputs(64), verbose=0)
    target = images(14).mean()
    learnt = gan.predict(inputs(64), verbose=0)
    assert abs(learnt.mean() - target) < 0.7 * abs(untrained.mean() - target)


@pytest.mark.backend
def test_evaluate_and_predict_change_no_weights(trained):
    gan, _, history = trained
    before = arrays(gan.weights + gan.optimizer.variables)
    logs = gan.evaluate(images(10), batch_size=4, verbose=0, return_dict=True)
    assert set(logs) == set(history)
    samples = gan.predict(inputs(5), verbose=0)
    np.testing.assert_allclose(samples, ops.convert_to_numpy(gan.average(inputs(5))), atol=1e-6)
    assert np.max(np.abs(samples - ops.convert_to_numpy(gan.generator(inputs(5))))) > 1e-3
    assert gap(before, arrays(gan.weights + gan.optimizer.variables)) == 0.0
    assert not {id(v) for v in gan.trainable_variables} & {id(v) for v in gan.average.variables}


@pytest.mark.backend
def test_average_is_the_papers():
    """min(ema, (1 + t) / (10 + t)), from the initial weights, after each step."""
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
def test_execution_modes_agree():
    def run(options):
        with fixed_random():  # TensorFlow draws other numbers under XLA
            gan = make_gan(compile_options=options, ema=0.5)
            history = fit(gan, images(12))
        return [np.array(history[name]) for name in sorted(history)] + state(gan)

    modes = [EAGER]
    if BACKEND != "torch":  # there Keras refuses several steps
        modes += [{"jit_compile": True, "steps_per_execution": 2}]  # of three steps: one is left
    for options in modes:
        assert gap(run({}), run(options)) < 1e-5, options


@pytest.mark.backend
def test_mixed_precision():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        gan = make_gan(gradient_penalty=1.0, r1=1.0, instance_noise=0.1, ema=0.9)
    finally:
        keras.config.set_dtype_policy(policy)
    assert gan.generator.compute_dtype == gan.discriminator.compute_dtype == "bfloat16"
    history = fit(gan, images(4))
    assert {v.dtype for v in gan.weights} == {"float32", "int32"}
    for name in ("d_loss", "g_loss", "d_penalty"):
        value = np.float32(history[name][0])
        # bfloat16 keeps 8 bits of a float32's 24: a loss computed in it would end in zeros.
        assert np.isfinite(value)
        assert value.view(np.uint32) & 0xFFFF, name


@pytest.mark.skipif("jax" not in installed("jax"), reason="needs JAX")
def test_two_devices_train_as_one(tmp_path, monkeypatch):
    values = []
    for devices in (1, 2):
        monkeypatch.setenv("XLA_FLAGS", f"--xla_force_host_platform_device_count={devices}")
        run_python(TESTS / "parity.py", tmp_path / f"{devices}.npz", backend="jax")
        values.append(dict(np.load(tmp_path / f"{devices}.npz")))
        assert values[-1].pop("devices") == devices
    assert values[0]["images_seen"] == values[1]["images_seen"] == 5 * 4  # of whole batches
    assert {k for k in values[0] if not gap([values[0][k]], [values[1][k]]) <= 1e-5} == set()


# -- accuracy, noise, penalties ------------------------------------------------------------------


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
        (LeastSquares(0.8), -0.5, (1, 1)),  # its boundary is half way between 0 and 0.8
        (LeastSquares(0.8), -0.7, (0, 1)),
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


class Silent(AdversarialLoss):
    """Asks for nothing, which leaves the penalties alone."""

    def real(self, logits):
        return 0.0 * logits

    fake = generator = real


@pytest.mark.backend
@every_update
@pytest.mark.parametrize(
    ("options", "value", "slope"),  # of D(x) = w·x, by |w|: the penalty, and its gradient over w
    [
        ({"r1": 3.0}, lambda w: 1.5 * w**2, lambda w: 3.0),
        (
            {"gradient_penalty": 10.0},
            lambda w: 10.0 * (w - 1) ** 2,
            lambda w: 20.0 * (w - 1) / w,
        ),
    ],
)
def test_penalties_of_a_linear_discriminator(update, options, value, slope):
    discriminator = build_linear_discriminator(W)
    gan = make_gan(
        discriminator=discriminator,
        loss=Silent(),
        update=update,
        d_optimizer=sgd(0.01),
        compile_options=EAGER,
        **options,
    )
    norm = float(np.linalg.norm(W))
    assert fit(gan, images(4))["d_penalty"] == pytest.approx([value(norm)], rel=1e-5)
    moved = discriminator.get_weights()[0].reshape(IMAGE)
    np.testing.assert_allclose(moved, (1.0 - 0.01 * slope(norm)) * W, rtol=1e-5)


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
    logs = gan.evaluate(x, verbose=0, return_dict=True)
    assert logs["d_penalty"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.backend
def test_penalties_take_batch_statistics_as_given():
    """D(x) = (w·x - μ)/σ with moving μ and σ: R1's gradient is γw/σ², with none through σ(w)."""
    norm = layers.BatchNormalization(momentum=0.0, center=False, scale=False)
    stack = [keras.Input(IMAGE), layers.Flatten(), layers.Dense(1, use_bias=False), norm]
    discriminator = keras.Sequential(stack)
    discriminator.layers[1].set_weights([W.reshape(-1, 1)])
    options = {"update": "joint", "r1": 3.0, "d_optimizer": sgd(0.05), "compile_options": EAGER}
    fit(make_gan(discriminator=discriminator, loss=Silent(), **options), images(4))
    moved, _, variance = discriminator.get_weights()
    expected = (1.0 - 0.05 * 3.0 / (variance + 1e-3)) * W
    np.testing.assert_allclose(moved.reshape(IMAGE), expected, rtol=1e-4, atol=1e-6)


def test_wasserstein_brings_its_penalty():
    asked = [make_gan(loss="wasserstein"), make_gan(loss="wasserstein", gradient_penalty=0.0)]
    assert [gan.options["gradient_penalty"] for gan in asked] == [10.0, 0.0]


# -- augmentation --------------------------------------------------------------------------------


class Shade:
    """Scales and shifts by plain numbers."""

    def __init__(self, scale=1.0, shift=0.0):
        self.scale, self.shift = scale, shift

    def __call__(self, images, seed_generator):
        return self.scale * images + self.shift


@pytest.mark.backend
@every_update
def test_augmentation_in_the_step(update):
    def run(augment):
        discriminator = build_discriminator(probe=True)
        options = {"update": update, "r1": 1.0, "compile_options": EAGER}
        gan = make_gan(discriminator=discriminator, augment=augment, **options)
        penalty = fit(gan, images(4))["d_penalty"][0]
        trained = discriminator.get_layer("probe").read()[2]
        gan.evaluate(images(4), verbose=0)
        moved = gap(arrays(build_generator().weights), arrays(gan.generator.weights))
        return trained, discriminator.get_layer("probe").read()[2], penalty, moved

    trained, evaluated, _, moved = run(Shade(0.0))
    assert trained == moved == 0.0 < evaluated  # only in training, and no gradient comes through
    assert run(DiffAugment())[3] > 1e-3
    # Where the discriminator is flat, far from 0, its gradient is none: of the changed images.
    assert run(Shade(1.0))[2] > 1e-3 > run(Shade(1.0, 1e3))[2]


# -- pairs ---------------------------------------------------------------------------------------


@pytest.mark.backend
@every_update
def test_pairs_by_hand(update):
    """Loss and gradient of λ·mean(-w·Az) + c·mean((Az - x)²), in float64."""
    gan = make_gan(
        generator=build_linear_generator(),
        discriminator=build_linear_discriminator(W),
        d_optimizer=sgd(0.0),
        g_optimizer=sgd(0.1),
        loss="wasserstein",
        gradient_penalty=0.0,
        content=ContentLoss(3.0, "l2"),
        adversarial_weight=0.25,
        update=update,
        compile_options=EAGER,
    )
    a, w = arrays(gan.generator.weights)[0], W.ravel().astype("float64")
    z, x = inputs(4), images(4)
    made, target = z @ a, x.reshape(4, 64).astype("float64")
    adversarial, content = -(made @ w).mean(), 3.0 * ((made - target) ** 2).mean()
    slope = -0.25 * w[None] / 4 + 3.0 * 2 * (made - target) / (4 * 64)
    before = arrays([gan.random.state])
    logs = fit(gan, z, y=x)
    assert logs["g_content"] == pytest.approx([content], rel=1e-5)
    assert logs["g_loss"] == pytest.approx([0.25 * adversarial + content], rel=1e-4)
    moved = arrays(gan.generator.weights)[0]
    np.testing.assert_allclose(moved, a - 0.1 * z.T @ slope, rtol=1e-5, atol=1e-6)
    assert gap(before, arrays([gan.random.state])) == 0.0  # no latents were drawn


@pytest.mark.backend
@pytest.mark.parametrize("labels", [np.arange(4), np.eye(4, 3, dtype="float32")])
def test_labels_are_left_aside(labels):
    first, second = (make_gan(compile_options=EAGER) for _ in range(2))
    fit(first, [images(4)])  # a list of one input
    fit(second, images(4), y=labels)
    assert gap(state(first), state(second)) == 0.0


# -- files ---------------------------------------------------------------------------------------


def make_stateful(**options):
    """Has all that a file could lose: slots, a schedule, batch statistics, random states."""
    schedule = keras.optimizers.schedules.ExponentialDecay(1e-2, 2, 0.8)
    return make_gan(
        loss=NonSaturating(0.9),
        batch_norm=True,
        dropout=0.3,
        ema=0.9,
        instance_noise=0.2,
        instance_noise_steps=10,
        r1=0.5,
        augment=DiffAugment("translation"),
        content=ContentLoss(0.5, "l2", value_range="signed"),
        update="shared",
        d_optimizer=keras.optimizers.Adam(schedule, beta_1=0.5),
        g_optimizer=keras.optimizers.RMSprop(1e-3),
        **options,
    )


@pytest.mark.backend
def test_training_goes_on_exactly_from_a_file(tmp_path):
    data = {"data": inputs(8), "y": images(8), "epochs": 2}
    gan = make_stateful()
    fit(gan, **data)
    gan.save(tmp_path / "gan.keras")
    gan.save_weights(tmp_path / "gan.weights.h5")
    saved = state(gan)
    loaded = keras.models.load_model(tmp_path / "gan.keras", safe_mode=True)
    fresh = make_stateful()
    assert gap(state(fresh), saved) > 0.1
    fresh.load_weights(tmp_path / "gan.weights.h5")
    assert gap(state(loaded), saved) == gap(state(fresh), saved) == 0.0
    for name in ("options", "adversarial_loss", "content", "augment", "name", "one_pass"):
        assert getattr(loaded, name) == getattr(gan, name)
    for model in (gan, loaded, fresh):
        fit(model, **data)
    assert gap(state(gan), saved) > 0.01
    assert gap(state(loaded), state(gan)) == gap(state(fresh), state(gan)) == 0.0


@pytest.mark.backend
def test_an_uncompiled_model_comes_back(tmp_path):
    gan = Adversarial(build_generator(), build_discriminator(), "hinge")
    gan.save(tmp_path / "gan.keras")
    loaded = keras.models.load_model(tmp_path / "gan.keras")
    assert not loaded.compiled
    np.testing.assert_array_equal(*(m.predict_on_batch(inputs(3)) for m in (gan, loaded)))


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a SavedModel")
def test_export_is_the_sampler(tmp_path):
    import tensorflow as tf

    gan = make_gan(ema=0.9, compile_options=EAGER)
    fit(gan, images(8))
    gan.export(tmp_path / "gan", verbose=False)
    exported = tf.saved_model.load(tmp_path / "gan")
    np.testing.assert_allclose(
        exported.serve(inputs(3)), gan.predict_on_batch(inputs(3)), atol=1e-6
    )


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "bce"}, "`loss` must be .*Received: bce"),
        ({"update": "both"}, "`update` must be one of .*Received: update='both'"),
        ({"d_steps": 0}, "`d_steps` must be at least 1. Received: d_steps=0"),
        ({"update": "joint", "d_steps": 2}, "only mean something.*Received: update='joint'"),
        ({"generator_batch": 0}, "`generator_batch` must be at least 1.*generator_batch=0"),
        ({"r1": -1.0}, "`r1` must not be negative. Received: r1=-1.0"),
        ({"adversarial_weight": -0.1}, "`adversarial_weight` must not be negative"),
        ({"ema": 1.0}, r"`ema` must lie in \[0, 1\). Received: ema=1.0"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        make_gan(**options)


class Subclass(keras.Model):
    def __init__(self):
        super().__init__()
        self.flatten, self.dense = layers.Flatten(), layers.Dense(1)

    def call(self, x):
        return self.dense(self.flatten(x))


def called_once():
    model = Subclass()
    model(images(1))
    return model


@pytest.mark.backend
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: judge(layers.Activation("linear"), layers.Reshape((64,))), None),
        (lambda: graph(lambda x: x), None),
        (lambda: keras.Sequential([keras.Input(IMAGE), layers.Conv2D(1, 3)]), None),  # patches
        (lambda: keras.Sequential([judge(), layers.Activation("sigmoid")]), "logits.*from 0 to 1"),
        (lambda: keras.Sequential([judge(), layers.Dense(1, "tanh")]), "logits.*from -1 to 1"),
        (lambda: keras.Sequential([judge(), layers.ReLU()]), "logits.*from 0 to inf"),
        (lambda: keras.Sequential([judge(), layers.Dense(2), layers.Softmax()]), "logits"),
        (lambda: keras.Sequential([judge(), layers.Dense(10)]), r"logits.*\(None, 10\)"),
        (lambda: keras.Sequential([layers.Dense(1)]), "must be built"),
        (called_once, r"wrap a subclassed one: keras.Model\(inputs, network\(inputs\)\)"),
        (lambda: keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten()]), "input shape"),
    ],
)
def test_discriminators(build, message):
    if message is None:
        fit(make_gan(discriminator=build(), compile_options=EAGER), images(4))
        return
    with pytest.raises(ValueError, match=message):
        Adversarial(build_generator(), build())


def resting(name):
    gan = Adversarial(build_generator(), build_discriminator())
    getattr(gan, name).trainable = False
    return gan


@pytest.mark.parametrize(
    ("compile", "message"),
    [
        (lambda gan, o: gan.compile(o, o), "must be two objects.*one Adam for both"),
        (lambda gan, o: gan.compile(loss="mse"), "`loss` is not an argument here"),
        (lambda gan, o: gan.compile(optimizer=o), "`optimizer` is not an argument here"),
        (lambda gan, o: resting("discriminator").compile(), "discriminator.trainable = True"),
        (lambda gan, o: resting("generator").compile(), "generator.trainable = True"),
    ],
)
def test_what_compile_refuses(compile, message):
    with pytest.raises(ValueError, match=message):
        compile(Adversarial(build_generator(), build_discriminator()), keras.optimizers.Adam())


@pytest.mark.backend
@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({}, {"data": {"image": images(4)}}, r"take the images alone.*dict of \['image'\]"),
        ({}, {"data": [images(4), images(4)]}, "a pair .*Received: a .* of 2"),
        ({}, {"data": images(4)[..., 0]}, r"add the axis of channels.*\(None, 8, 8\)|\(4, 8, 8\)"),
        ({}, {"data": images(4), "sample_weight": np.ones(4)}, "weighs all images alike"),
        ({}, {"data": images(4), "class_weight": {0: 2.0}}, "weighs all images alike"),
        ({"content": ContentLoss()}, {"data": images(4)}, "A content loss needs pairs"),
        ({"content": lambda fake, real: 0.0}, {"data": images(4)}, "A content loss needs pairs"),
        (
            {"generator_batch": 3},
            {"data": inputs(4), "y": images(4)},
            "leave `generator_batch` out",
        ),
    ],
)
def test_what_fit_refuses(options, arguments, message):
    with pytest.raises(ValueError, match=message):
        fit(make_gan(compile_options=EAGER, **options), **arguments)
