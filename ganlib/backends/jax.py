"""Gradients on JAX, where state is explicit: a `keras.StatelessScope` records what is assigned.

A variable missing from a scope's mapping falls back to its *initializer*: every scope maps all.
"""

import itertools

import jax
import keras
from keras import ops

from ganlib.backends import StatefulStep


class BackendStep(StatefulStep):
    def train_step(self, state, data):
        return self._stateless(super().train_step, state, data, [self.optimizer.variables])

    def test_step(self, state, data):
        return self._stateless(super().test_step, state, data)

    def _stateless(self, step, state, data, slots=()):
        weights = self.trainable_variables, self.non_trainable_variables
        groups = (*weights, *slots, self.metrics_variables)
        pairs = (zip(*pair, strict=True) for pair in zip(groups, state, strict=True))
        with keras.StatelessScope(list(itertools.chain.from_iterable(pairs))) as scope:
            logs = step(data)
        return logs, tuple([scope.get_current_value(v) for v in group] for group in groups)

    def _snapshot(self):
        return [(v, v.value) for v in self.variables + self.optimizer.variables]

    def value_and_gradients(self, objective, optimizers, groups):
        outer = self._snapshot()
        targets = [variable for group in groups for variable in group]
        target_ids = {id(variable) for variable in targets}
        # BatchNorm statistics, random states, and the other player when its step is nested in ours.
        others = [variable for variable, _ in outer if id(variable) not in target_ids]

        def pure(values):
            with keras.StatelessScope(outer + list(zip(targets, values, strict=True))) as scope:
                losses, aux = objective()
                scaled = tuple(o.scale_loss(x) for o, x in zip(optimizers, losses, strict=True))
                updated = [scope.get_current_value(variable) for variable in others]
            return scaled, (losses, aux, updated)

        values = [variable.value for variable in targets]
        scaled, pullback, (losses, aux, updated) = jax.vjp(pure, values, has_aux=True)
        gradients, start = [], 0
        for i, group in enumerate(groups):  # one pull-back a loss; XLA drops the parts not used
            seeds = tuple(ops.full_like(x, float(i == j)) for j, x in enumerate(scaled))
            gradients.append(pullback(seeds)[0][start : start + len(group)])
            start += len(group)
        for variable, value in zip(others, updated, strict=True):
            variable.assign(value)  # lands in the enclosing StatelessScope
        return losses, aux, gradients

    def input_gradient(self, function, x):
        # Moving statistics are functions of the weights here; a penalty's gradient takes numbers.
        fixed = ops.stop_gradient
        state = [(v, x if v.trainable else fixed(x)) for v, x in self._snapshot()]

        def total(x):
            with keras.StatelessScope(state):  # what it assigns is dropped
                return ops.sum(function(x))

        return jax.grad(total)(x)
