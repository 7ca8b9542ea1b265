"""Tables, statistics and claims of the U-Net grid study, from its run directories alone."""

import functools
import math
import operator
import statistics

import numpy as np
import pandas
from scipy.stats import chi2

from ganlib import stats
from ganlib.experiment.machine import StudyError
from ganlib.experiment.run import DONE, OUT_OF_MEMORY, STOPPED, results
from ganlib.metrics.segmentation import score_masks
from ganlib.report.claims import Claim, judge, judge_interval
from ganlib.studies.results import NEGATIVE, POSITIVE, Contents, Results, by_interval, weakest
from ganlib.studies.unet import ARCHITECTURES, BATCH_SIZES, FIELDS, GRID, LEARNING_RATES, MISPAIRED
from ganlib.studies.unet_figures import FIGURES, RESPONSES

ENSEMBLE = 5  # of the best cells, whose probabilities are averaged
TESTED = {"jaccard": "Jaccard", "jaccard_soft": "soft Jaccard", "dice": "Dice"}
SPOKEN = {"p_adjusted": "p (Holm)", "omega2_partial": "partial ω²", "gib": "GiB"}
TABLES = ("scores", "cells", "variances", "guidelines", "trials")
EXPECTED_RATE = {"unet": 5e-4, "attention_unet": 1e-3, "attention_resunet": 1e-3}
CALMER, MATCH = 0.5, 0.01  # "> 50 % lower"; a Jaccard as near as that "matches"
CONSISTENT = 0.02  # standard deviation of the Jaccard over seeds that counts as consistent
UNFINISHED = "The cells that it compares have not all finished."


class UnetResults(Results):
    """The finished trials of a grid study; see `Results`. StudyError if no cell has finished."""

    def __init__(self, study, found, data, out="runs"):
        super().__init__(study, found, data, out)
        self.runs = pandas.DataFrame([_row(result) for result in self.results])
        cells = zip(*(self.runs[field] for field in FIELDS), strict=True)
        inside = np.array([cell in GRID for cell in cells]) & (self.runs["name"] != MISPAIRED)
        self.grid = self.runs[inside].reset_index(drop=True)  # of the 36 cells
        if not len(self.grid):
            raise StudyError(f"No cell of the grid has finished. Received: {', '.join(self.names)}")
        self.seeds = int(self.grid.groupby("name").size().min())  # of the cell with the fewest
        self.group = stats.indistinguishable(self.grid, "name", "jaccard")
        self.members = list(self.group.table["cell"][:ENSEMBLE])
        means = self.grid.groupby(["architecture", "name"], sort=False)["jaccard"]
        means = means.agg(statistics.mean).sort_values(ascending=False, kind="stable")
        first = means.reset_index().drop_duplicates("architecture")
        # Architecture → its best cell, the best one first; of equal ones that of `best_cell`.
        self.best_of = dict(zip(first["architecture"], first["name"], strict=True))
        self.best = next(iter(self.best_of.values()))
        block = {"block": "seed"} if self.seeds > 1 else {}
        self.variance = {key: stats.anova(self.grid, key, FIELDS, **block) for key in RESPONSES}
        self.baselines = self.results[0]["metrics"]["baselines"]
        every, finished = results(study, out), {result["id"] for result in self.results}
        self.lost = [result for result in every if result["id"] not in finished]
        lost = (result["recipe"] for result in self.lost if result["status"] == OUT_OF_MEMORY)
        self.out_of_memory = {tuple(recipe[field] for field in FIELDS) for recipe in lost}
        complete = len(finished) + len(self.lost) == len(study.trials)
        following = study.next(self.results) if complete else None
        came = results(following, out) if following else []
        some = any(result["status"] in (DONE, STOPPED) for result in came)
        self.after = Results(following, came, data, out) if some else None  # of the next stage

    def cell_means(self, key):
        """A `pandas.Series` of a measure's mean over seeds, by the settings of the cell."""
        return self.grid.groupby(list(FIELDS))[key].mean()

    def by(self, setting, levels, key="jaccard"):
        """These means, a column a level of one setting and a row a pair of the others."""
        return self.cell_means(key).unstack(setting).reindex(columns=list(levels))

    def predictions(self, run_id):
        """Probabilities on the test tiles, float32 `(n, size, size, 1)`."""
        with np.load(self.folders[run_id] / "predictions.npz") as file:
            return file["probabilities"].astype("float32")

    @functools.cached_property
    def ensemble(self):
        """Seed → scores of the mean probability of the best cells' models, where all are there."""
        runs = self.grid[self.grid["name"].isin(self.members)].groupby("seed")["id"]
        whole = {int(seed): ids for seed, ids in runs if len(ids) == len(self.members)}
        means = {s: np.mean([self.predictions(i) for i in ids], axis=0) for s, ids in whole.items()}
        return {seed: score_masks(mean, self.data.test.masks) for seed, mean in means.items()}

    def statements(self):
        yield from (*_of_effects(self), *_of_noise(self))
        if all(self.of(f"earlier-{name}") for name in self.best_of):
            yield from _against_earlier(self)
        yield from _of_others(self)

    def contents(self):
        return Contents(FIGURES, (*TABLES, *(["following"] if self.after else ())))

    def scores(self):
        """On test tiles: each architecture's best cell, what else was tried, and the baselines."""
        cells, rows = set(self.grid["name"]), []
        for name in (*self.best_of.values(), *(name for name in self.names if name not in cells)):
            row = {"trained": name, "validation Jaccard": _brief(self.values(name, "jaccard"))}
            rows.append(row | _tested(self.values(name, "test")))
        if ensemble := list(self.ensemble.values()):
            rows.append({"trained": f"mean of the best {len(self.members)}", **_tested(ensemble)})
        for name, scores in self.baselines.items():
            rows.append({"trained": f"no network: {name}", **_tested([scores]), "seeds": ""})
        n = self.results[0]["metrics"]["test"]["n"]
        return pandas.DataFrame([{**row, "n": n} for row in rows], dtype=object).fillna("")

    def cells(self):
        """A row a cell of the grid, the best first."""
        table = self.group.table.astype(object)
        return _spoken(table.rename(columns={"mean": "Jaccard", "p": "p (adjusted)"}))

    def variances(self):
        """The analyses of variance, one below the other."""
        tables = {RESPONSES[key]: each.table.astype(object) for key, each in self.variance.items()}
        return _spoken(pandas.concat(tables, names=["response"]).droplevel(1).reset_index())

    def guidelines(self):
        """What the grid advises for each architecture, and how firmly."""
        rows = []
        for architecture, setting in self.best_of.items():
            runs = self.grid[self.grid["architecture"] == architecture]
            best = stats.indistinguishable(runs, "name", "jaccard")
            means = runs.groupby("name").mean(numeric_only=True)
            firmness = "A hint: the highest of one run a cell, which may be luck."
            if best.sd is not None:
                setting = means.loc[best.group, "training_seconds"].idxmin()
                firmness = f"The soonest done of {len(best.group)} that can't be told apart. "
                firmness = f"{firmness}{best.reason or ''}".rstrip()
            row = {"architecture": architecture, "setting": setting}
            mean = means.loc[setting]
            row |= {"Jaccard": mean["jaccard"], "s per epoch": mean["seconds_per_epoch"]}
            row["avoid"] = ", ".join(best.worse) or "none that can be told"
            rows.append({**row, "firmness": firmness})
        return pandas.DataFrame(rows)

    def trials(self):
        """`runs`, with nothing in place of numbers that there are not."""
        return _spoken(self.runs.astype(object))

    def following(self):
        """What followed the grid, each beside what it is to be compared with."""
        rows = []
        for name in self.after.names if self.after else ():
            runs, of = self.after.of(name), functools.partial(self.after.values, name)
            data = self.data.second if runs[0]["recipe"]["second"] else self.data
            row = {"trained": name, "on": data.name, "cell": self.best}
            row |= {"epochs": _brief(of("epochs")), **_tested(of("test"))}
            before = [r["metrics"]["before"]["jaccard"] for r in runs if "before" in r["metrics"]]
            row |= {"Jaccard before any training": _brief(before)}
            rows.append({**row, "all foreground": of("baselines")[0]["foreground"]["jaccard"]})
        return pandas.DataFrame(rows)


def _row(result):
    recipe, metrics = result["recipe"], result["metrics"]
    row = {key: result[key] for key in ("id", "name", "seed")}
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
    return stats.mean_interval(values).brief() if values else ""


def _tested(scores):
    row = {label: _brief([each[key] for each in scores]) for key, label in TESTED.items()}
    return {**row, "seeds": len(scores)}


def _spoken(table):
    """A table with names for people, and nothing in place of numbers that there are not."""
    named = table.rename(columns=lambda name: SPOKEN.get(name, name.replace("_", " ")))
    return named.where(named.notna(), "")


def _of_effects(found):
    variance = found.variance["jaccard"]
    effect, text = variance.effect("learning_rate"), variance.note or "No such effect."
    if effect.significant is not None:
        text = f"F = {effect.F:.3g}, p = {effect.p_adjusted:.2g} (Holm), n = {variance.n}."
    statement = "The learning rate changes the Jaccard (the published grid's was never set)."
    yield Claim(statement, judge(bool(effect.significant) or None), text)
    rates = found.by("learning_rate", LEARNING_RATES)
    middle = rates[[5e-4, 1e-3]].mean(axis=1, skipna=False)
    margins = {f"Jaccard above that of {rate:g}:": middle - rates[rate] for rate in (1e-4, 5e-3)}
    yield _above_zero("H1: learning rates of 5e-4 to 1e-3 give the best Jaccard.", margins)
    for architecture, rate in EXPECTED_RATE.items():
        runs = found.grid[found.grid["architecture"] == architecture]
        best = stats.indistinguishable(runs, "learning_rate", "jaccard")
        holds, text = None, best.reason or UNFINISHED
        if rate in (known := best.group + best.worse) and len(known) > 1:
            if best.alike is not False:
                holds = False if rate in best.worse else (best.group == [rate] or None)
            text = f"Not told from the highest mean: {', '.join(f'{x:g}' for x in best.group)} "
            text += f"(n = {len(runs)}, batch sizes as repetitions). {best.reason or ''}"
        statement = f"H1: the best rate for {architecture} is {rate:g}."
        yield Claim(statement, judge(holds), text.strip())
    stds = found.by("batch_size", BATCH_SIZES, "loss_std")
    logs = np.log(stds.where(stds > 0))
    ratios = {f"log ratio of batch {a} to {b}:": logs[a] - logs[b] for a, b in ((8, 16), (16, 32))}
    statement = "H2: the std of the validation loss falls with the batch size: 32 < 16 < 8."
    yield _above_zero(statement, ratios)
    calmed = (logs[8] - logs[32]).unstack("architecture")
    words = "Log ratio of the std at batch 8 to 32"
    yield _highest("H2: larger batches calm UNet most of all.", calmed, "unet", words)
    lost, large = found.out_of_memory, {cell for cell in GRID if cell[1] == 32}
    came = large <= set(found.cell_means("jaccard").index)  # then it is refuted
    text = f"{len(lost & large)} cells ran out of memory at 32, {len(lost)} in all."
    holds = True if lost & large else False if came else None
    yield Claim("H2: memory limits batch 32.", judge(holds), text)
    batches = found.by("batch_size", BATCH_SIZES)
    gain = (batches[32] - batches[8]).unstack("architecture")
    words = "Jaccard at batch 32 less that at 8"
    statement = "H3: Attention_UNet gains most from large batches."
    yield _highest(statement, gain, "attention_unet", words)
    # Over those cells that all architectures have: a row a seed.
    over, words = ["seed", "batch_size", "learning_rate"], "std of the Jaccard over cells"
    table = found.grid.pivot_table(index=over, columns="architecture", values="jaccard")
    table = table.reindex(columns=list(ARCHITECTURES)).dropna().groupby("seed").std().dropna()
    statement = "H3: UNet is the most sensitive to its settings."
    yield _highest(statement, table, "unet", words)
    statement = "H3: Attention_ResUNet is the most robust."
    yield _highest(statement, -table, "attention_resunet", f"minus {words}")


def _above_zero(statement, contrasts):
    """A claim that contrasts (words → `pandas.Series` over cells or seeds) are all above zero."""
    contrasts = {words: values.dropna() for words, values in contrasts.items()}
    if not all(map(len, contrasts.values())):
        return Claim(statement, judge(None), UNFINISHED)
    intervals = {words: stats.mean_interval(values) for words, values in contrasts.items()}
    told = "; ".join(f"{words} {interval:.3g}" for words, interval in intervals.items())
    verdict = weakest([judge_interval(interval, **POSITIVE) for interval in intervals.values()])
    return Claim(statement, verdict, f"{told}. n counts matched cells, or seeds.")


def _highest(statement, table, architecture, words):
    table = table.reindex(columns=list(ARCHITECTURES))
    margins = table.rsub(table[architecture], axis=0).drop(columns=architecture)
    return _above_zero(statement, {f"{words}, less {name}'s:": x for name, x in margins.items()})


def _of_noise(found):
    related = stats.correlation(found.grid["loss_std"], found.grid["jaccard"])
    text = f"Spearman's correlation of std and Jaccard over the grid's runs: {related:.2f}."
    statement = "The steadier the validation loss, the better the Jaccard."
    yield Claim(
        statement, judge_interval(related, **NEGATIVE), text
    )  # no interval: nobody can tell
    group, k, n, sd = found.group, len(found.group.table), len(found.grid), found.group.sd
    text = f"The best, {group.best}, and {len(group.group) - 1} that can't be told from it."
    alone = len(group.group) == 1 < k
    if not alone and sd is not None and k > 1:
        least = stats.detectable_difference(sd, found.seeds, k, comparisons=k - 1)
        text += f" The grid would have found differences of {least:.2g} with a power of 80 %."
    verdict = judge(True if alone and group.alike is not False else None)
    text = f"{text} {group.reason or ''}".strip()
    yield Claim(f"One of the {k} cells is the best.", verdict, text)
    holds, text = None, "One seed a cell: nothing was repeated."
    if sd is not None:
        low, high = (sd * math.sqrt((n - k) / chi2.ppf(q, n - k)) for q in (0.975, 0.025))
        holds = True if high <= CONSISTENT else False if low > CONSISTENT else None
        text = f"Pooled std {sd:.3g} [{low:.3g}, {high:.3g}] (n = {n} runs)."
    statement = f"Results are consistent over runs (std over seeds at most {CONSISTENT:g})."
    yield Claim(statement, judge(holds), text)


def _test(result):
    return result["metrics"]["test"]["jaccard"]


def _by_seed(statement, pairs, text, judged=POSITIVE, of=_test, compare=operator.sub):
    """A claim on how results differ from others (pairs of lists) of the same seeds."""
    values = []
    for mine, others in pairs:
        base = {result["seed"]: of(result) for result in others}
        values += [compare(of(r), base[r["seed"]]) for r in mine if r["seed"] in base]
    values = [value for value in values if math.isfinite(value)]
    return by_interval(statement, stats.paired_interval(values, [0.0] * len(values)), judged, text)


def _against_earlier(found):
    pairs = [(found.of(name), found.of(f"earlier-{a}")) for a, name in found.best_of.items()]
    loss_std, epochs = (functools.partial(found.metric, key=k) for k in ("loss_std", "best_epoch"))
    halved = {"high": math.log(CALMER)}

    def late_std(result):
        losses = found.histories[result["id"]]["val_loss"]
        return stats.std(losses[len(losses) // 2 :])

    def log_ratio(a, b):
        return math.log(a / b) if a and b else math.nan  # of one epoch there is none

    text = f"Log ratio {{:.3g}}, half is {math.log(CALMER):.2f}; by architecture and seed."
    statement = "The best cells' validation loss has a std at most half of that before "
    yield _by_seed(f"{statement}(1e-2, batch 8).", pairs, text, halved, loss_std, log_ratio)
    # The write-up's std is mostly how far the loss falls in the first epochs.
    statement = "The same of the second half of the epochs, where the loss no longer falls."
    yield _by_seed(statement, pairs, text, halved, late_std, log_ratio)
    text = f"Test Jaccard less the earlier one's: {{:.3g}}; from -{MATCH:g} on it is a match."
    statement = "The best cells match or beat the earlier setting on test tiles."
    yield _by_seed(statement, pairs, text, {"low": -MATCH})
    text = "Epochs to the best less the earlier one's: {:.3g}, by architecture and seed."
    statement = "The best cells converge in fewer epochs than the earlier setting."
    yield _by_seed(statement, pairs, text, NEGATIVE, epochs)


def _of_others(found):
    best, level = found.of(found.best), found.baselines["foreground"]["jaccard"]
    if runs := found.of(MISPAIRED):
        statement = "With the masks of other pictures a network is no better than marking every "
        interval = stats.mean_interval([_test(run) for run in runs])
        text = f"Test Jaccard {interval:.3g}; every pixel marked gives {level:.3g}."
        yield Claim(f"{statement}pixel.", judge_interval(interval, high=level), text)
    if len(found.members) > 1 and found.ensemble:
        mean = [{"seed": seed, "metrics": {"test": s}} for seed, s in found.ensemble.items()]
        text = "Test Jaccard of the mean probability less the best cell's: {:.3g}, by seed."
        statement = f"An ensemble of the {len(found.members)} best cells beats the best one."
        yield _by_seed(statement, [(mean, best)], text)
    if found.after:
        of, recipe = found.after.of, found.after.study.recipes["longer"]
        text = "Difference of test Jaccard {:.3g}, by seed."
        statement = f"The best cell is better with up to {recipe.times * recipe.epochs} epochs."
        yield _by_seed(statement, [(of("longer"), best)], text)
        statement = "On a second set it helps to begin with the best cell's weights."
        yield _by_seed(statement, [(of("second-fine-tuned"), of("second-from-scratch"))], text)


write_report = UnetResults.report
