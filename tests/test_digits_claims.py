"""What the digits study's claims say of made-up numbers."""

import dataclasses
import itertools

import pandas
import pytest
from draws import RNG

from ganlib.experiment.study import Study, Trial
from ganlib.report.claims import CANNOT_TELL, REFUTED, SUPPORTED
from ganlib.studies.digits import Recipe
from ganlib.studies.digits_report import DigitsResults

USUAL = {"digit_score": 4.0, "seconds_per_epoch": 10.0, "blank": False, "advantage": 0.1}
USUAL |= {"g_parameters": 10, "d_parameters": 20, "epochs": 3}
USUAL |= {"unrest": 0.2, "printed": 0.0, "right": 0.4}
USUAL |= {"confidence": 0.7, "frechet_distance": 40.0, "missing_digits": 1, "output_slope": 0.1}
# A tenth of the way from noise to real digits is 0.8.
BASELINES = {"real": {"digit_score": 9.0}, "noise": {"digit_score": 1.0}}
RECIPES = {"tanh": {"output": "tanh"}, "batch-norm": {"batch_norm": True}}
CLAIMS = {
    "tanh": ["Tanh output with", "The tanh output is what", "With tanh, D is 100 %"],
    "latent-50": ["hardly change the quality", "hardly change the time"],
    "label-smoothing": ["D is 0 % right", "as good as the base run's"],
    "least-squares": ["Another loss"],
    "instance-noise": ["coin flip"],
    "batch-norm": ["steadier", "13 % slower"],
}


class MadeUp(DigitsResults):
    """Without a classifier."""

    def __init__(self, study, results, histories):
        super(DigitsResults, self).__init__(study, results, None)
        self.histories, self.baselines = histories, BASELINES


def made_up(**variations):
    """Results of variations ("latent_50" for "latent-50"), each a dict of number → list.

    A list has an entry a seed. `None` in place of an entry: that seed has not finished.
    """
    trials, results, histories = [], [], {}
    for name, numbers in variations.items():
        name = name.replace("_", "-")
        for seed, values in enumerate(zip(*numbers.values(), strict=True)):
            trial = Trial(name, Recipe(**RECIPES.get(name, {})), seed)
            trials.append(trial)
            if None in values:
                continue
            given = USUAL | dict(zip(numbers, values, strict=True))
            findings = [{"check": "generator_blank"}] if given["blank"] else []
            result = {"id": trial.id, "name": name, "seed": seed, "status": "done"}
            result["recipe"] = dataclasses.asdict(trial.recipe)
            results.append({**result, "metrics": {**given, "findings": findings}})
            # Up and down by as much as wanted, around what D gets right.
            waves = [given["right"] + sign * given["unrest"] / 2 for sign in (1, -1, 1)]
            columns = {"accuracy_real": waves, "accuracy_fake": waves}
            columns["printed_real"] = given["printed"]
            columns["d_accuracy_real"] = columns["d_accuracy_fake"] = 0.5 + given["advantage"]
            histories[trial.id] = pandas.DataFrame({"epoch": [1, 2, 3], **columns})
    study = Study("made-up", "", tuple(trials), None, None, "none", {}, None)
    return MadeUp(study, results, histories)


def claim(found, part):
    (one,) = [c for c in found.claims if part in c.statement]
    assert one.evidence
    return one


def against(name, part, base=None, **numbers):
    """The verdict on three seeds of a variation, against a base run of the usual numbers."""
    base = {key: [USUAL[key]] * 3 for key in numbers} | (base or {})
    return claim(made_up(base=base, **{name: numbers}), part).verdict


@pytest.mark.parametrize(
    ("tanh", "base", "blank", "cause"),
    [
        ([True, True, True], [False] * 3, SUPPORTED, SUPPORTED),
        ([False] * 3, [True, False, False], REFUTED, REFUTED),
        ([True, True, True], [True, False, False], SUPPORTED, REFUTED),
        ([True, False, False], [False] * 3, CANNOT_TELL, SUPPORTED),
        ([False] * 3, [False] * 3, REFUTED, CANNOT_TELL),
    ],
)
def test_tanh_and_blank_pictures(tanh, base, blank, cause):
    found = made_up(base={"blank": base}, tanh={"blank": tanh})
    assert claim(found, "Tanh output with").verdict == blank
    assert claim(found, "The tanh output is what").verdict == cause


@pytest.mark.parametrize(
    ("right", "wanted"), [([1.0, 1.0], SUPPORTED), ([1.0, 0.9], REFUTED), ([0.5, 0.5], REFUTED)]
)
def test_a_discriminator_that_is_always_right(right, wanted):
    found = made_up(base={"right": right}, tanh={"right": right, "unrest": [0.0, 0.0]})
    assert claim(found, "With tanh, D is 100 %").verdict == wanted


@pytest.mark.parametrize("name", ["latent_50", "label_smoothing"])
@pytest.mark.parametrize(
    ("scores", "wanted"),
    [
        ([4.1, 4.0, 3.9], SUPPORTED),
        ([2.0, 2.1, 1.9], REFUTED),
        ([6.0, 6.1, 5.9], REFUTED),
        ([3.0, 4.0, 5.0], CANNOT_TELL),
    ],
)
def test_the_same_quality(name, scores, wanted):
    part = {"latent_50": "hardly change the quality", "label_smoothing": "as good as"}[name]
    assert against(name, part, digit_score=scores) == wanted


@pytest.mark.parametrize(
    ("seconds", "time", "slower"),
    [
        ([10.1, 10.0, 9.9], SUPPORTED, REFUTED),
        ([11.3, 11.4, 11.2], REFUTED, SUPPORTED),
        ([30.0, 31.0, 29.0], REFUTED, REFUTED),
        ([5.0, 10.0, 20.0], CANNOT_TELL, CANNOT_TELL),
    ],
)
def test_time(seconds, time, slower):
    assert against("latent_50", "change the time", seconds_per_epoch=seconds) == time
    assert against("batch_norm", "13 % slower", seconds_per_epoch=seconds) == slower


def test_zero_percent_on_real_digits():
    found = made_up(base={"right": [0.4]}, label_smoothing={"right": [0.3], "printed": [0.0]})
    assert claim(found, "D is 0 % right").verdict == REFUTED
    assert "prints at most 0%" in claim(found, "D is 0 % right").evidence
    never = made_up(base={"right": [0.4]}, label_smoothing={"right": [0.0], "unrest": [0.0]})
    assert claim(never, "D is 0 % right").verdict == SUPPORTED


@pytest.mark.parametrize(
    ("least_squares", "hinge", "wanted"),
    [
        ([6.0, 6.1, 5.9], [7.0, 7.1, 6.9], SUPPORTED),
        ([2.0, 2.1, 1.9], [1.0, 1.1, 0.9], REFUTED),
        ([6.0, 6.1, 5.9], [1.0, 1.1, 0.9], CANNOT_TELL),
        ([6.0, 6.1, 5.9], None, SUPPORTED),
    ],
)
def test_other_losses(least_squares, hinge, wanted):
    more = {"hinge": {"digit_score": hinge}} if hinge else {}
    numbers = {"digit_score": least_squares}
    found = made_up(base={"digit_score": [4.0] * 3}, least_squares=numbers, **more)
    assert claim(found, "Another loss").verdict == wanted


@pytest.mark.parametrize(
    ("advantages", "wanted"),
    [
        ([0.3, 0.31, 0.29], SUPPORTED),
        ([0.0, 0.01, -0.01], REFUTED),
        ([0.0, 0.1, 0.3], CANNOT_TELL),
    ],
)
def test_noise(advantages, wanted):
    assert against("instance_noise", "coin flip", advantage=advantages) == wanted


@pytest.mark.parametrize(
    ("unrest", "wanted"),
    [
        ([0.05, 0.06, 0.04], SUPPORTED),
        ([0.4, 0.41, 0.39], REFUTED),
        ([0.1, 0.2, 0.35], CANNOT_TELL),
    ],
)
def test_steadiness(unrest, wanted):
    assert against("batch_norm", "steadier", unrest=unrest) == wanted


def test_seeds_are_compared_with_their_own():
    """What both seeds have in common is no difference, whichever seeds have finished."""
    base = {"advantage": [0.1, 0.3, 0.2], "unrest": [0.1, 0.3, 0.2]}
    noise = {"advantage": [None, 0.35, 0.25]}
    norm = {"unrest": [None, 0.25, 0.15]}
    found = made_up(base=base, instance_noise=noise, batch_norm=norm)
    assert "+0.050 [+0.050, +0.050] (n = 2)" in claim(found, "coin flip").evidence
    assert "-0.050 [-0.050, -0.050] (n = 2)" in claim(found, "steadier").evidence


def test_one_seed_can_not_tell_a_difference():
    differences = itertools.chain(*(CLAIMS[n] for n in CLAIMS if n != "tanh"))
    some = {name.replace("-", "_"): {"digit_score": [9.0]} for name in CLAIMS}
    found = made_up(base={"digit_score": [1.0]}, **some)
    for part in differences:
        if part != "D is 0 % right":
            assert claim(found, part).verdict == CANNOT_TELL, part


def test_no_seed_in_common():
    some = {name.replace("-", "_"): {"digit_score": [None, 4.0]} for name in CLAIMS}
    found = made_up(base={"digit_score": [4.0, None]}, **some)
    assert len(found.claims.items) == sum(map(len, CLAIMS.values()))
    compared = [c for c in found.claims if "no seed has both" in c.evidence]
    assert len(compared) == 7
    assert {c.verdict for c in compared} == {CANNOT_TELL}
    assert (found.differences().iloc[:, 1:] == "no seed has both (n = 0)").all(axis=None)


def test_without_a_base_run_nothing_is_claimed():
    assert made_up(tanh={"digit_score": [4.0]}).claims.items == ()


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_any_part_of_the_runs_can_be_judged(share):
    for _ in range(10):
        scores = [[4.0 if RNG.random() < share else None for _ in range(3)] for _ in range(7)]
        names = ["base", *(name.replace("-", "_") for name in CLAIMS)]
        some = {n: {"digit_score": s} for n, s in zip(names, scores, strict=True) if any(s)}
        if some:
            found = made_up(**some)
            assert {c.verdict for c in found.claims} <= {SUPPORTED, REFUTED, CANNOT_TELL}
            assert found.claims.table().notna().all(axis=None)
            assert len(found.differences()) == ("base" in some) * (len(some) - ("base" in some))
            assert len(found.costs()) == len(some)
