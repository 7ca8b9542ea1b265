"""A worker process: reads trials from standard input, writes events to standard output.

Both are JSON lines. It imports the backend once and keeps the data between trials. When its parent
dies, standard input ends and the worker with it, so no orphan holds a trial's lock.
"""

import json
import os
import queue
import signal
import sys
import threading


def main():
    # Ctrl-C reaches the whole process group; the parent decides what happens to us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    events = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # whatever training prints goes to the log, not between the events

    def send(event, **fields):
        events.write(json.dumps({"event": event, **fields}) + "\n")

    jobs = queue.SimpleQueue()
    threading.Thread(target=_read_jobs, args=(jobs,), daemon=True).start()
    study = data = None
    while True:
        job = jobs.get()
        from ganlib.experiment.study import build, plain, run_trial

        if study is None:
            study = build(job["module"], job["options"])
            data = study.load_data()
        trial = study.trial(job["trial"])
        result = run_trial(
            study,
            trial,
            data,
            job["out"],
            lambda epoch, epochs, trial=trial: send("epoch", trial=trial.id, epoch=epoch),
        )
        send("finished", result=plain(result), memory=_resident_memory())


def _read_jobs(jobs):
    for line in sys.stdin:
        jobs.put(json.loads(line))
    os._exit(0)  # the parent is gone, or done with us; checkpoints are safe at any moment


def _resident_memory():
    import psutil

    return psutil.Process().memory_info().rss


if __name__ == "__main__":
    main()
