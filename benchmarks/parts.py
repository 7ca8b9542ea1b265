"""Parts of a step: single layers forward and backward, and the machine's matrix products."""

import time


def matmul(framework, size, dtype="float32"):
    """A `run` of products of two `size`×`size` matrices, each 2·size³ operations."""
    if framework in ("torch", "keras-torch"):
        import torch

        torch.backends.cuda.matmul.allow_tf32 = True
        device = "cuda" if torch.cuda.is_available() else "cpu"
        a = torch.rand(size, size, device=device).to(getattr(torch, dtype))

        def run(steps):
            begin = time.perf_counter()
            for _ in range(steps):
                b = a @ a
            float(b[0, 0])
            return time.perf_counter() - begin

        return run
    if framework == "jax":
        import jax

        product = jax.jit(lambda a: a @ a)
        a = jax.random.uniform(jax.random.key(0), (size, size)).astype(dtype)
    else:
        import tensorflow as tf

        product = tf.function(lambda a: a @ a)
        a = tf.cast(tf.random.uniform((size, size)), dtype)

    def run(steps):
        begin = time.perf_counter()
        for _ in range(steps):
            b = product(a)
        float(b[0, 0])
        return time.perf_counter() - begin

    return run


LAYERS = {  # (ganlib's layer, filters, kernel, strides)
    "thin": ("ThinConv2D", 1, 7, 1),
    "transpose": ("Conv2DTranspose", None, 4, 2),
}


def layer(workload, which, shape, own):
    """A `run` of one layer, forward and both gradients; `own`: ganlib's, else Keras'."""
    import keras

    from ganlib.models import layers

    name, filters, kernel, strides = LAYERS[which]
    fallback = {"ThinConv2D": "Conv2D"}.get(name, name)
    cls = getattr(layers, name) if own else getattr(keras.layers, fallback)
    layer = cls(filters or shape[-1], kernel, strides=strides, padding="same")
    layer.build(shape)
    if keras.backend.backend() == "jax":
        return _jax_layer(layer, shape)
    return _tensorflow_layer(layer, shape)


def _jax_layer(layer, shape):
    import jax

    weights = [v.value for v in layer.trainable_variables]

    def loss(weights, x):
        return (layer.stateless_call(weights, [], x)[0] ** 2).sum()

    step = jax.jit(jax.grad(loss, argnums=(0, 1)))
    x = jax.random.normal(jax.random.key(0), shape)

    def run(steps):
        begin = time.perf_counter()
        for _ in range(steps):
            result = step(weights, x)
        jax.block_until_ready(result)
        return time.perf_counter() - begin

    return run


def _tensorflow_layer(layer, shape):
    import tensorflow as tf

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x) ** 2)
        # Sums: one small number out, and all gradients had to be there.
        gradients = tape.gradient(loss, [x, *layer.trainable_variables])
        return tf.add_n([tf.reduce_sum(gradient) for gradient in gradients])

    x = tf.random.normal(shape)

    def run(steps):
        begin = time.perf_counter()
        for _ in range(steps):
            result = step(x)
        result.numpy()
        return time.perf_counter() - begin

    return run
