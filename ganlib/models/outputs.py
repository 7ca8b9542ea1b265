"""What bounds a model's output: the one place that reads its last activation."""

import math
import re

import keras
import numpy as np
from keras import ops

from ganlib.models.layers import SpectralConv2D, SpectralDense

PIXELS = 2**20  # that `infer` makes at once: 256 images of 64×64, 16 of 256×256
# By the bounds of a generator's output.
VALUE_RANGES = {(0.0, 1.0): "unit", (-1.0, 1.0): "signed", (0.0, 255.0): "byte"}
LEAST_LOGIT = 5  # bounds further out leave cross-entropy 1 % of its chance value or less
# By the name of an activation, a Keras layer or an operation of `keras.ops`; see `_name`.
BOUNDS = {
    **dict.fromkeys(("sigmoid", "hardsigmoid", "softmax"), (0.0, 1.0)),
    **dict.fromkeys(("tanh", "hardtanh", "softsign"), (-1.0, 1.0)),
    **dict.fromkeys(("relu", "relu6", "softplus", "exponential", "exp"), (0.0, math.inf)),
}
# What only moves, selects or averages values, in inference mode.
BETWEEN = re.compile(
    "linear|identity|cast|reshape|flatten|permute|transpose|squeeze|expanddims|getitem|cropping"
    "|depthtospace|mean|max|min|(global)?(max|average)pool(ing)?|(spatial)?dropout|gaussiannoise"
)
WEIGHTED = re.compile("(einsum)?dense|conv(transpose)?|(depthwise|separable)conv")


def output_bounds(model):
    """Between which values a model's outputs lie, whatever its weights and inputs.

    Reads the activation that the graph of layers and `keras.ops` ends in: an argument, a layer or
    an operation, also in a nested model and before what only moves, selects or averages.

    Returns:
        `(low, high)`, floats: (0, 1) for a sigmoid or softmax, (-1, 1) for tanh, (0, inf) for relu.
        `None` if unbounded, computed otherwise, one of several, or of a subclassed model.
    """
    outputs = getattr(model, "outputs", None) or ()
    return _bounds(outputs[0], {}) if len(outputs) == 1 else None


def _bounds(x, given):
    """Of a symbolic tensor; `given`: what stands for the input of a nested model, by id."""
    operation, node, _ = given.get(id(x), x)._keras_history
    tensors = operation._inbound_nodes[node].input_tensors
    outputs = getattr(operation, "outputs", None) or ()
    if isinstance(operation, keras.Model) and len(outputs) == len(tensors) == 1:
        tensor = given.get(id(tensors[0]), tensors[0])
        return _bounds(outputs[0], {**given, id(operation.inputs[0]): tensor})
    while isinstance(operation, keras.layers.Wrapper):  # such as SpectralNormalization
        operation = operation.layer
    name = _name(operation)
    weighted = WEIGHTED.fullmatch(name)
    if weighted or name == "activation":
        operation = operation.activation
        name = _name(operation)
    if BETWEEN.fullmatch(name) and len(tensors) == 1 and not weighted:
        return _bounds(tensors[0], given)
    if name == "clip":
        return float(operation.x_min), float(operation.x_max)
    return None if getattr(operation, "negative_slope", 0) else BOUNDS.get(name)


def _name(thing):
    """Of a function its own, else that of its first class of Keras', such as "conv" for Conv2D."""
    classes = (c for c in type(thing).__mro__ if c.__module__.startswith("keras."))
    name = getattr(thing, "__name__", None) or next((c.__name__ for c in classes), "")
    return re.sub(r"[123]d(?=transpose$|$)", "", name.lower().replace("_", ""))


def check_scores(shape):
    """Raises a `ValueError` unless an output of this shape is a score an image or a patch."""
    if not isinstance(shape, tuple) or len(shape) > 4 or (len(shape) in (2, 4) and shape[-1] != 1):
        raise ValueError(
            "The discriminator must give scores, such as logits: one an image, (n, 1) or (n,), or "
            f"one a patch, (n, height, width, 1), and nothing else. Received: shape {shape}"
        )


def check_networks(generator, discriminator):
    """Raises a `ValueError` unless both are built, and the discriminator gives logits."""
    for name, network in (("generator", generator), ("discriminator", discriminator)):
        if not network.built or not getattr(network, "outputs", None):
            raise ValueError(
                f"The {name} must be built and show its shapes: begin with keras.Input(…), or wrap "
                f"a subclassed one: keras.Model(inputs, network(inputs)). Received: {network}"
            )
    check_scores(discriminator.output_shape)
    low, high = output_bounds(discriminator) or (-math.inf, math.inf)
    if min(-low, high) < LEAST_LOGIT:
        raise ValueError(
            "The discriminator must give logits, without sigmoid, tanh or softmax at its end, "
            f"which would give its loss a floor. Received: outputs from {low:g} to {high:g}"
        )


def looks_across_batch(discriminator):
    """Whether real and generated images need a pass each, since one keeps statistics of its batch.

    Told by non-trainable weights, nested ones included, but spectral normalisation's `u`. `Lambda`,
    one's own layers and bare operations may do anything, a minibatch standard deviation for
    example: two passes are always right.
    """
    spectral = (SpectralConv2D, SpectralDense, keras.layers.SpectralNormalization)
    parts = list(discriminator._flatten_layers())
    parts += [x for part in parts for x in getattr(part, "operations", ())]
    known = {id(w) for x in parts if isinstance(x, spectral) for w in x.non_trainable_weights}
    return any(id(w) not in known for w in discriminator.non_trainable_weights) or any(
        not isinstance(x, keras.layers.Layer)
        or isinstance(x, keras.layers.Lambda)
        or not type(x).__module__.startswith(("keras.", "ganlib."))
        for x in parts
    )


def infer(model, inputs, image_shape):
    """What a model makes of all its inputs, in inference mode, as many at once as memory takes.

    `inputs`: array `(n, …)`, or a structure of such; `image_shape`: `(height, width, …)` of the
    images that it makes or judges. Returns a float32 array `(n, …)`, or a structure of such; a
    scalar a call becomes a row a call.
    """
    height, width = (side or 256 for side in image_shape[:2])
    size = max(1, PIXELS // (height * width))

    def to_array(output):
        return np.atleast_1d(ops.convert_to_numpy(ops.cast(output, "float32")))

    parts = []
    for i in range(0, len(keras.tree.flatten(inputs)[0]), size):
        part = keras.tree.map_structure(lambda x, i=i: x[i : i + size], inputs)
        parts.append(keras.tree.map_structure(to_array, model(part, training=False)))
    return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *parts)
