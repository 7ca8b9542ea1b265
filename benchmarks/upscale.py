"""Enlarging a 512×512 picture four times: tile by tile, and whole by plain Keras `predict`.

    python benchmarks/upscale.py [filters] [blocks]

Each way runs in a process of its own; memory is the process' peak above what it held with the model
loaded. The weights are random: they cost what trained ones cost.
"""

import json
import os
import subprocess
import sys
import time

SIDE = 512
REPEATS = 3


def main(filters=64, blocks=16):
    rows = {way: _measure(way, filters, blocks) for way in ("tiles", "predict")}
    print(f"{SIDE}×{SIDE} ×4, {filters} filters, {blocks} blocks, {os.cpu_count()} cores")
    for way, row in rows.items():
        print(f"{way:8} {row['seconds']:6.1f} s (first {row['first']:.1f} s) {row['mib']:7.0f} MiB")
    time_ratio = rows["tiles"]["seconds"] / rows["predict"]["seconds"]
    memory_ratio = rows["tiles"]["mib"] / rows["predict"]["mib"]
    print(f"ratio    {time_ratio:6.2f} {memory_ratio:27.2f}")


def _measure(way, filters, blocks):
    command = [sys.executable, __file__, "--way", way, str(filters), str(blocks)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


def work(way, filters, blocks):
    import resource

    import numpy as np

    from ganlib.apply import upscale_image
    from ganlib.models.srgan import build_generator

    model = build_generator(4, int(filters), int(blocks))
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), "uint8")
    upscale_image(model, image[:8, :8])  # loads kernels and allocates what the backend keeps
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        if way == "tiles":
            upscale_image(model, image)
        else:
            model.predict(image[np.newaxis].astype("float32") / 255, verbose=0)
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"seconds": min(times), "first": times[0], "mib": peak / 1024}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--way"]:
        work(*sys.argv[2:])
    else:
        main(*map(int, sys.argv[1:]))
