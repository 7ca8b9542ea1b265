"""Tables, figures and claims of the super-resolution study, from its run directories alone."""

import functools
import itertools

import numpy as np
import pandas

from ganlib.images import convert, range_mistakes, upscale
from ganlib.losses import LOSSES, AbsoluteError
from ganlib.metrics.super_resolution import low_resolution, mean_scores
from ganlib.report.claims import (
    Claim,
    judge,
    judge_interval,
    judge_negative,
    judge_positive,
)
from ganlib.stats import brief, mean_interval
from ganlib.studies import srgan_figures
from ganlib.studies.results import Contents, Results, by_interval, weakest
from ganlib.studies.srgan import KEPT, Recipe, baselines, safe_name
from ganlib.studies.srgan_attempts import ATTEMPTS
from ganlib.studies.srgan_figures import PHASES

SCORES = {"psnr_y": "PSNR (Y)", "psnr_rgb": "PSNR (RGB)", "ssim_y": "SSIM (Y)"}
SCORES |= {"ssim_rgb": "SSIM (RGB)", "sharpness": "sharpness", "perceptual": "perceptual distance"}
CEILING = ("∞", "∞", "1", "1", "1", "0")  # the original's scores
FIRST, LAST = ATTEMPTS[0].name, ATTEMPTS[-1].name
NEAR_CHANCE = 0.01  # of D's loss, relative
GOAL = 0.4  # dB over bicubic that the repaired recipe sets out for
MARGIN = 1.0  # dB: less is no movement worth the name


class SRResults(Results):
    """The finished trials of a super-resolution study; see `Results`."""

    def __init__(self, study, results, data, out="runs"):
        super().__init__(study, results, data, out)
        self.recipe = Recipe(**self.results[0]["recipe"])
        self.attempts = [attempt for attempt in ATTEMPTS if self.of(attempt.name)]
        one = self.of(self.attempts[0].name)[0]["recipe"] if self.attempts else {}
        self.mistake = one.get("mistake", "none")

    @functools.cached_property
    def baselines(self):
        """Rows a picture, of flat grey, bicubic and linear."""
        return baselines(self.data, self.recipe)

    def baseline(self, name):
        return mean_scores(self.baselines[name])

    def metric(self, result, key):
        """A number of the last phase's scores, or else of the result."""
        scores = result["metrics"]["scores"]
        last = scores.get("adversarial") or scores["pretrained"]
        return last[key] if key in last else result["metrics"][key]

    def after(self, phase, name="repaired"):
        """Scores after a phase: a dict a seed that came to its end."""
        found = (r["metrics"]["scores"].get(phase) for r in self.of(name))
        return [scores for scores in found if scores]

    def gain(self, key, over="pretrained"):
        """Interval over test pictures: a score of the repaired recipe less an earlier one.

        Over "pretrained" that of its adversarial phase, over a baseline that of pretraining.
        """

        def pictures(phase):
            runs = [scores["pictures"] for scores in self.after(phase)] or [self.baselines[phase]]
            return np.mean([[row[key] for row in rows] for rows in runs], axis=0)

        later = "adversarial" if over == "pretrained" else "pretrained"
        return mean_interval(pictures(later) - pictures(over))

    def changes(self, before, after):
        """What two variations' recipes differ in, as text; read from the runs, not from notes."""
        a, b = (self.of(name)[0]["recipe"] for name in (before, after))
        changed = [key for key in b if key != "epochs" and a[key] != b[key]]
        return ", ".join(f"{key} {a[key]:g} → {b[key]:g}" for key in changed) or "no setting"

    def statements(self):
        return _claims(self)

    def contents(self):
        figures = [srgan_figures.panel, srgan_figures.trade]
        if self.attempts:
            figures += [srgan_figures.mistake, srgan_figures.printed]
        ledger = {"ledger": "The seven attempts, from their run directories."}
        tables = TABLES | (ledger if self.attempts else {})
        return Contents({draw.__name__: draw for draw in figures}, tables)

    def ledger(self):
        """A row an attempt: what changed, what was expected, what came out, and the verdict."""
        verdicts = {claim.statement.partition(":")[0]: claim.verdict for claim in self.claims}
        rows = []
        for before, attempt in itertools.pairwise([None, *self.attempts]):
            name, then = attempt.name, attempt.printed
            ours = functools.partial(self.mean, name)
            row = {"attempt": name, "changes": self.changes(before.name, name) if before else ""}
            row |= {"epochs noted": attempt.epochs, "expectation": attempt.expectation or "none"}
            row |= {"printed then": f"{then['psnr']} dB, {then['ssim']}"}
            row |= {"printed by ours": f"{ours('printed_psnr'):.2f} dB, {ours('printed_ssim'):.3f}"}
            row |= self.row(name, {"psnr_rgb": "PSNR (RGB)"}, ".2f")
            below = ours("psnr_y") - self.baseline("bicubic")["psnr_y"]
            row |= {"less bicubic (Y)": f"{below:+.2f} dB", "G loss": f"{ours('g_loss'):.4f}"}
            row |= {"D loss": f"{ours('d_loss'):.4f}", "D right": f"{ours('d_accuracy'):.0%}"}
            row |= {"verdict": verdicts.get(name, "not judged"), "resolved": attempt.resolved}
            rows.append(row)
        return pandas.DataFrame(rows)

    def scores(self):
        """Every method between flat grey and the original, in the right value range."""
        found = {name: [self.baseline(name)] for name in self.baselines}
        found |= {a.name: self.after("adversarial", a.name) for a in self.attempts}
        found |= {f"repaired: {label}": self.after(phase) for phase, label in PHASES.items()}
        rows = []
        for name, runs in found.items():
            if runs:
                row = {label: brief([s[k] for s in runs], ".4g") for k, label in SCORES.items()}
                row["seeds"] = "" if name in self.baselines else len(runs)
                rows.append({"method": name, **row, "pictures": len(self.data.test)})
        ceiling = dict(zip(SCORES.values(), CEILING, strict=True))
        rows.append({"method": "original (ceiling)", **ceiling})
        return pandas.DataFrame(rows, dtype=object).fillna("")

    @functools.cached_property
    def mistakes(self):
        """What each mistake of value range prints, beside what the write-up printed."""
        sources = {"bicubic": [upscale(low, self.recipe.scale) for _, low, _ in self.shown]}
        if self.attempts:
            last = self.attempts[-1].name
            sources[last] = [self.enlarged(last, name) for name, _, _ in self.shown]
        rows = [
            {"pictures of": source, "n": len(images), **row}
            for source, images in sources.items()
            for image, (_, _, high) in zip(images, self.shown, strict=True)
            for row in range_mistakes(*(convert(x, "byte", "unit") for x in (image, high)))
        ]
        by = ["pictures of", "mistake", "n"]
        table = pandas.DataFrame(rows).groupby(by, sort=False).mean().reset_index()
        for key in ("psnr", "ssim"):
            span = [a.printed[part + key] for a in ATTEMPTS for part in ("train_", "")]
            table[f"the write-up's {key.upper()}"] = f"{min(span)}…{max(span)}"
            table[f"{key.upper()} fits"] = table[key].between(min(span), max(span))
        return table.rename(columns={"psnr": "PSNR, dB", "ssim": "SSIM"})

    def chances(self):
        """What D's loss is without information, by loss; the write-up's lies around 1.000."""
        losses = {name.replace("_", " "): cls().chance for name, cls in LOSSES.items()}
        losses["hinge, halved"] = losses["hinge"] / 2
        losses["non saturating, mean of both"] = losses["non saturating"] / 2
        losses["squares without ½, constant 0 or 1"] = 1.0
        table = pandas.DataFrame(losses.items(), columns=["loss", "D's loss without information"])
        printed = [attempt.printed["d_loss"] for attempt in ATTEMPTS]
        fits = f"fits {min(printed)}…{max(printed)}"
        table[fits] = (table["D's loss without information"] - 1).abs() < 0.01
        return table

    def losses(self):
        """Every epoch of every trial: the losses that the write-up kept by hand."""
        parts = []
        for r in self.results:
            for path in sorted(self.folders[r["id"]].glob("**/history.csv")):
                phase = path.parent.name if path.parent.name == "pretraining" else "adversarial"
                about = {"variation": r["name"], "seed": r["seed"], "phase": phase}
                parts.append(pandas.read_csv(path).assign(**about))
        table = pandas.concat(parts, ignore_index=True)
        return table[[*about, *(column for column in table if column not in about)]]

    def trials(self):
        """Every number of every trial, a row a trial and phase."""
        return super().trials("phase").rename(columns=lambda c: SCORES.get(c, c.replace("_", " ")))

    @functools.cached_property
    def shown(self):
        """The test pictures in the panels: (name, low, high), the latter two uint8."""
        test = self.data.test
        pairs = zip(test.names[:KEPT], test.images, strict=False)
        return [(name, *low_resolution(image, self.recipe.scale)) for name, image in pairs]

    def enlarged(self, variation, picture, phase=""):
        """A test picture as a trial's first seed enlarged it, uint8."""
        from PIL import Image

        folder = self.folders[self.of(variation)[0]["id"]] / phase / "samples"
        return np.asarray(Image.open(folder / f"{safe_name(picture)}.png"))

    def caption(self, name, label):
        """PSNR (Y) of a test picture by a method, as text; "" where there is none."""
        phase, variation = (label, "repaired") if label in PHASES else ("adversarial", label)
        rows = next((s["pictures"] for s in self.after(phase, variation)), [])
        rows = self.baselines.get(label, rows)
        return next((f"{row['psnr_y']:.2f} dB" for row in rows if row["name"] == name), "")


def _claims(found):
    """The write-up's statements, and one of ours, as far as there are runs for them."""
    if found.attempts:
        runs = [r for attempt in found.attempts for r in found.of(attempt.name)]
        weights = sorted({f"{r['recipe']['adversarial']:g}" for r in runs})
        yield _weak_discriminator(found)
        yield Claim(
            "Two more warning signs: artefacts mean that w_adv is too high, a small drop of SSIM "
            "that w_perc is too low.",
            judge(None),
            f"All attempts have w_adv = {', '.join(weights)}, and w_perc never changes alone: "
            "nothing in them can show it.",
        )
        yield _balance([r["metrics"] for r in runs])
    if found.of(FIRST) and found.of(LAST):
        yield from _progress(found)
    if found.of("attempt-3") and found.of("attempt-4"):
        pairs = zip(*(found.values(f"attempt-{i}", "g_loss") for i in (3, 4)), strict=False)
        apart = [abs(a / b - 1) for a, b in pairs]
        yield Claim(
            "Attempts 3 and 4 end with the same losses and scores, to the last digit.",
            judge(max(apart) < 1e-4),
            f"G's last losses differ by {min(apart):.0%} or more; the settings do, too: "
            f"{found.changes('attempt-3', 'attempt-4')}.",
        )
    for before, attempt in itertools.pairwise(ATTEMPTS):
        if attempt.expects and found.of(before.name) and found.of(attempt.name):
            yield _expectation(found, before, attempt)
    if found.of("repaired"):
        yield from _repaired(found)


def _weak_discriminator(found):
    loss = AbsoluteError()
    epochs = pandas.concat([h for a in found.attempts for h in found.history(a.name)])
    low = epochs[epochs["d_loss"] < 0.5]
    seen = f"It was in {len(low)} epochs of our runs"
    if len(low):
        accuracy = (low["d_accuracy_real"].mean() + low["d_accuracy_fake"].mean()) / 2
        seen += f", and D was right on {accuracy:.0%} there"
    return Claim(
        "A D loss below 0.5 is a warning sign: D is too weak.",
        judge(loss.chance < 0.5),
        f"The loss is {loss.chance:.0f} at chance and {loss.floor:.0f} for a D that is never "
        f"wrong: below 0.5 D is strong. {seen}.",
    )


def _progress(found):
    right, seen = (mean_interval(found.values(LAST, k)) for k in ("psnr_rgb", "printed_psnr"))
    grey = found.baseline("flat grey")["psnr_rgb"]
    yield Claim(
        f"The best attempt reaches {ATTEMPTS[-1].printed['psnr']:.1f} dB.",
        judge(right.mean - seen.mean < MARGIN),
        f"Its pictures have {right:.2f} dB in the right range (RGB); compared as “{found.mistake}” "
        f"the same pictures print {seen:.2f} dB. Flat grey has {grey:.2f} dB.",
    )
    gain = right.mean - found.mean(FIRST, "psnr_rgb")
    moved = seen.mean - found.mean(FIRST, "printed_psnr")
    fall = found.mean(FIRST, "g_loss") / found.mean(LAST, "g_loss")
    yield Claim(
        "PSNR that stays while G's loss falls means that the pictures no longer improve.",
        judge(False if gain > MARGIN and gain > 2 * abs(moved) else None),
        f"From attempt 1 to 7 G's loss falls {fall:.1f}-fold and PSNR rises by {gain:+.2f} dB; as "
        f"printed it moves by {moved:+.2f} dB, for a wrong range hides most of any gain.",
    )


def _balance(metrics):
    right = [m["d_accuracy"] for m in metrics if abs(m["d_loss"] - 1) <= NEAR_CHANCE]
    seen = f"; there D is right on {np.mean(right):.0%} (a coin: 50 %)" if right else ""
    return Claim(
        "D's loss of 1.000 shows a balance of G and D.",
        judge(bool(abs(np.mean(right) - 0.5) > 0.05) if right else None),
        f"1 - D(x) + D(G(z)) is 1 for any constant D. Of our runs {len(right)} end within "
        f"{NEAR_CHANCE:.0%} of it{seen}.",
    )


def _expectation(found, before, attempt):
    """Whether all rose that the note expected to."""
    differences = {key: found.paired(attempt.name, key, before.name) for key in attempt.expects}
    told = "; ".join(f"{SCORES[key]} {value:+.3g}" for key, value in differences.items())
    return Claim(
        f"{attempt.name}: “{attempt.expectation}”",
        weakest([judge_positive(difference) for difference in differences.values()]),
        f"Less {before.name}: {told}. Changed at once: {found.changes(before.name, attempt.name)}.",
    )


def _repaired(found):
    over = "Adversarial phase less pretraining, over the test pictures: "
    psnr, linear = found.gain("psnr_y"), found.gain("psnr_y", "linear")
    yield by_interval(
        "The adversarial loss makes edges sharper.",
        found.gain("sharpness"),
        judge_positive,
        over + "mean gradient relative to the original's {:+.3f}.",
    )
    yield by_interval(
        "The adversarial loss adds texture that looks right.",
        found.gain("perceptual"),
        judge_negative,
        over + f"perceptual distance ({found.recipe.judge}) {{:+.4f}}.",
    )
    yield by_interval(
        "With it SSIM rises while PSNR may fall a little.",
        found.gain("ssim_y"),
        judge_positive,
        over + f"SSIM {{:+.4f}}, PSNR {psnr:+.3f} dB (Y).",
    )
    yield by_interval(
        f"Our own: pixel pretraining alone beats bicubic by {GOAL} dB (Y).",
        found.gain("psnr_y", "bicubic"),
        lambda gain: judge_interval(gain, low=GOAL),
        "Pixel pretraining less bicubic: {:+.2f} dB (Y), over the test pictures; less the linear "
        f"upscaler: {linear:+.2f} dB.",
    )


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
