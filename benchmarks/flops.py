"""What a step of a `tasks` task costs, counted on ganlib's own models.

As in `workloads.step_flops`: convolutions and dense layers alone, a multiplication and its addition
are two operations; forward costs one, the weights' gradients one, the inputs' one where the layer's
input depends on something that is trained.
"""

import keras
import numpy as np


def costs(model, shape):
    """Operations of one forward pass of one picture: (trained, fed, fixed).

    Args:
        model: functional `keras.Model`.
        shape: tuple, of one input.

    Returns:
        All that have weights to train; of these, those that see the input alone; and the fixed
        ones.
    """
    model = keras.models.clone_model(model, input_tensors=keras.Input(shape))
    live, trained, fed, fixed = set(), 0, 0, 0
    for layer in model.layers[1:]:
        after = any(id(x) in live for x in keras.tree.flatten(layer.input))
        cost = _cost(layer)
        if layer.trainable_weights:
            trained += cost
            fed += 0 if after else cost
        else:
            fixed += cost
        if after or layer.trainable_weights:
            live.add(id(layer.output))
    return trained, fed, fixed


def _cost(layer):
    kind = type(layer).__name__
    if kind == "Dense":
        return 2 * int(np.prod(layer.kernel.shape))
    if kind.endswith("Conv2DTranspose") or kind == "LinearUpscaling":
        height, width = layer.input.shape[1:3]
    elif kind.endswith("Conv2D"):
        height, width = layer.output.shape[1:3]
    else:
        return 0
    return 2 * height * width * int(np.prod(layer.kernel.shape))


def task_flops(task, models):
    """Operations of one step.

    Args:
        task: of `tasks`.
        models: as `keras_tasks.networks` returns them.
    """
    n = task.batch
    if task.kind == "unet":
        trained, fed, _ = costs(models[0], (task.size, task.size, 1))
        return n * (3 * trained - fed)
    generator, *others = models
    low = task.patch // task.scale
    trained, fed, fixed = costs(generator, (low, low, 3))
    pixels = n * (3 * trained - fed + fixed)
    if task.kind == "pixels":
        return pixels
    discriminator, features = others
    high = (task.patch, task.patch, 3)
    d, d_fed, _ = costs(discriminator, high)
    _, _, f = costs(features, high)
    d_step = 2 * n * (3 * d - d_fed)  # real and fake pictures
    return pixels + d_step + 2 * n * d + 3 * n * f  # features: forward twice, one gradient
