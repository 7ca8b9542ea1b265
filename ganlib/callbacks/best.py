"""Choosing the epoch: a GAN's last weights are seldom its best."""

import math

import keras
import numpy as np

from ganlib.apply import draw_latents, make_images
from ganlib.backends import variables as weights
from ganlib.data.writing import replacing
from ganlib.metrics import fidelity

SCORES = ("kid", "frechet", "inception_score", "precision", "recall", "density", "coverage")


def is_due(epoch, every, epochs):
    """Whether an epoch, counted from 0, is one of every so many, or the last of the training."""
    return (epoch + 1) % every == 0 or epoch + 1 == epochs


class KeepBest(keras.callbacks.Callback):
    """Scores a model as it trains, and keeps the weights of its best epoch.

    Args:
        model: `keras.Model` whose weights are kept; those it starts with have the worst value.
        path: where, `.npz`; see `restore`.
        score: callable `() -> dict` of floats for the logs, or `-> None` where the model can't be
            scored: what was kept stays. `None`: the logs have the scores.
        key: str, the entry of the scores that decides.
        lower: bool, whether the lowest value is the best; else the highest.
        every, epochs: int, epochs between two scores and of the training; the last is scored, too.

    Attributes:
        epoch, value: int and float, the epoch that was kept, 0 before the first score; its score.
    """

    def __init__(self, model, path, score, key, *, lower, every=1, epochs):
        super().__init__()
        self.kept, self.path, self.score, self.key = model, path, score, key
        self.sign, self.every, self.epochs = 1 if lower else -1, every, epochs
        self.value, self.epoch = self.sign * math.inf, 0
        self._started = False

    def on_train_begin(self, logs=None):
        if not self._started:
            self._keep(self.value, 0)
            self._started = True

    def on_epoch_end(self, epoch, logs=None):
        if not is_due(epoch, self.every, self.epochs):
            return
        scores = self.score() if self.score else logs
        if scores is None:
            return
        logs |= scores
        if self.sign * scores[self.key] < self.sign * self.value:
            self._keep(scores[self.key], epoch + 1)

    def _keep(self, value, epoch):
        self.value, self.epoch = value, epoch
        with replacing(self.path) as aside:
            weights.save(aside, self.kept.weights)

    def restore(self):
        """Gives the model the weights that were kept."""
        weights.load(self.path, self.kept.weights)

    def get_state(self):
        return {"value": self.value, "epoch": self.epoch, "started": self._started}

    def set_state(self, state):
        self.value, self.epoch, self._started = (state[k] for k in ("value", "epoch", "started"))


class StopWhenHigh(keras.callbacks.Callback):
    """Stops a training once several numbers in the logs have all been high for a while.

    `thresholds`: dict of name in the logs → float, from which it is high; `patience`: int, epochs
    in a row, 0 never stops.
    """

    def __init__(self, thresholds, patience):
        super().__init__()
        self.thresholds, self.patience, self.streak = thresholds, patience, 0

    def on_epoch_end(self, epoch, logs=None):
        high = all(logs.get(name, -math.inf) >= low for name, low in self.thresholds.items())
        self.streak = self.streak + 1 if high else 0
        if self.patience and self.streak >= self.patience:
            self.model.stop_training = True

    def get_state(self):
        return {"streak": self.streak}

    def set_state(self, state):
        self.streak = state["streak"]


class BestByKID(KeepBest):
    """Scores a GAN's pictures as it trains, and keeps the weights of the lowest KID.

    KID is unbiased, so it can choose with few pictures. The logs get `SCORES`; see `score`.

    Args:
        gan: `ganlib.adversarial.Adversarial`; its `sampler` is scored, always on the same latents.
        network: `ganlib.features.networks.Network`.
        real: float array `(n, network.dimension)`, features of real validation pictures; not of
            those that are scored at the end, or the choice would flatter them.
        n: int, generated pictures at a score.
        path, every, epochs: as of `KeepBest`.
    """

    def __init__(self, gan, network, real, path, *, n, every, epochs, seed=0):
        latents = draw_latents(gan, n, seed)

        def scores():
            found = score(gan.sampler, latents, network, real, seed)
            return found and {key: found[key] for key in SCORES}

        super().__init__(gan.sampler, path, scores, "kid", lower=True, every=every, epochs=epochs)


def score(generator, latents, network, real, seed=0):
    """The scores of a generator's pictures; None where they are not finite.

    `latents`: array `(n, …)`; `network`, `real`: as of `BestByKID`; `seed`: int, for KID's subsets.
    See `ganlib.metrics.fidelity.evaluate`.
    """
    images = make_images(generator, latents)
    if not np.isfinite(images).all():
        return None
    seen = network(images, "unit")
    return fidelity.evaluate(real, seen.features, network, seen.probabilities, seed)
