"""The finished trials of a study, with their histories: what every report begins with."""

import dataclasses
import functools

import numpy as np
import pandas

from ganlib.apply import save_gif
from ganlib.experiment.run import DONE, STOPPED, run_folder
from ganlib.report.export import Report
from ganlib.report.figures import close
from ganlib.stats import (
    CANNOT_TELL,
    REFUTED,
    SUPPORTED,
    Claim,
    Claims,
    brief,
    judge,
    paired_interval,
)


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a report shows of a study's results.

    Attributes:
        figures: dict of name → callable that draws it from the results, or gives None where the
            trials that it needs are missing. Its docstring begins with the caption.
        tables: dict of name → caption; the name is that of a table of the results.
        films: dict of name → frames, as `ganlib.apply.save_gif` takes them.
        films: dict of name → frames, as `save_gif` takes them.
    """

    figures: dict = dataclasses.field(default_factory=dict)
    tables: dict = dataclasses.field(default_factory=dict)
    films: dict = dataclasses.field(default_factory=dict)


class Results:
    """The finished trials of a study.

    A study adds its tables as methods, and has `claims` and `contents` of its own.

    Args:
        study: `ganlib.experiment.study.Study`.
        results: list of result dicts.
        data: the study's data.
        out: folder of all runs.

    Raises:
        ValueError: no trial has finished.
    """

    baseline_name = "base"  # the variation that others are compared with

    def __init__(self, study, results, data, out="runs"):
        self.study = study
        self.data = data
        self.results = [r for r in results if r["status"] in (DONE, STOPPED)]
        if not self.results:
            raise ValueError(
                f"No trial of {study.name!r} has finished; run `ganlib run {study.name}` first. "
                f"Received: {[r['status'] for r in results]}"
            )
        self.folders = {r["id"]: run_folder(study, study.trial(r["id"]), out) for r in self.results}
        self.histories = {
            key: pandas.read_csv(folder / "history.csv")
            for key, folder in self.folders.items()
            if (folder / "history.csv").exists()
        }

    @property
    def names(self):
        """Names of the variations, in the study's order."""
        finished = {result["name"] for result in self.results}
        return [n for n in dict.fromkeys(t.name for t in self.study.trials) if n in finished]

    def of(self, name):
        """The results of a variation, one a seed."""
        return [result for result in self.results if result["name"] == name]

    def metric(self, result, key):
        """One number of a result."""
        return result["metrics"][key]

    def values(self, name, key):
        """A number of each of a variation's results."""
        return [self.metric(result, key) for result in self.of(name)]

    def mean(self, name, key):
        """A score of a variation, mean over seeds."""
        return float(np.mean(self.values(name, key)))

    def row(self, name, columns, spec=".3g"):
        """Label → mean and interval over a variation's seeds, as text, of key → label."""
        return {label: brief(self.values(name, key), spec) for key, label in columns.items()}

    def listed(self, name, key):
        """A number of each of a variation's seeds, as text."""
        return ", ".join(str(value) for value in self.values(name, key))

    def history(self, name):
        """The histories of a variation, one a seed."""
        return [self.histories[result["id"]] for result in self.of(name)]

    def paired(self, name, measure, baseline=None, ratio=False):
        """How a variation differs from another, by runs that share a seed.

        Args:
            name: of the variation.
            measure: str, as for `metric`, or callable that makes a number of a result.
            baseline: name of the other variation; by default `baseline_name`.
            ratio: bool, whether one is divided by the other; else the other is taken away.

        Returns:
            `ganlib.stats.Interval` of the mean over seeds; its n is 0 where no seed has both.
        """
        if isinstance(measure, str):
            measure = functools.partial(self.metric, key=measure)
        names = baseline or self.baseline_name, name
        base, mine = ({r["seed"]: measure(r) for r in self.of(n)} for n in names)
        compared = np.divide if ratio else np.subtract
        values = [compared(mine[seed], base[seed]) for seed in sorted(base.keys() & mine.keys())]
        return paired_interval(values, np.zeros(len(values)))

    # -- tables that every study has ---------------------------------------------------------------

    claims = Claims(())  # the write-up's, as these results judge them

    def contents(self):
        """The `Contents` of a report; here none."""
        return Contents()

    def findings(self):
        """What the health monitor saw, a row a finding."""
        columns = ["variation", "seed", "check", "epoch", "evidence", "remedy"]
        rows = [{**_about(r), **f} for r in self.results for f in r["metrics"].get("findings", ())]
        return pandas.DataFrame(rows, columns=columns)

    def health(self):
        """A row a trial: the checks that spoke, and what they saw."""
        rows = []
        for r in self.results:
            findings = r["metrics"].get("findings", ())
            checks = ", ".join(f["check"] for f in findings) or "nothing"
            evidence = " ".join(f["evidence"] for f in findings)
            rows.append({**_about(r), "found": checks, "evidence": evidence})
        return pandas.DataFrame(rows)

    def trials(self, which="weights"):
        """Every number of every trial: a row a trial, or each of its scores ("best", "last")."""
        rows = []
        for r in self.results:
            end = {**_numbers(r["metrics"]), "status": r["status"], "seconds": r["seconds"]}
            for name, scores in r["metrics"].get("scores", {"": {}}).items():
                row = {"id": r["id"], **_about(r), **({which: name} if name else {})}
                rows.append({**row, **_numbers(scores or {}), **end})
        return pandas.DataFrame(rows)

    def chosen_and_last(self, columns, spec):
        """Scores (key → label) of the epoch that was kept beside the last one's; a row a trial."""
        rows = []
        for r in self.results:
            row = _about(r)
            epochs = {"best": r["metrics"]["best_epoch"], "last": r["metrics"]["epochs"]}
            for which, epoch in epochs.items():
                scores = r["metrics"]["scores"][which]
                row[f"{which} epoch"] = epoch
                for key, label in columns.items():
                    text = f"{scores[key]:{spec}}" if scores else "not finite"
                    row[f"{label}, {which}"] = text
            rows.append(row)
        return pandas.DataFrame(rows)

    def over_epochs(self, columns):
        """Columns (key → label) of all histories, a row an epoch, with variation and seed."""
        parts = []
        for r in self.results:
            part = self.histories[r["id"]].reindex(columns=["epoch", *columns])
            about = pandas.DataFrame(_about(r), part.index)
            parts.append(pandas.concat([about, part.rename(columns=columns)], axis=1))
        return pandas.concat(parts, ignore_index=True)

    def write(self, reports="reports"):
        """Writes figures, films, tables, claims and run.json; returns the `Report`.

        Args:
            reports: folder of all reports.
        """
        contents, options = self.contents(), self.study.options
        report = Report(self.study.name, options["profile"], reports, options.get("changes"))
        for name, draw in contents.figures.items():
            if figure := draw(self):
                report.figure(name, figure, (draw.__doc__ or "").partition("\n")[0])
                close(figure)
        for name, frames in contents.films.items():
            save_gif(frames, report.file(name, "gif"))
        for name, caption in contents.tables.items():
            table = getattr(self, name)
            report.table(name, table() if callable(table) else table, caption)
        if self.claims.items:
            report.table("claims", self.claims.table(), "The write-up's claims against these runs.")
        report.provenance(self.study, self.results, self.data, self.claims)
        return report


def by_interval(statement, interval, verdict, evidence):
    """A `Claim` on an interval: `verdict` judges it, `evidence` has a place for it."""
    return Claim(statement, verdict(interval), evidence.format(interval))


def unanimous(conditions):
    """The verdict of conditions, one a seed: undecided where they differ, or there are none."""
    return judge(conditions[0]) if len(set(conditions)) == 1 else CANNOT_TELL


def weakest(verdicts):
    """The verdict on several things together: refuted if one is, supported if all are."""
    return next((v for v in (REFUTED, CANNOT_TELL) if v in verdicts), SUPPORTED)


def _about(result):
    return {"variation": result["name"], "seed": result["seed"]}


def _numbers(values):
    return {key: value for key, value in values.items() if not isinstance(value, list | dict)}
