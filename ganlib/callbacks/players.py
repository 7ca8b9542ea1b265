"""What `HealthMonitor` asks of anybody's model: its networks, their inputs, outputs and weights.

What does not fit is said before the first batch, in one message with the remedy.
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
REMEDY = {
    "generator": "Pass `latents`, what the training step calls it on",
    "discriminator": "Pass `real` as the training step shows it; a discriminator of images and "
    "labels needs a wrapper that judges images alone",
}


def real_images(real, generator):
    """The real images as a float32 array; of a data set a few, in the generator's range."""
    if hasattr(real, "as_range"):
        value_range = RANGES.get(output_bounds(generator))
        if value_range is None:
            raise ValueError(
                "Give `real` as an array, such as images.as_range('signed'): the generator does "
                f"not show in which range it makes images. Received: {real!r}"
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
            "`real` must hold at least two images, (n, height, width, channels), without NaN: an "
            "array, what ganlib.data.load gives, or a batch, next(iter(dataset)). "
            f"Received: {held}"
        )
    return array


def check_players(model):
    """Raises a `ValueError` if the model has no `generator` and `discriminator` to call."""
    missing = [name for name in PLAYERS if not hasattr(getattr(model, name, None), "weights")]
    if missing:
        raise ValueError(
            "The model needs the attributes `generator` and `discriminator`, both Keras models: "
            f"add {' and '.join(f'`self.{name} = …`' for name in missing)}. "
            f"Received: {type(model).__name__}"
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
    finite = all(np.isfinite(array).all() for array in arrays if array.dtype.kind == "f")
    if len(sizes) != 1 or min(sizes) < 2 or not finite:
        raise ValueError(
            "`latents` must hold finite inputs of the generator for at least two images: an array, "
            "or a list or dict of arrays of one length. Received: shapes "
            f"{[array.shape for array in arrays]}{'' if finite else ', with NaN or infinity'}"
        )
    return latents


def _latent_shape(model, real):
    shape, size = _known_shape(model.generator, "input_shape"), getattr(model, "latent_dim", None)
    size = size if isinstance(size, int) else None
    if shape is None and size is not None:
        return (size,)
    known = isinstance(shape, tuple) and all(isinstance(side, int) for side in shape[1:])
    conditional = known and size is not None and len(shape) == 2 and shape[1] != size
    pictures = known and len(shape) == 4 and shape[1] > 1 and shape[-1] == real.shape[-1]
    if not known or conditional or pictures:
        raise ValueError(
            "No latents can be drawn for a generator that takes pictures, labels or what it does "
            f"not show: pass `latents`, what it is called on. Received: input_shape={shape}, "
            f"latent_dim={size}"
        )
    return shape[1:]


def _known_shape(player, name):
    try:
        return getattr(player, name, None)
    except ValueError:  # Keras, of a layer without a single one
        return None


def run(player, inputs, image_shape, name="The player"):
    """One output an input, in inference mode, as a float32 array; `name` is for the message."""
    outputs = infer(player, inputs, image_shape)
    n = len(keras.tree.flatten(inputs)[0])
    if isinstance(outputs, list | tuple | dict) or len(outputs) != n:
        got = getattr(outputs, "shape", f"a {type(outputs).__name__}")
        raise ValueError(
            f"{name} must return one tensor, with one output an input. Wrap one of several: "
            f"keras.Model(player.inputs, player.outputs[0]). Received: {got} for {n} inputs"
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
        _check_sizes("generator makes", real, _tried(generator, first, real, "generator").shape)
    if _is_built(discriminator):
        judged = _tried(discriminator, real[:TRIED], real, "discriminator")
        check_scores(judged.shape)
        if from_logits is False and not ((judged >= 0) & (judged <= 1)).all():
            raise ValueError(
                "With `from_logits=False` the discriminator must give probabilities: end it in a "
                f"sigmoid or leave `from_logits` out. Received: {judged.ravel()[0]:.4g}"
            )


def _is_built(player):
    return getattr(player, "built", True) and bool(player.weights)


def _tried(player, inputs, real, name):
    try:
        return run(player, inputs, real.shape[1:], f"The {name}")
    except Exception as error:  # each backend raises its own
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        shapes = [tuple(leaf.shape) for leaf in keras.tree.flatten(inputs)]
        raise ValueError(
            f"The {name} fails on {TRIED} inputs: {reason} {REMEDY[name]}. Received: shapes "
            f"{shapes}"
        ) from error


def _check_sizes(verb, real, shape):
    sides = shape[1:] if isinstance(shape, tuple) else real.shape[1:]
    pairs = itertools.zip_longest(sides, real.shape[1:], fillvalue=-1)
    if not all(a in (None, b) for a, b in pairs):
        raise ValueError(
            f"`real` must hold images of the shape that both networks use; the {verb} {sides}. "
            f"{REMEDY['discriminator']}. Received: real of shape {real.shape}"
        )


def _check_bytes(generator, real):
    low, high = output_bounds(generator) or (-math.inf, math.inf)
    width = high - low
    if math.isfinite(width) and (real.max() > high + width or real.min() < low - width):
        scaled = "images / 127.5 - 1" if low < 0 else "images / 255"
        raise ValueError(
            f"`real` must lie in the range of the generator's output, [{low:g}, {high:g}]: if "
            f"these are bytes, pass {scaled}, and check what `fit` gets. Received: values in "
            f"[{real.min():g}, {real.max():g}]"
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
