"""The only code that differs between Keras backends: gradients, and JAX's explicit state.

Each module here defines `BackendStep`, a mix-in for `keras.Model` with

* `train_step` and `test_step`, which hand the batch to `self.play` and `self.score`,
* `value_and_gradients(objective, optimizers, groups)`, the gradient of each loss with respect to
  its own group of variables,
* `input_gradient(function, x)`, differentiable again, for gradient penalties.
"""

import importlib

import keras

BackendStep = importlib.import_module(f"{__name__}.{keras.backend.backend()}").BackendStep
