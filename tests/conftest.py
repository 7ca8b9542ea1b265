"""Sets the Keras backend before anything imports Keras, and says what runs on it."""

import importlib.util
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# A resumed model is a new one, and JAX compiles it again: let it find what it compiled before.
os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "true")

BACKENDS = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}


def pytest_report_header(config):
    running = os.environ["KERAS_BACKEND"]
    return f"keras backend: {running}"
