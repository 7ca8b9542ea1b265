"""The U-Net write-up's three hypotheses, judged by cells that differ in one setting."""

import math

import numpy as np

from ganlib.report.claims import CANNOT_TELL, REFUTED, SUPPORTED, Claim, judge, judge_positive
from ganlib.stats import indistinguishable, mean_interval
from ganlib.studies.unet import ARCHITECTURES, GRID

MIDDLE = (5e-4, 1e-3)  # H1's rates
EXPECTED_RATE = {"unet": 5e-4, "attention_unet": 1e-3, "attention_resunet": 1e-3}


def hypotheses(found):
    """A list of `ganlib.stats.Claim`: H1, H2 and H3.

    Args:
        found: `ganlib.studies.unet_report.UnetResults`.
    """
    return [
        _middle_rates(found),
        *(_expected_rate(found, architecture) for architecture in EXPECTED_RATE),
        _batches_calm(found),
        _unet_calms_most(found),
        _memory(found),
        _most_sensitive(found),
        _gains_most(found),
        _most_robust(found),
    ]


def _together(*verdicts):
    """The verdict on "all of these"."""
    if REFUTED in verdicts:
        return REFUTED
    return CANNOT_TELL if CANNOT_TELL in verdicts else SUPPORTED


def _matched(found, key, contrast, over):
    """A contrast of cell means, one for each combination of the settings in `over`."""
    means = found.cell_means(key)
    values = [contrast(part.droplevel(over)) for _, part in means.groupby(over)]
    return [value for value in values if math.isfinite(value)]


def _interval(values):
    return mean_interval(values) if values else None


def _judged(statement, parts, judged, words):
    """A claim on several intervals, each with words for what it is of."""
    if any(part is None for part in parts):
        return Claim(statement, CANNOT_TELL, "The cells that it compares have not all finished.")
    verdict = _together(*map(judged, parts))
    text = "; ".join(f"{word} {part:.3g}" for word, part in zip(words, parts, strict=True))
    return Claim(statement, verdict, f"{text}. n counts matched cells.")


def _level(part, name, value):
    """Mean over the cells of a part in which a setting has a value; NaN where there is none."""
    levels = part.index.get_level_values(name)
    return float(part[levels == value].mean())


def _middle_rates(found):
    def against(rate):
        def contrast(part):
            middle = np.mean([_level(part, "learning_rate", x) for x in MIDDLE])
            return middle - _level(part, "learning_rate", rate)

        return _interval(_matched(found, "jaccard", contrast, ["architecture", "batch_size"]))

    return _judged(
        "H1: learning rates of 5e-4 to 1e-3 give the best Jaccard.",
        [against(1e-4), against(5e-3)],
        judge_positive,
        ["Jaccard above that of 1e-4:", "above that of 5e-3:"],
    )


def _expected_rate(found, architecture):
    rate = EXPECTED_RATE[architecture]
    runs = found.grid[found.grid["architecture"] == architecture]
    best = indistinguishable(runs, "learning_rate", "jaccard")
    statement = f"H1: the best rate for {architecture} is {rate:g}."
    if rate not in best.group + best.worse or len(best.group + best.worse) < 2:
        return Claim(statement, CANNOT_TELL, best.reason or "The cells have not finished.")
    verdict = REFUTED if rate in best.worse else CANNOT_TELL
    if best.group == [rate]:
        verdict = SUPPORTED
    if best.alike is False:
        verdict = CANNOT_TELL
    listed = ", ".join(f"{x:g}" for x in best.group)
    return Claim(
        statement,
        verdict,
        f"Highest mean at {best.best:g}; not told from it: {listed} (n = {len(runs)}, batch sizes "
        f"taken as repetitions). {best.reason or ''}".strip(),
    )


def _log_ratio(part, name, a, b):
    a, b = _level(part, name, a), _level(part, name, b)
    return math.log(a / b) if a > 0 and b > 0 else math.nan


def _batches_calm(found):
    over = ["architecture", "learning_rate"]
    parts = [
        _interval(
            _matched(found, "loss_std", lambda p, a=a, b=b: _log_ratio(p, "batch_size", a, b), over)
        )
        for a, b in ((8, 16), (16, 32))
    ]
    return _judged(
        "H2: the std of the validation loss falls with the batch size: 32 < 16 < 8.",
        parts,
        judge_positive,
        ["log ratio of batch 8 to 16:", "of 16 to 32:"],
    )


def _most_of_all(statement, what, found, key, contrast, architecture):
    """A claim that an architecture's contrast is above each other's, matched by learning rate."""

    def less(other):
        def difference(part):
            levels = part.index.get_level_values("architecture")
            mine, its = (contrast(part[levels == name]) for name in (architecture, other))
            return mine - its

        return _interval(_matched(found, key, difference, ["learning_rate"]))

    others = [name for name in ARCHITECTURES if name != architecture]
    words = [f"{what} less that of {name}:" for name in others]
    return _judged(statement, [less(name) for name in others], judge_positive, words)


def _unet_calms_most(found):
    return _most_of_all(
        "H2: larger batches calm UNet most of all.",
        "Log ratio of the std at batch 8 to 32,",
        found,
        "loss_std",
        lambda part: _log_ratio(part, "batch_size", 8, 32),
        "unet",
    )


def _gains_most(found):
    def gain(part):
        return _level(part, "batch_size", 32) - _level(part, "batch_size", 8)

    return _most_of_all(
        "H3: Attention_UNet gains most from large batches.",
        "Jaccard at batch 32 less that at 8,",
        found,
        "jaccard",
        gain,
        "attention_unet",
    )


def _memory(found):
    lost = found.out_of_memory()
    large = {cell for cell in GRID if cell[1] == 32}
    held = f"the most that a run held was {found.grid['gib'].max():.2g} GiB."
    evidence = f"{len(lost)} cells ran out of memory, {len(lost & large)} of them at 32; {held}"
    # It is refuted once all have come through.
    came = large <= set(found.cell_means("jaccard").index)
    return Claim(
        "H2: memory limits batch 32.",
        judge(True if lost & large else False if came else None),
        evidence,
    )


def _spreads(found):
    """Std of the Jaccard over those cells that all architectures have: a row a seed."""
    over = ["seed", "batch_size", "learning_rate"]
    table = found.grid.pivot_table(index=over, columns="architecture", values="jaccard")
    return table.reindex(columns=list(ARCHITECTURES)).dropna().groupby("seed").std().dropna()


def _spread_claim(found, statement, architecture, sign):
    spreads = _spreads(found)
    others = [name for name in ARCHITECTURES if name != architecture]
    parts = [_interval(list(sign * (spreads[architecture] - spreads[name]))) for name in others]
    if not len(spreads):
        return Claim(statement, CANNOT_TELL, "The cells that it compares have not all finished.")
    listed = ", ".join(f"{name} {part.mean():.3g}" for name, part in spreads.items())
    margins = "; ".join(f"{p:.3g} to {name}" for p, name in zip(parts, others, strict=True))
    more = "" if len(spreads) > 1 else " One seed does not tell how much of it is noise."
    return Claim(
        statement,
        _together(*map(judge_positive, parts)),
        f"Std of the Jaccard over an architecture's cells: {listed}; margins {margins}, by seed."
        f"{more}",
    )


def _most_sensitive(found):
    return _spread_claim(found, "H3: UNet is the most sensitive to its settings.", "unet", 1)


def _most_robust(found):
    statement = "H3: Attention_ResUNet is the most robust."
    return _spread_claim(found, statement, "attention_resunet", -1)
