"""The finished trials of a study as two data frames, and intervals over their seeds."""

import dataclasses
import math
import pathlib

import pandas

from ganlib.apply import read_grid
from ganlib.experiment.changes import meant
from ganlib.experiment.machine import StudyError
from ganlib.experiment.run import DONE, STOPPED, Run, plain
from ganlib.stats import bounded_interval

FIRST = ["name", "seed", "id", "status", "seconds"]


class Results:
    """What a study's finished trials came to, read from their run directories.

    Args:
        study: `ganlib.experiment.study.Study`, as `at` makes it.
        folder: where the run directories lie, such as runs/digits.
        bounds: dict of column of `runs` → (lowest, highest) value that it can have, infinity where
            there is no end. Its intervals stay within.
        kept: bool, whether these are kept results, whose data need not be at hand; else only the
            trials on the study's own data count.

    Attributes:
        runs: `pandas.DataFrame`, a row a trial: name, seed, id, status, seconds, then all metrics
            ("scores.best.kid") and the recipe ("recipe.epochs"), nested names joined by dots.
        history: the same, a row an epoch, with the trial's id, name, seed and phase, or "".
        records: list of dict, each trial's result.json; `folders`: dict of id → run directory.

    Raises StudyError if no trial has finished.
    """

    def __init__(self, study, folder, bounds=None, kept=False):
        self.study, self.bounds = study, bounds or {}
        recipes = {name: plain(dataclasses.asdict(r)) for name, r in study.recipes.items()}
        order = {name: place for place, name in enumerate(recipes)}

        def asked_for(r):
            same = r["recipe"] == recipes.get(r["name"]) and r["seed"] < study.options["seeds"]
            return same and (kept or r["data_checksum"] == study.data.checksum)

        paths = [path.parent for path in pathlib.Path(folder).glob("*/result.json")]
        found = [(result, path) for path in paths if (result := Run(path).result())]
        found = [(r, p) for r, p in found if r["status"] in (DONE, STOPPED) and asked_for(r)]
        if not found:
            raise StudyError(f"No trial in {folder} has finished: ganlib run {study.name}")
        found.sort(key=lambda pair: (order[pair[0]["name"]], pair[0]["seed"]))
        self.records = [result for result, _ in found]
        self.folders = {result["id"]: path for result, path in found}
        rows = [
            {key: r[key] for key in FIRST} | r["metrics"] | {"recipe": r["recipe"]}
            for r in self.records
        ]
        self.runs = pandas.json_normalize(rows)
        about = FIRST[:3]
        histories = [pandas.DataFrame(columns=[*about, "phase", "epoch"])]
        for result, path in found:
            for file in Run(path).found("history.csv"):
                phase = "" if file.parent == path else file.parent.name
                marks = {**{key: result[key] for key in about}, "phase": phase}
                histories.append(pandas.read_csv(file).assign(**marks))
        self.history = pandas.concat(histories[1:] or histories, ignore_index=True)

    def __repr__(self):  # without what differs between machines
        return f"<{len(self.runs)} trials of {self.study.name}: {', '.join(self.names)}>"

    @property
    def names(self):
        """The variations with a finished trial, in the study's order."""
        return list(dict.fromkeys(self.runs["name"]))

    def missing(self, *names):
        """Those of the variations that have no finished trial."""
        return [name for name in names if name not in self.names]

    def measured(self, measure):
        """A `pandas.Series` of float, a number for each row of `runs`.

        `measure` is a column of `runs`, or a function `(run, history) -> number` of a row of it
        and of that run's part of `history`.
        """
        if callable(measure):
            histories = dict(iter(self.history.groupby("id")))
            none = self.history[:0]
            numbers = [measure(r, histories.get(r["id"], none)) for _, r in self.runs.iterrows()]
            return pandas.Series(numbers, self.runs.index, dtype=float)
        if measure not in self.runs:
            hint = meant(measure, self.runs)
            raise ValueError(f"`measure` must be a column of `runs`{hint}. Received: {measure!r}")
        return self.runs[measure].astype(float)

    def values(self, name, measure):
        """Float array of a measure, one a seed of a variation; NaN where a run has none."""
        return self.measured(measure)[self.runs["name"] == name].to_numpy()

    def interval(self, name, measure):
        """`ganlib.stats.Interval` of a measure's mean over a variation's seeds.

        One value that is not finite makes it NaN: a mean over the others would flatter.
        """
        return bounded_interval(self.values(name, measure), self.bounds.get(measure))

    def paired(self, name, baseline, measure, ratio=False):
        """`Interval` of a variation less, or over (`ratio`), its baseline, by runs of one seed."""
        values = self.runs.assign(value=self.measured(measure)).set_index(["name", "seed"])["value"]
        mine, base = (values.get(n, pandas.Series(dtype=float)) for n in (name, baseline))
        seeds = mine.index.intersection(base.index)
        mine, base = mine[seeds].to_numpy(), base[seeds].to_numpy()
        if ratio:
            return bounded_interval(mine / base, (0, math.inf))
        return bounded_interval(mine - base)

    def table(self, columns, between=None, less=None, n="n", spec=".3g"):
        """A `pandas.DataFrame` with a row a variation: means with their intervals.

        Args:
            columns: dict of heading → measure, as of `measured`.
            between: dict of label → dict of a floor's or a ceiling's numbers by measure and `n`.
            less: name of a variation; the table is of paired differences to it.
            n: column of `runs` with the number of pictures that a score is of, if there is one.
            spec: format of the numbers.
        """
        rows = []
        for name in self.names:
            row = {"variation": name}
            for label, measure in columns.items():
                same = less in (None, name)
                found = self.interval(name, measure) if same else self.paired(name, less, measure)
                row[label] = found.brief(spec if same else f"+{spec}")
            if n in self.runs:
                row["n"] = self.runs.loc[self.runs["name"] == name, n].iloc[0]
            rows.append(row | {"seeds": int((self.runs["name"] == name).sum())})
        for name, scores in (between or {}).items():
            row = {"variation": name, "n": scores.get(n, "")}
            shown = {k: scores[m] for k, m in columns.items() if not callable(m) and m in scores}
            rows.append(row | {label: f"{value:{spec}}" for label, value in shown.items()})
        # As objects: beside an empty cell pandas would make 300 a 300.0.
        return pandas.DataFrame(rows, dtype=object).fillna("")

    def findings(self):
        """What the health monitor found, a row a finding, with the variation and the seed."""
        rows = [
            {"variation": r["name"], "seed": r["seed"], **finding}
            for r in self.records
            for finding in r["metrics"].get("findings", ())
        ]
        columns = ["variation", "seed", "check", "epoch", "evidence", "remedy"]
        return pandas.DataFrame(rows, columns=columns)

    def pictures(self, size, seed=0):
        """Dict of name → the last sample grid of each variation, `(n, size, size, 3)` in [0, 1]."""
        grids = {
            run["name"]: max((self.folders[run["id"]] / "samples").glob("*.png"), default=None)
            for _, run in self.runs[self.runs["seed"] == seed].iterrows()
        }
        return {name: read_grid(path, size) for name, path in grids.items() if path}
