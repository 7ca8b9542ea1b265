"""Time from the command to the first finished step, each in a new process."""

import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
QUICK = (
    "import keras, numpy as np\n"
    "from ganlib.studies import digits\n"
    "gan = digits.build_model(digits.STUDY.at('quick').base, seed=0, steps=1)\n"
    "gan.compile(keras.optimizers.Adam(2e-3), keras.optimizers.Adam(2e-3))\n"
    "gan.fit(np.zeros((32, 28, 28, 1), 'float32'), batch_size=32, verbose=0)\n"
)
OVERRIDDEN = (
    "import keras, keras_contenders as peers\n"
    "from workloads import WORKLOADS\n"
    "peers.keras_io(WORKLOADS['small'])(1)\n"
)
TUTORIAL = OVERRIDDEN.replace("keras_io", "tutorial")


def commands():
    """Name to argument list; the last ones with a backend that is not installed are left out."""
    python = [sys.executable, "-c"]
    found = {"nothing (python -c pass)": [*python, "pass"]}
    found["import ganlib"] = [*python, "import ganlib"]
    found["ganlib --help"] = [sys.executable, "-m", "ganlib", "--help"]
    for load in ("load('rooms')", "load('nuclei')", "load('membranes')"):
        found[load] = [*python, f"from ganlib.data import *; {load}"]  # they are drawn anew
    found["import keras"] = [*python, "import keras"]
    found["ganlib: first step of the quick digits model"] = [*python, QUICK]
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        found["train_step override: first step"] = [*python, OVERRIDDEN]
        found["tutorial loop: first two steps"] = [*python, TUTORIAL]
    return found


def measure(rounds):
    """Name to list of seconds; a command that fails is left out."""
    path = os.pathsep.join([str(HERE), str(HERE.parent)])
    environment = {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}
    times = {}
    for _ in range(rounds):
        for name, command in commands().items():
            begin = time.perf_counter()
            done = subprocess.run(command, env=environment, capture_output=True, check=False)
            if done.returncode == 0:
                times.setdefault(name, []).append(time.perf_counter() - begin)
    return times
