"""Trials, their run directories, and what becomes of them."""

import dataclasses
import itertools
import json
from types import SimpleNamespace

import helpers
import keras
import numpy as np
import pytest
import toy_study
from toy_study import Recipe, read_log, write_plan

from ganlib.experiment import fit as training
from ganlib.experiment import study as study_module
from ganlib.experiment.status import study_status
from ganlib.experiment.study import (
    Run,
    StudyError,
    Trial,
    plain,
    read_json,
    results,
    run_folder,
    run_trial,
    write_json,
)


@dataclasses.dataclass(frozen=True)
class Settings:
    rate: float = 0.1
    width: int | None = None


def make(tmp_path, **trials):
    return toy_study.build(data=write_plan(tmp_path / "plan.json", **trials))


def run_only(study, out):
    """Runs the study's first trial."""
    return run_trial(study, study.trials[0], study.load_data(), out)


# -- trials --------------------------------------------------------------------------------------


def test_id_depends_on_recipe_and_seed_alone():
    # A literal: an id that changed between versions would orphan all finished runs.
    assert Trial("base", Settings(), 3).id == "base-seed3-d4cce8be"
    digest = Trial("other", Settings(), 3).id.split("-")[-1]
    assert digest == "d4cce8be"
    others = [Settings(rate=0.2), Settings(width=0)]
    digests = {Trial("base", recipe, 3).id.split("-")[-1] for recipe in others}
    digests.add(Trial("base", Settings(), 4).id.split("-")[-1])
    assert len(digests | {digest}) == 4


def test_no_trial_twice(tmp_path):
    study = make(tmp_path, a="work")
    with pytest.raises(ValueError, match=r"must not hold a trial twice. Received: \['a-seed0-"):
        dataclasses.replace(study, trials=study.trials * 2)


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("wide", ["wide-seed0", "wide-seed1"]),
        ("wide*", ["wide-seed0", "wide-tanh-seed0", "wide-seed1", "wide-tanh-seed1"]),
        ("*-seed1-*", ["base-seed1", "wide-seed1", "wide-tanh-seed1"]),
    ],
)
def test_select(tmp_path, pattern, chosen):
    trials = {"base": "work", "wide": "work", "wide-tanh": "work"}
    study = toy_study.build(data=write_plan(tmp_path / "plan.json", seeds=2, **trials))
    selected = study.select(pattern)
    assert [trial.id.rpartition("-")[0] for trial in selected.trials] == chosen
    assert selected.select(selected.trials[0].id).trials == selected.trials[:1]


def test_select_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"the names are base, wide. Received: 'bse'"):
        make(tmp_path, wide="work", base="work").select("bse")


# -- files ---------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    write_json(path, {"old": 1})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(study_module.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"new": 2})
    assert read_json(path) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_never_sees_half_a_file(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    write_json(path, {"old": 1})
    seen = []
    monkeypatch.setattr(study_module.os, "fsync", lambda _: seen.append(read_json(path)))
    write_json(path, {"new": 2})
    assert seen == [{"old": 1}]
    assert read_json(path) == {"new": 2}


@pytest.mark.parametrize("content", [b"", b'{"status": "do', b"[1]", b"\xff\xfe", b"null"])
def test_garbage_is_nothing(tmp_path, content):
    path = tmp_path / "result.json"
    path.write_bytes(content)
    assert read_json(path) is None
    assert read_json(tmp_path / "missing.json") is None
    assert read_json(path / "below.json") is None


def test_plain_values():
    values = {"a": np.float32(0.5), "b": np.arange(2), 3: (np.nan, [np.inf]), "d": None, "e": True}
    expected = {"a": 0.5, "b": [0, 1], "3": [None, [None]], "d": None, "e": True}
    assert plain(values) == expected
    assert json.loads(json.dumps(plain(values))) == expected


# -- results -------------------------------------------------------------------------------------


def test_result_of_a_trial(tmp_path, monkeypatch):
    ticks = itertools.count(50.0, 7.5)
    monkeypatch.setattr(
        "ganlib.experiment.study.time", SimpleNamespace(monotonic=lambda: next(ticks))
    )
    study = make(tmp_path, a={"epochs": 3})
    result = run_only(study, tmp_path / "runs")
    folder = run_folder(study, study.trials[0], tmp_path / "runs")
    assert folder == tmp_path / "runs" / "toy" / study.trials[0].id
    assert read_json(folder / "result.json") == plain(result)
    asked = {
        "study": "toy",
        "id": study.trials[0].id,
        "name": "a",
        "recipe": dataclasses.asdict(Recipe(epochs=3)),
        "seed": 0,
        "data_checksum": "c" * 64,
    }
    assert read_json(folder / "trial.json") == asked
    assert asked.items() <= result.items()
    assert result["status"] == "done"
    assert result["metrics"]["epochs"] == 3
    assert result["seconds"] == 7.5
    assert result["environment"]["backend"] == keras.backend.backend()
    assert result["environment"]["keras"] == keras.__version__
    assert {path.name for path in folder.iterdir()} == {".lock", "trial.json", "result.json"}


@pytest.mark.parametrize(
    ("action", "status", "attempts"),
    [("work", "done", 1), ("out of memory", "out-of-memory", 1), ("fail", "failed", 2)],
)
def test_which_results_are_final(tmp_path, action, status, attempts):
    study = make(tmp_path, a=action)
    statuses = [run_only(study, tmp_path)["status"] for _ in range(2)]
    assert statuses == [status, status]
    assert len(read_log(tmp_path / "plan.json")) == attempts
    assert [row["status"] for row in study_status(study, tmp_path)] == [status]


def test_a_failure_says_why_until_it_is_mended(tmp_path):
    study = make(tmp_path, a="fail once")
    folder = run_folder(study, study.trials[0], tmp_path)
    result = run_only(study, tmp_path)
    assert result["error"] == "ValueError: told to fail"
    assert result["metrics"] == {}
    assert 'raise ValueError("told to fail")' in (folder / "error.txt").read_text()
    assert run_only(study, tmp_path)["status"] == "done"
    assert not (folder / "error.txt").exists()
    assert "error" not in read_json(folder / "result.json")


@pytest.mark.parametrize("content", ["", '{"status": "done"', "{}", "[]"])
def test_a_broken_result_is_done_again(tmp_path, content):
    study = make(tmp_path, a="work")
    first = run_only(study, tmp_path)
    path = run_folder(study, study.trials[0], tmp_path) / "result.json"
    path.write_text(content)
    assert results(study, tmp_path) == []
    assert study_status(study, tmp_path)[0]["status"] == "to do"
    again = run_only(study, tmp_path)
    assert len(read_log(tmp_path / "plan.json")) == 2
    assert again["metrics"] == first["metrics"]
    assert results(study, tmp_path) == [plain(again)]


def test_other_data_are_refused_before_training(tmp_path):
    study = make(tmp_path, a="work")
    run_only(study, tmp_path)
    changed = toy_study.build(data=write_plan(tmp_path / "plan.json", checksum="d" * 64, a="work"))
    with pytest.raises(StudyError, match=r"cccccccccccc…, now dddddddddddd….*--out.*--fresh"):
        run_only(changed, tmp_path)
    assert len(read_log(tmp_path / "plan.json")) == 1


def test_a_locked_trial_is_busy(tmp_path):
    study = make(tmp_path, a="work")
    with Run(run_folder(study, study.trials[0], tmp_path)).lock():
        assert run_only(study, tmp_path)["status"] == "busy"
        assert study_status(study, tmp_path)[0]["status"] == "running"
    assert read_log(tmp_path / "plan.json") == []
    assert study_status(study, tmp_path)[0]["status"] == "to do"
    assert run_only(study, tmp_path)["status"] == "done"


def test_a_trial_that_runs_again_is_running(tmp_path, monkeypatch):
    study = make(tmp_path, a="fail")
    run_only(study, tmp_path)
    seen = []

    def train(*_):
        seen.extend(study_status(study, tmp_path))
        return {}

    run_only(dataclasses.replace(study, train=train), tmp_path)
    assert [row["status"] for row in seen] == ["running"]


def test_a_full_disk_at_the_end_fails_the_trial(tmp_path, monkeypatch):
    study = make(tmp_path, a="work")

    def full(path, value):
        if path.name == "result.json":
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(study_module, "write_json", full)
        result = run_only(study, tmp_path)
    assert result["status"] == "failed"
    assert "The result can't be written: [Errno 28] No space left" in result["error"]
    assert run_only(study, tmp_path)["status"] == "done"


def test_a_study_can_be_built_by_name(tmp_path):
    study = make(tmp_path, a="work", b="fail")
    again = study_module.build(study.module, study.options)
    assert again.trials == study.trials
    assert again.load_data().checksum == study.load_data().checksum


# -- the model against its recipe ----------------------------------------------------------------

RIGHT = {
    "d_learning_rate": 0.01,
    "g_learning_rate": 0.02,
    "batch_size": 4,
    "d_parameters": 67,
    "g_parameters": 193,
}


def fit_against(expected, folder, batch_size=4, n=8):
    gan = helpers.make_gan(
        d_optimizer=keras.optimizers.Adam(0.01), g_optimizer=keras.optimizers.Adam(0.02)
    )
    settings = {"epochs": 1, "batch_size": batch_size, "seed": 0, "expected": expected}
    try:
        training.fit(gan, helpers.images(n), Run(folder), **settings)
    finally:
        fit_against.steps = int(gan.optimizer.discriminator.iterations)


@pytest.mark.backend
def test_a_model_by_its_recipe_trains(tmp_path):
    fit_against(RIGHT, tmp_path)
    assert fit_against.steps == 2
    # A set smaller than a batch: the recipe's study expects what there is.
    fit_against({**RIGHT, "batch_size": 3}, tmp_path / "small", n=3)


@pytest.mark.backend
@pytest.mark.parametrize(
    ("key", "recipe", "shown"),
    [
        # A rate that the optimizer ignored, as in the published grid search, is its default.
        ("d_learning_rate", 0.001, "d_learning_rate: recipe 0.001, model 0.01"),
        ("g_learning_rate", 0.01, "g_learning_rate: recipe 0.01, model 0.02"),
        ("batch_size", 8, "batch_size: recipe 8, model 4"),
        ("d_parameters", 68, "d_parameters: recipe 68, model 67"),
        ("g_parameters", 192, "g_parameters: recipe 192, model 193"),
    ],
)
def test_a_model_off_its_recipe_stops_after_a_step(tmp_path, key, recipe, shown):
    with pytest.raises(training.RecipeMismatch) as caught:
        fit_against({**RIGHT, key: recipe}, tmp_path)
    assert shown in str(caught.value)
    assert str(caught.value).count("recipe ") == 1
    assert not list(Run(tmp_path).checkpoints.iterdir())


@pytest.mark.backend
def test_every_mismatch_is_named(tmp_path):
    with pytest.raises(
        training.RecipeMismatch, match=r"d_learning_rate: .*; batch_size: recipe 2,"
    ):
        fit_against({**RIGHT, "d_learning_rate": 0.0, "batch_size": 2}, tmp_path)


def test_a_mismatch_fails_the_trial(tmp_path):
    # The toy's set has ten images, so a batch of 16 cannot be what is trained with.
    result = run_only(make(tmp_path, a={"action": "gan", "batch_size": 16}), tmp_path)
    assert result["status"] == "failed"
    assert result["error"].startswith("RecipeMismatch: The model does not train by its recipe: ")
    assert "batch_size: recipe 16, model 10" in result["error"]
