"""What the scores of `ganlib.metrics` cost over the number of images: seconds and peak memory.

    python benchmarks/fidelity.py                      # 1,280 features, up to 10,000 × 10,000
    python benchmarks/fidelity.py --sizes 1000 2000 --features 2048

Each row is a process of its own, so that its peak memory is its own; the features (float32) and
Python with NumPy are within it.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

SCORES = ("Fréchet", "Fréchet, textbook", "KID", "P/R, D/C", "nearest")


def measure(n, d):
    """Seconds of each score, and the process's peak memory in MiB."""
    from ganlib.metrics import fidelity, kernel, neighbours

    rng = np.random.default_rng(0)
    real, fake = (np.maximum(rng.normal(size=(n, d)), 0).astype("float32") for _ in range(2))
    calls = {
        "Fréchet": lambda: fidelity.frechet_distance(real, fake),
        "KID": lambda: kernel.kernel_distance(real, fake),
        "P/R, D/C": lambda: neighbours.compare(real, fake),
        "nearest": lambda: neighbours.nearest(fake, real, 5),
    }
    seconds = {name: _time(call) for name, call in calls.items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    seconds["Fréchet, textbook"] = _time(lambda: _textbook(real, fake))
    return {"n": n, "seconds": seconds, "peak": peak}


def _textbook(real, fake):
    """The distance as it is written down: from covariances, by a root of their product."""
    import scipy.linalg

    a, b = (np.cov(x, rowvar=False) for x in (real, fake))
    step = real.mean(axis=0) - fake.mean(axis=0)
    return step @ step + np.trace(a) + np.trace(b) - 2 * np.trace(scipy.linalg.sqrtm(a @ b)).real


def _time(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 2000, 5000, 10_000])
    parser.add_argument("--features", type=int, default=1280)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.features)))
        return
    head = ["n × n", *(f"{name}, s" for name in SCORES), "ours, s", "peak, MiB"]
    print(f"{options.features:,} features\n")
    print(f"| {' | '.join(head)} |\n|{' ---: |' * len(head)}")
    for n in options.sizes:
        command = [sys.executable, __file__, "--one", str(n), "--features", str(options.features)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        row = json.loads(output.splitlines()[-1])
        seconds = [row["seconds"][name] for name in SCORES]
        cells = [f"{n:,}", *(f"{x:.2f}" for x in seconds)]
        cells += [f"{seconds[0] + sum(seconds[2:]):.1f}", f"{row['peak']:,.0f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
