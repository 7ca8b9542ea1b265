"""The studies with and without half precision: `python benchmarks/half_precision.py [STUDY …]`.

The networks of the cpu profile, few epochs, embedded data, three seeds. Writes HALF_PRECISION.md.
"""

import functools
import operator
import pathlib
import sys
import tempfile

import growth

from ganlib import studies
from ganlib.backends.precision import has_bfloat16
from ganlib.experiment import local
from ganlib.stats import paired_interval

SEEDS = 3
# Variation, what makes it short, and the score with the better direction.
_SHORT = {"epochs": 4, "score_every": 4}
_SR = {"pretraining_epochs": 1, "epochs": 1, "steps": 120}
RUNS = {
    "digits": ("repaired", _SHORT, "digit_score", "higher"),
    "bedrooms": ("repaired", {**_SHORT, "truncations": []}, "scores.best.kid", "lower"),
    "boundary": ("bce", {"epochs": 6}, "scores.best.s3", "higher"),
    "srgan": ("repaired", _SR, "scores.adversarial.psnr_y", "higher"),
    "unet": ("unet-lr0.001-bs16", {"epochs": 10}, "test.jaccard", "higher"),
}


def compare(name):
    """The row of a study: its scores by seed, and the steps' seconds as a ratio."""
    variation, changes, key, better = RUNS[name]
    found, seconds = {}, {}
    for half in (False, True):
        study, changed = studies.get(name), {**changes, "half_precision": half}
        data = f"embedded:{study.source.embedded}"
        study = study.at("cpu", data, SEEDS, changed).select(variation)
        with tempfile.TemporaryDirectory() as out:
            results = local.run(study, out)
        parts = key.split(".")
        found[half] = [functools.reduce(operator.getitem, parts, r["metrics"]) for r in results]
        seconds[half] = sum(result["seconds"] for result in results)
    gap = paired_interval(found[True], found[False])
    scores = (", ".join(f"{score:.4g}" for score in found[half]) for half in (False, True))
    time = f"{seconds[True] / seconds[False]:.2f}"
    return (f"{name}, {variation}", f"{key}, {better} is better", *scores, f"{gap:+.3g}", time)


if __name__ == "__main__":
    if not has_bfloat16():
        sys.exit("This machine does not compute in bfloat16: there is nothing to compare.")
    header = ("study", "score", "float32, by seed", "bfloat16", "difference", "seconds / float32's")
    rows = [compare(name) for name in sys.argv[1:] or RUNS]
    text = growth.table("Half precision: networks of the cpu profile, short runs", header, rows)
    pathlib.Path(__file__).with_name("HALF_PRECISION.md").write_text(text + "\n", "utf-8")
    print(text)
