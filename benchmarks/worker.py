"""One live process a framework: builds contenders, then times steps whenever it is asked to.

`python worker.py tensorflow|jax|keras-torch|torch` reads a JSON request a line and answers each
with a JSON line: `build` a contender, `run` some of its steps, or `drop` all of them.
"""

import gc
import json
import os
import pathlib
import sys
import time

FRAMEWORK = sys.argv[1]
os.environ["KERAS_BACKEND"] = FRAMEWORK.removeprefix("keras-")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The workers share one accelerator: none may take all of its memory.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from workloads import WORKLOADS, step_flops  # noqa: E402


def builder(kind):
    if kind == "peak":
        import parts

        return lambda workload, **options: parts.matmul(FRAMEWORK, **options)
    if FRAMEWORK == "torch":
        import torch_contenders

        return getattr(torch_contenders, kind)
    import keras_contenders
    import parts

    return getattr(keras_contenders, kind, None) or getattr(parts, kind)


def hello():
    """Imports the framework: fails here where it is not installed, and says on what it runs."""
    if FRAMEWORK == "torch":
        import torch

        return {"version": f"torch {torch.__version__}", "gpu": torch.cuda.is_available()}
    import importlib

    name = os.environ["KERAS_BACKEND"]
    framework = importlib.import_module(name)
    import keras

    if name == "tensorflow":
        gpu = bool(framework.config.list_physical_devices("GPU"))
    elif name == "jax":
        gpu = framework.default_backend() == "gpu"
    else:
        gpu = framework.cuda.is_available()
    return {"version": f"{name} {framework.__version__}, keras {keras.__version__}", "gpu": gpu}


def flops(workload):
    import keras_contenders

    players = keras_contenders.players(workload)
    return {
        update: step_flops(*players, workload, update)
        for update in ("alternating", "shared", "joint")
    }


def answer(request, contenders):
    action = request["action"]
    if action == "hello":
        return hello()
    if action == "drop":
        contenders.clear()
        gc.collect()
        return {}
    if action == "flops":
        return flops(WORKLOADS[request["workload"]])
    if action == "build":
        begin = time.perf_counter()
        workload = WORKLOADS.get(request.get("workload"))
        run = builder(request["kind"])(workload, **request.get("options", {}))
        run(request.get("warm_up", 2))
        seconds = time.perf_counter() - begin
        contenders[request["name"]] = run
        return {"seconds": seconds}
    return {"seconds": contenders[request["name"]](request["steps"])}


def main():
    # Answers go to the real standard output, whatever the frameworks print to theirs.
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    contenders = {}
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line), contenders)
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
        print(json.dumps(reply), file=channel, flush=True)


if __name__ == "__main__":
    main()
