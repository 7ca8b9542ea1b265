"""Tables, figures and claims of the bedroom study, from its run directories alone."""

import functools
import math
import pathlib

import numpy as np
import pandas

from ganlib import stats
from ganlib.features import networks
from ganlib.metrics import fidelity
from ganlib.report.claims import CANNOT_TELL, Claim, judge, judge_interval
from ganlib.studies import bedrooms
from ganlib.studies.bedrooms_figures import ASSIGNMENT, FIGURES, REPAIRED, RIVALS, film, kid_of
from ganlib.studies.results import NEGATIVE, POSITIVE, Contents, Results, unanimous

VARIED = 0.5  # spread of the features, as a share of real pictures': less is no wide range
RANKED = 5  # variations: fewer make no rank correlation worth the name
# Variation → what the write-up's discussion asks of it.
ASKED = {
    "batch-256": "A larger batch (256) does better than 128.",
    "batch-32": "A smaller batch (32) does better than 128.",
    "slow-discriminator": "Slowing the overpowering player's learning rate (D's, to a quarter) "
    "does better.",
}
# Ablation → the repair that it leaves out.
REPAIRS = {
    "transposed": "Upsampling and convolution in place of transposed convolutions",
    "no-augmentation": "DiffAugment",
    "equal-rates": "A discriminator that learns at twice the generator's rate (TTUR)",
    "no-spectral-norm": "Spectral normalisation in place of D's batch normalisation",
}
TABLES = ("scores", "checkpoints", "best_and_last", "players", "neighbours", "formulas")
TABLES += ("discussion", "findings", "trials")


class BedroomResults(Results):
    """The finished trials of a bedroom study; see `Results`."""

    usual = ASSIGNMENT
    bounds = dict.fromkeys(("precision", "recall", "coverage"), (0, 1))
    bounds |= dict.fromkeys(("frechet", "density", "spread"), (0, math.inf))

    def __init__(self, study, results, data, out="runs"):
        super().__init__(study, results, data, out)
        self.network = networks.get(self.results[0]["recipe"]["network"])
        self.folder = pathlib.Path(out) / study.name  # where features are kept
        inception = self.network.name == "inception_v3"
        self.labels = {  # score → what it may be called over this network
            "kid": "KID",
            "frechet": fidelity.frechet_name(self.network),
            "inception_score": "IS" if inception else f"IS formula ({self.network.title})",
            **{key: key for key in ("precision", "recall", "density", "coverage")},
        }

    @property
    def names(self):
        """Names of the variations, the assignment's first."""
        return sorted(super().names, key=lambda name: not self.of_assignment(name))

    def of_assignment(self, name):
        """Whether a variation has the assignment's networks."""
        return self.of(name)[0]["recipe"]["networks"] == "assignment"

    @functools.cached_property
    def baselines(self):
        """Scores of real pictures never trained on ("real"), and of "noise"."""
        return bedrooms.baselines(self.data, self.network, self.folder)

    def metric(self, result, key):
        """A number of the kept epoch's scores on test pictures, or else of the result."""
        best = result["metrics"]["scores"]["best"]
        return best[key] if key in best else super().metric(result, key)

    def statements(self):
        """The write-up's statements and our repairs against our runs."""
        return _statements(self)

    def contents(self):
        """The figures, tables and the film of the report."""
        tables = TABLES + (("ablations", "truncation") if self.of(REPAIRED) else ())
        return Contents(FIGURES, tables, {"film": frames} if (frames := film(self)) else {})

    def scores(self):
        """Every variation's kept epoch between real pictures and noise, test part."""
        limits = []
        for name, label in (("real", "real (ceiling)"), ("noise", "noise (floor)")):
            row = {text: f"{self.baselines[name][k]:.3g}" for k, text in self.labels.items()}
            limits.append({"pictures": label, **row, "n": self.baselines[name]["n_fake"]})
        return self.between(self.labels, limits, n="n_fake", first=("epoch", "best_epoch"))

    def cautions(self):
        """What misleads at these sample sizes."""
        said = [c for r in self.results for c in r["metrics"]["scores"]["best"]["cautions"]]
        return list(dict.fromkeys(said))

    def checkpoints(self):
        """All scores of every scored epoch, on validation pictures."""
        return self.over_epochs(self.labels).dropna(ignore_index=True)

    def best_and_last(self):
        """The kept epoch beside the last one, on test pictures."""
        keys = ("kid", "precision", "recall")
        return self.chosen_and_last({key: self.labels[key] for key in keys})

    def ablations(self):
        """The repaired recipe with one repair left out at a time."""
        keys = ("kid", "precision", "recall", "coverage")
        table = self.left_out(REPAIRED, REPAIRS, {key: self.labels[key] for key in keys}, "kid")
        if not (pairs := self.with_and_without_average()):
            return table
        row = {"variation": "(same runs, last epoch)", "left out": "Average of G's weights"}
        row["KID"] = stats.brief([without for without, _ in pairs])
        row["KID less with it"] = stats.brief([a - b for a, b in pairs], "+.3g")
        row["seeds"] = len(pairs)
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
        labels = {"distance": "median distance", "held_out_distance": "of held-out real pictures"}
        labels |= {"copies": "share nearer than 1 % of those", "n": "n"}
        near = {(r["name"], r["seed"]): r["metrics"]["neighbours"] for r in self.results}
        table = pandas.DataFrame(near.values(), pandas.MultiIndex.from_tuples(near))
        return table.rename(columns=labels).rename_axis(["variation", "seed"]).reset_index()

    def truncation(self):
        """Quality and diversity over the truncation of the latents."""
        keys = ["truncation", "precision", "recall", "kid"]
        rows = [
            {"variation": r["name"], "seed": r["seed"], **{key: point[key] for key in keys}}
            for r in self.results
            for point in r["metrics"]["truncation"]
        ]
        return pandas.DataFrame(rows, columns=["variation", "seed", *keys])

    def formulas(self):
        """Both scores as the write-up states them, and as they are, on real pictures and noise."""
        test = bedrooms.seen(self.data, "test", self.network, self.folder).features.astype(
            "float64"
        )
        rows = []
        for name, seen in bedrooms.compared(self.data, self.network, self.folder).items():
            p, features = seen.probabilities.astype("float64"), seen.features.astype("float64")
            marginal = p.sum(axis=0) / p.shape[1]  # over the number of classes, as written
            logs = np.log(np.maximum(p, 1e-300) / np.maximum(marginal, 1e-300))
            written = np.where(p > 0, p * logs, 0).sum(axis=1).mean()
            gap = features.mean(axis=0) - test.mean(axis=0)
            spread = features.std(axis=0) - test.std(axis=0)
            scores, label = self.baselines[name], f"{self.labels['frechet']} (covariances)"
            row = {"pictures": name, "IS as written": f"{written:.3f}"}
            row[self.labels["inception_score"]] = f"{scores['inception_score']:.3f}"
            row["distance as written (variances)"] = f"{(gap**2).sum() + (spread**2).sum():.2f}"
            rows.append({**row, label: f"{scores['frechet']:.2f}", "n": len(p)})
        return pandas.DataFrame(rows)

    def discussion(self):
        """The write-up's four discussion points, answered by measurement."""
        listed = {}
        for key in ("kid", "precision", "recall", "inception_score"):
            values = {name: self.mean(name, key) for name in self.names}
            values |= {name: self.baselines[name][key] for name in ("real", "noise")}
            listed[key] = ", ".join(f"{value:.3g} ({name})" for name, value in values.items())
        quality = [f"Precision {listed['precision']}", f"recall {listed['recall']}"]
        points = self.truncation().groupby("truncation")[["precision", "recall"]].mean()
        for truncation, first in points.iloc[:1].iterrows():
            quality.append(
                f"cutting the latents off at {truncation:g} moves {REPAIRED} to "
                f"{first['precision']:.2f} and {first['recall']:.2f}"
            )
        copies = {n: [r["metrics"]["neighbours"]["copies"] for r in self.of(n)] for n in self.names}
        copied = ", ".join(f"{np.mean(shares):.1%} ({n})" for n, shares in copies.items())
        answers = {
            "Quality against diversity": "; ".join(quality) + ".",
            "Other hyperparameters and batch sizes": f"KID {listed['kid']}.",
            "Practical uses": "Pictures to train on in place of the real ones, if they are no "
            "copies. Nearer to a training picture than 1 % of unseen real ones are: "
            f"{copied}. A picture for a given input, such as a low-resolution scan, takes a "
            "conditional GAN: the study “srgan” measures it, beside what needs no GAN.",
            "Inception Score and Fréchet distance": f"{self.labels['inception_score']} "
            f"{listed['inception_score']}: real pictures of one class score low.",
        }
        return pandas.DataFrame(answers.items(), columns=["point", "measured"])


# -- claims ----------------------------------------------------------------------------------------


def _statements(found):
    usual = {n: f"{n} has {found.mean(n, 'kid'):.3f}." for n in RIVALS if found.of(n)}
    if found.of(ASSIGNMENT):
        yield from (_no_bedrooms(found), _varied(found))
        for name, statement in ASKED.items():
            yield found.compare(statement, name, "kid", "KID", note=usual[ASSIGNMENT], **NEGATIVE)
        yield _more_epochs(found)
    yield _inception_score(found)
    if found.of(REPAIRED):
        text = "The repaired recipe at least halves the assignment's KID."
        yield found.compare(text, REPAIRED, "kid", "KID", ratio=True, high=0.5)
        text = "The repaired recipe's recall is not lower."
        yield found.compare(text, REPAIRED, "recall", low=0.0)
        for name, repair in REPAIRS.items():
            options = {"baseline": REPAIRED, "note": usual[REPAIRED], **POSITIVE}
            yield found.compare(f"{repair} lowers KID.", name, "kid", "KID", **options)
        yield _average(found)
    last = [r["metrics"]["best_epoch"] == r["metrics"]["epochs"] for r in found.results]
    evidence = f"By KID on validation pictures in {sum(last)} of {len(last)} runs."
    yield Claim("The last epoch is the best.", judge(all(last)), evidence)


def _no_bedrooms(found):
    real, noise = (found.baselines[name] for name in ("real", "noise"))
    precision, kid = (found.interval(ASSIGNMENT, key) for key in ("precision", "kid"))
    # Precision asks it of each picture: does it lie among the real ones?
    low = [value < real["precision"] / 2 for value in found.values(ASSIGNMENT, "precision")]
    evidence = f"Precision {precision:.2f}, of real pictures {real['precision']:.2f}; KID {kid:.3g}"
    evidence += f", of real pictures {real['kid']:.2g}, of noise {noise['kid']:.2g}."
    return Claim("The assignment's pictures do not resemble bedrooms.", unanimous(low), evidence)


def _varied(found):
    spread, recall = (found.interval(ASSIGNMENT, key) for key in ("spread", "recall"))
    return Claim(
        "They differ from one another, though.",
        unanimous([value >= VARIED for value in found.values(ASSIGNMENT, "spread")]),
        f"The features' standard deviation is {spread:.2f} of real pictures'; {VARIED:g} or more "
        f"is taken as varied. Recall {recall:.2f}: different from one another is not yet as "
        "different as bedrooms are.",
    )


def _more_epochs(found):
    statement, gains, half = "More epochs do better.", [], 0
    for kid in (kid for kid in map(kid_of, found.history(ASSIGNMENT)) if len(kid)):
        half = kid.index[np.abs(kid.index - kid.index[-1] / 2).argmin()]
        gains.append(kid.iloc[-1] - kid[half])
    if not gains:
        return Claim(statement, CANNOT_TELL, "No run had finite weights to score.")
    gain = stats.mean_interval(gains)
    evidence = f"KID of the assignment after the last epoch less after epoch {half}: {gain:+.3f}, "
    return Claim(statement, judge_interval(gain, **NEGATIVE), f"{evidence}on validation pictures.")


def _inception_score(found):
    from scipy.stats import spearmanr

    real = found.baselines["real"]["inception_score"]
    scores = {name: found.mean(name, "inception_score") for name in found.names}
    kids, order = [found.mean(name, "kid") for name in scores], None
    if len(scores) >= RANKED and np.ptp(list(scores.values())) and np.ptp(kids):
        order = float(spearmanr(list(scores.values()), kids).statistic)
    scores["noise"] = found.baselines["noise"]["inception_score"]
    best = max(scores, key=scores.get)
    return Claim(
        "The Inception Score tells how good bedrooms are.",
        judge(False if scores[best] >= real else None if order is None else order < -0.5),
        f"Real pictures score {real:.2f} of at most 1,000; the highest of all others is "
        f"{scores[best]:.2f} ({best}). "
        + ("" if order is None else f"Rank correlation with KID: {order:+.2f} (ideal: -1). ")
        + "A set of one class can't spread over classes, however good its pictures.",
    )


def _average(found):
    statement = "Averaging G's weights lowers KID."
    if not (pairs := found.with_and_without_average()):
        nothing = "No run with an average ended with finite weights."
        return Claim(statement, CANNOT_TELL, nothing)
    gain = stats.mean_interval([without - with_it for without, with_it in pairs])
    evidence = f"KID without the average less KID with it, same run, last epoch: {gain:+.3f}. "
    evidence += "The average takes no part in training, so one run shows both."
    return Claim(statement, judge_interval(gain, **POSITIVE), evidence)


def write_report(study, results, data, out="runs", reports="reports"):
    """Writes the study's figures, tables and run.json; see `Results` and `Results.write`."""
    return BedroomResults(study, results, data, out).write(reports)
