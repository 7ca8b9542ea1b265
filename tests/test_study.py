"""Studies and their trials, where data come from, and changes from outside."""

import dataclasses
import sys

import numpy as np
import pytest
from toy_study import STUDY, Recipe, build, read_log, write_plan

from ganlib import studies
from ganlib.data import DataError
from ganlib.experiment.changes import changed, parse
from ganlib.experiment.study import Source, Trial, mark


@dataclasses.dataclass(frozen=True)
class Fields:
    epochs: int = 5
    pretraining_epochs: int = 0
    batch_size: int | None = None
    learning_rate: float = 1e-3
    g_learning_rate: float = 1e-3
    beta_1: float = 0.5
    patience: int = 3
    weight: float = 1.0
    shift: float = -1.0
    flag: bool = False
    name: str = ""
    cuts: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Settings:
    rate: float = 0.1
    width: int | None = None


@pytest.fixture
def study(tmp_path):
    return build(write_plan(tmp_path / "plan.json", seeds=2, base="work", wide="work"))


def test_an_id_depends_on_recipe_seed_and_data_alone():
    # A literal: an id that changed between versions would orphan all finished runs.
    first = Trial("base", Settings(), 3, "c" * 64)
    assert first.id == "base-seed3-7c25157e"
    others = [{"recipe": Settings(rate=0.2)}, {"seed": 4}, {"data": "d" * 64}]
    ids = [dataclasses.replace(first, **change).id.split("-")[-1] for change in others]
    assert len({"7c25157e", *ids}) == 4


def test_trials_are_the_same_elsewhere_and_of_data_that_moved(tmp_path, study):
    found = [(t.name, t.seed) for t in study.trials]
    assert found == [("base", 0), ("wide", 0), ("base", 1), ("wide", 1)]
    moved = tmp_path / "moved.json"
    moved.write_bytes((tmp_path / "plan.json").read_bytes())
    assert build(moved).trials == study.trials
    assert STUDY.at(**study.options).trials == study.trials
    assert study.at(study.profile, study.spec, seeds=1).trials == study.trials[:2]
    other = build(write_plan(moved, seeds=2, checksum="d" * 64, base="work", wide="work"))
    assert not {t.id for t in other.trials} & {t.id for t in study.trials}


def test_a_profile_changes_the_base(study):
    assert study.base == Recipe()
    assert STUDY.at("cpu", study.spec).base == Recipe(epochs=3)
    assert [mark(p, c) for p, c in (("full", None), ("full", {"a": 5}))] == ["", "changed: a=5"]
    with pytest.raises(ValueError, match=r"did you mean quick\?.*Received: profile='qick'"):
        STUDY.at("qick", study.spec)


def test_select_and_data_that_are_loaded_once(tmp_path, study):
    assert study.recipes
    assert read_log(tmp_path / "plan.json", loaded=True) == []
    patterns = {"wide": [1, 3], "*-seed1-*": [2, 3], study.trials[2].id: [2]}
    for pattern, chosen in patterns.items():
        selected = study.select(pattern)
        assert selected.trials == tuple(study.trials[i] for i in chosen)
        assert selected.data is study.data
    with pytest.raises(ValueError, match=r"did you mean base\?.*Received: 'bse'"):
        study.select("bse")
    assert len(read_log(tmp_path / "plan.json", loaded=True)) == 1


def test_what_follows_is_made_from_the_results(study):
    staged = dataclasses.replace(
        study,
        follow=lambda study, results: {"width": len(results)} if results else None,
        variations=lambda study: {"more": study.base} if study.after else {"base": study.base},
    )
    after = staged.next([{}, {}])
    assert after.after == after.options["after"] == {"width": 2}
    assert [trial.name for trial in after.trials] == ["more", "more"]
    assert after.data is study.data
    assert staged.next([]) is after.next([{}]) is staged.select("base").next([{}]) is None


def test_a_study_of_ones_own_is_found_by_its_import_path(tmp_path, monkeypatch, study):
    text = "import dataclasses, toy_study\nSTUDY = dataclasses.replace(toy_study.STUDY, {})"
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, module in (("mine_a", "__name__"), ("mine_b", "'digits'")):
        (tmp_path / f"{name}.py").write_text(text.format(f"name={module}, module=__name__"))
        (tmp_path / f"{name}_report.py").touch()
        monkeypatch.setitem(sys.modules, name, None)  # forgotten after the test
        del sys.modules[name]
    found = studies.get("mine_a").at(data=study.spec)
    assert (found.name, found.trials) == ("mine_a", study.trials[:2])
    with pytest.raises(ValueError, match="Received: 'mine_b'"):
        studies.get("mine_b")
    with pytest.raises(ValueError, match=r"did you mean digits\?.*Received: 'digit'"):  # fault 24
        studies.get("digit")


def test_the_data_where_nobody_names_any(tmp_path, monkeypatch):
    source = Source("photos", "tfds:some/set", ("toys", "dolls"))
    monkeypatch.delenv("GANLIB_DATA", raising=False)
    assert source.choose("full") == "tfds:some/set"
    assert source.choose("full", "mine") == "mine"
    monkeypatch.setenv("GANLIB_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"begins with toys or dolls: .*Received: nothing"):
        source.choose("full")
    optional = dataclasses.replace(source, needed=False)
    assert optional.choose("full") == source.choose("quick")  # the embedded ones
    (tmp_path / "Dolls").mkdir()
    for name in (".toys.npz", "toys.md", "notes.npz"):
        (tmp_path / name).touch()
    assert source.choose("full") == str(tmp_path / "Dolls")
    (tmp_path / "toys.npz").touch()
    assert source.choose("cpu") == str(tmp_path / "toys.npz")  # the first name goes first
    (tmp_path / "toys2").mkdir()
    with pytest.raises(DataError, match=r"Received: toys\.npz, toys2"):
        source.choose("full")


def test_changes_as_they_are_written():
    texts = ["epochs=5", "rate = 1e-4", "flag=true", "name=null", 'text="5"', "cuts=[1, 0.5]"]
    found = {"epochs": 5, "rate": 1e-4, "flag": True, "name": None, "text": "5", "cuts": [1, 0.5]}
    assert parse([*texts, "loss=hinge", "lost=NaN"]) == {**found, "loss": "hinge", "lost": "NaN"}
    for wrong in (["epochs"], ["=5"], ["a=1", "a=2"]):
        with pytest.raises(ValueError, match=f"Received: '{wrong[-1]}'"):
            parse(wrong)


def test_a_change_has_its_fields_type_and_range():  # faults 16 and 24
    values = {"epochs": 7.0, "weight": 2, "cuts": [1, 0.5], "batch_size": None, "flag": True}
    recipe = changed(Fields(batch_size=3), values)
    assert recipe == Fields(7, 0, None, weight=2.0, cuts=(1.0, 0.5), flag=True)
    assert [type(x) for x in (recipe.epochs, recipe.weight)] == [int, float]
    wrong = [("epochs", 1.5), ("weight", "1"), ("flag", 1), ("name", 2), ("cuts", 0.5)]
    wrong += [("batch_size", True), ("learning_rate", np.inf), ("epochs", 0), ("batch_size", 0)]
    wrong += [("pretraining_epochs", -1), ("learning_rate", 0), ("g_learning_rate", -1)]
    wrong += [("beta_1", 1), ("patience", -1), ("weight", -0.1), ("shift", -2), ("cuts", [1, -1])]
    for field, value in wrong:
        with pytest.raises(ValueError, match=f"{field} must be .*Received: "):
            changed(Fields(), {field: value})
    right = {"pretraining_epochs": 0, "g_learning_rate": 0.0, "beta_1": 0.0, "patience": 0}
    right |= {"weight": 0.0, "shift": -1.0}
    assert changed(Fields(), right) == Fields(**right)
    with pytest.raises(ValueError, match=r"did you mean epochs\?.*Received: 'epoch'"):
        changed(Fields(), {"epoch": 5})


def test_a_change_holds_for_all_trials_and_makes_new_ones(study):
    more = study.at(data=study.spec, changes={"epochs": 5})
    assert {recipe.epochs for recipe in more.recipes.values()} == {5}
    assert more.base.epochs == 2
    assert not {t.id for t in more.trials} & {t.id for t in study.trials}
