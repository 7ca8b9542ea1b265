"""When a training should slow down or end; Keras' rules, as they go on after a kill.

Keras begins to count anew whenever `fit` begins. A resumed training would then wait longer than an
uninterrupted one, and come to another result.
"""

import math

import keras


class _Resumable(keras.callbacks.Callback):
    """Carries the counters of a Keras callback over a checkpoint."""

    counters = ()
    _restored = None

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)  # counts from zero
        if self._restored:
            vars(self).update(self._restored)

    def get_state(self):
        state = {name: getattr(self, name) for name in self.counters}
        return {name: None if x is None else float(x) for name, x in state.items()}

    def set_state(self, state):
        self._restored = state


class ReduceOnPlateau(_Resumable, keras.callbacks.ReduceLROnPlateau):
    """`keras.callbacks.ReduceLROnPlateau`, resumable; the logs get `learning_rate`."""

    counters = ("best", "cooldown_counter", "wait")


class StopOnPlateau(_Resumable, keras.callbacks.EarlyStopping):
    """`keras.callbacks.EarlyStopping`, resumable.

    It keeps no weights in memory, where a kill would lose them:
    `ganlib.callbacks.best.KeepBest` does, in a file.
    """

    counters = ("best", "best_epoch", "wait", "stopped_epoch")


class StopWhenLost(keras.callbacks.Callback):
    """Stops a training whose losses are not finite any more: nor will its weights ever be."""

    def on_epoch_end(self, epoch, logs=None):
        if not all(math.isfinite(logs.get(key, 0.0)) for key in ("loss", "val_loss")):
            self.model.stop_training = True
