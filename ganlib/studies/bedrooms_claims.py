"""What the bedroom write-up reported and asked, and what our repairs promise, by our runs."""

import functools

import numpy as np

from ganlib.report.claims import (
    CANNOT_TELL,
    Claim,
    Claims,
    judge,
    judge_interval,
    judge_negative,
    judge_positive,
)
from ganlib.stats import mean_interval

ASSIGNMENT, REPAIRED = "batch-128", "repaired"
VARIED = 0.5  # spread of the features, as a share of real pictures': less is no wide range
RANKED = 5  # variations: fewer make no rank correlation worth the name
# Variation → what the write-up's discussion asks of it.
ASKED = {
    "batch-256": "A larger batch (256) does better than 128.",
    "batch-32": "A smaller batch (32) does better than 128.",
    "slow-discriminator": "Slowing the overpowering player's learning rate (D's, to a quarter) "
    "does better.",
}
# Ablation → the repair that it leaves out.
REPAIRS = {
    "transposed": "Upsampling and convolution in place of transposed convolutions",
    "no-augmentation": "DiffAugment",
    "equal-rates": "A discriminator that learns at twice the generator's rate (TTUR)",
    "no-spectral-norm": "Spectral normalisation in place of D's batch normalisation",
}


def claims(found):
    """The write-up's statements and our repairs against our runs; see `ganlib.stats.Claims`."""
    made = []
    if found.of(ASSIGNMENT):
        made += [_no_bedrooms(found), _varied(found)]
        made += [_asked(found, name, text) for name, text in ASKED.items() if found.of(name)]
        made.append(_more_epochs(found))
    made.append(_inception_score(found))
    if found.of(REPAIRED):
        if found.of(ASSIGNMENT):
            made += [_halved(found), _recall(found)]
        made += [_repair(found, name, text) for name, text in REPAIRS.items() if found.of(name)]
        made.append(_average(found))
    made.append(_last_is_best(found))
    return Claims(tuple(made))


def _no_bedrooms(found):
    values, real = found.values(ASSIGNMENT, "precision"), found.baselines["real"]["precision"]
    # Precision asks it of each picture: does it lie among the real ones?
    low = [value < real / 2 for value in values]
    return Claim(
        "The assignment's pictures do not resemble bedrooms.",
        judge(low[0]) if len(set(low)) == 1 else CANNOT_TELL,
        f"Precision {mean_interval(values):.2f}, of real pictures {real:.2f}; KID "
        f"{mean_interval(found.values(ASSIGNMENT, 'kid')):.3g}, of real pictures "
        f"{found.baselines['real']['kid']:.2g}, of noise {found.baselines['noise']['kid']:.2g}.",
    )


def _varied(found):
    values = found.values(ASSIGNMENT, "spread")
    wide = [value >= VARIED for value in values]
    return Claim(
        "They differ from one another, though.",
        judge(wide[0]) if len(set(wide)) == 1 else CANNOT_TELL,
        f"The features' standard deviation is {mean_interval(values):.2f} of real pictures'; "
        f"{VARIED:g} or more is taken as varied. Recall "
        f"{mean_interval(found.values(ASSIGNMENT, 'recall')):.2f}: different from one another is "
        "not yet as different as bedrooms are.",
    )


def _asked(found, name, statement):
    return _compared(
        statement,
        found.paired(name, "kid", ASSIGNMENT),
        "KID less the assignment's: {:+.3f}; the assignment's is "
        f"{found.mean(ASSIGNMENT, 'kid'):.3f}.",
        judge_negative,
    )


def _compared(statement, interval, evidence, verdict):
    """A claim on an interval over the seeds of two variations; `evidence` has a place for it."""
    return Claim(statement, verdict(interval), evidence.format(interval))


def _more_epochs(found):
    gains, halves = [], []
    for history in found.history(ASSIGNMENT):
        if "kid" not in history:  # weights were not finite from the first score on
            continue
        scored = history.dropna(subset="kid")
        half = scored.iloc[(scored["epoch"] - scored["epoch"].iloc[-1] / 2).abs().argmin()]
        gains.append(scored["kid"].iloc[-1] - half["kid"])
        halves.append(int(half["epoch"]))
    if not gains:
        return Claim("More epochs do better.", CANNOT_TELL, "No run had finite weights to score.")
    gain = mean_interval(gains)
    return Claim(
        "More epochs do better.",
        judge_negative(gain),
        f"KID of the assignment after the last epoch less after epoch {halves[0]}: {gain:+.3f}, on "
        "validation pictures.",
    )


def _inception_score(found):
    real = found.baselines["real"]["inception_score"]
    scores = {name: np.mean(found.values(name, "inception_score")) for name in found.names}
    scores["noise"] = found.baselines["noise"]["inception_score"]
    best = max(scores, key=scores.get)
    kids = [np.mean(found.values(name, "kid")) for name in found.names]
    enough = len(found.names) >= RANKED
    order = found.rank_correlation([scores[n] for n in found.names], kids) if enough else None
    return Claim(
        "The Inception Score tells how good bedrooms are.",
        judge(False if scores[best] >= real else None if order is None else order < -0.5),
        f"Real pictures score {real:.2f} of at most 1,000; the highest of all others is "
        f"{scores[best]:.2f} ({best}). "
        + ("" if order is None else f"Rank correlation with KID: {order:+.2f} (ideal: -1). ")
        + "A set of one class can't spread over classes, however good its pictures.",
    )


def _halved(found):
    return _compared(
        "The repaired recipe at least halves the assignment's KID.",
        found.paired(REPAIRED, "kid", ASSIGNMENT, ratio=True),
        "KID over the assignment's: {:.3f}.",
        functools.partial(judge_interval, high=0.5),
    )


def _recall(found):
    return _compared(
        "The repaired recipe's recall is not lower.",
        found.paired(REPAIRED, "recall", ASSIGNMENT),
        "Recall less the assignment's: {:+.3f}.",
        functools.partial(judge_interval, low=0.0),
    )


def _repair(found, name, repair):
    return _compared(
        f"{repair} lowers KID.",
        found.paired(name, "kid", REPAIRED),
        f"KID without it less KID with it: {{:+.3f}}; with it {found.mean(REPAIRED, 'kid'):.3f}.",
        judge_positive,
    )


def _average(found):
    pairs = [r["metrics"]["scores"] for r in found.of(REPAIRED)]
    pairs = [
        (s["unaveraged"]["kid"], s["last"]["kid"])
        for s in pairs
        if s.get("unaveraged") and s["last"]
    ]
    if not pairs:
        nothing = "No run with an average ended with finite weights."
        return Claim("Averaging G's weights lowers KID.", CANNOT_TELL, nothing)
    difference = mean_interval([without - with_it for without, with_it in pairs])
    return Claim(
        "Averaging G's weights lowers KID.",
        judge_positive(difference),
        f"KID without the average less KID with it, same run, last epoch: {difference:+.3f}. The "
        "average takes no part in training, so one run shows both.",
    )


def _last_is_best(found):
    last = [r["metrics"]["best_epoch"] == r["metrics"]["epochs"] for r in found.results]
    return Claim(
        "The last epoch is the best.",
        judge(all(last)),
        f"By KID on validation pictures in {sum(last)} of {len(last)} runs.",
    )
