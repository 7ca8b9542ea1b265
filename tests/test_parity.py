"""One step is one step: TensorFlow, JAX and torch train to the same weights."""

import itertools

import keras
import numpy as np
import pytest
import workers
from helpers import TESTS, installed, start_python

BACKENDS = installed("tensorflow", "jax", "torch")


@pytest.mark.skipif(len(BACKENDS) < 2, reason="needs two backends to compare")
def test_backends_agree(tmp_path):
    here = keras.backend.backend()
    processes = [
        start_python(TESTS / "workers.py", "parity", tmp_path / f"{backend}.npz", backend=backend)
        for backend in BACKENDS
        if backend != here
    ]
    workers.parity(tmp_path / f"{here}.npz")
    for process in processes:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    results = {}
    for backend in BACKENDS:
        with np.load(tmp_path / f"{backend}.npz") as file:
            results[backend] = dict(file)
    for a, b in itertools.combinations(BACKENDS, 2):
        assert results[a].keys() == results[b].keys()
        gaps = {name: np.max(np.abs(results[a][name] - results[b][name])) for name in results[a]}
        print(f"{a} and {b}: losses and weights differ by at most {max(gaps.values()):.1e}")
        assert {name: gap for name, gap in gaps.items() if not gap <= 1e-5} == {}, (a, b)
