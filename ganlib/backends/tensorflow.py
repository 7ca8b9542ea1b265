"""Gradients on TensorFlow: one tape, persistent where two losses share a forward pass."""

import tensorflow as tf

from ganlib.backends import StatefulStep


class BackendStep(StatefulStep):
    def value_and_gradients(self, objective, optimizers, groups):
        with tf.GradientTape(persistent=len(groups) > 1) as tape:
            losses, aux = objective()
            scaled = [o.scale_loss(x) for o, x in zip(optimizers, losses, strict=True)]
        gradients = [tape.gradient(x, group) for x, group in zip(scaled, groups, strict=True)]
        return losses, aux, gradients

    def input_gradient(self, function, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return tape.gradient(y, x)
