"""`Results`: what every report begins with, and what it writes."""

import json
import types

import matplotlib.figure
import numpy as np
import pandas
import pytest
import tiny

from ganlib.report.claims import CANNOT_TELL, REFUTED, SUPPORTED
from ganlib.studies.results import POSITIVE, Contents, Results, unanimous, weakest

DATA = types.SimpleNamespace(name="none", origin="None.", synthetic=True, checksum="0" * 48)


def line(found):
    """A line through the values.

    And more, which is no caption."""
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
        return Contents(figures, ("scores",), {"film": frames})

    def scores(self):
        """Scores."""
        return pandas.DataFrame({"name": self.names, "score": [self.mean("base", "score")] * 2})


def made_up(kind):
    metrics = {"base": [{"score": 0.0}, {"score": 1.0}], "mine": [{"score": 5.0}, {"score": 6.0}]}
    found = tiny.made_up(kind, metrics)
    found.data, found.study.options = DATA, {"profile": "quick"}
    return found


def test_a_report_is_what_the_contents_say(tmp_path):
    report = made_up(Shown).write(tmp_path)
    files = {"line.pdf", "line.png", "film.gif"}
    files |= {f"{name}.{end}" for name in ("scores", "claims") for end in ("csv", "md", "tex")}
    assert {path.name for path in report.path.iterdir()} == files | {"run.json"}
    assert pandas.read_csv(report.path / "scores.csv")["score"].tolist() == [0.5, 0.5]
    run = json.loads((report.path / "run.json").read_text())
    assert set(run["files"]) == files
    assert run["captions"]["line.png"] == "A line through the values."
    assert run["verdicts"] == {"supported": 1, "refuted": 0, "cannot tell": 0}


def test_a_study_without_a_report_of_its_own_and_one_without_results(tmp_path):
    found = made_up(Results)
    report = found.write(tmp_path)
    assert pandas.read_csv(report.path / "trials.csv")["score"].tolist() == [0, 1, 5, 6]
    assert (report.path / "findings.csv").exists()
    failed = [{**result, "status": "failed"} for result in found.results]
    assert len(Results(found.study, [*failed[1:], found.results[0]], DATA).results) == 1
    with pytest.raises(ValueError, match=r"No trial of 'made-up' has finished.*'failed'"):
        Results(found.study, failed, DATA)


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
