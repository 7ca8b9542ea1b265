"""What the nodes of a Ray cluster do: trials, and a look around before the first one.

A node's process keeps study and data between trials, and with them the programs it has compiled.
"""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import platform
import time

from ganlib.data.errors import DataError
from ganlib.experiment.machine import process_memory
from ganlib.experiment.study import (
    FINAL,
    OUT_OF_MEMORY,
    StudyError,
    build,
    give_up,
    plain,
    run_trial,
)

SHARED_SECONDS = 3.0  # that a shared folder may take to show what another machine has written


@dataclasses.dataclass(frozen=True)
class Job:
    """What is the same for all trials of a command.

    Attributes:
        module: of the study, as in `ganlib.experiment.study.Study`.
        options: of the study, as JSON text.
        folder: where the command was given; relative paths in the options are meant from there.
        out: folder of all runs, absolute.
        log: file in it, in which the command has written the token.
        token: what no other command has written.
        checksum: of the command's data.
        memory_limit: bytes that a process may hold after a trial.
        devices: int, over which each batch is spread.
    """

    module: str
    options: str
    folder: str
    out: str
    log: str
    token: str
    checksum: str
    memory_limit: int
    devices: int


def check(job):
    """Raises a `StudyError` if this node does not share the folder of all runs."""
    end = time.monotonic() + SHARED_SECONDS
    while not _sees(job):
        if time.monotonic() > end:
            raise StudyError(
                f"Node {platform.node()} does not share the folder {job.out}. Give an --out that "
                "all nodes have under the same path, on NFS for example."
            )
        time.sleep(0.1)


def _sees(job):
    try:
        return job.token in pathlib.Path(job.log).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def work(job, trial_id):
    """Runs a trial and returns its result.

    The process of a trial that ran out of memory, or left too little of it, ends here: the result
    is on the disk, where the command will find it.
    """
    study, data = _load(job)
    trial = study.trial(trial_id)
    result = plain(run_trial(study, trial, data, job.out, devices=job.devices))
    exhausted = result["status"] == OUT_OF_MEMORY or process_memory() > job.memory_limit
    if exhausted and result["status"] in FINAL:
        os._exit(0)  # Ray starts another process for the next trial
    return result


def record_failure(job, trial_id, error):
    """Records that a trial's processes died; returns its result."""
    study = _build(job)
    # Of the data it asks only the checksum. Loading them may be what the processes died of.
    return plain(give_up(study, study.trial(trial_id), job, job.out, error))


@functools.lru_cache(maxsize=1)
def _load(job):
    check(job)  # this node may have joined later
    study = _build(job)
    try:
        data = study.load_data()
    except DataError as error:
        raise DataError(f"On node {platform.node()}: {error}") from error
    if data.checksum != job.checksum:
        raise StudyError(
            f"Node {platform.node()} has other data (checksum {data.checksum:.12}…, here "
            f"{job.checksum:.12}…). Give it the same, or a --data that all nodes share."
        )
    return study, data


def _build(job):
    with contextlib.suppress(OSError):  # a node without that folder can do without relative paths
        os.chdir(job.folder)
    return build(job.module, json.loads(job.options))
