"""Adversarial losses, and the focal loss of U-Nets, on logits."""

import copy
import dataclasses
import math

import keras
from keras import ops

register = keras.saving.register_keras_serializable("ganlib")


class Configured:
    """A dataclass that Keras saves by its fields."""

    def get_config(self):
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @classmethod
    def from_config(cls, config):
        return cls(**{k: keras.saving.deserialize_keras_object(v) for k, v in config.items()})


@dataclasses.dataclass(frozen=True)
class AdversarialLoss(Configured):
    """Base class of all adversarial losses.

    A subclass, registered with Keras, defines what the discriminator pays for a real logit
    (`real`) and for a fake one (`fake`), and the generator for a fake one (`generator`): from
    logits of any shape to losses of the same. `HealthMonitor` reads it by what is below.
    """

    chance = None  # D's loss at its best constant output, without information
    floor = None  # D's loss when it is never wrong; None if unbounded
    boundary = 0.0  # the logit above which D says "real"; None if only the order counts
    gradient_penalty = 0.0  # weight of the gradient penalty that the loss's paper asks for

    def discriminator_loss(self, real_logits, fake_logits):
        return ops.mean(self.real(real_logits)) + ops.mean(self.fake(fake_logits))

    def generator_loss(self, fake_logits):
        return ops.mean(self.generator(fake_logits))


def _entropy(p):
    return sum(-q * math.log(q) for q in (p, 1.0 - p) if q > 0)


@register
@dataclasses.dataclass(frozen=True)
class NonSaturating(AdversarialLoss):
    """Binary cross-entropy, with the generator's non-saturating form (Goodfellow et al., 2014).

    With a `real_label` below 1, D's target for real images: one-sided label smoothing (Salimans et
    al., 2016); the generator still aims at 1.
    """

    real_label: float = 1.0

    def __post_init__(self):
        if not 0.5 < self.real_label <= 1.0:
            raise ValueError(f"`real_label` must lie in (0.5, 1]. Received: {self.real_label}")

    # softplus(-l) = -log(sigmoid(l)): finite at every logit.
    def real(self, logits):
        hit, miss = ops.softplus(-logits), ops.softplus(logits)
        return self.real_label * hit + (1.0 - self.real_label) * miss

    def fake(self, logits):
        return ops.softplus(logits)

    def generator(self, logits):
        return ops.softplus(-logits)

    chance = property(lambda self: 2.0 * _entropy(self.real_label / 2.0))
    floor = property(lambda self: _entropy(self.real_label))


@register
class LeastSquares(AdversarialLoss):
    """Least squares (LSGAN; Mao et al., 2017, with a = 0, b = c = 1)."""

    chance = 0.25
    floor = 0.0
    boundary = 0.5

    def real(self, logits):
        return 0.5 * ops.square(logits - 1.0)

    def fake(self, logits):
        return 0.5 * ops.square(logits)

    generator = real


@register
class AbsoluteError(AdversarialLoss):
    """Mean absolute error between probabilities and labels: 1 - D(x) + D(G(z))."""

    chance = 1.0
    floor = 0.0

    def real(self, logits):
        return ops.sigmoid(-logits)

    def fake(self, logits):
        return ops.sigmoid(logits)

    generator = real


@register
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
class Wasserstein(AdversarialLoss):
    """Wasserstein loss; with its gradient penalty it is WGAN-GP (Gulrajani et al., 2017)."""

    chance = 0.0
    boundary = None  # accuracy splits midway between the mean real and mean fake output
    gradient_penalty = 10.0

    def real(self, logits):
        return -logits

    def fake(self, logits):
        return ops.copy(logits)

    generator = real


@register
@dataclasses.dataclass(frozen=True)
class Boundary(AdversarialLoss):
    """Holds generated images on the discriminator's decision boundary, D(G(z)) = ½.

    The discriminator pays -log D(x) for a real image and -γ·log(1 - 4(D(G(z)) - ½)²) for a fake
    one, which is least at ½; the generator still aims at 1 (`NonSaturating`). Not the
    boundary-seeking GAN (Hjelm et al., 2018) nor Fence GAN (Ngo et al., 2019), which draw the
    *generator* to the boundary; here the *discriminator* draws it to where the fakes are.
    """

    gamma: float = 0.8  # γ above 0, the weight of the generated images; of the source
    floor = 0.0
    boundary = math.log(3.0)  # D = ¾: midway between its targets, 1 and ½

    def __post_init__(self):
        if not 0 < self.gamma < math.inf:  # NaN, too
            raise ValueError(f"`gamma` must be above 0 and finite. Received: gamma={self.gamma}")

    def real(self, logits):
        return ops.softplus(-logits)

    # The logarithm with D = sigmoid(l): taken literally it is infinite from |l| of about 17 on.
    def fake(self, logits):
        distance = ops.softplus(logits) + ops.softplus(-logits) - 2.0 * math.log(2.0)
        return self.gamma * distance

    generator = real

    @property
    def chance(self):
        # The best constant D solves -(1 - D) + γ(2D - 1) = 0.
        d = (1.0 + self.gamma) / (1.0 + 2.0 * self.gamma)
        return -math.log(d) - self.gamma * math.log(4.0 * d * (1.0 - d))


LOSSES = {"non_saturating": NonSaturating, "least_squares": LeastSquares, "hinge": Hinge}
LOSSES |= {"absolute_error": AbsoluteError, "wasserstein": Wasserstein, "boundary": Boundary}


def get(identifier, real_label=1.0):
    """Returns an `AdversarialLoss` from an instance, a name or a serialized configuration.

    `real_label`, in (0.5, 1], is for "non_saturating" alone: one-sided label smoothing.
    """
    if isinstance(identifier, dict):  # a copy, for Keras takes it apart
        identifier = keras.saving.deserialize_keras_object(copy.deepcopy(identifier))
    if isinstance(identifier, AdversarialLoss):
        return identifier
    if identifier not in LOSSES:
        raise ValueError(f"`loss` must be one of {sorted(LOSSES)}. Received: {identifier}")
    if identifier == "non_saturating":
        return NonSaturating(real_label)
    if real_label != 1.0:
        raise ValueError(f"{identifier!r} has no labels to smooth. Received: {real_label}")
    return LOSSES[identifier]()


@register
class BinaryFocal(keras.losses.Loss):
    """Focal loss (Lin et al., 2017) of logits: cross-entropy that cares less for what is sure.

    (1 - p)^γ · (-log p), with p the probability given to the truth. Keras' own clips p: a wrong
    logit may get no gradient. Masks are foreground above 0.5: 0 and 1, or 0 and 255.
    """

    def __init__(self, gamma=2.0, name="binary_focal", **kwargs):
        super().__init__(name=name, **kwargs)
        if not 0 <= gamma < math.inf:  # NaN, too
            raise ValueError(f"`gamma` must be finite, 0 or more. Received: gamma={gamma}")
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
        raise ValueError(f"Masks and logits must have the same shape. Received: {a} and {b}")
