"""Pairs: the generator gets inputs in place of latents, and its images have a right answer."""

import keras
import numpy as np
import pytest
from helpers import (
    IMAGE,
    LATENT,
    arrays,
    build_generator,
    build_linear_discriminator,
    fit,
    gap,
    images,
    make_gan,
    state,
)
from keras import layers, ops

from ganlib.adversarial import UPDATES, Adversarial
from ganlib.content import ContentLoss
from ganlib.features.perceptual import FilterBank

BACKEND = keras.backend.backend()
EAGER = {"run_eagerly": True}
W = np.random.default_rng(0).normal(0, 0.2, 64)  # of the linear discriminator D(x) = w·x

every_update = pytest.mark.parametrize("update", UPDATES)


def inputs(n, seed=5):
    """`n` inputs of a conditional generator."""
    return np.random.default_rng(seed).normal(size=(n, LATENT)).astype("float32")


def sgd(rate):
    return keras.optimizers.SGD(rate)


def build_linear_generator():
    """Inputs to images A·z, with the same A each time."""
    model = keras.Sequential(
        [keras.Input((LATENT,)), layers.Dense(64, use_bias=False), layers.Reshape(IMAGE)],
        name="generator",
    )
    model.set_weights([np.random.default_rng(6).normal(0, 0.3, (LATENT, 64))])
    return model


def make_linear(content, rates=(0.0, 0.1), **options):
    return make_gan(
        generator=build_linear_generator(),
        discriminator=build_linear_discriminator(W),
        d_optimizer=sgd(rates[0]),
        g_optimizer=sgd(rates[1]),
        loss="wasserstein",  # of G: the mean of -D(A·z), whose gradient is a constant
        gradient_penalty=0.0,
        content=content,
        compile_options=EAGER,
        **options,
    )


def fit_pairs(gan, z, x, **kwargs):
    return fit(gan, z, y=x, **kwargs)


# -- the step ------------------------------------------------------------------------------------


@pytest.mark.backend
@every_update
def test_the_generators_loss_and_step_by_hand(update):
    """Loss and gradient of λ·mean(-w·Az) + c·mean((Az - x)²), in float64."""
    gan = make_linear(ContentLoss(3.0, "l2"), update=update, adversarial_weight=0.25)
    a = arrays(gan.generator.weights)[0]
    z, x = inputs(4), images(4)
    made, target = z @ a, x.reshape(4, 64).astype("float64")
    adversarial, content = -(made @ W).mean(), 3.0 * ((made - target) ** 2).mean()
    slope = -0.25 * W[None] / 4 + 3.0 * 2 * (made - target) / (4 * 64)
    logs = fit_pairs(gan, z, x)
    assert logs["g_content"] == pytest.approx([content], rel=1e-5)
    assert logs["g_loss"] == pytest.approx([0.25 * adversarial + content], rel=1e-4)
    assert logs["loss"] == pytest.approx([logs["d_loss"][0] + logs["g_loss"][0]], rel=1e-5)
    moved = arrays(gan.generator.weights)[0]
    np.testing.assert_allclose(moved, a - 0.1 * z.T @ slope, rtol=1e-5, atol=1e-6)


@pytest.mark.backend
def test_score_by_hand():
    gan = make_linear(ContentLoss(2.0, "l1"), adversarial_weight=0.5)
    z, x = inputs(6), images(6)
    made = z @ arrays(gan.generator.weights)[0]
    before = arrays(gan.weights + gan.optimizer.variables)
    logs = gan.evaluate(z, x, batch_size=6, verbose=0, return_dict=True)
    content = 2.0 * np.abs(made - x.reshape(6, 64)).mean()
    assert logs["g_content"] == pytest.approx(content, rel=1e-5)
    assert logs["g_loss"] == pytest.approx(-0.5 * (made @ W).mean() + content, rel=1e-4)
    assert gap(before, arrays(gan.weights + gan.optimizer.variables)) == 0.0


@every_update
def test_the_discriminator_knows_no_content(update):
    def one_step(**options):
        gan = make_gan(
            update=update,
            d_optimizer=sgd(0.1),
            g_optimizer=sgd(0.1),
            compile_options=EAGER,
            **options,
        )
        logs = fit_pairs(gan, inputs(4), images(4))
        return arrays(gan.discriminator.weights), arrays(gan.generator.weights), logs

    plain = one_step()
    tied = one_step(content=ContentLoss(5.0, "l2"), adversarial_weight=0.1)
    assert gap(plain[0], tied[0]) == 0.0
    assert plain[2]["d_loss"] == tied[2]["d_loss"]
    assert gap(plain[1], tied[1]) > 1e-3


@every_update
def test_without_an_adversary_it_is_supervised_training(update):
    gan = make_gan(
        update=update, content=ContentLoss(1.0, "l1"), adversarial_weight=0.0, compile_options=EAGER
    )
    supervised = build_generator()
    supervised.compile(keras.optimizers.Adam(1e-2, beta_1=0.5), "mae", run_eagerly=True)
    for step in range(2):
        z, x = inputs(4, step), images(4, step)
        logs = fit_pairs(gan, z, x)
        loss = fit(supervised, z, y=x)["loss"]
        assert logs["g_loss"] == logs["g_content"] == pytest.approx(loss, rel=1e-5)
        assert gap(arrays(gan.generator.weights), arrays(supervised.weights)) < 1e-5
    assert gap(arrays(supervised.weights), arrays(build_generator().weights)) > 1e-2


@every_update
def test_the_generator_gets_the_inputs_and_no_latents(update):
    gan = make_gan(update=update, probe=True, compile_options=EAGER)
    before = arrays([gan.random.state])
    z = 7.0 * inputs(4)
    fit_pairs(gan, z, images(4))
    _, batch, spread = gan.generator.get_layer("probe").read()
    assert batch == 4
    assert spread == pytest.approx(z.std(), rel=1e-5)
    assert gap(before, arrays([gan.random.state])) == 0.0
    assert int(gan.images_seen) == 4


def test_several_steps_of_the_discriminator_see_the_same_pairs():
    gan = make_gan(d_steps=3, probe=True, compile_options=EAGER)
    z = inputs(8)
    fit_pairs(gan, z, images(8))
    assert gan.generator.get_layer("probe").read()[0] == 2 * 4
    assert int(gan.optimizer.discriminator.iterations) == 6
    assert gan.generator.get_layer("probe").read()[2] == pytest.approx(z[4:].std(), rel=1e-5)


def test_pairs_compiled_and_eager_agree():
    def run(**options):
        gan = make_gan(
            update="shared",
            content=ContentLoss(1.0, "l2"),
            adversarial_weight=0.3,
            ema=0.9,
            compile_options=options,
        )
        logs = fit_pairs(gan, inputs(12), images(12))
        return [np.array(logs[key]) for key in sorted(logs)] + state(gan)

    assert gap(run(run_eagerly=True), run()) < 1e-5


def test_the_average_samples_and_is_scored():
    gan = make_linear(ContentLoss(1.0, "l2"), rates=(0.0, 0.5), ema=0.5)
    z, x = inputs(4), images(4)
    start = arrays(gan.generator.weights)[0]
    fit_pairs(gan, z, x)
    now = arrays(gan.generator.weights)[0]
    decay = 2 / 11  # (1 + t) / (10 + t) after a step
    average = decay * start + (1 - decay) * now
    np.testing.assert_allclose(arrays(gan.average.weights)[0], average, atol=1e-6)
    made = z @ average
    np.testing.assert_allclose(gan.predict(z, verbose=0).reshape(4, 64), made, atol=1e-5)
    logs = gan.evaluate(z, x, batch_size=4, verbose=0, return_dict=True)
    assert logs["g_content"] == pytest.approx(((made - x.reshape(4, 64)) ** 2).mean(), rel=1e-4)


def test_content_of_ones_own():
    seen = []

    def content(fake, real):
        seen.append((fake.shape, real.shape))
        return 2.0 * ops.mean(ops.abs(fake - real))

    ours, theirs = make_linear(content), make_linear(ContentLoss(2.0))
    for gan in (ours, theirs):
        fit_pairs(gan, inputs(4), images(4))
    assert seen == [((4, *IMAGE), (4, *IMAGE))]
    assert gap(arrays(ours.weights), arrays(theirs.weights)) == 0.0


def build_colour_players():
    generator = keras.Sequential(
        [keras.Input((16, 16, 3)), layers.Conv2D(3, 3, padding="same")], name="generator"
    )
    discriminator = keras.Sequential(
        [keras.Input((16, 16, 3)), layers.Flatten(), layers.Dense(1)], name="discriminator"
    )
    return generator, discriminator


@pytest.mark.backend
def test_features_train_the_generator_in_a_compiled_step():
    keras.utils.set_random_seed(0)
    generator, discriminator = build_colour_players()
    gan = make_gan(
        generator=generator,
        discriminator=discriminator,
        content=ContentLoss(0.0, perceptual=1.0, features=FilterBank(2)),
        adversarial_weight=0.0,
    )
    x = np.random.default_rng(1).uniform(0, 1, (4, 16, 16, 3)).astype("float32")
    kernel = np.array([1, 2, 1]) / 4
    blurred = x.copy()
    for axis in (1, 2):
        blurred = sum(
            k * np.roll(blurred, s, axis) for k, s in zip(kernel, (-1, 0, 1), strict=True)
        )
    contents = fit_pairs(gan, blurred.astype("float32"), x, epochs=10)["g_content"]
    assert contents[-1] < 0.7 * contents[0]
    # The networks of the loss are no part of the model.
    players = generator.weights + discriminator.weights
    assert {id(w) for w in gan.weights} == {id(w) for w in [gan.images_seen, *players]}


# -- what is refused, and what is not ------------------------------------------------------------


@pytest.mark.parametrize("labels", [np.arange(4), np.eye(4, 3, dtype="float32")])
def test_labels_are_ignored(labels):
    first, second = (make_gan(compile_options=EAGER) for _ in range(2))
    fit(first, images(4))
    fit(second, images(4), y=labels)
    assert gap(state(first), state(second)) == 0.0


@pytest.mark.backend
@pytest.mark.parametrize(
    ("options", "pairs", "message"),
    [
        ({"content": ContentLoss()}, False, r"A content loss needs pairs.*Received: images alone"),
        ({"generator_batch": 3}, True, r"leave `generator_batch` out. Received: .*=3"),
    ],
)
def test_refused_before_the_first_step(options, pairs, message):
    gan = make_gan(**options)
    before = state(gan)
    data = (inputs(4), images(4)) if pairs else (images(4),)
    with pytest.raises(ValueError, match=message):
        gan.fit(*data, batch_size=4, shuffle=False, verbose=0)
    if BACKEND != "jax":  # there Keras leaves a model without weights when the first step raises
        assert gap(before, state(gan)) == 0.0
    with pytest.raises(ValueError, match=message):
        make_gan(**options).evaluate(*data, batch_size=4, verbose=0)


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match="`adversarial_weight` must not be negative"):
        make_gan(adversarial_weight=-0.1)


def test_players_for_any_size_fit_those_for_one():
    any_size = keras.Sequential([keras.Input((None, None, 1)), layers.GlobalAveragePooling2D()])
    any_size.add(layers.Dense(1))
    Adversarial(build_generator(), any_size)
    three = keras.Sequential([keras.Input((None, None, 3)), layers.GlobalAveragePooling2D()])
    with pytest.raises(ValueError, match="must have the discriminator's input shape"):
        Adversarial(build_generator(), three)


# -- files ---------------------------------------------------------------------------------------


def make_stateful():
    return make_gan(
        batch_norm=True,
        dropout=0.3,
        ema=0.9,
        instance_noise=0.1,
        update="shared",
        content=ContentLoss(0.5, "l2", value_range="signed"),
        adversarial_weight=0.3,
    )


@pytest.mark.backend
def test_training_goes_on_exactly(tmp_path):
    z, x = inputs(8), images(8)
    gan = make_stateful()
    fit_pairs(gan, z, x, epochs=2)
    gan.save(tmp_path / "gan.keras")
    loaded = keras.models.load_model(tmp_path / "gan.keras", safe_mode=True)
    assert gap(state(loaded), state(gan)) == 0.0
    assert loaded.content == gan.content
    assert loaded.options == gan.options
    fit_pairs(gan, z, x, epochs=2)
    fit_pairs(loaded, z, x, epochs=2)
    assert gap(state(loaded), state(gan)) == 0.0


def test_content_with_features_comes_back(tmp_path):
    generator, discriminator = build_colour_players()
    content = ContentLoss(0.1, "l2", 2.0, FilterBank(2), "signed")
    gan = make_gan(generator=generator, discriminator=discriminator, content=content)
    gan.save(tmp_path / "gan.keras")
    loaded = keras.models.load_model(tmp_path / "gan.keras")
    assert loaded.content == content
    x = np.random.default_rng(1).uniform(-1, 1, (2, 16, 16, 3)).astype("float32")
    scores = [m.evaluate(x / 2, x, verbose=0, return_dict=True) for m in (gan, loaded)]
    assert scores[0] == scores[1]
    assert scores[0]["g_content"] > 0
