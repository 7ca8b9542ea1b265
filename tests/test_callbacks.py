"""Keras' callbacks on `Adversarial`, as on any model."""

import csv

import keras
import numpy as np
import pytest
from helpers import fit, gap, images, make_gan, state

EAGER = {"run_eagerly": True}


def rates(gan):
    return [float(keras.ops.convert_to_numpy(o.learning_rate)) for o in gan.optimizer.optimizers]


def make_two_rates(**options):
    return make_gan(
        d_optimizer=keras.optimizers.Adam(4e-3),
        g_optimizer=keras.optimizers.Adam(1e-3),
        **options,
    )


@pytest.mark.backend
def test_one_fit_with_many(tmp_path):
    gan = make_two_rates(batch_norm=True)
    log, files = tmp_path / "log.csv", [tmp_path / "gan.keras", tmp_path / "gan.weights.h5"]
    callbacks = [
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2),
        keras.callbacks.ModelCheckpoint(files[0], monitor="val_d_loss", mode="min"),
        keras.callbacks.ModelCheckpoint(files[1], save_weights_only=True, save_freq=2),
        keras.callbacks.EarlyStopping(monitor="val_d_loss", mode="min", patience=10),
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.CSVLogger(log),
    ]
    history = fit(gan, images(8), epochs=3, validation_data=(images(4),), callbacks=callbacks)
    # Two time scales stay two, in training and in the log.
    assert rates(gan) == pytest.approx([4e-3 / 8, 1e-3 / 8])
    # Before Keras 3.15 the log has one column, which is the generator's.
    g_column = "learning_rate" if "learning_rate" in history else "learning_rate_generator"
    assert history[g_column] == pytest.approx([5e-4, 2.5e-4, 1.25e-4])
    if g_column == "learning_rate_generator":
        assert history["learning_rate_discriminator"] == pytest.approx([2e-3, 1e-3, 5e-4])
    with log.open() as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == {"epoch", *history}
    assert {"d_loss", "g_loss", "val_d_loss", "val_d_accuracy_real"} < set(history)
    for name, values in history.items():
        np.testing.assert_allclose([float(row[name]) for row in rows], values, rtol=1e-6)
    # Both were last written at the last step. Validation draws latents only after a batch's end.
    assert gap(state(keras.models.load_model(files[0])), state(gan)) == 0.0
    restored = make_two_rates(batch_norm=True)
    restored.load_weights(files[1])
    latents = restored.random.state
    pairs = zip(
        restored.variables + restored.optimizer.variables, state(restored), state(gan), strict=True
    )
    assert [v.path for v, a, b in pairs if v is not latents and not np.array_equal(a, b)] == []


@pytest.mark.backend
def test_plateau_and_early_stopping():
    """No change ever counts as an improvement here, so each acts as soon as it may."""
    gan = make_two_rates(compile_options=EAGER)
    callbacks = [
        keras.callbacks.ReduceLROnPlateau(
            "d_loss", mode="min", min_delta=1e9, patience=1, factor=0.1
        ),
        keras.callbacks.EarlyStopping("d_loss", mode="min", min_delta=1e9, patience=2),
    ]
    history = fit(gan, images(4), epochs=9, callbacks=callbacks)
    assert len(history["d_loss"]) == 3
    assert rates(gan) == pytest.approx([4e-5, 1e-5])


@pytest.mark.backend
def test_learning_rate_of_the_pair():
    """What callbacks of Keras before 3.15 set; the ratio of the two rates stays."""
    gan = make_two_rates()
    gan.optimizer.learning_rate = 5e-4
    assert float(gan.optimizer.learning_rate) == pytest.approx(5e-4)
    assert rates(gan) == pytest.approx([2e-3, 5e-4])


class Interrupt(keras.callbacks.Callback):
    """Fails in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.due = epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (self.due, 0):
            raise KeyboardInterrupt


@pytest.mark.backend
def test_backup_and_restore_is_exact(tmp_path):
    def run(*callbacks):
        gan = make_gan(batch_norm=True, dropout=0.3, ema=0.9, instance_noise=0.1)
        fit(gan, images(8), epochs=4, callbacks=list(callbacks))
        return state(gan)

    with pytest.raises(KeyboardInterrupt):
        run(keras.callbacks.BackupAndRestore(tmp_path / "backup"), Interrupt(epoch=2))
    resumed = run(keras.callbacks.BackupAndRestore(tmp_path / "backup"))
    assert gap(resumed, run()) == 0.0


@pytest.mark.backend
def test_terminate_on_nan():
    broken = images(16)
    broken[4:8] = np.nan
    gan = make_two_rates(compile_options=EAGER)
    history = fit(gan, broken, epochs=5, callbacks=[keras.callbacks.TerminateOnNaN()])
    assert int(gan.images_seen) == 8  # the second batch of the first epoch was the last
    assert np.isnan(history["loss"]).all()
