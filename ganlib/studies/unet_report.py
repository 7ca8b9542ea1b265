"""Tables, figures and statistics of the U-Net grid study, from its run directories alone."""

import functools
import math
import statistics

import numpy as np
import pandas

from ganlib.experiment.study import DONE, OUT_OF_MEMORY, STOPPED, StudyError, results
from ganlib.metrics.segmentation import score_masks
from ganlib.stats import (
    anova,
    correlation,
    detectable_difference,
    indistinguishable,
    mean_interval,
    pareto_front,
)
from ganlib.studies import unet_claims, unet_figures
from ganlib.studies.results import Contents, Results
from ganlib.studies.unet import ENSEMBLE, FIELDS, GRID, MISPAIRED

MEASURES = (
    "jaccard",
    "jaccard_soft",
    "loss_std",
    "loss_mad",
    "best_epoch",
    "epochs",
    "gap",
    "gap_last",
    "seconds_per_epoch",
    "processor_seconds_per_epoch",
    "processor_seconds",
    "memory",
    "device_memory",
    "parameters",
    "model_bytes",
)
RESPONSES = {
    "jaccard": "validation Jaccard",
    "loss_std": "std of the validation loss",
    "best_epoch": "epochs to the best",
}
FIGURES = (
    "heatmaps",
    "interactions",
    "stability",
    "pareto",
    "ranking",
    "curves",
    "examples",
    "mispaired",
)
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
PUBLISHED_TILES = 1980


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
        every = results(study, out)
        finished = {result["id"] for result in self.results}
        self.lost = [result for result in every if result["id"] not in finished]
        complete = len(finished) + len(self.lost) == len(study.trials)
        following = study.following(self.results) if complete else None
        came = results(following, out) if following else []
        self.after = None
        if any(result["status"] in (DONE, STOPPED) for result in came):
            self.after = Results(following, came, following.load_data(), out)

    @functools.cached_property
    def runs(self):
        """A `pandas.DataFrame` with a row a finished trial: settings and measures."""
        return pandas.DataFrame([_row(result) for result in self.results])

    @functools.cached_property
    def grid(self):
        """The rows of `runs` that belong to the 36 cells."""
        runs = self.runs
        cells = [tuple(row) for row in runs[list(FIELDS)].to_numpy()]
        inside = [cell in GRID for cell in cells]
        return runs[np.array(inside) & (runs["name"] != MISPAIRED)].reset_index(drop=True)

    @property
    def seeds(self):
        """How many seeds the cell with the fewest has."""
        return int(self.grid.groupby("name").size().min())

    def cell_means(self, key):
        """A `pandas.Series` of a measure's mean over seeds, by the settings of the cell."""
        return self.grid.groupby(list(FIELDS))[key].mean()

    def out_of_memory(self):
        """Settings of the cells of which a trial ran out of memory."""
        return {
            tuple(r["recipe"][field] for field in FIELDS)
            for r in self.lost
            if r["status"] == OUT_OF_MEMORY
        }

    # -- statistics --------------------------------------------------------------------------------

    @functools.cached_property
    def variance(self):
        """Measure → type-II analysis of variance over the grid, with seeds as blocks."""
        block = {"block": "seed"} if self.seeds > 1 else {}
        return {key: anova(self.grid, key, FIELDS, **block) for key in RESPONSES}

    @functools.cached_property
    def group(self):
        """The cells that can't be told from the best; see `ganlib.stats.indistinguishable`."""
        return indistinguishable(self.grid, "name", "jaccard")

    @functools.cached_property
    def stability_and_score(self):
        """How the std of the validation loss and the Jaccard go together over the grid's runs."""
        return correlation(self.grid["loss_std"], self.grid["jaccard"])

    def detectable(self):
        """The difference between two cells that a grid of this size would probably find, or None.

        Between the best and each other cell, with the noise over seeds within the cells.
        """
        if self.group.sd is None or len(self.group.table) < 2:
            return None
        k = len(self.group.table)
        return detectable_difference(self.group.sd, self.seeds, k, comparisons=k - 1)

    # -- tables ------------------------------------------------------------------------------------

    @functools.cached_property
    def claims(self):
        return unet_claims.claims(self)

    def contents(self):
        figures = {name: getattr(unet_figures, name) for name in FIGURES}
        following = {"following": "What followed the grid."} if self.after else {}
        return Contents(figures, TABLES | following)

    def cells(self):
        """A row a cell of the grid, the best first."""
        rows = []
        front = self.pareto()
        for name, runs in self.grid.groupby("name", sort=False):
            row = {field: runs[field].iloc[0] for field in FIELDS}
            for label, key in {
                "Jaccard": "jaccard",
                "test Jaccard": "test_jaccard",
                "test Dice": "test_dice",
                "std of loss": "loss_std",
                "MAD of loss": "loss_mad",
                "best epoch": "best_epoch",
                "gap": "gap",
                "s per epoch": "seconds_per_epoch",
                "GiB": "gib",
            }.items():
                row[label] = _brief(runs[key])
            row["not told from the best"] = "yes" if name in self.group.group else "no"
            row["Pareto"] = "yes" if name in front else "no"
            rows.append((runs["jaccard"].mean(), {**row, "seeds": len(runs)}))
        return pandas.DataFrame([row for _, row in sorted(rows, key=lambda pair: -pair[0])])

    def pareto(self):
        """Names of the cells that no other beats in both Jaccard and training time."""
        means = self.grid.groupby("name")[["training_seconds", "jaccard"]].mean()
        return set(means.index[pareto_front(means["training_seconds"], means["jaccard"])])

    def scores(self):
        """On test tiles: each architecture's best cell, what else was tried, and the baselines."""
        rows = [self._scored(name) for name in (*self.best_of.values(), *self._others())]
        keys = "jaccard", "jaccard_soft", "dice"
        if ensemble := self.ensemble().values():
            row = {"trained": f"mean of the {len(self.members)} best cells"}
            row |= {key: _brief([scores[key] for scores in ensemble]) for key in keys}
            rows.append({**row, "seeds": len(ensemble)})
        for name, scores in self.baselines.items():
            rows.append({"trained": f"no network: {name}"} | {k: f"{scores[k]:.3g}" for k in keys})
        n = self.results[0]["metrics"]["test"]["n"]
        return pandas.DataFrame([{**row, "n": n} for row in rows], dtype=object).fillna("")

    def _others(self):
        return [name for name in self.names if name not in set(self.grid["name"])]

    def _scored(self, name):
        tests = [result["metrics"]["test"] for result in self.of(name)]
        row = {"trained": name, "validation": _brief(self.values(name, "jaccard"))}
        row |= {k: _brief([test[k] for test in tests]) for k in ("jaccard", "jaccard_soft", "dice")}
        return {**row, "seeds": len(tests)}

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
        masks = self.data.test.masks
        return {
            int(seed): score_masks(
                np.mean([self.predictions(i) for i in some["id"]], axis=0), masks
            )
            for seed, some in runs.groupby("seed")
            if len(some) == len(self.members)
        }

    def trials(self):
        """`runs`, with nothing in place of numbers that there are not."""
        return self.runs.astype(object).where(self.runs.notna(), "")

    def variances(self):
        """The analyses of variance, one below the other."""
        parts = []
        for key, found in self.variance.items():
            part = found.table.copy()
            part.insert(0, "response", RESPONSES[key])
            parts.append(part)
        table = pandas.concat([part.astype(object) for part in parts], ignore_index=True)
        return table.where(table.notna(), "")

    def speed(self):
        """Seconds an epoch of each architecture beside the published ones, as pixels a second."""
        rows = []
        for architecture, published in PUBLISHED_SECONDS.items():
            runs = self.grid[self.grid["architecture"] == architecture]
            if not len(runs):
                continue
            n, size = self.data.train.shape[:2]
            seconds = float(runs["seconds_per_epoch"].median())
            row = {"architecture": architecture, "device": self._device()}
            row |= {"s per epoch": seconds, "tiles": n, "size": size}
            row |= {"filters": self.results[0]["recipe"]["filters"]}
            row["megapixels per s"] = n * size**2 / seconds / 1e6
            row["published s per epoch"] = published
            row["published megapixels per s"] = PUBLISHED_TILES * 256**2 / published / 1e6
            rows.append(row)
        return pandas.DataFrame(rows)

    def _device(self):
        return self.results[0].get("environment", {}).get("device", "")

    def guidelines(self):
        """What the grid advises for each architecture, and how firmly."""
        return pandas.DataFrame(unet_claims.guidelines(self))

    def following(self):
        """What followed the grid, each beside what it is to be compared with."""
        if self.after is None:
            return pandas.DataFrame()
        rows = []
        for name in self.after.names:
            results = self.after.of(name)
            tests = [result["metrics"]["test"] for result in results]
            row = {"trained": name, "on": results[0]["recipe"]["data"]}
            row |= {"cell": self.best, "epochs": _brief(self.after.values(name, "epochs"))}
            row |= {key: _brief([test[key] for test in tests]) for key in ("jaccard", "dice")}
            before = [
                r["metrics"]["before"]["jaccard"] for r in results if "before" in r["metrics"]
            ]
            row["before any training"] = _brief(before)
            constant = results[0]["metrics"]["baselines"]["foreground"]["jaccard"]
            rows.append({**row, "all foreground": constant, "seeds": len(results)})
        return pandas.DataFrame(rows)


def _row(result):
    recipe, metrics = result["recipe"], result["metrics"]
    row = {"id": result["id"], "name": result["name"], "seed": result["seed"]}
    row |= {field: recipe[field] for field in FIELDS}
    row |= {key: math.nan if metrics[key] is None else metrics[key] for key in MEASURES}
    row |= {f"test_{key}": metrics["test"][key] for key in ("jaccard", "jaccard_soft", "dice")}
    on_device = metrics["device_memory"] is not None
    each = metrics["seconds_per_epoch" if on_device else "processor_seconds_per_epoch"]
    row["training_seconds"] = each * metrics["epochs"]
    row["gib"] = (metrics["device_memory"] or metrics["memory"]) / 2**30
    return row


def _brief(values):
    """The mean with its interval as text; of no number, as the std over one epoch, nothing."""
    values = [value for value in values if math.isfinite(value)]
    return mean_interval(values).brief() if values else ""


def write_report(study, results, data, out="runs", reports="reports"):
    """Writes the study's figures, tables and run.json; see `Results` and `Results.write`."""
    return UnetResults(study, results, data, out).write(reports)
