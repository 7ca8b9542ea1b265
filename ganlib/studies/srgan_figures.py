"""Figures of the super-resolution study; `found` is an `SRResults`."""

import numpy as np
import pandas

from ganlib.images import RANGE_MISTAKES, convert
from ganlib.report.figures import PAGE, style
from ganlib.studies.srgan import enlarge_linearly

PHASES = {"pretrained": "pixel pretraining", "adversarial": "… and adversarial phase"}
CROP = 80  # pixels of a panel's side


def crop(low, high):
    """Slices of the part of a picture where the small one still shows most detail."""
    scale = high.shape[0] // low.shape[0]
    side = CROP // scale
    detail = np.hypot(*np.gradient(low.mean(axis=-1)))
    corners = [
        (y, x)
        for y in range(0, max(1, low.shape[0] - side), side // 4)
        for x in range(0, max(1, low.shape[1] - side), side // 4)
    ]
    y, x = max(corners, key=lambda c: detail[c[0] : c[0] + side, c[1] : c[1] + side].mean())
    return slice(y * scale, y * scale + CROP), slice(x * scale, x * scale + CROP)


def panel(found):
    """LR, bicubic, linear, an attempt, both phases of the repaired recipe, and the original."""
    scale, rows = found.recipe.scale, []
    for i, (name, (low, high)) in enumerate(found.shown):
        kernel = found.data.kernel(scale)
        cells = {
            "low resolution": low.repeat(scale, axis=0).repeat(scale, axis=1),
            "bicubic": found.bicubic(i),
            "linear": enlarge_linearly(low, kernel, scale),
        }
        if found.attempts:
            last = found.attempts[-1].name
            cells[last] = found.enlarged(last, name)
        if found.of("repaired"):
            cells["pretrained"] = found.enlarged("repaired", name, "pretraining")
            cells["adversarial"] = found.enlarged("repaired", name)
        cells["original"] = high
        rows.append((name, crop(low, high), cells))
    return _grid(rows, found.caption)


def mistake(found):
    """One picture of each attempt: as it is, and as its author's comparison saw it."""
    name, (low, high) = found.shown[0]
    window = crop(low, high)
    seen = RANGE_MISTAKES.get(found.mistake, lambda u: u)
    rows = []
    for label, change in (("as it is", lambda u: u), ("as compared", seen)):
        cells = {}
        for attempt in found.attempts:
            unit = convert(found.enlarged(attempt.name, name), "byte", "unit")
            cells[attempt.name] = convert(np.clip(change(unit), 0, 1), "unit", "byte")
        cells["original"] = high
        rows.append((label, window, cells))
    return _grid(rows, lambda *_: "")


def printed(found):
    """PSNR of the attempts: as the write-up printed it, as ours print it, and as it is."""
    x = np.arange(len(found.attempts)) + 1
    lines = {
        "the write-up": [attempt.printed["psnr"] for attempt in found.attempts],
        f"ours, “{found.mistake}”": [found.mean(a.name, "printed_psnr") for a in found.attempts],
        "ours, right range": [found.mean(a.name, "psnr_rgb") for a in found.attempts],
    }
    with style() as plt:
        figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.9))
        for i, (label, values) in enumerate(lines.items()):
            axes[0].plot(x, values, "o-", color=f"C{i}", label=label)
        for name, mark in (("flat grey", ":"), ("bicubic", "--")):
            level = found.baseline(name)["psnr_rgb"]
            axes[0].axhline(level, color="0.4", ls=mark, lw=0.9, label=name)
        axes[0].set(xlabel="attempt", ylabel="PSNR (RGB), dB", xticks=x)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=2, fontsize=6)
        for attempt in found.attempts:
            history = pandas.concat(found.history(attempt.name)).groupby("epoch").mean()
            share = history.index / history.index.max()
            axes[1].plot(share, history["d_loss"], lw=1, label=attempt.name)
        axes[1].axhline(1.0, color="0.4", ls="--", lw=0.9, label="no information")
        axes[1].set(xlabel="share of training", ylabel="D's loss, 1 - D(x) + D(G(z))")
        handles, labels = axes[1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower right", ncols=3, fontsize=6)
    return figure


def trade(found):
    """Perception against distortion: closer to the original is to the right.

    The numbered points are the attempts. A large point is the mean over seeds, the faint ones
    beside it are the seeds.
    """
    with style() as plt:
        figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.9))
        for ax, key in zip(axes, ("perceptual", "sharpness"), strict=True):
            for attempt in found.attempts:
                values = [found.values(attempt.name, k) for k in ("psnr_y", key)]
                look = {"color": "C1", "label": "attempts, by number"}
                _seeds(ax, values, f"${attempt.name.removeprefix('attempt-')}$", **look)
            for i, name in enumerate(("bicubic", "linear")):
                values = [[found.baseline(name)[k]] for k in ("psnr_y", key)]
                _seeds(ax, values, "sD"[i], color="C2", label=name)
            for i, phase in enumerate(PHASES):
                values = [[scores[k] for scores in found.after(phase)] for k in ("psnr_y", key)]
                if values[0]:
                    _seeds(ax, values, "v^"[i], color="C0", label=phase)
            ax.set(xlabel="PSNR (Y), dB: closer to the original →")
            ax.margins(0.1)
        axes[0].set_ylabel(f"perceptual distance ({found.judge}): ↓ better")
        axes[1].set_ylabel("sharpness (1 = original)")
        axes[1].axhline(1.0, color="0.4", ls="--", lw=0.9)
        handles, labels = axes[0].get_legend_handles_labels()
        each = dict(zip(labels, handles, strict=True))
        figure.legend(each.values(), each, loc="outside lower center", ncols=5, fontsize=6)
    return figure


def _seeds(ax, values, marker, color, label):
    """A point at the mean of the seeds, with a faint one for each if there are several."""
    if len(values[0]) > 1:
        ax.plot(*values, "o", ms=2, color=color, alpha=0.35, mew=0)
    at = np.mean(values, axis=1)
    ax.plot(*at, marker=marker, ms=6, ls="", color=color, label=label, mew=0.5)


def _grid(rows, caption):
    """A figure of crops: rows of (name, slices, label → uint8 picture)."""
    columns = len(rows[0][2])
    with style() as plt:
        size = PAGE / columns
        figure, axes = plt.subplots(
            len(rows), columns, figsize=(PAGE, len(rows) * (size + 0.14) + 0.15), squeeze=False
        )
        for i, (name, window, cells) in enumerate(rows):
            for ax, (label, image) in zip(axes[i], cells.items(), strict=True):
                ax.imshow(image[window])
                ax.set(xticks=[], yticks=[])
                ax.set_xlabel(caption(name, label), fontsize=6)
                if i == 0:
                    ax.set_title(label, fontsize=6)
            axes[i, 0].set_ylabel(name, fontsize=6)
    return figure
