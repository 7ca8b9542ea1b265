"""What `HealthMonitor` asks of anybody's model: its players, their inputs and outputs, their rates.

Everything that can be wrong with a model or with the monitor's arguments is said here, before the
first batch, in one message with the remedy.
"""

import keras
import numpy as np

from ganlib.apply import infer

PLAYERS = ("generator", "discriminator")
REACHES = {"sigmoid": (0.0, 1.0), "hard_sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
PROBABILITIES = ("sigmoid", "hard_sigmoid")
# The usual names, in the order in which they are looked for.
OPTIMIZERS = {
    "generator": ("g_optimizer", "gen_optimizer", "generator_optimizer"),
    "discriminator": ("d_optimizer", "disc_optimizer", "discriminator_optimizer"),
}
AT_REST = 1e-10  # a learning rate that moves no float32 weight
TRIED = 2  # inputs of the trial run before training


def check_players(model):
    """Raises a `ValueError` if the model has no `generator` and `discriminator` to call."""
    missing = [name for name in PLAYERS if not callable(getattr(model, name, None))]
    if missing:
        # torch keeps the parts of a model in a dict of their own.
        attributes = getattr(model, "__dict__", {}) | getattr(model, "_modules", {})
        parts = sorted(name for name, value in attributes.items() if isinstance(value, keras.Model))
        held = f", whose models are {', '.join(parts)}" if parts else ""
        raise ValueError(
            "The model needs the attributes `generator` and `discriminator`, both Keras models: "
            f"add {' and '.join(f'`self.{name} = …`' for name in missing)}. Without `fit`, see "
            f"ganlib.callbacks.health's docstring. Received: {type(model).__name__}{held}"
        )
    for name in PLAYERS:
        if not hasattr(getattr(model, name), "weights"):
            raise ValueError(
                f"`{name}` must be a Keras model or layer, with `weights`. Received: "
                f"{name}={getattr(model, name)!r}"
            )


def find_latents(model, real, latents=None):
    """What the generator is called on: an array, or a structure of arrays of one length.

    Args:
        model: has a `generator`, and may have a `latent_dim`.
        real: array `(n, height, width, channels)`.
        latents: what the user gave. `None`: n draws from N(0, 1), the same each time.

    Raises:
        ValueError: they can't be drawn, or those given are of several lengths or not finite.
    """
    if latents is None:
        shape = _latent_shape(model, real)
        return np.random.default_rng(0).normal(size=(len(real), *shape)).astype("float32")
    leaves = keras.tree.flatten(latents)
    if not all(hasattr(leaf, "shape") for leaf in leaves):  # numbers in nested lists
        latents = np.asarray(latents, "float32")
        leaves = [latents]
    arrays = [np.asarray(keras.ops.convert_to_numpy(leaf)) for leaf in leaves]
    sizes = {len(array) if array.ndim else 0 for array in arrays}
    if len(sizes) != 1 or min(sizes) < 2:
        raise ValueError(
            "`latents` must hold the generator's inputs for at least two images: an array, or a "
            "list or dict of arrays of one length. Received: shapes "
            f"{[array.shape for array in arrays]}"
        )
    if not all(np.isfinite(array).all() for array in arrays if array.dtype.kind == "f"):
        raise ValueError("`latents` must be finite. Received: NaN or infinity in them")
    return latents


def _latent_shape(model, real):
    shape, size = known_shape(model.generator, "input_shape"), getattr(model, "latent_dim", None)
    received = f"generator.input_shape={shape}, latent_dim={size}"
    remedy = "pass `latents`, the inputs of its generator, such as latents[:256] with their labels."
    if not isinstance(size, int):
        size = None
    if shape is None and size is not None:
        return (size,)
    if not isinstance(shape, tuple) or not all(isinstance(side, int) for side in shape[1:]):
        raise ValueError(
            "Pass `latents`: the shape of the generator's input must be known to draw them (one "
            f"input, or an int `latent_dim` on the model). Received: {received}"
        )
    if size is not None and len(shape) == 2 and shape[1] != size:
        raise ValueError(
            f"The generator takes more than the model's latents, as a conditional one does: "
            f"{remedy} Received: {received}"
        )
    if len(shape) == 4 and shape[1] > 1 and shape[-1] == real.shape[-1]:
        raise ValueError(f"The generator seems to take pictures: {remedy} Received: {received}")
    return shape[1:]


def known_shape(player, name):
    """`input_shape` or `output_shape`; `None` where the model does not show it."""
    try:
        return getattr(player, name, None)
    except ValueError:  # Keras, of a layer without a single one
        return None


def is_built(player):
    """Whether calling it creates nothing: its weights are there."""
    return getattr(player, "built", True) and bool(player.weights)


def run(player, inputs, image_shape, name="The player"):
    """One output an input, in inference mode, as a float32 array.

    Args:
        player: `keras.Model`, or whatever is called like one.
        inputs: array `(n, …)`, or a structure of such.
        image_shape: `(height, width, channels)` of what it makes or judges.
        name: str, for the message.

    Raises:
        ValueError: the outputs are not one array with a row an input.
    """
    outputs = infer(player, inputs, image_shape)
    if isinstance(outputs, list | tuple | dict):
        raise ValueError(
            f"{name} must return one tensor. Wrap one of several: keras.Model(player.inputs, "
            f"player.outputs[0]). Received: {type(outputs).__name__} of {len(outputs)}"
        )
    n = len(keras.tree.flatten(inputs)[0])
    if len(outputs) != n:
        raise ValueError(
            f"{name} must return one output an input. Received: an output of shape "
            f"{outputs.shape} for {n} inputs"
        )
    return outputs


def try_out(model, real, latents, from_logits=None):
    """Runs both players once on two inputs, so that what does not fit is said before training.

    Players that are not built yet are left alone: building them here would change the order in
    which their weights are drawn.

    Args:
        model: has both players.
        real: array `(n, height, width, channels)`.
        latents: as from `find_latents`.
        from_logits: bool or None; False promises probabilities.

    Raises:
        ValueError: the shapes or ranges do not fit each other.
    """
    check_sizes("discriminator takes", real, known_shape(model.discriminator, "input_shape"))
    check_sizes("generator makes", real, known_shape(model.generator, "output_shape"))
    check_bytes(model.generator, real)
    shape = real.shape[1:]
    if is_built(model.generator):
        first = keras.tree.map_structure(lambda x: x[:TRIED], latents)
        remedy = "Pass `latents` as the training step calls it."
        made = _tried(model.generator, first, shape, "The generator", "`latents`", remedy)
        check_sizes("generator makes", real, made.shape)
    if is_built(model.discriminator):
        remedy = (
            "Pass the images as the training step shows them to it; a discriminator of images and "
            "labels needs a wrapper that judges images alone."
        )
        few = real[:TRIED]
        judged = _tried(model.discriminator, few, shape, "The discriminator", "`real`", remedy)
        check_scores(judged)
        if from_logits is False and not ((judged >= 0) & (judged <= 1)).all():
            raise ValueError(
                "With `from_logits=False` the discriminator must give probabilities: end it in a "
                f"sigmoid or leave `from_logits` out. Received: {judged.ravel()[0]:.4g}"
            )


def _tried(player, inputs, image_shape, name, argument, remedy):
    try:
        return run(player, inputs, image_shape, name)
    except Exception as error:  # each backend raises its own
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        shapes = [tuple(leaf.shape) for leaf in keras.tree.flatten(inputs)]
        raise ValueError(
            f"{name} fails on the first {TRIED} of {argument}: {reason} {remedy} Received: shapes "
            f"{shapes}"
        ) from error


def check_sizes(verb, real, shape):
    """Raises a `ValueError` if a player's shape, where it is known, can't be that of `real`."""
    if not isinstance(shape, tuple):
        return
    sides = shape[1:]
    fits = len(sides) == 3 and all(
        a in (None, b) for a, b in zip(sides, real.shape[1:], strict=True)
    )
    if not fits:
        raise ValueError(
            f"`real` must hold images of the shape that both players use; the {verb} {sides}: "
            "resize them, or add the axis of channels (images[..., None]). Received: real of shape "
            f"{real.shape}"
        )


def check_scores(outputs):
    """Raises a `ValueError` unless there is a score an image, or a map of them."""
    if outputs.ndim > 4 or (outputs.ndim in (2, 4) and outputs.shape[-1] != 1):
        raise ValueError(
            "The discriminator must give one score an image, (n, 1) or (n,), or one a patch, "
            "(n, height, width, 1): wrap one with classes or features in a model that has the "
            f"score alone. Received: an output of shape {outputs.shape}"
        )


def check_bytes(generator, real):
    """Raises a `ValueError` for images such as 0 to 255 where the generator's end is bounded."""
    activation = last_activation(generator)
    low, high = REACHES.get(activation, (-np.inf, np.inf))
    if real.max() > 2 * high - low or real.min() < 2 * low - high:
        scaled = "images / 127.5 - 1" if low < 0 else "images / 255"
        raise ValueError(
            f"`real` must lie in the range of the generator's {activation}, [{low:g}, {high:g}], "
            f"as the discriminator sees it in training: if these are bytes, pass {scaled}, and "
            f"check what `fit` gets. Received: values in [{real.min():g}, {real.max():g}]"
        )


def last_activation(model):
    """Name of the activation that makes the outputs; `None` if the model doesn't show it."""
    passing = (
        keras.layers.Reshape,
        keras.layers.Flatten,
        keras.layers.Cropping2D,
        keras.layers.Identity,
        keras.layers.GlobalAveragePooling2D,
    )
    maker = model
    # A subclass lists its layers as they were assigned, which need not be how they are called:
    # only a graph of layers shows what comes last.
    while True:
        if isinstance(maker, keras.Model):
            outputs = getattr(maker, "outputs", None) or []
        else:
            outputs = [maker.input] if isinstance(maker, passing) else []
        if len(outputs) != 1:
            break
        maker = outputs[0]._keras_history.operation
    if not isinstance(maker, keras.layers.Layer):  # such as keras.ops.tanh
        return type(maker).__name__.lower()
    return getattr(getattr(maker, "activation", None), "__name__", None)


def at_rest(model, player):
    """Whether the player's optimizer says that its learning rate is 0.

    Looked for are the usual attributes of the model (`g_optimizer`, …), the pair of an
    `Adversarial`, the player's own optimizer if it was compiled, and the model's.
    """
    shared = getattr(model, "optimizer", None)
    found = [getattr(model, name, None) for name in OPTIMIZERS[player]]
    found += [getattr(shared, player, None), getattr(getattr(model, player), "optimizer", None)]
    optimizer = next((one for one in [*found, shared] if one is not None), None)
    rate = getattr(optimizer, "learning_rate", None)
    try:
        return bool(np.abs(keras.ops.convert_to_numpy(rate)).max() <= AT_REST)
    except (TypeError, ValueError):  # no rate, or one of another kind
        return False
