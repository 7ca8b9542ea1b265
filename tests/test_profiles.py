"""Profiles, and where a study's data come from in each."""

import dataclasses
import json
import os

import numpy as np
import pytest

from ganlib import studies
from ganlib.data import DataError
from ganlib.experiment import profiles
from ganlib.experiment.profiles import PROFILES
from ganlib.experiment.sources import Source, locate

every_study = pytest.mark.parametrize("name", studies.STUDIES)
SOURCE = Source("embedded", "tfds:some/set", ("toys", "dolls"))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with data of all studies, which the variable names."""
    for name in ("mnist.npz", "lsun.npz", "lung_cells32.npz", "nuclei.npz", "toys.npz"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "bsds500").mkdir()
    (tmp_path / "README.md").write_text("notes")
    monkeypatch.setenv("GANLIB_DATA", str(tmp_path))
    return tmp_path


# -- every study has every profile ---------------------------------------------------------------


@every_study
def test_every_profile(name):
    trials = {profile: studies.build(name, profile=profile).trials for profile in PROFILES}
    recipes = {p: {t.name: t.recipe for t in found} for p, found in trials.items()}
    assert (
        recipes["cpu"].keys() == recipes["full"].keys() >= recipes["quick"].keys() - {"gamma-0.2"}
    )
    for profile, found in trials.items():
        asked = studies.build(name, profile=profile, seeds=2).trials
        assert {trial.seed for trial in asked} == {0, 1}
        assert len({trial.id for trial in found}) == len(found)


@every_study
def test_cpu_is_nowhere_larger_than_full(name):
    sizes = ("epochs", "filters", "width", "g_filters", "size", "patch", "steps", "samples")
    cpu, full = (
        {t.name: dataclasses.asdict(t.recipe) for t in studies.build(name, profile=p).trials}
        for p in ("cpu", "full")
    )
    smaller = 0
    for trial, recipe in full.items():
        for field in recipe.keys() & set(sizes):
            assert cpu[trial][field] <= recipe[field], (trial, field)
            smaller += cpu[trial][field] < recipe[field]
    assert smaller or name == "boundary"  # whose networks are small enough as they are


@every_study
@pytest.mark.parametrize("profile", ["fast", "Quick", "", None])
def test_an_unknown_profile_is_refused(name, profile):
    with pytest.raises(ValueError, match=r'must be "quick".*"cpu".*or "full"') as caught:
        studies.build(name, profile=profile)
    assert f"profile={profile!r}" in str(caught.value)


def test_marks():
    assert profiles.mark("quick") == "quick profile"
    assert profiles.mark("full") == ""
    assert profiles.mark("full", {"epochs": 5}) == "changed: epochs=5"
    assert profiles.mark("cpu", {"a": 1, "b": 2}).endswith("scale; changed: a=1, b=2")


# -- data ----------------------------------------------------------------------------------------


def test_what_is_asked_for_comes_first():
    assert [SOURCE.choose(p, "mine.npz") for p in PROFILES] == ["mine.npz"] * 3


def test_quick_takes_what_is_embedded():
    assert SOURCE.choose("quick") == "embedded"


@pytest.mark.parametrize("profile", ["cpu", "full"])
def test_the_folder_goes_before_the_download(profile, monkeypatch):
    assert SOURCE.choose(profile) == "$GANLIB_DATA/toys.npz"
    monkeypatch.delenv("GANLIB_DATA")
    assert SOURCE.choose(profile) == "tfds:some/set"
    assert dataclasses.replace(SOURCE, download=None).choose(profile) == "embedded"


def test_names_in_order(folder):
    (folder / "Dolls").mkdir()
    assert SOURCE.choose("full") == "$GANLIB_DATA/toys.npz"
    (folder / "toys.npz").unlink()
    assert SOURCE.choose("full") == "$GANLIB_DATA/Dolls"


def test_several_of_one_name(folder):
    (folder / "toys-2").mkdir()
    with pytest.raises(DataError, match=r"several.*'toys'.*--data.*toys-2, toys\.npz"):
        SOURCE.choose("full")


def test_nothing_of_that_name(folder):
    (folder / "toys.npz").rename(folder / "toys.txt")  # no data
    with pytest.raises(DataError, match=r"begins with toys or dolls.*Received: bsds500, lsun\.npz"):
        SOURCE.choose("full")
    assert dataclasses.replace(SOURCE, needed=False).choose("full") == "embedded"


def test_the_variable_names_no_folder(folder, monkeypatch):
    monkeypatch.setenv("GANLIB_DATA", str(folder / "mnist.npz"))
    with pytest.raises(DataError, match=r"must be a folder.*mnist\.npz"):
        SOURCE.choose("full")


def test_locate(folder, monkeypatch):
    assert locate("$GANLIB_DATA/toys.npz") == str(folder / "toys.npz")
    assert [locate(spec) for spec in ("digits", "tfds:mnist")] == ["digits", "tfds:mnist"]
    monkeypatch.delenv("GANLIB_DATA")
    with pytest.raises(DataError, match=r"Set GANLIB_DATA.*not set"):
        locate("$GANLIB_DATA/toys.npz")


def test_a_study_may_move_with_its_data(folder, tmp_path, monkeypatch):
    before = studies.build("digits", profile="full")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    os.rename(folder / "mnist.npz", elsewhere / "mnist.npz")
    monkeypatch.setenv("GANLIB_DATA", str(elsewhere))
    after = studies.build("digits", profile="full")
    assert [t.id for t in before.trials] == [t.id for t in after.trials]
    assert str(tmp_path) not in json.dumps(before.options)


@every_study
def test_each_study_finds_its_data(name):
    data = studies.build(name, profile="cpu").options["data"]
    found = {"digits": "mnist.npz", "bedrooms": "lsun.npz", "boundary": "lung_cells32.npz"}
    found |= {"srgan": "bsds500", "unet": "nuclei.npz,membranes"}
    assert data == f"$GANLIB_DATA/{found[name]}"


def test_the_second_set_of_the_grid_is_found_too(folder):
    (folder / "isbi2012.npz").write_bytes(b"")
    data = studies.build("unet", profile="full").options["data"]
    assert data == "$GANLIB_DATA/nuclei.npz,$GANLIB_DATA/isbi2012.npz"


def test_data_are_loaded_from_the_folder(folder):
    rng = np.random.default_rng(0)
    (folder / "lung_cells32.npz").unlink()
    x = rng.integers(0, 256, (500, 32, 32, 3), "uint8")
    np.savez(folder / "cells.npz", x=x, y=rng.integers(0, 2, 500), group=np.arange(500) // 10)
    data = studies.build("boundary", profile="cpu").load_data()
    assert sum(len(part) for part in (data.train, data.validation, data.test)) == 500
