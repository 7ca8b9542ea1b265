"""Studies that live outside ganlib: found by import path, run by workers, refused with a reason."""

import json
import signal
import sys
import textwrap

import pytest

from ganlib import __main__ as command_line
from ganlib import studies

STUDY = """
import dataclasses
import types

from ganlib.experiment.study import Study, Trial


@dataclasses.dataclass(frozen=True)
class Recipe:
    epochs: int = 1


def build(profile="quick", data=None, seeds=None, changes=None):
    return Study(
        name={name},
        title="Nothing much",
        trials=tuple(Trial("base", Recipe(), seed) for seed in range(seeds or 1)),
        load_data=lambda: types.SimpleNamespace(checksum="c" * 64),
        train=lambda trial, data, run: {{"value": trial.seed + 41}},
        module={module},
        options={{"profile": profile, "seeds": seeds}},
        epochs=lambda trial: trial.recipe.epochs,
    )
"""
REPORT = """
import pathlib
import types


def write_report(study, results, data, out, reports):
    path = pathlib.Path(reports) / study.name
    path.mkdir(parents=True)
    (path / "values.txt").write_text(" ".join(str(r["metrics"]["value"]) for r in results))
    return types.SimpleNamespace(path=path)
"""


@pytest.fixture
def write(monkeypatch, tmp_path):
    """`write("a.b", source)` makes a module in the current folder, which `sys.path` lacks."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])

    def write(name, source, importable=True):
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source), encoding="utf-8")
        if importable:
            monkeypatch.syspath_prepend(str(tmp_path))

    yield write
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("outside", "outside_report", "shelf"):
            del sys.modules[name]


def source(name="__name__", module="__name__"):
    return STUDY.format(name=name, module=module)


@pytest.mark.parametrize("name", ["outside", "shelf.outside"])
def test_a_study_is_found_by_its_import_path(write, name):
    write(name, source())
    write(f"{name}_report", REPORT)
    study = studies.build(name, seeds=3)
    assert (study.name, study.module, len(study.trials)) == (name, name, 3)
    assert studies.report_module(name).__name__ == f"{name}_report"


@pytest.mark.parametrize("name", ["outsid", "shelf.nothing", "", ".outside", "out-side", "a..b"])
def test_no_such_study(write, name):
    write("shelf.outside", source())
    with pytest.raises(ValueError, match=r"no such study; choose from digits.*import path"):
        studies.build(name)


def test_a_file_name_is_no_import_path(write):
    write("outside", source())
    with pytest.raises(ValueError, match=r"no such study.*Received: 'outside\.py'"):
        studies.build("outside.py")


def test_what_a_study_lacks_itself_is_named(write):
    write("outside", "import shelf_that_is_missing")
    with pytest.raises(ModuleNotFoundError, match="shelf_that_is_missing"):
        studies.build("outside")


def test_a_module_without_build(write):
    write("outside", "build = None")
    with pytest.raises(ValueError, match=r"must have build\(profile.*Received: 'outside'"):
        studies.build("outside")


def test_a_missing_report_is_told_before_anything_runs(write):
    write("outside", source())
    with pytest.raises(ValueError, match="Received: 'outside' without outside_report"):
        studies.build("outside")


@pytest.mark.parametrize(
    "names", [{"name": "'digits'"}, {"name": "'mine'"}, {"module": "'ganlib.studies.digits'"}]
)
def test_a_study_has_the_name_of_its_module(write, names):
    write("outside", source(**names))
    write("outside_report", REPORT)
    with pytest.raises(ValueError, match=r"write Study\(name=__name__.*in 'outside'"):
        studies.build("outside")


def test_the_command_finds_a_study_in_its_folder(write, monkeypatch, capsys, tmp_path):
    write("outside", source(), importable=False)
    write("outside_report", REPORT, importable=False)

    def ganlib(*arguments):
        monkeypatch.setattr(sys, "argv", ["ganlib", *arguments])
        with pytest.raises(SystemExit) as end:
            command_line.main()
        return end.value.code or 0, *capsys.readouterr()

    before = signal.getsignal(signal.SIGTERM)
    code, output, errors = ganlib("run", "outside", "--seeds", "2", "--workers", "1", "--json")
    signal.signal(signal.SIGTERM, before)  # `run` takes it as Ctrl-C
    assert code == 0, errors
    assert [result["metrics"]["value"] for result in json.loads(output)] == [41, 42]
    assert (tmp_path / "reports" / "outside" / "values.txt").read_text() == "41 42"
    code, output, _ = ganlib("status", "outside", "--seeds", "2", "--json")
    assert [row["status"] for row in json.loads(output)] == ["done", "done"]
    code, _, errors = ganlib("status", "inside")
    assert code == 2
    assert "no such study" in errors
