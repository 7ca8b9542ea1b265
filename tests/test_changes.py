"""Changes of recipes from outside: how they are written, what fits, and who gets them."""

import dataclasses
import json
import os
import typing

import keras
import pytest
import toy_study
from helpers import TESTS, run_python
from toy_study import write_plan

from ganlib import studies
from ganlib.experiment import local
from ganlib.experiment import study as study_module
from ganlib.experiment.changes import changed, parse
from ganlib.experiment.study import Trial, read_json, run_folder

BACKEND = keras.backend.backend()


@dataclasses.dataclass(frozen=True)
class Recipe:
    data: str = "set"
    flag: bool = False
    whole: int = 1
    number: float = 0.5
    text: str = "a"
    maybe_whole: int | None = 2
    maybe_number: float | None = None
    maybe_text: typing.Optional[str] = None  # noqa: UP045  the older way to write it
    items: tuple = ()
    numbers: tuple[float, ...] = ()


# -- written -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("epochs=5", "epochs", 5),
        ("epochs = 5 ", "epochs", 5),
        ("rate=1e-4", "rate", 1e-4),
        ("rate=-.5", "rate", "-.5"),  # no JSON: the field's type will refuse it
        ("flag=true", "flag", True),
        ("flag=True", "flag", "True"),
        ("batch=null", "batch", None),
        ("loss=hinge", "loss", "hinge"),
        ('loss="hinge"', "loss", "hinge"),
        ('width="5"', "width", "5"),
        ("spec=a=b", "spec", "a=b"),
        ("text=", "text", ""),
        ("at=[0.5, [1, null]]", "at", (0.5, (1, None))),
        ("at=[]", "at", ()),
        ("at=[1", "at", "[1"),
        ("rate=NaN", "rate", "NaN"),
        ("rate=-Infinity", "rate", "-Infinity"),
    ],
)
def test_parse(text, name, value):
    parsed = parse([text])
    assert parsed == {name: value}
    assert type(parsed[name]) is type(value)


def test_parse_several():
    assert parse(["a=1", "b=x"]) == {"a": 1, "b": "x"}
    assert parse(()) == {}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["epochs"], r"as name=value, e\.g\. epochs=5\. Received: 'epochs'"),
        (["=5"], "as name=value.*Received: '=5'"),
        ([""], "as name=value.*Received: ''"),
        (["a=1", "b=2", "a =1"], "each change once. Received: 'a =1' after another a"),
    ],
)
def test_parse_refusals(texts, message):
    with pytest.raises(ValueError, match=message):
        parse(texts)


# -- fitted --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("flag", True, True),
        ("whole", 7, 7),
        ("whole", 1e3, 1000),
        ("whole", -2.0, -2),
        ("number", 1, 1.0),
        ("number", 1e-4, 1e-4),
        ("text", "b", "b"),
        ("text", "", ""),
        ("maybe_whole", None, None),
        ("maybe_whole", 8.0, 8),
        ("maybe_number", 3, 3.0),
        ("maybe_number", None, None),
        ("maybe_text", "b", "b"),
        ("maybe_text", None, None),
        ("items", ["a", [1, 2.5]], ("a", (1, 2.5))),
        ("items", (), ()),
        ("numbers", [1, 0.5], (1.0, 0.5)),
    ],
)
def test_changed(name, value, expected):
    recipe = Recipe()
    new = changed(recipe, {name: value})
    assert new == dataclasses.replace(recipe, **{name: expected})
    assert repr(getattr(new, name)) == repr(expected)  # 1 == 1.0 == True, but not in a trial's id
    assert recipe == Recipe()
    hash(new)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("flag", 1, "true or false"),
        ("flag", "True", "true or false"),
        ("flag", None, "true or false"),
        ("whole", True, "a whole number"),
        ("whole", 1.5, "a whole number"),
        ("whole", float("inf"), "a whole number"),
        ("whole", float("nan"), "a whole number"),
        ("whole", "1", "a whole number"),
        ("whole", None, "a whole number"),
        ("number", False, "a finite number"),
        ("number", float("inf"), "a finite number"),
        ("number", float("nan"), "a finite number"),
        ("number", 10**400, "a finite number"),
        ("number", "fast", "a finite number"),
        ("text", 5, r"text \(in double quotes"),
        ("text", None, "text"),
        ("maybe_whole", "none", "a whole number or null"),
        ("maybe_number", True, "a finite number or null"),
        ("maybe_text", 5, r"text \(.*\) or null"),
        ("items", "cutout", r"a list, such as \[0\.5, 1\]"),
        ("items", {"a": 1}, "a list"),
        ("numbers", [1, "b"], "a list"),
        ("numbers", 1, "a list"),
    ],
)
def test_a_value_of_a_wrong_type(name, value, wanted):
    with pytest.raises(ValueError, match=rf"^{name} must be {wanted}.*\. Received: ") as caught:
        changed(Recipe(), {"number": 1.0, name: value})
    assert str(caught.value).endswith(f"Received: {value!r}")


def test_an_unknown_field():
    with pytest.raises(ValueError, match=r"choose from flag, whole, .*numbers. Received: 'epochs'"):
        changed(Recipe(), {"whole": 2, "epochs": 5})


def test_data_are_no_change():
    with pytest.raises(ValueError, match=r"--data .*Received: data='other'"):
        changed(Recipe(), {"data": "other"})


def test_ids_do_not_depend_on_how_a_number_is_written():
    ids = {
        Trial("a", changed(Recipe(), parse([whole, number, "numbers=[1]"])), 0).id
        for whole in ("whole=1000", "whole=1e3", "whole=1000.0")
        for number in ("number=2", "number=2.0", "number=0.2e1")
    }
    assert len(ids) == 1


# -- the studies ---------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["quick", "full"])
@pytest.mark.parametrize("name", list(studies.STUDIES))
class TestStudies:
    def test_all_trials_change_in_one_field(self, name, profile):
        plain = studies.build(name, profile=profile, seeds=2)
        study = studies.build(name, profile=profile, seeds=2, changes={"epochs": 7.0, "beta_1": 0})
        assert len(study.trials) == len(plain.trials)
        for before, after in zip(plain.trials, study.trials, strict=True):
            wanted = dataclasses.replace(before.recipe, epochs=7, beta_1=0.0)
            assert after == dataclasses.replace(before, recipe=wanted)
            # The time left: the same phases with another number of epochs in the last one.
            assert study.epochs(after) - plain.epochs(before) == 7 - before.recipe.epochs

    def test_another_process_builds_the_same(self, name, profile):
        study = studies.build(name, profile=profile, seeds=1, changes={"epochs": 7})
        options = json.loads(json.dumps(study.options))
        again = study_module.build(study.module, options)
        assert [t.id for t in again.trials] == [t.id for t in study.trials]
        assert again.trials == study.trials
        assert again.options == options

    def test_own_values_are_no_change(self, name, profile):
        # Neither by type: else a run with --set would not find what a run without it left.
        study = studies.build(name, profile=profile, seeds=1)
        assert study.options["changes"] == {}
        for trial in study.trials:
            own = json.loads(json.dumps(dataclasses.asdict(trial.recipe)))
            del own["data"]
            assert Trial(trial.name, changed(trial.recipe, own), trial.seed).id == trial.id

    def test_impossible_changes(self, name, profile):
        with pytest.raises(ValueError, match="epochs must be a whole number"):
            studies.build(name, profile=profile, changes={"epochs": None})


def test_a_change_overrides_a_variation():
    study = studies.build("digits", seeds=1, changes={"output": "tanh"})
    recipes = {trial.name: trial.recipe for trial in study.trials}
    assert recipes["base"] == recipes["tanh"]
    assert recipes["wide"] == recipes["wide-tanh"] != recipes["base"]
    assert len({trial.id for trial in study.trials}) == len(recipes)


def test_larger_patches_are_asked_of_the_data(tmp_path):
    from ganlib.data import DataError

    study = studies.build("srgan", changes={"patch": 4096})
    with pytest.raises(DataError, match="4096"):
        study.load_data()


# -- trained -------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1])
def test_training_gets_the_changes(tmp_path, monkeypatch, workers):
    monkeypatch.setattr(local, "POLL_SECONDS", 0.05)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS.parent), str(TESTS)]))
    plan = write_plan(tmp_path / "plan.json", a="work", b={"epochs": 4})
    study = toy_study.build(data=str(plan), changes={"epochs": 3})
    results = local.run(study, tmp_path, workers=workers, show=False)
    assert [result["metrics"]["epochs"] for result in results] == [3, 3]
    for trial in study.trials:
        asked = read_json(run_folder(study, trial, tmp_path) / "trial.json")
        assert asked["recipe"] == dataclasses.asdict(trial.recipe)


def test_the_command_line_runs_a_change_beside_what_there_is(tmp_path):
    plan = write_plan(tmp_path / "plan.json", a="work")

    def toy(command, *options, expect=0):
        arguments = ["cli", command, "toy", "--data", plan, "--out", tmp_path, *options]
        return run_python(TESTS / "toy_study.py", *arguments, backend=BACKEND, expect=expect)

    changes = ["--set", "epochs=5", "--set", "seconds=0"]
    for options in ([], changes, ["--set", "epochs=2"]):
        toy("run", "--workers", 1, *options)
    began = [trial for _, trial in toy_study.read_log(plan)]
    assert len(began) == len(set(began)) == 2  # two epochs are what the plan says: nothing to do
    (row,) = json.loads(toy("status", "--json", *changes))
    assert (row["id"], row["status"], row["epochs"]) == (began[1], "done", 5)
    assert "Report: " in toy("report", *changes)
    assert "No trial in" in toy("report", "--set", "epochs=6", expect=2)
