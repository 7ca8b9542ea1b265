"""Figures of the super-resolution study; `found` is an `SRResults`."""

import itertools

import numpy as np
import pandas

from ganlib.images import RANGE_MISTAKES, convert, upscale
from ganlib.report.figures import PAGE, legend_below, picture_table, style
from ganlib.studies.srgan import enlarge_linearly, linear_kernel

PHASES = {"pretrained": "pixel pretraining", "adversarial": "… and adversarial phase"}
CROP = 80  # pixels of a panel's side


def crop(low, high):
    """Slices of the part of a picture where the small one still shows most detail."""
    scale = high.shape[0] // low.shape[0]
    side = CROP // scale
    detail = np.hypot(*np.gradient(low.mean(axis=-1)))
    ranges = (range(0, max(1, length - side), side // 4) for length in low.shape[:2])
    y, x = max(
        itertools.product(*ranges),
        key=lambda c: detail[c[0] : c[0] + side, c[1] : c[1] + side].mean(),
    )
    return slice(y * scale, y * scale + CROP), slice(x * scale, x * scale + CROP)


def panel(found):
    """LR, bicubic, linear, an attempt, both phases of the repaired recipe, and the original."""
    scale, rows, captions = found.recipe.scale, {}, {}
    for i, (name, low, high) in enumerate(found.shown):
        cells = {
            "low resolution": low.repeat(scale, axis=0).repeat(scale, axis=1),
            "bicubic": upscale(low, scale),
            "linear": enlarge_linearly(low, linear_kernel(found.data, scale), scale),
        }
        cells |= {a.name: found.enlarged(a.name, name) for a in found.attempts[-1:]}
        if found.of("repaired"):
            cells["pretrained"] = found.enlarged("repaired", name, "pretraining")
            cells["adversarial"] = found.enlarged("repaired", name)
        cells["original"] = high
        window, label = crop(low, high), f"picture {i + 1}"
        rows[label] = [image[window] for image in cells.values()]
        captions[label] = [found.caption(name, method) for method in cells]
    return picture_table(rows, list(cells), captions)


def mistake(found):
    """One picture of each attempt: as it is, and as its author's comparison saw it."""
    name, low, high = found.shown[0]
    window, rows = crop(low, high), {}
    for label, kind in (("as it is", "none"), ("as compared", found.mistake)):
        seen = RANGE_MISTAKES.get(kind, lambda u: u)
        made = (convert(found.enlarged(a.name, name), "byte", "unit") for a in found.attempts)
        made = [convert(np.clip(seen(image), 0, 1), "unit", "byte") for image in made]
        rows[label] = [image[window] for image in (*made, high)]
    return picture_table(rows, [*(a.name for a in found.attempts), "original"])


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
        for label, values in lines.items():
            axes[0].plot(x, values, "o-", label=label)
        for name, mark in (("flat grey", ":"), ("bicubic", "--")):
            level = found.baseline(name)["psnr_rgb"]
            axes[0].axhline(level, color="0.4", ls=mark, lw=0.9, label=name)
        axes[0].set(xlabel="attempt", ylabel="PSNR (RGB), dB", xticks=x)
        for attempt in found.attempts:
            history = pandas.concat(found.history(attempt.name)).groupby("epoch").mean()
            share = history.index / history.index.max()
            axes[1].plot(share, history["d_loss"], lw=1, label=attempt.name)
        axes[1].axhline(1.0, color="0.4", ls="--", lw=0.9, label="no information")
        axes[1].set(xlabel="share of training", ylabel="D's loss, 1 - D(x) + D(G(z))")
        legend_below(figure, axes, 4)
    return figure


def trade(found):
    """Perception against distortion: closer to the original is to the right.

    The numbered points are the attempts. A large point is the mean over seeds, the faint ones
    beside it are the seeds.
    """
    points = [
        ("attempts, by number", f"${a.name[-1]}$", "C1", found.after("adversarial", a.name))
        for a in found.attempts
    ]
    for name, marker in (("bicubic", "s"), ("linear", "D")):
        points.append((name, marker, "C2", [found.baseline(name)]))
    for phase, marker in zip(PHASES, "v^", strict=True):
        points.append((phase, marker, "C0", found.after(phase)))
    with style() as plt:
        figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.9))
        for ax, key in zip(axes, ("perceptual", "sharpness"), strict=True):
            for label, marker, color, seeds in points:
                values = np.array([[s["psnr_y"], s[key]] for s in seeds])
                if len(values) > 1:
                    ax.plot(*values.T, "o", ms=2, color=color, alpha=0.35, mew=0)
                if len(values):
                    look = {"ms": 6, "ls": "", "mew": 0.5, "color": color, "label": label}
                    ax.plot(*values.mean(axis=0, keepdims=True).T, marker=marker, **look)
            ax.set(xlabel="PSNR (Y), dB: closer to the original →")
            ax.margins(0.1)
        axes[0].set_ylabel(f"perceptual distance ({found.recipe.judge}): ↓ better")
        axes[1].set_ylabel("sharpness (1 = original)")
        axes[1].axhline(1.0, color="0.4", ls="--", lw=0.9)
        legend_below(figure, axes[:1], 5)
    return figure
