"""The boundary GAN's players: cells of 32×32×3 from 256 latent values."""

import keras

from ganlib.models import dcgan

SIZE, CHANNELS, LATENT_DIM = 32, 3, 256


def build_generator(filters=32, *, latent_dim=LATENT_DIM, upsample="transpose", seed=0):
    """Builds the generator: latents `(batch_size, latent_dim)` to images in [-1, 1].

    The write-up states the pictures' size and the 256 latent values; the rest is DCGAN's generator
    (`ganlib.models.dcgan.build_generator`) with Keras' default initial values, as students leave
    them: Dense to 4×4, then doubled three times, 4, 2 and 1 × `filters` before the colours.

    Args:
        filters: int, filters of the last hidden layer; each earlier one has twice as many.
        latent_dim: int, number of latent values.
        upsample: "transpose" or "resize", as there.
        seed: int, of the weights' initial values.

    Returns:
        A `keras.Model` named `generator`; images are `(batch_size, 32, 32, 3)`.

    Raises:
        ValueError: `upsample` is none of the above.
    """
    return dcgan.build_generator(
        SIZE, CHANNELS, latent_dim, filters, upsample=upsample, initializer="keras", seed=seed
    )


def build_discriminator(filters=32, *, normalisation=None, seed=0):
    """Builds the discriminator for `ganlib.losses.Boundary`: images to logits.

    DCGAN's (`ganlib.models.dcgan.build_discriminator`), but **not** normalised: the boundary loss
    asks for a value, D(G(z)) = ½, and not for an order. Batch normalisation would meet it with the
    statistics of a batch of generated images alone; in use, where the moving averages of real and
    generated batches take their place, it is another function. Spectral normalisation bounds how
    far apart D can put real images, at 1, and generated ones, at ½.

    Args:
        filters: int, filters of the first layer; the second and third have twice and four times as
            many.
        normalisation: `None`, "batch" or "spectral", as there.
        seed: int, of the weights' initial values.

    Returns:
        A `keras.Model` named `discriminator`; images are `(batch_size, 32, 32, 3)`, logits
        `(batch_size, 1)`. `with_probabilities` gives D itself.

    Raises:
        ValueError: `normalisation` is none of the above.
    """
    return dcgan.build_discriminator(
        SIZE, CHANNELS, filters, normalisation=normalisation, initializer="keras", seed=seed
    )


def with_probabilities(discriminator):
    """D as the write-up has it: the same weights, a sigmoid after the logit.

    For looking and scoring. Training takes logits, where nothing saturates.

    Args:
        discriminator: `keras.Model` that gives logits `(batch_size, 1)`.

    Returns:
        A `keras.Model` that gives probabilities `(batch_size, 1)`, of being real.
    """
    probabilities = keras.layers.Activation("sigmoid", name="probabilities")
    return keras.Model(
        discriminator.inputs[0], probabilities(discriminator.outputs[0]), name="probabilities"
    )
