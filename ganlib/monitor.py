"""Health checks for anybody's GAN, as one Keras callback.

The model needs two attributes, `generator` and `discriminator`, both Keras models; logs that hold
`d_loss` and `g_loss` sharpen the checks. `Adversarial` and the DCGAN of keras.io's examples are
such models. Without `fit`, call the callback's methods yourself:

    monitor = HealthMonitor(images[:256])
    monitor.set_model(types.SimpleNamespace(generator=g, discriminator=d))
    monitor.on_train_begin()
    for epoch in range(epochs):
        ...
        monitor.on_epoch_end(epoch, {"d_loss": d_loss, "g_loss": g_loss})
"""

import dataclasses
import hashlib
import html
import itertools

import keras
import numpy as np

from ganlib import losses

PLAYERS = ("generator", "discriminator")
REACHES = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
STATISTICS = {"moving_mean", "moving_variance"}
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


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a check saw."""

    check: str  # its name, such as "generator_blank"
    epoch: int  # from 1, when it was reported
    evidence: str  # the numbers, each beside what it is compared with
    remedy: str  # what to try

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


class HealthMonitor(keras.callbacks.Callback):
    """Names what goes wrong in a GAN while it trains, with evidence and a remedy.

    At the end of each epoch (or every `frequency` batches) it runs both players in inference mode
    on a fixed batch; the training stays as it is. A state is reported when it holds for `patience`
    checks in a row; what cannot heal (a loss that is not finite, a value-range mismatch) at once.
    Each check reports once. Of a frozen player nothing else is said: it would only follow.

    Args:
        real: array `(n, height, width, channels)` of training images, as the discriminator sees
            them; 64 to 256 are enough.
        loss: `AdversarialLoss` or its name, for the chance and floor values of `d_loss`. `None`:
            the model's `adversarial_loss`. Without one, a discriminator that ends in a sigmoid is
            judged by binary cross-entropy, and any other by the ROC area alone.
        patience: int, checks in a row.
        warm_up: int, checks before the first one that counts: a generator starts out grey, and may
            stay so for hundreds of steps if it is not normalised. Raise it for a small `frequency`.
        stop_on: names of checks that set the model's `stop_training`, or `"all"`.
        frequency: `"epoch"`, or an int: batches between two checks.
        thresholds: `Thresholds`.
        latents: array, what the generator is called on. `None`: as many latents as real images,
            drawn from N(0, 1), the same each time.

    Attributes:
        findings: list of `Finding`, in the order they were made.

    Raises:
        ValueError: an argument is not as above; the model lacks a player or an input shape.
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
        self.findings = []
        self._checks, self._streaks, self._fingerprints = 0, {}, None
        self._unchecked = 0  # batches since the last check
        self._epoch, self._batch = 0, -1  # the last batch seen in this epoch

    # -- Keras' side -------------------------------------------------------------------------------

    def on_train_begin(self, logs=None):
        model = self.model
        if not all(hasattr(model, player) for player in PLAYERS):
            raise ValueError(
                "The model needs the attributes `generator` and `discriminator`; ganlib.monitor's "
                f"docstring shows how to do without. Received: {type(model).__name__}"
            )
        if self.latents is None:
            self.latents = self._draw_latents(getattr(model.generator, "input_shape", None))
        self._sigmoid = _last_activation(model.discriminator) == "sigmoid"
        self._loss = self.loss or getattr(model, "adversarial_loss", None)
        self._guessed = self._loss is None and self._sigmoid
        if self._guessed:
            self._loss = losses.NonSaturating()
        if self._fingerprints is None:  # else resumed: the last check's
            self._fingerprints = _fingerprints(self.model)
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
        self._checks += 1
        self._unchecked = 0
        logged = {
            key: float(np.mean(keras.ops.convert_to_numpy(value)))  # a tensor in a custom step
            for key, value in (logs or {}).items()
            if "loss" in key
        }
        fakes = self._run(self.model.generator, self.latents)
        scores = self._scores(self.real), self._scores(fakes)
        outputs = {"G's output": fakes, "D's output": np.concatenate(scores)}
        if evidence := _not_finite({**logged, **outputs}):
            self._report("non_finite_loss", evidence)
            return  # all that follows would only repeat it
        before, self._fingerprints = self._fingerprints, _fingerprints(self.model)
        faults = self._generator_faults(fakes), self._discriminator_faults(logged, *scores)
        observed = {}
        for player, others in zip(PLAYERS, faults, strict=True):
            weights = getattr(self.model, player).weights
            # Weights that were built since the last check have moved.
            pairs = itertools.zip_longest(before[player], self._fingerprints[player])
            moved = [was != now for was, now in pairs]
            if evidence := _frozen(player, weights, moved):
                observed[f"{player}_frozen"] = evidence
                continue
            if evidence := _statistics_unmoved(player, weights, moved):
                observed.setdefault("batch_norm_not_updated", evidence)
            observed |= others
        if self._checks <= self.warm_up:
            return
        self._streaks = {name: self._streaks.get(name, 0) + 1 for name in observed}
        for name, evidence in observed.items():
            if self._streaks[name] >= self.patience:
                self._report(name, evidence)

    def _report(self, check, evidence):
        if check in {finding.check for finding in self.findings}:
            return
        self.findings.append(Finding(check, self._epoch + 1, evidence, REMEDIES[check]))
        if check in self.stop_on:
            self.model.stop_training = True

    def _run(self, player, inputs):
        outputs = [
            keras.ops.convert_to_numpy(player(inputs[i : i + 64], training=False))
            for i in range(0, len(inputs), 64)
        ]
        return np.concatenate(outputs).astype("float32")

    def _scores(self, images):
        """A logit per image; the mean over patches where the discriminator judges patches."""
        outputs = self._run(self.model.discriminator, images)
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
            return {"generator_blank": f"{text.format(fake)} {real:.4f} {n}."}
        fake, real = _nearest(fakes), _nearest(self.real)
        if fake < t.collapsed * real:
            text = "A fake differs from the fake most like it by {:.4f} a pixel, a real image from"
            return {"generator_collapsed": f"{text.format(fake)} its like by {real:.4f} {n}."}
        return {}

    def _range_evidence(self):
        activation = _last_activation(self.model.generator)
        if activation not in REACHES:
            return None
        (low, high), real, t = REACHES[activation], self.real, self.thresholds
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

    def _draw_latents(self, shape):
        if not isinstance(shape, tuple) or not all(isinstance(size, int) for size in shape[1:]):
            raise ValueError(
                "Pass `latents`: the shape of the generator's input must be known to draw them. "
                f"Received: generator.input_shape={shape}"
            )
        size = len(self.real), *shape[1:]
        return np.random.default_rng(0).normal(size=size).astype("float32")

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


def _fingerprints(model):
    """A hash of each weight's values, by player: small, whatever the model's size."""

    def fingerprint(weight):
        values = keras.ops.convert_to_numpy(weight).tobytes()
        return hashlib.blake2b(values, digest_size=8).hexdigest()

    return {player: [fingerprint(w) for w in getattr(model, player).weights] for player in PLAYERS}


def _frozen(player, weights, moved):
    # Kernels only: biases may rest at zero gradient, statistics move without any gradient.
    kernels = [moves for w, moves in zip(weights, moved, strict=True) if len(w.shape) > 1]
    if not kernels or any(kernels):
        return None
    return f"0 of the {player}'s {len(kernels)} kernels have changed since the last check."


def _statistics_unmoved(player, weights, moved):
    layers = {}
    for weight, moves in zip(weights, moved, strict=True):
        layer, _, name = weight.path.rpartition("/")
        layers.setdefault(layer, {})[name] = moves
    norms = {layer: moves for layer, moves in layers.items() if moves.keys() >= STATISTICS}
    still = []
    for layer, moves in norms.items():
        others = [moves[name] for name in moves.keys() - STATISTICS]
        # One whose own weights rest as well was frozen on purpose.
        if not any(moves[name] for name in STATISTICS) and (any(others) or not others):
            still.append(layer)
    return still and (
        f"{len(still)} of the {player}'s {len(norms)} batch normalisations ({still[0]} first) have "
        "kept their moving statistics since the last check, while it trains."
    )


def _nearest(images):
    """Median over images of the root mean square difference to the most similar other image."""
    x = (images - images.mean(axis=0)).reshape(len(images), -1)
    norms = (x**2).sum(axis=1)
    squares = norms[:, None] + norms - 2.0 * x @ x.T
    np.fill_diagonal(squares, np.inf)
    return float(np.sqrt(np.median(squares.min(axis=1).clip(0)) / x.shape[1]))


def _last_activation(model):
    """Name of the activation that makes the outputs; `None` if the model doesn't show it."""
    passing = (keras.layers.Reshape, keras.layers.Flatten, keras.layers.Cropping2D)
    # A subclass lists its layers as they were assigned, which need not be how they are called.
    while isinstance(model, keras.Model) and getattr(model, "inputs", None):
        model = [layer for layer in model.layers if not isinstance(layer, passing)][-1]
    return getattr(getattr(model, "activation", None), "__name__", None)
