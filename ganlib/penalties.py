"""Penalties on the gradient of a discriminator with respect to its input."""

import keras
from keras import ops


def input_gradient_penalty(squared_norm, real, fake, random, gradient_penalty=0.0, r1=0.0):
    """Weighted sum of the penalties on the discriminator's input gradient.

    Args:
        squared_norm: callable, images `(batch_size, …)` to the squared norms `(batch_size,)` of the
            discriminator's gradient with respect to each.
        real: real images `(batch_size, …)`.
        fake: generated images of the same shape; no gradient goes through them.
        random: `keras.random.SeedGenerator`.
        gradient_penalty: float, weight of the two-sided penalty between real and generated images
            (Gulrajani et al., 2017).
        r1: float, weight γ of γ/2·‖∇D(x)‖² on real images (Mescheder et al., 2018).

    Returns:
        A float32 scalar.
    """
    total = ops.zeros((), "float32")
    real = ops.cast(real, "float32")
    if gradient_penalty:
        shape = (ops.shape(real)[0],) + (1,) * (len(real.shape) - 1)
        mix = keras.random.uniform(shape, seed=random)
        between = mix * real + (1.0 - mix) * ops.cast(ops.stop_gradient(fake), "float32")
        norm = ops.sqrt(squared_norm(between) + 1e-12)
        total = total + gradient_penalty * ops.mean(ops.square(norm - 1.0))
    if r1:
        total = total + 0.5 * r1 * ops.mean(squared_norm(real))
    return total
