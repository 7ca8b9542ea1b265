"""Tables, figures and claims of the boundary study, from its run directories alone."""

import functools
import math

import numpy as np
import pandas
from scipy.special import expit

from ganlib import stats
from ganlib.apply import read_grid
from ganlib.metrics.boundary import SIMILARITIES, s3, s3_ceiling, score_boundary
from ganlib.report import figures as draw
from ganlib.report.claims import Claim, judge, judge_interval
from ganlib.studies.boundary import SIZE, SLOW
from ganlib.studies.results import NEGATIVE, POSITIVE, Results, unanimous, weakest

BCE, BOUNDARY, REPAIRED = "bce", "gamma-0.8", "repaired"
# Each recipe with plain cross-entropy and with the boundary loss, all else alike.
PAIRS = {"write-up": (BCE, BOUNDARY), "repaired": ("repaired-bce", REPAIRED)}
WHOSE = {BOUNDARY: "write-up's recipe", REPAIRED: "repaired recipe"}
LOSSES = {"BCE": ":", "boundary loss": "-"}
REPORTED = {"s1": 0.9982962608337402, "s2": 0.9999310374259949}
REPORTED |= {"s3": 0.6801146268844604, "score": 0.6789090664113528}
SCORES = {key: key for key in REPORTED}
REPAIRS = {"no-rest": "A generator that comes to rest", "no-likeness": "The likeness loss"}
REPAIRS |= {"no-turns": "Turned and mirrored pictures"}
CEILING = "real (ceiling)"
LIMITS = {CEILING: "s3_real", "noise (floor)": "s3_noise", "real, one colour each": "s3_flat"}
LIMITS |= {"the mean picture": "s3_mean"}
SAME, FIRST = 0.05, 10  # how far apart "the same" may be; the "first epochs"


class BoundaryResults(Results):
    """The finished trials of a boundary study; see `Results`."""

    usual = BOUNDARY
    figures = ("samples", "criteria", "gamma", "landscape", "neighbours")
    tables = ("scores", "last", "similarities", "fidelity", "findings", "trials", "repairs")
    bounds = dict.fromkeys(("s1", "s2", "precision", "recall"), (0, 1))

    def gammas(self):
        """γ → name of the variation of the write-up's recipe that has it."""
        names = [name for name in self.names if name.startswith("gamma")]
        return dict(sorted((self.of(name)[0]["recipe"]["gamma"], name) for name in names))

    @functools.cached_property
    def limits(self):
        """Similarity → s3 of real pictures, of noise and others, among the test pictures."""
        test, real = (part.as_range("unit") for part in (self.data.test, self.data.validation))
        found = {}
        for name in SIMILARITIES:
            a, b = real[: SLOW.get(name)], test[: SLOW.get(name)]
            nothing = np.zeros(len(b)), np.zeros(len(a))
            found[name] = score_boundary(*nothing, a, b, value_range="unit", similarity=name)
        return found

    def scores(self):
        """s1, s2, s3 and their product, of the kept epoch, on test pictures."""
        found = self.limits[self.results[0]["recipe"]["similarity"]]
        rows = {"write-up's best (its own s3)": {**REPORTED, "best_epoch": 60}}
        counts = found["n_real"], found["n"], found["n"], 1
        for (name, key), n in zip(LIMITS.items(), counts, strict=True):
            rows[name] = {"s3": found[key], "n": n}
        rows[CEILING]["s3_back"] = rows[CEILING]["s3"]  # both ways are one
        columns = {**SCORES, "s3_train": "s3 to train", "s3_back": "s3 back"}
        return self.between(columns, rows, n="n", first=("epoch", "best_epoch"), spec=".4f")

    def last(self):
        """The last epoch beside the one that validation chose, on test pictures."""
        table, high = self.chosen_and_last(SCORES, ".4f"), []
        for r in self.results:
            lost = any(f["check"] == "non_finite_loss" for f in r["metrics"]["findings"])
            high.append("yes" if r["status"] == "stopped" and not lost else "no")
        return table.assign(**{"stopped, all high": high})

    def similarities(self):
        """s3 by every similarity, each beside its ceiling and floors."""
        rows = []
        for by, limits in self.limits.items():
            row = {"similarity": by}
            for name in self.names:
                row[name] = np.mean([r["metrics"]["similarities"][by] for r in self.of(name)])
            row |= {label: limits[key] for label, key in LIMITS.items()}
            rows.append({**row, "n real": limits["n_real"]})
        return pandas.DataFrame(rows)

    def fidelity(self):
        """What s3 can't see: scores over a network's features, beside those of real pictures."""
        columns = {key: key for key in ("kid", "precision", "recall")}
        limits = {CEILING: self.results[0]["metrics"]["fidelity"]["real"]}
        return self.between(columns, limits, n="n_fake", first=("network", "network"))

    def repairs(self):
        """What each repair is worth: the repaired recipe without one at a time."""
        columns = {**SCORES, "s3_back": "s3 back", "kid": "KID"}
        return self.left_out(REPAIRED, REPAIRS, columns, "score", ".4f")

    def statements(self):
        for base, mine in PAIRS.values():
            if self.of(mine) and self.of(base):
                yield from self._against_bce(mine, base)
        if self.of(BOUNDARY):
            yield from (self._reaches(BOUNDARY), self._losses())
            if len(self.gammas()) > 1:
                yield self._best_gamma()
        if self.of("idle-generator"):
            yield self._means_likeness()
        keys = ("s3_seconds", "seconds_per_epoch")
        seconds, epochs = ([r["metrics"][key] for r in self.results] for key in keys)
        seconds, epoch = np.mean(seconds), np.median(epochs)
        evidence = f"All pairs take {seconds:.2f} s, an epoch {epoch:.1f} s."
        yield Claim("s3 takes too long to be watched.", judge(bool(seconds > epoch)), evidence)
        if self.of(REPAIRED):
            yield from (self._reaches(REPAIRED), self._score())
            if self.of(BOUNDARY):
                text = "A higher score means better pictures."
                yield self.compare(text, REPAIRED, "kid", "KID", **NEGATIVE)
            for name, repair in REPAIRS.items():
                text = f"{repair} raises the score."
                yield self.compare(text, REPAIRED, "score", baseline=name, **POSITIVE)

    def _against_bce(self, mine, base):
        def early(name):  # means over the first epochs, a row a seed
            pairs, keys = zip(self.of(name), self.history(name), strict=True), ["s1", "s2", "s3"]
            means = {r["seed"]: h.reindex(columns=keys)[:FIRST].mean() for r, h in pairs}
            return pandas.DataFrame(means).T

        gaps = {key: column.dropna() for key, column in (early(mine) - early(base)).items()}
        gaps = {key: stats.paired_interval(gap, np.zeros(len(gap))) for key, gap in gaps.items()}
        text = f"Against plain BCE, s2 rises drastically in the first epochs ({WHOSE[mine]})."
        evidence = f"s2 less BCE's, mean of the first {FIRST} epochs: {gaps['s2']:+.3f} (0.1: "
        evidence += "drastic)."
        yield Claim(text, judge_interval(gaps["s2"], low=0.1), evidence)
        alike = [judge_interval(gaps[key], low=-SAME, high=SAME) for key in ("s1", "s3")]
        evidence = f"s1: {gaps['s1']:+.3f}, s3: {gaps['s3']:+.3f}; the same within {SAME:g}."
        yield Claim(f"s1 and s3 stay as with BCE ({WHOSE[mine]}).", weakest(alike), evidence)

    def _reaches(self, name):
        s1, s2 = (np.array(self.values(name, key)) for key in ("s1", "s2"))
        last = [h["s1_train"].dropna().iloc[-1] for h in self.history(name) if "s1_train" in h]
        epochs = max(self.values(name, "epochs"))
        text = f"s1 reaches 0.998 and s2 0.999 within {epochs} epochs ({WHOSE[name]})."
        found = (f"{key} {self.interval(name, key):.4f}" for key in ("s1", "s2"))
        evidence = f"{', '.join(found)}; s1 of training pictures {np.mean(last or np.nan):.4f}."
        return Claim(text, unanimous([*((s1 >= 0.998) & (s2 >= 0.999))]), evidence)

    def _losses(self):
        halves = [h[["d_loss", "g_loss"]].iloc[len(h) // 2 :] for h in self.history(BOUNDARY)]
        losses = np.concatenate([half.to_numpy() for half in halves])
        low, high = losses.min(), losses.max()
        verdict = judge(bool(low >= 0 and high <= 1) if math.isfinite(low + high) else None)
        evidence = f"From {low:.2f} to {high:.2f} in the second half of the training ({BOUNDARY})."
        text = "With many epochs the losses of G and D swing between 0 and 1."
        return Claim(text, verdict, evidence)

    def _best_gamma(self):
        others = {gamma: name for gamma, name in self.gammas().items() if name != BOUNDARY}
        gaps = {gamma: self.paired(BOUNDARY, "score", name) for gamma, name in others.items()}
        verdict = weakest([judge_interval(gap, **POSITIVE) for gap in gaps.values()])
        listed = "; ".join(f"γ = {gamma:g}: {gap:+.3f}" for gamma, gap in gaps.items())
        return Claim("γ = 0.8 is the best.", verdict, f"Score of γ = 0.8 less that of {listed}.")

    def _means_likeness(self):
        keys = ("s1", "s2", "s3", "s3_noise", "s3_real")
        s1, s2, s3, noise, real = (self.mean("idle-generator", key) for key in keys)
        text = "s1 and s2 near 1 say that G makes pictures from the boundary of the real ones."
        evidence = f"A generator that never learns: s1 {s1:.4f}, s2 {s2:.4f}, s3 {s3:.3f} (noise "
        evidence += f"{noise:.3f}, real {real:.3f})."
        verdict = judge(False if min(s1, s2) >= 0.99 and s3 < real / 2 else None)
        return Claim(text, verdict, evidence)

    def _score(self):
        values, by = self.values(REPAIRED, "score"), self.of(REPAIRED)[0]["recipe"]["similarity"]
        others = self.similarities().set_index("similarity").drop(by)[[REPAIRED, CEILING]]
        listed = (f"{n} {mine:.3f} (real {real:.3f})" for n, mine, real in others.itertuples())
        score, real = self.interval(REPAIRED, "score"), self.mean(REPAIRED, "s3_real")
        evidence = f"{score:.4f} (s3 of real pictures {real:.3f}); s3 by {', '.join(listed)}."
        text = f"Held-out pictures can score above the write-up's {REPORTED['score']:.4f}."
        return Claim(text, unanimous([value > REPORTED["score"] for value in values]), evidence)

    def samples_figure(self):
        """Real pictures, and each variation's as its kept epoch makes them."""
        real = self.data.test.as_range("unit")
        real = real[np.linspace(0, len(real) - 1, 16).astype(int)]  # those in a row may be alike
        panels = {f"real pictures\ns3 {self.metric(self.results[0], 's3_real'):.3f}": real}
        for name in self.names:
            result = self.of(name)[0]
            scores = (f"{key} {self.metric(result, key):.3f}" for key in ("s1", "s2", "s3"))
            path = self.folders[result["id"]] / "samples.png"
            panels[f"{name}\n{'  '.join(scores)}"] = read_grid(path, SIZE)
        return draw.picture_panels(panels)

    def criteria_figure(self):
        """s1, s2 and s3 on validation pictures over epochs, mean and 95 % interval; dot: an end."""
        shown = []
        for i, (recipe, pair) in enumerate(PAIRS.items()):
            for name, loss in zip(pair, LOSSES, strict=True):
                if self.of(name):
                    shown.append((name, f"C{i}", LOSSES[loss], f"{recipe}, {loss}"))
        first, real = self.results[0], self.data.validation.as_range("unit")
        noise = np.random.default_rng(0).random(real.shape, "float32")
        how = ("unit", first["recipe"]["similarity"])
        limits = {"real pictures": s3_ceiling(real, *how), "noise": s3(noise, real, *how)}
        with draw.style() as plt:
            shared = {"sharex": True, "sharey": True, "figsize": (draw.PAGE, 2.7)}
            figure, axes = plt.subplots(1, 3, **shared)
            for ax, key in zip(axes, ("s1", "s2", "s3"), strict=True):
                for name, color, line, label in shown:
                    for curve in draw.curve(ax, self.history(name), key, label, color, line):
                        if len(curve) and curve.index[-1] < first["recipe"]["epochs"]:
                            look = {"color": color, "mec": "w", "mew": 0.5}
                            ax.plot(curve.index[-1:], curve[-1:], "o", **look)
                ax.set(xlabel="epoch", title=key, ylim=(0, 1.02))
                if key != "s3":
                    look = {"color": "0.4", "ls": "--", "lw": 0.6, "label": "counts as high"}
                    ax.axhline(first["metrics"]["high"][key], **look)
            for (label, level), line in zip(limits.items(), ("--", ":"), strict=True):
                axes[2].axhline(level, color="k", ls=line, lw=0.9, label=label)
            axes[0].set_ylabel("validation pictures")
            draw.legend_below(figure, axes, 4)
        return figure

    def gamma_figure(self):
        """Scores of the kept epoch on test pictures against γ; dotted: plain cross-entropy."""
        if len(names := self.gammas()) < 2:
            return None
        with draw.style() as plt:
            figure, axes = plt.subplots(1, 2, figsize=(draw.PAGE, 2.6), sharex=True)
            for i, key in enumerate(SCORES):
                ax, color = axes[i // 2], f"C{i}"
                means = [self.interval(name, key) for name in names.values()]
                ends = [(m.mean - m.low, m.high - m.mean) if m.n > 1 else (0, 0) for m in means]
                look = {"color": color, "marker": "os^D"[i], "capsize": 2, "label": key}
                ax.errorbar(list(names), [m.mean for m in means], np.transpose(ends), **look)
                if self.of(BCE):
                    look = {"color": color, "ls": ":", "lw": 1.1, "label": f"{key}, BCE"}
                    ax.axhline(self.mean(BCE, key), **look)
            for ax in axes:
                ax.set(xlabel="γ", xticks=list(names))
                ax.legend(ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.2))
            axes[0].set_ylabel("test pictures")
        return figure

    def landscape_figure(self):
        """D around the boundary, cross-entropy above the boundary loss; the first seed of each."""
        pairs = [pair for pair in PAIRS.values() if all(self.of(name) for name in pair)]
        if not pairs:
            return None
        logits = []
        for name in pairs[-1]:
            with np.load(self.folders[self.of(name)[0]["id"]] / "landscape.npz") as file:
                logits.append({key: file[key].astype("float64") for key in file})
        with draw.style() as plt:
            figure, axes = plt.subplots(2, 3, figsize=(draw.PAGE, 4.5), sharex="col")
            for i, (row, loss) in enumerate(zip(axes, LOSSES, strict=True)):
                _histogram(row[0], logits[i])
                row[0].set_ylabel(f"{pairs[-1][i]} ({loss})\n% of pictures")
                _ways(row[1], logits[i], logits[1 - i])
                mesh = _plane(row[2], logits[i])
            titles = ("D on pictures", "D on the way to real ones", "D on a plane")
            for ax, title in zip(axes[0], titles, strict=True):
                ax.set_title(title)
            axes[1, 0].set_xlabel("D")
            axes[1, 1].set_xticks([0, 1], ["a generated\npicture", "its nearest\nreal one"])
            axes[1, 2].set_xlabel("to its nearest real picture →")
            for ax in axes[1, :2]:
                ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2)
            figure.colorbar(mesh, ax=axes[:, 2], label="D", shrink=0.6, ticks=(0, 0.5, 1))
        return figure

    def neighbours_figure(self):
        """The generated pictures most like a test picture, that one, and the nearest trained on."""
        if not (results := self.of(REPAIRED) or self.of(BOUNDARY)):
            return None
        best = results[0]["metrics"]["scores"]["best"]
        title = f"{results[0]['name']}: s3 to test pictures {best['s3']:.3f}, to training pictures "
        title += f"{best['s3_train']:.3f}, of real ones {best['s3_real']:.3f}"
        images = read_grid(self.folders[results[0]["id"]] / "neighbours.png", SIZE)
        labels = ("generated", "nearest test", "nearest training")
        return draw.picture_rows(dict(zip(labels, np.split(images, 3), strict=True)), title)


def _histogram(ax, logits):
    step = {"histtype": "step", "lw": 1.1, "range": (0, 1)}
    looks = {"real": ("C0", "-", "real, test"), "train": ("C5", "--", "real, training")}
    looks |= {"fake": ("C1", "-", "generated"), "noise": ("k", ":", "noise")}
    for name, (color, line, label) in looks.items():
        values, look = expit(logits[name].ravel()), {"color": color, "ls": line, "label": label}
        # An odd number of bins: ½ lies in the middle of one.
        ax.hist(values, 41, weights=np.full(values.size, 100 / values.size), **step, **look)
    most = max(logits[name].size for name in looks)
    # Shares are on a logarithmic axis: one picture far from the rest can be seen.
    ax.set(yscale="log", ylim=(50 / most, 150), xlim=(-0.02, 1.02), xticks=(0, 0.5, 1))
    ax.yaxis.set_major_formatter("{x:g}")


def _ways(ax, logits, others):
    at = logits["at"]
    low, middle, high = np.quantile(expit(logits["ways"]), (0.1, 0.5, 0.9), axis=0)
    ax.axhline(0.5, color="k", lw=0.6)
    ax.fill_between(at, low, high, color="C2", alpha=0.2, lw=0, label="10–90 %")
    ax.plot(at, middle, color="C2", label="median")
    other = np.median(expit(others["ways"]), axis=0)
    ax.plot(at, other, color="0.5", lw=0.9, ls="--", label="median, other loss")
    ax.set(ylim=(0, 1.02), yticks=(0, 0.5, 1), xlim=(at[0], at[-1]))


def _plane(ax, logits):
    at, plane = logits["at"], logits["plane"]
    half = (at[1] - at[0]) / 2  # a value stands in the middle of its pixel
    extent = (at[0] - half, at[-1] + half) * 2
    mesh = ax.imshow(expit(plane), vmin=0, vmax=1, origin="lower", extent=extent, aspect="auto")
    if plane.min() < 0 < plane.max():
        ax.contour(at, at, plane, levels=[0.0], colors="w", linewidths=0.8)
    look = {"xytext": (0, 5), "textcoords": "offset points", "ha": "center", "va": "bottom"}
    look["bbox"] = {"boxstyle": "square,pad=0.15", "fc": "w", "ec": "none", "alpha": 0.75}
    for label, at in {"generated": (0, 0), "its nearest": (1, 0), "another real": (0, 1)}.items():
        ax.plot(*at, "o", color="C1", mec="w", mew=0.7)
        ax.annotate(label, at, fontsize=draw.SMALL, **look)
    ax.set(ylabel="to another real one →", xticks=(0, 1), yticks=(0, 1))
    ax.grid(False)
    return mesh


write_report = BoundaryResults.report
