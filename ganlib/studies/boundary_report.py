"""Tables, figures and claims of the boundary study, from its run directories alone."""

import functools

import numpy as np
import pandas

from ganlib.metrics.boundary import SIMILARITIES, score_boundary
from ganlib.stats import brief
from ganlib.studies import boundary_figures
from ganlib.studies.boundary_claims import REPAIRED, REPAIRS, REPORTED, claims
from ganlib.studies.boundary_scoring import SLOW
from ganlib.studies.results import Contents, Results

WRITE_UP = "write-up's best (its own s3)"
CEILING, FLOOR = "real (ceiling)", "noise (floor)"
LIMITS = {
    CEILING: "s3_real",
    FLOOR: "s3_noise",
    "real, one colour each": "s3_flat",
    "the mean picture": "s3_mean",
}


class BoundaryResults(Results):
    """The finished trials of a boundary study; see `Results`."""

    def metric(self, result, key):
        """A number of the kept epoch's scores on test pictures, or else of the result."""
        metrics = result["metrics"]
        parts = metrics["scores"]["best"], metrics["fidelity"]["generated"], metrics
        return next(part[key] for part in parts if key in part)

    def gammas(self):
        """γ → name of the variation of the write-up's recipe that has it."""
        named = {n: self.of(n)[0]["recipe"]["gamma"] for n in self.names if n.startswith("gamma")}
        return dict(sorted((gamma, name) for name, gamma in named.items()))

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

    # -- tables ------------------------------------------------------------------------------------

    @functools.cached_property
    def claims(self):
        return claims(self)

    def contents(self):
        figures = {name: getattr(boundary_figures, name) for name in FIGURES}
        repairs = {"repairs": "What each repair is worth."} if self.of(REPAIRED) else {}
        return Contents(figures, TABLES | repairs)

    def scores(self):
        """s1, s2, s3 and their product, of the kept epoch, beside the write-up's and the limits."""
        rows = []
        for name in self.names:
            row = {"pictures": name, "epoch": ", ".join(map(str, self.values(name, "best_epoch")))}
            row |= {key: brief(self.values(name, key), ".4f") for key in REPORTED}
            row["s3 to train"] = brief(self.values(name, "s3_train"))
            row["s3 back"] = brief(self.values(name, "s3_back"))
            rows.append({**row, "n": self.values(name, "n")[0], "seeds": len(self.of(name))})
        written = {key: f"{value:.4f}" for key, value in REPORTED.items()}
        rows.append({"pictures": WRITE_UP, "epoch": 60, **written})
        limits = self.limits[self.results[0]["recipe"]["similarity"]]
        counts = limits["n_real"], limits["n"], limits["n"], 1
        for (label, key), n in zip(LIMITS.items(), counts, strict=True):
            row = {"pictures": label, "s3": f"{limits[key]:.4f}", "n": n}
            rows.append(row | ({"s3 back": f"{limits[key]:.3g}"} if label == CEILING else {}))
        # As objects: beside an empty cell pandas would make 300 a 300.0.
        return pandas.DataFrame(rows, dtype=object).fillna("")

    def last(self):
        """The last epoch beside the one that validation chose, on test pictures."""
        rows = []
        for r in self.results:
            row = {"variation": r["name"], "seed": r["seed"]}
            epochs = {"best": r["metrics"]["best_epoch"], "last": r["metrics"]["epochs"]}
            for which, epoch in epochs.items():
                scores = r["metrics"]["scores"][which]
                row[f"{which} epoch"] = epoch
                for key in REPORTED:
                    row[f"{key}, {which}"] = f"{scores[key]:.4f}" if scores else "not finite"
            broken = any(f["check"] == "non_finite_loss" for f in r["metrics"]["findings"])
            row["stopped, all high"] = "yes" if r["status"] == "stopped" and not broken else "no"
            rows.append(row)
        return pandas.DataFrame(rows)

    def similarities(self):
        """s3 by every similarity, each beside its ceiling and floors."""
        rows = []
        for similarity, limits in self.limits.items():
            row = {"similarity": similarity}
            for name in self.names:
                values = [r["metrics"]["similarities"][similarity] for r in self.of(name)]
                row[name] = float(np.mean(values))
            row |= {label: limits[key] for label, key in LIMITS.items()}
            rows.append({**row, "n real": limits["n_real"]})
        return pandas.DataFrame(rows)

    def fidelity(self):
        """What s3 can't see: scores over a network's features, between real pictures and noise."""
        rows = []
        for name in (*self.names, CEILING):
            kind = "real" if name == CEILING else "generated"
            results = self.results if name == CEILING else self.of(name)
            scores = [r["metrics"]["fidelity"][kind] for r in results]
            row = {"pictures": name}
            for label, key in {"KID": "kid", "precision": "precision", "recall": "recall"}.items():
                values = [s[key] for s in scores]
                row[label] = f"{values[0]:.3g}" if name == CEILING else brief(values)
            rows.append({**row, "n": scores[0]["n_fake"], "network": scores[0]["network"]})
        return pandas.DataFrame(rows)

    def repairs(self):
        """The repaired recipe with one repair left out at a time."""
        rows = []
        for name, repair in {REPAIRED: "nothing", **REPAIRS}.items():
            if self.of(name):
                row = {"variation": name, "left out": repair}
                row |= {key: brief(self.values(name, key), ".4f") for key in REPORTED}
                row["s3 back"] = brief(self.values(name, "s3_back"))
                row["KID"] = brief(self.values(name, "kid"))
                rows.append({**row, "seeds": len(self.of(name))})
        return pandas.DataFrame(rows)

    def trials(self):
        """Every number of every trial, a row a trial and kept or last epoch."""
        rows = []
        for r in self.results:
            numbers = {k: v for k, v in r["metrics"].items() if not isinstance(v, list | dict)}
            for which, scores in r["metrics"]["scores"].items():
                row = {"id": r["id"], "variation": r["name"], "seed": r["seed"], "weights": which}
                rows.append({**row, **(scores or {}), **numbers, "seconds": r["seconds"]})
        return pandas.DataFrame(rows)

    def criteria(self):
        """s1, s2, s3 and the losses of every epoch, on validation pictures."""
        keys = ["epoch", "s1", "s2", "s3", "score", "s1_train", "d_loss", "g_loss"]
        parts = []
        for r in self.results:
            part = self.histories[r["id"]].reindex(columns=keys)
            part.insert(0, "seed", r["seed"])
            part.insert(0, "variation", r["name"])
            parts.append(part)
        return pandas.concat(parts, ignore_index=True)


FIGURES = ("samples", "criteria", "gamma", "landscape", "neighbours")  # None: not enough trials
TABLES = {
    "scores": "s1, s2, s3 and score, of the kept epoch, on test pictures.",
    "last": "The last epoch beside the one that validation chose.",
    "similarities": "s3 by every similarity.",
    "fidelity": "What s3 can't see.",
    "criteria": "s1, s2 and s3 of every epoch, on validation pictures.",
    "findings": "What the health monitor found.",
    "trials": "All numbers of all trials.",
}


def write_report(study, results, data, out="runs", reports="reports"):
    """Writes the study's figures, tables and run.json; see `Results` and `Results.write`."""
    return BoundaryResults(study, results, data, out).write(reports)
