"""`Results`: what every report begins with, and what it writes."""

import dataclasses
import json
import types

import matplotlib.figure
import numpy as np
import pandas
import pytest

from ganlib.experiment.study import Study, Trial
from ganlib.report.claims import SUPPORTED, Claim, Claims
from ganlib.studies.results import Contents, Results

DATA = types.SimpleNamespace(name="none", origin="None.", synthetic=True, checksum="0" * 48)


@dataclasses.dataclass(frozen=True)
class Recipe:
    rate: float = 0.1


def line(found):
    """A line through the values.

    And more, which is no caption.
    """
    figure = matplotlib.figure.Figure(figsize=(2, 2))
    figure.add_subplot().plot(found.values("a", "score"))
    return figure


def nothing(found):
    """What these trials have nothing for."""


class Shown(Results):
    @property
    def claims(self):
        return Claims((Claim("It works.", SUPPORTED, "n = 2."),))

    def contents(self):
        frames = [np.zeros((8, 8, 3), "uint8")] * 2
        tables = {"scores": "Scores.", "counted": "Counted."}
        return Contents({"line": line, "nothing": nothing}, tables, {"film": frames})

    def scores(self):
        return pandas.DataFrame({"name": self.names, "score": [self.mean("a", "score")]})

    @property
    def counted(self):
        return pandas.DataFrame({"n": [len(self.results)]})


def results_of(kind, out):
    trials = tuple(Trial("a", Recipe(), seed) for seed in range(3))
    options = {"profile": "quick"}
    study = Study("made-up", "", trials, lambda: DATA, None, "none", options, None)
    states = zip(trials, ("done", "stopped", "failed"), strict=True)
    found = [
        {
            "id": trial.id,
            "name": "a",
            "seed": trial.seed,
            "status": status,
            "seconds": 1.5,
            "recipe": dataclasses.asdict(trial.recipe),
            "metrics": {"score": float(trial.seed)},
        }
        for trial, status in states
    ]
    return kind(study, found, DATA, out)


def test_a_report_is_what_the_contents_say(tmp_path):
    report = results_of(Shown, tmp_path / "runs").write(tmp_path)
    files = {"line.pdf", "line.png", "film.gif"}
    files |= {f"{n}.{end}" for n in ("scores", "counted", "claims") for end in ("csv", "md", "tex")}
    assert {path.name for path in report.path.iterdir()} == files | {"run.json"}
    assert report.path == tmp_path / "quick" / "made-up"
    assert pandas.read_csv(report.path / "scores.csv")["score"].tolist() == [0.5]
    assert pandas.read_csv(report.path / "counted.csv")["n"].tolist() == [2]  # one has failed
    run = json.loads((report.path / "run.json").read_text())
    assert set(run["files"]) == files
    assert run["captions"]["line.png"] == "A line through the values."
    assert run["captions"]["scores.csv"] == "Scores."
    assert run["verdicts"] == {"supported": 1, "refuted": 0, "cannot tell": 0}
    assert [trial["status"] for trial in run["trials"]] == ["done", "stopped"]


def test_a_study_without_figures_tables_and_claims_has_a_record_of_its_runs(tmp_path):
    report = results_of(Results, tmp_path / "runs").write(tmp_path)
    assert [path.name for path in report.path.iterdir()] == ["run.json"]


@pytest.mark.parametrize("status", ["failed", "out of memory"])
def test_nothing_has_finished(status, tmp_path):
    found = results_of(Results, tmp_path)
    results = [{**result, "status": status} for result in found.results]
    with pytest.raises(ValueError, match=rf"No trial of 'made-up' has finished.*'{status}'"):
        Results(found.study, results, DATA, tmp_path)
