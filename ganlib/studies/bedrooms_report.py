"""Tables, figures and claims of the bedroom study, from its run directories alone."""

import functools
import math

import numpy as np
import pandas

from ganlib import stats
from ganlib.apply import read_grid
from ganlib.data.room_styles import style_coverage
from ganlib.data.rooms import FACTORS
from ganlib.features import networks
from ganlib.metrics import fidelity
from ganlib.report import figures as draw
from ganlib.report.claims import CANNOT_TELL, Claim, judge, judge_interval
from ganlib.studies.results import NEGATIVE, POSITIVE, Results, about, unanimous

ASSIGNMENT, REPAIRED = "batch-128", "repaired"
RIVALS = {ASSIGNMENT: "assignment", REPAIRED: "repaired"}  # shown beside each other
VARIED, RANKED = 0.5, 5  # least spread of "varied" features; variations for a rank correlation
COPIES = "share nearer than 1 % of those"
SLOWED = "Slowing the overpowering player's learning rate (D's, to a quarter) does better."
ASKED = {
    "batch-256": "A larger batch (256) does better than 128.",
    "batch-32": "A smaller batch (32) does better than 128.",
    "slow-discriminator": SLOWED,
}
REPAIRS = {  # ablation → what it leaves out
    "transposed": "Upsampling and convolution in place of transposed convolutions",
    "no-augmentation": "DiffAugment",
    "equal-rates": "A discriminator that learns at twice the generator's rate (TTUR)",
    "no-spectral-norm": "Spectral normalisation in place of D's batch normalisation",
}


class BedroomResults(Results):
    """The finished trials of a bedroom study; see `Results`."""

    usual = ASSIGNMENT
    figures = ("samples", "progress", "best_and_last", "styles")
    tables = ("scores", "best_and_last", "players", "neighbours", "formulas", "discussion")
    tables += ("findings", "trials")
    bounds = dict.fromkeys(("precision", "recall", "coverage"), (0, 1))
    bounds |= dict.fromkeys(("frechet", "density", "spread"), (0, math.inf))

    def __init__(self, study, results, data, out="runs"):
        super().__init__(study, results, data, out)
        if self.of(REPAIRED):
            self.figures += ("truncation", "neighbours", "interpolation")
            self.tables += ("ablations", "truncation")
        self.network = networks.get(self.results[0]["recipe"]["network"])
        self.folder = next(iter(self.folders.values())).parent / "features"
        # Score → what it may be called over this network.
        own = self.network.name == "inception_v3"
        self.labels = {"kid": "KID", "frechet": fidelity.frechet_name(self.network)}
        self.labels["inception_score"] = "IS" if own else f"IS formula ({self.network.title})"
        self.labels |= {key: key for key in ("precision", "recall", "density", "coverage")}

    @property
    def names(self):
        """Names of the variations, those with the assignment's networks first."""
        return sorted(super().names, key=lambda n: self.of(n)[0]["recipe"]["networks"])

    @functools.cached_property
    def seen(self):
        """What the network sees in "test" pictures, in "real" ones never trained on, in "noise"."""
        see, real = functools.partial(networks.cached, self.network), self.data.validation
        noise, folder = np.random.default_rng(0).random(real.shape, "float32"), self.folder
        seen = {"test": see(self.data.test, folder), "real": see(real, folder)}
        return seen | {"noise": see(noise, folder, "unit")}

    @functools.cached_property
    def baselines(self):
        """Scores of real pictures never trained on ("real"), and of "noise"."""
        score = functools.partial(fidelity.evaluate, self.seen["test"].features)
        seen = {name: self.seen[name] for name in ("real", "noise")}
        return {n: score(x.features, self.network, x.probabilities) for n, x in seen.items()}

    def contents(self):
        return super().contents()._replace(films={"film": self.film()})

    def scores(self):
        """Every variation's kept epoch between real pictures and noise, test part."""
        real, noise = (self.baselines[name] for name in ("real", "noise"))
        limits = {"real (ceiling)": real, "noise (floor)": noise}
        return self.between(self.labels, limits, n="n_fake", first=("epoch", "best_epoch"))

    def cautions(self):
        """What misleads at these sample sizes."""
        return list(dict.fromkeys(c for r in self.results for c in self.metric(r, "cautions")))

    def best_and_last(self):
        """The kept epoch beside the last one, on test pictures."""
        return self.chosen_and_last({k: self.labels[k] for k in ("kid", "precision", "recall")})

    def ablations(self):
        """The repaired recipe with one repair left out at a time."""
        columns = {k: self.labels[k] for k in ("kid", "precision", "recall", "coverage")}
        table = self.left_out(REPAIRED, REPAIRS, columns, "kid")
        if not (pairs := self.with_and_without_average()):
            return table
        row = {"variation": "(same runs, last epoch)", "left out": "Average of G's weights"}
        without, less = map(stats.mean_interval, ([a for a, _ in pairs], [a - b for a, b in pairs]))
        row |= {"KID": without.brief(), "KID less with it": less.brief("+.3g"), "seeds": len(pairs)}
        return pandas.concat([table, pandas.DataFrame([row])], ignore_index=True).fillna("")

    def with_and_without_average(self):
        """KID of the repaired runs' last weights, not averaged and averaged; a pair a seed."""
        scores = [r["metrics"]["scores"] for r in self.of(REPAIRED)]
        whole = [s for s in scores if s.get("unaveraged") and s["last"]]
        return [(s["unaveraged"]["kid"], s["last"]["kid"]) for s in whole]

    def players(self):
        """How often D is right in the last epoch, the players' sizes, and what an epoch costs."""
        table = self.costs()
        for side in ("fake", "real"):
            right = [f"{self.mean(name, f'd_accuracy_{side}'):.0%}" for name in self.names]
            table.insert(1, f"D right on {side}", right)
        return table

    def neighbours(self):
        """How near generated pictures are to training pictures, beside held-out real ones."""
        table = pandas.DataFrame([about(r) | r["metrics"]["neighbours"] for r in self.results])
        labels = {"distance": "median distance", "held_out_distance": "of held-out real pictures"}
        return table.rename(columns=labels | {"copies": COPIES})

    @functools.cached_property
    def points(self):
        """All scores by truncation, a row a trial and truncation; infinite: nothing is cut off."""
        rows = []
        for r in self.results:
            whole = {**r["metrics"]["scores"]["best"], "styles": r["metrics"]["styles"]}
            for point in (*r["metrics"]["truncation"], {"truncation": math.inf, **whole}):
                rows.append(about(r) | point)
                if some := point["styles"]:
                    rows[-1] |= {"styles seen": some["styles"], "clear": some["clear"] / some["n"]}
        return pandas.DataFrame(rows)

    def truncation(self):
        """Quality and diversity over the truncation of the latents."""
        columns = ["variation", "seed", "truncation", "precision", "recall", "kid"]
        return self.points.loc[np.isfinite(self.points["truncation"]), columns]

    def formulas(self):
        """Both scores as the write-up states them, and as they are, on real pictures and noise."""
        real, rows = self.seen["test"].features.astype("float64"), []
        for name, scores in self.baselines.items():
            features, p = (part.astype("float64") for part in self.seen[name][:2])
            marginal = p.sum(axis=0) / p.shape[1]  # over the number of classes, as written
            logs = np.log(np.maximum(p, 1e-300) / np.maximum(marginal, 1e-300))
            written = np.where(p > 0, p * logs, 0).sum(axis=1).mean()
            gap, spread = (f(features, axis=0) - f(real, axis=0) for f in (np.mean, np.std))
            row = {"pictures": name, "IS as written": f"{written:.3f}"}
            row[self.labels["inception_score"]] = f"{scores['inception_score']:.3f}"
            row["distance as written (variances)"] = f"{(gap**2).sum() + (spread**2).sum():.2f}"
            row[f"{self.labels['frechet']} (covariances)"] = f"{scores['frechet']:.2f}"
            rows.append({**row, "n": len(p)})
        return pandas.DataFrame(rows)

    def discussion(self):
        """The write-up's four discussion points, answered by measurement."""
        listed = {}
        for key in ("kid", "precision", "recall", "inception_score"):
            values = {name: self.mean(name, key) for name in self.names}
            values |= {name: scores[key] for name, scores in self.baselines.items()}
            listed[key] = ", ".join(f"{value:.3g} ({name})" for name, value in values.items())
        quality = f"Precision {listed['precision']}; recall {listed['recall']}"
        points = self.truncation().groupby("truncation")[["precision", "recall"]].mean()
        for cut, (precision, recall) in points.iloc[:1].iterrows():
            quality += f"; latents cut off at {cut:g}: {precision:.2f}, {recall:.2f} ({REPAIRED})"
        copies = self.neighbours().groupby("variation")[COPIES].mean().items()
        copied = ", ".join(f"{share:.1%} ({name})" for name, share in copies)
        named = self.labels["inception_score"]
        answers = {
            "Quality against diversity": f"{quality}.",
            "Other hyperparameters and batch sizes": f"KID {listed['kid']}.",
            "Practical uses": f"Pictures to train on. Nearer than 1 % of unseen ones: {copied}.",
            "Inception Score and Fréchet distance": f"{named} {listed['inception_score']}.",
        }
        return pandas.DataFrame(answers.items(), columns=["point", "measured"])

    def statements(self):
        if self.of(ASSIGNMENT):
            yield from self._of_pictures()
            for name, statement in ASKED.items():
                yield self.compare(statement, name, "kid", "KID", **NEGATIVE)
            yield self._more_epochs()
        yield self._inception_score()
        if self.of(REPAIRED):
            text = "The repaired recipe at least halves the assignment's KID."
            yield self.compare(text, REPAIRED, "kid", "KID", ratio=True, high=0.5)
            text = "The repaired recipe's recall is not lower."
            yield self.compare(text, REPAIRED, "recall", low=0.0)
            for name, repair in REPAIRS.items():
                text = f"{repair} lowers KID."
                yield self.compare(text, name, "kid", "KID", REPAIRED, **POSITIVE)
            gains = [without - with_it for without, with_it in self.with_and_without_average()]
            text, label = "Averaging G's weights lowers KID.", "KID without it less KID with it"
            yield _of_gains(text, gains, label, POSITIVE)
        last = [r["metrics"]["best_epoch"] == r["metrics"]["epochs"] for r in self.results]
        evidence = f"By KID in {sum(last)} of {len(last)} runs."
        yield Claim("The last epoch is the best.", judge(all(last)), evidence)

    def _of_pictures(self):
        real, noise = (self.baselines[name] for name in ("real", "noise"))
        precision, kid = (self.interval(ASSIGNMENT, key) for key in ("precision", "kid"))
        # Precision asks it of each picture: does it lie among the real ones?
        low = [value < real["precision"] / 2 for value in self.values(ASSIGNMENT, "precision")]
        evidence = f"Precision {precision:.2f} (real {real['precision']:.2f}), KID {kid:.3g} "
        evidence += f"(real {real['kid']:.2g}, noise {noise['kid']:.2g})."
        text = "The assignment's pictures do not resemble bedrooms."
        yield Claim(text, unanimous(low), evidence)
        spread, recall = (self.interval(ASSIGNMENT, key) for key in ("spread", "recall"))
        varied = [value >= VARIED for value in self.values(ASSIGNMENT, "spread")]
        evidence = f"Spread of features over real pictures' {spread:.2f} (varied from {VARIED:g} "
        evidence += f"on), recall {recall:.2f}."
        yield Claim("They differ from one another, though.", unanimous(varied), evidence)

    def _more_epochs(self):
        gains = []
        for kid in filter(len, map(kid_of, self.history(ASSIGNMENT))):
            half = kid.index[np.abs(kid.index - kid.index[-1] / 2).argmin()]
            gains.append(kid.iloc[-1] - kid[half])
        label = "KID after the last epoch less after half of them"
        return _of_gains("More epochs do better.", gains, label, NEGATIVE)

    def _inception_score(self):
        from scipy.stats import spearmanr

        real = self.baselines["real"]["inception_score"]
        scores = {name: self.mean(name, "inception_score") for name in self.names}
        kids, order = [self.mean(name, "kid") for name in scores], None
        if len(scores) >= RANKED and np.ptp(list(scores.values())) and np.ptp(kids):
            order = float(spearmanr(list(scores.values()), kids).statistic)
        scores["noise"] = self.baselines["noise"]["inception_score"]
        best = max(scores, key=scores.get)
        evidence = f"Real pictures score {real:.2f}, the best of the others {scores[best]:.2f} "
        evidence += f"({best})."
        if order is not None:
            evidence += f" Rank correlation with KID: {order:+.2f} (ideal: -1)."
        holds = False if scores[best] >= real else None if order is None else order < -0.5
        return Claim("The Inception Score tells how good bedrooms are.", judge(holds), evidence)

    def samples_figure(self):
        """Real pictures, and the same latents through each variation's generator as it was kept."""
        real = f"real pictures\nKID {self.baselines['real']['kid']:.3f}"
        panels = {real: self.data.test.as_range("unit")}
        for name in self.names:
            result = self.of(name)[0]
            title = f"{name}\nKID {self.metric(result, 'kid'):.3f}"
            panels[title] = self._pictures(result, self._kept(result))
        return draw.picture_panels(panels)

    def progress_figure(self):
        """KID on validation pictures over epochs; a dot marks the epoch that was kept."""
        titles, sides = {"dcgan": "the repaired recipe and its ablations"}, {}
        for name in self.names:
            kind = self.of(name)[0]["recipe"]["networks"]
            sides.setdefault(titles.get(kind, "the assignment's networks"), []).append(name)
        with draw.style() as plt:
            shared = {"sharex": True, "sharey": True, "squeeze": False}
            figure, axes = plt.subplots(1, len(sides), figsize=(draw.PAGE, 3.2), **shared)
            for ax, (title, names) in zip(axes[0], sides.items(), strict=True):
                for i, name in enumerate(names):
                    curves = draw.curve(ax, self.history(name), "kid", name, f"C{i}")
                    for result, curve in zip(self.of(name), curves, strict=True):
                        kept = curve[curve.index == result["metrics"]["best_epoch"]]
                        ax.plot(kept.index, kept, "o", color=f"C{i}", mec="white", mew=0.5)
                for label, mark in (("real", "--"), ("noise", ":")):
                    level = self.baselines[label]["kid"]
                    ax.axhline(level, color="0.4", ls=mark, lw=0.9, label=label)
                ax.set(xlabel="epoch", title=title)
                ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)
            axes[0, 0].set_ylabel("KID, validation pictures (lower is better)")
        return figure

    def best_and_last_figure(self):
        """The same latents' pictures at the epoch that was kept, and at the last one."""
        rows = {}
        for name in filter(self.of, RIVALS):
            result = self.of(name)[0]
            kid, last = kid_of(self.histories[result["id"]]), max(self.epochs(result), default=0)
            kept = "kept" if result["metrics"]["best_epoch"] else "none kept"
            for label, epoch in {kept: self._kept(result), "last": last}.items():
                images = self._pictures(result, epoch)
                score = f"\nKID {kid[epoch]:.3f}" if epoch in kid else ""
                label = f"{name}\n{label}, epoch {epoch}{score}"
                rows[label] = images if images is None else images[:12]
        return draw.picture_rows(rows) if rows else None

    def truncation_figure(self):
        """Quality and diversity as latents far from 0 are cut off; dashed: real pictures."""
        points = self.points[self.points["variation"] == REPAIRED].groupby("truncation")
        points, real = points.mean(numeric_only=True), self.baselines["real"]
        points.index = [f"{cut:g}".replace("inf", "none") for cut in points.index]
        second = ("clear", "styles seen") if "clear" in points else ("density", "coverage")
        with draw.style() as plt:
            figure, axes = plt.subplots(1, 3, figsize=(draw.PAGE, 2.3))
            for ax, keys in zip(axes, (("precision", "recall"), second, ("kid",)), strict=True):
                for i, key in enumerate(keys):
                    errors = points[f"{key}_standard_error"] if key == "kid" else None
                    look = {"fmt": "o-", "color": f"C{i}", "label": key.replace("kid", "KID")}
                    ax.errorbar(points.index, points[key], errors, capsize=2, **look)
                    if key in real:
                        ax.axhline(real[key], color=f"C{i}", ls="--", lw=0.9)
                ax.set_xlabel("truncation of z")
                ax.legend()
        return figure

    def neighbours_figure(self):
        """The generated pictures that are nearest to a training picture, and that picture."""
        result = self.of(REPAIRED)[0]
        near = result["metrics"]["neighbours"]
        title = f"Median distance to training pictures: {near['distance']:.3g}, of held-out ones "
        title += f"{near['held_out_distance']:.3g}. The nearest of {near['n']:,}:"
        generated, training = np.split(self._read(result, "neighbours.png"), 2)
        return draw.picture_rows({"generated": generated, "training": training}, title)

    def interpolation_figure(self):
        """Pictures on the way from one latent to another, on the arc between them; a row a way."""
        images = self._read(self.of(REPAIRED)[0], "interpolation.png")
        ways = {f"way {i + 1}": way for i, way in enumerate(np.split(images, len(images) // 8))}
        return draw.picture_rows(ways, width=draw.COLUMN)

    def styles_figure(self):
        """Share of each style factor's values among synthetic rooms, read from the pictures."""
        counted = {n: [r["metrics"]["styles"] for r in self.of(n)] for n in self.names}
        if not all(all(each) for each in counted.values()):
            return None  # of other pictures than rooms there is nothing to count
        counted["training pictures"], rows = [style_coverage(self.data.train)], {}
        for name, each in counted.items():
            clear = np.mean([s["clear"] / s["n"] for s in each])
            shares = [[n / s["n"] for f in FACTORS for n in s["counts"][f]] for s in each]
            rows[f"{name} ({clear:.0%} clear)"] = 100 * np.mean(shares, axis=0)
        values = [value for group in FACTORS.values() for value in group]
        with draw.style() as plt:
            figure, ax = plt.subplots(figsize=(draw.PAGE, 0.2 * len(rows) + 1.1))
            shares = np.stack([*rows.values()])
            draw.heatmap(figure, ax, shares, [*rows], values, 60, "% of pictures")
            ax.tick_params("x", rotation=90)
            end = -0.5
            for factor, group in FACTORS.items():
                middle, end = end + len(group) / 2, end + len(group)
                ax.text(middle, -0.65, factor, ha="center", va="bottom", fontsize=draw.SMALL)
                ax.axvline(end, color="white", lw=2)
        return figure

    def film(self):
        """Frames of the same latents' pictures over the epochs, the assignment and the repair."""
        shown = {RIVALS[name]: self.of(name)[0] for name in filter(self.of, RIVALS)}
        shown = {name: result for name, result in shown.items() if self.epochs(result)}
        common, frames = [set(self.epochs(result)) for result in shown.values()], []
        for epoch in sorted(set.intersection(*common) if common else ()):
            panels = {f"{n}, epoch {epoch}": self._pictures(r, epoch) for n, r in shown.items()}
            frames.append(draw.as_frame(draw.picture_panels(panels, shown=25)))
        return frames

    def _read(self, result, path):
        return read_grid(self.folders[result["id"]] / path, result["recipe"]["size"])

    def _kept(self, result):  # the last one with pictures where none was
        return result["metrics"]["best_epoch"] or max(self.epochs(result), default=0)

    def _pictures(self, result, epoch):
        there = epoch in self.epochs(result)
        return self._read(result, f"samples/epoch-{epoch:04d}.png") if there else None


def _of_gains(statement, gains, label, ends):
    if not gains:
        return Claim(statement, CANNOT_TELL, "No run had finite weights to score.")
    gain = stats.mean_interval(gains)
    return Claim(statement, judge_interval(gain, **ends), f"{label}: {gain:+.3f}.")


def kid_of(history):
    """KID by epoch, of the epochs that were scored: none where weights were never finite."""
    return history.set_index("epoch").get("kid", pandas.Series(dtype=float)).dropna()


write_report = BedroomResults.report
