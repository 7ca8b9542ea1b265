"""Adversarial losses, gradient penalties and the focal loss of U-Nets, on logits.

An adversarial loss is a frozen dataclass with three element-wise functions: what the discriminator
pays for a real logit, what it pays for a fake one, and what the generator pays for a fake one. A
loss of one's own is one subclass of `AdversarialLoss`, registered with Keras.
"""

import dataclasses
import math

import keras
from keras import ops

register = keras.saving.register_keras_serializable("ganlib")


@dataclasses.dataclass(frozen=True)
class AdversarialLoss:
    """Base class of all adversarial losses.

    A subclass defines `real`, `fake` and `generator`, which map logits of any shape to losses of
    the same shape. The properties tell `HealthMonitor` how to read a loss value:

    * `chance`: the discriminator's loss at its best constant output, without information, or None.
    * `floor`: its loss when it is never wrong; None if unbounded.
    * `boundary`: the logit above which it says "real"; None if only the order counts.
    * `gradient_penalty`: weight of the gradient penalty that the loss's paper asks for.
    """

    chance = None
    floor = None
    boundary = 0.0
    gradient_penalty = 0.0

    def real(self, logits):
        raise NotImplementedError(f"{type(self).__name__} must define real(logits).")

    def fake(self, logits):
        raise NotImplementedError(f"{type(self).__name__} must define fake(logits).")

    def generator(self, logits):
        raise NotImplementedError(f"{type(self).__name__} must define generator(logits).")

    def discriminator_loss(self, real_logits, fake_logits):
        """Scalar: mean over the real images plus mean over the generated ones."""
        return ops.mean(self.real(real_logits)) + ops.mean(self.fake(fake_logits))

    def generator_loss(self, fake_logits):
        """Scalar: mean over the generated images."""
        return ops.mean(self.generator(fake_logits))

    def get_config(self):
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@dataclasses.dataclass(frozen=True)
class _WithRealLabel(AdversarialLoss):
    real_label: float = 1.0

    def __post_init__(self):
        if not 0.5 < self.real_label <= 1.0:
            raise ValueError(
                "`real_label` must lie in (0.5, 1]: 1 is no smoothing, 0.9 the usual one-sided "
                f"smoothing. Received: real_label={self.real_label}"
            )


def _entropy(p):
    return sum(-q * math.log(q) for q in (p, 1.0 - p) if q > 0)


@register
@dataclasses.dataclass(frozen=True)
class NonSaturating(_WithRealLabel):
    """Binary cross-entropy, with the generator's non-saturating form (Goodfellow et al., 2014).

    Args:
        real_label: float in (0.5, 1], the discriminator's target for real images. Below 1 it is
            one-sided label smoothing (Salimans et al., 2016). The generator still aims at 1.
    """

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
class LeastSquares(_WithRealLabel):
    """Least squares (LSGAN; Mao et al., 2017, with a = 0, b = c = 1).

    Args:
        real_label: float in (0.5, 1], the discriminator's target for real images.
    """

    floor = 0.0

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
    def boundary(self):
        return self.real_label / 2.0


@register
@dataclasses.dataclass(frozen=True)
class AbsoluteError(AdversarialLoss):
    """Mean absolute error between probabilities and labels: 1 - D(x) + D(G(z)).

    What many SRGAN repositories write down, here to reproduce such runs. Any constant output costs
    the discriminator exactly 1, and the gradients vanish where it is sure, so a loss near 1 may be
    chance or a discriminator that has lost its way.
    """

    chance = 1.0
    floor = 0.0

    def real(self, logits):
        return ops.sigmoid(-logits)

    def fake(self, logits):
        return ops.sigmoid(logits)

    def generator(self, logits):
        return ops.sigmoid(-logits)


@register
@dataclasses.dataclass(frozen=True)
class Hinge(AdversarialLoss):
    """Hinge loss (Lim & Ye, 2017; Miyato et al., 2018)."""

    chance = 2.0
    floor = 0.0

    def real(self, logits):
        return ops.relu(1.0 - logits)

    def fake(self, logits):
        return ops.relu(1.0 + logits)

    def generator(self, logits):
        return -logits


@register
@dataclasses.dataclass(frozen=True)
class Wasserstein(AdversarialLoss):
    """Wasserstein loss; with its gradient penalty it is WGAN-GP (Gulrajani et al., 2017).

    A critic's output has no zero of its own, so `boundary` is None: accuracy then splits the batch
    midway between the mean real and the mean fake output.
    """

    chance = 0.0
    boundary = None
    gradient_penalty = 10.0

    def real(self, logits):
        return -logits

    def fake(self, logits):
        return ops.copy(logits)

    def generator(self, logits):
        return -logits


@register
@dataclasses.dataclass(frozen=True)
class Boundary(AdversarialLoss):
    """Holds generated images on the discriminator's decision boundary, D(G(z)) = ½.

    The discriminator pays -log D(x) for a real image and -γ·log(1 - 4(D(G(z)) - ½)²) for a fake
    one, which is least at ½; the generator still aims at 1 (`NonSaturating`).

    With D = sigmoid(l), 1 - 4(D - ½)² is 4·D·(1 - D), and its negative logarithm is
    softplus(l) + softplus(-l) - 2·log 2: finite, with the gradient tanh(l/2), at every logit. The
    literal form is infinite in float32 from |l| of about 17 on, where D rounds to 1.

    Neither the boundary-seeking GAN (BGAN; Hjelm et al., 2018) nor Fence GAN (Ngo et al., 2019):
    there the *generator* is drawn to the boundary, here the *discriminator* draws the boundary to
    where the fakes are.

    Args:
        gamma: float above 0, γ; the weight of the generated images. The source has 0.8.

    Raises:
        ValueError: γ is not positive and finite.
    """

    gamma: float = 0.8
    floor = 0.0

    def __post_init__(self):
        if not 0 < self.gamma < math.inf:  # NaN, too
            raise ValueError(f"`gamma` must be a positive finite number. Received: {self.gamma}")

    def real(self, logits):
        return ops.softplus(-logits)

    def fake(self, logits):
        distance = ops.softplus(logits) + ops.softplus(-logits) - 2.0 * math.log(2.0)
        return self.gamma * distance

    def generator(self, logits):
        return ops.softplus(-logits)

    @property
    def chance(self):
        # The best constant D solves -(1 - D) + γ(2D - 1) = 0.
        d = (1.0 + self.gamma) / (1.0 + 2.0 * self.gamma)
        return -math.log(d) - self.gamma * math.log(4.0 * d * (1.0 - d))

    @property
    def boundary(self):
        return math.log(3.0)  # D = ¾: midway between its targets, 1 and ½


LOSSES = {
    "non_saturating": NonSaturating,
    "least_squares": LeastSquares,
    "absolute_error": AbsoluteError,
    "hinge": Hinge,
    "wasserstein": Wasserstein,
    "boundary": Boundary,
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
    if issubclass(cls, _WithRealLabel):
        return cls(real_label)
    if real_label != 1.0:
        raise ValueError(
            f"Label smoothing needs a loss with labels; {identifier!r} has none. "
            f"Received: real_label={real_label}"
        )
    return cls()


def input_gradient_penalty(squared_norm, real, fake, random, gradient_penalty=0.0, r1=0.0):
    """Weighted sum of the penalties on the discriminator's input gradient.

    Args:
        squared_norm: callable, images `(batch_size, …)` to the squared norms `(batch_size,)` of the
            discriminator's gradient with respect to each.
        real, fake: images `(batch_size, …)`; no gradient goes through the generated ones.
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


@register
class BinaryFocal(keras.losses.Loss):
    """Focal loss (Lin et al., 2017) of logits: cross-entropy that cares less for what is sure.

    With p the probability given to the truth, (1 - p)^γ · (-log p). Value and gradient are right at
    every logit; Keras' `BinaryFocalCrossentropy(from_logits=True)` goes through a sigmoid, which on
    JAX and torch is clipped 1e-7 from 0 and 1, where a logit that is wrong gets no gradient.

    Masks count as foreground above 0.5, as in ganlib's metrics: 0 and 1, or 0 and 255.

    Args:
        gamma: float of 0 or more, γ. 0 is cross-entropy.

    Raises:
        ValueError: γ is negative or not finite; or later, masks of another shape than the logits.
    """

    def __init__(self, gamma=2.0, name="binary_focal", **kwargs):
        super().__init__(name=name, **kwargs)
        if not 0 <= gamma < math.inf:  # NaN, too
            raise ValueError(f"`gamma` must be a finite number of 0 or more. Received: {gamma}")
        self.gamma = gamma

    def call(self, y_true, y_pred):
        check_same_shape(y_true, y_pred)
        # log(1 - p) = -softplus(l) and log p = -softplus(-l), where the truth is 1.
        away, near = ops.softplus(-y_pred), ops.softplus(y_pred)
        one, zero = ops.exp(-self.gamma * near) * away, ops.exp(-self.gamma * away) * near
        return ops.mean(ops.where(y_true > 0.5, one, zero), axis=-1)

    def get_config(self):
        return {**super().get_config(), "gamma": self.gamma}


def check_same_shape(masks, logits):
    """Raises a `ValueError` for masks that would be broadcast; a side not known yet fits."""
    a, b = masks.shape, logits.shape
    if len(a) != len(b) or any(i != j for i, j in zip(a, b, strict=True) if None not in (i, j)):
        raise ValueError(
            "Masks and logits must have the same shape, such as (batch_size, height, width, 1). "
            f"Received: {tuple(a)} and {tuple(b)}"
        )
