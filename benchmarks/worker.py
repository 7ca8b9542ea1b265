"""One live process a framework: `python worker.py tensorflow|jax|keras-torch|torch`.

Reads a JSON request a line and answers each with a JSON line: `build` a contender, `run` some of
its steps, count the `flops` of one, or `drop` all of them.
"""

import gc
import importlib
import json
import os
import pathlib
import sys

FRAMEWORK = sys.argv[1]
os.environ["KERAS_BACKEND"] = FRAMEWORK.removeprefix("keras-")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The workers share one accelerator: none may take all of its memory.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from workloads import WORKLOADS  # noqa: E402


def contenders():
    return importlib.import_module(f"{'torch' if FRAMEWORK == 'torch' else 'keras'}_contenders")


def hello():
    """Imports the framework: fails here where it is not installed, and says what it runs on."""
    name = os.environ["KERAS_BACKEND"]
    version = f"{name} {importlib.import_module(name).__version__}"
    if FRAMEWORK == "torch":
        return f"{version}, {contenders().DEVICE}"
    import keras

    from ganlib.experiment.machine import device_name

    return f"{version}, keras {keras.__version__}, {device_name(name)}"


def answer(request, built):
    action = request.pop("action")
    if action == "hello":
        return hello()
    if action == "drop":
        built.clear()
        gc.collect()
        return None
    if action == "build":
        workload = WORKLOADS.get(request["workload"])
        build = getattr(contenders(), request["builder"])
        built[request["name"]] = build(workload, **request["options"])
        return None
    run = built[request["name"]]
    return contenders().count_flops(run) if action == "flops" else run(request["steps"])


def main():
    # Answers go to the real standard output, whatever the frameworks print to theirs.
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    built = {}
    for line in sys.stdin:
        try:
            reply = {"answer": answer(json.loads(line), built)}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(reply), file=channel, flush=True)


if __name__ == "__main__":
    main()
