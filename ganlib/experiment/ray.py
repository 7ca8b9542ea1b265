"""Runs a study on a Ray cluster, or on this machine as a cluster of one: a trial is a Ray task.

The results are the run directories of the local engine, in a folder that all nodes share, so a
study may begin on one engine and go on under the other.
"""

import collections
import contextlib
import json
import logging
import os
import pathlib
import signal
import socket
import sys
import time
import uuid

from ganlib.experiment import task
from ganlib.experiment.local import RETRIES, finished, prepare, thread_limits
from ganlib.experiment.machine import cores
from ganlib.experiment.order import Queue
from ganlib.experiment.progress import Progress
from ganlib.experiment.study import BUSY, Run, StudyError, run_folder

NODE_RETRIES = 4  # of a trial whose node was lost, which is seldom the trial's fault
POLL_SECONDS = 1.0  # between looks at nodes and epochs, and at a trial that another process has
KNOCK_SECONDS = 10.0  # for a cluster to answer
OBJECT_STORE = 2**27  # bytes; data are read from files, and only results pass through it
# Variables of the environment that change what a trial computes.
PASSED_ON = ("GANLIB_", "JAX_", "KERAS_", "OMP_", "TF_", "TFDS_", "XLA_")


def run(
    study,
    out="runs",
    *,
    address=None,
    cpus=1,
    gpus=None,
    devices=1,
    fresh=False,
    memory_limit=None,
    show=True,
):
    """Runs all trials of a study that are not finished, and returns all results.

    Nodes may join and leave while it runs. A trial whose node is lost goes to another one, and a
    trial whose process dies is tried once more.

    Args:
        study: `ganlib.experiment.study.Study`.
        out: folder of all runs, which all nodes have under the same path.
        address: of a cluster that was begun with `ray start --head`: "auto" for this machine's, or
            "HOST:PORT". None starts Ray on this machine alone and ends it afterwards, unless the
            caller is connected already.
        cpus: int, processor cores a trial, and the threads it computes with.
        gpus: float, accelerators a trial; 0.5 lets two trials share one. By default `devices` of
            them, or none where the cluster has none.
        devices: int, over which each batch is spread, see `ganlib.experiment.devices`.
        fresh: bool, delete what the trials left behind before.
        memory_limit: int, bytes. A process that holds more after a trial is replaced; by default a
            share of 80 % of this machine's memory, by its cores.
        show: bool, a progress bar with the time left.

    Returns:
        List of result dicts in the order of the study's trials.

    Raises:
        DataError: the data can't be used, here or on a node.
        ValueError: cpus, gpus and devices don't go together.
        StudyError: Ray is not installed, the cluster does not answer or has no node that is large
            enough, a node does not share `out` or has other data, or a run directory belongs to
            other data.
        KeyboardInterrupt: after the trials have been stopped. Run again to resume.
    """
    check_resources(cpus, gpus, devices)
    _check_installed()
    data = prepare(study, out, fresh, devices)
    with Progress(study, show) as progress:
        results = finished(study, out, progress)
        if len(results) < len(study.trials):
            job = _job(study, data, out, devices, memory_limit or _memory_limit(cpus))
            with _connected(address, job.log):
                _Cluster(study, job, cpus, gpus, progress).run(results)
    return [results[trial.id] for trial in study.trials]


def check_resources(cpus, gpus, devices):
    """Raises a `ValueError` if no trial can have these; the arguments are those of `run`."""
    if cpus < 1:
        raise ValueError(f"A trial needs a processor core at least. Received: cpus={cpus}")
    if gpus is not None and (gpus < 0 or (gpus > 1 and gpus != int(gpus))):
        raise ValueError(f"A trial takes a part of one GPU, or whole ones. Received: gpus={gpus}")
    if gpus and devices > 1 and gpus < devices:
        raise ValueError(
            "A batch is spread over whole GPUs of the trial's own. Received: "
            f"devices={devices}, gpus={gpus}"
        )


def _check_installed():
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # which importing it reads
    try:
        import ray  # noqa: F401
    except ImportError:
        raise StudyError(
            "Ray is not installed: pip install 'ganlib[ray]', or leave --engine ray out."
        ) from None


def _job(study, data, out, devices, memory_limit):
    out = pathlib.Path(out).absolute()
    log = out / study.name / "ray.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    token = uuid.uuid4().hex
    with open(log, "a", encoding="utf-8") as file:
        file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} command {token}\n")
    return task.Job(
        module=study.module,
        options=json.dumps(study.options),
        folder=os.getcwd(),
        out=str(out),
        log=str(log),
        token=token,
        checksum=data.checksum,
        memory_limit=int(memory_limit),
        devices=devices,
    )


def _memory_limit(cpus):
    import psutil

    return 0.8 * psutil.virtual_memory().total * min(1, cpus / cores())


@contextlib.contextmanager
def _connected(address, log):
    """Connects to a cluster, or starts one; what Ray has to say meanwhile goes to the log."""
    import ray

    # Ray prints to standard output, where a command may have promised JSON.
    with open(log, "a", encoding="utf-8") as file, contextlib.redirect_stdout(file):
        if ray.is_initialized() and address is None:
            yield
            return
        try:
            _init(address)
            yield
        finally:
            ray.shutdown()


def _init(address):
    import ray

    own = {"include_dashboard": False, "object_store_memory": OBJECT_STORE}
    before = signal.getsignal(signal.SIGTERM)
    try:
        _knock(address)
        ray.init(
            address=address or "local",  # None might find a cluster that somebody else has started
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({} if address else own),
        )
    except (OSError, RuntimeError, ValueError) as error:
        where = f"The Ray cluster at {address!r} can't be joined" if address else "Ray can't start"
        why = str(error).partition("\n")[0].rstrip(".")
        raise StudyError(
            f"{where}: {why}. On the first machine `ray start --head` begins a cluster, and says "
            "its address. Without --address Ray runs on this machine alone."
        ) from error
    finally:
        with contextlib.suppress(ValueError):  # not the main thread: Ray has left it alone
            signal.signal(signal.SIGTERM, before)  # Ray's own would end us without a word


def _knock(address):
    """Raises an `OSError` or a `ValueError` at once where Ray would try for minutes."""
    if address in (None, "auto", "local"):
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        raise ValueError("an address is auto or HOST:PORT")
    with socket.create_connection((host, int(port)), timeout=KNOCK_SECONDS):
        pass


def _variables(cpus, gpus):
    """The environment of a trial's process."""
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


def _places(node, cpus, gpus):
    """The number of trials that a node can run at once."""
    has = node["Resources"] if node["Alive"] else {}
    places = int(has.get("CPU", 0) / cpus)
    if gpus:
        whole = int(has.get("GPU", 0))
        share = int(whole / gpus) if gpus >= 1 else whole * int(1 / gpus + 1e-9)
        places = min(places, share)
    return places


class _Cluster:
    def __init__(self, study, job, cpus, gpus, progress):
        import ray

        self.study = study
        self.job = job
        self.progress = progress
        if gpus is None:
            gpus = job.devices if any("GPU" in node["Resources"] for node in ray.nodes()) else 0
        self.cpus, self.gpus = cpus, gpus
        # Retries are ours: Ray can't tell a death from the end of a process that was exhausted.
        common = {"max_retries": 0, "runtime_env": {"env_vars": _variables(cpus, gpus)}}
        # A framework keeps a GPU for as long as its process lives, and Ray may give the GPU to
        # another process. So only processes without one take several trials.
        calls = 1 if gpus else 0
        self.check = ray.remote(num_cpus=0, **common)(task.check)
        self.work = ray.remote(num_cpus=cpus, num_gpus=gpus, max_calls=calls, **common)(task.work)
        self.record = ray.remote(num_cpus=0, max_calls=1, **common)(task.record_failure)
        self.under_way = {}  # task → trial
        self.deaths = collections.Counter()
        self.looked = -POLL_SECONDS

    def run(self, results):
        """Adds a result to `results` for each trial that has none."""
        import ray

        self._check_nodes()
        self.pending, last = Queue(self.study, results), None
        try:
            while len(results) < len(self.study.trials):
                self._look()
                self._hand_out(last)
                if not self.under_way:  # other processes have what is left, or there is no node
                    time.sleep(POLL_SECONDS)
                    continue
                ended, _ = ray.wait(list(self.under_way), timeout=POLL_SECONDS)
                for reference in ended:
                    last = self.under_way.pop(reference)
                    if result := self._settle(reference, last):
                        results[last.id] = result
                        self.progress.end(last, result["status"])
        finally:
            self._cancel()

    def _check_nodes(self):
        """Raises `StudyError` before any long work if a node can't do it."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        nodes = [node for node in ray.nodes() if _places(node, self.cpus, self.gpus)]
        if not nodes:
            raise StudyError(
                f"No node has what a trial asks for, {self.cpus} processor cores and {self.gpus} "
                "GPUs: ask for less with --cpus and --gpus, or let a larger node join first."
            )
        checks = {}
        for node in nodes:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            checks[self.check.options(scheduling_strategy=there).remote(self.job)] = node
        for reference, node in checks.items():
            try:
                ray.get(reference)
            except (ray.exceptions.NodeDiedError, ray.exceptions.TaskUnschedulableError):
                continue  # it has left since
            except ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None)
                if isinstance(cause, StudyError):
                    raise cause from None
                raise StudyError(
                    f"Node {node['NodeManagerHostname']} can't run ganlib: {cause or error}. "
                    "Install the same ganlib there, or share its environment."
                ) from error

    def _look(self):
        """Counts the nodes' places and the epochs, but not more often than it is worth."""
        import ray

        if time.monotonic() - self.looked < POLL_SECONDS:
            return
        self.looked = time.monotonic()
        # One at least waits in Ray, which may have lost all nodes but is told of new ones first.
        self.places = max(1, sum(_places(node, self.cpus, self.gpus) for node in ray.nodes()))
        for trial in self.under_way.values():
            with contextlib.suppress(OSError):  # the history is just being replaced
                self.progress.epoch(trial, Run(self._folder(trial)).epochs_done())

    def _hand_out(self, last):
        """Submits what can run now and no more: the choice of a shape should wait until then."""
        while len(self.under_way) < self.places:
            trial = self.pending.next(last, self.under_way.values())
            if trial is None:
                return
            self.under_way[self.work.remote(self.job, trial.id)] = trial
            self.progress.begin(trial)
            last = None

    def _settle(self, reference, trial):
        """Returns the result of a task that has ended, if there is one."""
        import ray

        try:
            result = ray.get(reference)
        except ray.exceptions.NodeDiedError as error:
            return self._died(trial, error, "node was lost", NODE_RETRIES)
        except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
            return self._died(trial, error, "process died", RETRIES)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        if result["status"] != BUSY:
            return result
        self.pending.later(trial, POLL_SECONDS)
        self.progress.busy(trial)
        return None

    def _died(self, trial, error, how, retries):
        if result := Run(self._folder(trial)).finished():  # it came so far
            return result
        self.deaths[trial.id, how] += 1
        deaths = self.deaths[trial.id, how]
        if deaths > retries + 1:  # not even the record of it succeeds
            raise error
        if deaths <= retries:
            self.pending.first(trial)
            self.progress.give_back(trial)
            return None
        message = f"The trial's {how} {deaths} times; see {self.job.log}."
        self.under_way[self.record.remote(self.job, trial.id, message)] = trial
        return None

    def _cancel(self):
        """Stops what is under way; a run directory survives it at any moment."""
        import ray

        for reference in self.under_way:
            ray.cancel(reference, force=True)
        if self.under_way:  # until their processes have let go of the run directories
            ray.wait(list(self.under_way), num_returns=len(self.under_way), timeout=5)

    def _folder(self, trial):
        return run_folder(self.study, trial, self.job.out)
