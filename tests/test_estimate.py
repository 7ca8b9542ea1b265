"""How long a study will take: steps are measured, and nothing of it stays."""

import dataclasses
import itertools
import os
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_studies
import toy_study

from ganlib import estimate, studies
from ganlib.estimate import LEAST_CALLS, WARM_UP, Measured, Part, Stopwatch
from ganlib.experiment.study import run_trial


def make(folder, **trials):
    return toy_study.build(data=str(toy_study.write_plan(folder / "plan.json", **trials)))


GAN = {"action": "gan", "epochs": 2, "batch_size": 2, "eager": True}  # five steps an epoch


# -- the stopwatch, by a clock of its own --------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(estimate.time, "monotonic", lambda: now.seconds)
    return now


def train(watch, clock, steps, epochs, seconds, first_calls=(), per_call=1):
    """What Keras calls in a training whose steps take so many seconds."""
    watch.set_params({"steps": steps})
    watch.on_train_begin()
    calls = itertools.chain(first_calls, itertools.repeat(seconds * per_call))
    for _ in range(epochs):
        for step in range(0, steps, per_call):
            watch.on_train_batch_begin(step)
            clock.seconds += next(calls)
            watch.on_train_batch_end(min(step + per_call, steps) - 1, {"loss": np.float32(1)})


@pytest.mark.parametrize("seconds", [0.001, 0.3, 60.0])
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 1000])
def test_the_first_calls_do_not_count(clock, steps, seconds):
    watch = Stopwatch()
    with pytest.raises(Measured):
        train(watch, clock, steps, 5, seconds, first_calls=[30 * seconds] * WARM_UP)
    assert watch.steps == steps
    assert watch.seconds_per_step == pytest.approx(seconds)


def test_several_steps_a_call(clock):
    watch = Stopwatch()
    with pytest.raises(Measured):
        train(watch, clock, 100, 1, 0.5, per_call=4)
    assert watch.seconds_per_step == pytest.approx(0.5)


def test_it_ends_soon(clock):
    watch = Stopwatch()
    with pytest.raises(Measured):
        train(watch, clock, 10_000, 1, 60.0)
    assert clock.seconds == 60 * (WARM_UP + LEAST_CALLS)


def test_a_training_of_few_steps_counts_whole(clock):
    watch = Stopwatch()
    train(watch, clock, 2, 1, 3.0)
    watch.params["epochs"] = 1
    with pytest.raises(Measured):
        watch.on_train_end()
    assert watch.seconds_per_step == 3.0


# -- a study -------------------------------------------------------------------------------------


def test_what_is_left(tmp_path):
    study = make(tmp_path, seeds=2, a1=GAN, b1={**GAN, "batch_size": 5})
    parts = estimate.estimate(study, tmp_path / "runs")
    assert [(p.name, p.trials, p.epochs, p.steps) for p in parts] == [
        ("a1", 2, 4, 5),
        ("b1", 2, 4, 2),
    ]
    for part in parts:
        assert 0 < part.seconds_per_step < 10
        assert part.memory > 2**20
        assert part.seconds == pytest.approx(4 * part.steps * part.seconds_per_step)


def test_nothing_stays(tmp_path):
    study = make(tmp_path, seeds=1, a=GAN)
    estimate.estimate(study, tmp_path / "runs")
    assert list((tmp_path / "runs").rglob("*")) in ([], [tmp_path / "runs" / "toy"])


def test_what_is_done_takes_no_time(tmp_path):
    study = make(tmp_path, seeds=2, a=GAN)
    out = tmp_path / "runs"
    run_trial(study, study.trials[0], study.load_data(), out)
    (part,) = estimate.estimate(study, out)
    assert (part.trials, part.epochs) == (1, 2)
    run_trial(study, study.trials[1], study.load_data(), out)
    assert estimate.estimate(study, out) == []
    assert estimate.describe([]) == "Nothing is left to do."


def test_trials_that_differ_in_rates_alone_are_alike(tmp_path):
    trials = {name: {**GAN, "d_learning_rate": rate} for name, rate in [("a", 1e-3), ("c", 2e-3)]}
    study = make(tmp_path, seeds=1, **trials, b={**GAN, "batch_size": 5})
    study = dataclasses.replace(study, shape=None)
    parts = estimate.estimate(study, tmp_path / "runs")
    assert [(part.name, part.trials) for part in parts] == [("a", 2), ("b", 1)]


def test_a_trial_that_trains_nothing_is_named(tmp_path):
    study = make(tmp_path, seeds=1, idle={"epochs": 2})
    with pytest.raises(RuntimeError, match="'idle' ended before a step"):
        estimate.estimate(study, tmp_path / "runs")


@pytest.mark.parametrize("name", tiny_studies.TINY)
def test_every_study_can_be_measured(name, tmp_path):
    with tiny_studies.cheap(name):
        phases = getattr(tiny_studies.TINY[name][0], "phases", None)
        study = dataclasses.replace(tiny_studies.make(name), phases=phases)
        parts = estimate.estimate(study, tmp_path)
    assert sum(part.epochs for part in parts) == sum(map(study.epochs, study.trials))
    assert all(part.seconds > 0 for part in parts)
    left = {path.name for path in (tmp_path / study.name).glob("*-seed*")}
    assert not left & {trial.id for trial in study.trials}
    assert not list(tmp_path.rglob("checkpoints"))


@pytest.mark.parametrize("profile", ["quick", "cpu", "full"])
def test_phases_of_super_resolution(profile):
    study = studies.build("srgan", profile=profile, data="photos", seeds=1)
    for trial in study.trials:
        phases = study.phases_of(trial)
        assert sum(epochs for _, epochs in phases) == study.epochs(trial)
        for phase, epochs in phases:
            assert study.epochs(phase) == epochs
            assert len(study.phases_of(phase)) == 1
    assert len(study.phases_of(study.select("repaired").trials[0])) == 2


# -- for people ----------------------------------------------------------------------------------


def test_table_and_sentence(monkeypatch):
    monkeypatch.setattr(estimate, "default_workers", lambda: 2)
    parts = [
        Part("base", 3, 300, 100, 0.12, 2**30, None),
        Part("wide", 3, 300, 100, 0.24, 3 * 2**30, None),
    ]
    table = estimate.table(parts)
    assert table["time"].tolist() == ["60 min", "2.0 h"]
    assert table["ms a step"].tolist() == [120.0, 240.0]
    text = estimate.describe(parts)
    assert text.startswith("About 90 min of training steps")
    assert "2 at once" in text
    assert "3.0 GiB of main memory each" in text


def test_an_accelerator_takes_one_after_the_other(monkeypatch):
    monkeypatch.setattr(estimate, "default_workers", lambda: 0)
    text = estimate.describe([Part("base", 1, 100, 36, 1.0, 2**30, 5 * 2**30)])
    assert "About 60 min" in text
    assert "one after the other" in text
    assert "5.0 GiB of the accelerator" in text
    assert os.linesep not in text
