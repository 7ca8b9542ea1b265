"""Writing what a resumed training needs: Keras' writer against ours, turn by turn.

python benchmarks/checkpoint.py [--rounds 15]
"""

import argparse
import pathlib
import statistics
import tempfile
import time

import keras

from ganlib.backends import variables as weights
from ganlib.experiment import fit as training
from ganlib.models.unet import ARCHITECTURES, build_unet


def timed(function, *arguments):
    begin = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    folder = pathlib.Path(tempfile.mkdtemp())
    print(
        "| network | parameters | Keras, ms | ganlib, ms | ratio |\n| --- | --- | --- | --- | --- |"
    )
    for architecture in ARCHITECTURES:
        model = build_unet(architecture, 8, depth=2)
        training.compile_supervised(model, keras.optimizers.Adam(), "mean_squared_error")
        variables = [*model.weights, *model.optimizer.variables]
        pairs = [
            (
                timed(model.save_weights, folder / "model.weights.h5"),
                timed(weights.save, folder / "variables.npz", variables),
            )
            for _ in range(rounds + 1)
        ][1:]
        keras_ms, ours = (1e3 * statistics.median(some) for some in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        row = f"{architecture} | {model.count_params():,} | {keras_ms:.0f} | {ours:.0f}"
        print(f"| {row} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
