"""Health checks for anybody's GAN, as one Keras callback.

The model needs two attributes, `generator` and `discriminator`, both Keras models; logs that hold
`d_loss` (and `g_loss`) make the loss checks possible. `Adversarial` and the DCGAN of keras.io's
examples are such models. Without `fit`, call the callback's methods yourself:

    monitor = HealthMonitor(images[:256])
    monitor.set_model(types.SimpleNamespace(generator=g, discriminator=d))
    monitor.on_train_begin()
    for epoch in range(epochs):
        ...
        monitor.on_epoch_end(epoch, {"d_loss": d_loss, "g_loss": g_loss})
"""

import dataclasses
import html
import math

import keras
import numpy as np


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """When a check speaks. Each is a number that the finding's evidence shows.

    Attributes:
        saturated_loss: share of the way from the loss's floor to its chance value.
        saturated_accuracy: least accuracy on real and on fake images.
        chance_loss: relative distance from the chance value.
        chance_auc: distance of the ROC area from 0.5.
        collapsed: spread between fakes, as a share of the spread between real images.
        blank: contrast within fakes, as a share of the contrast within real images.
        outside: share of the data's pixel values that the generator can't reach.
    """

    saturated_loss: float = 0.02
    saturated_accuracy: float = 0.995
    chance_loss: float = 0.01
    chance_auc: float = 0.05
    collapsed: float = 0.1
    blank: float = 0.05
    outside: float = 0.01


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a check saw.

    Attributes:
        check: name of the check, such as `"generator_blank"`.
        epoch: int from 1, when it was first seen.
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
    "batch_norm_not_updated": "Call the generator with training=True in the training step.",
    "discriminator_saturated": "Weaken the discriminator (dropout, instance noise, R1, a lower "
    "learning rate) or strengthen the generator (batch normalisation).",
    "discriminator_at_chance": "Give the discriminator more steps, width or learning rate; if it "
    "was better before, add instance noise or change the loss.",
    "generator_collapsed": "Try another loss (hinge, Wasserstein with gradient penalty), R1, or "
    "batch normalisation.",
    "generator_blank": "Restart with a weaker discriminator or a normalised generator; a lower "
    "learning rate leaves it time. Waiting seldom helps.",
}


class HealthMonitor(keras.callbacks.Callback):
    """Names what goes wrong in a GAN while it trains, with evidence and a remedy.

    At the end of each epoch (or every `frequency` batches) it samples a fixed batch of latents and
    runs both players in inference mode. A state is reported when it holds for `patience` checks in
    a row; what cannot heal (a non-finite loss, a value-range mismatch) at once. Each check reports
    once.

    Args:
        real: array `(n, height, width, channels)` of training images, as the discriminator sees
            them; 64 to 256 are enough.
        loss: `AdversarialLoss` or its name, for the chance and floor values of `d_loss`. `None`:
            the model's `adversarial_loss`; without one the loss checks rest on the ROC area alone.
        patience: int, checks in a row.
        warm_up: int, checks before the first one that counts: a generator starts out grey, and a
            discriminator knows nothing.
        stop_on: names of checks that end the training, or `"all"`.
        frequency: `"epoch"`, or an int: batches between two checks.
        thresholds: `Thresholds`.
        latents: array of latents to sample; drawn from N(0, 1) with a fixed seed by default.
        seed: int, of those latents.

    Attributes:
        findings: list of `Finding`, in the order they were made.

    Raises:
        ValueError: fewer than two real images, or an unknown check in `stop_on`.
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
        seed=0,
    ):
        super().__init__()
        self.real = np.asarray(real, "float32")
        if self.real.ndim != 4 or len(self.real) < 2:
            raise ValueError(
                "`real` must hold at least two images, (n, height, width, channels). Received: "
                f"shape {self.real.shape}"
            )
        self.stop_on = tuple(REMEDIES) if stop_on == "all" else tuple(stop_on)
        if unknown := set(self.stop_on) - set(REMEDIES):
            raise ValueError(
                f"`stop_on` names checks among {sorted(REMEDIES)}. Received: {sorted(unknown)}"
            )
        self.loss = loss
        self.patience = patience
        self.warm_up = warm_up
        self.frequency = frequency
        self.thresholds = thresholds or Thresholds()
        self.latents = latents
        self.seed = seed
        self.findings = []
        self._checks = 0
        self._streaks = {}
        self._epoch = 0

    # -- Keras' side -------------------------------------------------------------------------------

    def on_train_begin(self, logs=None):
        if self.latents is None:
            shape = (len(self.real), *self.model.generator.input_shape[1:])
            self.latents = np.random.default_rng(self.seed).normal(size=shape).astype("float32")
        loss = self.loss or getattr(self.model, "adversarial_loss", None)
        if isinstance(loss, str):
            from ganlib import losses

            loss = losses.get(loss)
        self._loss = loss
        self._logits = not _ends_in_sigmoid(self.model.discriminator)
        self._weights = self._copy_weights()
        if evidence := self._range_evidence():
            self._report("value_range_mismatch", evidence)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.frequency != "epoch" and (batch + 1) % self.frequency == 0:
            if hasattr(self.model, "jax_state_sync"):
                self.model.jax_state_sync()
            self.check(logs or {})

    def on_epoch_end(self, epoch, logs=None):
        self._epoch = epoch
        if self.frequency == "epoch":
            self.check(logs or {})

    # -- the checks --------------------------------------------------------------------------------

    def check(self, logs):
        """Runs all checks once, on the model as it is and the losses in `logs`."""
        self._checks += 1
        bad = [k for k in ("d_loss", "g_loss") if k in logs and not math.isfinite(logs[k])]
        if bad:
            self._report("non_finite_loss", f"{' and '.join(bad)} became {logs[bad[0]]}.")
            return  # everything below would only repeat it
        before, self._weights = self._weights, self._copy_weights()
        fakes = self._run(self.model.generator, self.latents)
        real_scores = self._scores(self.real)
        fake_scores = self._scores(fakes)
        observed = {
            "discriminator_frozen": _frozen(before, self._weights, "discriminator"),
            "generator_frozen": _frozen(before, self._weights, "generator"),
            "batch_norm_not_updated": _statistics_unmoved(before, self._weights),
            "discriminator_saturated": self._saturated(logs, real_scores, fake_scores),
            "discriminator_at_chance": self._at_chance(logs, real_scores, fake_scores),
            **self._generator_faults(fakes),
        }
        for name, evidence in observed.items():
            counts = evidence and self._checks > self.warm_up
            self._streaks[name] = self._streaks.get(name, 0) + 1 if counts else 0
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
        scores = self._run(self.model.discriminator, images).reshape(len(images), -1).mean(axis=1)
        if self._logits:
            return scores
        p = np.clip(scores.astype("float64"), 1e-12, 1 - 1e-12)
        return np.log(p) - np.log1p(-p)

    def _accuracies(self, real_scores, fake_scores):
        boundary = 0.0 if self._loss is None else self._loss.boundary
        if boundary is None:
            boundary = (real_scores.mean() + fake_scores.mean()) / 2
        return (real_scores > boundary).mean(), (fake_scores < boundary).mean()

    def _saturated(self, logs, real_scores, fake_scores):
        loss = self._loss
        if loss is None or loss.floor is None or "d_loss" not in logs:
            return None
        share = (logs["d_loss"] - loss.floor) / (loss.chance - loss.floor)
        accuracies = self._accuracies(real_scores, fake_scores)
        t = self.thresholds
        if share > t.saturated_loss or min(accuracies) < t.saturated_accuracy:
            return None
        return (
            f"D's loss is {logs['d_loss']:.4f}, {share:.1%} of the way from perfect "
            f"({loss.floor:.3f}) to chance ({loss.chance:.3f}); D is right on {accuracies[0]:.0%} "
            f"of real and {accuracies[1]:.0%} of fake images (n = {len(real_scores)} each), so G "
            "gets next to no gradient."
        )

    def _at_chance(self, logs, real_scores, fake_scores):
        area = roc_area(real_scores, fake_scores)
        if abs(area - 0.5) > self.thresholds.chance_auc:
            return None
        text = (
            f"D ranks a real image above a fake one in {area:.0%} of all pairs (chance: 50%, "
            f"n = {len(real_scores)} each)"
        )
        loss = self._loss
        if loss is None or not loss.chance or "d_loss" not in logs:
            return f"{text}."
        if abs(logs["d_loss"] / loss.chance - 1) > self.thresholds.chance_loss:
            return None
        return f"{text}; its loss is {logs['d_loss']:.4f}, without information {loss.chance:.4f}."

    def _generator_faults(self, fakes):
        faults = {"generator_blank": None, "generator_collapsed": None}
        if not np.isfinite(fakes).all():
            faults["generator_blank"] = "G's output holds NaN or infinity."
            return faults
        contrast, real_contrast = _contrast(fakes), _contrast(self.real)
        spread, real_spread = _spread(fakes), _spread(self.real)
        if contrast < self.thresholds.blank * real_contrast:
            faults["generator_blank"] = (
                f"The standard deviation within a fake is {contrast:.4f} on average, within a real "
                f"image {real_contrast:.4f} (n = {len(fakes)} each)."
            )
        elif spread < self.thresholds.collapsed * real_spread:
            faults["generator_collapsed"] = (
                f"Two fakes differ by {spread:.4f} a pixel (root mean square), two real images by "
                f"{real_spread:.4f} (n = {len(fakes)} each)."
            )
        return faults

    def _range_evidence(self):
        low, high = float(self.real.min()), float(self.real.max())
        reach = _reach(self.model.generator)
        if reach is None:
            return None
        outside = ((self.real < reach[0] - 1e-3) | (self.real > reach[1] + 1e-3)).mean()
        text = (
            f"The data lies in [{low:.3g}, {high:.3g}], the generator reaches only "
            f"[{reach[0]:g}, {reach[1]:g}]"
        )
        if outside > self.thresholds.outside:
            return f"{text}: {outside:.0%} of the data's pixel values can't be made."
        # Data in the upper half of a symmetric range: [0, 1] images for a tanh.
        if reach[0] < 0 <= low:
            return f"{text.replace('only ', '')}: the data never uses the lower half."
        return None

    def _copy_weights(self):
        copies = {}
        for player in ("generator", "discriminator"):
            for layer in getattr(self.model, player)._flatten_layers(include_self=False):
                is_norm = isinstance(layer, keras.layers.BatchNormalization)
                for variable in layer.weights:
                    kind = "weight"
                    if (is_norm and variable is layer.moving_mean) or (
                        is_norm and variable is layer.moving_variance
                    ):
                        kind = "statistic"
                    elif "seed_generator" in variable.path:
                        continue
                    value = keras.ops.convert_to_numpy(variable)
                    copies[player, kind, variable.path] = np.array(value)
        return copies

    # -- for a study -------------------------------------------------------------------------------

    def get_state(self):
        """JSON values; a resumed run sees the same streaks and findings."""
        return {
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
            "checks": self._checks,
            "streaks": dict(self._streaks),
        }

    def set_state(self, state):
        self.findings = [Finding(**finding) for finding in state["findings"]]
        self._checks = state["checks"]
        self._streaks = dict(state["streaks"])

    def __repr__(self):
        names = ", ".join(finding.check for finding in self.findings) or "nothing found"
        return f"<HealthMonitor: {names}>"

    def _repr_html_(self):
        if not self.findings:
            return f"<p>HealthMonitor: nothing found in {self._checks} checks.</p>"
        rows = "".join(
            f"<tr><td>{f.check}</td><td>{f.epoch}</td><td style='text-align:left'>"
            f"{html.escape(f.evidence)}</td><td style='text-align:left'>{html.escape(f.remedy)}"
            "</td></tr>"
            for f in self.findings
        )
        head = "<tr><th>check</th><th>epoch</th><th>evidence</th><th>remedy</th></tr>"
        return f"<table>{head}{rows}</table>"


def roc_area(positive, negative):
    """Probability that a positive score exceeds a negative one; ties count half."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)].sum()
    n, m = len(positive), len(negative)
    return float((ranks - n * (n + 1) / 2) / (n * m))


def _frozen(before, after, player):
    # Kernels only: biases may rest at zero gradient, statistics move without any gradient.
    keys = [k for k in after if k[0] == player and k[1] == "weight" and after[k].ndim > 1]
    if not keys or any(not np.array_equal(before[key], after[key]) for key in keys):
        return None
    return f"None of its {len(keys)} kernels has changed since the last check."


def _statistics_unmoved(before, after):
    keys = [key for key in after if key[1] == "statistic"]
    still = [key for key in keys if np.array_equal(before[key], after[key])]
    if not keys or not still:
        return None
    return (
        f"{len(still)} of {len(keys)} moving statistics have not changed since the last check, "
        f"first {still[0][2]} of the {still[0][0]}."
    )


def _contrast(images):
    return float(images.std(axis=(1, 2)).mean())


def _spread(images):
    """Root mean square difference of a pixel between two images: sqrt(2) × the pixels' std."""
    return float(np.sqrt(2.0 * images.var(axis=0).mean()))


def _last_activation(model):
    layer = model.layers[-1]
    activation = getattr(layer, "activation", None)
    return getattr(activation, "__name__", None) or type(layer).__name__.lower()


def _ends_in_sigmoid(model):
    return bool(getattr(model, "layers", None)) and _last_activation(model) == "sigmoid"


def _reach(generator):
    if not getattr(generator, "layers", None):
        return None
    return {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}.get(_last_activation(generator))
