"""What `HealthMonitor` asks of anybody's model; what does not fit is said before training."""

import hashlib
import math

import keras
import numpy as np

from ganlib.models.outputs import VALUE_RANGES, check_scores, infer, output_bounds

# With the short names that their optimizers go by.
PLAYERS = {"generator": ("g", "gen"), "discriminator": ("d", "disc")}
AT_REST = 1e-10  # a learning rate that moves no float32 weight
TRIED = 2  # inputs of the trial run before training
STATISTICS = {"moving_mean", "moving_variance"}
FEW = 256  # of a whole data set, images that are looked at
REMEDY = {
    "generator": "Pass `latents`, what the training step calls it on",
    "discriminator": "Pass `real` as the training step shows it, to one that judges images alone",
}


def real_images(real, generator):
    """The real images as a float32 array; of a data set a few, in the generator's range."""
    if not hasattr(real, "as_range"):
        return check_real(real)
    value_range = VALUE_RANGES.get(output_bounds(generator))
    if value_range is None:
        raise ValueError(
            "Give `real` as an array, such as images.as_range('signed'): the generator does not "
            f"show in which range it makes images. Received: {real!r}"
        )
    array = real.as_range(value_range)
    return check_real(array[np.linspace(0, len(array) - 1, min(FEW, len(array))).astype(int)])


def check_real(real):
    """`real` as a float32 array; raises a `ValueError` if it holds no images."""
    try:
        array = np.asarray(real, "float32")
    except (TypeError, ValueError):  # a tf.data.Dataset, a folder's name
        array = np.empty(0)
    if array.ndim != 4 or len(array) < 2 or not np.isfinite(array).all():
        raise ValueError(
            "`real` must hold at least two images, (n, height, width, channels), without NaN: an "
            "array, what ganlib.data.load gives, or a batch, next(iter(dataset)). Received: "
            f"{f'shape {array.shape}' if array.size else repr(real)[:80]}"
        )
    return array


def check_players(model):
    """Raises a `ValueError` if the model has no `generator` and `discriminator` to call."""
    missing = [name for name in PLAYERS if not hasattr(getattr(model, name, None), "weights")]
    if missing:
        raise ValueError(
            f"The model needs Keras models: add {' and '.join(f'`self.{x} = …`' for x in missing)}."
            f" Received: {type(model).__name__}"
        )


def find_latents(model, real, latents=None):
    """What the generator is called on: those given, or draws from N(0, 1), the same each time."""
    if latents is None:
        shape = _latent_shape(model, real)
        return np.random.default_rng(0).normal(size=(len(real), *shape)).astype("float32")
    arrays = [np.asarray(keras.ops.convert_to_numpy(x)) for x in keras.tree.flatten(latents)]
    finite = all(np.isfinite(array).all() for array in arrays)
    if not finite or len({len(array) for array in arrays}) != 1 or len(arrays[0]) < 2:
        raise ValueError(
            "`latents` must be finite, for two images or more: an array, or a list or dict of "
            f"arrays of one length. Received: shapes {[a.shape for a in arrays]}, {finite=}"
        )
    return latents


def _latent_shape(model, real):
    try:
        shape = getattr(model.generator, "input_shape", None)
    except ValueError:  # Keras, of a layer without a single one
        shape = None
    size = getattr(model, "latent_dim", None)
    size = size if isinstance(size, int) else None
    if shape is None and size is not None:
        return (size,)
    known = isinstance(shape, tuple) and all(isinstance(side, int) for side in shape[1:])
    conditional = known and size is not None and len(shape) == 2 and shape[1] != size
    pictures = known and len(shape) == 4 and shape[1] > 1 and shape[-1] == real.shape[-1]
    if not known or conditional or pictures:
        raise ValueError(
            "Pass `latents`, what the generator is called on, if it takes pictures, labels or what "
            f"it does not show. Received: input_shape={shape}, latent_dim={size}"
        )
    return shape[1:]


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

    Not those that aren't built yet: that would change the order in which weights are drawn.
    """
    low, high = output_bounds(model.generator) or (-math.inf, math.inf)
    width = high - low
    if math.isfinite(width) and (real.max() > high + width or real.min() < low - width):
        raise ValueError(
            f"`real` must lie in the range of the generator's output, [{low:g}, {high:g}]: of "
            f"bytes pass images / {'127.5 - 1' if low < 0 else '255'}, and check what `fit` gets. "
            f"Received: values in [{real.min():g}, {real.max():g}]"
        )
    first = keras.tree.map_structure(lambda x: x[:TRIED], latents)
    images = _tried(model, "generator", first, real)
    if images is not None and images.shape[1:] != real.shape[1:]:
        raise ValueError(
            f"The generator makes images of another shape, {images.shape[1:]}. "
            f"{REMEDY['discriminator']}. Received: real of shape {real.shape}"
        )
    if (judged := _tried(model, "discriminator", real[:TRIED], real)) is not None:
        check_scores(judged.shape)
        if from_logits is False and not ((judged >= 0) & (judged <= 1)).all():
            raise ValueError(
                "With `from_logits=False` the discriminator must give probabilities: end it in a "
                f"sigmoid or leave `from_logits` out. Received: {judged.ravel()[0]:.4g}"
            )


def _tried(model, name, inputs, real):
    player = getattr(model, name)
    if not (getattr(player, "built", True) and player.weights):
        return None
    try:
        return run(player, inputs, real.shape[1:], f"The {name}")
    except Exception as error:  # each backend raises its own
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        shapes = [tuple(leaf.shape) for leaf in keras.tree.flatten(inputs)]
        text = f"The {name} fails: {reason} {REMEDY[name]}. Received: shapes {shapes}"
        raise ValueError(text) from error


def at_rest(model, player):
    """Whether the learning rate of a network's optimizer, by whatever usual name, is 0."""
    shared = getattr(model, "optimizer", None)
    found = [getattr(model, f"{name}_optimizer", None) for name in (*PLAYERS[player], player)]
    found += [getattr(shared, player, None), getattr(getattr(model, player), "optimizer", None)]
    optimizer = next((one for one in [*found, shared] if one is not None), None)
    try:
        rate = keras.ops.convert_to_numpy(getattr(optimizer, "learning_rate", None))
        return bool(np.abs(rate).max() <= AT_REST)
    except (TypeError, ValueError):  # no rate, or one of another kind
        return False


def fingerprints(model):
    """A hash of each weight's values, by network: small, whatever the model's size."""

    def fingerprint(weight):
        values = keras.ops.convert_to_numpy(weight).tobytes()
        return hashlib.blake2b(values, digest_size=8).hexdigest()

    return {player: [fingerprint(w) for w in getattr(model, player).weights] for player in PLAYERS}


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
        # One whose own weights rest as well was frozen on purpose.
        alive = any(moves.values()) or moves.keys() == STATISTICS
        if alive and not any(moves[name] for name in STATISTICS):
            still.append(layer)
    if not still:
        return None
    return (
        f"{len(still)} of the {player}'s {len(norms)} batch normalisations ({still[0]} first) have "
        "kept their moving statistics since the last check, while it trains."
    )
