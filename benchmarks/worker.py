"""One live process a framework: builds contenders, then times steps whenever it is asked to.

`python worker.py tensorflow|jax|keras-torch|torch` reads a JSON request a line and answers each
with a JSON line: `build` a contender, `run` some of its steps, or `drop` all of them.
"""

import gc
import json
import math
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

from tasks import TASKS  # noqa: E402
from workloads import WORKLOADS, step_flops  # noqa: E402

WORKLOADS = {**WORKLOADS, **TASKS}


def builder(kind):
    if kind == "peak":
        import parts

        return lambda workload, **options: parts.matmul(FRAMEWORK, **options)
    if FRAMEWORK == "torch":
        import torch_contenders
        import torch_tasks

        return {"pytorch": torch_contenders.pytorch, "pytorch_task": torch_tasks.pytorch_task}[kind]
    import parts

    if kind == "layer":
        return parts.layer
    if kind == "ganlib_task":
        import keras_tasks

        return keras_tasks.ganlib_task
    import keras_contenders

    return getattr(keras_contenders, kind)


def hello():
    """Imports the framework: fails here where it is not installed, and says on what it runs."""
    if FRAMEWORK == "torch":
        import torch

        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
        return {"version": f"torch {torch.__version__}", "gpu": gpu}
    import importlib

    name = os.environ["KERAS_BACKEND"]
    framework = importlib.import_module(name)
    import keras

    gpu = ""
    if name == "tensorflow":
        found = framework.config.list_physical_devices("GPU")
        if found:
            details = framework.config.experimental.get_device_details(found[0])
            gpu = details.get("device_name", "GPU")
    elif name == "jax":
        if framework.default_backend() == "gpu":
            gpu = framework.devices()[0].device_kind
    elif framework.cuda.is_available():
        gpu = framework.cuda.get_device_name()
    return {"version": f"{name} {framework.__version__}, keras {keras.__version__}", "gpu": gpu}


def flops(workload):
    """Operations of a step, by update; the larger tasks have but one way."""
    if workload.name in TASKS:
        import flops
        import keras_tasks

        models = keras_tasks.networks(keras_tasks.compiled(workload), workload)
        return {"alternating": flops.task_flops(workload, models)}
    import keras_contenders

    players = keras_contenders.players(workload)
    return {
        update: step_flops(*players, workload, update)
        for update in ("alternating", "shared", "joint")
    }


def arithmetic(workload):
    """What must be the same of a network and its twin: sizes of the weights, and operations."""
    larger = workload.name in TASKS
    if FRAMEWORK == "torch":
        import torch_contenders

        run = builder("pytorch_task" if larger else "pytorch")(workload)
        return {"parameters": run.parameters, "flops": torch_contenders.count_flops(run)}
    if larger:
        import keras_tasks

        players = keras_tasks.networks(keras_tasks.compiled(workload), workload)
    else:
        import keras_contenders

        players = keras_contenders.players(workload)
    weights = [weight for player in players for weight in player.trainable_weights]
    sizes = sorted(math.prod(weight.shape) for weight in weights)
    return {"parameters": sizes, "flops": flops(workload)["alternating"]}


def answer(request, contenders):
    action = request["action"]
    if action == "hello":
        return hello()
    if action == "drop":
        contenders.clear()
        gc.collect()
        return {}
    if action == "arithmetic":
        return arithmetic(WORKLOADS[request["workload"]])
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
