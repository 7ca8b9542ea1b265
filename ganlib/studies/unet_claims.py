"""What the U-Net write-up expected, judged by what the grid can tell; `found` is a `UnetResults`.

Its three hypotheses are judged by cells that differ in one setting, its criteria of success by runs
that share a seed.
"""

import math
import operator

import numpy as np
from scipy.stats import chi2

from ganlib.report.claims import (
    CANNOT_TELL,
    REFUTED,
    SUPPORTED,
    Claim,
    judge,
    judge_interval,
    judge_negative,
    judge_positive,
)
from ganlib.stats import correlation, indistinguishable, mean_interval, paired_interval, std
from ganlib.studies.results import by_interval, weakest
from ganlib.studies.unet import ARCHITECTURES, BATCH_SIZES, GRID, LEARNING_RATES, MISPAIRED

MIDDLE = [5e-4, 1e-3]  # H1's rates
EXPECTED_RATE = {"unet": 5e-4, "attention_unet": 1e-3, "attention_resunet": 1e-3}
CALMER = 0.5  # "> 50 % lower"
MATCH = 0.01  # a Jaccard as near as that "matches"
CONSISTENT = 0.02  # standard deviation of the Jaccard over seeds that counts as consistent
UNFINISHED = "The cells that it compares have not all finished."


def claims(found):
    """A `Claim` on each, of those cells that have finished."""
    yield _rates_matter(found)
    for hypothesis in (_first_hypothesis, _second_hypothesis, _third_hypothesis):
        yield from hypothesis(found)
    yield from (_stability_pays(found), _stands_out(found), _consistent(found))
    if all(found.of(f"earlier-{name}") for name in found.best_of):
        yield from _against_earlier(found)
    yield from _others(found)


def _rates_matter(found):
    variance = found.variance["jaccard"]
    effect = variance.effect("learning_rate")
    statement = "The learning rate changes the Jaccard (the published grid's was never set)."
    if effect.significant is None:
        return Claim(statement, CANNOT_TELL, variance.note or "No such effect.")
    return Claim(
        statement,
        SUPPORTED if effect.significant else CANNOT_TELL,
        f"F = {effect.F:.3g}, p = {effect.p_adjusted:.2g} (Holm), partial ω² = "
        f"{effect.omega2_partial:.2f}, n = {variance.n}.",
    )


def _above_zero(statement, contrasts, text="{}. n counts matched cells."):
    """A claim that contrasts (words → `pandas.Series` over matched cells) are all above zero."""
    contrasts = {words: values.dropna() for words, values in contrasts.items()}
    if not all(map(len, contrasts.values())):
        return Claim(statement, CANNOT_TELL, UNFINISHED)
    intervals = {words: mean_interval(values) for words, values in contrasts.items()}
    told = "; ".join(f"{words} {interval:.3g}" for words, interval in intervals.items())
    return Claim(
        statement, weakest(list(map(judge_positive, intervals.values()))), text.format(told)
    )


def _levels(found, key, setting, levels):
    """Cell means of a measure, a column a level of one setting and a row a pair of the others."""
    return found.cell_means(key).unstack(setting).reindex(columns=list(levels))


def _less_others(table, architecture, words):
    """An architecture's column of contrasts less each other's, by words for it."""
    table = table.reindex(columns=list(ARCHITECTURES))
    others = [name for name in ARCHITECTURES if name != architecture]
    return {words.format(name): table[architecture] - table[name] for name in others}


def _first_hypothesis(found):
    rates = _levels(found, "jaccard", "learning_rate", LEARNING_RATES)
    middle = rates[MIDDLE].mean(axis=1, skipna=False)
    yield _above_zero(
        "H1: learning rates of 5e-4 to 1e-3 give the best Jaccard.",
        {"Jaccard above that of 1e-4:": middle - rates[1e-4], "of 5e-3:": middle - rates[5e-3]},
    )
    for architecture, rate in EXPECTED_RATE.items():
        runs = found.grid[found.grid["architecture"] == architecture]
        best = indistinguishable(runs, "learning_rate", "jaccard")
        statement = f"H1: the best rate for {architecture} is {rate:g}."
        if rate not in best.group + best.worse or len(best.group + best.worse) < 2:
            yield Claim(statement, CANNOT_TELL, best.reason or UNFINISHED)
            continue
        alone = SUPPORTED if best.group == [rate] else CANNOT_TELL
        verdict = REFUTED if rate in best.worse else alone
        listed = ", ".join(f"{x:g}" for x in best.group)
        evidence = f"Highest mean at {best.best:g}; not told from it: {listed} (n = {len(runs)}, "
        evidence += f"batch sizes taken as repetitions). {best.reason or ''}"
        verdict = CANNOT_TELL if best.alike is False else verdict
        yield Claim(statement, verdict, evidence.strip())


def _second_hypothesis(found):
    stds = _levels(found, "loss_std", "batch_size", BATCH_SIZES)
    logs = np.log(stds.where(stds > 0))
    ratios = {
        "log ratio of batch 8 to 16:": logs[8] - logs[16],
        "of 16 to 32:": logs[16] - logs[32],
    }
    yield _above_zero(
        "H2: the std of the validation loss falls with the batch size: 32 < 16 < 8.", ratios
    )
    words = "Log ratio of the std at batch 8 to 32, less that of {}:"
    calmed = (logs[8] - logs[32]).unstack("architecture")
    statement = "H2: larger batches calm UNet most of all."
    yield _above_zero(statement, _less_others(calmed, "unet", words))
    lost, large = found.out_of_memory(), {cell for cell in GRID if cell[1] == 32}
    came = large <= set(found.cell_means("jaccard").index)  # then it is refuted
    yield Claim(
        "H2: memory limits batch 32.",
        judge(True if lost & large else False if came else None),
        f"{len(lost)} cells ran out of memory, {len(lost & large)} of them at 32; the most that a "
        f"run held was {found.grid['gib'].max():.2g} GiB.",
    )


def _third_hypothesis(found):
    # Std of the Jaccard over those cells that all architectures have: a row a seed.
    over = ["seed", "batch_size", "learning_rate"]
    table = found.grid.pivot_table(index=over, columns="architecture", values="jaccard")
    table = table.reindex(columns=list(ARCHITECTURES)).dropna().groupby("seed").std().dropna()
    listed = ", ".join(f"{name} {values.mean():.3g}" for name, values in table.items())
    text = f"Std of the Jaccard over an architecture's cells: {listed}; margins {{}}, by seed."
    if len(table) == 1:
        text += " One seed does not tell how much of it is noise."
    batches = _levels(found, "jaccard", "batch_size", BATCH_SIZES)
    gain = (batches[32] - batches[8]).unstack("architecture")
    words = "Jaccard at batch 32 less that at 8, less that of {}:"
    gain = _less_others(gain, "attention_unet", words)
    yield _above_zero("H3: Attention_UNet gains most from large batches.", gain)
    statement = "H3: UNet is the most sensitive to its settings."
    yield _above_zero(statement, _less_others(table, "unet", "to {}:"), text)
    statement = "H3: Attention_ResUNet is the most robust."
    yield _above_zero(statement, _less_others(-table, "attention_resunet", "to {}:"), text)


def _stability_pays(found):
    related = correlation(found.grid["loss_std"], found.grid["jaccard"])
    statement = "The steadier the validation loss, the better the Jaccard."
    if math.isnan(related.mean):
        return Claim(statement, CANNOT_TELL, f"{related}")
    evidence = "Spearman's correlation of std and Jaccard over the grid's runs: {:.2f}."
    return by_interval(statement, related, judge_negative, evidence)


def _stands_out(found):
    group = found.group
    statement = f"One of the {len(group.table)} cells is the best."
    if len(group.group) == 1 < len(group.table):
        verdict = CANNOT_TELL if group.alike is False else SUPPORTED
        evidence = f"{group.best} stands alone, n = {len(found.grid)} runs."
    else:
        verdict = CANNOT_TELL
        evidence = f"{len(group.group)} cells can't be told from the best, {group.best}."
        if (least := found.detectable()) is not None:
            evidence += (
                f" The grid would have found differences of {least:.2g} with a power of 80 %."
            )
    return Claim(statement, verdict, f"{evidence} {group.reason or ''}".strip())


def _consistent(found):
    statement = f"Results are consistent over runs (std over seeds at most {CONSISTENT:g})."
    sd, n = found.group.sd, len(found.grid)
    if sd is None:
        return Claim(statement, CANNOT_TELL, "One seed a cell: nothing was repeated.")
    df = n - len(found.group.table)
    low, high = (sd * math.sqrt(df / chi2.ppf(q, df)) for q in (0.975, 0.025))
    holds = True if high <= CONSISTENT else False if low > CONSISTENT else None
    return Claim(
        statement, judge(holds), f"Pooled std {sd:.3g} [{low:.3g}, {high:.3g}] (n = {n} runs)."
    )


def _test(result):
    return result["metrics"]["test"]["jaccard"]


def _by_seed(mine, others, of, compare=operator.sub):
    """How results differ from others of the same seeds, as far as that is a number."""
    base = {result["seed"]: of(result) for result in others}
    values = [compare(of(r), base[r["seed"]]) for r in mine if r["seed"] in base]
    return [value for value in values if math.isfinite(value)]


def _on_pairs(statement, values, judged, evidence):
    interval = paired_interval(values, [0.0] * len(values))
    return by_interval(statement, interval, judged, evidence)


def _against_earlier(found):
    """Each architecture's best cell against its earlier setting, by seed."""

    def differences(of, compare=operator.sub):
        pairs = [(found.of(name), found.of(f"earlier-{a}")) for a, name in found.best_of.items()]
        return [value for pair in pairs for value in _by_seed(*pair, of, compare)]

    def late_std(result):
        losses = found.histories[result["id"]]["val_loss"]
        return std(losses[len(losses) // 2 :])

    def log_ratio(a, b):
        return math.log(a / b) if a and b else math.nan  # of one epoch there is none

    def halved(interval):
        return judge_interval(interval, high=math.log(CALMER))

    ratio = f"Log ratio {{:.3g}}, half is {math.log(CALMER):.2f}; by architecture and seed."
    yield _on_pairs(
        "The best cells' validation loss has a std at most half of that before (1e-2, batch 8).",
        differences(lambda result: result["metrics"]["loss_std"], log_ratio),
        halved,
        ratio,
    )
    # The write-up's std is mostly how far the loss falls in the first epochs.
    yield _on_pairs(
        "The same of the second half of the epochs, where the loss no longer falls.",
        differences(late_std, log_ratio),
        halved,
        ratio,
    )
    yield _on_pairs(
        "The best cells match or beat the earlier setting on test tiles.",
        differences(_test),
        lambda interval: judge_interval(interval, low=-MATCH),
        "Test Jaccard less the earlier one's: {:.3g}, by architecture and seed; down to "
        f"-{MATCH:g} counts as a match.",
    )
    yield _on_pairs(
        "The best cells converge in fewer epochs than the earlier setting.",
        differences(lambda result: result["metrics"]["best_epoch"]),
        judge_negative,
        "Epochs to the best less the earlier one's: {:.3g}, by architecture and seed.",
    )


def _others(found):
    """The control, the ensemble, and what followed the grid."""
    if mispaired := found.of(MISPAIRED):
        everything = found.baselines["foreground"]["jaccard"]
        yield by_interval(
            "With the masks of other pictures a network is no better than marking every pixel.",
            mean_interval([_test(result) for result in mispaired]),
            lambda interval: judge_interval(interval, high=everything),
            f"Test Jaccard {{:.3g}}; every pixel marked gives {everything:.3g}.",
        )
    best = found.of(found.best)
    if len(found.members) > 1 and (ensemble := found.ensemble()):
        singles = {result["seed"]: _test(result) for result in best}
        yield _on_pairs(
            f"An ensemble of the {len(found.members)} best cells beats the best one.",
            [s["jaccard"] - singles[seed] for seed, s in ensemble.items() if seed in singles],
            judge_positive,
            "Test Jaccard of the mean probability less the best cell's: {:.3g}, by seed.",
        )
    if found.after:
        of = found.after.of
        evidence = "Difference of test Jaccard {:.3g}, by seed."
        recipe = found.after.study.recipes["longer"]
        longer = _by_seed(of("longer"), best, _test)
        statement = f"The best cell is better with up to {recipe.times * recipe.epochs} epochs."
        yield _on_pairs(statement, longer, judge_positive, evidence)
        tuned = _by_seed(of("second-fine-tuned"), of("second-from-scratch"), _test)
        statement = "On a second set it helps to begin with the best cell's weights."
        yield _on_pairs(statement, tuned, judge_positive, evidence)
