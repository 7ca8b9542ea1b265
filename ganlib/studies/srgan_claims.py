"""What the super-resolution write-up concluded and expected, judged by our runs."""

import itertools

import numpy as np

from ganlib.losses import AbsoluteError
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
from ganlib.studies.srgan_attempts import ATTEMPTS

LAST = ATTEMPTS[-1]
NEAR_CHANCE = 0.01  # of D's loss, relative
GOAL = 0.4  # dB over bicubic that the repaired recipe sets out for
PHASES = "Adversarial phase less pretraining, over the test pictures"
MARGIN = 1.0  # dB: less is no movement worth the name


def claims(found):
    """The write-up's statements against our runs; see `ganlib.stats.Claims`."""
    makers = []
    attempts = [attempt for attempt in ATTEMPTS if found.of(attempt.name)]
    if attempts:
        makers += [_weak_discriminator, _adversarial_weight]
    if found.of(ATTEMPTS[0].name) and found.of(LAST.name):
        makers += [_reached, _stagnation]
    if found.of("attempt-3") and found.of("attempt-4"):
        makers.append(_copied)
    if attempts:
        makers.append(_balance)
    made = [make(found) for make in makers]
    made += [
        _expectation(found, before, attempt)
        for before, attempt in itertools.pairwise(ATTEMPTS)
        if attempt.expects and found.of(before.name) and found.of(attempt.name)
    ]
    if found.of("repaired"):
        made += [_sharper(found), _texture(found), _similarity(found), _beats_bicubic(found)]
    return Claims(tuple(made))


def _reached(found):
    right = mean_interval(found.values(LAST.name, "psnr_rgb"))
    seen = mean_interval(found.values(LAST.name, "printed_psnr"))
    grey = found.baseline("flat grey")["psnr_rgb"]
    return Claim(
        f"The best attempt reaches {LAST.printed['psnr']:.1f} dB.",
        judge(right.mean - seen.mean < MARGIN),
        f"Its pictures have {right:.2f} dB in the right range (RGB); compared as “"
        f"{found.mistake}” the same pictures print {seen:.2f} dB. Flat grey has {grey:.2f} dB.",
    )


def _stagnation(found):
    first = ATTEMPTS[0].name

    def gain(key):
        return float(np.mean(found.values(LAST.name, key)) - np.mean(found.values(first, key)))

    right, seen = gain("psnr_rgb"), gain("printed_psnr")
    fall = np.mean(found.values(first, "g_loss")) / np.mean(found.values(LAST.name, "g_loss"))
    return Claim(
        "PSNR that stays while G's loss falls means that the pictures no longer improve.",
        judge(False if right > MARGIN and right > 2 * abs(seen) else None),
        f"From attempt 1 to 7 G's loss falls {fall:.1f}-fold and PSNR rises by {right:+.2f} dB; as "
        f"printed it moves by {seen:+.2f} dB, for a wrong range hides most of any gain.",
    )


def _copied(found):
    a, b = (found.values(name, "g_loss") for name in ("attempt-3", "attempt-4"))
    differences = [abs(x / y - 1) for x, y in zip(a, b, strict=False)]
    return Claim(
        "Attempts 3 and 4 end with the same losses and scores, to the last digit.",
        judge(max(differences) < 1e-4),
        f"G's last losses differ by {min(differences):.0%} or more; the settings do, too: "
        f"{found.changes('attempt-3', 'attempt-4')}.",
    )


def _balance(found):
    near = [
        r["metrics"]
        for attempt in ATTEMPTS
        for r in found.of(attempt.name)
        if abs(r["metrics"]["d_loss"] - 1) <= NEAR_CHANCE
    ]
    right = [m["d_accuracy"] for m in near]
    return Claim(
        "D's loss of 1.000 shows a balance of G and D.",
        judge(None if not near else bool(abs(np.mean(right) - 0.5) > 0.05)),
        f"1 - D(x) + D(G(z)) is 1 for any constant D. Of our runs {len(near)} end within "
        f"{NEAR_CHANCE:.0%} of it"
        + (f"; there D is right on {np.mean(right):.0%} (a coin: 50 %)." if near else "."),
    )


def _weak_discriminator(found):
    loss = AbsoluteError()
    rows = [
        row
        for attempt in ATTEMPTS
        for history in found.history(attempt.name)
        for _, row in history[history["d_loss"] < 0.5].iterrows()
    ]
    accuracy = [(row["d_accuracy_real"] + row["d_accuracy_fake"]) / 2 for row in rows]
    seen = f"It was in {len(rows)} epochs of our runs"
    seen += f", and D was right on {np.mean(accuracy):.0%} there." if rows else "."
    return Claim(
        "A D loss below 0.5 is a warning sign: D is too weak.",
        judge(loss.chance < 0.5),
        f"The loss is {loss.chance:.0f} at chance and {loss.floor:.0f} for a D that is never "
        f"wrong: below 0.5 D is strong. {seen}",
    )


def _adversarial_weight(found):
    weights = {r["recipe"]["adversarial"] for a in ATTEMPTS for r in found.of(a.name)}
    return Claim(
        "Two more warning signs: artefacts mean that w_adv is too high, a small drop of SSIM that "
        "w_perc is too low.",
        CANNOT_TELL,
        f"All attempts have w_adv = {', '.join(f'{w:g}' for w in sorted(weights))}, and w_perc "
        "never changes alone: nothing in them can show it.",
    )


def _expectation(found, before, attempt):
    key, label = attempt.expects
    difference = found.paired(attempt.name, key, before.name)
    return Claim(
        f"{attempt.name}: {attempt.expectation}",
        judge_positive(difference),
        f"{label} less that of {before.name}: {difference:+.3g}; changed at once: "
        f"{found.changes(before.name, attempt.name)}.",
    )


def _sharper(found):
    return Claim(
        "The adversarial loss makes edges sharper.",
        judge_positive(found.phases("sharpness")),
        f"{PHASES}: mean gradient relative to the original's {found.phases('sharpness'):+.3f}.",
    )


def _texture(found):
    return Claim(
        "The adversarial loss adds texture that looks right.",
        judge_negative(found.phases("perceptual")),
        f"{PHASES}: perceptual distance ({found.judge}) {found.phases('perceptual'):+.4f}.",
    )


def _similarity(found):
    ssim, psnr = found.phases("ssim_y"), found.phases("psnr_y")
    return Claim(
        "With it SSIM rises while PSNR may fall a little.",
        judge_positive(ssim),
        f"{PHASES}: SSIM {ssim:+.4f}, PSNR {psnr:+.3f} dB (Y).",
    )


def _beats_bicubic(found):
    gain = found.over("bicubic", "psnr_y")
    return Claim(
        f"Our own: pixel pretraining alone beats bicubic by {GOAL} dB (Y).",
        judge_interval(gain, low=GOAL),
        f"Pixel pretraining less bicubic: {gain:+.2f} dB (Y), over the test pictures; less the "
        f"linear upscaler: {found.over('linear', 'psnr_y'):+.2f} dB.",
    )
