"""Tables, figures and claims of the bedroom study, from its run directories alone."""

import functools
import pathlib

import numpy as np
import pandas

from ganlib.data.room_styles import style_coverage
from ganlib.features import networks
from ganlib.metrics import fidelity
from ganlib.stats import brief
from ganlib.studies import bedrooms_figures
from ganlib.studies.bedrooms import Recipe
from ganlib.studies.bedrooms_claims import ASSIGNMENT, REPAIRED, REPAIRS, claims
from ganlib.studies.results import Contents, Results

TINY = 1e-300


class BedroomResults(Results):
    """The finished trials of a bedroom study; see `Results`."""

    def __init__(self, study, results, data, out="runs"):
        super().__init__(study, results, data, out)
        self.recipe = Recipe(**self.results[0]["recipe"])
        self.network = networks.get(self.recipe.network)
        self.folder = pathlib.Path(out) / study.name  # where features are kept

    @property
    def names(self):
        """Names of the variations, the assignment's first."""
        return sorted(super().names, key=lambda n: self.of(n)[0]["recipe"]["networks"] == "dcgan")

    @functools.cached_property
    def baselines(self):
        """Scores of real pictures never trained on ("real"), and of "noise"."""
        return self.data.baselines(self.recipe, self.folder)

    @functools.cached_property
    def labels(self):
        """Score → what it may be called over this network."""
        inception = self.network.name == "inception_v3"
        return {
            "kid": "KID",
            "frechet": fidelity.frechet_name(self.network),
            "inception_score": "IS" if inception else f"IS formula ({self.network.title})",
            "precision": "precision",
            "recall": "recall",
            "density": "density",
            "coverage": "coverage",
        }

    def metric(self, result, key):
        """A number of the kept epoch's scores on test pictures, or else of the result."""
        best = result["metrics"]["scores"]["best"]
        return best[key] if key in best else result["metrics"][key]

    def paired(self, name, measure, baseline=ASSIGNMENT, ratio=False):
        return super().paired(name, measure, baseline, ratio)

    @staticmethod
    def rank_correlation(a, b):
        """Spearman's, or None for fewer than three pairs or equal values."""
        from scipy.stats import spearmanr

        if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
            return None
        return float(spearmanr(a, b).statistic)

    # -- tables ------------------------------------------------------------------------------------

    @functools.cached_property
    def claims(self):
        return claims(self)

    def contents(self):
        figures = {n: getattr(bedrooms_figures, n) for n, wanted in FIGURES.items() if wanted(self)}
        tables = TABLES | (SOME_TABLES if self.of(REPAIRED) else {})
        if len(self.styles()):  # rooms
            tables["styles"] = "Which styles of room are there, counted."
        frames = bedrooms_figures.film(self)
        return Contents(figures, tables, {"film": frames} if frames else {})

    def scores(self):
        """Each variation's kept epoch, between real pictures and noise."""
        rows = []
        for name in self.names:
            row = {"pictures": name, "epoch": self._listed(name, "best_epoch")}
            row |= {label: brief(self.values(name, key)) for key, label in self.labels.items()}
            rows.append({**row, "n": self.values(name, "n_fake")[0], "seeds": len(self.of(name))})
        for name, label in (("real", "real (ceiling)"), ("noise", "noise (floor)")):
            scores = self.baselines[name]
            row = {"pictures": label, "epoch": ""}
            row |= {label: f"{scores[key]:.3g}" for key, label in self.labels.items()}
            rows.append({**row, "n": scores["n_fake"], "seeds": ""})
        return pandas.DataFrame(rows)

    def _listed(self, name, key):
        return ", ".join(str(value) for value in self.values(name, key))

    def cautions(self):
        """What misleads at these sample sizes."""
        said = [c for r in self.results for c in r["metrics"]["scores"]["best"]["cautions"]]
        return list(dict.fromkeys(said))

    def checkpoints(self):
        """All scores of every scored epoch, on validation pictures."""
        parts = []
        for r in self.results:
            history = self.histories[r["id"]]
            if "kid" not in history:  # weights were not finite from the first score on
                continue
            part = history[["epoch", *self.labels]].dropna().rename(columns=self.labels)
            part.insert(0, "seed", r["seed"])
            part.insert(0, "variation", r["name"])
            parts.append(part)
        return pandas.concat(parts, ignore_index=True) if parts else pandas.DataFrame()

    def best_and_last(self):
        """The kept epoch beside the last one, on test pictures."""
        rows = []
        for r in self.results:
            row = {"variation": r["name"], "seed": r["seed"]}
            epochs = {"best": r["metrics"]["best_epoch"], "last": r["metrics"]["epochs"]}
            for which, epoch in epochs.items():
                scores = r["metrics"]["scores"][which]
                row[f"{which} epoch"] = epoch
                for key in ("kid", "precision", "recall"):
                    label = f"{self.labels[key]}, {which}"
                    row[label] = f"{scores[key]:.3g}" if scores else "not finite"
            rows.append(row)
        return pandas.DataFrame(rows)

    def ablations(self):
        """The repaired recipe with one repair left out at a time."""
        rows = [self._ablation(REPAIRED, "nothing", None)]
        for name, repair in REPAIRS.items():
            if self.of(name):
                rows.append(self._ablation(name, repair, self.paired(name, "kid", REPAIRED)))
        scores = [r["metrics"]["scores"] for r in self.of(REPAIRED)]
        if scores := [s for s in scores if s.get("unaveraged") and s["last"]]:
            without, last = ([s[k]["kid"] for s in scores] for k in ("unaveraged", "last"))
            rows.append(
                {
                    "variation": "(same runs, last epoch)",
                    "left out": "Average of G's weights",
                    "KID": brief(without),
                    "less with it": brief(np.subtract(without, last), "+.3g"),
                    "seeds": len(last),
                }
            )
        return pandas.DataFrame(rows, dtype=object).fillna("")

    def _ablation(self, name, repair, difference):
        row = {"variation": name, "left out": repair}
        row["KID"] = brief(self.values(name, "kid"))
        row["less with it"] = "" if difference is None else difference.brief("+.3g")
        for key in ("precision", "recall", "coverage"):
            row[key] = brief(self.values(name, key))
        return {**row, "seeds": len(self.of(name))}

    def players(self):
        """How the two players stand at the end, their sizes, and what an epoch costs."""
        rows = []
        for name in self.names:
            row = {"variation": name}
            for side in ("real", "fake"):
                row[f"D right on {side}"] = f"{self.mean(name, f'd_accuracy_{side}'):.0%}"
            row["G parameters"] = self.values(name, "g_parameters")[0]
            row["D parameters"] = self.values(name, "d_parameters")[0]
            row["seconds an epoch"] = brief(self.values(name, "seconds_per_epoch"))
            rows.append(row)
        return pandas.DataFrame(rows)

    def neighbours(self):
        """How near the generated pictures are to training pictures, beside held-out real ones."""
        rows = []
        for r in self.results:
            near = r["metrics"]["neighbours"]
            rows.append(
                {
                    "variation": r["name"],
                    "seed": r["seed"],
                    "median distance": near["distance"],
                    "of held-out real pictures": near["held_out_distance"],
                    "nearer than 1 % of those": f"{near['copies']:.1%}",
                    "n": near["n"],
                }
            )
        return pandas.DataFrame(rows)

    def truncation(self):
        """Quality and diversity over the truncation of the latents."""
        rows = [
            {"variation": r["name"], "seed": r["seed"]}
            | {key: point[key] for key in ("truncation", "precision", "recall", "kid")}
            for r in self.results
            for point in r["metrics"]["truncation"]
        ]
        columns = ["variation", "seed", "truncation", "precision", "recall", "kid"]
        return pandas.DataFrame(rows, columns=columns)

    def styles(self):
        """Rooms alone: which styles are there, counted; beside the training pictures."""
        counted = {
            f"{r['name']}, seed {r['seed']}": r["metrics"]["styles"]
            for r in self.results
            if r["metrics"]["styles"]
        }
        if not counted:
            return pandas.DataFrame()
        drawn = style_coverage(self.data.train)
        rows = [
            {
                "pictures": name,
                "clear in all factors": f"{found['clear'] / found['n']:.1%}",
                "factor values seen": f"{found['values']:.0%}",
                "styles seen": f"{found['styles']:.1%}",
                "if drawn evenly": f"{found['styles_expected']:.1%}",
                "n": found["n"],
                "missing values": ", ".join(" ".join(pair) for pair in found["missing_values"]),
            }
            for name, found in {**counted, "training pictures": vars(drawn)}.items()
        ]
        return pandas.DataFrame(rows)

    def formulas(self):
        """Both scores as the write-up states them, and as they are, on real pictures and noise."""
        test = self.data.seen("test", self.recipe.network, self.folder)
        rows = []
        for name, seen in self.data.compared(self.recipe, self.folder).items():
            p, features = seen.probabilities.astype("float64"), seen.features.astype("float64")
            reference = test.features.astype("float64")
            marginal = p.sum(axis=0) / p.shape[1]  # over the number of classes, as written
            terms = np.where(p > 0, p * np.log(np.maximum(p, TINY) / np.maximum(marginal, TINY)), 0)
            gap = features.mean(axis=0) - reference.mean(axis=0)
            spread = features.std(axis=0) - reference.std(axis=0)
            scores = self.baselines[name]
            rows.append(
                {
                    "pictures": name,
                    "IS as written": f"{terms.sum(axis=1).mean():.3f}",
                    self.labels["inception_score"]: f"{scores['inception_score']:.3f}",
                    "distance as written (variances)": f"{(gap**2).sum() + (spread**2).sum():.2f}",
                    f"{self.labels['frechet']} (covariances)": f"{scores['frechet']:.2f}",
                    "n": len(p),
                }
            )
        return pandas.DataFrame(rows)

    def discussion(self):
        """The write-up's four discussion points, answered by measurement."""
        answers = {
            "Quality against diversity": self._quality_and_diversity(),
            "Other hyperparameters and batch sizes": self._hyperparameters(),
            "Practical uses": self._uses(),
            "Inception Score and Fréchet distance": self._formulas(),
        }
        return pandas.DataFrame(answers.items(), columns=["point", "measured"])

    def _quality_and_diversity(self):
        parts = [
            f"{name} has precision {self.mean(name, 'precision'):.2f} and recall "
            f"{self.mean(name, 'recall'):.2f}"
            for name in (ASSIGNMENT, REPAIRED)
            if self.of(name)
        ]
        real = self.baselines["real"]
        parts.append(f"real pictures have {real['precision']:.2f} and {real['recall']:.2f}")
        points = self.truncation().groupby("truncation")[["precision", "recall"]].mean()
        if len(points):
            first = points.iloc[0]
            parts.append(
                f"cutting the latents off at {points.index[0]:g} moves {REPAIRED} to "
                f"{first['precision']:.2f} and {first['recall']:.2f}"
            )
        counted = [r["metrics"]["styles"] for r in self.of(REPAIRED)]
        if counted and all(counted):
            clear = np.mean([c["clear"] / c["n"] for c in counted])
            values = np.mean([c["values"] for c in counted])
            parts.append(
                f"{clear:.0%} of its rooms are clear in all seven factors, and {values:.0%} of the "
                "factors' values are seen"
            )
        return "; ".join(parts) + "."

    def _hyperparameters(self):
        names = [n for n in self.names if self.of(n)[0]["recipe"]["networks"] == "assignment"]
        names += [REPAIRED] if self.of(REPAIRED) else []
        listed = ", ".join(f"{self.mean(name, 'kid'):.3g} ({name})" for name in names)
        return f"KID {listed}; real pictures have {self.baselines['real']['kid']:.2g}."

    def _uses(self):
        name = REPAIRED if self.of(REPAIRED) else self.names[0]
        copies = np.mean([r["metrics"]["neighbours"]["copies"] for r in self.of(name)])
        return (
            f"Pictures to train on in place of the real ones, if they are no copies: {copies:.1%} "
            f"of those of {name} are nearer to a training picture than 1 % of unseen real ones "
            "are. A picture for a given input, such as a low-resolution scan, takes a conditional "
            "GAN: the study “srgan” measures it, beside what needs no GAN."
        )

    def _formulas(self):
        scores = {name: self.baselines[name]["inception_score"] for name in ("real", "noise")}
        scores |= {name: self.mean(name, "inception_score") for name in self.names}
        listed = ", ".join(f"{value:.2f} ({name})" for name, value in scores.items())
        return f"{self.labels['inception_score']} {listed}: real pictures of one class score low."

    def trials(self):
        """Every number of every trial, a row a trial and scored epoch."""
        rows = []
        for r in self.results:
            numbers = {k: v for k, v in r["metrics"].items() if not isinstance(v, list | dict)}
            for which, scores in r["metrics"]["scores"].items():
                row = {"id": r["id"], "variation": r["name"], "seed": r["seed"], "weights": which}
                plain = {k: v for k, v in (scores or {}).items() if k != "cautions"}
                rows.append({**row, **plain, **numbers, "seconds": r["seconds"]})
        return pandas.DataFrame(rows)


def has(name):
    """Whether there is a trial of a variation: what a figure of it needs."""
    return lambda found: bool(found.of(name))


FIGURES = {
    "samples": lambda found: True,
    "progress": lambda found: True,
    "best_and_last": lambda found: found.of(ASSIGNMENT) or found.of(REPAIRED),
    "truncation": has(REPAIRED),
    "neighbours": has(REPAIRED),
    "interpolation": has(REPAIRED),
    "styles": lambda found: len(found.styles()),
}
TABLES = {
    "scores": "Every variation between real pictures and noise.",
    "checkpoints": "All scores of every scored epoch, on validation pictures.",
    "best_and_last": "The kept epoch beside the last one, on test pictures.",
    "players": "D's accuracy in the last epoch, sizes and time.",
    "neighbours": "How near generated pictures are to training pictures.",
    "formulas": "Both scores as written and as they are.",
    "discussion": "The four discussion points, measured.",
    "findings": "What the health monitor found.",
    "trials": "All numbers of all trials.",
}
SOME_TABLES = {
    "ablations": "The repaired recipe with one repair left out at a time.",
    "truncation": "Quality and diversity over the truncation of the latents.",
}


def write_report(study, results, data, out="runs", reports="reports"):
    """Writes the study's figures, tables and run.json; see `Results` and `Results.write`."""
    return BedroomResults(study, results, data, out).write(reports)
