"""Functional Keras model builders, one file a family."""
