"""Half precision, where a machine computes in it: a choice of Keras' dtype policy, no more."""

import contextlib
import pathlib

import keras

POLICY = "mixed_bfloat16"  # has float32's exponents: no loss needs scaling, unlike with float16
FLAGS = {"avx512_bf16", "amx_bf16"}  # of a processor that multiplies in it
CAPABILITY = 8.0  # of NVIDIA's GPUs that do; a T4, with 7.5, would only pretend to


def has_bfloat16():
    """Whether the accelerator, or without one the processor, computes in bfloat16 itself."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        details = tf.config.experimental.get_device_details
        found = [details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
        found = [".".join(map(str, each.get("compute_capability", (0,)))) for each in found]
    elif backend == "jax":
        import jax

        # XLA on a processor converts to float32 and back, which takes longer than float32 does.
        found = [getattr(d, "compute_capability", CAPABILITY if d.platform == "tpu" else 0)
                 for d in jax.devices()]  # fmt: skip
    else:
        import torch

        capability, count = torch.cuda.get_device_capability, torch.cuda.device_count()
        found = [".".join(map(str, capability(i))) for i in range(count)]
    with contextlib.suppress(OSError, ValueError):  # other systems than Linux, other GPUs
        if found:
            return all(float(each) >= CAPABILITY for each in found)
        return bool(FLAGS & set(pathlib.Path("/proc/cpuinfo").read_text().split()))
    return False


@contextlib.contextmanager
def half_precision(wanted=True):
    """Layers that are made within compute in bfloat16 if that is `wanted` and the machine can.

    Their weights stay float32, as do losses, penalties, metrics, batch statistics and pictures.
    Without either this does nothing. Models that are saved and loaded keep their layers' policies.
    """
    before = keras.config.dtype_policy()
    if wanted and has_bfloat16():
        keras.config.set_dtype_policy(POLICY)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
