"""Tables, figures and claims of the digits study, from its run directories alone."""

import functools
import math

import numpy as np
import pandas

from ganlib.report.figures import COLUMN, PAGE, show_images, style
from ganlib.stats import brief, mean_interval
from ganlib.studies.digits import PRINTED
from ganlib.studies.digits_claims import claims
from ganlib.studies.results import Contents, Results

SHOWN = 16  # pictures of a variation in the figure
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


class DigitsResults(Results):
    """The finished trials of a digits study; see `Results`."""

    def __init__(self, study, results, data, out="runs"):
        super().__init__(study, results, data, out)
        samples = self.results[0]["recipe"]["samples"]
        some_folder = next(iter(self.folders.values())).parent
        self.baselines = data.baselines(some_folder, samples)

    @functools.cached_property
    def claims(self):
        return claims(self)

    def contents(self):
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
            for key, label in METRICS.items():
                row[label] = brief(self.values(name, key))
            row["n"] = self.of(name)[0]["metrics"]["n"]
            rows.append({**row, "seeds": len(self.of(name))})
        for name, label in (("real", "real digits (ceiling)"), ("noise", "noise (floor)")):
            quality = self.baselines[name]
            row = {"variation": label, "status": ""}
            row |= {label: f"{quality[k]:.3g}" for k, label in METRICS.items() if k in quality}
            rows.append({**row, "n": quality["n"]})
        return pandas.DataFrame(rows, dtype=object).fillna("")

    def differences(self):
        """Each variation less the base run with the same seed and data."""
        rows = []
        for name in self.names:
            if name == "base" or not self.of("base"):
                continue
            row = {"variation": name}
            for key, label in METRICS.items():
                row[f"Δ {label}"] = f"{self.paired(name, key):+.3g}"
            rows.append(row)
        return pandas.DataFrame(rows)

    def costs(self):
        """Seconds an epoch and parameters, with ratios to the base run."""
        rows = []
        for name in self.names:
            parameters = [self.of(name)[0]["metrics"][f"{p}_parameters"] for p in "gd"]
            ratio = self.paired(name, "seconds_per_epoch", ratio=True)
            rows.append(
                {
                    "variation": name,
                    "seconds an epoch": brief(self.values(name, "seconds_per_epoch")),
                    "ratio to base": f"{ratio:.2f}",
                    "epochs": ", ".join(str(r["metrics"]["epochs"]) for r in self.of(name)),
                    "G parameters": parameters[0],
                    "D parameters": parameters[1],
                }
            )
        return pandas.DataFrame(rows)

    def trials(self):
        """Every number of every trial, a row a trial."""
        rows = []
        for r in self.results:
            metrics = {k: v for k, v in r["metrics"].items() if not isinstance(v, list)}
            histogram = dict(enumerate(r["metrics"]["histogram"]))
            shares = {f"share_of_{digit}": share for digit, share in histogram.items()}
            rows.append({"id": r["id"], "variation": r["name"], "seed": r["seed"], **metrics})
            rows[-1] |= {**shares, "status": r["status"], "seconds": r["seconds"]}
        return pandas.DataFrame(rows)

    # -- figures -----------------------------------------------------------------------------------

    def grid(self, result, n=SHOWN):
        """The last saved pictures of a trial, float32 `(n, 28, 28, 1)` in [0, 1]."""
        from PIL import Image

        path = max((self.folders[result["id"]] / "samples").glob("*.png"))
        pixels = np.asarray(Image.open(path), "float32") / 255
        cells = pixels.reshape(8, 28, 8, 28).transpose(0, 2, 1, 3).reshape(64, 28, 28, 1)
        return cells[:n]

    def samples_figure(self):
        """The same latents through each variation's generator, and real digits."""
        panels = [(name, self.grid(self.of(name)[0])) for name in self.names]
        panels.append(("real digits", self.data.real.as_range("unit")[:SHOWN]))
        columns = 5
        rows = math.ceil(len(panels) / columns)
        with style() as plt:
            figure, axes = plt.subplots(rows, columns, figsize=(PAGE, 1.55 * rows), squeeze=False)
            for ax in axes.flat:
                ax.axis("off")
            for ax, (name, images) in zip(axes.flat, panels, strict=False):
                show_images(ax, images, 4, name)
        return figure

    def accuracy_figure(self):
        """D's accuracy over epochs by hard labels, and what the write-up's metric prints."""
        columns = 3
        rows = math.ceil(len(self.names) / columns)
        with style() as plt:
            figure, axes = plt.subplots(
                rows,
                columns,
                figsize=(PAGE, 1.45 * rows + 0.4),
                sharex=True,
                sharey=True,
                squeeze=False,
            )
            for ax in axes.flat[len(self.names) :]:
                ax.axis("off")
            for ax, name in zip(axes.flat, self.names, strict=False):
                history = pandas.concat(self.history(name)).groupby("epoch").mean()
                for side, color in (("real", "C0"), ("fake", "C1")):
                    ax.plot(history[f"accuracy_{side}"] * 100, color=color, label=f"{side} images")
                    printed = history[f"printed_{side}"] * 100
                    label = f"{side}, as printed"
                    ax.plot(printed, color=color, ls=":", lw=2.2, alpha=0.7, label=label)
                ax.axhline(50, color="0.6", lw=0.6)
                ax.set(title=name, ylim=(-5, 105))
            figure.supxlabel("epoch", fontsize=8)
            figure.supylabel(f"D is right on … % of {PRINTED} images", fontsize=8)
            handles, labels = axes.flat[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside upper center", ncols=4)
        return figure

    def quality_figure(self):
        """Digit score and Fréchet distance of each variation, between noise and real digits."""
        with style() as plt:
            figure, axes = plt.subplots(1, 2, figsize=(PAGE, 0.24 * len(self.names) + 0.9))
            for ax, key in zip(axes, ("digit_score", "frechet_distance"), strict=True):
                for y, name in enumerate(reversed(self.names)):
                    values = self.values(name, key)
                    interval = mean_interval(values)
                    ax.plot(values, [y] * len(values), "o", color="C0", alpha=0.5)
                    if interval.low is not None:
                        ax.plot([interval.low, interval.high], [y, y], color="C0")
                for label, color in (("real", "C2"), ("noise", "C1")):
                    ax.axvline(
                        self.baselines[label][key], color=color, ls="--", label=f"{label} images"
                    )
                ax.set_yticks(range(len(self.names)), self.names[::-1])
                better = "higher" if key == "digit_score" else "lower"
                ax.set_xlabel(f"{METRICS[key]} ({better} is better)")
            axes[1].set_yticklabels([])
            axes[1].set_xscale("log")
            handles, labels = axes[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside upper center", ncols=2)
        return figure

    def histogram_figure(self):
        """Share of each digit, and of pictures that are none; an even share is 10 %."""
        rows = {name: self._shares([r["metrics"] for r in self.of(name)]) for name in self.names}
        rows["real digits"] = self._shares([self.baselines["real"]])
        shares = 100 * np.stack(list(rows.values()))
        with style() as plt:
            figure, ax = plt.subplots(figsize=(COLUMN, 0.2 * len(rows) + 0.7))
            mesh = ax.imshow(shares, vmin=0, vmax=30, aspect="auto")
            ax.set_xticks(range(11), [*range(10), "none"])
            ax.set_yticks(range(len(rows)), list(rows))
            ax.set_xlabel("digit it is taken for")
            ax.axvline(9.5, color="white", lw=2)
            ax.grid(False)
            figure.colorbar(mesh, label="% of pictures", extend="max")
        return figure

    @staticmethod
    def _shares(qualities):
        return np.mean([[*q["histogram"], q["no_digit"]] for q in qualities], axis=0)


def write_report(study, results, data, out="runs", reports="reports"):
    """Writes the study's figures, tables and run.json; see `Results` and `Results.write`."""
    return DigitsResults(study, results, data, out).write(reports)
