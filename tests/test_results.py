"""`Results`: what every report begins with, and what it writes."""

import dataclasses
import json
import types

import matplotlib.figure
import numpy as np
import pandas
import pytest
import tiny

from ganlib.experiment.study import Trial
from ganlib.report.claims import CANNOT_TELL, REFUTED, SUPPORTED
from ganlib.studies.results import POSITIVE, Contents, Results, unanimous, weakest

DATA = types.SimpleNamespace(name="none", origin="None.", synthetic=True, checksum="0" * 48)


@dataclasses.dataclass(frozen=True)
class Recipe:
    rate: float = 0.1


def line(found):
    """A line through the values.

    And more, which is no caption.
    """
    figure = matplotlib.figure.Figure(figsize=(2, 2))
    figure.add_subplot().plot(found.values("base", "score"))
    return figure


class Shown(Results):
    def statements(self):
        yield self.compare("It works.", "mine", "score", **POSITIVE)
        yield self.compare("Nobody tried.", "missing", "score")

    def contents(self):
        frames = [np.zeros((8, 8, 3), "uint8")] * 2
        figures = {"line": line, "nothing": lambda found: None}
        return Contents(figures, ("scores", "counted"), {"film": frames})

    def scores(self):
        """Scores."""
        return pandas.DataFrame({"name": self.names, "score": [self.mean("base", "score")] * 2})

    @property
    def counted(self):
        """Counted."""
        return pandas.DataFrame({"n": [len(self.results)]})


def results_of(kind, out):
    trials = tuple(Trial(name, Recipe(), s) for name in ("base", "mine") for s in range(3))
    study = types.SimpleNamespace(name="made-up", trials=trials, options={"profile": "quick"})
    study.trial = lambda one: next(trial for trial in trials if trial.id == one)
    results = []
    for t in trials:
        status = ("done", "stopped", "failed")[t.seed]
        result = {"id": t.id, "name": t.name, "seed": t.seed, "status": status, "seconds": 1.5}
        metrics = {"score": float(t.seed) + 5 * (t.name == "mine")}
        results.append({**result, "recipe": dataclasses.asdict(t.recipe), "metrics": metrics})
    return kind(study, results, DATA, out)


def test_a_report_is_what_the_contents_say(tmp_path):
    report = results_of(Shown, tmp_path / "runs").write(tmp_path)
    files = {"line.pdf", "line.png", "film.gif"}
    files |= {f"{n}.{end}" for n in ("scores", "counted", "claims") for end in ("csv", "md", "tex")}
    assert {path.name for path in report.path.iterdir()} == files | {"run.json"}
    assert pandas.read_csv(report.path / "scores.csv")["score"].tolist() == [0.5, 0.5]
    assert pandas.read_csv(report.path / "counted.csv")["n"].tolist() == [4]  # two have failed
    run = json.loads((report.path / "run.json").read_text())
    assert set(run["files"]) == files
    assert run["captions"]["line.png"] == "A line through the values."
    assert run["captions"]["scores.csv"] == "Scores."
    assert run["verdicts"] == {"supported": 1, "refuted": 0, "cannot tell": 0}


def test_a_study_without_a_report_of_its_own_and_one_without_results(tmp_path):
    found = results_of(Results, tmp_path)
    report = found.write(tmp_path)
    assert pandas.read_csv(report.path / "trials.csv")["score"].tolist() == [0, 1, 5, 6]
    assert (report.path / "findings.csv").exists()
    results = [{**result, "status": "failed"} for result in found.results]
    with pytest.raises(ValueError, match=r"No trial of 'made-up' has finished.*'failed'"):
        Results(found.study, results, DATA, tmp_path)


def test_seeds_are_compared_with_their_own():
    metrics = {"base": [{"a": 1.0}, {"a": 3.0}, {"a": 2.0}], "mine": [None, {"a": 6.0}, {"a": 4.0}]}
    found = tiny.made_up(Shown, metrics)
    assert found.paired("mine", "a").mean == 2.5
    assert found.paired("mine", "a", ratio=True).mean == 2.0
    assert found.paired("base", lambda result: -result["metrics"]["a"], "mine").n == 2


def test_verdicts_of_several():
    assert [unanimous(x) for x in ([True], [False] * 2)] == [SUPPORTED, REFUTED]
    assert [unanimous(x) for x in ([True, False], [])] == [CANNOT_TELL] * 2
    assert weakest([SUPPORTED, CANNOT_TELL]) == CANNOT_TELL
    assert weakest([SUPPORTED, CANNOT_TELL, REFUTED]) == REFUTED
