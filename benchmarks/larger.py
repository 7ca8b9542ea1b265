"""The tables of the larger networks, and what an epoch of the write-ups would take."""

import functools

from rounds import Contender
from sections import (
    check_twin,
    contender_table,
    in_bfloat16,
    mixed_rows,
    note_twin,
    protected,
    run_all,
    torch_rows,
)
from tables import table
from tasks import tasks
from workloads import WORKLOADS

EPOCHS_A_RUN, RUNS = 30, 36
TILES = 1980
# Name of a workload or task, what it is in the write-up, seconds an epoch there, steps an epoch.
PUBLISHED = (
    ("tutorial", "digits, 100 epochs in 79 min", 47.4, 234),
    ("sr-attempt", "SRGAN, an attempt", 0.37, 4),
    ("unet-16", "U-Net", 31, -(-TILES // 16)),
    ("attention_unet-16", "Attention U-Net", 44, -(-TILES // 16)),
    ("attention_resunet-16", "Attention ResU-Net", 50, -(-TILES // 16)),
)
NOTES = f"""- Computed: the median step above times the steps of an epoch. No validation, no
  checkpoint, no start and no compiling is in it; the write-ups' seconds may hold some of that, on
  their machines (the U-Nets': an A40).
- Steps: digits 60,000 / 256, as the tutorial's loop counts; SRGAN 4, which is how ganlib's study
  reads the write-up; U-Nets {TILES:,} patches of 256² in batches of 16.
- The grid: {RUNS} runs of {EPOCHS_A_RUN} epochs, a third of them each network, all as if in
  batches of 16."""


def contenders(machine, task, compiled):
    rows = [
        Contender("ganlib, TensorFlow", "tensorflow", "ganlib_task"),
        Contender("ganlib, JAX", "jax", "ganlib_task"),
    ]
    rows += mixed_rows("_task") if machine.bfloat16 else []
    if task.generator == "paper":
        return rows
    twins = torch_rows(machine, compiled, "_task")
    return [*rows, Contender("PyTorch", "torch", "pytorch_task", peer=True), *twins]


def task_section(machine, task, rounds, turn, compiled):
    twin = task.generator != "paper"
    facts = check_twin(machine, task.name, twin)
    rows = contenders(machine, task, compiled)
    ran, skipped = run_all(
        machine, rows, task.name, machine.apart, rounds=rounds, turn=turn, warm_up=2
    )
    column = "precision", lambda c: "bfloat16" if in_bfloat16(c) else "float32"
    title = f"## {task.title} ({task.described}; {rounds} rounds)"
    body = contender_table(machine, ran, skipped, column, lambda _: facts["flops"])
    return f"{title}\n\n{body}\n{note_twin(machine, facts, twin)}"


def sections(machine, wanted, size, rounds, turn, compiled):
    """Yields the sections "sr", "unet" and "epochs", as far as wanted."""
    for task in tasks(size).values():
        section = "epochs" if task.generator == "paper" else task.section
        if section in wanted:
            make = functools.partial(task_section, machine, task, rounds, turn, compiled)
            yield protected(machine, task.title, make)
    if "epochs" in wanted:
        yield epochs_section(machine.seconds, size)


def epochs_section(seconds, size):
    """Seconds an epoch, computed.

    Args:
        seconds: dict, (workload, contender) → seconds a step.
        size: str, the profile.
    """
    found = [name if name in WORKLOADS else f"{name}-{size}" for name, *_ in PUBLISHED]
    columns = dict.fromkeys(
        contender
        for name in found
        for workload, contender in seconds
        if workload == name and contender in COLUMNS
    )
    rows = []
    for name, (_, what, published, steps) in zip(found, PUBLISHED, strict=True):
        cells = [_cell(seconds.get((name, column)), steps, ".3g") for column in columns]
        rows.append((what, f"{published} s", f"{steps:,}", *cells))
    nets = found[2:]
    steps = RUNS // 3 * EPOCHS_A_RUN * -(-TILES // 16)
    cells = []
    for column in columns:
        each = [seconds.get((name, column)) for name in nets]
        cells.append("–" if None in each else f"{sum(each) * steps / 3600:.3g} h")
    rows.append((f"the grid, {RUNS} runs", "12.35 h", f"{len(nets) * steps:,}", *cells))
    quick = "\n- **Quick sizes**: these networks are not the write-ups'." * (size == "quick")
    header = ("what", "write-up", "steps", *columns)
    title = "## Seconds an epoch beside the write-ups"
    return f"{title}\n\n{table(header, rows)}\n\n{NOTES}{quick}"


COLUMNS = [f"ganlib, {name}{end}" for end in ("", ", bfloat16") for name in ("TensorFlow", "JAX")]


def _cell(seconds, steps, digits):
    return "–" if seconds is None else f"{seconds * steps:{digits}} s"
