"""When a training should slow down or end, and what it costs; all of it goes on after a kill."""

import math
import time

import keras


class _Resumable(keras.callbacks.Callback):
    """Carries the counters of a Keras callback over a checkpoint: each `fit` counts anew."""

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

    It keeps no weights in memory, where a kill would lose them; `KeepBest` does, in a file.
    """

    counters = ("best", "best_epoch", "wait", "stopped_epoch")


class StopWhenLost(keras.callbacks.Callback):
    """Stops a training whose losses are not finite any more: nor will its weights ever be."""

    def on_epoch_end(self, epoch, logs=None):
        if not all(math.isfinite(logs.get(key, 0.0)) for key in ("loss", "val_loss")):
            self.model.stop_training = True


class Meter(keras.callbacks.Callback):
    """Adds up what the epochs cost, over interruptions, too; put it last.

    The logs get `processor_seconds`, which hardly depend on what else the machine does.

    Attributes:
        processor_seconds, seconds: float, of all threads of this process together; by the clock.
        memory: int, the most bytes of main memory that the process held after a step.
        device_memory: int, as of `device_memory`, on JAX since the process began; None on a CPU.
    """

    def __init__(self):
        super().__init__()
        self.processor_seconds = self.seconds = 0.0
        self.memory, self.device_memory = 0, None

    def on_train_begin(self, logs=None):
        device_memory(begin=True)

    def on_epoch_begin(self, epoch, logs=None):
        self._began = time.process_time(), time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        import psutil

        self.memory = max(self.memory, psutil.Process().memory_info().rss)

    def on_epoch_end(self, epoch, logs=None):
        processor, clock = self._began
        logs["processor_seconds"] = time.process_time() - processor
        self.processor_seconds += logs["processor_seconds"]
        self.seconds += time.monotonic() - clock
        if (held := device_memory()) is not None:
            self.device_memory = max(held, self.device_memory or 0)

    def get_state(self):
        names = "processor_seconds", "seconds", "memory", "device_memory"
        return {name: getattr(self, name) for name in names}

    costs = get_state  # for a result

    def set_state(self, state):
        vars(self).update(state)


def device_memory(begin=False):
    """The most bytes held on the first accelerator, None on a CPU; `begin`: count anew."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    if backend == "tensorflow":
        import tensorflow as tf

        found, memory = tf.config.list_physical_devices("GPU"), tf.config.experimental
        if found and begin:
            memory.reset_memory_stats("GPU:0")
        return memory.get_memory_info("GPU:0")["peak"] if found else None
    import torch

    found, memory = torch.cuda.is_available(), torch.cuda
    if found and begin:
        memory.reset_peak_memory_stats()
    return memory.max_memory_allocated() if found else None
