"""Kills the quick U-Net grid at random moments until it is done, and compares what came out.

    python benchmarks/kill_grid.py [--kills 20] [--folder FOLDER]

A third of the kills take the whole command with its workers, a third one worker, and a third fill
the disk (a limit on the size of written files, which fails each write as a full disk does) before
the command is killed. Each time the same command is given again. In the end every trial must have
the result of an undisturbed run, number for number, and none may have been trained again after its
result was there.
"""

import argparse
import json
import os
import pathlib
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time

import psutil

TIMED = ("seconds", "processor_seconds", "seconds_per_epoch", "processor_seconds_per_epoch")
MACHINE = (*TIMED, "memory", "device_memory", "model_bytes")


def start(out, small_files=False):
    """The command in a process group of its own."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that writing fails instead

    command = [sys.executable, "-m", "ganlib", "run", "unet", "--out", str(out / "runs")]
    command += ["--reports", str(out / "reports"), "--json"]
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=limit if small_files else None,
    )


def results(out):
    """Trial id → result, of those that finished."""
    found = {}
    for path in (out / "runs" / "unet").glob("*/result.json"):
        result = json.loads(path.read_text(encoding="utf-8"))
        if result["status"] in ("done", "stopped"):
            found[result["id"]] = {**result, "written": path.stat().st_mtime_ns}
    return found


def workers(process):
    return [child for child in psutil.Process(process.pid).children() if child.is_running()]


def disturb(out, rng, kind):
    """Starts the command, waits, does harm; returns whether it had ended before."""
    process = start(out, small_files=kind == "disk")
    try:
        process.wait(timeout=rng.uniform(4, 16))
        return process.returncode == 0
    except subprocess.TimeoutExpired:
        pass
    if kind == "worker" and workers(process):
        rng.choice(workers(process)).kill()
        time.sleep(rng.uniform(0, 3))  # the command gives the trial to another
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return False


def comparable(result):
    """The numbers of a result that do not depend on the clock."""
    return {k: v for k, v in result["metrics"].items() if k not in MACHINE}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--folder", type=pathlib.Path, default=None)
    options = parser.parse_args()
    folder = options.folder or pathlib.Path(tempfile.mkdtemp())
    rng = random.Random(0)
    whole, killed = folder / "whole", folder / "killed"
    begin = time.monotonic()
    start(whole).wait()
    undisturbed = time.monotonic() - begin
    counts = dict.fromkeys(("command", "worker", "disk"), 0)
    rewritten, before, begin = 0, {}, time.monotonic()
    while sum(counts.values()) < options.kills:
        kind = list(counts)[sum(counts.values()) % 3]
        if disturb(killed, rng, kind):
            break
        counts[kind] += 1
        now = results(killed)
        rewritten += sum(now[i]["written"] != before[i]["written"] for i in before if i in now)
        lost = before.keys() - now.keys()
        if lost:
            sys.exit(f"lost: {sorted(lost)}")
        before = now
    start(killed).wait()
    a, b = results(whole), results(killed)
    print(f"undisturbed: {undisturbed:.0f} s, {len(a)} results")
    print(f"killed {counts}: {time.monotonic() - begin:.0f} s, {len(b)} results")
    different = [i for i in a if i not in b or comparable(a[i]) != comparable(b[i])]
    print(f"results that differ or are missing: {different}; written twice: {rewritten}")
    sys.exit(bool(different or rewritten or len(a) != len(b)))


if __name__ == "__main__":
    main()
