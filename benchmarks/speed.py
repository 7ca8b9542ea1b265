"""Speed against peers, as ratios: `python benchmarks/speed.py [WORKLOAD …] [--full] [--out FILE]`.

One table a workload. All contenders run in one go, in rounds, so that a machine whose speed drifts
cancels out: a ratio is formed within each round, and the table shows the median and the quartiles
of those ratios. benchmarks/README.md says what each row does.
"""

import argparse
import os
import pathlib
import platform

from rounds import Contender, Worker, race, ratio, spread
from workloads import WORKLOADS

FRAMEWORKS = ("tensorflow", "jax", "keras-torch", "torch")
SIZES = {"quick": (5, 0.3), "full": (15, 1.5)}  # rounds, and seconds a turn
BFLOAT16 = {"policy": "mixed_bfloat16"}


def contenders(workload, full):
    """The rows of a workload's table; the first is the reference of all."""
    rows = [
        Contender("ganlib, TensorFlow", "tensorflow", "ganlib"),
        Contender("ganlib, TensorFlow, arrays", "tensorflow", "ganlib", feed="arrays"),
        Contender("ganlib, JAX", "jax", "ganlib"),
        Contender("ganlib, torch", "keras-torch", "ganlib"),
        Contender("ganlib, TensorFlow, bfloat16", "tensorflow", "ganlib", **BFLOAT16),
        Contender("PyTorch", "torch", "pytorch", peer=True),
        Contender("PyTorch, channels last", "torch", "pytorch", peer=True, channels_last=True),
    ]
    if workload.is_gan:
        rows.append(Contender("train_step override", "tensorflow", "keras_io", peer=True))
        rows += [
            Contender(f"ganlib, TensorFlow, {update}", "tensorflow", "ganlib", update=update)
            for update in ("shared", "joint")
        ]
    elif workload.kind != "adversarial":
        rows.append(Contender("plain Keras fit", "tensorflow", "plain_fit", peer=True))
    if workload.kind == "digits":  # with batch normalisation its one pass would mix real and fake
        rows.append(Contender("tutorial loop", "tensorflow", "tutorial", peer=True))
    if full:
        best = {"channels_last": True, "bfloat16": True}
        rows.append(Contender("PyTorch, bfloat16", "torch", "pytorch", peer=True, **best))
        best = {"channels_last": True, "compiled": True}
        rows.append(Contender("PyTorch, torch.compile", "torch", "pytorch", peer=True, **best))
    return rows


def table(workload, workers, size, product):
    """The Markdown of a workload's table."""
    rounds, turn = SIZES[size]
    # The matrix product takes its turn in every round, too: else it would be another machine's.
    peak = Contender("matrix product", next(iter(workers)), "product", size=product)
    rows = contenders(workload, size == "full")
    flops = _flops(workload, workers)
    ran, skipped = race([*rows, peak], workers, workload.name, rounds=rounds, turn=turn)
    shown = [row for row in ran if row is not peak]
    lines = [f"## {workload.title} (batch {workload.batch}; {rounds} rounds)", ""]
    header = ("contender", f"time / {shown[0].name}", "ms a step", "of peak")
    lines += ["| " + " | ".join(header) + " |", "| --- " * len(header) + "|"]
    for row in shown:
        share = "–"
        if flops and peak in ran and "update" not in row.options and "policy" not in row.options:
            share = f"{flops / (2 * product**3) / ratio(row, peak)[0]:.0%}"
        milliseconds = [1e3 * seconds for seconds in spread(row.times)]
        cells = (row.name, _brackets(ratio(row, shown[0])), _brackets(milliseconds, 1), share)
        lines.append("| " + " | ".join(cells) + " |")
    peers = [row for row in shown if row.peer]
    if peers:
        best = min(peers, key=lambda row: spread(row.times)[0])
        verdict = _brackets(ratio(best, shown[0]))
        lines += ["", f"Best peer: {best.name}, {verdict} times as long as {shown[0].name}."]
    if flops:
        lines += ["", f"{flops / 1e9:,.2f} GFLOP a step, counted while PyTorch's runs."]
    return "\n".join(lines + [f"\n- {name}: did not run: {why}" for name, why in skipped.items()])


def _flops(workload, workers):
    if "torch" not in workers:
        return None
    twin = Contender("flops", "torch", "pytorch")
    twin.build(workers, workload.name, 0.0)
    return workers["torch"].ask("flops", name="flops")


def _brackets(values, digits=2):
    middle, low, high = (f"{value:.{digits}f}" for value in values)
    return f"{middle} [{low}, {high}]"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("workloads", nargs="*", help=f"by default all: {', '.join(WORKLOADS)}")
    parser.add_argument("--full", action="store_true", help="more rounds, and PyTorch compiled")
    parser.add_argument("--frameworks", default=",".join(FRAMEWORKS))
    parser.add_argument("--product", type=int, default=2048, help="side of the matrix product")
    parser.add_argument("--out", type=pathlib.Path, help="Markdown file to write as well")
    options = parser.parse_args()
    if unknown := set(options.workloads) - WORKLOADS.keys():
        parser.error(f"no such workload: {', '.join(sorted(unknown))}")
    size, parts, workers = "full" if options.full else "quick", [], {}

    def show(text):
        parts.append(text)
        print(f"\n{text}", flush=True)
        if options.out:  # after each table: what was measured is not lost
            options.out.write_text("\n\n".join(parts) + "\n", encoding="utf-8")

    facts = [f"- {platform.machine()}, {os.cpu_count()} CPU cores, {size}"]
    for framework in options.frameworks.split(","):
        try:
            workers[framework] = Worker(framework)
            facts.append(f"- {framework}: {workers[framework].version}")
        except RuntimeError as error:
            facts.append(f"- {framework}: left out: {error}")
    show("# Speed\n\n" + "\n".join(facts))
    for name in options.workloads or WORKLOADS:
        show(table(WORKLOADS[name], workers, size, options.product))
    for worker in workers.values():
        worker.close()


if __name__ == "__main__":
    main()
