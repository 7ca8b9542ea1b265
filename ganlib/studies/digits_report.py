"""Tables, figures and claims of the digits study, from its run directories alone."""

import functools
import math

import numpy as np
import pandas

from ganlib.apply import read_grid
from ganlib.report import figures as draw
from ganlib.report.claims import CANNOT_TELL, Claim, judge, judge_interval
from ganlib.studies.digits import PRINTED
from ganlib.studies.results import NEGATIVE, POSITIVE, Results, unanimous

METRICS = {"confidence": "confidence", "digit_score": "digit score"}
METRICS |= {"frechet_distance": "Fréchet distance", "missing_digits": "missing digits"}
METRICS |= {"output_slope": "slope of G's output"}
BOUNDS = {"digit_score": (1, 10), "missing_digits": (0, 10), "frechet_distance": (0, math.inf)}
BOUNDS |= dict.fromkeys(("confidence", "output_slope"), (0, 1))
LIMITS = {"real": "real digits (ceiling)", "noise": "noise (floor)"}
ACCURACIES = ["accuracy_real", "accuracy_fake"]


class DigitsResults(Results):
    """The finished trials of a digits study; see `Results`."""

    bounds = BOUNDS
    figures = ("samples", "accuracy", "quality", "histogram")
    tables = ("scores", "differences", "costs", "findings", "trials")

    @functools.cached_property
    def baselines(self):
        """Quality of real digits ("real") and of noise."""
        folder = next(iter(self.folders.values())).parent
        return self.data.baselines(folder, self.results[0]["recipe"]["samples"])

    def scores(self):
        """Quality of the generated digits, between noise and real digits."""
        limits = {label: self.baselines[key] for key, label in LIMITS.items()}
        return self.between(METRICS, limits, n="n", first=("status", "status"))

    def differences(self):
        """Each variation less the base run, same data and seeds."""
        rows = []
        for name in self.names:
            if name != "base" and self.of("base"):
                gaps = {f"Δ {v}": f"{self.paired(name, k):+.3g}" for k, v in METRICS.items()}
                rows.append({"variation": name, **gaps})
        return pandas.DataFrame(rows)

    def samples_figure(self):
        """The same latents through each variation's generator, and real digits."""
        folders = {name: self.folders[self.of(name)[0]["id"]] / "samples" for name in self.names}
        panels = {n: read_grid(max(path.glob("*.png")), 28) for n, path in folders.items()}
        return draw.picture_panels({**panels, "real digits": self.data.real.as_range("unit")})

    def accuracy_figure(self):
        """D's accuracy over epochs by hard labels, and what the write-up's metric prints."""
        rows, shared = -(-len(self.names) // 3), {"sharex": True, "sharey": True}
        with draw.style() as plt:
            size = (draw.PAGE, 1.45 * rows + 0.4)
            figure, axes = plt.subplots(rows, 3, figsize=size, squeeze=False, **shared)
            for ax in axes.flat[len(self.names) :]:
                ax.axis("off")
            for ax, name in zip(axes.flat, self.names, strict=False):
                for side, color in (("real", "C0"), ("fake", "C1")):
                    for key, line in (("accuracy", "-"), ("printed", ":")):
                        column, label = f"{key}_{side}", f"{side}, {key}"
                        draw.curve(ax, self.history(name), column, label, color, line)
                ax.set(title=name, ylim=(-0.05, 1.05), xlabel="epoch")
                ax.label_outer()
            figure.supylabel(f"D's accuracy on {PRINTED} images", fontsize=8)
            draw.legend_below(figure, axes.flat[:1], 4)
        return figure

    def quality_figure(self):
        """Digit score and Fréchet distance of each variation, between noise and real digits."""
        with draw.style() as plt:
            size = (draw.PAGE, 0.24 * len(self.names) + 0.9)
            figure, axes = plt.subplots(1, 2, figsize=size, sharey=True)
            for ax, key in zip(axes, ("digit_score", "frechet_distance"), strict=True):
                for y, name in enumerate(reversed(self.names)):
                    values = self.values(name, key)
                    ax.plot(values, [y] * len(values), "o", color="C0", alpha=0.5)
                    interval = self.interval(name, key)
                    if interval.low is not None:
                        ax.plot([interval.low, interval.high], [y, y], color="C0")
                for label, color in (("real", "C2"), ("noise", "C1")):
                    level = self.baselines[label][key]
                    ax.axvline(level, color=color, ls="--", label=f"{label} images")
                better = "higher" if key == "digit_score" else "lower"
                ax.set_xlabel(f"{METRICS[key]} ({better} is better)")
            axes[0].set_yticks(range(len(self.names)), self.names[::-1])
            axes[1].set_xscale("log")
            draw.legend_below(figure, axes[:1], 2)
        return figure

    def histogram_figure(self):
        """Share of each digit, and of pictures that are none; an even share is 10 %."""
        each = {name: [r["metrics"] for r in self.of(name)] for name in self.names}
        each["real digits"] = [self.baselines["real"]]
        shares = [np.mean([[*q["histogram"], q["no_digit"]] for q in n], 0) for n in each.values()]
        with draw.style() as plt:
            figure, ax = plt.subplots(figsize=(draw.COLUMN, 0.2 * len(shares) + 0.7))
            digits, label = [*range(10), "none"], "% of pictures"
            draw.heatmap(figure, ax, 100 * np.stack(shares), list(each), digits, 30, label)
            ax.set_xlabel("digit it is taken for")
            ax.axvline(9.5, color="white", lw=2)
        return figure

    def statements(self):
        if not self.of("base"):
            return
        if self.of("tanh"):
            yield from self._of_tanh()
        # "Hardly" is a tenth of the way from noise to real digits.
        real, noise = (self.baselines[key]["digit_score"] for key in LIMITS)
        margin = 0.1 * (real - noise)
        alike = {"low": -margin, "high": margin, "note": f"Taken as equal within ±{margin:.2f}."}
        time = {"measure": "seconds_per_epoch", "label": "seconds an epoch", "ratio": True}
        text = "Half the latent values hardly change the quality."
        yield self.compare(text, "latent-50", "digit_score", **alike)
        text = "Half the latent values hardly change the time (reported: 40 s of 79 min)."
        yield self.compare(text, "latent-50", low=0.95, high=1.05, **time)
        if self.of("label-smoothing"):
            yield self._smoothing_zero()
        text = "With label smoothing the pictures are as good as the base run's."
        yield self.compare(text, "label-smoothing", "digit_score", **alike)
        if self.of("least-squares"):
            yield self._losses_diversity()
        text = "Noise on D's inputs keeps D from ending as a coin flip."
        label = "D's training accuracy above 50 % in the last epoch"
        yield self.compare(text, "instance-noise", self._advantage, label, **POSITIVE)
        text = "Batch normalisation in G makes D's accuracies steadier."
        label = "mean change of D's accuracies from epoch to epoch"
        yield self.compare(text, "batch-norm", self._unrest, label, **NEGATIVE)
        text = "Batch normalisation makes an epoch about 13 % slower (89 against 79 min)."
        yield self.compare(text, "batch-norm", low=1.05, high=1.25, **time)

    def _of_tanh(self):
        blank = [_is_blank(result) for result in self.of("tanh")]
        tanh, base = (self.interval(n, "digit_score") for n in ("tanh", "base"))
        evidence = f"Blank: {sum(blank)} of {len(blank)} runs. Digit score {tanh}, base {base}."
        text = "Tanh output with pixels in [-1, 1]: the pictures are almost blank."
        yield Claim(text, unanimous(blank), evidence)
        plain = [r for r in self.results if not r["recipe"]["batch_norm"]]
        outputs = {"sigmoid": [], "tanh": []}
        for result in plain:
            outputs[result["recipe"]["output"]].append(_is_blank(result))
        told = ", ".join(f"{sum(runs)} of {len(runs)} {name}" for name, runs in outputs.items())
        holds = judge(not any(outputs["sigmoid"]) if any(map(_is_blank, plain)) else None)
        evidence = f"Blank without batch normalisation: {told}."
        yield Claim("The tanh output is what makes the pictures blank.", holds, evidence)
        least = min(history[ACCURACIES].min().min() for history in self.history("tanh"))
        text = "With tanh, D is 100 % right on real and fake images in every epoch."
        evidence = f"Lowest accuracy of any epoch: {least:.0%} (n = {PRINTED} images a side)."
        yield Claim(text, judge(least == 1.0), evidence)

    def _smoothing_zero(self):
        histories = self.history("label-smoothing")
        printed = max(history["printed_real"].max() for history in histories)
        hard = float(np.mean([history["accuracy_real"].mean() for history in histories]))
        evidence = f"Printed: at most {printed:.0%}; by hard labels {hard:.0%}, mean over epochs."
        text = "With label smoothing D is 0 % right on real images in every epoch."
        return Claim(text, judge(hard < 0.01), evidence)

    def _losses_diversity(self):
        names = filter(self.of, ("least-squares", "hinge"))
        gaps = {name: self.paired(name, "digit_score") for name in names}
        found = {judge_interval(gap, **POSITIVE) for gap in gaps.values()}
        verdict = found.pop() if len(found) == 1 else CANNOT_TELL
        told = "; ".join(f"{name} {gap:+.3f}" for name, gap in gaps.items())
        text = "Another loss remedies a lack of diversity."
        return Claim(text, verdict, f"digit score less base: {told}")

    def _advantage(self, result):  # of D over a coin, at the end of training
        last = self.histories[result["id"]].iloc[-1]
        return float(last[["d_accuracy_real", "d_accuracy_fake"]].mean() - 0.5)

    def _unrest(self, result):
        return float(self.histories[result["id"]][ACCURACIES].diff().abs().mean().mean())


def _is_blank(result):
    return any(f["check"] == "generator_blank" for f in result["metrics"]["findings"])


write_report = DigitsResults.report
