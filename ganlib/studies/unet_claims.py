"""The hypotheses and success criteria of the U-Net write-up, judged by what the grid can tell."""

import math

from ganlib.report.claims import (
    CANNOT_TELL,
    SUPPORTED,
    Claim,
    Claims,
    judge,
    judge_interval,
    judge_negative,
    judge_positive,
)
from ganlib.stats import indistinguishable, mean_interval, paired_interval, std
from ganlib.studies.unet import MISPAIRED
from ganlib.studies.unet_hypotheses import hypotheses

CALMER = 0.5  # "> 50 % lower"
MATCH = 0.01  # a Jaccard as near as that "matches"
CONSISTENT = 0.02  # standard deviation of the Jaccard over seeds that counts as consistent


def claims(found):
    """The claims on those cells that have finished.

    Args:
        found: `ganlib.studies.unet_report.UnetResults`.

    Returns:
        `ganlib.stats.Claims`.
    """
    made = [_rates_matter(found), *hypotheses(found)]
    made += [_stability_pays(found), _stands_out(found), _consistent(found)]
    if all(found.of(f"earlier-{name}") for name in found.best_of):
        made += [_calmer(found), _calmer_late(found), _as_good(found), _sooner(found)]
    if found.of(MISPAIRED):
        made.append(_mispaired(found))
    if len(found.members) > 1 and found.ensemble():
        made.append(_ensemble(found))
    if found.after:
        made += [_longer(found), _transfer(found)]
    return Claims(tuple(made))


def _rates_matter(found):
    effect = found.variance["jaccard"].effect("learning_rate")
    statement = "The learning rate changes the Jaccard (the published grid's was never set)."
    if effect.significant is None:
        return Claim(statement, CANNOT_TELL, found.variance["jaccard"].note or "No such effect.")
    evidence = (
        f"F = {effect.F:.3g}, p = {effect.p_adjusted:.2g} (Holm), partial ω² = "
        f"{effect.omega2_partial:.2f}, n = {found.variance['jaccard'].n}."
    )
    return Claim(statement, SUPPORTED if effect.significant else CANNOT_TELL, evidence)


def _stability_pays(found):
    related = found.stability_and_score
    statement = "The steadier the validation loss, the better the Jaccard."
    if related.value is None:
        return Claim(statement, CANNOT_TELL, f"{related}")
    return Claim(
        statement,
        judge_negative(related),
        f"Spearman's correlation of std and Jaccard over the grid's runs: {related:.2f}.",
    )


def _stands_out(found):
    group = found.group
    statement = f"One of the {len(group.table)} cells is the best."
    if len(group.group) == 1 < len(group.table):
        verdict = CANNOT_TELL if group.alike is False else SUPPORTED
        evidence = f"{group.best} stands alone, n = {len(found.grid)} runs. {group.reason or ''}"
        return Claim(statement, verdict, evidence.strip())
    evidence = f"{len(group.group)} cells can't be told from the best, {group.best}."
    if (least := found.detectable()) is not None:
        evidence += f" The grid would have found differences of {least:.2g} with a power of 80 %."
    return Claim(statement, CANNOT_TELL, f"{evidence} {group.reason or ''}".strip())


def _consistent(found):
    statement = f"Results are consistent over runs (std over seeds at most {CONSISTENT:g})."
    group = found.group
    if group.sd is None:
        return Claim(statement, CANNOT_TELL, "One seed a cell: nothing was repeated.")
    from scipy.stats import chi2

    n = len(found.grid)
    df = n - len(group.table)
    low, high = (group.sd * math.sqrt(df / chi2.ppf(q, df)) for q in (0.975, 0.025))
    holds = True if high <= CONSISTENT else False if low > CONSISTENT else None
    return Claim(
        statement,
        judge(holds),
        f"Pooled std {group.sd:.3g} [{low:.3g}, {high:.3g}] (n = {n} runs).",
    )


def _against_earlier(found, of, compare=lambda a, b: a - b):
    """A measure of each architecture's best cell against its earlier setting, by seed."""
    values = []
    for architecture, name in found.best_of.items():
        earlier = {r["seed"]: of(r) for r in found.of(f"earlier-{architecture}")}
        values += [
            compare(of(r), earlier[r["seed"]]) for r in found.of(name) if r["seed"] in earlier
        ]
    return [value for value in values if math.isfinite(value)]


def _test(result):
    return result["metrics"]["test"]["jaccard"]


def _calmer(found):
    return _std_halved(
        found,
        "The best cells' validation loss has a std at most half of that before (1e-2, batch 8).",
        lambda result: result["metrics"]["loss_std"],
    )


def _calmer_late(found):
    """The write-up's std is mostly how far the loss falls in the first epochs."""

    def late(result):
        losses = found.histories[result["id"]]["val_loss"]
        return std(losses[len(losses) // 2 :])

    return _std_halved(
        found, "The same of the second half of the epochs, where the loss no longer falls.", late
    )


def _std_halved(found, statement, of):
    def log_ratio(a, b):
        return math.log(a / b) if a and b else math.nan  # of one epoch there is none

    return _on_pairs(
        statement,
        _against_earlier(found, of, log_ratio),
        lambda interval: judge_interval(interval, high=math.log(CALMER)),
        f"Log ratio {{:.3g}}, half is {math.log(CALMER):.2f}; by architecture and seed.",
    )


def _as_good(found):
    return _on_pairs(
        "The best cells match or beat the earlier setting on test tiles.",
        _against_earlier(found, _test),
        lambda interval: judge_interval(interval, low=-MATCH),
        f"Test Jaccard less the earlier one's: {{:.3g}}, by architecture and seed; down to "
        f"-{MATCH:g} counts as a match.",
    )


def _sooner(found):
    return _on_pairs(
        "The best cells converge in fewer epochs than the earlier setting.",
        _against_earlier(found, lambda r: r["metrics"]["best_epoch"]),
        judge_negative,
        "Epochs to the best less the earlier one's: {:.3g}, by architecture and seed.",
    )


def _mispaired(found):
    everything = found.baselines["foreground"]["jaccard"]
    interval = mean_interval([_test(result) for result in found.of(MISPAIRED)])
    return Claim(
        "With the masks of other pictures a network is no better than marking every pixel.",
        judge_interval(interval, high=everything),
        f"Test Jaccard {interval:.3g}; every pixel marked gives {everything:.3g}.",
    )


def _ensemble(found):
    singles = {r["seed"]: _test(r) for r in found.of(found.best)}
    pairs = [
        scores["jaccard"] - singles[seed]
        for seed, scores in found.ensemble().items()
        if seed in singles
    ]
    return _on_pairs(
        f"An ensemble of the {len(found.members)} best cells beats the best one.",
        pairs,
        judge_positive,
        "Test Jaccard of the mean probability less the best cell's: {:.3g}, by seed.",
    )


def _longer(found):
    (epochs,) = {t.recipe.epochs for t in found.after.study.trials if t.name == "longer"}
    best = {r["seed"]: _test(r) for r in found.of(found.best)}
    pairs = [_test(r) - best[r["seed"]] for r in found.after.of("longer") if r["seed"] in best]
    return _by_seed(f"The best cell is better with up to {epochs} epochs.", pairs)


def _transfer(found):
    scratch = {r["seed"]: _test(r) for r in found.after.of("second-from-scratch")}
    tuned = found.after.of("second-fine-tuned")
    pairs = [_test(r) - scratch[r["seed"]] for r in tuned if r["seed"] in scratch]
    return _by_seed("On a second set it helps to begin with the best cell's weights.", pairs)


def _by_seed(statement, pairs):
    return _on_pairs(
        statement, pairs, judge_positive, "Difference of test Jaccard {:.3g}, by seed."
    )


def _on_pairs(statement, pairs, judged, evidence):
    """A claim on the mean of differences between runs that share a seed."""
    interval = paired_interval(pairs, [0.0] * len(pairs))
    return Claim(statement, judged(interval), evidence.format(interval))


def guidelines(found):
    """What the grid advises for each architecture, and how firmly.

    Args:
        found: `ganlib.studies.unet_report.UnetResults`.

    Returns:
        List of dicts with `architecture`, `setting` (the cheapest cell that can't be told from the
        architecture's best), `jaccard`, `seconds_per_epoch`, `avoid` (cells that are worse) and
        `firmness`.
    """
    made = []
    for architecture in found.best_of:
        runs = found.grid[found.grid["architecture"] == architecture]
        best = indistinguishable(runs, "name", "jaccard")
        told = best.sd is not None
        candidates = best.group if told else [found.best_of[architecture]]
        means = runs.groupby("name")[["jaccard", "training_seconds", "seconds_per_epoch"]].mean()
        cheapest = means.loc[candidates, "training_seconds"].idxmin()
        row = {"architecture": architecture, "setting": cheapest}
        row["jaccard"] = float(means.loc[cheapest, "jaccard"])
        row["seconds_per_epoch"] = float(means.loc[cheapest, "seconds_per_epoch"])
        row["avoid"] = ", ".join(best.worse) or "none that can be told"
        row["firmness"] = (
            f"{len(best.group)} of {len(best.table)} cells are as good as can be told; this is the "
            f"one soonest done. {best.reason or ''}".strip()
            if told
            else "A hint: the highest of one run a cell, which may be luck."
        )
        made.append(row)
    return made
