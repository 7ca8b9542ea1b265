"""Figures of the bedroom study; `found` is a `BedroomResults`.

Each is a matplotlib figure, or None where the trials that it needs are missing.
"""

import itertools
import math
import re

import numpy as np
import pandas

from ganlib.apply import read_grid
from ganlib.data.room_styles import style_coverage
from ganlib.data.rooms import FACTORS
from ganlib.images import convert
from ganlib.report.figures import COLUMN, PAGE, show_spaced, spaced, style

RIVALS = {"batch-128": "assignment", "repaired": "repaired"}  # shown beside each other
SHOWN, COMPARED, FILMED = 16, 8, 25  # pictures
FRAME, CAPTION = 480, 24  # pixels: about a frame's width, and its strip of text
SMALL = 6  # points
# Over the truncation.
DRAWN = ("precision", "recall", "density", "coverage", "kid", "kid_standard_error")


def samples(found):
    """Real pictures, and the same latents through each variation's generator as it was kept."""
    real = found.data.test.as_range("unit")[:SHOWN]
    panels = [(f"real pictures\nKID {found.baselines['real']['kid']:.3f}", real)]
    for name in found.names:
        result = found.of(name)[0]
        images = _pictures(found, result, _kept(found, result))
        panels.append((f"{name}\nKID {found.metric(result, 'kid'):.3f}", images))
    columns = len(panels) if len(panels) <= 5 else math.ceil(len(panels) / 2)
    rows = -(-len(panels) // columns)
    with style() as plt:
        side = PAGE / 5
        figure, axes = plt.subplots(
            rows, columns, figsize=(columns * side, rows * (side + 0.28)), squeeze=False
        )
        for ax in axes.flat[len(panels) :]:
            ax.axis("off")
        for ax, (title, images) in zip(axes.flat, panels, strict=False):
            show_spaced(ax, images if images is None else images[:SHOWN], 4)
            ax.set_title(title, fontsize=SMALL)
    return figure


def progress(found):
    """KID on validation pictures over epochs; a dot marks the epoch that was kept."""
    parts = {"the assignment's networks": [], "the repaired recipe and its ablations": []}
    for name in found.names:
        parts[list(parts)[not _of_assignment(found, name)]].append(name)
    parts = {title: names for title, names in parts.items() if names}
    with style() as plt:
        figure, axes = plt.subplots(
            1, len(parts), figsize=(PAGE, 3.2), sharex=True, sharey=True, squeeze=False
        )
        for ax, (title, names) in zip(axes[0], parts.items(), strict=True):
            for i, name in enumerate(names):
                _curve(ax, found, name, f"C{i}")
            for label, mark in (("real", "--"), ("noise", ":")):
                ax.axhline(found.baselines[label]["kid"], color="0.4", ls=mark, lw=0.9, label=label)
            ax.set(xlabel="epoch", title=title)
            ax.xaxis.get_major_locator().set_params(integer=True)
            ax.legend(fontsize=SMALL, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.2))
        axes[0, 0].set_ylabel("KID, validation pictures (lower is better)")
    return figure


def best_and_last(found):
    """The same latents' pictures at the epoch that was kept, and at the last one."""
    names = [name for name in RIVALS if found.of(name)]
    if not names:
        return None
    with style() as plt:
        figure, axes = plt.subplots(
            2, len(names), figsize=(PAGE * len(names) / len(RIVALS), 1.1), squeeze=False
        )
        for column, name in zip(axes.T, names, strict=True):
            result = found.of(name)[0]
            kid = _kid(found.histories[result["id"]])
            kept = "kept" if result["metrics"]["best_epoch"] else "none kept"
            epochs = {kept: _kept(found, result), "last": _last(found, result)}
            for ax, (label, epoch) in zip(column, epochs.items(), strict=True):
                images = _pictures(found, result, epoch)
                show_spaced(ax, images if images is None else images[:COMPARED], COMPARED)
                score = f"\nKID {kid[epoch]:.3f}" if epoch in kid else ""
                text = f"{label}\nepoch {epoch}{score}"
                ax.set_ylabel(text, fontsize=SMALL, rotation=0, ha="right", va="center")
            column[0].set_title(name)
    return figure


def truncation(found):
    """Quality against diversity as latents far from 0 are cut off, and what KID says of it.

    The second panel shows density against coverage; of rooms, whose styles are known, the share of
    pictures that show one clearly against the share of styles seen.
    """
    results = found.of("repaired")
    if not results:
        return None
    points = _truncated(results)
    others = {"real pictures": found.baselines["real"]}
    others |= {n: _mean_best(found.of(n)) for n in found.names if _of_assignment(found, n)}
    with style() as plt:
        figure, axes = plt.subplots(1, 3, figsize=(PAGE, 2.6))
        axes[0].set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
        _plane(axes[0], points, others, ("recall", "precision"))
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=SMALL)
        if "clear" in points:
            _plane(axes[1], points, {}, ("styles seen", "clear"))
        else:
            _plane(axes[1], points, others, ("coverage", "density"))
        ax = axes[2]
        x = range(len(points))
        ax.errorbar(
            x, points["kid"], points["kid_standard_error"], fmt="o-", color="C0", capsize=2, lw=1
        )
        ax.set_xticks(x, points["truncation"])
        ax.tick_params(axis="x", labelsize=SMALL)
        ax.set(xlabel="truncation of z", ylabel="KID ± s.e.: ↓ better")
        ax.margins(0.1)
    return figure


def _plane(ax, points, others, names):
    """Diversity to the right, quality upwards, a label a truncation."""
    x, y = names
    ax.plot(points[x], points[y], "o-", color="C0", label="repaired")
    for i, ((name, scores), mark) in enumerate(zip(others.items(), "*sD^vP", strict=False)):
        # Points that lie on each other stay visible: each is wider than the one before.
        look = {"mfc": "none", "mew": 0.8, "ms": 6 + 0.9 * i}
        ax.plot(scores[x], scores[y], mark, color=f"C{i + 1}", label=name, **look)
    ax.set(xlabel=f"{x}: diversity →", ylabel=f"{y}: quality →")
    if ax.get_autoscale_on():
        ax.margins(0.15)
    for at, label in _labels(ax, points, x, y):
        left = at[0] > np.mean(ax.get_xlim())  # where there is more room
        look = {"fontsize": SMALL, "color": "C0", "ha": "right" if left else "left"}
        ax.annotate(label, at, xytext=(-6 if left else 6, -2), textcoords="offset points", **look)


def neighbours(found):
    """The generated pictures that are nearest to a training picture, and that picture."""
    if not (results := found.of("repaired")):
        return None
    numbers = results[0]["metrics"]["neighbours"]
    images = _read(found, results[0], "neighbours.png")
    title = (
        f"Distance to the nearest training picture, median: {numbers['distance']:.3g} over "
        f"{numbers['n']:,} generated pictures, {numbers['held_out_distance']:.3g} over held-out "
        f"ones.\n{100 * numbers['copies']:.2g} % of the generated pictures are nearer than the "
        "nearest 1 % of the held-out ones. The nearest of all:"
    )
    columns = len(images) // 2
    with style() as plt:
        figure, axes = plt.subplots(2, 1, figsize=(PAGE, 2 * PAGE / columns + 0.1))
        rows = {"generated": images[:columns], "training": images[columns:]}
        for ax, (label, row) in zip(axes, rows.items(), strict=True):
            show_spaced(ax, row, columns)
            ax.set_ylabel(label, fontsize=SMALL)
        axes[0].set_title(title, fontsize=SMALL)
    return figure


def interpolation(found):
    """Pictures on the way from one latent to another, a row a way."""
    if not (results := found.of("repaired")):
        return None
    images = _read(found, results[0], "interpolation.png")
    steps = 8
    with style() as plt:
        height = COLUMN * len(images) / steps**2
        figure, ax = plt.subplots(figsize=(COLUMN, height + 0.25))
        show_spaced(ax, images, steps)
        ax.set_xlabel("one latent → another, on the arc between them", fontsize=SMALL)
    return figure


def styles(found):
    """Share of each style factor's values among synthetic rooms, read from the pictures."""
    counted = {
        name: [r["metrics"]["styles"] for r in found.of(name) if r["metrics"]["styles"]]
        for name in found.names
    }
    rows = {
        f"{name} ({np.mean([s['clear'] / s['n'] for s in parts]):.0%} clear)": np.mean(
            [_shares(s["counts"], s["n"]) for s in parts], axis=0
        )
        for name, parts in counted.items()
        if parts
    }
    if not rows:
        return None
    real = style_coverage(found.data.train)
    rows[f"training pictures ({real.clear / real.n:.0%} clear)"] = _shares(real.counts, real.n)
    shares = 100 * np.stack(list(rows.values()))
    values = [value for group in FACTORS.values() for value in group]
    with style() as plt:
        figure, ax = plt.subplots(figsize=(PAGE, 0.2 * len(rows) + 1.1))
        mesh = ax.imshow(shares, vmin=0, vmax=60, aspect="auto")
        for (y, x), share in np.ndenumerate(shares):
            color = "white" if share < 30 else "black"
            ax.text(x, y, f"{share:.0f}", ha="center", va="center", fontsize=5, color=color)
        ax.set_xticks(range(len(values)), values, rotation=90, fontsize=SMALL)
        ax.set_yticks(range(len(rows)), list(rows), fontsize=SMALL)
        ax.tick_params(length=0)
        ax.grid(False)
        ends = np.cumsum([len(group) for group in FACTORS.values()])
        for factor, end in zip(FACTORS, ends, strict=True):
            middle = end - len(FACTORS[factor]) / 2 - 0.5
            ax.text(middle, -0.65, factor, ha="center", va="bottom", fontsize=SMALL)
            ax.axvline(end - 0.5, color="white", lw=2)
        figure.colorbar(mesh, label="% of pictures", extend="max", pad=0.01)
    return figure


def film(found):
    """Frames of the same latents' pictures over the epochs, the assignment beside the repair.

    Returns:
        List of uint8 arrays `(height, width, 3)` for `ganlib.apply.save_gif`, one for each epoch
        that all shown variations have pictures of; empty where there are none.
    """
    shown = {name: found.of(name)[0] for name in RIVALS if found.of(name)}
    shown = {name: result for name, result in shown.items() if _epochs(found, result)}
    if not shown:
        return []
    common = set.intersection(*(set(_epochs(found, result)) for result in shown.values()))
    return [
        _frame(
            {
                f"{RIVALS[name]}, epoch {epoch}": _pictures(found, result, epoch)[:FILMED]
                for name, result in shown.items()
            }
        )
        for epoch in sorted(common)
    ]


# -- pictures --------------------------------------------------------------------------------------


def _read(found, result, path):
    """The pictures of a saved grid, float32 `(n, size, size, 3)` in [0, 1]."""
    return read_grid(found.folders[result["id"]] / path, result["recipe"]["size"])


def _epochs(found, result):
    """The epochs with a sample grid, in order."""
    files = (found.folders[result["id"]] / "samples").glob("epoch-*.png")
    return sorted(int(re.search(r"\d+", file.stem)[0]) for file in files)


def _last(found, result):
    return max(_epochs(found, result), default=0)


def _kept(found, result):
    """The epoch that was kept; the last one with pictures where none was."""
    return result["metrics"]["best_epoch"] or _last(found, result)


def _pictures(found, result, epoch):
    """An epoch's sample grid, picture by picture; None where there is none."""
    if epoch not in _epochs(found, result):
        return None
    return _read(found, result, f"samples/epoch-{epoch:04d}.png")


def _frame(cells):
    """Label → pictures, side by side under their labels; uint8 `(height, width, 3)`."""
    from PIL import Image, ImageDraw, ImageFont

    grids = []
    for images in cells.values():
        grid = convert(spaced(images, round(FILMED**0.5)), "unit", "byte")
        scale = max(1, round(FRAME / len(cells) / grid.shape[1]))
        grids.append(grid.repeat(scale, axis=0).repeat(scale, axis=1))
    gap = np.full((grids[0].shape[0], CAPTION // 2, 3), 255, np.uint8)
    row = np.concatenate([part for grid in grids for part in (gap, grid)][1:], axis=1)
    strip = Image.new("RGB", (row.shape[1], CAPTION), "white")
    x, font = 0, ImageFont.load_default(CAPTION * 0.6)
    for label, grid in zip(cells, grids, strict=True):
        ImageDraw.Draw(strip).text(
            (x + grid.shape[1] / 2, CAPTION / 2), label, "black", font, anchor="mm"
        )
        x += grid.shape[1] + gap.shape[1]
    return np.concatenate([np.asarray(strip), row])


# -- numbers ---------------------------------------------------------------------------------------


def _of_assignment(found, name):
    return found.of(name)[0]["recipe"]["networks"] == "assignment"


def _kid(history):
    """KID by epoch, of the epochs that were scored."""
    if "kid" not in history:  # weights were not finite from the first score on
        return pandas.Series(dtype=float)
    return history.set_index("epoch")["kid"].dropna()


def _curve(ax, found, name, color):
    """A variation's KID: the mean over seeds, each seed, and the epochs that were kept."""
    curves = [_kid(history) for history in found.history(name)]
    mean = pandas.concat(curves).groupby(level=0).mean()
    ax.plot(mean.index, mean, color=color, label=name)
    for result, curve in zip(found.of(name), curves, strict=True):
        if len(curves) > 1:
            ax.plot(curve.index, curve, color=color, lw=0.6, alpha=0.5)
        kept = curve[curve.index == result["metrics"]["best_epoch"]]
        ax.plot(kept.index, kept, "o", color=color, ms=4, mec="white", mew=0.5, zorder=3)


def _mean_best(results):
    frame = pandas.DataFrame([result["metrics"]["scores"]["best"] for result in results])
    return frame.mean(numeric_only=True)


def _truncated(results):
    """Mean scores by truncation, the untruncated ones last."""
    rows = []
    for metrics in (result["metrics"] for result in results):
        whole = {**metrics["scores"]["best"], "truncation": np.inf, "styles": metrics["styles"]}
        for point in (*metrics["truncation"], whole):
            row = {"truncation": f"{point['truncation']:g}", **{k: point[k] for k in DRAWN}}
            if counted := point.get("styles"):
                row |= {"styles seen": counted["styles"], "clear": counted["clear"] / counted["n"]}
            rows.append(row)
    table = pandas.DataFrame(rows).groupby("truncation", sort=False).mean().reset_index()
    table = table.sort_values("truncation", key=lambda column: column.astype(float))
    return table.replace({"truncation": {"inf": "none"}}).reset_index(drop=True)


def _labels(ax, points, x, y):
    """`((x, y), label)`; points that lie on each other share one."""
    near = 0.06 * max(np.ptp(ax.get_xlim()), np.ptp(ax.get_ylim()))
    places = []
    for at, label in zip(zip(points[x], points[y], strict=True), points["truncation"], strict=True):
        if places and np.hypot(*np.subtract(at, places[-1][0])) < near:
            places[-1][1].append(label)
        else:
            places.append((at, [label]))
    return [(at, ", ".join(labels)) for at, labels in places]


def _shares(counts, n):
    """Share of each value of each factor, in one row."""
    return np.array(list(itertools.chain(*(counts[factor] for factor in FACTORS)))) / n
