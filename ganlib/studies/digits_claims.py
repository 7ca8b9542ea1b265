"""What the digits write-up reported, judged by our runs."""

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
from ganlib.studies.digits import PRINTED


def claims(found):
    """What the write-up reported, against our runs; see `ganlib.stats.Claims`."""
    makers = {
        "tanh": (_tanh_blank, _tanh_cause, _tanh_perfect),
        "latent-50": (_latent_quality, _latent_time),
        "label-smoothing": (_smoothing_zero, _smoothing_quality),
        "least-squares": (_losses_diversity,),
        "instance-noise": (_noise_coin_flip,),
        "batch-norm": (_norm_steadier, _norm_slower),
    }
    if not found.of("base"):
        return Claims(())
    return Claims(tuple(make(found) for name in makers if found.of(name) for make in makers[name]))


def _tanh_blank(found):
    blank = [_is_blank(r) for r in found.of("tanh")]
    verdict = judge(all(blank)) if len(set(blank)) == 1 else CANNOT_TELL
    return Claim(
        "Tanh output with pixels in [-1, 1]: the pictures are almost blank.",
        verdict,
        f"The monitor found a blank generator in {sum(blank)} of {len(blank)} tanh runs; "
        f"digit score {mean_interval(found.values('tanh', 'digit_score')):.3g}, base "
        f"{mean_interval(found.values('base', 'digit_score')):.3g}.",
    )


def _tanh_cause(found):
    by_output = {"sigmoid": [], "tanh": []}
    for r in found.results:
        if not r["recipe"]["batch_norm"]:
            by_output[r["recipe"]["output"]].append(_is_blank(r))
    counts = {k: f"{sum(v)} of {len(v)} {k} runs" for k, v in by_output.items()}
    blank_sigmoid, any_blank = any(by_output["sigmoid"]), any(map(any, by_output.values()))
    return Claim(
        "The tanh output is what makes the pictures blank.",
        judge(not blank_sigmoid if any_blank else None),
        f"Blank: {' and '.join(counts.values())} without batch normalisation.",
    )


def _tanh_perfect(found):
    least = min(h[["accuracy_real", "accuracy_fake"]].min().min() for h in found.history("tanh"))
    return Claim(
        "With tanh, D is 100 % right on real and fake images in every epoch.",
        judge(least == 1.0),
        f"Lowest accuracy of any epoch: {least:.0%} (n = {PRINTED} images a side).",
    )


def _latent_quality(found):
    return _same_quality(found, "latent-50", "Half the latent values hardly change the quality.")


def _smoothing_quality(found):
    return _same_quality(
        found, "label-smoothing", "With label smoothing the pictures are as good as the base run's."
    )


def _same_quality(found, name, statement):
    # "Hardly" is a tenth of the way from noise to real digits.
    margin = 0.1 * (
        found.baselines["real"]["digit_score"] - found.baselines["noise"]["digit_score"]
    )
    difference = found.paired(name, "digit_score")
    return Claim(
        statement,
        judge_interval(difference, -margin, margin),
        f"Digit score less the base run's: {difference:+.2f}; taken as equal within ±{margin:.2f}.",
    )


def _latent_time(found):
    ratio = found.paired("latent-50", "seconds_per_epoch", ratio=True)
    return Claim(
        "Half the latent values hardly change the time (reported: 40 s of 79 min).",
        judge_interval(ratio, 0.95, 1.05),
        f"Seconds an epoch over the base run's: {ratio:.3f}.",
    )


def _smoothing_zero(found):
    histories = found.history("label-smoothing")
    printed = max(h["printed_real"].max() for h in histories)
    hard = float(np.mean([h["accuracy_real"].mean() for h in histories]))
    return Claim(
        "With label smoothing D is 0 % right on real images in every epoch.",
        judge(hard < 0.01),
        f"The metric prints at most {printed:.0%}, because no rounded output equals 0.9; by "
        f"hard labels D is right on {hard:.0%} of real images (mean over epochs).",
    )


def _losses_diversity(found):
    names = [name for name in ("least-squares", "hinge") if found.of(name)]
    differences = {name: found.paired(name, "digit_score") for name in names}
    verdicts = {judge_positive(d) for d in differences.values()}
    return Claim(
        "Another loss remedies a lack of diversity.",
        verdicts.pop() if len(verdicts) == 1 else CANNOT_TELL,
        "Digit score less the base run's: "
        + "; ".join(f"{name} {d:+.2f}" for name, d in differences.items())
        + ".",
    )


def _noise_coin_flip(found):
    def advantage(result):  # of D over a coin, at the end of training
        last = found.histories[result["id"]].iloc[-1]
        return float(last[["d_accuracy_real", "d_accuracy_fake"]].mean() - 0.5)

    difference = found.paired("instance-noise", advantage)
    base = np.mean([advantage(result) for result in found.of("base")])
    return Claim(
        "Noise on D's inputs keeps D from ending as a coin flip.",
        judge_positive(difference),
        "D's training accuracy above 50 %, less the base run's, in the last epoch: "
        f"{difference:+.3f}; the base run's is {base:+.3f}.",
    )


def _norm_steadier(found):
    def unrest(result):
        accuracies = found.histories[result["id"]][["accuracy_real", "accuracy_fake"]]
        return float(accuracies.diff().abs().mean().mean())

    difference = found.paired("batch-norm", unrest)
    return Claim(
        "Batch normalisation in G makes D's accuracies steadier.",
        judge_negative(difference),
        f"Mean change from epoch to epoch, less the base run's: {difference:+.3f}.",
    )


def _norm_slower(found):
    ratio = found.paired("batch-norm", "seconds_per_epoch", ratio=True)
    return Claim(
        "Batch normalisation makes an epoch about 13 % slower (89 against 79 min).",
        judge_interval(ratio, 1.05, 1.25),
        f"Seconds an epoch over the base run's: {ratio:.2f}.",
    )


def _is_blank(result):
    return any(f["check"] == "generator_blank" for f in result["metrics"]["findings"])
