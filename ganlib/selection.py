"""Choosing the epoch: a GAN's last weights are seldom its best."""

import math

import keras
import numpy as np

from ganlib.metrics import fidelity
from ganlib.sampling import draw_latents, make_images

SCORES = ("kid", "frechet", "inception_score", "precision", "recall", "density", "coverage")


class BestByKID(keras.callbacks.Callback):
    """Scores a GAN's pictures as it trains, and keeps the weights of the lowest KID.

    GANs get worse again: StudioGAN's log of a plain DCGAN on CIFAR-10 has its best FID, 49.0, after
    42,000 steps, and 137.4 after 200,000. KID is unbiased, so it can choose with few pictures.

    The logs get `kid`, `frechet`, `inception_score`, `precision`, `recall`, `density` and
    `coverage` of the scored epochs (see `ganlib.metrics.fidelity.evaluate`), always on the same
    latents. Weights before the first score count as kept with an infinite KID.

    Args:
        gan: `ganlib.adversarial.Adversarial`; its `sampler` is scored and kept.
        network: `ganlib.features.network.Network`.
        real: float array `(n, network.dimension)`, features of real validation pictures; those that
            are scored at the end must be others, or the choice would flatter them.
        path: where the weights are kept, `.weights.h5`.
        n: int, generated pictures at a score.
        every: int, epochs between two scores; the last epoch is always scored.
        epochs: int, of the whole training.
        seed: int, of the latents.

    Attributes:
        epoch: int, the epoch that was kept; 0 before the first score.
        kid: float, its KID.
    """

    def __init__(self, gan, network, real, path, *, n, every, epochs, seed=0):
        super().__init__()
        self.gan, self.network, self.real, self.path = gan, network, real, path
        self.latents = draw_latents(gan, n, seed)
        self.every, self.epochs, self.seed = every, epochs, seed
        self.kid, self.epoch = math.inf, 0
        self._started = False

    def on_train_begin(self, logs=None):
        if not self._started:
            self._keep(math.inf, 0)
            self._started = True

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every and epoch + 1 != self.epochs:
            return
        scores = score(self.gan.sampler, self.latents, self.network, self.real, self.seed)
        if scores is None:  # weights that are not finite: what was kept stays
            return
        logs |= {key: scores[key] for key in SCORES}
        if scores["kid"] < self.kid:
            self._keep(scores["kid"], epoch + 1)

    def _keep(self, kid, epoch):
        self.kid, self.epoch = kid, epoch
        temporary = self.path.with_name(f"writing-{self.path.name}")
        self.gan.sampler.save_weights(temporary)
        temporary.replace(self.path)

    def get_state(self):
        return {"kid": self.kid, "epoch": self.epoch, "started": self._started}

    def set_state(self, state):
        self.kid, self.epoch, self._started = (state[k] for k in ("kid", "epoch", "started"))


def score(generator, latents, network, real, seed=0):
    """Scores a generator's pictures; see `ganlib.metrics.fidelity.evaluate`.

    Args:
        generator: `keras.Model` that ends in sigmoid or tanh.
        latents: array `(n, …)`.
        network: `ganlib.features.network.Network`.
        real: float array `(m, network.dimension)`, features of real pictures.
        seed: int, for KID's subsets.

    Returns:
        The dict of scores, or None where the generator's pictures are not finite.
    """
    images = make_images(generator, latents)
    if not np.isfinite(images).all():
        return None
    seen = network(images, "unit")
    return fidelity.evaluate(real, seen.features, network, seen.probabilities, seed)
