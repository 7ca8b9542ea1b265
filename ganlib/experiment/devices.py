"""One model on several devices: each takes a part of every batch."""

import contextlib


def list_devices():
    """Names of what Keras can spread a batch over: the accelerators, or else the processors."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return [device.name for device in found]
    if keras.backend.backend() == "jax":
        import jax

        return [f"{device.platform}:{device.id}" for device in jax.local_devices()]
    return ["torch"]


def check_devices(n):
    """Raises a `ValueError` if no model can train on `n` devices here."""
    if n == 1:
        return
    import keras

    if keras.backend.backend() == "torch":
        raise ValueError(
            "Keras spreads a batch over devices on JAX and TensorFlow alone: set "
            f"KERAS_BACKEND=jax, or leave the devices at 1. Received: devices={n}"
        )
    if not 1 <= n <= len(list_devices()):
        raise ValueError(
            f"Choose as many devices as this machine has: {', '.join(list_devices())}. "
            f"Received: devices={n}"
        )


@contextlib.contextmanager
def data_parallel(n=1):
    """Spreads the batches of all models made within over `n` devices.

    Each device holds the whole model and takes its part of a batch; gradients are those of the
    whole batch. On JAX `keras.distribution.DataParallel`, whose results are those of one device up
    to rounding; on TensorFlow `tf.distribute.MirroredStrategy`, where that holds for models whose
    BatchNorm layers are synchronised (see `is_mirrored`).

    Args:
        n: int, at most the number of `list_devices()`. With 1 nothing is done.

    Raises:
        ValueError: there are fewer devices, or the backend is torch.
    """
    if n == 1:  # without an import: it would take seconds
        yield
        return
    import keras

    check_devices(n)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.distribute.MirroredStrategy(list_devices()[:n]).scope():
            yield
    else:
        spread = keras.distribution.DataParallel(
            devices=list_devices()[:n], auto_shard_dataset=False
        )
        with spread.scope():
            yield


def is_mirrored():
    """Whether TensorFlow mirrors what is made here, so that BatchNorm must be synchronised."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return tf.distribute.has_strategy()


def spread_over():
    """Over how many devices the batches of what is made here are spread; see `data_parallel`."""
    import keras

    if keras.backend.backend() == "jax":
        spread = keras.distribution.distribution()
        return 1 if spread is None else spread.device_mesh.devices.size
    return mirrors()


def check_batches(n, batch_size):
    """Raises a `ValueError` if the devices can't share each batch of n images evenly."""
    devices = spread_over()
    sizes = {min(n, batch_size), n % batch_size}
    if any(size % devices for size in sizes):
        raise ValueError(
            f"{devices} devices can't share every batch evenly: choose a batch size and numbers of "
            f"training and validation images (--set most=…, --set held_out=…) that {devices} "
            f"divides. Received: {n} images in batches of {batch_size}"
        )


def mirrors():
    """On how many devices TensorFlow mirrors what is made here; 1 on the other backends."""
    if not is_mirrored():
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def clipping_whole_batches(optimizer_class):
    """An optimizer class that clips the gradient of the whole batch, as without `data_parallel`.

    On TensorFlow Keras clips each mirror's part before it adds them up.

    Args:
        optimizer_class: such as `keras.optimizers.Adam`.

    Returns:
        The class itself where nothing is mirrored, else a subclass.
    """
    if not is_mirrored():
        return optimizer_class
    import tensorflow as tf

    class Mirrored(optimizer_class):
        def _clip_gradients(self, grads):
            mirror = tf.distribute.get_replica_context()
            whole = mirror.all_reduce(tf.distribute.ReduceOp.SUM, grads)
            # Keras will add up as many copies as there are mirrors.
            return [grad / mirrors() for grad in super()._clip_gradients(whole)]

    return Mirrored
