"""Studies whose trials take a second, and made-up results for what claims say of them."""

import contextlib
import dataclasses
import types
from unittest import mock

import keras
import numpy as np

from ganlib.experiment.run import run_trial
from ganlib.features import networks
from ganlib.studies.results import Results


def forward(batch):
    """A fixed random projection of the pixels, and the softmax of another one."""
    pixels, rng = batch.reshape(len(batch), -1) / 255.0, np.random.default_rng(0)
    features, logits = (pixels @ rng.normal(size=(pixels.shape[1], n)) / 8 for n in (6, 5))
    return features, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


NETWORK = networks.Network("projection", "projection", 8, 3, "none", 6, "0", forward)


@contextlib.contextmanager
def cheap():
    """The network above for any other, and no compiling."""
    compile = keras.Model.compile

    def eagerly(*args, **options):
        return compile(*args, **{**options, "run_eagerly": True})

    get = mock.patch.object(networks, "get", return_value=NETWORK)
    with get, mock.patch.object(keras.Model, "compile", eagerly):
        yield


def some(study, names, data, changes):
    """The quick profile of a study with some of its variations and changed recipes."""

    def chosen(configured):
        return {name: study.variations(configured)[name] for name in names}

    return dataclasses.replace(study, variations=chosen).at("quick", data, changes=changes)


def run(study, out, module):
    """The results of a study's trials; run once more, nothing is trained again."""
    with cheap():
        results = [run_trial(study, trial, out) for trial in study.trials]
        assert {(r["status"], r.get("error")) for r in results} == {("done", None)}
        with mock.patch.object(module, "fit_gan", None):  # whoever trains again fails
            assert [run_trial(study, trial, out) for trial in study.trials] == results
    return results


def changes(recipes, name, base):
    """The fields in which two variations differ."""
    mine, other = (dataclasses.asdict(recipes[n]) for n in (name, base))
    return {key for key in mine if mine[key] != other[key]}


def made_up(kind, metrics, histories=None, recipes=None, **attributes):
    """`kind`, a class of results, of numbers that nobody measured, by variation and seed.

    Metrics that are None have not finished; attributes stand for what takes data or a network.
    """
    results = []
    for name, seeds in metrics.items():
        recipe = (recipes or {}).get(name, {})
        usual = {"name": name, "status": "done", "seconds": 1.0, "recipe": recipe}
        for seed, numbers in enumerate(seeds):
            if numbers is not None:
                whole = {"findings": [], **numbers}
                results.append({**usual, "id": f"{name}-{seed}", "seed": seed, "metrics": whole})
    trials = [types.SimpleNamespace(**result) for result in results]
    study = types.SimpleNamespace(name="made-up", trials=trials)
    study.trial = lambda one: next(trial for trial in study.trials if trial.id == one)
    found = kind.__new__(kind)
    vars(found).update(attributes)
    Results.__init__(found, study, results, None)
    for name, seeds in (histories or {}).items():
        found.histories |= {f"{name}-{seed}": history for seed, history in enumerate(seeds)}
    return found


def verdicts(found):
    """The beginning of each statement → its verdict; a claim without evidence is none."""
    assert all(claim.evidence for claim in found.claims)
    return {claim.statement: claim.verdict for claim in found.claims}


def verdict(found, part):
    """The verdict on the one claim whose statement has `part` in it."""
    (one,) = (verdict for statement, verdict in verdicts(found).items() if part in statement)
    return one
