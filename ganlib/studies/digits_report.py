"""Tables, figures and claims of the digits study, from its run directories alone."""

import functools

import numpy as np
import pandas

from ganlib.report.figures import COLUMN, PAGE, legend_below, picture_panels, read_grid, style
from ganlib.stats import (
    CANNOT_TELL,
    Claim,
    Claims,
    judge,
    judge_interval,
    judge_negative,
    judge_positive,
    mean_interval,
)
from ganlib.studies.digits import PRINTED
from ganlib.studies.results import Contents, Results, by_interval, unanimous

METRICS = {
    "confidence": "confidence",
    "digit_score": "digit score",
    "frechet_distance": "Fréchet distance",
    "missing_digits": "missing digits",
    "output_slope": "slope of G's output",
}
TABLES = {
    "scores": "Quality of the generated digits, between noise and real digits.",
    "differences": "Each variation less the base run, same data and seeds.",
    "costs": "Time and size of each variation.",
    "findings": "What the health monitor found.",
    "trials": "All numbers of all trials.",
}
ACCURACIES = ["accuracy_real", "accuracy_fake"]


class DigitsResults(Results):
    """The finished trials of a digits study; see `Results`."""

    @functools.cached_property
    def baselines(self):
        """Quality of real digits ("real") and of noise."""
        folder = next(iter(self.folders.values())).parent
        return self.data.baselines(folder, self.results[0]["recipe"]["samples"])

    @functools.cached_property
    def claims(self):
        """What the write-up reported, against our runs."""
        ready = {name for name in CLAIMS if self.of(name)} if self.of("base") else ()
        return Claims(
            tuple(make(self) for name in CLAIMS if name in ready for make in CLAIMS[name])
        )

    def contents(self):
        """The figures and tables of the report."""
        figures = {
            "samples": DigitsResults.samples_figure,
            "accuracy": DigitsResults.accuracy_figure,
            "quality": DigitsResults.quality_figure,
            "histogram": DigitsResults.histogram_figure,
        }
        return Contents(figures, TABLES)

    # -- tables ------------------------------------------------------------------------------------

    def scores(self):
        """Quality of each variation, between the rows "real digits" and "noise"."""
        rows = []
        for name in self.names:
            row = {"variation": name, "status": ", ".join({r["status"] for r in self.of(name)})}
            row |= self.row(name, METRICS)
            rows.append({**row, "n": self.values(name, "n")[0], "seeds": len(self.of(name))})
        for name, label in (("real", "real digits (ceiling)"), ("noise", "noise (floor)")):
            quality = self.baselines[name]
            row = {label: f"{quality[k]:.3g}" for k, label in METRICS.items() if k in quality}
            rows.append({"variation": label, **row, "n": quality["n"]})
        return pandas.DataFrame(rows, dtype=object).fillna("")

    def differences(self):
        """Each variation less the base run with the same seed and data."""
        rows = [
            {"variation": name}
            | {f"Δ {label}": f"{self.paired(name, key):+.3g}" for key, label in METRICS.items()}
            for name in self.names
            if name != "base" and self.of("base")
        ]
        return pandas.DataFrame(rows)

    def costs(self):
        """Seconds an epoch and parameters, with ratios to the base run."""
        rows = []
        for name in self.names:
            row = {"variation": name, **self.row(name, {"seconds_per_epoch": "seconds an epoch"})}
            row["ratio to base"] = f"{self.paired(name, 'seconds_per_epoch', ratio=True):.2f}"
            row["epochs"] = self.listed(name, "epochs")
            for player in "GD":
                count = self.values(name, f"{player.lower()}_parameters")[0]
                row[f"{player} parameters"] = count
            rows.append(row)
        return pandas.DataFrame(rows)

    def trials(self):
        """Every number of every trial, a row a trial."""
        shares = pandas.DataFrame([r["metrics"]["histogram"] for r in self.results])
        return super().trials().join(shares.add_prefix("share_of_"))

    # -- figures -----------------------------------------------------------------------------------

    def samples_figure(self):
        """The same latents through each variation's generator, and real digits."""
        folders = {name: self.folders[self.of(name)[0]["id"]] for name in self.names}
        last = {name: max((path / "samples").glob("*.png")) for name, path in folders.items()}
        panels = {name: read_grid(path, 28) for name, path in last.items()}
        return picture_panels({**panels, "real digits": self.data.real.as_range("unit")})

    def accuracy_figure(self):
        """D's accuracy over epochs by hard labels, and what the write-up's metric prints."""
        rows = -(-len(self.names) // 3)
        with style() as plt:
            size = (PAGE, 1.45 * rows + 0.4)
            shared = {"sharex": True, "sharey": True, "squeeze": False}
            figure, axes = plt.subplots(rows, 3, figsize=size, **shared)
            for ax in axes.flat[len(self.names) :]:
                ax.axis("off")
            for ax, name in zip(axes.flat, self.names, strict=False):
                history = pandas.concat(self.history(name)).groupby("epoch").mean()
                for side, color in (("real", "C0"), ("fake", "C1")):
                    ax.plot(100 * history[f"accuracy_{side}"], color=color, label=f"{side} images")
                    look = {"color": color, "ls": ":", "lw": 2.2, "alpha": 0.7}
                    ax.plot(100 * history[f"printed_{side}"], label=f"{side}, as printed", **look)
                ax.axhline(50, color="0.6", lw=0.6)
                ax.set(title=name, ylim=(-5, 105))
                ax.xaxis.get_major_locator().set_params(integer=True)
            figure.supxlabel("epoch", fontsize=8)
            figure.supylabel(f"D is right on … % of {PRINTED} images", fontsize=8)
            legend_below(figure, axes.flat[:1], 4)
        return figure

    def quality_figure(self):
        """Digit score and Fréchet distance of each variation, between noise and real digits."""
        with style() as plt:
            size = (PAGE, 0.24 * len(self.names) + 0.9)
            figure, axes = plt.subplots(1, 2, figsize=size, sharey=True)
            for ax, key in zip(axes, ("digit_score", "frechet_distance"), strict=True):
                for y, name in enumerate(reversed(self.names)):
                    values = self.values(name, key)
                    interval = mean_interval(values)
                    ax.plot(values, [y] * len(values), "o", color="C0", alpha=0.5)
                    if interval.low is not None:
                        ax.plot([interval.low, interval.high], [y, y], color="C0")
                for label, color in (("real", "C2"), ("noise", "C1")):
                    level = self.baselines[label][key]
                    ax.axvline(level, color=color, ls="--", label=f"{label} images")
                better = "higher" if key == "digit_score" else "lower"
                ax.set_xlabel(f"{METRICS[key]} ({better} is better)")
            axes[0].set_yticks(range(len(self.names)), self.names[::-1])
            axes[1].set_xscale("log")
            legend_below(figure, axes[:1], 2)
        return figure

    def histogram_figure(self):
        """Share of each digit, and of pictures that are none; an even share is 10 %."""
        qualities = {name: [r["metrics"] for r in self.of(name)] for name in self.names}
        qualities["real digits"] = [self.baselines["real"]]
        shares = [
            np.mean([[*quality["histogram"], quality["no_digit"]] for quality in each], axis=0)
            for each in qualities.values()
        ]
        with style() as plt:
            figure, ax = plt.subplots(figsize=(COLUMN, 0.2 * len(shares) + 0.7))
            mesh = ax.imshow(100 * np.stack(shares), vmin=0, vmax=30, aspect="auto")
            ax.set_xticks(range(11), [*range(10), "none"])
            ax.set_yticks(range(len(shares)), list(qualities))
            ax.set_xlabel("digit it is taken for")
            ax.axvline(9.5, color="white", lw=2)
            ax.grid(False)
            figure.colorbar(mesh, label="% of pictures", extend="max")
        return figure


def write_report(study, results, data, out="runs", reports="reports"):
    """Writes the study's figures, tables and run.json; see `Results` and `Results.write`."""
    return DigitsResults(study, results, data, out).write(reports)


# -- what the write-up reported --------------------------------------------------------------------


def _tanh_blank(found):
    blank = [_is_blank(result) for result in found.of("tanh")]
    tanh, base = (mean_interval(found.values(n, "digit_score")) for n in ("tanh", "base"))
    return Claim(
        "Tanh output with pixels in [-1, 1]: the pictures are almost blank.",
        unanimous(blank),
        f"The monitor found a blank generator in {sum(blank)} of {len(blank)} tanh runs; digit "
        f"score {tanh:.3g}, base {base:.3g}.",
    )


def _tanh_cause(found):
    blank = {
        output: [
            _is_blank(r)
            for r in found.results
            if r["recipe"]["output"] == output and not r["recipe"]["batch_norm"]
        ]
        for output in ("sigmoid", "tanh")
    }
    counts = (f"{sum(runs)} of {len(runs)} {output} runs" for output, runs in blank.items())
    return Claim(
        "The tanh output is what makes the pictures blank.",
        judge(not any(blank["sigmoid"]) if any(map(any, blank.values())) else None),
        f"Blank: {' and '.join(counts)} without batch normalisation.",
    )


def _tanh_perfect(found):
    least = min(history[ACCURACIES].min().min() for history in found.history("tanh"))
    return Claim(
        "With tanh, D is 100 % right on real and fake images in every epoch.",
        judge(least == 1.0),
        f"Lowest accuracy of any epoch: {least:.0%} (n = {PRINTED} images a side).",
    )


def _same_quality(name, statement, found):
    # "Hardly" is a tenth of the way from noise to real digits.
    margin = 0.1 * (
        found.baselines["real"]["digit_score"] - found.baselines["noise"]["digit_score"]
    )
    return by_interval(
        statement,
        found.paired(name, "digit_score"),
        functools.partial(judge_interval, low=-margin, high=margin),
        f"Digit score less the base run's: {{:+.2f}}; taken as equal within ±{margin:.2f}.",
    )


def _time(name, statement, low, high, found):
    return by_interval(
        statement,
        found.paired(name, "seconds_per_epoch", ratio=True),
        functools.partial(judge_interval, low=low, high=high),
        "Seconds an epoch over the base run's: {:.3f}.",
    )


def _smoothing_zero(found):
    histories = found.history("label-smoothing")
    printed = max(history["printed_real"].max() for history in histories)
    hard = float(np.mean([history["accuracy_real"].mean() for history in histories]))
    return Claim(
        "With label smoothing D is 0 % right on real images in every epoch.",
        judge(hard < 0.01),
        f"The metric prints at most {printed:.0%}, because no rounded output equals 0.9; by "
        f"hard labels D is right on {hard:.0%} of real images (mean over epochs).",
    )


def _losses_diversity(found):
    names = [name for name in ("least-squares", "hinge") if found.of(name)]
    gaps = {name: found.paired(name, "digit_score") for name in names}
    verdicts = {judge_positive(gap) for gap in gaps.values()}
    return Claim(
        "Another loss remedies a lack of diversity.",
        verdicts.pop() if len(verdicts) == 1 else CANNOT_TELL,
        "Digit score less the base run's: "
        + "; ".join(f"{name} {gap:+.2f}" for name, gap in gaps.items())
        + ".",
    )


def _noise_coin_flip(found):
    def advantage(result):  # of D over a coin, at the end of training
        last = found.histories[result["id"]].iloc[-1]
        return float(last[["d_accuracy_real", "d_accuracy_fake"]].mean() - 0.5)

    base = np.mean([advantage(result) for result in found.of("base")])
    return by_interval(
        "Noise on D's inputs keeps D from ending as a coin flip.",
        found.paired("instance-noise", advantage),
        judge_positive,
        "D's training accuracy above 50 %, less the base run's, in the last epoch: {:+.3f}; the "
        f"base run's is {base:+.3f}.",
    )


def _norm_steadier(found):
    def unrest(result):
        return float(found.histories[result["id"]][ACCURACIES].diff().abs().mean().mean())

    return by_interval(
        "Batch normalisation in G makes D's accuracies steadier.",
        found.paired("batch-norm", unrest),
        judge_negative,
        "Mean change from epoch to epoch, less the base run's: {:+.3f}.",
    )


def _is_blank(result):
    return any(f["check"] == "generator_blank" for f in result["metrics"]["findings"])


LATENT_QUALITY = "Half the latent values hardly change the quality."
LATENT_TIME = "Half the latent values hardly change the time (reported: 40 s of 79 min)."
SMOOTHING_QUALITY = "With label smoothing the pictures are as good as the base run's."
NORM_TIME = "Batch normalisation makes an epoch about 13 % slower (89 against 79 min)."
CLAIMS = {  # of each variation
    "tanh": (_tanh_blank, _tanh_cause, _tanh_perfect),
    "latent-50": (
        functools.partial(_same_quality, "latent-50", LATENT_QUALITY),
        functools.partial(_time, "latent-50", LATENT_TIME, 0.95, 1.05),
    ),
    "label-smoothing": (
        _smoothing_zero,
        functools.partial(_same_quality, "label-smoothing", SMOOTHING_QUALITY),
    ),
    "least-squares": (_losses_diversity,),
    "instance-noise": (_noise_coin_flip,),
    "batch-norm": (
        _norm_steadier,
        functools.partial(_time, "batch-norm", NORM_TIME, 1.05, 1.25),
    ),
}
