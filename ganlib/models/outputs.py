"""What bounds a model's output: the one place that reads its last activation."""

import functools
import math
import operator
import re

import keras
import numpy as np
from keras import ops

from ganlib.models.layers import SpectralConv2D, SpectralDense

PIXELS = 2**20  # that `infer` makes at once: 256 images of 64×64, 16 of 256×256
SIDE = 256  # taken for one that is not known
LEAST_LOGIT = 5  # bounds further out leave cross-entropy 1 % of its chance value or less
# By the name of an activation, a Keras layer or an operation of `keras.ops`; see `_name`.
BOUNDS = {
    **dict.fromkeys(("sigmoid", "hardsigmoid", "softmax"), (0.0, 1.0)),
    **dict.fromkeys(("tanh", "hardtanh", "softsign"), (-1.0, 1.0)),
    **dict.fromkeys(("relu", "softplus", "exponential", "exp"), (0.0, math.inf)),
    "relu6": (0.0, 6.0),
    "logsigmoid": (-math.inf, 0.0),
}
# What only moves, selects, averages or joins values, in inference mode.
BETWEEN = re.compile(
    "linear|identity|cast|stopgradient|reshape|flatten|permute|transpose|squeeze|expanddims"
    "|getitem|repeatvector|cropping|depthtospace|mean|max|min|average|concatenate"
    "|(global)?(max|average)pool(ing)?|(spatial)?dropout|gaussian(noise|dropout)"
)
# Layers whose argument `activation` makes their output.
ACTIVATED = re.compile("(einsum)?dense|conv(transpose)?|(depthwise|separable)conv|activation")
ARITHMETIC = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "truedivide": operator.truediv,
}


def output_bounds(model):
    """Between which values a model's outputs lie, whatever its weights and inputs.

    Reads the activation that the graph of layers and `keras.ops` ends in: an argument, a layer or
    an operation, also in a nested model and before what only moves, selects, averages or scales.

    Args:
        model: `keras.Model`.

    Returns:
        `(low, high)`, floats: (0, 1) for a sigmoid or softmax, (-1, 1) for tanh, (0, inf) for relu.
        `None` if the output is unbounded, if there are several, or if the model does not show what
        makes it, as a subclassed one.
    """
    outputs = getattr(model, "outputs", None) or ()
    return _of_tensor(outputs[0], {}) if len(outputs) == 1 else None


def check_scores(shape):
    """Raises a `ValueError` unless a discriminator's output has a logit an image or a patch.

    Args:
        shape: tuple, of its output.
    """
    if not isinstance(shape, tuple) or len(shape) > 4 or (len(shape) in (2, 4) and shape[-1] != 1):
        raise ValueError(
            "The discriminator must give scores, such as logits: one an image, (n, 1) or (n,), or "
            "one a patch, (n, height, width, 1). Wrap one with classes or features in a model that "
            f"has the score alone. Received: an output of shape {shape}"
        )


def check_networks(generator, discriminator):
    """Raises a `ValueError` unless two networks can make a GAN whose loss takes logits.

    Args:
        generator: `keras.Model`.
        discriminator: `keras.Model`; one logit an image, or one a patch.
    """
    for name, network in (("generator", generator), ("discriminator", discriminator)):
        shapes = [getattr(network, side, None) for side in ("input_shape", "output_shape")]
        if not network.built or None in shapes:
            raise ValueError(
                f"The {name} must be built, and show its shapes: begin with keras.Input(…), or "
                "wrap a subclassed one: keras.Model(inputs, network(inputs)) with inputs = "
                f"keras.Input(…). Received: {network}"
            )
    made, expected = generator.output_shape[1:], discriminator.input_shape[1:]
    fits = len(made) == len(expected) and all(
        a == b or None in (a, b) for a, b in zip(made, expected, strict=True)
    )
    if not fits:
        raise ValueError(
            f"The generator's images must have the discriminator's input shape. Received: "
            f"generator.output_shape={generator.output_shape}, "
            f"discriminator.input_shape={discriminator.input_shape}"
        )
    check_scores(discriminator.output_shape)
    bounds = output_bounds(discriminator)
    if bounds and min(-bounds[0], bounds[1]) < LEAST_LOGIT:
        raise ValueError(
            "The discriminator must give logits, without sigmoid, tanh or softmax at its end: the "
            "loss applies its own, and a bounded output would give it a floor. Received: outputs "
            f"from {bounds[0]:g} to {bounds[1]:g}"
        )


def looks_across_batch(discriminator):
    """Whether what a model says of an image in training may depend on the others of its batch.

    Layers of Keras and ganlib are known; one's own layers and operations are tried on four images.

    Args:
        discriminator: built functional or Sequential `keras.Model`.

    Returns:
        bool; True where it can't be told.
    """
    layers = list(discriminator._flatten_layers())
    spectral = (SpectralConv2D, SpectralDense, keras.layers.SpectralNormalization)
    known = [w for x in layers if isinstance(x, spectral) for w in x.non_trainable_weights]
    if {id(w) for w in discriminator.non_trainable_weights} - {id(w) for w in known}:
        return True  # batch statistics, or whatever else a pass may update
    foreign = [x for x in layers if not type(x).__module__.startswith(("keras.", "ganlib."))]
    foreign += [x for x in layers if isinstance(x, keras.layers.Lambda)]
    graphs = [getattr(x, "operations", ()) for x in layers if isinstance(x, keras.Model)]
    foreign += [x for graph in graphs for x in graph if not isinstance(x, keras.layers.Layer)]
    if not foreign:
        return False
    # Such as a minibatch standard deviation: two images alone, and beside two others.
    rng = np.random.default_rng(0)
    shape = [side or 32 for side in discriminator.input_shape[1:]]
    images = rng.normal(size=(4, *shape)).astype("float32")
    try:
        parts = [discriminator(x, training=False) for x in (images[:2], images[2:], images)]
    except Exception:  # each backend raises its own; two passes are always right
        return True
    first, last, joined = (ops.convert_to_numpy(ops.cast(x, "float32")) for x in parts)
    alone = np.concatenate([first, last])
    return bool(np.ptp(alone) == 0 or not np.allclose(joined, alone, rtol=1e-3, atol=1e-5))


def _of_tensor(x, given):
    """Bounds of a symbolic tensor; `given`: what tells those of a nested model's inputs, by id."""
    if id(x) in given:
        return given[id(x)]()
    operation, node, _ = x._keras_history
    arguments = operation._inbound_nodes[node].arguments
    leaves = keras.tree.flatten((arguments.args, arguments.kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, keras.KerasTensor)]
    # Asked only where it matters: a residual network has more paths than could be walked.
    below = [functools.partial(_of_tensor, tensor, given) for tensor in tensors]
    outputs = getattr(operation, "outputs", None) or ()
    if isinstance(operation, keras.Model) and len(outputs) == 1:
        return _of_tensor(outputs[0], dict(zip(map(id, operation.inputs), below, strict=True)))
    while isinstance(operation, keras.layers.Wrapper):  # such as SpectralNormalization
        operation = operation.layer
    name = _name(operation)
    if name == "rescaling":
        return _scaled(below[0](), lambda y: y * operation.scale + operation.offset)
    if name in ARITHMETIC and len(tensors) == 1 and len(leaves) == 2:  # with a constant
        if leaves[0] is tensors[0]:
            return _scaled(below[0](), lambda y: ARITHMETIC[name](y, leaves[1]))
        if name != "truedivide":
            return _scaled(below[0](), lambda y: ARITHMETIC[name](leaves[0], y))
    if ACTIVATED.fullmatch(name):
        linear = None if name == "activation" else "linear"
        operation = operation.activation
        name = _name(operation)
        if name == linear:
            return None
    if BETWEEN.fullmatch(name) and tensors:
        bounds = [bound() for bound in below]
        return None if None in bounds else (min(b[0] for b in bounds), max(b[1] for b in bounds))
    if name == "clip":
        return float(operation.x_min), float(operation.x_max)
    if name not in BOUNDS or getattr(operation, "negative_slope", 0):  # of the layer ReLU
        return None
    low, high = BOUNDS[name]
    most = getattr(operation, "max_value", None)
    return low, high if most is None else float(most)


def _name(thing):
    """Of a function its own, else that of its first class of Keras', such as "conv" for Conv2D."""
    if thing is None or hasattr(thing, "__name__"):
        name = getattr(thing, "__name__", "linear")
    else:
        classes = (c for c in type(thing).__mro__ if c.__module__.startswith("keras."))
        name = next((c.__name__ for c in classes), "")
    return re.sub(r"[123]d(?=transpose$|$)", "", name.lower().replace("_", ""))


def _scaled(bounds, function):
    """Bounds after a linear map, whose ends are where the ends go."""
    if bounds is None:
        return None
    ends = np.concatenate([np.ravel(function(np.float64(end))) for end in bounds])
    return None if np.isnan(ends).any() else (float(ends.min()), float(ends.max()))


def infer(model, inputs, image_shape):
    """What a model makes of all its inputs, in inference mode, as many at once as memory takes.

    Args:
        model: `keras.Model`, or whatever is called like one.
        inputs: array `(n, …)`, or a structure of such, n > 0.
        image_shape: `(height, width, …)` of the images that it makes or judges.

    Returns:
        float32 array with a row an input, or a structure of such where the model returns one. A
        scalar a call becomes a row a call.
    """
    n = len(keras.tree.flatten(inputs)[0])
    height, width = (side or SIDE for side in image_shape[:2])
    size = max(1, PIXELS // (height * width))
    parts = []
    for i in range(0, n, size):
        part = keras.tree.map_structure(lambda x, i=i: x[i : i + size], inputs)
        parts.append(keras.tree.map_structure(_to_array, model(part, training=False)))
    return keras.tree.map_structure(_join, *parts)


def _to_array(output):
    return keras.ops.convert_to_numpy(keras.ops.cast(output, "float32"))


def _join(*parts):
    return np.concatenate(parts) if all(part.ndim for part in parts) else np.array(parts)
