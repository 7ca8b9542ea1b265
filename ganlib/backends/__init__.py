"""The only code that differs between Keras backends: gradients, and JAX's explicit state.

Each module defines `BackendStep` with `value_and_gradients(objective, optimizers, groups)`, each
loss's gradient by its own group of variables, and `input_gradient(function, x)`, differentiable.
"""

import importlib

import keras

BackendStep = importlib.import_module(f"{__name__}.{keras.backend.backend()}").BackendStep
