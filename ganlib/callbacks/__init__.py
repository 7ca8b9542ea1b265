"""Keras callbacks: what watches a training, keeps its best epoch and ends it."""
