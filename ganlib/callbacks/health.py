"""Health checks for anybody's GAN, as one Keras callback.

`HealthMonitor` says what it asks of a model; `Adversarial` and the DCGAN of keras.io's examples
have it. Without `fit`, call the callback's methods yourself:

    monitor = HealthMonitor(images[:256])
    monitor.set_model(types.SimpleNamespace(generator=g, discriminator=d))
    monitor.on_train_begin()
    for epoch in range(epochs):
        ...
        monitor.on_epoch_end(epoch, {"d_loss": d_loss, "g_loss": g_loss})
"""

import dataclasses
import html
import itertools
import math

import keras
import numpy as np

from ganlib import losses
from ganlib.callbacks import players
from ganlib.callbacks.players import PLAYERS
from ganlib.models.outputs import check_scores, output_bounds

STATE = ("checks", "streaks", "unchecked", "fingerprints", "areas")
# What Keras' BinaryCrossentropy of probabilities makes of 0 and 1, which it clips 1e-7 from them.
CLIPPED = (-math.log(1e-7), -math.log(float(np.float32(1) - np.float32(1 - 1e-7))))


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

    `check`: its name; `epoch`: from 1, when it was reported; `evidence`: the numbers, each beside
    what it is compared with; `remedy`: what to try.
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


class HealthMonitor(keras.callbacks.Callback):
    """Names what goes wrong in a GAN while it trains, with evidence and a remedy.

    It runs both networks in inference mode on a fixed batch; the training stays as it is. What
    holds for `patience` checks in a row is reported once; a loss that is not finite and a
    value-range mismatch at once. Of a frozen network nothing else is said.

    The model must have a `generator`, latents to images `(n, height, width, channels)`, and a
    `discriminator` of images alone, to one score an image, `(n, 1)` or `(n,)`, or a patch, `(n,
    height, width, 1)`: logits or probabilities, whichever the label of real images. It may have:

    * `latent_dim`: int, where the generator does not show its input shape.
    * logs with `d_loss` and `g_loss`: every log with "loss" in its name must be finite.
    * `adversarial_loss`: without it and `loss`, logits are judged by their ROC area, saturated only
      where `d_loss` is that of cross-entropy; whether they diverge is not checked.
    * `d_optimizer`, `g_optimizer` (or alike) or `optimizer`: at learning rate 0 a network rests,
      and is not badly wired. `stop_on="all"` lets it rest.

    Args:
        real: training images as the discriminator sees them, value range included: array `(n,
            height, width, channels)`, of which 64 to 256 are enough; or what `ganlib.data.load`
            gives, for a generator that ends in sigmoid or tanh.
        loss: `AdversarialLoss` or its name. `None`: the model's `adversarial_loss`, else binary
            cross-entropy for a discriminator of probabilities.
        patience: int, checks in a row.
        warm_up: int, checks before the first that counts: a generator starts out grey.
        stop_on: name of a check, or several, that set the model's `stop_training`, or `"all"`.
        frequency: `"epoch"`, or an int: batches between two checks.
        thresholds: `Thresholds`.
        latents: what the generator is called on: an array, or a list or dict of arrays. `None`: as
            many as real images, from N(0, 1). A conditional generator needs them.
        from_logits: bool. `None`: unless the discriminator shows that it ends in a sigmoid.

    Attributes:
        findings: list of `Finding`, in the order they were made.

    Raises:
        ValueError: an argument is not as above; before training, the model or its fit to images.
    """

    def __init__(
        self,
        real,
        loss=None,
        *,
        patience=3,
        warm_up=1,
        stop_on=(),
        frequency="epoch",
        thresholds=None,
        latents=None,
        from_logits=None,
    ):
        super().__init__()
        # A whole data set waits for the generator, which says in which range.
        self.real = real if hasattr(real, "as_range") else players.check_real(real)
        names = (stop_on,) if isinstance(stop_on, str) else tuple(stop_on)
        self.stop_on = tuple(REMEDIES) if stop_on == "all" else names
        if unknown := set(self.stop_on) - set(REMEDIES):
            raise ValueError(f"`stop_on`: of {sorted(REMEDIES)}. Received: {sorted(unknown)}")
        self.loss = None if loss is None else losses.get(loss)
        self.patience, self.warm_up, self.frequency = patience, warm_up, frequency
        self.thresholds = thresholds or Thresholds()
        self.latents, self.from_logits, self._rest_stops = latents, from_logits, stop_on != "all"
        self.findings = []
        self._checks, self._streaks, self._fingerprints = 0, {}, None
        self._areas, self._unchecked = [], 0  # of the last checks; batches since the last
        self._epoch, self._batch = 0, -1  # the last batch seen in this epoch

    def on_train_begin(self, logs=None):
        players.check_players(model := self.model)
        self.real = players.real_images(self.real, model.generator)
        self._latents = players.find_latents(model, self.real, self.latents)
        players.try_out(model, self.real, self._latents, self.from_logits)
        self._bounds = output_bounds(model.generator) or (-math.inf, math.inf)
        shown = output_bounds(model.discriminator) == (0.0, 1.0)
        self._sigmoid = shown if self.from_logits is None else not self.from_logits
        self._loss = self.loss or getattr(model, "adversarial_loss", None)
        self._guessed = self._loss is None
        self._loss = losses.NonSaturating() if self._guessed else self._loss
        if self._fingerprints is None:  # else resumed: the last check's
            self._fingerprints = players.fingerprints(model)
        if evidence := self._range_evidence():
            self._report("value_range_mismatch", evidence)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch, self._batch = epoch, -1

    def on_train_batch_end(self, batch, logs=None):
        self._unchecked += batch - self._batch  # more than 1 with steps_per_execution
        self._batch = batch
        if self.frequency != "epoch" and self._unchecked >= self.frequency:
            self.check(logs)

    def on_epoch_end(self, epoch, logs=None):
        self._epoch = epoch
        if self.frequency == "epoch":
            self.check(logs)

    def check(self, logs=None):
        """Runs all checks once, on the model as it is and the losses in `logs`."""
        self._checks, self._unchecked = self._checks + 1, 0
        logged = {
            key: float(np.mean(keras.ops.convert_to_numpy(value)))  # a tensor in a custom step
            for key, value in (logs or {}).items()
            if "loss" in key and value is not None
        }
        shape = self.real.shape[1:]
        fakes = players.run(self.model.generator, self._latents, shape, "The generator")
        scores = self._scores(self.real), self._scores(fakes)
        outputs = {"G's output": fakes, "D's output": np.concatenate(scores)}
        for name, values in {**logged, **outputs}.items():
            bad = np.ravel(values)[~np.isfinite(np.ravel(values))]
            if len(bad):
                text = f"{name} became {bad[0]} ({len(bad)} of {np.size(values)} values)."
                self._report("non_finite_loss", text)
                return  # all that follows would only repeat it
        before, self._fingerprints = self._fingerprints, players.fingerprints(self.model)
        faults = self._generator_faults(fakes), self._discriminator_faults(logged, *scores)
        observed = {}
        clipped = [k for k, v in logged.items() if any(abs(v - ends) < 0.01 for ends in CLIPPED)]
        if self._guessed and not self._sigmoid and clipped:
            text = f"{clipped[0]} is {logged[clipped[0]]:.3f}: what cross-entropy makes of a"
            observed["loss_clipped"] = f"{text} probability 1e-7 from 0.", None
        for player, others in zip(PLAYERS, faults, strict=True):
            weights = getattr(self.model, player).weights
            pairs = itertools.zip_longest(before[player], self._fingerprints[player])
            moved = [was != now for was, now in pairs]  # what was built in between has moved
            if frozen := players.frozen(player, weights, moved):
                stuck = self._why_frozen(player, frozen, float(scores[1].mean()))
                # Where an activation is pinned to its ends no gradient passes: the wiring is right.
                if stuck[1] or not (player == "generator" and others and self._pinned(fakes)):
                    observed[f"{player}_frozen"] = stuck
                    continue
            if evidence := players.statistics_unmoved(player, weights, moved):
                others = {"batch_norm_not_updated": evidence} | others
            for name, evidence in others.items():
                observed.setdefault(name, (evidence, None))
        if self._checks <= self.warm_up:
            return
        self._streaks = {name: self._streaks.get(name, 0) + 1 for name in observed}
        for name, (evidence, remedy) in observed.items():
            if self._streaks[name] >= self.patience:
                self._report(name, evidence, remedy)

    def _why_frozen(self, player, frozen, logit):
        if players.at_rest(self.model, player):
            return f"{frozen} Its optimizer's learning rate is 0.", AT_REST
        if player == "generator" and abs(logit) >= self.thresholds.underflow:
            return f"{frozen} D's mean logit of fakes is {logit:.4g}.", UNDERFLOW
        return frozen, None

    def _report(self, check, evidence, remedy=None):
        remedy = remedy or REMEDIES[check]
        # A network that rests and is badly wired later is both.
        if (check, remedy) in {(finding.check, finding.remedy) for finding in self.findings}:
            return
        self.findings.append(Finding(check, self._epoch + 1, evidence, remedy))
        if check in self.stop_on and (remedy != AT_REST or self._rest_stops):
            self.model.stop_training = True

    def _scores(self, images):
        """A logit per image; the mean over patches where the discriminator judges patches."""
        shape = images.shape[1:]
        outputs = players.run(self.model.discriminator, images, shape, "The discriminator")
        check_scores(outputs.shape)  # again: one that was not built yet was not tried
        scores = outputs.reshape(len(images), -1).mean(axis=1)
        if not self._sigmoid:
            return scores
        p = np.clip(scores.astype("float64"), 1e-12, 1 - 1e-12)
        return (np.log(p) - np.log1p(-p)).astype("float32")

    def _discriminator_faults(self, logged, real, fake):
        loss, t = self._loss, self.thresholds
        # By cross-entropy, were it 0 for reals: keras.io's DCGAN labels the fakes 1.
        if self._guessed and real.mean() < fake.mean():
            real, fake = -real, -fake
        area = roc_area(real, fake)
        self._areas = [*self._areas, area][-self.patience :]
        pairs = f"{len(real)} × {len(fake)} pairs (chance: 50%)"
        ranks = f"D ranks a real image above a fake one in {area:.1%} of {pairs}."
        measured = {"in inference mode": float(loss.discriminator_loss(real, fake))}
        unknown = self._guessed and not self._sigmoid
        if "d_loss" in logged and (unknown or not self._guessed):  # else: a mean or a sum, smoothed
            measured["in training"] = logged["d_loss"]
        text = f"D's loss is {' and '.join(f'{v:.4f} {where}' for where, v in measured.items())}"
        if unknown or not loss.chance:  # only the order of the outputs counts
            if abs(area - 0.5) <= t.chance_area:
                return {"discriminator_at_chance": ranks}
            if unknown and logged.get("d_loss", -1.0) < 0:  # not that of cross-entropy
                return {}
        else:
            distance = max(abs(value / loss.chance - 1) for value in measured.values())
            swing = max(self._areas) - min(self._areas)
            swings = distance <= t.swinging_loss and swing >= t.swinging_area
            if distance <= t.chance_loss or swings:
                text = f"{text}; without information it is {loss.chance:.4f}. {ranks}"
                swung = f" Of late that went from {min(self._areas):.0%} to {max(self._areas):.0%}."
                return {"discriminator_at_chance": text + swung * swings}
        if not self._guessed and (evidence := self._diverged(measured, area)):
            return {"discriminator_diverged": f"{text}; {evidence} {ranks}"}
        if loss.floor is None or not loss.chance:
            return {}
        share = (max(measured.values()) - loss.floor) / (loss.chance - loss.floor)
        way = f"from perfect ({loss.floor:.4f}) to chance ({loss.chance:.4f})"
        text = f"{text}, at most {max(share, 0):.1%} of the way {way}. {ranks}"
        return {"discriminator_saturated": text} if share <= t.saturated_loss else {}

    def _diverged(self, measured, area):
        chance, t = self._loss.chance, self.thresholds
        # In inference mode alone it may be due to moving statistics that lag behind.
        if chance is None or "in training" not in measured or min(measured.values()) <= chance:
            return None
        if chance and min(measured.values()) > t.diverged_loss * chance:
            return f"without information it would be {chance:.4f}."
        return "it is worse than chance." if area <= t.reversed_area else None

    def _generator_faults(self, fakes):
        t, end = self.thresholds, f"(n = {len(fakes)} and {len(self.real)}).{self._pinned(fakes)}"
        fake, real = (images.std(axis=(1, 2)).mean() for images in (fakes, self.real))
        if fake < t.blank * real:
            text = f"The standard deviation within a fake is {fake:.4f} on average, within a real"
            return {"generator_blank": f"{text} image {real:.4f} {end}"}
        fake, real = _nearest(fakes), _nearest(self.real)
        if fake < t.collapsed * real:
            text = f"A fake differs from the fake most like it by {fake:.4f} a pixel, a real image"
            return {"generator_collapsed": f"{text} from its like by {real:.4f} {end}"}
        return {}

    def _pinned(self, fakes):
        low, high = self._bounds
        share = ((fakes < low + 1e-6) | (fakes > high - 1e-6)).mean()
        if not math.isfinite(high - low) or share < self.thresholds.pinned:
            return ""
        text = f" {share:.1%} of the values lie at the ends of its range, [{low:g}, {high:g}]"
        return f"{text}, where hardly any gradient passes."

    def _range_evidence(self):
        (low, high), real, t = self._bounds, self.real, self.thresholds
        width = high - low
        if not math.isfinite(width):
            return None
        outside = ((real < low - 1e-3) | (real > high + 1e-3)).mean()
        lower = (real < low + 0.475 * width).mean()
        covered = (real.max() - real.min()) / width
        if outside > t.outside:
            text = f"{outside:.0%} of its values lie outside"
        elif low < 0 and lower <= t.outside:  # [0, 1] images for a tanh
            text = f"{lower:.1%} of its values lie in the lower half"
        elif covered < t.covered:  # divided by 255 twice
            text = f"it covers {covered:.1%} of that"
        else:
            return None
        lies = f"the data lies in [{real.min():.3g}, {real.max():.3g}]: {text}."
        return f"The generator's output reaches [{low:g}, {high:g}], {lies}"

    def get_state(self):
        """JSON values; a resumed run sees the same streaks and findings."""
        findings = [dataclasses.asdict(finding) for finding in self.findings]
        return {"findings": findings, **{name: getattr(self, f"_{name}") for name in STATE}}

    def set_state(self, state):
        self.findings = [Finding(**finding) for finding in state["findings"]]
        for name in STATE:
            setattr(self, f"_{name}", state[name])

    def __repr__(self):  # without what differs between machines
        return "<HealthMonitor: see `findings`>"

    def _repr_html_(self):
        lines = [html.escape(str(finding)) for finding in self.findings]
        return "<br>".join(lines) or f"Nothing found in {self._checks} checks."


def roc_area(positive, negative):
    """Probability that a positive score exceeds a negative one; ties count half."""
    difference = np.subtract.outer(positive, negative)
    return float((difference > 0).mean() + (difference == 0).mean() / 2)


def _nearest(images):
    """Median over images of the root mean square difference to the most similar other image."""
    x = (images - images.mean(axis=0)).reshape(len(images), -1)
    norms = (x**2).sum(axis=1)
    squares = norms[:, None] + norms - 2.0 * x @ x.T
    np.fill_diagonal(squares, np.inf)
    return float(np.sqrt(np.median(squares.min(axis=1).clip(0)) / x.shape[1]))
