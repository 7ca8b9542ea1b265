"""A machine may have JAX or torch alone: nothing may import TensorFlow or its data sets there."""

import pytest
from helpers import installed, run_python

SCRIPT = '''
import importlib, pkgutil, sys

class Without:
    """A finder that sees all but TensorFlow; torch asks whether there is one, and gets a no."""

    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, *rest):
        if name.split(".")[0] in ("tensorflow", "tensorflow_datasets"):
            return None
        return self.finder.find_spec(name, *rest)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]

import keras
import ganlib

others = {"tensorflow", "jax", "torch"} - {keras.backend.backend()}
modules = [m.name for m in pkgutil.walk_packages(ganlib.__path__, "ganlib.", onerror=print)]
for name in modules:
    if name not in {f"ganlib.backends.{other}" for other in others}:
        importlib.import_module(name)
assert "ganlib.adversarial" in modules and "ganlib.models.layers" in modules
assert all(getattr(ganlib, name) for name in ganlib.__all__)

import helpers

gan = helpers.make_gan(batch_norm=True)
helpers.fit(gan, helpers.images(8))
assert int(gan.optimizer.iterations) == 2
assert "tensorflow" not in sys.modules
'''


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_imports_and_trains(backend):
    if not installed(backend):
        pytest.skip(f"{backend} is not installed")
    run_python("-c", SCRIPT, backend=backend)
