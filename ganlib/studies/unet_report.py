"""Tables and statistics of the U-Net grid study, from its run directories alone."""

import functools
import math
import statistics

import numpy as np
import pandas

from ganlib.experiment.machine import StudyError
from ganlib.experiment.run import DONE, OUT_OF_MEMORY, STOPPED, results
from ganlib.metrics.segmentation import score_masks
from ganlib.stats import (
    anova,
    detectable_difference,
    indistinguishable,
    mean_interval,
    pareto_front,
)
from ganlib.studies import unet_claims, unet_figures
from ganlib.studies.results import Contents, Results
from ganlib.studies.unet import FIELDS, GRID, MISPAIRED

ENSEMBLE = 5  # of the best cells, whose probabilities are averaged
OF_CELLS = {"jaccard": "Jaccard", "test_jaccard": "test Jaccard", "test_dice": "test Dice"}
OF_CELLS |= {"loss_std": "std of loss", "loss_mad": "MAD of loss", "best_epoch": "best epoch"}
OF_CELLS |= {"gap": "gap", "seconds_per_epoch": "s per epoch", "gib": "GiB"}
RESPONSES = {"jaccard": "validation Jaccard", "loss_std": "std of the validation loss"}
RESPONSES |= {"best_epoch": "epochs to the best"}
TESTED = {"jaccard": "Jaccard", "jaccard_soft": "soft Jaccard", "dice": "Dice"}
SPOKEN = {"p_adjusted": "p (Holm)", "omega2_partial": "partial ω²", "gib": "GiB"}
TABLES = {
    "scores": "Each architecture's best cell and all else, on test tiles.",
    "cells": "All cells, the best first; intervals over seeds.",
    "variances": "Type-II analysis of variance over the grid.",
    "guidelines": "What the grid advises.",
    "speed": "Seconds an epoch, beside the published 1,980 patches of 256×256 with 64 filters.",
    "trials": "All numbers of all trials.",
}
# Of the published grid: an epoch of 1,980 patches of 256×256 pixels, 64 filters.
PUBLISHED_SECONDS = {"unet": 31, "attention_unet": 44, "attention_resunet": 50}
PUBLISHED_PIXELS = 1980 * 256**2


class UnetResults(Results):
    """The finished trials of a grid study; see `Results`.

    Attributes:
        lost: results of trials that failed or ran out of memory.
        after: `Results` of what followed the grid; None where none of it has finished.

    Raises:
        StudyError: no cell of the grid has finished.
    """

    def __init__(self, study, found, data, out="runs"):
        super().__init__(study, found, data, out)
        if not len(self.grid):
            raise StudyError(
                "No cell of the grid has finished: there is nothing to compare. Received: "
                f"{', '.join(self.names)}"
            )
        every, finished = results(study, out), {result["id"] for result in self.results}
        self.lost = [result for result in every if result["id"] not in finished]
        complete = len(finished) + len(self.lost) == len(study.trials)
        following = study.next(self.results) if complete else None
        came = results(following, out) if following else []
        self.after = None
        if any(result["status"] in (DONE, STOPPED) for result in came):
            self.after = Results(following, came, data, out)

    @functools.cached_property
    def runs(self):
        """A `pandas.DataFrame` with a row a finished trial: settings and measures."""
        return pandas.DataFrame([_row(result) for result in self.results])

    @functools.cached_property
    def grid(self):
        """The rows of `runs` that belong to the 36 cells."""
        inside = [cell in GRID for cell in zip(*(self.runs[f] for f in FIELDS), strict=True)]
        return self.runs[np.array(inside) & (self.runs["name"] != MISPAIRED)].reset_index(drop=True)

    @property
    def seeds(self):
        """How many seeds the cell with the fewest has."""
        return int(self.grid.groupby("name").size().min())

    def cell_means(self, key):
        """A `pandas.Series` of a measure's mean over seeds, by the settings of the cell."""
        return self.grid.groupby(list(FIELDS))[key].mean()

    def out_of_memory(self):
        """Settings of the cells of which a trial ran out of memory."""
        lost = (r["recipe"] for r in self.lost if r["status"] == OUT_OF_MEMORY)
        return {tuple(recipe[field] for field in FIELDS) for recipe in lost}

    @functools.cached_property
    def variance(self):
        """Measure → type-II analysis of variance over the grid, with seeds as blocks."""
        block = {"block": "seed"} if self.seeds > 1 else {}
        return {key: anova(self.grid, key, FIELDS, **block) for key in RESPONSES}

    @functools.cached_property
    def group(self):
        """The cells that can't be told from the best; see `ganlib.stats.indistinguishable`."""
        return indistinguishable(self.grid, "name", "jaccard")

    def detectable(self):
        """The difference between the best cell and another that such a grid would find, or None."""
        k = len(self.group.table)
        if self.group.sd is None or k < 2:
            return None
        return detectable_difference(self.group.sd, self.seeds, k, comparisons=k - 1)

    def pareto(self):
        """Names of the cells that no other beats in both Jaccard and training time."""
        means = self.grid.groupby("name")[["training_seconds", "jaccard"]].mean()
        return set(means.index[pareto_front(means["training_seconds"], means["jaccard"])])

    @functools.cached_property
    def best_of(self):
        """Architecture → name of its best cell by validation Jaccard; the best one first.

        Of equal ones the first of the study, as in `ganlib.studies.unet.best_cell`.
        """
        means = self.grid.groupby(["architecture", "name"], sort=False)["jaccard"]
        means = means.agg(statistics.mean).sort_values(ascending=False, kind="stable")
        found = {}
        for architecture, name in means.index:
            found.setdefault(architecture, name)
        return found

    @functools.cached_property
    def best(self):
        """Name of the grid's best cell."""
        return next(iter(self.best_of.values()))

    @property
    def baselines(self):
        """Scores on the test tiles of what needs no network."""
        return self.results[0]["metrics"]["baselines"]

    @functools.cache  # noqa: B019  lives as long as the results, which a process makes once
    def predictions(self, run_id):
        """Probabilities on the test tiles, float32 `(n, size, size, 1)`."""
        with np.load(self.folders[run_id] / "predictions.npz") as file:
            return file["probabilities"].astype("float32")

    @property
    def members(self):
        """Names of the best cells, which an ensemble consists of."""
        return list(self.group.table["cell"][:ENSEMBLE])

    @functools.cache  # noqa: B019
    def ensemble(self):
        """Seed → scores of the mean probability of the best cells' models, where all are there."""
        runs = self.grid[self.grid["name"].isin(self.members)]
        return {
            int(seed): score_masks(
                np.mean([self.predictions(i) for i in some["id"]], axis=0), self.data.test.masks
            )
            for seed, some in runs.groupby("seed")
            if len(some) == len(self.members)
        }

    def statements(self):
        return unet_claims.claims(self)

    def contents(self):
        following = {"following": "What followed the grid."} if self.after else {}
        return Contents(unet_figures.FIGURES, TABLES | following)

    def scores(self):
        """On test tiles: each architecture's best cell, what else was tried, and the baselines."""
        cells = set(self.grid["name"])
        rows = []
        for name in (*self.best_of.values(), *(name for name in self.names if name not in cells)):
            tests = [result["metrics"]["test"] for result in self.of(name)]
            row = {"trained": name, "validation Jaccard": _brief(self.values(name, "jaccard"))}
            rows.append({**row, **_tested(tests)})
        if ensemble := list(self.ensemble().values()):
            row = {"trained": f"mean of the {len(self.members)} best cells"}
            rows.append({**row, **_tested(ensemble)})
        for name, scores in self.baselines.items():
            rows.append({"trained": f"no network: {name}", **_tested([scores]), "seeds": ""})
        n = self.results[0]["metrics"]["test"]["n"]
        return pandas.DataFrame([{**row, "n": n} for row in rows], dtype=object).fillna("")

    def cells(self):
        """A row a cell of the grid, the best first."""
        rows, front = [], self.pareto()
        for name in self.group.table["cell"]:
            runs = self.grid[self.grid["name"] == name]
            row = {field.replace("_", " "): runs[field].iloc[0] for field in FIELDS}
            row |= {label: _brief(runs[key]) for key, label in OF_CELLS.items()}
            row["not told from the best"] = "yes" if name in self.group.group else "no"
            row["Pareto"] = "yes" if name in front else "no"
            rows.append({**row, "seeds": len(runs)})
        return pandas.DataFrame(rows)

    def variances(self):
        """The analyses of variance, one below the other."""
        parts = [found.table.assign(response=RESPONSES[k]) for k, found in self.variance.items()]
        table = pandas.concat([part.astype(object) for part in parts], ignore_index=True)
        table.insert(0, "response", table.pop("response"))
        return _spoken(table)

    def guidelines(self):
        """What the grid advises for each architecture, and how firmly."""
        rows = []
        for architecture, highest in self.best_of.items():
            runs = self.grid[self.grid["architecture"] == architecture]
            best = indistinguishable(runs, "name", "jaccard")
            told = best.sd is not None
            means = runs.groupby("name")[
                ["training_seconds", "jaccard", "seconds_per_epoch"]
            ].mean()
            cheapest = means.loc[best.group if told else [highest], "training_seconds"].idxmin()
            firmness = "A hint: the highest of one run a cell, which may be luck."
            if told:
                firmness = (
                    f"{len(best.group)} of {len(best.table)} cells are as good as can be told; "
                )
                firmness += f"this is the one soonest done. {best.reason or ''}"
            row = {"architecture": architecture, "setting": cheapest}
            row["Jaccard"] = float(means.loc[cheapest, "jaccard"])
            row["s per epoch"] = float(means.loc[cheapest, "seconds_per_epoch"])
            row["avoid"] = ", ".join(best.worse) or "none that can be told"
            rows.append({**row, "firmness": firmness.strip()})
        return pandas.DataFrame(rows)

    def speed(self):
        """Seconds an epoch of each architecture beside the published ones, as pixels a second."""
        n, size = self.data.train.images.shape[:2]
        shape = {"tiles": n, "size": size, "filters": self.results[0]["recipe"]["filters"]}
        device = self.results[0].get("environment", {}).get("device", "")
        rows = []
        for architecture, published in PUBLISHED_SECONDS.items():
            runs = self.grid[self.grid["architecture"] == architecture]
            if len(runs):
                seconds = float(runs["seconds_per_epoch"].median())
                row = {"architecture": architecture, "device": device, "s per epoch": seconds}
                row |= {**shape, "megapixels per s": n * size**2 / seconds / 1e6}
                row["published s per epoch"] = published
                row["published megapixels per s"] = PUBLISHED_PIXELS / published / 1e6
                rows.append(row)
        return pandas.DataFrame(rows)

    def trials(self):
        """`runs`, with nothing in place of numbers that there are not."""
        return _spoken(self.runs.astype(object))

    def following(self):
        """What followed the grid, each beside what it is to be compared with."""
        rows = []
        for name in self.after.names if self.after else ():
            metrics = [result["metrics"] for result in self.after.of(name)]
            second = self.after.of(name)[0]["recipe"]["second"]
            row = {"trained": name, "on": (self.data.second if second else self.data).name}
            row |= {"cell": self.best, "epochs": _brief(self.after.values(name, "epochs"))}
            row |= _tested([m["test"] for m in metrics])
            before = [m["before"]["jaccard"] for m in metrics if "before" in m]
            row["Jaccard before any training"] = _brief(before)
            row["all foreground"] = metrics[0]["baselines"]["foreground"]["jaccard"]
            rows.append(row)
        return pandas.DataFrame(rows)


def _row(result):
    recipe, metrics = result["recipe"], result["metrics"]
    row = {"id": result["id"], "name": result["name"], "seed": result["seed"]}
    row |= {field: recipe[field] for field in FIELDS}
    measures = {k: v for k, v in metrics.items() if not isinstance(v, dict | list)}
    row |= {key: math.nan if value is None else value for key, value in measures.items()}
    row |= {f"test_{key}": metrics["test"][key] for key in TESTED}
    on_device = metrics["device_memory"] is not None
    each = metrics["seconds_per_epoch" if on_device else "processor_seconds_per_epoch"]
    row["training_seconds"] = each * metrics["epochs"]
    row["gib"] = (metrics["device_memory"] or metrics["memory"]) / 2**30
    return row


def _brief(values):
    """The mean with its interval as text; of no number, as the std over one epoch, nothing."""
    values = [value for value in values if math.isfinite(value)]
    return mean_interval(values).brief() if values else ""


def _tested(scores):
    """Test scores of some runs as cells of a table."""
    row = {label: _brief([each[key] for each in scores]) for key, label in TESTED.items()}
    return {**row, "seeds": len(scores)}


def _spoken(table):
    """A table with names for people, and nothing in place of numbers that there are not."""
    named = table.rename(columns=lambda name: SPOKEN.get(name, name.replace("_", " ")))
    return named.where(named.notna(), "")


def write_report(study, results, data, out="runs", reports="reports"):
    """Writes the study's figures, tables and run.json; see `Results` and `Results.write`."""
    return UnetResults(study, results, data, out).write(reports)
