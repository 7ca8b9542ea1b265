"""A table of contenders that do the same step, and the machine that they run on."""

import contextlib

from rounds import Contender, Worker, race, race_apart, ratio, spread
from tables import quartiles, table

BFLOAT16 = "mixed_bfloat16"


class Machine:
    """The workers, and what is wanted of them.

    Args:
        frameworks: list of str.
        need_gpu: bool, leave out what sees no GPU.
    """

    def __init__(self, frameworks, need_gpu=False):
        self.workers, self.facts, self.seconds = {}, [], {}
        for framework in frameworks:
            try:
                worker = Worker(framework)
            except RuntimeError as error:
                self.facts.append(f"- {framework}: left out: {error}")
                continue
            version, gpu = worker.facts["version"], worker.facts["gpu"]
            if need_gpu and not gpu:
                self.facts.append(f"- {framework}: left out: {version} sees no GPU")
                worker.close()
                continue
            self.workers[framework] = worker
            self.facts.append(f"- {framework}: {version}, {gpu or 'CPU'}")
        self.frameworks = list(self.workers)
        self.gpu = any(worker.facts["gpu"] for worker in self.workers.values())
        self.side = 8192 if self.gpu else 2048
        self.apart = self.gpu  # the larger networks of two frameworks do not fit side by side
        self.bfloat16 = self.gpu

    def open(self):
        """Starts again what `close` ended, or what died."""
        missing = [f for f in self.frameworks if f not in self.workers]
        self.workers |= {framework: Worker(framework) for framework in missing}
        self.workers = {f: self.workers[f] for f in self.frameworks}  # the first is the reference

    def close(self):
        for worker in self.workers.values():
            worker.close()
        self.workers = {}

    def find_peak(self):
        """Looks for the framework with the fastest float32 matrix product, and says so."""
        rows = [Contender(f"matmul, {f}", f, "peak", size=self.side) for f in self.workers]
        ran, _ = race(rows, self.workers, rounds=5, turn=0.2, warm_up=3, say=lambda _: None)
        best = min(ran, key=lambda c: spread(c.times)[0])
        self.peak_framework = best.framework
        speed = 2 * self.side**3 / spread(best.times)[0] / 1e9
        product = f"float32 matrix product {self.side}×{self.side}"
        self.facts.append(f"- peak ({best.framework}): {speed:,.0f} GFLOP/s, {product}")

    def peaks(self):
        """Contenders that take the measure of the machine in each round, by precision."""
        types = ["float32", "bfloat16"][: 1 + self.bfloat16]
        return [
            Contender(f"matmul, {t}", self.peak_framework, "peak", size=self.side, dtype=t)
            for t in types
        ]

    def keras_worker(self):
        return next((w for f, w in self.workers.items() if f != "torch"), None)


def in_bfloat16(contender):
    return bool(contender.options.get("bfloat16") or contender.options.get("policy"))


def mixed_rows(suffix=""):
    """ganlib in bfloat16; `suffix` of the contenders' kind."""
    return [
        Contender(f"ganlib, {name}, bfloat16", f, f"ganlib{suffix}", policy=BFLOAT16)
        for f, name in (("tensorflow", "TensorFlow"), ("jax", "JAX"))
    ]


def torch_rows(machine, compiled, suffix=""):
    """PyTorch in channels last and compiled, as far as wanted."""
    if not compiled:
        return []
    best = {"channels_last": True, "compiled": True}
    kind, name = f"pytorch{suffix}", "PyTorch, torch.compile"
    rows = [Contender(name, "torch", kind, peer=True, **best)]
    if machine.bfloat16:
        rows += [Contender(f"{name}, bfloat16", "torch", kind, peer=True, bfloat16=True, **best)]
    return rows


def check_twin(machine, name, twin=True):
    """Operations of a step, counted on ganlib's models; PyTorch's must have as many, and weights.

    Raises:
        SystemExit: they have not: whatever came out would compare two different networks.
    """
    keras_worker, torch_worker = machine.keras_worker(), machine.workers.get("torch")
    ours = keras_worker and keras_worker.ask(action="arithmetic", workload=name)
    theirs = torch_worker if twin else None
    theirs = theirs and theirs.ask(action="arithmetic", workload=name)
    for key in ("parameters", "flops"):
        if ours and theirs and ours[key] != theirs[key]:
            raise SystemExit(f"{name}: {key} differ: ganlib {ours[key]}, PyTorch {theirs[key]}")
    return ours or theirs


def note_twin(machine, facts, twin):
    twin = twin and "torch" in machine.frameworks and machine.frameworks != ["torch"]
    weights = f"{sum(facts['parameters']):,} trained parameters"
    same = ", and PyTorch's has as many of both" if twin else ""
    return f"- {weights}, {facts['flops'] / 1e9:,.2f} GFLOP a step{same}."


def run_all(machine, contenders, name, apart=False, **options):
    """Races contenders and notes their seconds; each has `peaks` then."""
    if apart:
        machine.close()
        ran, skipped = race_apart(contenders, machine.peaks, machine.frameworks, name, **options)
    else:
        peaks = machine.peaks()
        ran, skipped = race([*contenders, *peaks], machine.workers, name, **options)
        found = [peak for peak in peaks if peak in ran]
        ran = [contender for contender in ran if contender not in peaks]
        for contender in ran:
            contender.peaks = found
    for contender in ran:
        machine.seconds[name, contender.name] = spread(contender.times)[0]
    return ran, skipped


def protected(machine, name, make):
    """What `make()` returns; or why it failed, so that the sections after it still run."""
    machine.open()
    try:
        return make()
    except RuntimeError as error:  # out of memory, or a process that ended
        machine.close()
        return f"## {name}\n\n- did not run: {error}"


def contender_table(machine, ran, skipped, column, operations):
    """A table with a row a contender, and notes.

    Args:
        column: pair of a header and a function that says something of a contender.
        operations: function, a contender's operations a step.
    """
    same = [c for c in ran if "update" not in c.options and not in_bfloat16(c)]
    ours = [c for c in same if not c.peer]
    reference = (ours or same or ran or [None])[0]  # the default backend, or what there is
    if reference is None:
        return "\n".join(f"- {name}: did not run: {why}" for name, why in skipped.items())
    rows = []
    for c in ran:
        wanted = "bfloat16" if in_bfloat16(c) else "float32"
        share = "–"
        with contextlib.suppress(StopIteration):
            peak = next(p for p in c.peaks if p.options["dtype"] == wanted)
            share = f"{operations(c) / (2 * machine.side**3) / ratio(c, peak)[0]:.0%}"
        milliseconds = quartiles(*(1e3 * s for s in spread(c.times)), digits=1)
        row = (c.name, column[1](c), quartiles(*ratio(c, reference)), milliseconds)
        rows.append((*row, f"{operations(c) / 1e9:,.2f}", share))
    header = ("contender", column[0], f"time / {reference.name}", "ms a step", "GFLOP", "of peak")
    notes = [f"- {name}: did not run: {why}" for name, why in skipped.items()]
    peers = [c for c in same if c.peer]
    if peers and ours:
        best = min(peers, key=lambda c: spread(c.times)[0])
        verdict = quartiles(*ratio(best, reference))
        notes.insert(0, f"- Best peer for the same update: {best.name}, {verdict} times as long.")
    return "\n\n".join([table(header, rows), "\n".join(notes)]).strip()
