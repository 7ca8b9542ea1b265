"""The grid: its trials, its shapes, its best cell, and what follows from it."""

import collections
import dataclasses
import json
import shutil

import numpy as np
import pytest
from unet_grids import EPOCHS, cell, cheap, make_data, make_study, tiny

from ganlib import __main__ as command_line
from ganlib.data import DataError
from ganlib.experiment import local
from ganlib.experiment import study as ganlib_study
from ganlib.experiment.profiles import PROFILES
from ganlib.experiment.stages import run_stages
from ganlib.experiment.study import Study, Trial
from ganlib.models.unet import ARCHITECTURES
from ganlib.studies import unet
from ganlib.studies.unet import Recipe, best_cell, lengthened, name_of

every_profile = pytest.mark.parametrize("profile", PROFILES)
CONTROLS = [*(f"earlier-{name}" for name in ARCHITECTURES), "mispaired"]


# -- the grid ------------------------------------------------------------------------------------


@every_profile
@pytest.mark.parametrize("seeds", [None, 2])
def test_trials(profile, seeds):
    study = unet.build(profile, seeds=seeds)
    count = seeds or {"quick": 1, "cpu": 3, "full": 3}[profile]
    by_seed = [[t for t in study.trials if t.seed == seed] for seed in range(count)]
    assert sum(map(len, by_seed)) == len(study.trials) == 40 * count
    assert len({trial.id for trial in study.trials}) == 40 * count
    for trials in by_seed:
        cells = {t.name: cell(t) for t in trials if t.name not in CONTROLS}
        assert len(cells) == len(set(cells.values())) == 36
        assert set(cells.values()) == {
            (architecture, batch, rate)
            for architecture in ("unet", "attention_unet", "attention_resunet")
            for batch in (8, 16, 32)
            for rate in (1e-4, 5e-4, 1e-3, 5e-3)
        }
        assert [t.name for t in trials if t.name in CONTROLS] == CONTROLS
    for trial in study.trials:
        assert study.epochs(trial) == trial.recipe.epochs > 1
        read = Recipe(**json.loads(json.dumps(dataclasses.asdict(trial.recipe))))
        assert Trial(trial.name, read, trial.seed).id == trial.id


def test_full_is_the_write_up():
    recipes = {t.name: t.recipe for t in unet.build("full", seeds=1).trials}
    for name, recipe in recipes.items():
        varied = dict.fromkeys(unet.FIELDS) | {"mispaired": None}
        same = {k: v for k, v in dataclasses.asdict(recipe).items() if k not in varied}
        assert same.items() == {k: v for k, v in vars(Recipe()).items() if k not in varied}.items()
        assert (recipe.filters, recipe.depth, recipe.size, recipe.epochs) == (64, 4, 256, 30)
        assert (recipe.focal_gamma, recipe.clipnorm) == (2.0, 1.0)
        assert (recipe.plateau_factor, recipe.plateau_patience) == (0.5, 5)
        assert (recipe.least_learning_rate, recipe.patience) == (1e-6, 10)
        assert recipe.mispaired is (name == "mispaired")
        if name.startswith("earlier-"):
            assert cell(Trial(name, recipe, 0)) == (name.removeprefix("earlier-"), 8, 1e-2)


def test_profiles_share_no_trial():
    quick, full = (unet.build(profile, seeds=1) for profile in ("quick", "full"))
    assert not {t.id for t in quick.trials} & {t.id for t in full.trials}


@every_profile
def test_the_rates_of_a_cell_share_its_shape(profile):
    study = unet.build(profile, seeds=2)
    shapes = collections.defaultdict(set)
    for trial in study.trials:
        if trial.name not in CONTROLS:
            shapes[study.shape(trial)].add(cell(trial)[:2])
    assert len(shapes) == 9
    assert all(len(kinds) == 1 for kinds in shapes.values())
    trials = {trial.name: trial for trial in study.trials if trial.seed == 0}
    alike = {t.name for t in study.alike(trials["unet-lr0.001-bs16"])}
    rates = {f"unet-lr{rate:g}-bs16" for rate in unet.LEARNING_RATES}
    assert alike == rates | {"mispaired"}  # those of other seeds have its name
    assert "earlier-unet" in {t.name for t in study.alike(trials["unet-lr0.001-bs8"])}


@pytest.mark.parametrize("field", ["filters", "depth", "size", "dropout", "momentum", "clipnorm"])
def test_other_networks_have_another_shape(field):
    other = dataclasses.replace(tiny(), **{field: 2 * getattr(tiny(), field) or 0.5})
    assert unet.shape_of(other) != unet.shape_of(tiny())


def test_data():
    study = unet.build("quick", "membranes")
    assert {trial.recipe.data for trial in study.trials} == {"membranes"}
    assert study.options["data"] == "membranes,nuclei"
    assert unet.build("quick").options["data"] == "nuclei,membranes"
    given = unet.build("quick", "a.npz,b.npz")
    assert {trial.recipe.data for trial in given.trials} == {"a.npz"}
    assert given.options["data"] == "a.npz,b.npz"
    after = unet.build("quick", "a.npz,b.npz", after=BEST)
    assert {t.name: t.recipe.data for t in after.trials} == {
        "longer": "a.npz",
        "second-from-scratch": "b.npz",
        "second-fine-tuned": "b.npz",
    }


def test_a_second_set_is_there_for_its_recipes_alone():
    first, second = make_data(), make_data(8)
    both = unet.TileData(
        {"train": first.train, "validation": first.validation, "test": first.test},
        {"train": second.train, "validation": second.validation, "test": second.test},
    )
    both.second.spec = "b"
    assert both.of(tiny(data="a")) is both
    assert len(both.of(tiny(data="b")).test) == 8
    assert first.of(tiny(data="b")) is first
    assert both.checksum == first.checksum + second.checksum


def test_small_data_are_loaded_in_both_sets():
    recipe = Recipe(data="nuclei", size=16, most=8, held_out=6)
    data = unet.load_data(recipe, "membranes")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [8, 6, 6]
    other = data.of(dataclasses.replace(recipe, data="membranes"))
    assert len(other.train) == 8
    assert other.checksum == unet.load_data(dataclasses.replace(recipe, data="membranes")).checksum
    assert data.train.shape[1:] == (16, 16, 1)
    with pytest.raises(DataError):
        unet.load_data(dataclasses.replace(recipe, data="missing.npz"))


def test_changes_are_made_last_and_in_all_recipes():
    changes = {"epochs": 5, "dropout": 0.25, "augment": ["orientation", "brightness"]}
    study = unet.build("quick", changes=changes)
    for trial in study.trials:
        assert (trial.recipe.epochs, trial.recipe.dropout) == (5, 0.25)
        assert trial.recipe.augment == ("orientation", "brightness")
    assert not {t.id for t in study.trials} & {t.id for t in unet.build("quick").trials}


def test_what_can_not_be_built():
    with pytest.raises(ValueError, match=r"`profile` must be .*Received: profile='fast'"):
        unet.build("fast")
    with pytest.raises(ValueError, match="no such field"):
        unet.build("quick", changes={"filter": 5})
    with pytest.raises(ValueError, match="Other data are no change"):
        unet.build("quick", changes={"data": "nuclei"})


BEST = {"architecture": "attention_unet", "batch_size": 32, "learning_rate": 5e-4}


@every_profile
@pytest.mark.parametrize("after", [None, BEST])
def test_a_worker_builds_the_same_study(profile, after):
    changes = {"epochs": 7, "augment": []}
    study = unet.build(profile, "a.npz", 2, changes, after)
    again = ganlib_study.build(study.module, json.loads(json.dumps(study.options)))
    assert again.trials == study.trials
    assert [t.id for t in again.trials] == [t.id for t in study.trials]
    assert again.options == study.options


# -- the best cell -------------------------------------------------------------------------------


def result(trial, jaccard, status="done"):
    metrics = {} if jaccard is None else {"jaccard": jaccard}
    found = {"id": trial.id, "name": trial.name, "seed": trial.seed, "status": status}
    return found | {"recipe": dataclasses.asdict(trial.recipe), "metrics": metrics}


def test_the_best_cell_is_the_best_mean():
    study = unet.build("quick", seeds=2)
    scores = {"unet-lr0.0001-bs8": (0.95, 0.5), "attention_unet-lr0.0005-bs32": (0.8, 0.9)}
    results = [result(t, scores.get(t.name, (0.7, 0.7))[t.seed]) for t in study.trials]
    assert best_cell(results) == BEST
    assert best_cell(results[::-1]) == BEST
    assert best_cell([r for r in results if r["seed"] == 0])["architecture"] == "unet"


def test_controls_are_no_cells():
    """The mispaired one has a cell's settings, and the earlier ones may be better."""
    study = unet.build("quick", seeds=1)
    scores = dict.fromkeys(CONTROLS, 0.99) | {"attention_unet-lr0.0005-bs32": 0.8}
    results = [result(t, scores.get(t.name, 0.7)) for t in study.trials]
    assert best_cell(results) == BEST
    assert best_cell([r for r in results if r["name"] in CONTROLS]) is None


def test_of_equal_cells_the_first_is_the_best():
    study = unet.build("quick", seeds=3)
    # As binary numbers 0.1, 0.2 and 0.3 have another sum in another order.
    for scores in ((0.5, 0.5, 0.5), (0.1, 0.2, 0.3)):
        results = [result(t, scores[(t.seed + len(t.name)) % 3]) for t in study.trials]
        assert best_cell(results) == dict(zip(unet.FIELDS, unet.GRID[0], strict=True))


def test_cells_without_a_result_are_passed_over():
    study = unet.build("quick", seeds=1)
    lost = {"unet-lr0.0001-bs8": "failed", "unet-lr0.0005-bs8": "out-of-memory"}
    results = [
        result(t, None if t.name in lost else 0.5, lost.get(t.name, "stopped"))
        for t in study.trials
    ]
    assert name_of(dataclasses.replace(Recipe(), **best_cell(results))) == "unet-lr0.001-bs8"
    assert best_cell([]) is None
    assert best_cell([r for r in results if r["name"] in lost]) is None


# -- what follows --------------------------------------------------------------------------------


def test_lengthened():
    longer = lengthened(Recipe(), 4)
    assert (longer.epochs, longer.patience, longer.plateau_patience) == (120, 40, 20)
    assert lengthened(longer, 1) == longer
    unchanged = {"epochs": 30, "patience": 10, "plateau_patience": 5}
    assert dataclasses.replace(longer, **unchanged) == Recipe()


@every_profile
def test_following(profile):
    study = unet.build(profile, seeds=2, changes={"clipnorm": 2.0})
    results = [
        result(t, 0.9 if t.name == "attention_unet-lr0.0005-bs32" else 0.5) for t in study.trials
    ]
    after = study.following(results)
    assert after.name == study.name  # the same folder
    assert after.following([]) is None
    best = {t.seed: t for t in study.trials if t.name == "attention_unet-lr0.0005-bs32"}
    times = {"quick": 2, "cpu": 4, "full": 4}[profile]
    names = ["longer", "second-from-scratch", "second-fine-tuned"]
    assert [(t.name, t.seed) for t in after.trials] == [(n, s) for s in (0, 1) for n in names]
    for trial in after.trials:
        chosen = best[trial.seed]
        second = dataclasses.replace(chosen.recipe, data="membranes")
        assert (
            trial.recipe
            == {
                "longer": lengthened(chosen.recipe, times),
                "second-from-scratch": second,
                "second-fine-tuned": dataclasses.replace(second, start=chosen.id),
            }[trial.name]
        )
    again = ganlib_study.build(after.module, json.loads(json.dumps(after.options)))
    assert again.trials == after.trials
    assert not {t.id for t in after.trials} & {t.id for t in study.trials}
    # What is trained on the second set has the grid's shape: its programs, and its memory.
    assert after.shape(after.trials[2]) == study.shape(best[0])


def test_nothing_follows_from_nothing():
    study = unet.build("quick")
    assert study.following([]) is None
    assert study.following([result(study.trials[0], None, "failed")]) is None
    chosen = study.select("unet-*")
    assert chosen.following([result(t, 0.5) for t in chosen.trials]) is None


# -- stages --------------------------------------------------------------------------------------


def stages(statuses):
    """Runs three stages whose trials end so; `(stages begun, results)`."""

    def stage(number):
        trials = [Trial(f"{number}", tiny(), seed) for seed in range(len(statuses[number]))]
        more = number + 1 < len(statuses)
        return Study(
            *("unet", "", trials, None, None, "none", {}, None),
            following=lambda results: stage(number + 1) if more and results else None,
        )

    begun = []

    def run(study):
        begun.append(int(study.trials[0].name))
        ends = statuses[begun[-1]]
        return [{"id": t.id, "status": s} for t, s in zip(study.trials, ends, strict=True)]

    return begun, run_stages(stage(0), run)


def test_stages_follow_one_another():
    begun, results = stages([["done", "stopped"], ["out-of-memory"], ["done"]])
    assert begun == [0, 1, 2]
    assert [r["status"] for r in results] == ["done", "stopped", "out-of-memory", "done"]


def test_a_failure_ends_the_stages():
    begun, results = stages([["done"], ["done", "failed"], ["done"]])
    assert begun == [0, 1]
    assert len(results) == 3


def test_what_follows_sees_the_results_of_its_own_stage_alone():
    seen = []
    second = Study("unet", "", [Trial("b", tiny(), 0)], None, None, "none", {}, None)
    second = dataclasses.replace(second, following=lambda results: seen.append(results))
    first = Study("unet", "", [Trial("a", tiny(), 0)], None, None, "none", {}, None)
    first = dataclasses.replace(first, following=lambda results: seen.append(results) or second)
    run_stages(first, lambda study: [{"id": study.trials[0].id, "status": "done"}])
    assert [[r["id"] for r in results] for results in seen] == [
        [first.trials[0].id],
        [second.trials[0].id],
    ]


# -- the command line ----------------------------------------------------------------------------


def test_the_command_line_runs_one_cell(tmp_path, monkeypatch, capsys):
    """One epoch has no spread, one cell no other to be compared with: the report says so."""
    monkeypatch.setattr(local, "default_workers", lambda: 0)
    changes = ["filters=2", "depth=1", "size=16", "most=8", "held_out=8", "epochs=1"]
    options = [word for change in changes for word in ("--set", change)]
    folders = ["--out", str(tmp_path / "runs"), "--reports", str(tmp_path / "reports")]

    def ganlib(command, *more):
        monkeypatch.setattr("sys.argv", ["ganlib", command, "unet", *folders, *options, *more])
        with pytest.raises(SystemExit) as end:
            command_line.main()
        return end.value.code or 0, capsys.readouterr()

    with cheap():
        code, printed = ganlib("run", "--trials", "unet-lr0.001-bs16")
    assert code == 0, printed.err
    (folder,) = (tmp_path / "runs" / "unet").glob("unet-*")
    metrics = json.loads((folder / "result.json").read_text())["metrics"]
    assert (metrics["epochs"], metrics["loss_std"]) == (1, None)
    report = tmp_path / "reports" / "quick" / "unet"
    assert {"heatmaps.png", "examples.pdf", "claims.csv", "trials.csv"} <= {
        path.name for path in report.iterdir()
    }
    assert "nan" not in (report / "trials.md").read_text()
    run = json.loads((report / "run.json").read_text())
    assert run["verdicts"]["supported"] == 0
    assert np.isfinite(metrics["jaccard"])
    shutil.rmtree(folder)
    with cheap():
        code, printed = ganlib("run", "--trials", "mispaired")
    assert code == 2
    assert "No cell of the grid has finished" in printed.err
    assert "Received: mispaired" in printed.err


def test_the_made_up_study_is_the_real_one():
    assert make_study(2).trials == unet.build("quick", seeds=2).trials
    assert unet.QUICK["epochs"] > EPOCHS


def test_the_grid_s_own_settings_are_not_changed_from_outside():
    with pytest.raises(ValueError, match="Received: batch_size, learning_rate"):
        unet.build(changes={"learning_rate": 1e-3, "batch_size": 8, "epochs": 2})
