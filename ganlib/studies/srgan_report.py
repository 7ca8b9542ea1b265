"""Tables, figures and claims of the super-resolution study, from its run directories alone."""

import functools

import numpy as np
import pandas

from ganlib.images import convert, range_mistakes, upscale
from ganlib.losses import LOSSES
from ganlib.metrics.super_resolution import FIDELITY, low_resolution, mean_scores
from ganlib.stats import brief, mean_interval
from ganlib.studies import srgan_figures
from ganlib.studies.results import Contents, Results
from ganlib.studies.srgan import Recipe
from ganlib.studies.srgan_attempts import ATTEMPTS, get
from ganlib.studies.srgan_claims import claims
from ganlib.studies.srgan_figures import PHASES
from ganlib.studies.srgan_training import KEPT, safe_name

SCORES = {
    "psnr_y": "PSNR (Y)",
    "psnr_rgb": "PSNR (RGB)",
    "ssim_y": "SSIM (Y)",
    "ssim_rgb": "SSIM (RGB)",
    "sharpness": "sharpness",
    "perceptual": "perceptual distance",
}
NOT_SETTINGS = ("data", "epochs")  # of a recipe, in the ledger's column of changes


class SRResults(Results):
    """The finished trials of a super-resolution study; see `Results`."""

    def __init__(self, study, results, data, out="runs"):
        super().__init__(study, results, data, out)
        self.recipe = Recipe(**self.results[0]["recipe"])
        self.judge = self.recipe.judge
        self.mistake = next(
            (r["recipe"]["mistake"] for r in self.results if get(r["name"])), "none"
        )
        self.attempts = [attempt for attempt in ATTEMPTS if self.of(attempt.name)]

    @functools.cached_property
    def baselines(self):
        """Rows a picture, of flat grey, bicubic and linear."""
        return self.data.baselines(self.recipe)

    def baseline(self, name):
        return mean_scores(self.baselines[name])

    def metric(self, result, key):
        """A number of the last phase's scores, or else of the result."""
        scores = result["metrics"]["scores"]
        last = scores.get("adversarial") or scores["pretrained"]
        return last[key] if key in last else result["metrics"][key]

    def after(self, phase):
        """Scores after a phase of the repaired recipe: a dict a seed that came to its end."""
        found = (r["metrics"]["scores"].get(phase) for r in self.of("repaired"))
        return [scores for scores in found if scores]

    def pictures(self, phase, key):
        """A score of each test picture after a phase of the repaired recipe, mean over seeds."""
        runs = [r["metrics"]["scores"][phase]["pictures"] for r in self.of("repaired")]
        return np.mean([[row[key] for row in rows] for rows in runs], axis=0)

    def phases(self, key):
        """Interval over test pictures: the adversarial phase less pretraining."""
        return mean_interval(self.pictures("adversarial", key) - self.pictures("pretrained", key))

    def over(self, baseline, key):
        """Interval over test pictures: pretraining less a baseline."""
        floor = [row[key] for row in self.baselines[baseline]]
        return mean_interval(self.pictures("pretrained", key) - floor)

    def changes(self, before, after):
        """What two variations' recipes differ in, as text; read from the runs, not from notes."""
        a, b = (self.of(name)[0]["recipe"] for name in (before, after))
        changed = [
            f"{key} {a[key]:g} → {b[key]:g}"
            for key in b
            if key not in NOT_SETTINGS and a[key] != b[key]
        ]
        return ", ".join(changed) or "no setting"

    # -- tables ------------------------------------------------------------------------------------

    @functools.cached_property
    def claims(self):
        """What the write-up concluded and expected, against these runs."""
        return claims(self)

    def contents(self):
        figures = {n: getattr(srgan_figures, n) for n, wanted in FIGURES.items() if wanted(self)}
        ledger = {"ledger": "The seven attempts, from their run directories."}
        return Contents(figures, TABLES | (ledger if self.attempts else {}))

    def ledger(self):
        """A row an attempt: what changed, what was expected, what came out, and the verdict."""
        verdicts = {claim.statement.partition(":")[0]: claim for claim in self.claims}
        rows, before = [], None
        for attempt in self.attempts:
            name, claim = attempt.name, verdicts.get(attempt.name)
            rows.append(
                {
                    "attempt": name,
                    "changes": self.changes(before, name) if before else "",
                    "epochs noted": attempt.epochs,
                    "expectation": attempt.expectation,
                    "printed then": f"{attempt.printed['psnr']} dB, {attempt.printed['ssim']}",
                    "printed by ours": f"{self.mean(name, 'printed_psnr'):.2f} dB, "
                    f"{self.mean(name, 'printed_ssim'):.3f}",
                    "PSNR (RGB)": brief(self.values(name, "psnr_rgb"), ".2f"),
                    "less bicubic (Y)": f"{self._below(name):+.2f} dB",
                    "G loss": f"{self.mean(name, 'g_loss'):.4f}",
                    "D loss": f"{self.mean(name, 'd_loss'):.4f}",
                    "D right": f"{self.mean(name, 'd_accuracy'):.0%}",
                    "verdict": claim.verdict if claim else "",
                    "resolved": attempt.resolved,
                }
            )
            before = name
        return pandas.DataFrame(rows)

    def _below(self, name):
        return self.mean(name, "psnr_y") - self.baseline("bicubic")["psnr_y"]

    def scores(self):
        """Every method between flat grey and the original, in the right value range."""
        rows = [
            self._row(name, {key: f"{self.baseline(name)[key]:.4g}" for key in SCORES})
            for name in self.baselines
        ]
        for attempt in self.attempts:
            values = {key: brief(self.values(attempt.name, key), ".4g") for key in SCORES}
            rows.append(self._row(attempt.name, values, len(self.of(attempt.name))))
        for phase, label in PHASES.items():
            if found := self.after(phase):
                values = {key: brief([s[key] for s in found], ".4g") for key in SCORES}
                rows.append(self._row(f"repaired: {label}", values, len(found)))
        ideal = dict.fromkeys(FIDELITY[:2], "∞") | dict.fromkeys(FIDELITY[2:], "1")
        rows.append(self._row("original (ceiling)", {**ideal, "sharpness": "1", "perceptual": "0"}))
        return pandas.DataFrame(rows)

    def _row(self, name, values, seeds=""):
        scores = {label: values[key] for key, label in SCORES.items()}
        return {"method": name, **scores, "pictures": len(self.data.test), "seeds": seeds}

    @functools.cached_property
    def mistakes(self):
        """What each mistake of value range prints, beside what the write-up printed."""
        sources = {"bicubic": [self.bicubic(i) for i in range(len(self.shown))]}
        if self.attempts:
            last = self.attempts[-1].name
            sources[last] = [self.enlarged(last, name) for name, _ in self.shown]
        printed = [attempt.printed for attempt in ATTEMPTS]
        psnr = [p[key] for p in printed for key in ("train_psnr", "psnr")]
        ssim = [p[key] for p in printed for key in ("train_ssim", "ssim")]
        rows = []
        for source, images in sources.items():
            pairs = zip(images, (high for _, (_, high) in self.shown), strict=True)
            tables = [range_mistakes(*(convert(x, "byte", "unit") for x in p)) for p in pairs]
            for same in zip(*tables, strict=True):
                a, b = np.mean([row["psnr"] for row in same]), np.mean([r["ssim"] for r in same])
                fits = min(psnr) <= a <= max(psnr), min(ssim) <= b <= max(ssim)
                row = {"pictures of": source, "mistake": same[0]["mistake"], "PSNR": f"{a:.2f} dB"}
                row |= {"SSIM": f"{b:.3f}", "PSNR fits": fits[0], "SSIM fits": fits[1]}
                rows.append({**row, "n": len(same)})
        span = {"PSNR": f"{min(psnr)}…{max(psnr)} dB", "SSIM": f"{min(ssim)}…{max(ssim)}"}
        span |= dict.fromkeys(("PSNR fits", "SSIM fits", "n"), "")
        rows.append({"pictures of": "the write-up", "mistake": "?", **span})
        return pandas.DataFrame(rows)

    def chances(self):
        """What D's loss is without information, by loss; the write-up's lies around 1.000."""
        losses = {name: cls().chance for name, cls in LOSSES.items()}
        losses |= {
            "hinge, halved": LOSSES["hinge"]().chance / 2,
            "non_saturating, mean of both": LOSSES["non_saturating"]().chance / 2,
            "squares without ½, constant 0 or 1": 1.0,
        }
        printed = [attempt.printed["d_loss"] for attempt in ATTEMPTS]
        return pandas.DataFrame(
            [
                {
                    "loss": name,
                    "D's loss without information": f"{value:.4f}",
                    f"fits {min(printed)}…{max(printed)}": abs(value - 1) < 0.01,
                }
                for name, value in losses.items()
            ]
        )

    def losses(self):
        """Every epoch of every trial: the losses that the write-up kept by hand."""
        parts = []
        for r in self.results:
            for path in sorted(self.folders[r["id"]].glob("**/history.csv")):
                phase = path.parent.name if path.parent != self.folders[r["id"]] else "adversarial"
                part = pandas.read_csv(path)
                part.insert(0, "phase", phase)
                part.insert(0, "seed", r["seed"])
                part.insert(0, "variation", r["name"])
                parts.append(part)
        return pandas.concat(parts, ignore_index=True)

    def trials(self):
        """Every number of every trial, a row a trial and phase."""
        rows = []
        for r in self.results:
            numbers = {k: v for k, v in r["metrics"].items() if not isinstance(v, list | dict)}
            for phase, scores in r["metrics"]["scores"].items():
                means = {k: v for k, v in scores.items() if k != "pictures"}
                row = {"id": r["id"], "variation": r["name"], "seed": r["seed"], "phase": phase}
                rows.append({**row, **means, **numbers, "seconds": r["seconds"]})
        return pandas.DataFrame(rows)

    # -- pictures ----------------------------------------------------------------------------------

    @functools.cached_property
    def shown(self):
        """The test pictures in the panels: (name, (low, high)), uint8."""
        pairs = zip(self.data.test.names[:KEPT], self.data.test.images, strict=False)
        return [(name, low_resolution(image, self.recipe.scale)) for name, image in pairs]

    def enlarged(self, variation, picture, phase=""):
        """A test picture as a trial's first seed enlarged it, uint8."""
        from PIL import Image

        folder = self.folders[self.of(variation)[0]["id"]] / phase / "samples"
        return np.asarray(Image.open(folder / f"{safe_name(picture)}.png"))

    def bicubic(self, i):
        """The i-th of the shown pictures, enlarged by bicubic interpolation."""
        return upscale(self.shown[i][1][0], self.recipe.scale)

    def caption(self, name, label):
        """PSNR (Y) of a test picture by a method, as text; "" where there is none."""
        found = {
            **{key: (rows, None) for key, rows in self.baselines.items()},
            **{a.name: (self.rows(a.name, "adversarial"), None) for a in self.attempts},
        }
        if self.of("repaired"):
            for phase in PHASES:
                found[phase] = (self.rows("repaired", phase), None)
        if label not in found:
            return ""
        row = next(row for row in found[label][0] if row["name"] == name)
        return f"{row['psnr_y']:.2f} dB"

    def rows(self, name, phase):
        """Scores of each test picture by a variation's first seed."""
        return self.of(name)[0]["metrics"]["scores"].get(phase, {}).get("pictures", [])


FIGURES = {
    "panel": lambda found: True,
    "mistake": lambda found: found.attempts,
    "printed": lambda found: found.attempts,
    "trade": lambda found: True,
}
TABLES = {
    "scores": "Every method between flat grey and the original, in the right value range.",
    "mistakes": "What mistakes of value range print.",
    "chances": "What D's loss is without information.",
    "findings": "What the health monitor found.",
    "losses": "Every epoch of every trial.",
    "trials": "All numbers of all trials.",
}


def write_report(study, results, data, out="runs", reports="reports"):
    """Writes the study's figures, tables and run.json; see `Results` and `Results.write`."""
    return SRResults(study, results, data, out).write(reports)
