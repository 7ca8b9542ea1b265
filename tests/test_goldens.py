"""The quick profile's scores and verdicts against those that are kept: nothing moves them unseen.

`make test` gives the folder in which the notebooks have just run as $GANLIB_QUICK. Where a change
is meant to move a result, `python tests/test_goldens.py FOLDER` takes the numbers anew.

A GAN is chaotic: where another kind of processor rounds otherwise, other digits come out after some
hundred steps. So the numbers hold for the kind that they were taken on, and are skipped elsewhere.
"""

import csv
import json
import math
import os
import pathlib
import sys

import pytest

KEPT = pathlib.Path(__file__).with_name("goldens.json")
STUDIES = ("digits", "bedrooms", "boundary", "srgan", "unet")
TIMED = "Seconds an epoch"  # evidence of claims that depend on them, too
COSTS = ("second", "memory", "bytes")  # of this machine, and of how busy it was


def processor():
    """The kind of this machine's processor, or "" where there is no telling."""
    path = pathlib.Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return ", ".join(sorted({x.replace("\t", "") for x in lines if x.startswith("model")}))


def numbers(value, name=""):
    """Dotted name → number, of all numbers in nested dicts but what a run cost."""
    if isinstance(value, dict):
        parts = (numbers(part, f"{name}.{key}".strip(".")) for key, part in value.items())
        return {key: number for part in parts for key, number in part.items()}
    costs = any(word in name for word in COSTS)
    isnumber = isinstance(value, int | float) and not isinstance(value, bool)
    return {name: float(f"{value:.4g}")} if isnumber and not costs else {}


def read(folder, study):
    """What a study's quick profile came to: scores by trial, and verdicts by claim."""
    scores = {}
    for path in sorted((folder / "runs" / study).glob("*/result.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        scores[f"{result['name']}-seed{result['seed']}"] = numbers(result["metrics"])
    with open(folder / "reports/quick" / study / "claims.csv", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if not row["evidence"].startswith(TIMED)]
    claims = {row["statement"]: row["verdict"] for row in rows}
    return {"scores": dict(sorted(scores.items())), "claims": claims}


@pytest.mark.skipif("GANLIB_QUICK" not in os.environ, reason="reads the runs of the notebooks")
@pytest.mark.parametrize("study", STUDIES)
def test_quick_results_are_the_kept_ones(study):
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    if kept["processor"] != processor():
        pytest.skip(f"the numbers are of another processor: {kept['processor']}")
    kept = kept[study]
    found = read(pathlib.Path(os.environ["GANLIB_QUICK"]), study)
    assert found["scores"].keys() == kept["scores"].keys()
    moved = {
        f"{trial}.{name}": (number, found["scores"][trial].get(name, math.nan))
        for trial, scores in kept["scores"].items()
        for name, number in scores.items()
        # Two digits: what processors of one kind agree on.
        if not math.isclose(
            number, found["scores"][trial].get(name, math.nan), rel_tol=0.01, abs_tol=0.005
        )
    }
    assert not moved
    assert found["claims"] == kept["claims"]


if __name__ == "__main__":
    taken = {"processor": processor()}
    taken |= {study: read(pathlib.Path(sys.argv[1]), study) for study in STUDIES}
    text = json.dumps(taken, indent=1, ensure_ascii=False, sort_keys=False)
    KEPT.write_text(text + "\n", encoding="utf-8")
