"""Speed against peers, as ratios: `python benchmarks/speed.py [--full] [--out results.md]`.

All contenders run in one go, in rounds, so that a machine whose speed drifts cancels out: a ratio
is formed within each round, and the table shows the median and the quartiles of those ratios.
benchmarks/README.md says what each row does.
"""

import argparse
import os
import pathlib
import platform

import start
from rounds import Contender, Worker, race, ratio, spread
from workloads import WORKLOADS

FRAMEWORKS = ("tensorflow", "jax", "keras-torch", "torch")
# Rounds, and seconds a turn.
SIZES = {
    "quick": {"small": (7, 0.5), "tutorial": (4, 0.2), "dcgan": (4, 0.2), "parts": (5, 0.15)},
    "full": {"small": (25, 1.5), "tutorial": (11, 2.0), "dcgan": (11, 2.0), "parts": (15, 0.4)},
}


def contenders(workload, compiled, jax_too):
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
    if compiled:
        options = {"channels_last": True, "compiled": True}
        rows.append(Contender("PyTorch, torch.compile", "torch", "pytorch", peer=True, **options))
    for update in ("shared", "joint"):
        for framework, name in [("tensorflow", "TensorFlow"), ("jax", "JAX")][: 1 + jax_too]:
            rows.append(Contender(f"ganlib, {name}, {update}", framework, "ganlib", update=update))
    return rows


def table(header, rows):
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]
    lines = [[str(x).ljust(w) for x, w in zip(row, widths, strict=True)] for row in [header, *rows]]
    lines.insert(1, ["-" * w for w in widths])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def quartiles(value, low, high, digits=2):
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def fastest_matmul(workers, side):
    """The framework whose float32 matrix product is fastest here, and its operations a second."""
    rows = [Contender(f"matmul, {f}", f, "peak", size=side) for f in workers]
    ran, _ = race(rows, workers, rounds=5, turn=0.2, warm_up=3, say=lambda _: None)
    best = min(ran, key=lambda c: spread(c.times)[0])
    return best.framework, 2 * side**3 / spread(best.times)[0]


def workload_section(workload, workers, peak_framework, side, sizes, compiled):
    rounds, turn = sizes[workload.name]
    warm_up = 8 if workload.name == "small" else 1
    jax_too = compiled or "tensorflow" not in workers
    # The peak takes its turn in every round, too: measured once, it would be another machine's.
    peak = Contender("matmul", peak_framework, "peak", size=side)
    names = [*contenders(workload, compiled, jax_too), peak]
    ran, skipped = race(names, workers, workload.name, rounds=rounds, turn=turn, warm_up=warm_up)
    ran.remove(peak)
    keras_worker = next(w for f, w in workers.items() if f != "torch")
    flops = keras_worker.ask(action="flops", workload=workload.name)
    same = [c for c in ran if "update" not in c.options]
    ours = [c for c in same if not c.peer]
    reference = ours[0]  # the default backend, or the first that is installed
    rows = []
    for contender in ran:
        update = contender.options.get("update", "alternating")
        seconds = spread(contender.times)
        rows.append(
            (
                contender.name,
                update,
                quartiles(*ratio(contender, reference)),
                quartiles(*(1e3 * s for s in seconds), digits=1),
                f"{flops[update] / 1e9:.2f}",
                f"{flops[update] / (2 * side**3) / ratio(contender, peak)[0]:.0%}",
            )
        )
    header = ("contender", "update", f"time / {reference.name}", "ms a step", "GFLOP", "of peak")
    notes = [f"- {name}: did not run: {why}" for name, why in skipped.items()]
    peers = [c for c in same if c.peer]
    if peers:
        best = min(peers, key=lambda c: spread(c.times)[0])
        verdict = quartiles(*ratio(best, reference))
        notes.insert(0, f"- Best peer for the same update: {best.name}, {verdict} times as long.")
    batches = f"{workload.batch} real and fake images, {workload.generator_batch} latents for G"
    title = f"## {workload.title} ({batches}; {rounds} rounds)"
    return "\n\n".join([title, table(header, rows), "\n".join(notes)])


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
    parser.add_argument("--out", type=pathlib.Path, help="Markdown file to write as well")
    parser.add_argument("--sections", default="small,tutorial,dcgan,layers,feed,start")
    parser.add_argument("--frameworks", default=",".join(FRAMEWORKS))
    parser.add_argument("--compile", action="store_true", help="torch.compile also in --quick")
    options = parser.parse_args()
    sizes, sections = SIZES[options.size], options.sections.split(",")

    workers, parts = {}, []

    def show(text):
        parts.append(text)
        print(f"\n{text}\n", flush=True)

    facts = [f"- {platform.machine()}, {os.cpu_count()} CPU cores, profile {options.size}"]
    for framework in options.frameworks.split(","):
        try:
            workers[framework] = Worker(framework)
            place = "GPU" if workers[framework].facts["gpu"] else "CPU"
            facts.append(f"- {framework}: {workers[framework].facts['version']}, {place}")
        except RuntimeError as error:
            facts.append(f"- {framework}: left out: {error}")
    gpu = any(worker.facts["gpu"] for worker in workers.values())
    side = 8192 if gpu else 2048
    peak_framework, peak = fastest_matmul(workers, side)
    facts.append(
        f"- peak ({peak_framework}): {peak / 1e9:.0f} GFLOP/s, float32 matrix product {side}×{side}"
    )
    show("# Speed\n\n" + "\n".join(facts))
    rounds, turn = sizes["parts"]
    for name, workload in WORKLOADS.items():
        if name in sections:
            compiled = options.compile or options.size == "full" or name == "small" or gpu
            show(workload_section(workload, workers, peak_framework, side, sizes, compiled))
    if "layers" in sections:
        title = "Layers: forward and both gradients"
        show(pairs_section(title, layer_pairs(), workers, rounds, turn))
    if "feed" in sections:
        title = "Feed: an epoch of the small GAN, shared update, a step"
        show(pairs_section(title, feed_pairs(), workers, rounds, 1.0, "small", warm_up=8))
    for worker in workers.values():
        worker.close()
    if "start" in sections:
        show(start_section(rounds=2 if options.size == "quick" else 7))
    if options.out:
        options.out.write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
