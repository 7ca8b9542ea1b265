"""What `HealthMonitor` asks of anybody's model: its networks, their inputs, outputs and weights.

Everything that can be wrong with a model or with the monitor's arguments is said here, before the
first batch, in one message with the remedy.
"""

import hashlib
import itertools
import math

import keras
import numpy as np

from ganlib.models.outputs import check_scores, infer, output_bounds

PLAYERS = ("generator", "discriminator")
# The usual names, in the order in which they are looked for.
OPTIMIZERS = {
    "generator": ("g_optimizer", "gen_optimizer", "generator_optimizer"),
    "discriminator": ("d_optimizer", "disc_optimizer", "discriminator_optimizer"),
}
AT_REST = 1e-10  # a learning rate that moves no float32 weight
TRIED = 2  # inputs of the trial run before training
STATISTICS = {"moving_mean", "moving_variance"}
RANGES = {(0.0, 1.0): "unit", (-1.0, 1.0): "signed", (0.0, 255.0): "byte"}
FEW = 256  # of a whole data set, images that are looked at
WRAP = "a discriminator of images and labels needs a wrapper that judges images alone"


def real_images(real, generator):
    """The real images as a float32 array; of a data set a few, in the generator's range."""
    if hasattr(real, "as_range"):
        value_range = RANGES.get(output_bounds(generator))
        if value_range is None:
            raise ValueError(
                "Give `real` as an array, such as images.as_range('signed'): only of a generator "
                "that ends in sigmoid or tanh is it known in which range it makes images. "
                f"Received: {real!r}"
            )
        array = real.as_range(value_range)
        real = array[np.linspace(0, len(array) - 1, min(FEW, len(array))).astype(int)]
    return check_real(real)


def check_real(real):
    """`real` as a float32 array; raises a `ValueError` if it holds no images."""
    try:
        array = np.asarray(real, "float32")
    except (TypeError, ValueError):  # a tf.data.Dataset, a folder's name
        array = np.empty(0)
    if array.ndim != 4 or len(array) < 2 or not np.isfinite(array).all():
        held = f"shape {array.shape}" if array.size or array.ndim > 1 else repr(real)[:80]
        raise ValueError(
            "`real` must hold at least two images, (n, height, width, channels), without NaN or "
            "infinity: an array, or what ganlib.data.load gives; of a tf.data.Dataset a batch, "
            f"next(iter(dataset)). Received: {held}"
        )
    return array


def check_players(model):
    """Raises a `ValueError` if the model has no `generator` and `discriminator` to call."""
    missing = [name for name in PLAYERS if not hasattr(getattr(model, name, None), "weights")]
    if missing:
        # torch keeps the parts of a model in a dict of their own.
        attributes = getattr(model, "__dict__", {}) | getattr(model, "_modules", {})
        parts = sorted(name for name, value in attributes.items() if isinstance(value, keras.Model))
        raise ValueError(
            "The model needs the attributes `generator` and `discriminator`, both Keras models: "
            f"add {' and '.join(f'`self.{name} = …`' for name in missing)}. Without `fit`, see "
            "ganlib.callbacks.health's docstring. Received: "
            f"{type(model).__name__} with the models {parts}"
        )


def find_latents(model, real, latents=None):
    """What the generator is called on: those given, or draws from N(0, 1), the same each time."""
    if latents is None:
        shape = _latent_shape(model, real)
        return np.random.default_rng(0).normal(size=(len(real), *shape)).astype("float32")
    if not all(hasattr(leaf, "shape") for leaf in keras.tree.flatten(latents)):  # nested lists
        latents = np.asarray(latents, "float32")
    leaves = keras.tree.flatten(latents)
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
    shape, size = _known_shape(model.generator, "input_shape"), getattr(model, "latent_dim", None)
    received = f"generator.input_shape={shape}, latent_dim={size}"
    size = size if isinstance(size, int) else None
    if shape is None and size is not None:
        return (size,)
    if not isinstance(shape, tuple) or not all(isinstance(side, int) for side in shape[1:]):
        problem = "The shape of the generator's input must be known to draw latents"
    elif size is not None and len(shape) == 2 and shape[1] != size:
        problem = "The generator takes more than the model's latents, as a conditional one does"
    elif len(shape) == 4 and shape[1] > 1 and shape[-1] == real.shape[-1]:
        problem = "The generator seems to take pictures"
    else:
        return shape[1:]
    raise ValueError(
        f"{problem}: pass `latents`, what the generator is called on, such as latents[:256] with "
        f"their labels. Received: {received}"
    )


def _known_shape(player, name):
    try:
        return getattr(player, name, None)
    except ValueError:  # Keras, of a layer without a single one
        return None


def run(player, inputs, image_shape, name="The player"):
    """One output an input, in inference mode, as a float32 array; `name` is for the message."""
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
    """Runs both networks once on two inputs, so that what does not fit is said before training.

    Networks that are not built yet are left alone: building them here would change the order in
    which their weights are drawn.
    """
    generator, discriminator = model.generator, model.discriminator
    _check_sizes("discriminator takes", real, _known_shape(discriminator, "input_shape"))
    _check_sizes("generator makes", real, _known_shape(generator, "output_shape"))
    _check_bytes(generator, real)
    if _is_built(generator):
        first = keras.tree.map_structure(lambda x: x[:TRIED], latents)
        remedy = "Pass `latents` as the training step calls it."
        made = _tried(generator, first, real, "The generator", "`latents`", remedy)
        _check_sizes("generator makes", real, made.shape)
    if _is_built(discriminator):
        remedy = f"Pass the images as the training step shows them to it; {WRAP}."
        judged = _tried(discriminator, real[:TRIED], real, "The discriminator", "`real`", remedy)
        check_scores(judged.shape)
        if from_logits is False and not ((judged >= 0) & (judged <= 1)).all():
            raise ValueError(
                "With `from_logits=False` the discriminator must give probabilities: end it in a "
                f"sigmoid or leave `from_logits` out. Received: {judged.ravel()[0]:.4g}"
            )


def _is_built(player):
    return getattr(player, "built", True) and bool(player.weights)


def _tried(player, inputs, real, name, argument, remedy):
    try:
        return run(player, inputs, real.shape[1:], name)
    except Exception as error:  # each backend raises its own
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        shapes = [tuple(leaf.shape) for leaf in keras.tree.flatten(inputs)]
        raise ValueError(
            f"{name} fails on the first {TRIED} of {argument}: {reason} {remedy} Received: shapes "
            f"{shapes}"
        ) from error


def _check_sizes(verb, real, shape):
    if not isinstance(shape, tuple):
        return
    sides = shape[1:]
    pairs = list(zip(sides, real.shape[1:], strict=False))
    if len(sides) == 3 and all(a in (None, b) for a, b in pairs):
        return
    remedy = "resize them"
    if len(sides) == 3 and all(a in (None, b) for a, b in pairs[:2]):  # too few channels, or many
        remedy = WRAP if verb.startswith("d") else "give those that the training step uses"
    raise ValueError(
        f"`real` must hold images of the shape that both networks use; the {verb} {sides}: "
        f"{remedy}. Received: real of shape {real.shape}"
    )


def _check_bytes(generator, real):
    low, high = output_bounds(generator) or (-math.inf, math.inf)
    width = high - low
    if math.isfinite(width) and (real.max() > high + width or real.min() < low - width):
        scaled = "images / 127.5 - 1" if low < 0 else "images / 255"
        raise ValueError(
            f"`real` must lie in the range of the generator's output, [{low:g}, {high:g}], as the "
            f"discriminator sees it in training: if these are bytes, pass {scaled}, and check what "
            f"`fit` gets. Received: values in [{real.min():g}, {real.max():g}]"
        )


def at_rest(model, player):
    """Whether the learning rate of a network's optimizer is 0; see `OPTIMIZERS`."""
    shared = getattr(model, "optimizer", None)
    found = [getattr(model, name, None) for name in OPTIMIZERS[player]]
    found += [getattr(shared, player, None), getattr(getattr(model, player), "optimizer", None)]
    optimizer = next((one for one in [*found, shared] if one is not None), None)
    rate = getattr(optimizer, "learning_rate", None)
    try:
        return bool(np.abs(keras.ops.convert_to_numpy(rate)).max() <= AT_REST)
    except (TypeError, ValueError):  # no rate, or one of another kind
        return False


# -- which weights have moved between two looks ----------------------------------------------------


def fingerprints(model):
    """A hash of each weight's values, by network: small, whatever the model's size."""

    def fingerprint(weight):
        values = keras.ops.convert_to_numpy(weight).tobytes()
        return hashlib.blake2b(values, digest_size=8).hexdigest()

    return {player: [fingerprint(w) for w in getattr(model, player).weights] for player in PLAYERS}


def moved(before, after):
    """A bool a weight; one that was built in between has moved."""
    return [was != now for was, now in itertools.zip_longest(before, after)]


def frozen(player, weights, moved):
    """Evidence that no kernel of the network has moved, or None."""
    # Kernels only: biases may rest at zero gradient, statistics move without any gradient.
    kernels = [moves for w, moves in zip(weights, moved, strict=True) if len(w.shape) > 1]
    if not kernels or any(kernels):
        return None
    return f"0 of the {player}'s {len(kernels)} kernels have changed since the last check."


def statistics_unmoved(player, weights, moved):
    """Evidence that batch normalisations keep their statistics while they train, or None."""
    layers = {}
    for weight, moves in zip(weights, moved, strict=True):
        layer, _, name = weight.path.rpartition("/")
        layers.setdefault(layer, {})[name] = moves
    norms = {layer: moves for layer, moves in layers.items() if moves.keys() >= STATISTICS}
    still = []
    for layer, moves in norms.items():
        others = [moves[name] for name in moves.keys() - STATISTICS]
        # One whose own weights rest as well was frozen on purpose.
        if not any(moves[name] for name in STATISTICS) and (any(others) or not others):
            still.append(layer)
    if not still:
        return None
    return (
        f"{len(still)} of the {player}'s {len(norms)} batch normalisations ({still[0]} first) have "
        "kept their moving statistics since the last check, while it trains."
    )
