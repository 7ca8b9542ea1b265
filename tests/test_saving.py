"""What a file brings back: everything that decides how training goes on."""

import pathlib
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
import workers
from helpers import (
    LATENT,
    TESTS,
    build_discriminator,
    build_generator,
    fit,
    gap,
    images,
    make_gan,
    run_python,
    state,
)

import ganlib
from ganlib.adversarial import Adversarial
from ganlib.losses import NonSaturating

BACKEND = keras.backend.backend()
EAGER = {"run_eagerly": True}


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
        d_optimizer=keras.optimizers.Adam(schedule, beta_1=0.5),
        g_optimizer=keras.optimizers.RMSprop(1e-3),
        **options,
    )


@pytest.mark.backend
def test_training_goes_on_exactly(tmp_path):
    data = images(8)
    gan = make_stateful()
    fit(gan, data, epochs=2)
    gan.save(tmp_path / "gan.keras")
    gan.save_weights(tmp_path / "gan.weights.h5")
    saved = state(gan)

    loaded = keras.models.load_model(tmp_path / "gan.keras", safe_mode=True)
    fresh = make_stateful()
    assert gap(state(fresh), saved) > 0.1
    fresh.load_weights(tmp_path / "gan.weights.h5")
    assert gap(state(loaded), saved) == gap(state(fresh), saved) == 0.0

    fit(gan, data, epochs=2)
    fit(loaded, data, epochs=2)
    fit(fresh, data, epochs=2)
    assert gap(state(gan), saved) > 0.01
    assert gap(state(loaded), state(gan)) == 0.0
    assert gap(state(fresh), state(gan)) == 0.0


@pytest.mark.backend
@pytest.mark.parametrize("lost", ["latents", "dropout", "slot", "iterations"])
def test_every_part_of_the_state_counts(lost):
    """The control of the test above: with one of them lost, training goes on differently."""
    twins = [make_stateful(compile_options=EAGER) for _ in range(2)]
    for gan in twins:
        fit(gan, images(4))
    gan = twins[1]
    dropout = next(x for x in gan.discriminator.layers if isinstance(x, keras.layers.Dropout))
    variable = {
        "latents": gan.random.state,
        "dropout": dropout.seed_generator.state,
        "slot": gan.optimizer.generator.variables[-1],
        "iterations": gan.optimizer.discriminator.iterations,
    }[lost]
    variable.assign(np.zeros(variable.shape))
    for gan in twins:
        fit(gan, images(4))
    weights = [[w.astype("float64") for w in gan.get_weights()] for gan in twins]
    assert gap(*weights) > 1e-7


@pytest.mark.backend
def test_configuration_comes_back(tmp_path):
    gan = make_stateful(compile_options={"run_eagerly": True, "steps_per_execution": 1})
    gan.save(tmp_path / "gan.keras")
    loaded = keras.models.load_model(tmp_path / "gan.keras")
    assert type(loaded) is Adversarial
    assert loaded.options == gan.options
    assert loaded.adversarial_loss == NonSaturating(0.9)
    assert loaded.run_eagerly
    assert loaded.name == gan.name
    for ours, theirs in zip(gan.optimizer.optimizers, loaded.optimizer.optimizers, strict=True):
        assert type(ours) is type(theirs)
        assert ours.get_config() == theirs.get_config()
    latents = np.ones((3, LATENT), "float32")
    np.testing.assert_array_equal(gan.predict_on_batch(latents), loaded.predict_on_batch(latents))


@pytest.mark.backend
def test_uncompiled_model(tmp_path):
    gan = Adversarial(build_generator(), build_discriminator(), "hinge")
    gan.save(tmp_path / "gan.keras")
    loaded = keras.models.load_model(tmp_path / "gan.keras")
    assert not loaded.compiled
    latents = np.ones((3, LATENT), "float32")
    np.testing.assert_array_equal(gan.predict_on_batch(latents), loaded.predict_on_batch(latents))


@pytest.mark.backend
def test_kill_and_resume(tmp_path):
    """`kill -9` in mid-epoch, a restart: the weights of an undisturbed run, bit for bit."""
    worker, backup, output = TESTS / "workers.py", tmp_path / "backup", tmp_path / "states.npz"
    run_python(worker, "killed", backup, backend=BACKEND, expect=-signal.SIGKILL)
    assert backup.is_dir()
    workers.resumed(backup, output)
    with np.load(output) as states:
        count = len(states.files) // 2
        assert count > 20
        for i in range(count):
            np.testing.assert_array_equal(states[f"a{i}"], states[f"b{i}"])


def test_loading_brings_all_that_a_saved_model_is_made_of():
    """In a fresh process, as from the command line: nothing else has imported these modules."""
    package = pathlib.Path(ganlib.__file__).parent
    holders = {
        ".".join(path.relative_to(package.parent).with_suffix("").parts)
        for path in package.rglob("*.py")
        if "register_keras_serializable" in path.read_text(encoding="utf-8")
    }
    assert "ganlib.likeness" in holders
    program = "import sys, ganlib.apply; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    wanted = holders - {"ganlib.experiment.fit"}  # whose metric takes part in training alone
    assert wanted <= set(run.stdout.split())
