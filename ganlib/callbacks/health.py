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

import keras
import numpy as np

from ganlib import losses
from ganlib.callbacks import fingerprints, players
from ganlib.callbacks.players import PLAYERS

STATE = ("checks", "streaks", "unchecked", "fingerprints")


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """When a check speaks. Each is a number that the finding's evidence shows."""

    saturated_loss: float = 0.05  # share of the way from the loss's floor to its chance value
    chance_loss: float = 0.01  # relative distance from the chance value
    chance_area: float = 0.05  # of the ROC area from 0.5, where only the order of outputs counts
    collapsed: float = 0.1  # distance to the most similar fake, as a share of the same among real
    blank: float = 0.05  # contrast within fakes, as a share of the contrast within real images
    outside: float = 0.01  # share of the data's pixel values that the generator can't reach
    covered: float = 0.05  # share of the generator's range that the data spans
    pinned: float = 0.999  # share of the fakes' values at the ends of the generator's activation


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
    "discriminator_frozen": "Compile no model that shares it after `trainable = False`: Keras 3 "
    "reads that flag when it traces. Differentiate by each player's variables instead.",
    "generator_frozen": "Check that its variables reach an optimizer and the loss depends on them.",
    "batch_norm_not_updated": "Call the player with training=True in the training step.",
    "discriminator_saturated": "Weaken the discriminator (dropout, instance noise, R1, a lower "
    "learning rate) or strengthen the generator (batch normalisation).",
    "discriminator_at_chance": "Give the discriminator more steps, width or learning rate; if it "
    "was better before, add instance noise or change the loss.",
    "generator_collapsed": "Try another loss (hinge, Wasserstein with gradient penalty), R1, or "
    "batch normalisation.",
    "generator_blank": "Restart with a weaker discriminator, a normalised generator or a lower "
    "learning rate. Waiting seldom helps.",
}
# In place of the remedy for a frozen player, which is about wiring.
AT_REST = (
    "It rests because its optimizer says so. If that is not meant, give it a learning rate above "
    "0, and its schedule an end above 0."
)


class HealthMonitor(keras.callbacks.Callback):
    """Names what goes wrong in a GAN while it trains, with evidence and a remedy.

    At the end of each epoch (or every `frequency` batches) it runs both players in inference mode
    on a fixed batch; the training stays as it is. A state is reported when it holds for `patience`
    checks in a row; what cannot heal (a loss that is not finite, a value-range mismatch) at once.
    Each check reports once. Of a frozen player nothing else is said: it would only follow.

    What the model must have:

    * `generator`: Keras model, latents to images `(n, height, width, channels)`. What ends in a
      sigmoid or tanh is held against the range of the data.
    * `discriminator`: Keras model of images alone, to one score an image, `(n, 1)` or `(n,)`, or
      one a patch, `(n, height, width, 1)`; logits or probabilities. Whether real images are
      labelled 1 or 0 does not matter.

    What it may have, and what is left out without it:

    * `latent_dim`: int, where the generator does not show its input shape. Otherwise latents are
      drawn for `generator.input_shape`. Conditional generators need `latents`.
    * logs with `d_loss` and `g_loss`: every log with "loss" in its name must be finite; `d_loss` is
      read beside `loss`. Without them the monitor goes by what the players put out.
    * `adversarial_loss`: an `AdversarialLoss`. Without it and without `loss` a discriminator of
      logits is judged by its ROC area alone: at chance, but never saturated.
    * `d_optimizer` and `g_optimizer` (or `discriminator_optimizer`, `disc_optimizer`, …), or an
      `optimizer`: a player at learning rate 0 is called resting, not badly wired. `stop_on="all"`
      lets it rest.

    Args:
        real: array `(n, height, width, channels)` of training images, as the discriminator sees
            them, value range included; 64 to 256 are enough.
        loss: `AdversarialLoss` or its name, for the chance and floor values of `d_loss`. `None`:
            the model's `adversarial_loss`. Without one, a discriminator of probabilities is judged
            by binary cross-entropy, and any other by the ROC area alone.
        patience: int, checks in a row.
        warm_up: int, checks before the first one that counts: a generator starts out grey, and may
            stay so for hundreds of steps if it is not normalised. Raise it for a small `frequency`.
        stop_on: names of checks that set the model's `stop_training`, or `"all"`.
        frequency: `"epoch"`, or an int: batches between two checks.
        thresholds: `Thresholds`.
        latents: what the generator is called on: an array, or a list or dict of arrays. `None`: as
            many latents as real images, drawn from N(0, 1), the same each time.
        from_logits: bool, whether the discriminator gives logits. `None`: unless its last layer is
            a sigmoid, which a subclassed model does not show.

    Attributes:
        findings: list of `Finding`, in the order they were made.

    Raises:
        ValueError: an argument is not as above; before training, the model is not as above, or it
            and the images do not fit each other.
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
        self.real = np.asarray(real, "float32")
        if self.real.ndim != 4 or len(self.real) < 2 or not np.isfinite(self.real).all():
            raise ValueError(
                "`real` must hold at least two images, (n, height, width, channels), without NaN "
                f"or infinity. Received: shape {self.real.shape}"
            )
        self.stop_on = tuple(REMEDIES) if stop_on == "all" else tuple(stop_on)
        if unknown := set(self.stop_on) - set(REMEDIES):
            raise ValueError(
                f"`stop_on` names checks among {sorted(REMEDIES)}. Received: {sorted(unknown)}"
            )
        if frequency != "epoch" and not (isinstance(frequency, int) and frequency > 0):
            raise ValueError(
                f'`frequency` must be "epoch" or a positive int. Received: frequency={frequency!r}'
            )
        self.loss = None if loss is None else losses.get(loss)
        self.patience = patience
        self.warm_up = warm_up
        self.frequency = frequency
        self.thresholds = thresholds or Thresholds()
        self.latents = latents
        self.from_logits = from_logits
        self._rest_stops = stop_on != "all"
        self.findings = []
        self._checks, self._streaks, self._fingerprints = 0, {}, None
        self._unchecked = 0  # batches since the last check
        self._epoch, self._batch = 0, -1  # the last batch seen in this epoch

    # -- Keras' side -------------------------------------------------------------------------------

    def on_train_begin(self, logs=None):
        model = self.model
        players.check_players(model)
        self._latents = players.find_latents(model, self.real, self.latents)
        players.try_out(model, self.real, self._latents, self.from_logits)
        self._activation = players.last_activation(model.generator)
        self._sigmoid = self.from_logits is False or (
            self.from_logits is None
            and players.last_activation(model.discriminator) in players.PROBABILITIES
        )
        self._loss = self.loss or getattr(model, "adversarial_loss", None)
        self._guessed = self._loss is None and self._sigmoid
        if self._guessed:
            self._loss = losses.NonSaturating()
        if self._fingerprints is None:  # else resumed: the last check's
            self._fingerprints = fingerprints.take(self.model)
        if evidence := self._range_evidence():
            self._report("value_range_mismatch", evidence)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        self._batch = -1

    def on_train_batch_end(self, batch, logs=None):
        self._unchecked += batch - self._batch  # more than 1 with steps_per_execution
        self._batch = batch
        if self.frequency != "epoch" and self._unchecked >= self.frequency:
            self.check(logs)

    def on_epoch_end(self, epoch, logs=None):
        self._epoch = epoch
        if self.frequency == "epoch":
            self.check(logs)

    # -- the checks --------------------------------------------------------------------------------

    def check(self, logs=None):
        """Runs all checks once, on the model as it is and the losses in `logs`."""
        if self._fingerprints is None:
            raise RuntimeError("Call set_model(model) and on_train_begin() before the first check.")
        self._checks += 1
        self._unchecked = 0
        logged = {
            key: float(np.mean(keras.ops.convert_to_numpy(value)))  # a tensor in a custom step
            for key, value in (logs or {}).items()
            if "loss" in key and value is not None
        }
        shape = self.real.shape[1:]
        fakes = players.run(self.model.generator, self._latents, shape, "The generator")
        scores = self._scores(self.real), self._scores(fakes)
        outputs = {"G's output": fakes, "D's output": np.concatenate(scores)}
        if evidence := _not_finite({**logged, **outputs}):
            self._report("non_finite_loss", evidence)
            return  # all that follows would only repeat it
        before, self._fingerprints = self._fingerprints, fingerprints.take(self.model)
        faults = self._generator_faults(fakes), self._discriminator_faults(logged, *scores)
        observed = {}
        for player, others in zip(PLAYERS, faults, strict=True):
            weights = getattr(self.model, player).weights
            moved = fingerprints.moved(before[player], self._fingerprints[player])
            frozen = fingerprints.frozen(player, weights, moved)
            if frozen and players.at_rest(self.model, player):
                evidence = f"{frozen} Its optimizer's learning rate is 0."
                observed[f"{player}_frozen"] = evidence, AT_REST
                continue
            # Where an activation is pinned to its ends no gradient passes: the wiring is right.
            if frozen and not (player == "generator" and others and self._pinned(fakes)):
                observed[f"{player}_frozen"] = frozen, REMEDIES[f"{player}_frozen"]
                continue
            if evidence := fingerprints.statistics_unmoved(player, weights, moved):
                others = {"batch_norm_not_updated": evidence} | others
            for name, evidence in others.items():
                observed.setdefault(name, (evidence, REMEDIES[name]))
        if self._checks <= self.warm_up:
            return
        self._streaks = {name: self._streaks.get(name, 0) + 1 for name in observed}
        for name, (evidence, remedy) in observed.items():
            if self._streaks[name] >= self.patience:
                self._report(name, evidence, remedy)

    def _report(self, check, evidence, remedy=None):
        remedy = remedy or REMEDIES[check]
        # A player that rests and is badly wired later is both.
        if (check, remedy) in {(finding.check, finding.remedy) for finding in self.findings}:
            return
        self.findings.append(Finding(check, self._epoch + 1, evidence, remedy))
        if check in self.stop_on and (remedy != AT_REST or self._rest_stops):
            self.model.stop_training = True

    def _scores(self, images):
        """A logit per image; the mean over patches where the discriminator judges patches."""
        shape = images.shape[1:]
        outputs = players.run(self.model.discriminator, images, shape, "The discriminator")
        players.check_scores(outputs)  # again: one that was not built yet was not tried
        scores = outputs.reshape(len(images), -1).mean(axis=1)
        if not self._sigmoid:
            return scores
        p = np.clip(scores.astype("float64"), 1e-12, 1 - 1e-12)
        return (np.log(p) - np.log1p(-p)).astype("float32")

    def _discriminator_faults(self, logged, real, fake):
        loss, t = self._loss, self.thresholds
        # By binary cross-entropy, were it 0 for reals: keras.io's DCGAN labels the fakes 1.
        if self._guessed and real.mean() < fake.mean():
            real, fake = -real, -fake
        area = roc_area(real, fake)
        pairs = f"{len(real)} × {len(fake)} pairs (chance: 50%)"
        ranks = f"D ranks a real image above a fake one in {area:.1%} of {pairs}."
        if loss is None or not loss.chance:  # only the order of the outputs counts
            at_chance = abs(area - 0.5) <= t.chance_area
            return {"discriminator_at_chance": ranks} if at_chance else {}
        measured = {"in inference mode": float(loss.discriminator_loss(real, fake))}
        if "d_loss" in logged and not self._guessed:  # else: a mean or a sum, smoothed or not
            measured["in training"] = logged["d_loss"]
        text = f"D's loss is {' and '.join(f'{v:.4f} {where}' for where, v in measured.items())}"
        if all(abs(value / loss.chance - 1) <= t.chance_loss for value in measured.values()):
            text = f"{text}; without information it is {loss.chance:.4f}. {ranks}"
            return {"discriminator_at_chance": text}
        if loss.floor is None:
            return {}
        share = (max(measured.values()) - loss.floor) / (loss.chance - loss.floor)
        way = f"from perfect ({loss.floor:.4f}) to chance ({loss.chance:.4f})"
        text = f"{text}, at most {max(share, 0):.1%} of the way {way}. {ranks}"
        return {"discriminator_saturated": text} if share <= t.saturated_loss else {}

    def _generator_faults(self, fakes):
        t, n = self.thresholds, f"(n = {len(fakes)} and {len(self.real)})"
        fake, real = (images.std(axis=(1, 2)).mean() for images in (fakes, self.real))
        if fake < t.blank * real:
            text = "The standard deviation within a fake is {:.4f} on average, within a real image"
            text = f"{text.format(fake)} {real:.4f} {n}."
            return {"generator_blank": f"{text}{self._pinned(fakes)}"}
        fake, real = _nearest(fakes), _nearest(self.real)
        if fake < t.collapsed * real:
            text = "A fake differs from the fake most like it by {:.4f} a pixel, a real image from"
            text = f"{text.format(fake)} its like by {real:.4f} {n}."
            return {"generator_collapsed": f"{text}{self._pinned(fakes)}"}
        return {}

    def _pinned(self, fakes):
        """A sentence if the generator's activation has reached its ends; "" if not."""
        if self._activation not in players.REACHES:
            return ""
        low, high = players.REACHES[self._activation]
        share = ((fakes < low + 1e-6) | (fakes > high - 1e-6)).mean()
        if share < self.thresholds.pinned:
            return ""
        text = f" {share:.1%} of the values lie at the ends of its {self._activation}"
        return f"{text}, where hardly any gradient passes."

    def _range_evidence(self):
        activation = self._activation
        if activation not in players.REACHES:
            return None
        (low, high), real, t = players.REACHES[activation], self.real, self.thresholds
        width = high - low
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
        return (
            f"The generator's {activation} reaches [{low:g}, {high:g}], the data lies in "
            f"[{real.min():.3g}, {real.max():.3g}]: {text}."
        )

    def get_state(self):
        """JSON values; a resumed run sees the same streaks and findings."""
        findings = [dataclasses.asdict(finding) for finding in self.findings]
        return {"findings": findings, **{name: getattr(self, f"_{name}") for name in STATE}}

    def set_state(self, state):
        self.findings = [Finding(**finding) for finding in state["findings"]]
        for name in STATE:
            setattr(self, f"_{name}", state[name])

    def __repr__(self):
        names = ", ".join(finding.check for finding in self.findings) or "nothing found"
        return f"<HealthMonitor: {names}>"

    def _repr_html_(self):
        if not self.findings:
            return f"<p>HealthMonitor: nothing found in {self._checks} checks.</p>"
        lines = ["<tr><th>check</th><th>epoch</th><th>evidence</th><th>remedy</th></tr>"]
        for finding in self.findings:
            cells = (html.escape(str(value)) for value in dataclasses.astuple(finding))
            lines.append(f"<tr><td>{'</td><td>'.join(cells)}</td></tr>")
        return f"<table style='text-align:left'>{''.join(lines)}</table>"


def roc_area(positive, negative):
    """Probability that a positive score exceeds a negative one; ties count half."""
    difference = np.subtract.outer(positive, negative)
    return float((difference > 0).mean() + (difference == 0).mean() / 2)


def _not_finite(outputs):
    for name, values in outputs.items():
        values = np.ravel(values)
        bad = values[~np.isfinite(values)]
        if len(bad):
            return f"{name} became {bad[0]} ({len(bad)} of {len(values)} values)."
    return None


def _nearest(images):
    """Median over images of the root mean square difference to the most similar other image."""
    x = (images - images.mean(axis=0)).reshape(len(images), -1)
    norms = (x**2).sum(axis=1)
    squares = norms[:, None] + norms - 2.0 * x @ x.T
    np.fill_diagonal(squares, np.inf)
    return float(np.sqrt(np.median(squares.min(axis=1).clip(0)) / x.shape[1]))
