"""The boundary write-up's claims, judged by intervals over seeds."""

import math

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
from ganlib.stats import mean_interval, paired_interval

BCE, BOUNDARY, REPAIRED, REPAIRED_BCE, IDLE = (
    "bce",
    "gamma-0.8",
    "repaired",
    "repaired-bce",
    "idle-generator",
)
# Each recipe with plain cross-entropy and with the boundary loss.
PAIRS = {"write-up": (BCE, BOUNDARY), "repaired": (REPAIRED_BCE, REPAIRED)}
REPORTED = {
    "s1": 0.9982962608337402,
    "s2": 0.9999310374259949,
    "s3": 0.6801146268844604,
    "score": 0.6789090664113528,
}
SAME = 0.05  # as far apart as two numbers may be that "stay the same"
FIRST = 10  # the "first epochs"
REPAIRS = {
    "no-rest": "A generator that comes to rest",
    "no-likeness": "The likeness loss",
    "no-turns": "Turned and mirrored pictures",
}


def claims(found):
    """The claims on those trials that have finished.

    Args:
        found: `ganlib.studies.boundary_report.BoundaryResults`.

    Returns:
        `ganlib.stats.Claims`.
    """
    made = []
    for base, mine in PAIRS.values():
        if found.of(mine) and found.of(base):
            made += [_rises(found, mine, base), _stay(found, mine, base)]
    if found.of(BOUNDARY):
        made += [_reaches(found, BOUNDARY), _losses(found)]
    if len(found.gammas()) > 1 and found.of(BOUNDARY):
        made.append(_best_gamma(found))
    if found.of(IDLE):
        made.append(_means_likeness(found))
    made.append(_too_long(found))
    if found.of(REPAIRED):
        made += [_reaches(found, REPAIRED), _score(found)]
        if found.of(BOUNDARY):
            made.append(_better_pictures(found))
        made += [_repair(found, name, text) for name, text in REPAIRS.items() if found.of(name)]
    return Claims(tuple(made))


def _whose(name):
    return "repaired recipe" if name in (REPAIRED, REPAIRED_BCE) else "write-up's recipe"


def _means(found, name, key):
    """Seed → a criterion's mean over the first epochs, of the seeds that were scored."""
    means = {
        r["seed"]: float(history[key].iloc[:FIRST].mean())
        for r, history in zip(found.of(name), found.history(name), strict=True)
        if key in history
    }
    return {seed: mean for seed, mean in means.items() if math.isfinite(mean)}


def _difference(found, mine, base, key):
    a, b = (_means(found, name, key) for name in (mine, base))
    seeds = a.keys() & b.keys()
    return paired_interval([a[seed] for seed in seeds], [b[seed] for seed in seeds])


def _rises(found, mine, base):
    gap = _difference(found, mine, base, "s2")
    means = [*_means(found, base, "s2").values()]
    bce = f"{np.mean(means):.3f}" if means else "unknown"
    return Claim(
        f"Against plain BCE, s2 rises drastically in the first epochs ({_whose(mine)}).",
        judge_interval(gap, low=0.1),
        f"s2 less BCE's, mean of the first {FIRST} epochs, validation pictures: {gap:+.3f}; "
        f"{0.1:g} or more is taken as drastic. BCE's is {bce}.",
    )


def _stay(found, mine, base):
    gaps = {key: _difference(found, mine, base, key) for key in ("s1", "s3")}
    verdicts = {judge_interval(gap, low=-SAME, high=SAME) for gap in gaps.values()}
    verdict = next(v for v in ("refuted", CANNOT_TELL, "supported") if v in verdicts)
    return Claim(
        f"s1 and s3 stay as with BCE ({_whose(mine)}).",
        verdict,
        f"s1 less BCE's {gaps['s1']:+.3f}, s3 less BCE's {gaps['s3']:+.3f}, mean of the first "
        f"{FIRST} epochs; within {SAME:g} is taken as the same.",
    )


def _reaches(found, name):
    values = {key: found.values(name, key) for key in ("s1", "s2")}
    reached = [
        all(a >= high for a, high in zip(pair, (0.998, 0.999), strict=True))
        for pair in zip(*values.values(), strict=True)
    ]
    epochs = max(found.values(name, "epochs"))
    last = [h["s1_train"].dropna().iloc[-1] for h in found.history(name) if "s1_train" in h]
    trained = f"{np.mean(last):.4f}" if last else "unknown"
    return Claim(
        f"s1 reaches 0.998 and s2 0.999 within {epochs} epochs ({_whose(name)}).",
        judge(reached[0]) if len(set(reached)) == 1 else CANNOT_TELL,
        f"Held-out pictures, the epoch of the best score: s1 {mean_interval(values['s1']):.4f}, s2 "
        f"{mean_interval(values['s2']):.4f}. On training pictures s1 is {trained} at the end.",
    )


def _losses(found):
    ends = []
    for history in found.history(BOUNDARY):
        half = history.iloc[len(history) // 2 :]
        ends += [half[key].agg(["min", "max"]) for key in ("d_loss", "g_loss")]
    low, high = (float(f(end[k] for end in ends)) for k, f in (("min", min), ("max", max)))
    return Claim(
        "With many epochs the losses of G and D swing between 0 and 1.",
        judge(low >= 0 and high <= 1 if math.isfinite(low + high) else None),
        f"In the second half of the training they lie between {low:.2f} and {high:.2f} (γ = 0.8, "
        f"{len(found.of(BOUNDARY))} seeds). At the boundary G's is log 2 = {math.log(2):.2f}.",
    )


def _best_gamma(found):
    others = {g: name for g, name in found.gammas().items() if name != BOUNDARY}
    gaps = {g: found.paired(BOUNDARY, "score", name) for g, name in others.items()}
    verdicts = {judge_positive(gap) for gap in gaps.values()}
    verdict = "supported" if verdicts == {"supported"} else CANNOT_TELL
    if "refuted" in verdicts:
        verdict = "refuted"
    listed = "; ".join(f"γ = {g:g}: {gap:+.3f}" for g, gap in gaps.items())
    return Claim("γ = 0.8 is the best.", verdict, f"Score of γ = 0.8 less that of {listed}.")


def _means_likeness(found):
    values = {key: found.mean(IDLE, key) for key in ("s1", "s2", "s3", "s3_noise", "s3_real")}
    high = values["s1"] >= 0.99 and values["s2"] >= 0.99
    unlike = values["s3"] < values["s3_real"] / 2
    return Claim(
        "s1 and s2 near 1 say that G makes pictures from the boundary of the real ones.",
        judge(False if high and unlike else None),
        f"A generator that never learns has s1 {values['s1']:.4f} and s2 {values['s2']:.4f} with "
        f"s3 {values['s3']:.3f} (noise {values['s3_noise']:.3f}, real pictures "
        f"{values['s3_real']:.3f}): D alone puts whatever it recognises at ½.",
    )


def _too_long(found):
    seconds = mean_interval([r["metrics"]["s3_seconds"] for r in found.results])
    epoch = np.median([r["metrics"]["seconds_per_epoch"] for r in found.results])
    best = found.results[0]["metrics"]["scores"]["best"]
    return Claim(
        "s3 takes too long to be watched.",
        judge(bool(seconds.mean > epoch)),
        f"All {best['n']} × {best['n_real']} pairs take {seconds.mean:.2f} s, exactly, as one "
        f"matrix product; an epoch takes {epoch:.1f} s.",
    )


def _score(found):
    values = found.values(REPAIRED, "score")
    over = [value > REPORTED["score"] for value in values]
    similar = found.similarities().set_index("similarity")
    by = found.of(REPAIRED)[0]["recipe"]["similarity"]
    return Claim(
        f"Held-out pictures can score above the write-up's {REPORTED['score']:.4f}.",
        judge(over[0]) if len(set(over)) == 1 else CANNOT_TELL,
        f"Score {mean_interval(values):.4f}, by {by}, by which real pictures have s3 "
        f"{found.mean(REPAIRED, 's3_real'):.3f}. The write-up's own s3 is not public; by others "
        "s3 is "
        + ", ".join(
            f"{similar.loc[name, REPAIRED]:.3f} ({name}; real pictures "
            f"{similar.loc[name, 'real (ceiling)']:.3f})"
            for name in similar.index
            if name != by
        )
        + ".",
    )


def _better_pictures(found):
    gap = found.paired(REPAIRED, "kid", BOUNDARY)
    scores = (found.mean(name, "score") for name in (REPAIRED, BOUNDARY))
    return Claim(
        "A higher score means better pictures.",
        judge_negative(gap),
        "The repaired recipe scores {:.3f}, the write-up's {:.3f}; ".format(*scores)
        + f"its KID, over another network's features and lower for better sets of pictures, less "
        f"the write-up's is {gap:+.3f}. The write-up's is {found.mean(BOUNDARY, 'kid'):.3f}.",
    )


def _repair(found, name, repair):
    gap = found.paired(REPAIRED, "score", name)
    parts = (f"{key} {found.mean(name, key):.4f}" for key in ("s1", "s2", "s3"))
    return Claim(
        f"{repair} raises the score.",
        judge_positive(gap),
        f"Score with it less the score without: {gap:+.3f}; without it {', '.join(parts)}.",
    )
