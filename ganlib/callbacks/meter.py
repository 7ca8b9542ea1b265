"""What a training costs: seconds of the processors and of the clock, and memory."""

import time

import keras

from ganlib.experiment import machine


class Meter(keras.callbacks.Callback):
    """Adds up what the epochs cost, over interruptions, too; put it last.

    The logs get `processor_seconds`, of the epoch: unlike those of the clock, they hardly depend on
    what else the machine does.

    Attributes:
        processor_seconds: float, of all threads of this process together.
        seconds: float, by the clock.
        memory: int, the most bytes of main memory that the process held after a step.
        device_memory: int, the most bytes held on the accelerator; None without one. On JAX the
            trials that the process ran before count, too.
    """

    def __init__(self):
        super().__init__()
        self.processor_seconds = self.seconds = 0.0
        self.memory, self.device_memory = 0, None

    def on_train_begin(self, logs=None):
        machine.forget_device_memory()

    def on_epoch_begin(self, epoch, logs=None):
        self._began = time.process_time(), time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        self.memory = max(self.memory, machine.process_memory())

    def on_epoch_end(self, epoch, logs=None):
        processor, clock = self._began
        logs["processor_seconds"] = time.process_time() - processor
        self.processor_seconds += logs["processor_seconds"]
        self.seconds += time.monotonic() - clock
        held = machine.device_memory()
        if held is not None:
            self.device_memory = max(held, self.device_memory or 0)

    def costs(self):
        """The attributes as a dict, for a result."""
        return self.get_state()

    def get_state(self):
        names = "processor_seconds", "seconds", "memory", "device_memory"
        return {name: getattr(self, name) for name in names}

    def set_state(self, state):
        vars(self).update(state)
