"""Speed against peers, as ratios: `python benchmarks/speed.py [--full] [--gpu] [--out results.md]`.

All contenders run in one go, in rounds, so that a machine whose speed drifts cancels out: a ratio
is formed within each round, and the table shows the median and the quartiles of those ratios.
benchmarks/README.md says what each row does.
"""

import argparse
import functools
import os
import pathlib
import platform
import sys

import larger
import start
from rounds import Contender, race, ratio, spread
from sections import (
    Machine,
    check_twin,
    contender_table,
    mixed_rows,
    protected,
    run_all,
    torch_rows,
)
from tables import quartiles, table
from workloads import WORKLOADS

FRAMEWORKS = ("tensorflow", "jax", "keras-torch", "torch")
SECTIONS = "small,tutorial,dcgan,layers,feed,start"
GPU_SECTIONS = "small,tutorial,dcgan,sr,unet,epochs"
# Rounds, and seconds a turn.
SIZES = {
    "quick": {
        "small": (7, 0.5),
        "tutorial": (4, 0.2),
        "dcgan": (4, 0.2),
        "parts": (5, 0.15),
        "larger": (4, 0.3),
    },
    "full": {
        "small": (25, 1.5),
        "tutorial": (11, 2.0),
        "dcgan": (11, 2.0),
        "parts": (15, 0.4),
        "larger": (11, 2.0),
    },
}
CALL = 8  # steps of a call, where several are taken in one


def contenders(machine, workload, compiled, jax_too):
    """The rows of a workload's table; the first is the reference of those that do the same."""
    rows = [
        Contender("ganlib, TensorFlow", "tensorflow", "ganlib"),
        Contender("ganlib, JAX", "jax", "ganlib"),
        Contender("ganlib, torch", "keras-torch", "ganlib"),
        Contender("train_step override, TensorFlow", "tensorflow", "keras_io", peer=True),
        Contender("PyTorch", "torch", "pytorch", peer=True),
        Contender("PyTorch, channels last", "torch", "pytorch", peer=True, channels_last=True),
    ]
    if workload.kind == "digits":  # with batch normalisation its one pass would mix real and fake
        rows.insert(3, Contender("tutorial loop, TensorFlow", "tensorflow", "tutorial", peer=True))
    rows += torch_rows(machine, compiled)
    rows += mixed_rows() if machine.bfloat16 else []
    backends = [("tensorflow", "TensorFlow"), ("jax", "JAX")]
    if workload.name == "small":  # Keras takes one step at a time on torch
        for framework, name in backends:
            title = f"ganlib, {name}, {CALL} steps a call"
            rows.append(Contender(title, framework, "ganlib", steps_per_execution=CALL))
    for update in ("shared", "joint"):
        for framework, name in backends[: 1 + jax_too]:
            rows.append(Contender(f"ganlib, {name}, {update}", framework, "ganlib", update=update))
    return rows


def workload_section(machine, workload, sizes, compiled):
    rounds, turn = sizes[workload.name]
    warm_up = CALL if workload.name == "small" else 1
    facts, keras_worker = check_twin(machine, workload.name), machine.keras_worker()
    flops = {"alternating": facts["flops"]}
    if keras_worker:
        flops = keras_worker.ask(action="flops", workload=workload.name)
    rows = contenders(machine, workload, compiled, compiled or "tensorflow" not in machine.workers)
    # The peak takes its turn in every round, too: measured once, it would be another machine's.
    ran, skipped = run_all(machine, rows, workload.name, rounds=rounds, turn=turn, warm_up=warm_up)

    def update(contender):
        return contender.options.get("update", "alternating")

    body = contender_table(machine, ran, skipped, ("update", update), lambda c: flops[update(c)])
    batches = f"{workload.batch} real and fake images, {workload.generator_batch} latents for G"
    return f"## {workload.title} ({batches}; {rounds} rounds)\n\n{body}"


def pairs_section(title, pairs, workers, rounds, turn, workload=None, warm_up=2):
    """A table of (what, ours, theirs): how many times as long theirs takes."""
    rows = []
    for what, ours, theirs in pairs:
        ran, skipped = race([ours, theirs], workers, workload, rounds=rounds, turn=turn,
                            warm_up=warm_up, say=lambda _: None)  # fmt: skip
        if len(ran) < 2:
            rows.append((what, "did not run", "; ".join(skipped.values())))
            continue
        milliseconds = quartiles(*(1e3 * s for s in spread(ours.times)))
        rows.append((what, quartiles(*ratio(theirs, ours)), milliseconds))
    return f"## {title}\n\n" + table(("what", "time of the other / ours", "ours, ms"), rows)


def layer_pairs():
    shapes = [
        ("thin", "tensorflow", (32, 28, 28, 16)),
        ("thin", "tensorflow", (256, 28, 28, 128)),
        ("transpose", "jax", (32, 14, 14, 16)),
        ("transpose", "jax", (32, 14, 14, 128)),
    ]
    for which, framework, shape in shapes:
        layer = {"thin": "ThinConv2D / Conv2D", "transpose": "Conv2DTranspose / Keras' own"}[which]
        ours, theirs = (
            Contender(
                f"{which} {own} {shape}", framework, "layer", which=which, shape=shape, own=own
            )
            for own in (True, False)
        )
        yield f"{layer}, {framework}, {'×'.join(map(str, shape))}", ours, theirs


def feed_pairs():
    for framework in FRAMEWORKS[:3]:
        ours = Contender(f"{framework} Batches", framework, "ganlib", update="shared")
        theirs = Contender(f"{framework} numpy", framework, "ganlib", update="shared", feed="numpy")
        yield f"Batches / NumPy array, {framework}", ours, theirs


def start_section(rounds):
    rows = [
        (name, quartiles(*spread(times), digits=1 if min(times) > 1 else 2))
        for name, times in start.measure(rounds).items()
    ]
    return "## Start: seconds in a new process\n\n" + table(("command", "seconds"), rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="size", action="store_const", const="quick", default="quick")
    size.add_argument("--full", dest="size", action="store_const", const="full")
    parser.add_argument("--gpu", action="store_true", help="only what sees a GPU, and its sections")
    parser.add_argument("--out", type=pathlib.Path, help="Markdown file to write as well")
    parser.add_argument("--sections", help=f"by default {SECTIONS}; with --gpu {GPU_SECTIONS}")
    parser.add_argument("--frameworks", default=",".join(FRAMEWORKS))
    parser.add_argument("--compile", action="store_true", help="torch.compile also in --quick")
    parser.add_argument("--bfloat16", action="store_true", help="rows in bfloat16 also on a CPU")
    parser.add_argument("--apart", action="store_true", help="sr, unet: one framework at a time, "
                        "as on a GPU, whose memory they can't share")  # fmt: skip
    options = parser.parse_args()
    sections = (options.sections or (GPU_SECTIONS if options.gpu else SECTIONS)).split(",")
    known = {*SECTIONS.split(","), *GPU_SECTIONS.split(",")}
    if unknown := set(sections) - known:
        parser.error(f"no such section: {', '.join(sorted(unknown))}; there are {sorted(known)}")
    sizes, parts = SIZES[options.size], []

    def show(text):
        parts.append(text)
        print(f"\n{text}\n", flush=True)
        if options.out:  # after each section: what was measured is not lost
            options.out.write_text("\n\n".join(parts) + "\n", encoding="utf-8")

    machine = Machine(options.frameworks.split(","), options.gpu)
    facts = [f"- {platform.machine()}, {os.cpu_count()} CPU cores, profile {options.size}"]
    if not machine.workers:
        sys.exit("\n".join(["Nothing can run here:", *machine.facts]))
    machine.bfloat16 |= options.bfloat16
    machine.apart |= options.apart
    machine.find_peak()
    show("# Speed\n\n" + "\n".join(facts + machine.facts))
    wide = options.compile or options.size == "full" or machine.gpu
    for name, workload in WORKLOADS.items():
        if name in sections:
            part = functools.partial(workload_section, machine, workload, sizes)
            make = functools.partial(part, wide or name == "small")
            show(protected(machine, workload.title, make))
    for text in larger.sections(machine, sections, options.size, *sizes["larger"], wide):
        show(text)
    rounds, turn = sizes["parts"]
    if {"layers", "feed"} & set(sections):
        machine.open()
    if "layers" in sections:
        title = "Layers: forward and both gradients"
        show(pairs_section(title, layer_pairs(), machine.workers, rounds, turn))
    if "feed" in sections:
        title = "Feed: an epoch of the small GAN, shared update, a step"
        show(pairs_section(title, feed_pairs(), machine.workers, rounds, 1.0, "small", warm_up=8))
    machine.close()
    if "start" in sections:
        show(start_section(rounds=2 if options.size == "quick" else 7))


if __name__ == "__main__":
    main()
