"""Tables, figures and claims of the super-resolution study, from its run directories alone."""

import functools
import itertools

import numpy as np
import pandas
from PIL import Image

from ganlib.images import RANGE_MISTAKES, convert, psnr, range_mistakes, upscale
from ganlib.losses import LOSSES, AbsoluteError
from ganlib.metrics.super_resolution import finite_mean, low_resolution, mean_scores
from ganlib.report.claims import Claim, judge, judge_interval
from ganlib.report.figures import PAGE, legend_below, picture_table, style
from ganlib.stats import mean_interval
from ganlib.studies import srgan
from ganlib.studies.results import NEGATIVE, POSITIVE, Contents, Results, by_interval, weakest
from ganlib.studies.srgan_attempts import ATTEMPTS

SCORES = {"psnr_y": "PSNR (Y)", "psnr_rgb": "PSNR (RGB)", "ssim_y": "SSIM (Y)"}
SCORES |= {"ssim_rgb": "SSIM (RGB)", "sharpness": "sharpness", "perceptual": "perceptual distance"}
CEILING = dict(zip(SCORES.values(), ("∞", "∞", "1", "1", "1", "0"), strict=True))  # the original's
PHASES = {"pretrained": "pixel pretraining", "adversarial": "… and adversarial phase"}
TABLES = ("scores", "mistakes", "chances", "findings", "trials")
FIRST, LAST = ATTEMPTS[0].name, ATTEMPTS[-1].name
NEAR_CHANCE = 0.01  # of D's loss, relative
GOAL = 0.4  # dB over bicubic that the repaired recipe sets out for
MISTAKE = srgan.SUBMITTED["mistake"]
MARGIN = 1.0  # dB: less is no movement worth the name
CROP = 80  # pixels of a panel's side


class SRResults(Results):
    """The finished trials of a super-resolution study; see `Results`."""

    def __init__(self, study, results, data, out="runs"):
        super().__init__(study, results, data, out)
        self.recipe = srgan.Recipe(**self.results[0]["recipe"])
        self.attempts = [attempt for attempt in ATTEMPTS if self.of(attempt.name)]
        self.baselines = srgan.baselines(data, self.recipe)  # rows a picture
        self.baseline = {name: mean_scores(rows) for name, rows in self.baselines.items()}
        pairs = zip(data.test.names[: srgan.KEPT], data.test.images, strict=False)  # of the panels
        self.shown = [(name, *low_resolution(image, self.recipe.scale)) for name, image in pairs]

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
        """Interval over test pictures: adversarial phase less pretraining; or that less `over`."""

        def pictures(phase):
            runs = [scores["pictures"] for scores in self.after(phase)] or [self.baselines[phase]]
            return np.mean([[row[key] for row in rows] for rows in runs], axis=0)

        later = "adversarial" if over == "pretrained" else "pretrained"
        with np.errstate(invalid="ignore"):  # of a blank picture both may be infinite
            gains = pictures(later) - pictures(over)
        return mean_interval(gains[np.isfinite(gains)])

    def changes(self, before, after):
        """What two variations' recipes differ in, as text; read from the runs, not from notes."""
        a, b = (self.of(name)[0]["recipe"] for name in (before, after))
        changed = [key for key in b if key != "epochs" and a[key] != b[key]]
        return ", ".join(f"{key} {a[key]:g} → {b[key]:g}" for key in changed) or "no setting"

    def statements(self):
        parts = {_of_attempts: self.attempts, _of_progress: self.of(FIRST) and self.of(LAST)}
        parts |= {_of_settings: True, _of_the_repaired: self.of("repaired")}
        for part, there in parts.items():
            yield from part(self) if there else ()

    def contents(self):
        figures, tables = [panel, trade], TABLES
        if self.attempts:
            figures, tables = [*figures, mistake, printed], (*tables, "ledger")
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
            below = ours("psnr_y") - self.baseline["bicubic"]["psnr_y"]
            row |= {"less bicubic (Y)": f"{below:+.2f} dB", "G loss": f"{ours('g_loss'):.4f}"}
            row |= {"D loss": f"{ours('d_loss'):.4f}", "D right": f"{ours('d_accuracy'):.0%}"}
            row |= {"verdict": verdicts.get(name, "not judged"), "resolved": attempt.resolved}
            rows.append(row)
        return pandas.DataFrame(rows)

    def scores(self):
        """Every method between flat grey and the original, in the right value range."""
        found = {name: [scores] for name, scores in self.baseline.items()}
        found |= {a.name: self.after("adversarial", a.name) for a in self.attempts}
        found |= {f"repaired: {label}": self.after(phase) for phase, label in PHASES.items()}
        rows = []
        for name, runs in ((name, runs) for name, runs in found.items() if runs):
            row = {SCORES[k]: mean_interval([s[k] for s in runs]).brief(".4g") for k in SCORES}
            row["seeds"] = "" if name in self.baselines else len(runs)
            rows.append({"method": name, **row, "pictures": len(self.data.test)})
        rows.append({"method": "original (ceiling)", **CEILING})
        return pandas.DataFrame(rows, dtype=object).fillna("")

    @functools.cached_property
    def mistakes(self):
        """What each mistake of value range prints, beside what the write-up printed."""
        rows, by = [], ["pictures of", "mistake", "n"]
        for source in ("bicubic", *(attempt.name for attempt in self.attempts[-1:])):
            for name, low, high in self.shown:
                bicubic = source == "bicubic"
                made = upscale(low, self.recipe.scale) if bicubic else self.enlarged(source, name)
                about = {"pictures of": source, "n": len(self.shown)}
                pair = (convert(image, "byte", "unit") for image in (made, high))
                rows += [about | row for row in range_mistakes(*pair)]
        table = pandas.DataFrame(rows).groupby(by, sort=False).agg(finite_mean).reset_index()
        for key in ("psnr", "ssim"):
            span = [a.printed[part + key] for a in ATTEMPTS for part in ("train_", "")]
            table[f"the write-up's {key.upper()}"] = f"{min(span)}…{max(span)}"
            table[f"{key.upper()} fits"] = table[key].between(min(span), max(span))
        return table.rename(columns={"psnr": "PSNR, dB", "ssim": "SSIM"})

    def chances(self):
        """What D's loss is without information, by loss; the write-up's lies around 1.000."""
        losses = {name.replace("_", " "): cls().chance for name, cls in LOSSES.items()}
        losses |= {"hinge, halved": losses["hinge"] / 2, "squares without ½, constant 0 or 1": 1.0}
        losses |= {"non saturating, mean of both": losses["non saturating"] / 2}
        table = pandas.DataFrame(losses.items(), columns=["loss", "D's loss without information"])
        printed = [attempt.printed["d_loss"] for attempt in ATTEMPTS]
        near = (table["D's loss without information"] - 1).abs() < 0.01
        return table.assign(**{f"fits {min(printed)}…{max(printed)}": near})

    def trials(self):
        """Every number of every trial, a row a trial and phase."""
        return super().trials("phase").rename(columns=lambda c: SCORES.get(c, c.replace("_", " ")))

    def enlarged(self, variation, picture, phase=""):
        """A test picture as a trial's first seed enlarged it, uint8."""
        folder = self.folders[self.of(variation)[0]["id"]] / phase / "samples"
        return np.asarray(Image.open(folder / f"{srgan.safe_name(picture)}.png"))


def _of_attempts(found):
    loss = AbsoluteError()
    text = f"The loss is {loss.chance:.0f} at chance and {loss.floor:.0f} for a D that is never "
    statement = "A D loss below 0.5 is a warning sign: D is too weak."
    yield Claim(statement, judge(loss.chance < 0.5), f"{text}wrong: below 0.5 D is strong.")
    statement = "Two more warning signs: artefacts mean that w_adv is too high, a small drop of "
    statement += "SSIM that w_perc is too low."
    text = "In the attempts w_adv never changes and w_perc never alone: nothing can show it."
    yield Claim(statement, judge(None), text)
    metrics = [r["metrics"] for a in found.attempts for r in found.of(a.name)]
    right = [m["d_accuracy"] for m in metrics if abs(m["d_loss"] - 1) <= NEAR_CHANCE]
    seen = f"; there D is right on {np.mean(right):.0%} (a coin: 50 %)" if right else ""
    text = f"1 - D(x) + D(G(z)) is 1 for any constant D. Of our runs {len(right)} end within "
    verdict = judge(bool(abs(np.mean(right) - 0.5) > 0.05) if right else None)
    statement = "D's loss of 1.000 shows a balance of G and D."
    yield Claim(statement, verdict, text + f"{NEAR_CHANCE:.0%} of it{seen}.")


def _of_progress(found):
    right, seen = (mean_interval(found.values(LAST, k)) for k in ("psnr_rgb", "printed_psnr"))
    grey = found.baseline["flat grey"]["psnr_rgb"]
    text = f"In the right range it is {right:.2f} dB (RGB); as compared it prints {seen:.2f} dB. "
    text += f"Flat grey has {grey:.2f} dB."
    statement = f"The best attempt reaches {ATTEMPTS[-1].printed['psnr']:.1f} dB."
    yield Claim(statement, judge(right.mean - seen.mean < MARGIN), text)
    gain = right.mean - found.mean(FIRST, "psnr_rgb")
    moved = seen.mean - found.mean(FIRST, "printed_psnr")
    text = f"PSNR rises by {gain:+.2f} dB from attempt 1 to 7, and as printed by {moved:+.2f} dB."
    verdict = judge(False if gain > MARGIN and gain > 2 * abs(moved) else None)
    statement = "PSNR that stays while G's loss falls means that the pictures no longer improve."
    yield Claim(statement, verdict, text)


def _of_settings(found):
    if found.of("attempt-3") and found.of("attempt-4"):
        pairs = zip(*(found.values(f"attempt-{i}", "g_loss") for i in (3, 4)), strict=False)
        apart = [abs(a / b - 1) for a, b in pairs]
        text = f"G's last losses differ by {min(apart):.0%} or more."
        statement = "Attempts 3 and 4 end with the same losses and scores, to the last digit."
        yield Claim(statement, judge(max(apart) < 1e-4), text)
    for earlier, attempt in itertools.pairwise(ATTEMPTS):
        before, name = earlier.name, attempt.name
        if attempt.expects and found.of(before) and found.of(name):
            rises = {key: found.paired(name, key, before) for key in attempt.expects}
            told = "; ".join(f"{SCORES[key]} {rise:+.3g}" for key, rise in rises.items())
            text = f"Less {before}: {told}. Changed at once: {found.changes(before, name)}."
            verdict = weakest([judge_interval(rise, **POSITIVE) for rise in rises.values()])
            yield Claim(f"{name}: “{attempt.expectation}”", verdict, text)


def _of_the_repaired(found):
    expected = {"The adversarial loss makes edges sharper.": ("sharpness", POSITIVE)}
    expected["The adversarial loss adds texture that looks right."] = "perceptual", NEGATIVE
    expected["With it SSIM rises while PSNR may fall a little."] = "ssim_y", POSITIVE
    for statement, (key, verdict) in expected.items():
        text = f"Adversarial phase less pretraining, by picture ({found.recipe.judge} judges): "
        text += f"{SCORES[key]} {{:+.4f}}, PSNR (Y) {found.gain('psnr_y'):+.3f} dB."
        yield by_interval(statement, found.gain(key), verdict, text)
    bicubic, linear = found.gain("psnr_y", "bicubic"), found.gain("psnr_y", "linear")
    text = f"Less bicubic {bicubic:+.2f} dB, less the linear upscaler {linear:+.2f} dB."
    statement = f"Our own: pixel pretraining alone beats bicubic by {GOAL} dB (Y)."
    yield Claim(statement, judge_interval(bicubic, low=GOAL), text)


def crop(low, high):
    """Slices of the part of a picture where the small one still shows most detail."""
    scale = high.shape[0] // low.shape[0]
    side = CROP // scale
    detail = np.hypot(*np.gradient(low.mean(axis=-1)))
    ranges = (range(0, max(1, length - side), side // 4) for length in low.shape[:2])
    corners = itertools.product(*ranges)
    y, x = max(corners, key=lambda at: detail[at[0] :, at[1] :][:side, :side].mean())
    return slice(y * scale, y * scale + CROP), slice(x * scale, x * scale + CROP)


def panel(found):
    """LR, bicubic, linear, an attempt, both phases of the repair, the original; with PSNR (Y)."""
    scale, rows, captions = found.recipe.scale, {}, {}
    kernel = srgan.linear_kernel(found.data.train, scale)
    for i, (name, low, high) in enumerate(found.shown, 1):
        cells = {"low resolution": low.repeat(scale, axis=0).repeat(scale, axis=1)}
        cells |= {
            "bicubic": upscale(low, scale),
            "linear": srgan.enlarge_linearly(low, kernel, scale),
        }
        cells |= {a.name: found.enlarged(a.name, name) for a in found.attempts[-1:]}
        if found.of("repaired"):
            cells["pretrained"] = found.enlarged("repaired", name, "pretraining")
            cells["adversarial"] = found.enlarged("repaired", name)
        cells["original"] = high
        window = crop(low, high)
        rows[f"picture {i}"] = [image[window] for image in cells.values()]
        how = {"border": scale, "luma_only": True, "check": False}
        scores = [psnr(image, high, "byte", **how) for image in cells.values()]
        captions[f"picture {i}"] = [f"{score:.2f} dB".replace("inf", "∞") for score in scores]
    return picture_table(rows, list(cells), captions)


def mistake(found):
    """One picture of each attempt: as it is, and as its author's comparison saw it."""
    name, low, high = found.shown[0]
    window, names = crop(low, high), [attempt.name for attempt in found.attempts]
    made = [convert(found.enlarged(each, name)[window], "byte", "unit") for each in names]
    original = convert(high[window], "byte", "unit")
    seen = [np.clip(RANGE_MISTAKES[MISTAKE](image), 0, 1) for image in made]
    rows = {"as it is": [*made, original], "as compared": [*seen, original]}
    return picture_table(rows, [*names, "original"])


def printed(found):
    """PSNR of the attempts: as the write-up printed it, as ours print it, and as it is."""
    x, names = np.arange(len(found.attempts)) + 1, [attempt.name for attempt in found.attempts]
    lines = {"the write-up": [attempt.printed["psnr"] for attempt in found.attempts]}
    ours = {f"ours, “{MISTAKE}”": "printed_psnr", "ours, right range": "psnr_rgb"}
    lines |= {label: [found.mean(name, key) for name in names] for label, key in ours.items()}
    with style() as plt:
        figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.9))
        for label, values in lines.items():
            axes[0].plot(x, values, "o-", label=label)
        for name, mark in (("flat grey", ":"), ("bicubic", "--")):
            level = found.baseline[name]["psnr_rgb"]
            axes[0].axhline(level, color="0.4", ls=mark, lw=0.9, label=name)
        axes[0].set(xlabel="attempt", ylabel="PSNR (RGB), dB", xticks=x)
        for name in names:
            history = pandas.concat(found.history(name)).groupby("epoch")["d_loss"].mean()
            axes[1].plot(history.index / history.index.max(), history, lw=1, label=name)
        axes[1].axhline(1.0, color="0.4", ls="--", lw=0.9, label="no information")
        axes[1].set(xlabel="share of training", ylabel="D's loss, 1 - D(x) + D(G(z))")
        legend_below(figure, axes, 4)
    return figure


def trade(found):
    """Perception against distortion: closer to the original is to the right."""
    about, names = "attempts, by number", [attempt.name for attempt in found.attempts]
    points = [(about, f"${name[-1]}$", "C1", found.after("adversarial", name)) for name in names]
    for name, marker in (("bicubic", "s"), ("linear", "D")):
        points.append((name, marker, "C2", [found.baseline[name]]))
    for phase, marker in zip(PHASES, "v^", strict=True):
        points.append((phase, marker, "C0", found.after(phase)))
    with style() as plt:
        figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.9))
        for ax, key in zip(axes, ("perceptual", "sharpness"), strict=True):
            for label, marker, color, seeds in points:
                look = {"ms": 6, "ls": "", "mew": 0.5, "color": color, "label": label}
                if seeds:
                    at = [np.mean([scores[k] for scores in seeds]) for k in ("psnr_y", key)]
                    ax.plot(*at, marker=marker, **look)
            ax.set(xlabel="PSNR (Y), dB: closer to the original →")
            ax.margins(0.1)
        axes[0].set_ylabel(f"perceptual distance ({found.recipe.judge}): ↓ better")
        axes[1].set_ylabel("sharpness (1 = original)")
        axes[1].axhline(1.0, color="0.4", ls="--", lw=0.9)
        legend_below(figure, axes[:1], 5)
    return figure


write_report = SRResults.report
