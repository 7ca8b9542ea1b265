"""Studies and their trials, where data come from, and changes from outside."""

import dataclasses
import sys

import numpy as np
import pytest
from toy_study import STUDY, Recipe, build, read_log, write_plan

from ganlib import studies
from ganlib.data import DataError
from ganlib.experiment.changes import changed, parse
from ganlib.experiment.study import Source, Study, Trial, mark
from ganlib.experiment.study import build as build_again


@dataclasses.dataclass(frozen=True)
class Settings:
    rate: float = 0.1
    width: int | None = None


@pytest.fixture
def study(tmp_path):
    return build(write_plan(tmp_path / "plan.json", seeds=2, base="work", wide="work"))


# -- trials --------------------------------------------------------------------------------------


def test_an_id_depends_on_recipe_seed_and_data_alone():
    # A literal: an id that changed between versions would orphan all finished runs.
    first = Trial("base", Settings(), 3, "c" * 64)
    assert first.id == "base-seed3-7c25157e"
    others = [
        dataclasses.replace(first, recipe=Settings(rate=0.2)),
        dataclasses.replace(first, seed=4),
        dataclasses.replace(first, data="d" * 64),
    ]
    assert len({trial.id.split("-")[-1] for trial in (first, *others)}) == 4
    assert dataclasses.replace(first, name="other").id == "other-seed3-7c25157e"


def test_data_that_moved_have_the_same_trials(tmp_path, study):
    moved = tmp_path / "moved.json"
    moved.write_bytes((tmp_path / "plan.json").read_bytes())
    assert build(moved).trials == study.trials
    other = build(write_plan(moved, seeds=2, checksum="d" * 64, base="work", wide="work"))
    assert not {t.id for t in other.trials} & {t.id for t in study.trials}


def test_trials_and_their_order(study):
    assert [(t.name, t.seed) for t in study.trials] == [
        ("base", 0),
        ("wide", 0),
        ("base", 1),
        ("wide", 1),
    ]
    assert study.trial(study.trials[2].id) == study.trials[2]
    assert study.at(study.profile, study.spec, seeds=1).trials == study.trials[:2]
    again = build_again(study.module, study.options)
    assert again.trials == study.trials


def test_a_profile_changes_the_base(study):
    assert study.base == Recipe()
    assert STUDY.at("cpu", study.spec).base == Recipe(epochs=3)
    with pytest.raises(ValueError, match=r"did you mean quick\?.*Received: profile='qick'"):
        STUDY.at("qick", study.spec)


def test_data_are_loaded_once_and_only_when_needed(tmp_path, study):
    assert study.recipes
    assert read_log(tmp_path / "plan.json", loaded=True) == []
    assert study.select("base").data is study.data
    assert [study.trials, study.next([])]
    assert len(read_log(tmp_path / "plan.json", loaded=True)) == 1


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("wide", ["wide-seed0", "wide-seed1"]),
        ("*-seed1-*", ["base-seed1", "wide-seed1"]),
        ("w*", ["wide-seed0", "wide-seed1"]),
    ],
)
def test_select(study, pattern, chosen):
    selected = study.select(pattern)
    assert [trial.id.rpartition("-")[0] for trial in selected.trials] == chosen
    assert selected.select(selected.trials[0].id).trials == selected.trials[:1]


def test_select_nothing(study):
    with pytest.raises(ValueError, match=r"did you mean base\?.*Received: 'bse'"):
        study.select("bse")


def test_what_follows_is_made_from_the_results(study):
    staged = dataclasses.replace(
        study,
        follow=lambda study, results: {"width": len(results)} if results else None,
        variations=lambda study: {"more": study.base} if study.after else {"base": study.base},
    )
    assert staged.next([]) is None
    after = staged.next([{}, {}])
    assert after.after == after.options["after"] == {"width": 2}
    assert [trial.name for trial in after.trials] == ["more", "more"]
    assert after.data is study.data
    assert after.next([{}]) is None
    assert staged.select("base").next([{}]) is None


def test_what_a_figure_says_of_its_scale():
    assert mark("quick") == "quick profile"
    assert mark("full") == ""
    assert mark("full", {"epochs": 5}) == "changed: epochs=5"


# -- studies by name -----------------------------------------------------------------------------


@pytest.fixture
def outside(monkeypatch, tmp_path):
    """A study in a module of one's own, as `STUDY`, beside an empty report module."""
    monkeypatch.syspath_prepend(str(tmp_path))
    names = "shelf", "shelf.outside", "shelf.outside_report"
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "outside_report.py").touch()

    def write(text):
        for name in names:
            sys.modules.pop(name, None)
        (tmp_path / "shelf" / "outside.py").write_text(text)

    yield write
    for name in names:
        sys.modules.pop(name, None)


def test_a_study_of_ones_own_is_found_by_its_import_path(outside, study):
    text = "import dataclasses, toy_study\nSTUDY = dataclasses.replace(toy_study.STUDY, {})"
    outside(text.format("name=__name__, module=__name__"))
    found = studies.build("shelf.outside", data=study.spec)
    assert (found.name, found.module) == ("shelf.outside", "shelf.outside")
    assert found.trials == study.trials[:2]
    outside(text.format("name='digits'"))
    with pytest.raises(ValueError, match="Received: 'shelf.outside'"):
        studies.build("shelf.outside")


def test_a_misspelt_study():  # fault 24
    with pytest.raises(ValueError, match=r"did you mean digits\?.*Received: 'digit'"):
        studies.build("digit")


# -- sources -------------------------------------------------------------------------------------

SOURCE = Source("embedded", "tfds:some/set", ("toys", "dolls"))


def test_the_data_where_nobody_names_any(tmp_path, monkeypatch):
    monkeypatch.delenv("GANLIB_DATA", raising=False)
    assert SOURCE.choose("quick") == "embedded"
    assert SOURCE.choose("full") == "tfds:some/set"
    assert Source("embedded").choose("full") == "embedded"
    assert SOURCE.choose("full", "mine") == "mine"
    monkeypatch.setenv("GANLIB_DATA", str(tmp_path))
    (tmp_path / "Dolls").mkdir()
    for name in (".toys.npz", "toys.md", "notes.npz"):
        (tmp_path / name).touch()
    assert SOURCE.choose("full") == str(tmp_path / "Dolls")
    (tmp_path / "toys.npz").touch()
    assert SOURCE.choose("cpu") == str(tmp_path / "toys.npz")  # the first name goes first
    assert SOURCE.choose("quick") == "embedded"
    (tmp_path / "toys2").mkdir()
    with pytest.raises(DataError, match=r"Received: toys\.npz, toys2"):
        SOURCE.choose("full")


def test_a_folder_without_the_data(tmp_path, monkeypatch):
    monkeypatch.setenv("GANLIB_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"begins with toys or dolls: .*Received: nothing"):
        SOURCE.choose("full")
    assert dataclasses.replace(SOURCE, needed=False).choose("full") == "embedded"
    monkeypatch.setenv("GANLIB_DATA", str(tmp_path / "missing"))
    with pytest.raises(DataError, match="must be a folder"):
        SOURCE.choose("full")


# -- changes -------------------------------------------------------------------------------------


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


def test_changes_as_they_are_written():
    texts = ["epochs=5", "rate = 1e-4", "flag=true", "name=null", 'text="5"', "cuts=[1, 0.5]"]
    found = {"epochs": 5, "rate": 1e-4, "flag": True, "name": None, "text": "5", "cuts": [1, 0.5]}
    assert parse([*texts, "loss=hinge", "lost=NaN"]) == {**found, "loss": "hinge", "lost": "NaN"}
    for wrong in (["epochs"], ["=5"], ["a=1", "a=2"]):
        with pytest.raises(ValueError, match=f"Received: '{wrong[-1]}'"):
            parse(wrong)


def test_a_change_has_its_fields_type():
    values = {"epochs": 7.0, "weight": 2, "cuts": [1, 0.5], "batch_size": None, "flag": True}
    recipe = changed(Fields(batch_size=3), values)
    assert recipe == Fields(7, 0, None, weight=2.0, cuts=(1.0, 0.5), flag=True)
    assert [type(x) for x in (recipe.epochs, recipe.weight)] == [int, float]
    wrong = {"epochs": 1.5, "weight": "1", "flag": 1, "name": 2, "cuts": 0.5, "batch_size": True}
    for field, value in {**wrong, "learning_rate": np.inf}.items():
        with pytest.raises(ValueError, match=f"{field} must be "):
            changed(Fields(), {field: value})


def test_a_change_out_of_range_is_refused():  # fault 16
    wrong = {"epochs": 0, "pretraining_epochs": -1, "batch_size": 0, "learning_rate": 0}
    wrong |= {"g_learning_rate": -1, "beta_1": 1, "patience": -1, "weight": -0.1, "shift": -2}
    for field, value in {**wrong, "cuts": [1, -1]}.items():
        with pytest.raises(ValueError, match=f"{field} must be .*Received: "):
            changed(Fields(), {field: value})
    right = {"pretraining_epochs": 0, "g_learning_rate": 0.0, "beta_1": 0.0, "patience": 0}
    right |= {"weight": 0.0, "shift": -1.0}
    assert changed(Fields(), right) == Fields(**right)


def test_a_misspelt_field(study):  # fault 24
    with pytest.raises(ValueError, match=r"did you mean epochs\?.*Received: 'epoch'"):
        study.at(data=study.spec, changes={"epoch": 5})


def test_a_change_holds_for_all_trials_and_makes_new_ones(study):
    more = study.at(data=study.spec, changes={"epochs": 5})
    assert {recipe.epochs for recipe in more.recipes.values()} == {5}
    assert more.base.epochs == 2
    assert not {t.id for t in more.trials} & {t.id for t in study.trials}
    assert isinstance(more, Study)
