"""Runs a study on a Ray cluster, or on this machine as a cluster of one: a trial is a Ray task.

The run directories are the local engine's: a study may go on under the other engine.
"""

import contextlib
import logging
import os
import pathlib
import platform
import signal
import sys
import time

import psutil

from ganlib.experiment.local import MEMORY, kept_study, prepare, thread_limits
from ganlib.experiment.machine import StudyError, cores, spread
from ganlib.experiment.run import BUSY, FINAL, OUT_OF_MEMORY, give_up, run_folder, run_trial
from ganlib.experiment.status import Progress

RETRIES = 3  # of a trial whose process or node was lost: Ray's own
POLL_SECONDS = 1.0  # between looks at the epochs, and at a trial that another process has
SHARED_SECONDS = 3.0  # that a shared folder may take to show what another machine has made
PASSED_ON = ("GANLIB_", "JAX_", "KERAS_", "OMP_", "TF_", "TFDS_", "XLA_")  # they change numbers


def run(study, out="runs", *, address=None, cpus=1, gpus=None, devices=1, fresh=False, show=True):
    """Runs all trials of a study that are not finished, and returns all results.

    Nodes may join and leave meanwhile. What is not told here is as of `local.run`.

    Args:
        out: folder of all runs, which all nodes have under the same path.
        address: of a cluster that was begun with `ray start --head`: "auto" for this machine's, or
            "HOST:PORT". None starts Ray here, and ends it, unless the caller is connected already.
        cpus: int, processor cores a trial, and the threads it computes with.
        gpus: float, accelerators a trial; 0.5 lets two share one. None: `devices`, if it has any.

    Raises:
        StudyError: no Ray, no answer, no node large enough, or one without `out` or the data.
    """
    whole = gpus is None or gpus == int(gpus) or gpus < 1
    if cpus < 1 or (gpus or 0) < 0 or not whole or (gpus and devices > max(1, gpus)):
        raise ValueError(
            "A trial takes 1 core or more, and a part of one GPU or whole ones, as many as "
            f"`devices`. Received: cpus={cpus}, gpus={gpus}, devices={devices}"
        )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # which importing it reads
    try:
        import ray  # noqa: F401
    except ImportError:
        message = "Ray is not installed: pip install 'ganlib[ray]', or leave --engine ray out."
        raise StudyError(message) from None
    out = pathlib.Path(out).absolute()
    results = prepare(study, out, fresh)
    with contextlib.closing(Progress(study, out, show, results)) as progress:
        if len(results) < len(study.trials):
            log = out / study.name / "ray.log"
            # Ray prints to standard output, where a command may have promised JSON.
            with open(log, "a") as file, contextlib.redirect_stdout(file), _connected(address):
                _run(study, out, cpus, gpus, devices, progress, results)
    return [results[trial.id] for trial in study.trials]


@contextlib.contextmanager
def _connected(address):
    import ray

    if ray.is_initialized() and address is None:
        yield
        return
    options = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not address:
        options |= {"include_dashboard": False, "_system_config": {"task_oom_retries": 1}}
    before = signal.getsignal(signal.SIGTERM)
    try:
        # "local": None might find a cluster that somebody else has started.
        ray.init(address=address or "local", **options)
        with contextlib.suppress(ValueError):  # not the main thread: Ray has left it alone
            signal.signal(signal.SIGTERM, before)  # Ray's own would end us without a word
    except (OSError, RuntimeError, ValueError) as error:
        raise StudyError(
            f"The Ray cluster at {address or 'this machine'!r} can't be joined: {error}. `ray start"
            " --head` begins one, and says its address; without --address Ray runs here alone."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _run(study, out, cpus, gpus, devices, progress, results):
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if gpus is None:
        gpus = devices if any("GPU" in node for node in nodes) else 0
    if not any(n.get("CPU", 0) >= cpus and n.get("GPU", 0) >= gpus for n in nodes):
        raise StudyError(f"No node has {cpus} cores and {gpus} GPUs: lower --cpus or --gpus.")
    options = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": RETRIES}
    task = ray.remote(runtime_env={"env_vars": _variables(cpus, gpus)}, **options)(_work)
    # A process that ends one trial is given the next in line, so those of one shape stand together.
    shapes = list(dict.fromkeys(map(study.shape_of, study.trials)))
    order = sorted(study.trials, key=lambda trial: shapes.index(study.shape_of(trial)))
    waiting, under_way = [trial for trial in order if trial.id not in results], {}
    share = MEMORY * min(1, cpus / cores())
    try:
        while len(results) < len(study.trials):
            for trial in waiting:
                run_folder(study, trial, out).mkdir(parents=True, exist_ok=True)
                job = study.module, study.options, os.getcwd(), str(out)
                under_way[task.remote(job, trial.id, devices, share)] = trial
            waiting = []
            ended, _ = ray.wait(list(under_way), num_returns=len(under_way), timeout=POLL_SECONDS)
            for reference in ended:
                trial = under_way.pop(reference)
                try:
                    result = ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from error
                except ray.exceptions.OutOfMemoryError as error:
                    result = give_up(study, trial, out, str(error), OUT_OF_MEMORY)
                except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError) as error:
                    message = f"Its process or node was lost {RETRIES + 1} times: {error}"
                    result = give_up(study, trial, out, message)
                if result["status"] == BUSY:
                    progress.busy(trial)
                    waiting.append(trial)
                else:
                    results[trial.id] = result
                    progress.end(trial, result["status"])
            progress.look(under_way.values())
    finally:
        for reference in under_way:
            ray.cancel(reference, force=True)
        if under_way:  # until their processes have let go of the run directories
            ray.wait(list(under_way), num_returns=len(under_way), timeout=5)


def _variables(cpus, gpus):
    variables = thread_limits(cpus)
    # On a node whose accelerators are not the trial's, it must not see them.
    variables |= {"TF_CPP_MIN_LOG_LEVEL": "3", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}
    if 0 < gpus < 1:  # else the first to come would claim all the memory
        variables |= {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    variables |= {k: v for k, v in os.environ.items() if k.startswith(PASSED_ON)}
    if "keras" in sys.modules:  # its name may come from a file that the other nodes lack
        variables["KERAS_BACKEND"] = sys.modules["keras"].config.backend()
    if paths := os.environ.get("PYTHONPATH"):
        variables["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, paths.split(os.pathsep)))
    return variables


def _work(job, trial_id, devices, share):
    module, options, folder, out = job
    with contextlib.suppress(OSError):  # a node without that folder can do without relative paths
        os.chdir(folder)
    study = kept_study(module, options)
    try:
        trial = study.trial(trial_id)
    except StudyError as error:
        raise StudyError(f"On node {platform.node()}: {error}") from error
    folder, end = run_folder(study, trial, out), time.monotonic() + SHARED_SECONDS
    while not folder.exists():  # the command has made it
        if time.monotonic() > end:
            problem = f"Node {platform.node()} does not share the folder {folder.parent}"
            raise StudyError(f"{problem}: give an --out that all nodes have, on NFS for example.")
        time.sleep(0.1)
    with spread(devices):
        result = run_trial(study, trial, out)
    held = psutil.Process().memory_percent() / 100
    exhausted = result["status"] == OUT_OF_MEMORY or held > share
    if result["status"] in FINAL and exhausted:
        os._exit(1)  # Ray tries again, in another process, which finds the result
    return result
