"""`training.outcome`: what any trial's result tells of its training."""

import types

import numpy as np
import pandas
import pytest
from helpers import make_gan

from ganlib.callbacks.health import Finding
from ganlib.experiment import fit as training

HISTORY = pandas.DataFrame({"epoch": [1, 2, 3], "seconds": [9.0, 1.0, 2.0], "loss": 0.5})
LOST = HISTORY.assign(loss=[0.5, np.nan, np.nan])


def trained(stop=False):
    return types.SimpleNamespace(stop_training=stop)


@pytest.mark.parametrize("stop", [False, True])
def test_a_plain_model(stop):
    expected = {"epochs": 3, "seconds_per_epoch": 2.0}
    expected |= {"status": "stopped"} if stop else {}
    assert training.outcome(trained(stop), HISTORY) == expected


def test_a_gan_with_its_players_and_what_the_monitor_found():
    gan = make_gan()
    finding = Finding("generator_blank", 2, "Black.", "Less.")
    told = training.outcome(gan, HISTORY, types.SimpleNamespace(findings=[finding]))
    for player in ("generator", "discriminator"):
        weights = getattr(gan, player).get_weights()
        assert told[f"{player[0]}_parameters"] == sum(w.size for w in weights)
    assert [Finding(**each) for each in told["findings"]] == [finding]
    assert training.outcome(gan, HISTORY, types.SimpleNamespace(findings=[]))["findings"] == []


def test_without_a_monitor_a_lost_loss_is_found():
    (finding,) = training.outcome(trained(), LOST)["findings"]
    assert (finding["check"], finding["epoch"]) == ("non_finite_loss", 2)
    assert finding["evidence"] == "After epoch 2: loss nan."
    healthy = types.SimpleNamespace(findings=[])  # it watched, and looks at more than the loss
    assert training.outcome(trained(), LOST, healthy)["findings"] == []
