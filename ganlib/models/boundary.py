"""The boundary GAN's generator and discriminator: cells of 32×32×3 from 256 latent values."""

from ganlib.models import dcgan


def build_generator(filters=32, *, latent_dim=256, upsample="transpose", seed=0):
    """Builds DCGAN's generator with Keras' default initial values: images in [-1, 1].

    The write-up states the pictures' size and the 256 latent values; the rest is DCGAN's.
    """
    options = {"upsample": upsample, "initializer": "keras", "seed": seed}
    return dcgan.build_generator(32, latent_dim, filters, **options)


def build_discriminator(filters=32, *, normalisation=None, seed=0):
    """Builds DCGAN's discriminator for `ganlib.losses.Boundary`: images to logits.

    It is **not** batch-normalised: the boundary loss asks for a value, D(G(z)) = ½, which D would
    give for the statistics of a generated batch alone, and not in use, with moving averages. Nor
    spectrally by default: that bounds how far apart D can put real images, at 1, and others, at ½.
    """
    options = {"normalisation": normalisation, "initializer": "keras", "seed": seed}
    return dcgan.build_discriminator(32, filters, **options)
