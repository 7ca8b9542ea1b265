"""Trials of several phases, and supervised fits that are resumed and read back as GANs are."""

import signal

import keras
import numpy as np
import pandas
import pytest
import workers
from helpers import TESTS, arrays, gap, start_python
from test_resume import TIMING, without_timing

from ganlib.data import Batches
from ganlib.experiment import fit as training
from ganlib.experiment.fit import RecipeMismatch
from ganlib.experiment.records import trial_id
from ganlib.experiment.status import study_status
from ganlib.experiment.study import Run, read_json, run_folder, run_trial, write_json

BACKEND = keras.backend.backend()
INPUTS = np.random.default_rng(0).normal(size=(10, 3)).astype("float32")
TARGETS = np.random.default_rng(1).normal(size=(10, 2)).astype("float32")
RIGHT = {"learning_rate": 0.05, "batch_size": 4, "parameters": 8}


def make_model(rate=0.05, optimizer=keras.optimizers.Adam):
    """A plain model, whose weights are the same each time."""
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2, kernel_initializer="ones")], name="plain"
    )
    training.compile_supervised(model, optimizer(rate), "mean_absolute_error")
    model.run_eagerly = True
    return model


def cosine():
    return keras.optimizers.schedules.CosineDecay(0.05, 12)


def fit(model, run, epochs=1, expected=RIGHT, n=10, batch_size=4):
    batches = Batches((INPUTS[:n], TARGETS[:n]), batch_size, seed=1)
    return training.fit(model, batches, run, epochs=epochs, expected=expected)


def plain_state(model):
    return arrays(model.weights + model.optimizer.variables)


def without_seconds(history):
    return history.drop(columns="seconds").to_dict("list")


# -- a plain model -------------------------------------------------------------------------------


@pytest.mark.backend
def test_a_plain_model_trains_as_keras_has_it(tmp_path):
    ours, theirs = make_model(), make_model()
    history = fit(ours, Run(tmp_path), epochs=3)
    batches = Batches((INPUTS, TARGETS), 4, seed=1)
    losses = []
    for batches.epoch in range(3):
        total = 0.0
        for x, y in batches:
            theirs.reset_metrics()  # some releases of Keras return the mean over all calls
            total += len(x) * float(theirs.train_on_batch(x, y)[0])
        losses.append(total / 10)
    assert gap(plain_state(ours), plain_state(theirs)) < 1e-6
    assert list(history["epoch"]) == [1, 2, 3]
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-5)
    assert list(history["images"]) == [10, 10, 10]


@pytest.mark.backend
@pytest.mark.parametrize("rate", [0.05, cosine], ids=["rate", "schedule"])
def test_a_resumed_plain_model_goes_on_exactly(tmp_path, rate):
    def new():
        return make_model(rate() if callable(rate) else rate)

    unbroken = new()
    expected = fit(unbroken, Run(tmp_path / "unbroken"), epochs=4)
    fit(new(), Run(tmp_path / "run"), epochs=2)
    resumed = new()
    history = fit(resumed, Run(tmp_path / "run"), epochs=4)
    assert int(resumed.optimizer.iterations) == 4 * 3
    assert gap(plain_state(resumed), plain_state(unbroken)) == 0.0
    assert without_seconds(history) == without_seconds(expected)
    written = pandas.read_csv(tmp_path / "run" / "history.csv")
    assert list(written["epoch"]) == [1, 2, 3, 4]


def test_a_finished_fit_leaves_the_weights_of_its_last_epoch(tmp_path):
    first, again = make_model(), make_model()
    fit(first, Run(tmp_path), epochs=2)
    fit(again, Run(tmp_path), epochs=2)
    assert gap(arrays(first.weights), arrays(again.weights)) == 0.0


# -- the model against its recipe ----------------------------------------------------------------


@pytest.mark.backend
@pytest.mark.parametrize(
    ("key", "recipe", "shown"),
    [
        ("learning_rate", 0.001, "learning_rate: recipe 0.001, model 0.05"),
        ("batch_size", 5, "batch_size: recipe 5, model 4"),
        ("parameters", 9, "parameters: recipe 9, model 8"),
    ],
)
def test_a_plain_model_off_its_recipe_stops_after_a_step(tmp_path, key, recipe, shown):
    model = make_model()
    with pytest.raises(RecipeMismatch) as caught:
        fit(model, Run(tmp_path), expected={**RIGHT, key: recipe})
    assert shown in str(caught.value)
    assert str(caught.value).count("recipe ") == 1
    assert int(model.optimizer.iterations) == 1
    assert not list(Run(tmp_path).checkpoints.iterdir())


def test_every_mismatch_of_a_plain_model_is_named(tmp_path):
    with pytest.raises(RecipeMismatch, match=r"learning_rate: .*; batch_size: .*; parameters: "):
        fit(make_model(), Run(tmp_path), expected=dict.fromkeys(RIGHT, 1))


@pytest.mark.backend
def test_a_schedules_first_rate_is_read_also_after_a_resume(tmp_path):
    fit(make_model(cosine()), Run(tmp_path), epochs=2)
    model = make_model(cosine())
    fit(model, Run(tmp_path), epochs=3)  # where the rate has fallen by half
    wrong = {**RIGHT, "learning_rate": 0.025}
    with pytest.raises(RecipeMismatch, match=r"learning_rate: recipe 0.025, model 0.05"):
        fit(make_model(cosine()), Run(tmp_path), epochs=4, expected=wrong)


def test_a_rate_that_was_changed_by_hand_is_read(tmp_path):
    model = make_model()
    model.optimizer.learning_rate.assign(0.01)
    with pytest.raises(RecipeMismatch, match=r"learning_rate: recipe 0.05, model 0.01"):
        fit(model, Run(tmp_path))


def test_images_are_counted_by_the_epoch():
    count = training.ImageCount()
    for n in (4, 4, 2):
        count.update_state(np.zeros((n, 2)), np.zeros((n, 2)))
    assert float(count.result()) == 10
    count.reset_state()
    assert float(count.result()) == 0
    assert training.ImageCount.from_config(count.get_config()).name == "images"


def test_a_model_compiled_for_it_can_be_saved(tmp_path):
    model = make_model()
    fit(model, Run(tmp_path))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert gap(plain_state(loaded), plain_state(model)) == 0.0


# -- phases of a run -----------------------------------------------------------------------------


def make_phased(folder):
    """A run that trained for two epochs in a phase of its own and for three as itself."""
    calls = []
    run = Run(folder, lambda *counts: calls.append(counts))
    fit(make_model(), run.phase("first", 0, 5), epochs=2)
    fit(make_model(), run.phase("", 2, 5), epochs=3)
    return run, calls


def test_each_phase_keeps_its_own_files(tmp_path):
    run, calls = make_phased(tmp_path)
    assert calls == [(epoch, 5) for epoch in (1, 2, 3, 4, 5)]
    assert len(pandas.read_csv(tmp_path / "first" / "history.csv")) == 2
    assert len(pandas.read_csv(tmp_path / "history.csv")) == 3
    assert run.phase("first", 0, 5).samples == tmp_path / "first" / "samples"
    assert run.phase("", 2, 5).path == run.path
    assert run.epochs_done() == 5


def test_progress_counts_on_after_a_resume(tmp_path):
    make_phased(tmp_path)
    calls = []
    run = Run(tmp_path, lambda *counts: calls.append(counts))
    fit(make_model(), run.phase("first", 0, 6), epochs=2)  # done
    fit(make_model(), run.phase("", 2, 6), epochs=4)
    assert calls == [(6, 6)]
    assert run.epochs_done() == 6


@pytest.mark.parametrize("status", ["done", "stopped", "failed", "out-of-memory"])
def test_a_finished_run_needs_no_checkpoints(tmp_path, status):
    asked = {"name": "a", "recipe": {}, "seed": 0}
    asked["id"] = trial_id(**asked)  # else the result would be another's
    folder = tmp_path / asked["id"]
    run, _ = make_phased(folder)
    folders = [folder / "checkpoints", folder / "first" / "checkpoints"]
    assert run.finished() is None
    assert all(any(folder.iterdir()) for folder in folders)
    told = {**asked, "status": status, "metrics": {}, "seconds": 1.0}
    write_json(folder / "result.json", told)
    assert (run.finished() is None) == (status == "failed")
    # Where more might be done by another command, what it would go on from stays.
    kept = status in ("failed", "out-of-memory")
    assert [folder.exists() for folder in folders] == [kept, kept]
    assert run.epochs_done() == 5  # the histories stay


def test_no_epochs_where_there_is_nothing(tmp_path):
    assert Run(tmp_path).epochs_done() == 0
    assert Run(tmp_path / "missing").epochs_done() == 0
    (tmp_path / "history.csv").write_text("")
    assert Run(tmp_path).epochs_done() == 0


def test_a_new_attempt_removes_half_written_files_of_every_phase(tmp_path):
    run, _ = make_phased(tmp_path)
    halves = [tmp_path / ".result.json.1.tmp", tmp_path / "first" / ".history.csv.1.tmp"]
    for path in halves:
        path.write_text("epo")
    run.discard_attempt()
    assert [path.exists() for path in halves] == [False, False]
    assert run.epochs_done() == 5


def test_status_adds_up_the_phases(tmp_path):
    study = workers.make_phases()
    make_phased(run_folder(study, study.trials[0], tmp_path))
    (row,) = study_status(study, tmp_path)
    assert (row["status"], row["epoch"], row["epochs"]) == ("interrupted", 5, 4)


# -- pretraining, then adversarially: killed and resumed -----------------------------------------


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run_phases(tmp_path_factory.mktemp("undisturbed"))


def run_phases(out):
    """Runs the two phases to the end; returns the folder."""
    study = workers.make_phases()
    result = run_trial(study, study.trials[0], study.load_data(), out)
    assert result["status"] == "done", result["error"]
    return run_folder(study, study.trials[0], out)


def test_what_two_phases_leave_behind(undisturbed):
    result = read_json(undisturbed / "result.json")
    metrics = result["metrics"]
    assert set(metrics["scores"]) == {"pretrained", "adversarial"}
    assert metrics["best_epoch"] >= 1
    first = pandas.read_csv(undisturbed / "pretraining" / "history.csv")
    second = pandas.read_csv(undisturbed / "history.csv")
    assert list(first["epoch"]) == list(second["epoch"]) == [1, 2]
    assert {"loss", "images", "validation_psnr_y"} <= set(first)
    assert {"g_loss", "g_content", "d_loss"} <= set(second)
    assert metrics["validation_psnr_y"] == pytest.approx(first["validation_psnr_y"].max())
    for phase in (undisturbed, undisturbed / "pretraining"):
        assert [path.name for path in (phase / "samples").iterdir()] == ["c.png"]
        assert not (phase / "checkpoints").exists()
    models = [keras.models.load_model(undisturbed / f"{x}.keras") for x in ("model", "adversarial")]
    assert not any(model.compiled for model in models)
    assert gap(*[arrays(model.weights) for model in models]) > 1e-5


def test_killed_in_either_phase_ends_as_undisturbed(undisturbed, tmp_path):
    phases = ("pretraining", "adversarial")
    processes = [
        start_python(TESTS / "workers.py", "killed_in", phase, tmp_path / phase, backend=BACKEND)
        for phase in phases
    ]
    for process in processes:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == -signal.SIGKILL, output
    for phase, epochs in zip(phases, (1, 3), strict=True):
        folder = run_folder(*study_and_trial(), tmp_path / phase)
        assert Run(folder).epochs_done() == epochs
        assert not (folder / "result.json").exists()
        assert run_phases(tmp_path / phase) == folder
        assert_equal_runs(folder, undisturbed)


def study_and_trial():
    study = workers.make_phases()
    return study, study.trials[0]


def assert_equal_runs(folder, undisturbed):
    timing = TIMING | {"pretraining_seconds"}

    def results(folder):
        result = without_timing(read_json(folder / "result.json"))
        metrics = {k: v for k, v in result["metrics"].items() if k not in timing}
        return {**result, "metrics": metrics}

    assert results(folder) == results(undisturbed)
    names = [
        sorted(str(path.relative_to(root)) for path in root.rglob("*"))
        for root in (folder, undisturbed)
    ]
    assert names[0] == names[1]
    for name in names[0]:
        ours, theirs = folder / name, undisturbed / name
        if name.endswith("history.csv"):
            tables = [without_seconds(pandas.read_csv(path)) for path in (ours, theirs)]
            assert tables[0] == tables[1], name
        elif name.endswith(".keras"):
            models = [arrays(keras.models.load_model(path).weights) for path in (ours, theirs)]
            assert gap(*models) == 0.0, name
        elif name.endswith(".png"):
            assert ours.read_bytes() == theirs.read_bytes(), name
