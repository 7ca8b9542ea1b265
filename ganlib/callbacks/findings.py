"""What `HealthMonitor` reports: findings, the thresholds of its checks, and what to try."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """When a check speaks. Each is a number that the finding's evidence shows."""

    saturated_loss: float = 0.05  # share of the way from the loss's floor to its chance value
    chance_loss: float = 0.01  # relative distance from the chance value
    chance_area: float = 0.05  # of the ROC area from 0.5, where only the order of outputs counts
    swinging_loss: float = 0.05  # as chance_loss, while the ROC area swings by
    swinging_area: float = 0.5
    diverged_loss: float = 10.0  # of its chance value
    reversed_area: float = 0.2  # the ROC area of a discriminator that says the opposite
    collapsed: float = 0.1  # distance to the most similar fake, as a share of the same among real
    blank: float = 0.05  # contrast within fakes, as a share of the contrast within real images
    outside: float = 0.01  # share of the data's pixel values that the generator can't reach
    covered: float = 0.05  # share of the generator's range that the data spans
    pinned: float = 0.999  # share of the fakes' values at the ends of the generator's range
    underflow: float = 16.0  # mean logit of the fakes, either way, that leaves no gradient


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a check saw.

    Attributes:
        check: its name, such as "generator_blank".
        epoch: from 1, when it was reported.
        evidence: the numbers, each beside what it is compared with.
        remedy: what to try.
    """

    check: str
    epoch: int
    evidence: str
    remedy: str

    def __str__(self):
        return f"{self.check} (epoch {self.epoch}): {self.evidence} {self.remedy}"


REMEDIES = {
    "non_finite_loss": "Use a loss on logits, a lower learning rate or clipnorm; check the data.",
    "value_range_mismatch": "Scale the data to the range of the generator's last activation: "
    "sigmoid [0, 1], tanh [-1, 1].",
    "loss_clipped": "The loss takes D's outputs for probabilities, and they are logits: give it "
    "from_logits=True.",
    "discriminator_frozen": "Compile no model that shares it after `trainable = False`: Keras 3 "
    "reads that flag when it traces. Differentiate by each player's variables instead.",
    "generator_frozen": "Check that its variables reach an optimizer and the loss depends on them.",
    "batch_norm_not_updated": "Call the player with training=True in the training step.",
    "discriminator_saturated": "Weaken the discriminator (dropout, instance noise, R1, a lower "
    "learning rate) or strengthen the generator (batch normalisation).",
    "discriminator_at_chance": "Give the discriminator more steps, width or learning rate; if it "
    "was better before, add instance noise or change the loss.",
    "discriminator_diverged": "Check the sign of its loss, which it must descend; then lower the "
    "learning rates, or use clipnorm.",
    "generator_collapsed": "Try another loss (hinge, Wasserstein with gradient penalty), R1, or "
    "batch normalisation.",
    "generator_blank": "Restart with a weaker discriminator, a normalised generator or a lower "
    "learning rate. Waiting seldom helps.",
}
# In place of the remedy for a frozen network, which is about wiring.
AT_REST = (
    "It rests because its optimizer says so. If that is not meant, give it a learning rate above "
    "0, and its schedule an end above 0."
)
UNDERFLOW = (
    "So sure a discriminator leaves no gradient. Check the sign of the generator's loss: it must "
    "raise D's output for fakes. If it is right, restart with a weaker discriminator."
)
