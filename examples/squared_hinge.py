"""A loss of your own: three element-wise functions of logits."""

import dataclasses

import keras
from keras import ops

from ganlib.losses import AdversarialLoss


@keras.saving.register_keras_serializable("examples")  # saved within a model
@dataclasses.dataclass(frozen=True)
class SquaredHinge(AdversarialLoss):
    """Squared hinge: the nearer a logit is to its margin, the weaker its gradient.

    Args:
        margin: float above 0; real logits are drawn above it, generated ones below its negative.
    """

    margin: float = 1.0

    def real(self, logits):
        return ops.square(ops.relu(self.margin - logits))

    def fake(self, logits):
        return ops.square(ops.relu(self.margin + logits))

    def generator(self, logits):
        return -logits

    # The health monitor reads the discriminator's loss between these two.
    chance = property(lambda self: 2.0 * self.margin**2)  # the best constant logit is 0
    floor = property(lambda self: 0.0)
