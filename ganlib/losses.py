"""Adversarial losses, written once in `keras.ops`, on logits.

A loss is a frozen dataclass with three element-wise functions: what the discriminator pays for a
real logit, what it pays for a fake one, and what the generator pays for a fake one. A new loss is
one subclass:

    @keras.saving.register_keras_serializable("my_project")
    @dataclasses.dataclass(frozen=True)
    class Quartic(AdversarialLoss):
        def real(self, logits):
            return (logits - 1.0) ** 4

        def fake(self, logits):
            return logits**4

        def generator(self, logits):
            return (logits - 1.0) ** 4
"""

import dataclasses
import math

import keras
from keras import ops

register = keras.saving.register_keras_serializable("ganlib")


@dataclasses.dataclass(frozen=True)
class AdversarialLoss:
    """Base class of all adversarial losses.

    `real`, `fake` and `generator` map logits of any shape to a loss of the same shape; the players'
    losses are their means. The three properties tell `HealthMonitor` how to read a loss value and
    may stay `None` where a loss has no such value.
    """

    def real(self, logits):
        """What the discriminator pays for the logits of real images."""
        raise NotImplementedError(f"{type(self).__name__} must define real(logits).")

    def fake(self, logits):
        """What the discriminator pays for the logits of generated images."""
        raise NotImplementedError(f"{type(self).__name__} must define fake(logits).")

    def generator(self, logits):
        """What the generator pays for the logits of its images."""
        raise NotImplementedError(f"{type(self).__name__} must define generator(logits).")

    def discriminator_loss(self, real_logits, fake_logits):
        """Scalar: mean over the real images plus mean over the generated ones."""
        return ops.mean(self.real(real_logits)) + ops.mean(self.fake(fake_logits))

    def generator_loss(self, fake_logits):
        """Scalar: mean over the generated images."""
        return ops.mean(self.generator(fake_logits))

    @property
    def chance(self):
        """The discriminator's loss at its best constant output: it has no information."""
        return None

    @property
    def floor(self):
        """The discriminator's loss when it is never wrong; `None` if unbounded."""
        return None

    @property
    def boundary(self):
        """The logit above which the discriminator says "real"; `None` if only order counts."""
        return 0.0

    @property
    def gradient_penalty(self):
        """The weight of the gradient penalty that the loss's paper asks for."""
        return 0.0

    def get_config(self):
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def _check_real_label(value):
    if not 0.5 < value <= 1.0:
        raise ValueError(
            "`real_label` must lie in (0.5, 1]: 1 is no smoothing, 0.9 the usual one-sided "
            f"smoothing. Received: real_label={value}"
        )


def _entropy(p):
    return sum(-q * math.log(q) for q in (p, 1.0 - p) if q > 0)


@register
@dataclasses.dataclass(frozen=True)
class NonSaturating(AdversarialLoss):
    """Binary cross-entropy, with the generator's non-saturating form (Goodfellow et al., 2014).

    Args:
        real_label: float in (0.5, 1], the discriminator's target for real images. Below 1 it is
            one-sided label smoothing (Salimans et al., 2016). The generator still aims at 1.
    """

    real_label: float = 1.0

    def __post_init__(self):
        _check_real_label(self.real_label)

    # softplus(-l) = -log(sigmoid(l)): finite at every logit.
    def real(self, logits):
        hit, miss = ops.softplus(-logits), ops.softplus(logits)
        return self.real_label * hit + (1.0 - self.real_label) * miss

    def fake(self, logits):
        return ops.softplus(logits)

    def generator(self, logits):
        return ops.softplus(-logits)

    @property
    def chance(self):
        return 2.0 * _entropy(self.real_label / 2.0)

    @property
    def floor(self):
        return _entropy(self.real_label)


@register
@dataclasses.dataclass(frozen=True)
class LeastSquares(AdversarialLoss):
    """Least squares (LSGAN; Mao et al., 2017, with a = 0, b = c = 1).

    Args:
        real_label: float in (0.5, 1], the discriminator's target for real images.
    """

    real_label: float = 1.0

    def __post_init__(self):
        _check_real_label(self.real_label)

    def real(self, logits):
        return 0.5 * ops.square(logits - self.real_label)

    def fake(self, logits):
        return 0.5 * ops.square(logits)

    def generator(self, logits):
        return 0.5 * ops.square(logits - 1.0)

    @property
    def chance(self):
        return 0.25 * self.real_label**2

    @property
    def floor(self):
        return 0.0

    @property
    def boundary(self):
        return self.real_label / 2.0


@register
@dataclasses.dataclass(frozen=True)
class AbsoluteError(AdversarialLoss):
    """Mean absolute error between probabilities and labels: 1 - D(x) + D(G(z)).

    What many SRGAN repositories write down. Any constant output costs the discriminator exactly 1,
    and both players' gradients vanish where it is sure, so a loss near 1 may be chance or a
    discriminator that has lost its way. Here to reproduce such runs; prefer another for new ones.
    """

    def real(self, logits):
        return ops.sigmoid(-logits)

    def fake(self, logits):
        return ops.sigmoid(logits)

    def generator(self, logits):
        return ops.sigmoid(-logits)

    @property
    def chance(self):
        return 1.0

    @property
    def floor(self):
        return 0.0


@register
@dataclasses.dataclass(frozen=True)
class Hinge(AdversarialLoss):
    """Hinge loss (Lim & Ye, 2017; Miyato et al., 2018)."""

    def real(self, logits):
        return ops.relu(1.0 - logits)

    def fake(self, logits):
        return ops.relu(1.0 + logits)

    def generator(self, logits):
        return -logits

    @property
    def chance(self):
        return 2.0

    @property
    def floor(self):
        return 0.0


@register
@dataclasses.dataclass(frozen=True)
class Wasserstein(AdversarialLoss):
    """Wasserstein loss; with its gradient penalty it is WGAN-GP (Gulrajani et al., 2017).

    A critic's output has no zero of its own, so `boundary` is None: accuracy then splits the batch
    midway between the mean real and the mean fake output.
    """

    def real(self, logits):
        return -logits

    def fake(self, logits):
        return ops.copy(logits)

    def generator(self, logits):
        return -logits

    @property
    def chance(self):
        return 0.0

    @property
    def boundary(self):
        return None

    @property
    def gradient_penalty(self):
        return 10.0


LOSSES = {
    "non_saturating": NonSaturating,
    "least_squares": LeastSquares,
    "absolute_error": AbsoluteError,
    "hinge": Hinge,
    "wasserstein": Wasserstein,
}


def get(identifier, real_label=1.0):
    """Returns an `AdversarialLoss` from an instance, a name or a serialized configuration.

    Args:
        identifier: an `AdversarialLoss`, one of the names in `LOSSES`, or a config dict.
        real_label: float in (0.5, 1]; one-sided label smoothing, for a loss given by name.

    Raises:
        ValueError: the name is unknown, or the loss has no labels to smooth.
    """
    if isinstance(identifier, dict):
        identifier = keras.saving.deserialize_keras_object(identifier)
    if isinstance(identifier, AdversarialLoss):
        return identifier
    if identifier not in LOSSES:
        raise ValueError(
            f"`loss` must be an AdversarialLoss or one of {sorted(LOSSES)}. Received: {identifier}"
        )
    cls = LOSSES[identifier]
    if real_label == 1.0:
        return cls()
    if "real_label" not in {field.name for field in dataclasses.fields(cls)}:
        raise ValueError(
            f"Label smoothing needs a loss with labels; {identifier!r} has none. "
            f"Received: real_label={real_label}"
        )
    return cls(real_label=real_label)
