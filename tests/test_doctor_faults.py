"""What `ganlib doctor` finds wrong, each fault on facts that show it; and two real ones."""

import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import tomllib

import pytest
from helpers import run_python

from ganlib import doctor, doctor_checks
from ganlib.doctor_checks import FAULTS, NOTES, diagnose
from ganlib.terminal import load_keras

ROOT = pathlib.Path(__file__).parent.parent
HEALTHY = {
    "python": "3.12.4",
    "platform": "Linux",
    "cores": 8,
    "memory_gib": 16.0,
    "packages": {"keras": "3.15.1", "numpy": "2.4.0"},
    "floors": {"keras": "3.13.0", "numpy": "2.0.2"},
    "backends": {"tensorflow": "2.20.0", "jax": "0.10.0", "torch": None},
    "backend": "tensorflow",
    "device": "NVIDIA L4",
    "import_error": None,
    "environment": {},
    "internet": True,
    "colab": False,
    "data": None,
    "config_path": "/home/me/.keras/keras.json",
    "config": {"floatx": "float32", "backend": "tensorflow", "epsilon": 1e-7},
    "config_error": None,
    "runs": "/home/me/runs",
    "runs_error": None,
    "disk_gib": 100.0,
    "asked": "tensorflow",
    "asked_by": "KERAS_BACKEND",
    "gpus": ["NVIDIA L4"],
}
ON_CPU = {"device": "CPU, 8 cores"}
FAILED = {"backend": None, "device": None, "import_error": "ValueError: no"}
NONE = dict.fromkeys(HEALTHY["backends"])


def test_all_is_well():
    assert diagnose(HEALTHY, FAULTS) == diagnose(HEALTHY, NOTES) == []


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"python": "3.10.14"}, ["this is 3.10.14. Make a new environment"]),
        ({"packages": {"keras": "2.15.0", "numpy": "2.4.0"}}, ["Keras 2.15.0 is Keras 2"]),
        ({"packages": {"keras": "3.9.2", "numpy": "2.4.0"}}, ['pip install -U "keras>=3.13.0"']),
        ({"packages": {"keras": "3.15.1"}}, ["numpy (not installed). pip install -U"]),
        ({"environment": {"TF_USE_LEGACY_KERAS": "1"}}, ["unset TF_USE_LEGACY_KERAS"]),
        ({"backends": NONE, **FAILED}, ["No backend is installed: pip install tensorflow"]),
        (
            {"asked": "tensorflaw", **FAILED},
            ["did you mean tensorflow?): set KERAS_BACKEND="],
        ),
        ({"asked": "Jax", **FAILED}, ["asks for 'Jax', which is no backend that can train"]),
        ({"asked": "numpy", "backend": "numpy", **ON_CPU}, ["no backend that can train: set"]),
        ({"asked": "torch", **FAILED}, ["which is not installed: pip install torch, or set KERAS"]),
        (
            {"asked": "torch", "asked_by": HEALTHY["config_path"], **FAILED},
            ["/home/me/.keras/keras.json asks for 'torch', which is not installed"],
        ),
        (FAILED, ["tensorflow: ValueError: no. Install it anew", "or set KERAS_BACKEND=jax"]),
        (ON_CPU, ["NVIDIA L4 is there, but tensorflow computes on the processor: ", "and-cuda"]),
        ({"backend": "jax", **ON_CPU}, ['pip install -U "jax[cuda13]"']),
        ({"backend": "torch", **ON_CPU}, ["pytorch.org"]),
        ({"config": {"floatx": "float16"}}, ['"floatx": "float32" (it is \'float16\')']),
        ({"config": {"image_data_format": "channels_first"}}, ['"image_data_format": "channels_']),
        ({"config": {"epsilon": 1}, **FAILED}, ['set "epsilon": 1e-07 (it is 1)']),
        ({"runs_error": "/home/me: Permission denied"}, ["(/home/me: Permission denied)", "--out"]),
        ({"disk_gib": 0.3}, ["0.3 GiB are free where /home/me/runs lies", "--out"]),
        ({"memory_gib": 1.9}, ["1.9 GiB of memory", "--workers 1"]),
    ],
)
def test_faults(changes, messages):
    (problem,) = diagnose(HEALTHY | changes, FAULTS)
    assert all(message in problem for message in messages), problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"python": "3.14.0"}, ["3.11 to 3.13; this is 3.14.0", "take Python 3.13"]),
        ({"environment": {"CUDA_VISIBLE_DEVICES": "-1"}, **ON_CPU}, ["=-1 hides NVIDIA L4: unset"]),
        ({"environment": {"JAX_PLATFORMS": "cpu"}, **ON_CPU}, ["unset JAX_PLATFORMS"]),
        ({"backend": "jax"}, ["75 %", "XLA_PYTHON_CLIENT_PREALLOCATE=false"]),
        (
            {
                "config": {"backend": "jax"},
                "asked": "jax",
                "asked_by": "/home/me/.keras/keras.json",
            },
            ["keras.json chooses jax; KERAS_BACKEND=… comes before it"],
        ),
        ({"config": {"backend": "jax"}}, ["keras.json chooses jax, KERAS_BACKEND tensorflow, whi"]),
        ({"config": {}, "config_error": "no object"}, ["ignores", "(no object): mend or delete"]),
        ({"internet": False}, ["No internet: nothing is wrong with that."]),
        ({"environment": {"OMP_NUM_THREADS": "1"}}, ["one of 8 cores. Unset it, unless"]),
        (
            {"environment": {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}},
            ["OMP_NUM_THREADS, MKL_NUM_THREADS = 1", "Unset them"],
        ),
        ({"colab": True}, ["Colab: runs end with the runtime, unless Drive is mounted"]),
        (
            {"colab": True, "gpus": [], "runs": "/content/drive/MyDrive/runs"},
            ["a GPU; after"],
        ),
    ],
)
def test_notes_are_no_problems(changes, messages):
    facts = HEALTHY | changes
    assert diagnose(facts, FAULTS) == []
    (note,) = diagnose(facts, NOTES)
    assert all(message in note for message in messages), note


@pytest.mark.parametrize(
    "changes",
    [
        {"environment": {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}, "backend": "jax"},
        {"environment": {"OMP_NUM_THREADS": "1"}, "cores": 1},
        {"environment": {"OMP_NUM_THREADS": "4"}},
        {"environment": {"TF_USE_LEGACY_KERAS": "0"}},
        {"gpus": [], **ON_CPU},
        {"disk_gib": None},
        {"floors": {}, "packages": {"keras": "3.15.1"}},
        {"packages": {"keras": "3.13.0rc1", "numpy": "2.0.2"}},
    ],
)
def test_what_is_no_fault(changes):
    assert diagnose(HEALTHY | changes, FAULTS) == diagnose(HEALTHY | changes, NOTES) == []


def test_the_admitted_pythons_are_those_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest = ".".join(map(str, doctor_checks.OLDEST_PYTHON))
    assert project["requires-python"] == f">={oldest}"


# -- how the facts are gathered --------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    """Without the internet and the graphics card, which take seconds to be asked."""
    monkeypatch.setattr(doctor, "_has_internet", lambda: False)
    monkeypatch.setattr(doctor, "_gpus", list)


def test_facts_have_all_that_the_checks_read(quick, tmp_path):
    facts = doctor.examine(runs=tmp_path / "runs")
    assert HEALTHY.keys() <= facts.keys()
    assert facts["problems"] == []
    assert facts["runs"] == str(tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    assert any(note.startswith("No internet") for note in facts["notes"])
    assert "note:     No internet" in doctor.describe(facts)
    json.dumps(facts)


def test_an_import_that_failed_is_the_problem(quick, tmp_path):
    facts = doctor.examine("digits", tmp_path, TypeError("Descriptors can't be created.\nMore."))
    (problem,) = facts["problems"]
    assert "TypeError: Descriptors can't be created. Install it anew" in problem
    assert (facts["backend"], facts["data"]) == (None, None)
    assert "in use:   None on None" in doctor.describe(facts)


def test_load_keras_returns_what_went_wrong(monkeypatch):
    assert load_keras() is None
    monkeypatch.setitem(sys.modules, "keras", None)
    assert isinstance(load_keras(), ImportError)


@pytest.mark.parametrize(
    ("text", "config", "error"),
    [
        ('{"backend": "jax"}', {"backend": "jax"}, None),
        ("{", {}, "Expecting property name"),
        ("[]", {}, "no object"),
        (None, {}, None),
    ],
)
def test_keras_config(monkeypatch, tmp_path, text, config, error):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    if text is not None:
        (tmp_path / "keras.json").write_text(text, encoding="utf-8")
    facts = doctor._keras_config()
    assert facts["config"] == config
    assert facts["config_path"] == str(tmp_path / "keras.json")
    assert (facts["config_error"] is None) == (error is None)
    assert error is None or error in facts["config_error"]


def test_a_file_is_no_folder_of_runs(tmp_path):
    (tmp_path / "runs").write_text("")
    assert "Not a directory" in doctor._folder(tmp_path / "runs")["runs_error"]
    facts = doctor._folder(tmp_path / "new" / "runs")
    assert facts["runs_error"] is None
    assert facts["disk_gib"] >= 0
    assert not (tmp_path / "new").exists()


def test_a_container_limits_the_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "CGROUP_LIMITS", [str(tmp_path / "limit"), str(tmp_path / "none")])
    (tmp_path / "limit").write_text(f"{2**30}\n")
    assert doctor._memory() == 2**30
    (tmp_path / "limit").write_text("max\n")
    assert doctor._memory() > 2**30


def test_floors_are_those_of_the_installed_package(monkeypatch):
    assert doctor._floors()["keras"] == "3.13.2"

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", missing)
    assert doctor._floors() == {}


# -- on the command line ---------------------------------------------------------------------------


def test_a_backend_that_does_not_exist():
    output = run_python("-m", "ganlib", "doctor", backend="nonsense", expect=1)
    problems = [line for line in output.splitlines() if line.startswith("PROBLEM:")]
    assert len(problems) == 1
    assert "KERAS_BACKEND asks for 'nonsense'" in problems[0]
    assert "set KERAS_BACKEND=" in problems[0]
    assert "Traceback" not in output
    assert "All is well" not in output


def test_a_configuration_that_keras_refuses(tmp_path):
    (tmp_path / "keras.json").write_text('{"floatx": "float8"}', encoding="utf-8")
    env = {**os.environ, "KERAS_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "ganlib", "doctor", "--json"]
    answer = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (answer.returncode, answer.stderr) == (1, "")
    (problem,) = json.loads(answer.stdout)["problems"]
    assert '"floatx": "float32"' in problem
