"""The finished trials of a study, with their histories: what every report begins with."""

import collections
import functools
from typing import ClassVar

import numpy as np
import pandas

from ganlib.apply import save_gif
from ganlib.experiment.run import DONE, STOPPED, run_folder
from ganlib.report import claims
from ganlib.report.claims import Claim, judge_interval
from ganlib.report.export import Report
from ganlib.stats import bounded_interval, paired_interval

POSITIVE, NEGATIVE = {"low": claims.POSITIVE[0]}, {"high": claims.NEGATIVE[1]}
# figures: name → callable that draws results or gives None; tables: names; films: name → frames.
Contents = collections.namedtuple("Contents", ["figures", "tables", "films"], defaults=[{}])


class Results:
    """The finished trials of a `Study`; each adds its tables, figures and `statements`."""

    usual = "base"  # the variation that others are compared with
    bounds: ClassVar = {}  # key → ends of what it can be; (0, infinity): no top
    figures, tables = (), ("trials", "findings")  # names of methods: `<figure>_figure`, `<table>`

    def __init__(self, study, results, data, out="runs"):
        self.study, self.data = study, data
        self.results = [r for r in results if r["status"] in (DONE, STOPPED)]
        if not self.results:
            had = [r["status"] for r in results]
            raise ValueError(f"No trial of {study.name!r} has finished: run it. Received: {had}")
        self.folders = {r["id"]: run_folder(study, study.trial(r["id"]), out) for r in self.results}
        files = {key: folder / "history.csv" for key, folder in self.folders.items()}
        self.histories = {k: pandas.read_csv(file) for k, file in files.items() if file.exists()}

    @property
    def names(self):
        """Names of the variations, in the study's order."""
        finished = {result["name"] for result in self.results}
        return [n for n in dict.fromkeys(t.name for t in self.study.trials) if n in finished]

    def of(self, name):
        """The results of a variation, one a seed."""
        return [result for result in self.results if result["name"] == name]

    def metric(self, result, key):
        """A number of the kept epoch's scores where it has them, else of the whole result."""
        metrics = result["metrics"]
        best = metrics.get("scores", {}).get("best")
        parts = best, metrics.get("fidelity", {}).get("generated"), metrics, result
        return next(part[key] for part in parts if part and key in part)

    def values(self, name, key):
        """A number of each of a variation's results."""
        return [self.metric(result, key) for result in self.of(name)]

    def interval(self, name, key):
        """A number's mean over a variation's seeds, as `ganlib.stats.Interval`."""
        return bounded_interval(self.values(name, key), self.bounds.get(key))

    def mean(self, name, key):
        """A score of a variation, mean over seeds."""
        return float(np.mean(self.values(name, key)))

    def history(self, name):
        """The histories of a variation, one a seed."""
        return [self.histories[result["id"]] for result in self.of(name)]

    def epochs(self, result):
        """The epochs of which a trial kept a grid of samples."""
        files = (self.folders[result["id"]] / "samples").glob("epoch-*.png")
        return sorted(int(file.stem.removeprefix("epoch-")) for file in files)

    def paired(self, name, measure, baseline=None, ratio=False):
        """`Interval` of a variation less, or over (`ratio`), its baseline, by runs of one seed.

        `measure` is a key of `metric`, or makes a number of a result.
        """
        if isinstance(measure, str):
            measure = functools.partial(self.metric, key=measure)
        names = baseline or self.usual, name
        base, mine = ({r["seed"]: measure(r) for r in self.of(n)} for n in names)
        compare = np.divide if ratio else np.subtract
        values = [compare(mine[seed], base[seed]) for seed in sorted(base.keys() & mine.keys())]
        return paired_interval(values, np.zeros(len(values)))

    @functools.cached_property
    def claims(self):
        """The write-up's `Claims`, as these results judge them."""
        return claims.Claims(tuple(claim for claim in self.statements() if claim))

    def statements(self):
        """Each `Claim`, or None where its runs are missing; here none."""
        return ()

    def compare(self, statement, name, measure, label=None, baseline=None, *, note="", **options):
        """A `Claim` that `paired` lies between `low` and `high`; None where one has not run."""
        baseline, ratio = baseline or self.usual, options.pop("ratio", False)
        if not (self.of(name) and self.of(baseline)):
            return None
        gap = self.paired(name, measure, baseline, ratio)
        shown = f"over {baseline}: {gap:.3f}" if ratio else f"less {baseline}: {gap:+.3f}"
        evidence = f"{label or measure.replace('_', ' ')}, {name} {shown}. {note}".strip()
        return Claim(statement, judge_interval(gap, **options), evidence)

    def contents(self):
        """The `Contents` of a report."""
        figures = {name: getattr(type(self), f"{name}_figure") for name in self.figures}
        return Contents(figures, self.tables)

    def row(self, name, columns, spec=".3g"):
        """Intervals over seeds as text, of columns (key → label)."""
        return {v: self.interval(name, k).brief(spec) for k, v in columns.items()}

    def between(self, columns, limits, *, n, first, spec=".3g"):
        """Scores of variations and of `limits` (label → scores); first: (label, key)."""
        rows = []
        for name in self.names:
            row = {"pictures": name, first[0]: ", ".join(map(str, self.values(name, first[1])))}
            row |= {**self.row(name, columns, spec), "n": self.values(name, n)[0]}
            rows.append(row | {"seeds": len(self.of(name))})
        for name, scores in limits.items():
            row = {"pictures": name, first[0]: scores.get(first[1], ""), "n": scores.get(n, "")}
            rows.append(row | {columns[k]: f"{scores[k]:{spec}}" for k in columns if k in scores})
        # As objects: beside an empty cell pandas would make 300 a 300.0.
        return pandas.DataFrame(rows, dtype=object).fillna("")

    def findings(self):
        """What the health monitor found, a row a finding."""
        rows = [about(r) | f for r in self.results for f in r["metrics"].get("findings", ())]
        columns = ["variation", "seed", "check", "epoch", "evidence", "remedy"]
        return pandas.DataFrame(rows, columns=columns)

    def trials(self, which="weights"):
        """All numbers of all trials, a row a trial and each of its scores, such as "best"."""
        rows = []
        for r in self.results:
            end = {**_numbers(r["metrics"]), "status": r["status"], "seconds": r["seconds"]}
            for name, scores in r["metrics"].get("scores", {"": {}}).items():
                row = {"id": r["id"], **about(r), **({which: name} if name else {})}
                rows.append(row | _numbers(scores or {}) | end)
        return pandas.DataFrame(rows)

    @classmethod
    def report(cls, study, results, data, out="runs", reports="reports"):
        """Writes figures, tables, claims and run.json into a folder of all reports."""
        return cls(study, results, data, out).write(reports)

    def write(self, reports="reports"):
        """Writes figures, films, tables, claims and run.json; returns the `Report`."""
        contents, options = self.contents(), self.study.options
        report = Report(self.study.name, options["profile"], reports, options.get("changes"))
        for name, draw in contents.figures.items():
            if figure := draw(self):
                report.figure(name, figure, _caption(draw))
        for name, frames in contents.films.items():
            if frames:
                save_gif(frames, report.file(name, "gif"))
        for name in contents.tables:
            table = getattr(self, name)  # a method or a property
            caption = _caption(getattr(type(self), name))
            table = table() if callable(table) else table
            if len(table.columns):
                report.table(name, table, caption)
        if self.claims.items:
            report.table("claims", self.claims.table(), "The write-up's claims against these runs.")
        report.provenance(self.study, self.results, self.data, self.claims)
        return report


write_report = Results.report  # of a study that has none of its own


def by_interval(statement, interval, ends, evidence):
    """A `Claim` that an interval lies between `ends`; `evidence` has a place for it."""
    return Claim(statement, judge_interval(interval, **ends), evidence.format(interval))


def weakest(verdicts):
    """The verdict on several things together: refuted if one is, supported if all are."""
    order = claims.REFUTED, claims.CANNOT_TELL
    return next((v for v in order if v in verdicts), claims.SUPPORTED)


def _caption(documented):
    return (documented.__doc__ or "").partition("\n")[0]


def about(result):
    """Whose a row of a table is."""
    return {"variation": result["name"], "seed": result["seed"]}


def _numbers(values):
    return {key: value for key, value in values.items() if not isinstance(value, list | dict)}
