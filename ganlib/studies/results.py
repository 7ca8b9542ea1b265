"""The finished trials of a study, with their histories: what every report begins with."""

import dataclasses
import functools

import numpy as np
import pandas

from ganlib.experiment.study import DONE, STOPPED, run_folder
from ganlib.report.claims import Claims
from ganlib.report.export import Report
from ganlib.report.figures import close
from ganlib.sampling import save_gif
from ganlib.stats import paired_interval


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a report shows of a study's results.

    Attributes:
        figures: dict of name → callable that draws it from the results, or gives None where the
            trials that it needs are missing. Its docstring begins with the caption.
        tables: dict of name → caption; the name is that of a table of the results.
        films: dict of name → frames, as `ganlib.sampling.save_gif` takes them.
    """

    figures: dict = dataclasses.field(default_factory=dict)
    tables: dict = dataclasses.field(default_factory=dict)
    films: dict = dataclasses.field(default_factory=dict)


class Results:
    """The finished trials of a study.

    A study adds its tables and figures as methods, and has `claims` and `contents` of its own: what
    its write-up says, and what a report shows.

    Args:
        study: `ganlib.experiment.study.Study`.
        results: list of result dicts.
        data: the study's data.
        out: folder of all runs.

    Raises:
        ValueError: no trial has finished.
    """

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
        return [self.metric(result, key) for result in self.of(name)]

    def mean(self, name, key):
        """A score of a variation, mean over seeds."""
        return float(np.mean(self.values(name, key)))

    def history(self, name):
        """The histories of a variation, one a seed."""
        return [self.histories[result["id"]] for result in self.of(name)]

    def paired(self, name, measure, baseline="base", ratio=False):
        """How a variation differs from another, by runs that share a seed.

        Args:
            name: of the variation.
            measure: str, as for `metric`, or callable that makes a number of a result.
            baseline: name of the other variation.
            ratio: bool, whether one is divided by the other; else the other is taken away.

        Returns:
            `ganlib.stats.Interval` of the mean over seeds; its n is 0 where no seed has both.
        """
        if isinstance(measure, str):
            measure = functools.partial(self.metric, key=measure)
        base, mine = ({r["seed"]: measure(r) for r in self.of(n)} for n in (baseline, name))
        compared = np.divide if ratio else np.subtract
        values = [compared(mine[seed], base[seed]) for seed in sorted(base.keys() & mine.keys())]
        return paired_interval(values, np.zeros(len(values)))

    @property
    def claims(self):
        """The write-up's `ganlib.stats.Claims`, as these results judge them; here none."""
        return Claims(())

    def contents(self):
        """The `Contents` of a report; here none."""
        return Contents()

    def findings(self):
        """What the health monitor saw, a row a finding."""
        rows = [
            {"variation": r["name"], "seed": r["seed"], **finding}
            for r in self.results
            for finding in r["metrics"].get("findings", ())
        ]
        return pandas.DataFrame(
            rows, columns=["variation", "seed", "check", "epoch", "evidence", "remedy"]
        )

    def health(self):
        """A row a trial: the checks that spoke, and what they saw."""
        rows = []
        for r in self.results:
            findings = r["metrics"].get("findings", ())
            row = {"variation": r["name"], "seed": r["seed"]}
            row["found"] = ", ".join(f["check"] for f in findings) or "nothing"
            row["evidence"] = " ".join(f["evidence"] for f in findings)
            rows.append(row)
        return pandas.DataFrame(rows)

    def write(self, reports="reports"):
        """Writes figures, films, tables, claims and run.json.

        Args:
            reports: folder of all reports.

        Returns:
            The `ganlib.report.export.Report`.
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
