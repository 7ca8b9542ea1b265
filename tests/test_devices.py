"""One model on two devices: virtual processors of this machine, in processes of their own."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from helpers import TESTS

from ganlib import studies
from ganlib.experiment import devices, local
from ganlib.experiment.study import StudyError

BACKEND = keras.backend.backend()


@pytest.mark.backend
@pytest.mark.skipif(BACKEND == "torch", reason="Keras spreads no batch over devices on torch")
def test_two_devices_train_as_one_does(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
    command = [sys.executable, str(TESTS / "spread.py"), str(tmp_path)]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=300)
    one, two = (dict(np.load(tmp_path / f"{n}.npz")) for n in (1, 2))
    assert one.pop("devices") == two.pop("devices") == 2
    assert one.keys() == two.keys()
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, atol=1e-4, err_msg=name)
    assert len(one) == 1 + 32  # the losses, and the weights
    assert all(np.abs(value).max() > 0 for value in one.values())


@pytest.mark.backend
def test_more_devices_than_there_are():
    with pytest.raises(ValueError, match="Received: devices=99"), devices.data_parallel(99):
        pass


def test_a_gan_trains_on_one_device(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "check_devices", lambda n: None)
    with pytest.raises(StudyError, match="'boundary' train on one device each"):
        local.run(studies.build("boundary"), tmp_path, devices=2, show=False)


def test_batches_that_devices_cannot_share(monkeypatch):
    monkeypatch.setattr(devices, "spread_over", lambda: 2)
    devices.check_batches(14, 4)
    for n, batch_size in ((13, 4), (3, 4), (15, 5)):
        with pytest.raises(ValueError, match="can't share every batch evenly"):
            devices.check_batches(n, batch_size)


def test_one_device_is_nothing_special():
    with devices.data_parallel(1):
        assert devices.mirrors() == 1
        assert devices.spread_over() == 1
