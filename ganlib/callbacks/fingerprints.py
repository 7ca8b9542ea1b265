"""Which weights of a model's players have moved between two looks at them."""

import hashlib
import itertools

import keras

from ganlib.callbacks.players import PLAYERS

STATISTICS = {"moving_mean", "moving_variance"}


def take(model):
    """A hash of each weight's values, by player: small, whatever the model's size."""

    def fingerprint(weight):
        values = keras.ops.convert_to_numpy(weight).tobytes()
        return hashlib.blake2b(values, digest_size=8).hexdigest()

    return {player: [fingerprint(w) for w in getattr(model, player).weights] for player in PLAYERS}


def moved(before, after):
    """A bool a weight; one that was built in between has moved."""
    return [was != now for was, now in itertools.zip_longest(before, after)]


def frozen(player, weights, moved):
    """Evidence that no kernel of the player has moved, or None."""
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
