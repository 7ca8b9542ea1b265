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
    start_python,
    state,
)
from keras import layers, ops

from ganlib.adversarial import UPDATES, Adversarial
from ganlib.augment import DiffAugment
from ganlib.content import ContentLoss
from ganlib.losses import AdversarialLoss, NonSaturating
from ganlib.models.layers import SpectralConv2D
from ganlib.models.outputs import looks_across_batch

BACKEND = keras.backend.backend()
EAGER = {"run_eagerly": True}  # one step costs less than a trace or a compilation
W = np.random.default_rng(3).normal(0.0, 0.3, IMAGE).astype("float32")

every_update = pytest.mark.parametrize("update", UPDATES)
sgd = keras.optimizers.SGD


def inputs(n):
    """`n` inputs of a conditional generator."""
    return np.random.default_rng(5).normal(size=(n, LATENT)).astype("float32")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class ByHand:
    """G(z) = A·z and D(x) = w·x + b under cross-entropy and gradient descent, in float64."""

    def __init__(self, a, w, b):
        self.a, self.w, self.b = (np.array(x, "float64") for x in (a, w, b))

    def descend_d(self, real, fake, rate=0.2):
        """D's gradient of softplus(-D(x)) + softplus(D(G(z))), means over the batch."""
        n = len(real)
        up, down = -sigmoid(-(real @ self.w + self.b)) / n, sigmoid(fake @ self.w + self.b) / n
        self.w -= rate * (real.T @ up + fake.T @ down)
        self.b -= rate * (up.sum() + down.sum())

    def g_gradient(self, z):
        """Of softplus(-D(A·z)), by A."""
        slope = -sigmoid(-(z @ self.a @ self.w + self.b)) / len(z)
        return z.T @ np.outer(slope, self.w)

    def step(self, update, real, z, d_steps=1):
        gradient = self.g_gradient(z)  # through the discriminator of before
        for _ in range(d_steps):
            self.descend_d(real.reshape(len(real), -1).astype("float64"), z @ self.a)
        if update != "joint":
            gradient = self.g_gradient(z)  # through the updated one
        self.a -= 0.5 * gradient


def build_linear_generator():
    """Latents to images A·z, with the same A each time."""
    stack = [keras.Input((LATENT,)), layers.Dense(64, use_bias=False), layers.Reshape(IMAGE)]
    model = keras.Sequential(stack, name="generator")
    model.set_weights([np.random.default_rng(6).normal(0, 0.3, (LATENT, 64))])
    return model


@pytest.mark.backend
@pytest.mark.parametrize(("update", "d_steps"), [*((u, 1) for u in UPDATES), ("alternating", 3)])
def test_five_steps_by_hand(update, d_steps):
    networks = {
        "generator": build_linear_generator(),
        "discriminator": build_linear_discriminator(W, 0.1),
    }
    with fixed_random():
        options = {"d_optimizer": sgd(0.2), "g_optimizer": sgd(0.5), "update": update}
        gan = make_gan(**networks, **options, d_steps=d_steps)
        latents = ops.convert_to_numpy(keras.random.normal((64, LATENT)))[:4].astype("float64")
        a = arrays(gan.generator.weights)[0]
        hand = ByHand(a, W.ravel(), 0.1)
        for step in range(5):
            fit(gan, images(4, step))
            hand.step(update, images(4, step), latents, d_steps)
    w, b = arrays(gan.discriminator.weights)
    assert gap(arrays(gan.generator.weights), [hand.a]) < 1e-5
    assert gap([w[:, 0], b], [hand.w, hand.b]) < 1e-5
    assert gap([a], [hand.a]) > 1e-2


def parity(folder, backends):
    """Five steps of each set-up in `parity.py`, on each backend: losses and weights by name."""
    paths = [folder / f"{i}.npz" for i in range(len(backends))]
    jobs = zip(paths, backends, strict=True)
    for process in [start_python(TESTS / "parity.py", p, backend=b) for p, b in jobs]:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    return [dict(np.load(path)) for path in paths]


def differences(a, b):
    return {k for k in a if k != "devices" and not gap([a[k]], [b[k]]) <= 1e-5}


@pytest.mark.skipif(len(installed("tensorflow", "jax", "torch")) < 2, reason="needs two backends")
def test_backends_agree(tmp_path):
    results = parity(tmp_path, installed("tensorflow", "jax", "torch"))
    for a, b in itertools.combinations(results, 2):
        assert differences(a, b) == set()


@pytest.mark.skipif(not installed("jax"), reason="needs JAX")
def test_two_devices_train_as_one(tmp_path, monkeypatch):
    (one,) = parity(tmp_path, ["jax"])
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    (two,) = parity(tmp_path, ["jax"])
    assert (one["devices"], two["devices"]) == (1, 2)
    assert one["images_seen"] == two["images_seen"] == 5 * 4  # of whole batches
    assert differences(one, two) == set()


class Counter(layers.Layer):
    """Passes its input on, and counts how many images came at a time."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def call(self, x):
        self.seen.append(x.shape[0])
        return x + 0.0


def judge(*parts):
    """A discriminator of those parts and a linear head."""
    return keras.Sequential([keras.Input(IMAGE), *parts, layers.Flatten(), layers.Dense(1)])


@pytest.mark.backend
@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (lambda: [layers.LayerNormalization(), layers.Dropout(0.5, seed=1)], False),
        (lambda: [SpectralConv2D(2, 3)], False),
        (lambda: [layers.SpectralNormalization(layers.Conv2D(2, 3))], False),
        (lambda: [keras.Sequential([SpectralConv2D(2, 3)])], False),
        # One's own layers may do anything, such as a minibatch standard deviation.
        (lambda: [Counter()], True),
        (lambda: [layers.Lambda(lambda x: x - ops.mean(x, axis=0))], True),
        (lambda: [layers.BatchNormalization()], True),
        (lambda: [keras.Sequential([layers.Conv2D(2, 3), layers.BatchNormalization()])], True),
    ],
)
def test_what_looks_across_the_batch(parts, expected):
    assert looks_across_batch(judge(*parts())) is expected


@pytest.mark.backend
@pytest.mark.parametrize(
    ("options", "one", "two"),  # images in each of D's passes in a step of 4
    [
        ({"d_steps": 2, "generator_batch": 6}, [8, 8, 6], [4, 4, 4, 4, 6]),
        ({"update": "shared"}, [8, 4], [4, 4, 4]),
        ({"update": "joint"}, [8], [4, 4]),
    ],
)
def test_passes_of_a_step(options, one, two):
    for parts, expected in (([], one), ([layers.BatchNormalization()], two)):
        counter = Counter()
        gan = make_gan(discriminator=judge(counter, *parts), compile_options=EAGER, **options)
        gan.one_pass = not parts  # the counter itself is an unknown layer
        counter.seen.clear()
        fit(gan, images(4))
        assert counter.seen == expected
        iterations = [int(optimizer.iterations) for optimizer in gan.optimizer.optimizers]
        assert iterations == [options.get("d_steps", 1), 1]


def make_stateful():
    """Has all that a file could lose: slots, a schedule, batch statistics, random states."""
    schedule = keras.optimizers.schedules.ExponentialDecay(5e-3, 2, 0.8)
    return make_gan(
        loss=NonSaturating(0.9),
        batch_norm=True,
        dropout=0.3,
        ema=0.9,
        instance_noise=0.2,
        r1=0.5,
        augment=DiffAugment("translation"),
        content=ContentLoss(0.5, "l2", value_range="signed"),
        update="shared",
        d_optimizer=keras.optimizers.Adam(schedule, beta_1=0.5),
        g_optimizer=keras.optimizers.RMSprop(1e-3),
    )


@pytest.mark.backend
def test_training_goes_on_exactly_from_a_file(tmp_path):
    data = {"data": inputs(10), "y": images(10), "epochs": 2}  # the last batch is ragged
    gan = make_stateful()
    before = arrays(gan.variables)
    fit(gan, **data)
    assert int(gan.images_seen) == 20
    after = zip(gan.variables, before, arrays(gan.variables), strict=True)
    assert [v.path for v, old, new in after if np.array_equal(old, new)] == []
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
@every_update
def test_one_pass_through_the_discriminator_is_two(update):
    def train(one_pass):
        gan = make_gan(update=update, r1=0.5, instance_noise=0.1)
        assert gan.one_pass  # no layer of it looks at the batch
        gan.one_pass = one_pass
        fit(gan, images(20), epochs=1)
        return state(gan)

    assert gap(train(True), train(False)) < 1e-5


@pytest.mark.backend
def test_average_evaluation_and_an_uncompiled_file(tmp_path):
    """The average is min(ema, (1 + t) / (10 + t)) of the paper; it makes the samples."""
    gan = make_gan(batch_norm=True, ema=0.3, compile_options=EAGER)
    expected = arrays(gan.generator.weights)
    for t in range(1, 6):  # warm up until t = 4, the constant decay from there
        fit(gan, images(4))
        decay = min(0.3, (1 + t) / (10 + t))
        current = arrays(gan.generator.weights)
        expected = [decay * a + (1 - decay) * w for a, w in zip(expected, current, strict=True)]
        assert gap(expected, arrays(gan.average.weights)) < 1e-6
    assert gap(expected, current) > 1e-3
    before = arrays(gan.weights + gan.optimizer.variables)
    logs = gan.evaluate(images(10), batch_size=4, verbose=0, return_dict=True)
    assert set(logs) == {"d_loss", "g_loss", "d_accuracy_real", "d_accuracy_fake", "loss"}
    assert gap(before, arrays(gan.weights + gan.optimizer.variables)) == 0.0
    samples = gan.predict_on_batch(inputs(3))
    np.testing.assert_allclose(samples, gan.average.predict_on_batch(inputs(3)), atol=1e-6)
    other = Adversarial(gan.generator, gan.discriminator, "hinge")
    other.save(tmp_path / "gan.keras")
    loaded = keras.models.load_model(tmp_path / "gan.keras")
    assert not loaded.compiled
    np.testing.assert_array_equal(*(m.predict_on_batch(inputs(3)) for m in (other, loaded)))
    if BACKEND == "tensorflow":
        import tensorflow as tf

        gan.export(tmp_path / "gan", verbose=False)
        exported = tf.saved_model.load(tmp_path / "gan")
        np.testing.assert_allclose(exported.serve(inputs(3)), samples, atol=1e-6)


@pytest.mark.backend
@pytest.mark.parametrize(
    ("loss", "bias", "expected"),  # accuracies on (real, fake)
    [
        (NonSaturating(0.9), 0.0, (0.8, 1)),
        (NonSaturating(0.9), 1.1, (1, 0)),
        ("least_squares", -0.4, (0.8, 1)),  # its boundary is half way between 0 and 1
        ("least_squares", -0.6, (0, 1)),
        ("wasserstein", 100.0, (1, 1)),  # a critic's zero means nothing: between the means
    ],
)
def test_accuracy_against_the_losses_boundary(loss, bias, expected):
    """Logits are `bias` + 1 on white images and `bias` - 1 on black ones, as the generator's."""
    generator = build_generator()
    for weights in generator.weights[2:]:  # the last layer's
        weights.assign(np.full(weights.shape, 0.0 if len(weights.shape) > 1 else -8.0))
    discriminator = build_linear_discriminator(np.full(IMAGE, 1 / 64), bias)
    networks = {"generator": generator, "discriminator": discriminator}
    data = np.ones((10, *IMAGE), "float32")
    data[8:] = -1.0 if bias < 1 else 1.0  # a batch of two, which counts as two
    gan = make_gan(**networks, loss=loss, compile_options=EAGER)
    logs = gan.evaluate(data, batch_size=4, verbose=0, return_dict=True)
    assert (logs["d_accuracy_real"], logs["d_accuracy_fake"]) == pytest.approx(expected)


@pytest.mark.backend
def test_instance_noise():
    generator = build_generator()
    generator.set_weights([np.zeros(w.shape) for w in generator.weights])
    discriminator = build_discriminator(probe=True)
    noise = {"instance_noise": 0.5, "instance_noise_steps": 4, "g_optimizer": sgd(0.0)}
    networks = {"generator": generator, "discriminator": discriminator}
    gan = make_gan(**networks, **noise, compile_options=EAGER)
    probe = discriminator.get_layer("probe")
    black = np.zeros((16, *IMAGE), "float32")  # so the probe sees the noise alone
    for done in range(1, 6):  # the probe's last look comes after the discriminator's step
        fit(gan, black, batch_size=16)
        expected = 0.5 * max(0.0, 1.0 - done / 4)
        assert probe.read()[2] == pytest.approx(expected, rel=0.1, abs=0.0)


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
        ({"gradient_penalty": 10.0}, lambda w: 10 * (w - 1) ** 2, lambda w: 20 * (w - 1) / w),
    ],
)
def test_penalties_of_a_linear_discriminator(update, options, value, slope):
    discriminator = build_linear_discriminator(W)
    options = {**options, "update": update, "d_optimizer": sgd(0.01), "compile_options": EAGER}
    gan = make_gan(discriminator=discriminator, loss=Silent(), **options)
    norm = float(np.linalg.norm(W))
    assert fit(gan, images(4))["d_penalty"] == pytest.approx([value(norm)], rel=1e-5)
    moved = discriminator.get_weights()[0].reshape(IMAGE)
    np.testing.assert_allclose(moved, (1.0 - 0.01 * slope(norm)) * W, rtol=1e-5)


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


@pytest.mark.backend
@every_update
def test_augmentation_in_the_step(update):
    def run(augment):
        discriminator = build_discriminator(probe=True)
        options = {"update": update, "r1": 1.0, "compile_options": EAGER, "augment": augment}
        gan = make_gan(discriminator=discriminator, **options)
        penalty = fit(gan, images(4))["d_penalty"][0]
        moved = gap(arrays(build_generator().weights), arrays(gan.generator.weights))
        return discriminator.get_layer("probe").read()[2], moved, penalty

    assert run(lambda images, seeds: 0.0 * images)[:2] == (0, 0)  # no gradient comes through
    assert run(DiffAugment())[1] > 1e-3
    # Where the discriminator is flat, far from 0, its gradient is none: of the changed images.
    assert run(lambda images, seeds: images)[2] > 1e-3 > run(lambda images, seeds: images + 1e3)[2]


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
    logs = fit(gan, z, y=x)
    assert logs["g_content"] == pytest.approx([content], rel=1e-5)
    assert logs["g_loss"] == pytest.approx([0.25 * adversarial + content], rel=1e-4)
    moved = arrays(gan.generator.weights)[0]
    np.testing.assert_allclose(moved, a - 0.1 * z.T @ slope, rtol=1e-5, atol=1e-6)


@pytest.mark.backend
def test_labels_are_left_aside():
    first, second = (make_gan(compile_options=EAGER) for _ in range(2))
    fit(first, [images(4)])  # a list of one input
    fit(second, images(4), y=np.eye(4, 3, dtype="float32"))
    assert gap(state(first), state(second)) == 0.0


class Subclass(keras.Model):
    def call(self, x):
        return ops.mean(x, axis=(1, 2))


def called_once():
    model = Subclass()
    model(images(1))
    return model


def made(discriminator):
    return Adversarial(build_generator(), discriminator)


def resting(name):
    gan = made(build_discriminator())
    getattr(gan, name).trainable = False
    return gan


@pytest.mark.backend
@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda gan, o: made(keras.Sequential([judge(), layers.Softmax()])), "logits.*0 to 1"),
        (lambda gan, o: made(keras.Sequential([judge(), layers.Dense(10)])), r"\(None, 10\)"),
        (lambda gan, o: made(keras.Sequential([layers.Dense(1)])), "must be built"),
        (lambda gan, o: made(called_once()), "wrap a subclassed one: keras.Model"),
        (lambda gan, o: make_gan(update="both"), "Received: update='both'"),
        (lambda gan, o: make_gan(update="joint", d_steps=2), "Received: update='joint'"),
        (lambda gan, o: make_gan(ema=1.0), r"`ema` must lie in \[0, 1\)"),
        (lambda gan, o: gan.compile(o, o), "must be two objects.*one Adam for both"),
        (lambda gan, o: gan.compile(loss="mse"), "`loss` to Adversarial"),
        (lambda gan, o: resting("discriminator").compile(), "discriminator.trainable = True"),
        (lambda gan, o: fit(gan, {"image": images(4)}), "take the images alone.*Received: dict"),
        (lambda gan, o: fit(gan, [images(4), images(4)]), "a pair .*Received: "),
        (lambda gan, o: fit(gan, images(4)[..., 0]), "add a missing axis of channels"),
        (lambda gan, o: fit(gan, images(4), sample_weight=np.ones(4)), "leave `sample_weight`"),
        (lambda gan, o: fit(gan, images(4), class_weight={0: 2.0}), "leave `sample_weight`"),
        (lambda gan, o: fit(make_gan(content=ContentLoss()), images(4)), "needs pairs"),
    ],
)
def test_what_is_refused(action, message):
    gan = make_gan(compile_options=EAGER)
    with pytest.raises(ValueError, match=message):
        action(gan, keras.optimizers.Adam())
