"""Results as data frames, claims on them; and what reports that are modules begin with."""

import dataclasses
import json
import math
import types

import matplotlib.figure
import numpy as np
import pandas
import pytest
import tiny

from ganlib.experiment import results as frames
from ganlib.experiment.machine import StudyError
from ganlib.report.claims import CANNOT_TELL, NEGATIVE, NOT_RUN, REFUTED, SUPPORTED

from ganlib.report.claims import Claim, Claims, Compare, EachRun, seeds_needed  # isort: skip
from ganlib.stats import mean_interval
from ganlib.studies.results import POSITIVE, Contents, Results

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


def test_what_has_not_finished_is_left_out():
    found = made_up(Results)
    failed = [{**result, "status": "failed"} for result in found.results]
    assert len(Results(found.study, [*failed[1:], found.results[0]], DATA).results) == 1
    with pytest.raises(ValueError, match=r"No trial of 'made-up' has finished.*'failed'"):
        Results(found.study, failed, DATA)


# -- two data frames and what is claimed of them ---------------------------------------------------


Recipe = dataclasses.make_dataclass("Recipe", [("rate", float, 0.1), ("cuts", tuple, (1, 2))])


def write(folder, name, seed, score, recipe=None, **more):
    """A run directory of two epochs."""
    asked = {"id": f"{name}-{seed}", "name": name, "seed": seed, "data_checksum": "c"}
    recipe = {"rate": 0.1, "cuts": [1, 2]} | (recipe or {})
    metrics = {"scores": {"best": {"score": score}}, "n": 50, "findings": []}
    result = asked | {"status": "done", "seconds": 1.5, "recipe": recipe, "metrics": metrics} | more
    (folder / asked["id"]).mkdir(parents=True)
    (folder / asked["id"] / "result.json").write_text(json.dumps(result))
    history = pandas.DataFrame({"epoch": [1, 2], "loss": [score, score / 2]})
    history.to_csv(folder / asked["id"] / "history.csv", index=False)


SCORE, ENDS = "scores.best.score", (0.0, 1.0)


@pytest.fixture
def found(tmp_path):
    recipes = {"base": Recipe(), "better": Recipe(0.2), "alike": Recipe(0.3), "never": Recipe(0.4)}
    for seed in range(3):
        write(tmp_path, "base", seed, 0.95 + 0.02 * seed)
        write(tmp_path, "better", seed, 0.05 + 0.021 * seed - 0.001, {"rate": 0.2})
        write(tmp_path, "alike", 2 - seed, 0.9 + 0.03 * (seed % 2), {"rate": 0.3})
    write(tmp_path, "base", 3, 9.0)  # a seed that is not asked for, a recipe of old, a failure
    write(tmp_path, "never", 0, 9.0, {"rate": 0.5})
    write(tmp_path, "never", 1, 9.0, {"rate": 0.4}, status="failed")
    write(tmp_path, "never", 2, 9.0, {"rate": 0.4}, data_checksum="other")
    study = types.SimpleNamespace(name="toy", recipes=recipes, options={"seeds": 3})
    study.data = types.SimpleNamespace(checksum="c")
    results = frames.Results(study, tmp_path, {SCORE: ENDS})
    assert frames.Results(study, tmp_path, kept=True).names == [*results.names, "never"]
    study.recipes = {"never": Recipe(0.6)}
    with pytest.raises(StudyError, match="has finished: ganlib run toy"):
        frames.Results(study, tmp_path)
    return results


def test_runs_and_history_are_tidy(found):
    assert found.runs["name"].tolist() == ["base"] * 3 + ["better"] * 3 + ["alike"] * 3
    assert found.runs["recipe.rate"].unique().tolist() == [0.1, 0.2, 0.3]
    assert found.runs[SCORE][:3].tolist() == pytest.approx([0.95, 0.97, 0.99])
    assert found.history.columns.tolist() == ["epoch", "loss", "name", "seed", "id", "phase"]
    assert repr(found) == "<9 trials of toy: base, better, alike>"
    with pytest.raises(ValueError, match=r"did you mean scores\.best\.score\?"):
        found.interval("base", "scores.best.scor")


def test_intervals_stay_where_the_number_can_live(found):
    interval = found.interval("base", SCORE)
    assert 0 < interval.low < interval.mean < interval.high < 1
    assert mean_interval([0.95, 0.97, 0.99]).high > 1  # as it would be without
    assert found.paired("better", "base", SCORE).mean == pytest.approx(-0.9)
    assert 0 < found.paired("better", "base", SCORE, ratio=True).low < 0.1
    assert math.isnan(found.paired("never", "base", SCORE).mean)
    assert found.interval("base", lambda run, h: h["loss"].iloc[-1]).mean == pytest.approx(0.485)
    table = found.table({"score": SCORE}, between={"ceiling": {SCORE: 1.0, "n": 9}})
    assert table[["seeds", "n"]].to_numpy().tolist() == [[3, 50]] * 3 + [["", 9]]
    assert found.table({"score": SCORE}, less="base")["score"][1].startswith("-0.9 [-0.9")


def test_claims_are_decided_by_the_runs(found):
    claims = [
        Compare("It is worse.", ("better", "base"), SCORE, within=NEGATIVE),
        Compare("It is better.", ("better", "base"), SCORE),
        Compare("It is the same.", ("alike", "base"), SCORE, within=(-0.07, 0.07)),
        Compare("Nobody ran it.", ("never", "base"), SCORE),
        EachRun("All are high.", "base", SCORE, lambda x: x > 0.9),
        EachRun("Some are high.", "base", SCORE, lambda x: x > 0.96),
        EachRun("Nobody knows.", "base", lambda run, history: math.nan, bool),
        lambda results: Claim("A function.", REFUTED, str(len(results.runs))),
    ]
    judged = Claims.judged(claims, found)
    verdicts = [SUPPORTED, REFUTED, CANNOT_TELL, NOT_RUN, SUPPORTED, *[CANNOT_TELL] * 2, REFUTED]
    assert [claim.verdict for claim in judged] == verdicts
    evidence = [claim.evidence for claim in judged]
    assert "seeds would decide it." in evidence[2]
    assert evidence[3] == "No finished run of never."
    assert evidence[5].startswith("True of 2 of 3 runs.")
    assert judged.count() == {SUPPORTED: 2, REFUTED: 2, CANNOT_TELL: 3}


def test_seeds_that_would_decide():
    few = mean_interval([0.0, 1.0, 2.0])  # a mean of 1 and a deviation of 1
    assert few.low < 0 < few.high
    # t of n - 1 degrees of freedom over √n: 2.571 / √6 = 1.05 and 2.365 / √8 = 0.84; 7: 0.92.
    assert seeds_needed(few, 0.0, math.inf) == "About 7 seeds would decide it."
    assert "More than 1,000" in seeds_needed(mean_interval([-1.0, 1.001]), 0.0)
    assert "at least two" in seeds_needed(mean_interval([1.0]), 0.0)
