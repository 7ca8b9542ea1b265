"""Tables, figures and claims of the boundary study, from its run directories alone."""

import functools
import math

import numpy as np
import pandas

from ganlib import stats
from ganlib.metrics.boundary import SIMILARITIES, score_boundary
from ganlib.report.claims import Claim, judge, judge_interval
from ganlib.studies.boundary import SLOW
from ganlib.studies.boundary_figures import BOUNDARY, FIGURES, PAIRS, REPAIRED
from ganlib.studies.results import NEGATIVE, POSITIVE, Contents, Results, unanimous, weakest

REPORTED = {
    "s1": 0.9982962608337402,
    "s2": 0.9999310374259949,
    "s3": 0.6801146268844604,
    "score": 0.6789090664113528,
}
SCORES = {key: key for key in REPORTED}
DIGITS = dict.fromkeys(REPORTED, ".4f")
REPAIRS = {
    "no-rest": "A generator that comes to rest",
    "no-likeness": "The likeness loss",
    "no-turns": "Turned and mirrored pictures",
}
CEILING, FLOOR = "real (ceiling)", "noise (floor)"
LIMITS = {
    CEILING: "s3_real",
    FLOOR: "s3_noise",
    "real, one colour each": "s3_flat",
    "the mean picture": "s3_mean",
}
SAME = 0.05  # as far apart as two numbers may be that "stay the same"
FIRST = 10  # the "first epochs"
TABLES = ("scores", "last", "similarities", "fidelity", "criteria", "findings", "trials")


class BoundaryResults(Results):
    """The finished trials of a boundary study; see `Results`."""

    usual = BOUNDARY
    bounds = dict.fromkeys(("s1", "s2", "precision", "recall"), (0, 1))

    def metric(self, result, key):
        """A number of the kept epoch's scores on test pictures, or else of the result."""
        metrics = result["metrics"]
        parts = metrics["scores"]["best"], metrics["fidelity"]["generated"]
        found = next((part for part in parts if key in part), None)
        return found[key] if found else super().metric(result, key)

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

    def contents(self):
        """The figures and tables of the report."""
        return Contents(FIGURES, TABLES + (("repairs",) if self.of(REPAIRED) else ()))

    def statements(self):
        """The write-up's claims, judged by intervals over seeds."""
        return _statements(self)

    def scores(self):
        """s1, s2, s3 and their product, of the kept epoch, on test pictures."""
        written = {key: f"{value:.4f}" for key, value in REPORTED.items()}
        rows = [{"pictures": "write-up's best (its own s3)", "epoch": 60, **written}]
        limits = self.limits[self.results[0]["recipe"]["similarity"]]
        counts = limits["n_real"], limits["n"], limits["n"], 1
        for (label, key), n in zip(LIMITS.items(), counts, strict=True):
            rows.append({"pictures": label, "s3": f"{limits[key]:.4f}", "n": n})
        rows[1]["s3 back"] = rows[1]["s3"]  # of the ceiling: both ways are one
        columns = {**SCORES, "s3_train": "s3 to train", "s3_back": "s3 back"}
        return self.between(columns, rows, n="n", first=("epoch", "best_epoch"), specs=DIGITS)

    def last(self):
        """The last epoch beside the one that validation chose, on test pictures."""
        table = self.chosen_and_last(SCORES, ".4f")
        lost = [
            any(f["check"] == "non_finite_loss" for f in r["metrics"]["findings"])
            for r in self.results
        ]
        high = [r["status"] == "stopped" for r in self.results] & ~np.array(lost)
        return table.assign(**{"stopped, all high": np.where(high, "yes", "no")})

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
        """What s3 can't see: scores over a network's features, beside those of real pictures."""
        columns = {key: key for key in ("kid", "precision", "recall")}
        real = self.results[0]["metrics"]["fidelity"]["real"]
        row = {"pictures": CEILING, **{key: f"{real[key]:.3g}" for key in columns}}
        limits = [{**row, "n": real["n_fake"]}]
        return self.between(columns, limits, n="n_fake", first=("network", "network"))

    def repairs(self):
        """What each repair is worth: the repaired recipe without one at a time."""
        columns = {**SCORES, "s3_back": "s3 back", "kid": "KID"}
        return self.left_out(REPAIRED, REPAIRS, columns, "score", DIGITS)

    def criteria(self):
        """s1, s2, s3 and the losses of every epoch, on validation pictures."""
        keys = (*REPORTED, "s1_train", "d_loss", "g_loss")
        return self.over_epochs({key: key for key in keys})


# -- claims ----------------------------------------------------------------------------------------


def _statements(found):
    for base, mine in PAIRS.values():
        if found.of(mine) and found.of(base):
            yield from _against_bce(found, mine, base)
    if found.of(BOUNDARY):
        yield from (_reaches(found, BOUNDARY), _losses(found))
        if len(found.gammas()) > 1:
            yield _best_gamma(found)
    if found.of("idle-generator"):
        yield _means_likeness(found)
    yield _too_long(found)
    if found.of(REPAIRED):
        yield from (_reaches(found, REPAIRED), _score(found))
        if found.of(BOUNDARY):
            scores = f"{found.mean(REPAIRED, 'score'):.3f}, {found.mean(BOUNDARY, 'score'):.3f}"
            note = f"Their scores: {scores}. KID is over another network's features."
            text = "A higher score means better pictures."
            yield found.compare(text, REPAIRED, "kid", "KID", note=note, **NEGATIVE)
        for name, repair in REPAIRS.items():
            options = {"baseline": name, **POSITIVE}
            yield found.compare(f"{repair} raises the score.", REPAIRED, "score", **options)


def _whose(name):
    return "repaired recipe" if name == REPAIRED else "write-up's recipe"


def _against_bce(found, mine, base):
    def early(name, key):  # seed → mean over the first epochs, of the seeds that were scored
        pairs = zip(found.of(name), found.history(name), strict=True)
        means = {r["seed"]: float(h[key].iloc[:FIRST].mean()) for r, h in pairs if key in h}
        return {seed: mean for seed, mean in means.items() if math.isfinite(mean)}

    gaps = {}
    for key in ("s1", "s2", "s3"):
        a, b = early(mine, key), early(base, key)
        seeds = a.keys() & b.keys()
        gaps[key] = stats.paired_interval([a[s] for s in seeds], [b[s] for s in seeds])
    means = [*early(base, "s2").values()]
    bce = f"{np.mean(means):.3f}" if means else "unknown"
    yield Claim(
        f"Against plain BCE, s2 rises drastically in the first epochs ({_whose(mine)}).",
        judge_interval(gaps["s2"], low=0.1),
        f"s2 less BCE's, mean of the first {FIRST} epochs, validation pictures: {gaps['s2']:+.3f}; "
        f"0.1 or more is taken as drastic. BCE's is {bce}.",
    )
    yield Claim(
        f"s1 and s3 stay as with BCE ({_whose(mine)}).",
        weakest([judge_interval(gaps[key], low=-SAME, high=SAME) for key in ("s1", "s3")]),
        f"s1 less BCE's {gaps['s1']:+.3f}, s3 less BCE's {gaps['s3']:+.3f}, mean of the first "
        f"{FIRST} epochs; within {SAME:g} is taken as the same.",
    )


def _reaches(found, name):
    pairs = zip(found.values(name, "s1"), found.values(name, "s2"), strict=True)
    last = [h["s1_train"].dropna().iloc[-1] for h in found.history(name) if "s1_train" in h]
    trained = f"{np.mean(last):.4f}" if last else "unknown"
    epochs = max(found.values(name, "epochs"))
    return Claim(
        f"s1 reaches 0.998 and s2 0.999 within {epochs} epochs ({_whose(name)}).",
        unanimous([a >= 0.998 and b >= 0.999 for a, b in pairs]),
        f"Held-out pictures, the epoch of the best score: s1 {found.interval(name, 's1'):.4f}, s2 "
        f"{found.interval(name, 's2'):.4f}. On training pictures s1 is {trained} at the end.",
    )


def _losses(found):
    halves = [h[["d_loss", "g_loss"]].iloc[len(h) // 2 :] for h in found.history(BOUNDARY)]
    losses = np.concatenate([half.to_numpy() for half in halves])
    low, high = losses.min(), losses.max()
    return Claim(
        "With many epochs the losses of G and D swing between 0 and 1.",
        judge(bool(low >= 0 and high <= 1) if math.isfinite(low + high) else None),
        f"In the second half of the training they lie between {low:.2f} and {high:.2f} (γ = 0.8, "
        f"{len(halves)} seeds). At the boundary G's is log 2 = {math.log(2):.2f}.",
    )


def _best_gamma(found):
    others = {gamma: name for gamma, name in found.gammas().items() if name != BOUNDARY}
    gaps = {gamma: found.paired(BOUNDARY, "score", name) for gamma, name in others.items()}
    verdict = weakest([judge_interval(gap, **POSITIVE) for gap in gaps.values()])
    listed = "; ".join(f"γ = {gamma:g}: {gap:+.3f}" for gamma, gap in gaps.items())
    return Claim("γ = 0.8 is the best.", verdict, f"Score of γ = 0.8 less that of {listed}.")


def _means_likeness(found):
    keys = ("s1", "s2", "s3", "s3_noise", "s3_real")
    s1, s2, s3, noise, real = (found.mean("idle-generator", key) for key in keys)
    return Claim(
        "s1 and s2 near 1 say that G makes pictures from the boundary of the real ones.",
        judge(False if min(s1, s2) >= 0.99 and s3 < real / 2 else None),
        f"A generator that never learns has s1 {s1:.4f} and s2 {s2:.4f} with s3 {s3:.3f} (noise "
        f"{noise:.3f}, real pictures {real:.3f}): D alone puts whatever it recognises at ½.",
    )


def _too_long(found):
    seconds, epochs = (
        [r["metrics"][key] for r in found.results] for key in ("s3_seconds", "seconds_per_epoch")
    )
    best = found.results[0]["metrics"]["scores"]["best"]
    return Claim(
        "s3 takes too long to be watched.",
        judge(bool(np.mean(seconds) > np.median(epochs))),
        f"All {best['n']} × {best['n_real']} pairs take {np.mean(seconds):.2f} s, exactly, as one "
        f"matrix product; an epoch takes {np.median(epochs):.1f} s.",
    )


def _score(found):
    values, by = found.values(REPAIRED, "score"), found.of(REPAIRED)[0]["recipe"]["similarity"]
    others = found.similarities().set_index("similarity").drop(by)
    listed = ", ".join(
        f"{row[REPAIRED]:.3f} ({name}; real pictures {row[CEILING]:.3f})"
        for name, row in others.iterrows()
    )
    return Claim(
        f"Held-out pictures can score above the write-up's {REPORTED['score']:.4f}.",
        unanimous([value > REPORTED["score"] for value in values]),
        f"Score {found.interval(REPAIRED, 'score'):.4f}, by {by}, by which real pictures have s3 "
        f"{found.mean(REPAIRED, 's3_real'):.3f}. The write-up's own s3 is not public; by others "
        f"s3 is {listed}.",
    )


def write_report(study, results, data, out="runs", reports="reports"):
    """Writes the study's figures, tables and run.json; see `Results` and `Results.write`."""
    return BoundaryResults(study, results, data, out).write(reports)
