"""Gradients on torch: `autograd.grad`, which leaves the other player's `.grad` alone."""

import torch

from ganlib.backends import StatefulStep


class BackendStep(StatefulStep):
    def value_and_gradients(self, objective, optimizers, groups):
        losses, aux = objective()
        gradients = []
        for i, (optimizer, loss, group) in enumerate(zip(optimizers, losses, groups, strict=True)):
            loss, values = optimizer.scale_loss(loss), [variable.value for variable in group]
            shared = i + 1 < len(groups)  # the next loss shares this forward pass
            gradient = torch.autograd.grad(loss, values, retain_graph=shared, allow_unused=True)
            gradients.append(gradient)
        return [x.detach() for x in losses], [x.detach() for x in aux], gradients

    def input_gradient(self, function, x):
        with torch.enable_grad():  # evaluation runs without gradients, a penalty needs them
            x = x.detach().requires_grad_(True)
            return torch.autograd.grad(torch.sum(function(x)), x, create_graph=True)[0]
