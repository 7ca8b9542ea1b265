"""What one check of `HealthMonitor` takes, by how many images go through a player at once.

    python benchmarks/monitor.py

The players are those of the quick bedrooms study (32×32 pixels), the images noise.
"""

import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from ganlib import HealthMonitor
from ganlib.models import outputs
from ganlib.studies import bedrooms

ROUNDS = 9
IMAGES, SIDE = 256, 32


def main():
    recipe = bedrooms.STUDY.at("quick").recipes["repaired"]
    gan = bedrooms.build_gan(recipe, 0)
    images = np.random.default_rng(0).uniform(-1, 1, (IMAGES, SIDE, SIDE, 3)).astype("float32")
    monitor = HealthMonitor(images, stop_on=())
    monitor.set_model(gan)
    monitor.on_train_begin()
    seconds = {64: [], IMAGES: []}
    for _ in range(ROUNDS + 1):
        for count, times in seconds.items():
            outputs.PIXELS = count * SIDE**2
            start = time.perf_counter()
            monitor.check()
            times.append(time.perf_counter() - start)
    print("| images at once | seconds a check | ratio |\n| ---: | ---: | ---: |")
    for count, times in seconds.items():  # the first round is left out
        ratios = [t / whole for t, whole in zip(times[1:], seconds[IMAGES][1:], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        median = statistics.median(times[1:])
        print(f"| {count} | {median:.3f} | {middle:.2f} [{low:.2f}, {high:.2f}] |")


if __name__ == "__main__":
    main()
