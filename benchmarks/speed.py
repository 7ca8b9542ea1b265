"""Speed against peers, and how cost grows: `python benchmarks/speed.py [WORKLOAD …] [--busy]`.

Writes benchmarks/RESULTS.md, of some workloads alone only to the screen. A ratio is formed within
each round; the tables show medians and quartiles. benchmarks/README.md says what each row does.
"""

import argparse
import os
import pathlib
import platform
import re
import sys

import growth
import psutil
from rounds import Contender, Worker, race, ratio, spread
from workloads import WORKLOADS

FRAMEWORKS = ("tensorflow", "jax", "keras-torch", "torch")
ROUNDS, TURN = 5, 0.6  # seconds of a turn
PRODUCT = 2048  # side of the matrix product that tells the machine's peak
MOST_LOAD = 0.1  # share of the machine that others may have before the first table
RESULTS = pathlib.Path(__file__).resolve().with_name("RESULTS.md")


def contenders(workload):
    """The rows of a workload's table; the first is the reference of all."""
    best = {"channels_last": True}
    yield Contender("ganlib, TensorFlow", "tensorflow", "ganlib")
    yield Contender("ganlib, TensorFlow, arrays", "tensorflow", "ganlib", feed="arrays")
    if workload.is_gan:
        yield Contender("train_step override", "tensorflow", "keras_io", peer=True)
    elif workload.kind != "adversarial":  # Keras alone has no such step
        yield Contender("plain Keras fit", "tensorflow", "plain_fit", peer=True)
    yield Contender("PyTorch", "torch", "pytorch", peer=True)
    yield Contender("PyTorch, channels last", "torch", "pytorch", peer=True, **best)
    if workload.name == "small":  # compiling takes minutes where networks are deep
        yield Contender("PyTorch, compiled", "torch", "pytorch", peer=True, compiled=True, **best)
    yield Contender("ganlib, JAX", "jax", "ganlib")
    yield Contender("ganlib, torch", "keras-torch", "ganlib")
    if workload.is_gan:
        for update in ("shared", "joint"):
            yield Contender(f"ganlib, TensorFlow, {update}", "tensorflow", "ganlib", update=update)
    yield Contender("ganlib, TensorFlow, bfloat16", "tensorflow", "ganlib", half=True)
    yield Contender("PyTorch, bfloat16", "torch", "pytorch", half=True, **best)


def compare(workload, workers):
    """The Markdown of a workload's table."""
    # The matrix product takes its turn in every round, too: else it would be another machine's.
    peak = Contender("matrix product", "tensorflow", "product", size=PRODUCT)
    rows = [*contenders(workload), peak]
    flops = 0
    if "torch" in workers:
        Contender("flops", "torch", "pytorch").build(workers, workload.name, 0.0)
        flops = workers["torch"].ask("flops", "flops")
    ran, skipped = race(rows, workers, workload.name, rounds=ROUNDS, turn=TURN)
    *shown, _ = ran
    lines = []
    for row in shown:
        share = "–"
        if flops and not row.options.keys() & {"update", "half"}:
            share = f"{flops / (2 * PRODUCT**3) / ratio(row, peak)[0]:.0%}"
        milliseconds = [1e3 * seconds for seconds in spread(row.times)]
        lines.append((row.name, _brackets(ratio(row, shown[0])), _brackets(milliseconds, 1), share))
    title = f"{workload.title} (batch {workload.batch}; {ROUNDS} rounds)"
    header = ("contender", f"time / {shown[0].name}", "ms a step", "of peak")
    text = [growth.table(title, header, lines)]
    if peers := [row for row in shown if row.peer]:
        best = min(peers, key=lambda row: spread(row.times)[0])
        verdict = _brackets(ratio(best, shown[0]))
        text += [f"Best peer of the same update: {best.name}, {verdict} of {shown[0].name}'s time."]
    half = [row for row in shown if row.options.keys() & {"half"}]
    if len(half) == 2:
        text += [f"In bfloat16: PyTorch, {_brackets(ratio(half[1], half[0]))} of ganlib's time."]
    text += [f"{flops / 1e9:,.2f} GFLOP a step, counted while PyTorch's runs."] * bool(flops)
    return "\n\n".join(text + [f"{name}: did not run: {why}" for name, why in skipped.items()])


def _brackets(values, digits=2):
    middle, low, high = (f"{value:.{digits}f}" for value in values)
    return f"{middle} [{low}, {high}]"


def processor():
    """Its name, or its kind."""
    names = re.findall(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text("utf-8"))
    return names[0] if names else platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("workloads", nargs="*", help=f"by default all: {', '.join(WORKLOADS)}")
    parser.add_argument("--busy", action="store_true", help="measure beside other programs")
    options = parser.parse_args()
    if unknown := set(options.workloads) - WORKLOADS.keys():
        parser.error(f"no such workload: {', '.join(sorted(unknown))}")
    if (load := psutil.cpu_percent(3) / 100) > MOST_LOAD and not options.busy:
        sys.exit(f"The machine is busy ({load:.0%}): wait, or measure beside it with --busy.")
    parts, workers = [], {}

    def show(text):
        text += "\n\nMeasured beside other programs." * options.busy
        parts.append(text)
        print(f"\n{text}", flush=True)
        if not options.workloads:  # after each table: what was measured is not lost
            RESULTS.write_text("\n\n".join(parts) + "\n", encoding="utf-8")

    facts = [f"- {processor()}, {os.cpu_count()} cores; {load:.0%} busy before"]
    for framework in FRAMEWORKS:
        try:
            workers[framework] = Worker(framework)
            facts.append(f"- {framework}: {workers[framework].version}")
        except RuntimeError as error:
            facts.append(f"- {framework}: left out: {error}")
    show("# Speed\n\nMade by `make benchmark`.\n\n" + "\n".join(facts))
    for name in options.workloads or WORKLOADS:
        show(compare(WORKLOADS[name], workers))
    if not options.workloads:
        for measure in growth.MEASURES:
            show(measure(workers))


if __name__ == "__main__":
    main()
