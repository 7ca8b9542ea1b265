"""The boundary GAN's generator and discriminator: cells of 32×32×3 from 256 latent values."""

import keras

from ganlib.models import dcgan

SIZE, CHANNELS, LATENT_DIM = 32, 3, 256


def build_generator(filters=32, *, latent_dim=LATENT_DIM, upsample="transpose", seed=0):
    """Builds DCGAN's generator with Keras' default initial values: images in [-1, 1].

    The write-up states the pictures' size and the 256 latent values; the rest is DCGAN's, as
    students leave it: Dense to 4×4, then doubled three times, 4, 2 and 1 × `filters`.

    Args and errors as of `ganlib.models.dcgan.build_generator`.
    """
    return dcgan.build_generator(
        SIZE, CHANNELS, latent_dim, filters, upsample=upsample, initializer="keras", seed=seed
    )


def build_discriminator(filters=32, *, normalisation=None, seed=0):
    """Builds DCGAN's discriminator for `ganlib.losses.Boundary`: images to logits.

    It is **not** normalised: the boundary loss asks for a value, D(G(z)) = ½, and not for an order.
    Batch normalisation would meet it with the statistics of a batch of generated images alone; in
    use, where the moving averages of real and generated batches take their place, it is another
    function. Spectral normalisation bounds how far apart D can put real images, at 1, and generated
    ones, at ½. `with_probabilities` gives D itself.

    Args and errors as of `ganlib.models.dcgan.build_discriminator`.
    """
    return dcgan.build_discriminator(
        SIZE, CHANNELS, filters, normalisation=normalisation, initializer="keras", seed=seed
    )


def with_probabilities(discriminator):
    """Returns D as the write-up has it: the same weights, a sigmoid after the logit.

    For looking and scoring. Training takes logits, where nothing saturates.

    Args:
        discriminator: `keras.Model` that gives logits.
    """
    probabilities = keras.layers.Activation("sigmoid", name="probabilities")
    return keras.Model(
        discriminator.inputs[0], probabilities(discriminator.outputs[0]), name="probabilities"
    )
