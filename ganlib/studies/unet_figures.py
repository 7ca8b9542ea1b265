"""Figures of the U-Net grid study, of `UnetResults`; None where the trials for one are missing."""

import math

import numpy as np
import pandas

from ganlib.report.figures import PAGE, SMALL, curve, legend_below, picture_table, style
from ganlib.stats import pareto_front
from ganlib.studies import unet

RESPONSES = {"jaccard": "validation Jaccard", "loss_std": "std of validation loss"}
RESPONSES |= {"best_epoch": "epochs to the best"}
LOOKS = {"unet": {"label": "UNet", "color": "#0072B2", "marker": "o"}}
LOOKS["attention_unet"] = {"label": "Attention UNet", "color": "#D55E00", "marker": "s"}
LOOKS["attention_resunet"] = {"label": "Attention ResUNet", "color": "#009E73", "marker": "^"}
EARLIER, BEFORE = 1e-2, "before: 1e-2, batch 8"
SHOWN = 6  # test tiles, with a found mask in these colours: right, missed, invented
ERRORS = np.array([(1, 1, 1), (0.84, 0.37, 0), (0.34, 0.71, 0.91)])


def _by_architecture(runs):
    for architecture, look in LOOKS.items():
        yield architecture, look, runs[runs["architecture"] == architecture]


def heatmaps(found):
    """Three measures over learning rate and batch size for each architecture, means over seeds."""
    from matplotlib.colors import LogNorm, Normalize

    cells = pandas.MultiIndex.from_tuples(unet.GRID)
    counts = found.grid.groupby(list(unet.FIELDS)).size().reindex(cells, fill_value=0)
    look = {"ha": "center", "va": "center", "fontsize": SMALL}
    with style() as plt:
        figure, axes = plt.subplots(3, 3, figsize=(PAGE, 4.6), sharex=True, sharey=True)
        for row, (key, label) in zip(axes, RESPONSES.items(), strict=True):
            means = found.cell_means(key).reindex(cells)
            scale = LogNorm if key == "loss_std" and means.min() > 0 else Normalize
            norm = scale(means.min(), means.max())  # one for the row
            for ax, architecture in zip(row, unet.ARCHITECTURES, strict=True):
                heat = ax.imshow(means[architecture].unstack(), norm=norm, aspect="auto")
                ax.grid(visible=False)
                for (batch, rate), value in means[architecture].items():
                    n = counts[architecture, batch, rate]
                    at = unet.LEARNING_RATES.index(rate), unet.BATCH_SIZES.index(batch)
                    text = f"{value:.3g}" if math.isfinite(value) else "–"
                    text = "OOM" if (architecture, batch, rate) in found.out_of_memory else text
                    text = f"{text}\nn={n}" if n > 1 else text
                    color = "white" if math.isfinite(value) and norm(value) < 0.5 else "black"
                    ax.text(*at, text, color=color, **look)
            row[0].set_ylabel("batch size")
            figure.colorbar(heat, ax=row, label=label, fraction=0.05, pad=0.01)
        for ax, low, look in zip(axes[0], axes[-1], LOOKS.values(), strict=True):
            ax.set_title(look["label"])
            low.set_xlabel("learning rate")
        axes[0, 0].set_xticks(range(4), [f"{rate:g}" for rate in unet.LEARNING_RATES])
        axes[0, 0].set_yticks(range(3), unet.BATCH_SIZES)
    return figure


def interactions(found):
    """Jaccard over the learning rate, a panel a batch size: the earlier setting, too."""
    with style() as plt:
        figure, axes = plt.subplots(1, 3, figsize=(PAGE, 2.5), sharey=True)
        for ax, batch in zip(axes, unet.BATCH_SIZES, strict=True):
            some = found.grid[found.grid["batch_size"] == batch]
            for architecture, look, runs in _by_architecture(some):
                means = runs.groupby("learning_rate")["jaccard"].mean()
                ax.plot(means.index, means, **look)
                if len(runs) > len(means):
                    dots = {"marker": ".", "alpha": 0.4, "mew": 0, "color": look["color"]}
                    ax.plot(runs["learning_rate"], runs["jaccard"], ls="", **dots)
                if batch == 8 and found.of(name := f"earlier-{architecture}"):
                    hollow = {**look, "label": None, "mfc": "none", "ls": ""}
                    ax.plot([EARLIER], [found.mean(name, "jaccard")], **hollow)
            ax.set(xscale="log", xlabel="learning rate", title=f"batch size {batch}")
        if any(name.startswith("earlier-") for name in found.names):
            axes[0].plot([], [], color="0.3", marker="o", mfc="none", ls="", label=BEFORE)
        axes[0].set_ylabel("validation Jaccard")
        legend_below(figure, axes, 4)
    return figure


def stability(found):
    """Std and median absolute deviation of the validation loss against batch size."""
    if not (found.grid["loss_std"] > 0).any():  # one epoch has no spread
        return None
    labels = {"loss_std": "std", "loss_mad": "median absolute deviation"}
    with style() as plt:
        figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.5), sharey=True)
        for ax, (key, label) in zip(axes, labels.items(), strict=True):
            for _, look, runs in _by_architecture(found.grid):
                for _, part in runs.groupby("learning_rate"):  # thin; thick: their mean
                    means = part.groupby("batch_size")[key].mean()
                    ax.plot(means.index, means, color=look["color"], lw=0.5, alpha=0.5)
                logs = np.log(runs[key].where(runs[key] > 0))
                means = np.exp(logs.groupby(runs["batch_size"]).mean())
                ax.plot(means.index, means, lw=2, **look)
            ax.set(xscale="log", yscale="log", xlabel="batch size", title=label)
            ax.set_xticks(unet.BATCH_SIZES, unet.BATCH_SIZES)
            ax.xaxis.set_minor_locator(plt.NullLocator())
        axes[0].set_ylabel("of the validation loss")
        legend_below(figure, axes, 3)
    return figure


def pareto(found):
    """Jaccard against training time, a mark a cell; the line joins those that none beats."""
    measures = {"architecture": "first", "training_seconds": "mean", "jaccard": "mean"}
    means = found.grid.groupby("name").agg(measures)
    front = means[pareto_front(means["training_seconds"], means["jaccard"])]
    front = front.sort_values("training_seconds")
    with style() as plt:
        figure, ax = plt.subplots(figsize=(PAGE, 3.2))
        for _, look, part in _by_architecture(means):
            ax.plot(part["training_seconds"], part["jaccard"], ls="", **look)
        ax.step(front["training_seconds"], front["jaccard"], "k-", where="post", lw=0.8, zorder=0)
        key = {}  # numbers with a key beside them: settings would cover one another
        for i, row in enumerate(front.itertuples(), 1):
            at = row.training_seconds, row.jaccard
            ax.plot(*at, **LOOKS[row.architecture] | {"label": None, "ms": 8})
            ax.annotate(str(i), at, color="white", fontsize=5, ha="center", va="center")
            key[f"{i}  {row.Index}"] = plt.Line2D([], [], ls="")
        place = {"loc": "outside right upper", "handlelength": 0, "fontsize": SMALL}
        figure.legend(key.values(), key, title="not beaten", title_fontsize=SMALL, **place)
        ax.set(xscale="log", xlabel="processor- or GPU-seconds of training")
        ax.set_ylabel("validation Jaccard")
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter("{x:g}")
        ax.tick_params(axis="x", which="minor", labelsize=5)
        legend_below(figure, [ax], 3)
    return figure


def ranking(found):
    """All cells by their mean, the best at the top: dots are seeds; grey can't be told from it."""
    table = found.group.table
    with style() as plt:
        figure, ax = plt.subplots(figsize=(PAGE, 1.0 + 0.115 * len(table)))
        for y, row in enumerate(table.itertuples()):
            runs = found.grid[found.grid["name"] == row.cell]
            look = LOOKS[runs["architecture"].iloc[0]] | {"ls": ""}
            if row.in_group:
                ax.axhspan(y - 0.5, y + 0.5, color="0.93", lw=0)
            ax.plot(runs["jaccard"], [y] * len(runs), **look | {"marker": ".", "alpha": 0.6})
            ax.plot([row.mean], [y], **look | {"marker": "|", "ms": 7, "mew": 1.5})
        ax.set_yticks(range(len(table)), table["cell"], fontsize=5)
        ax.set(xlabel="validation Jaccard", ylim=(len(table) - 0.5, -0.5))
        ax.grid(visible=False, axis="y")
        if found.group.sd is None:
            ax.set_title("One seed a cell: nothing can be told apart")
        legend_below(figure, [ax], 3)
    return figure


def curves(found):
    """Validation loss and Jaccard over epochs: each architecture's best cell, and before."""
    with style() as plt:
        figure, axes = plt.subplots(2, 3, figsize=(PAGE, 3.4), sharex=True, sharey="row")
        for (upper, lower), architecture in zip(axes.T, unet.ARCHITECTURES, strict=True):
            best = found.best_of.get(architecture)
            names = {"best cell": best, BEFORE: f"earlier-{architecture}"}
            for i, (label, name) in enumerate(names.items()):
                if found.of(name):
                    curve(upper, found.history(name), "val_loss", label, f"C{i}")
                    curve(lower, found.history(name), "val_jaccard", label, f"C{i}")
            upper.set(yscale="log", title=LOOKS[architecture]["label"])
            lower.set_xlabel("epoch")
            lower.set_title(f"best: {best}" if best else "", fontsize=SMALL)
        axes[0, 0].set_ylabel("validation loss")
        axes[1, 0].set_ylabel("validation Jaccard")
        legend_below(figure, axes[0], 2)
    return figure


def examples(found):
    """Test tiles from the worst to the best of the grid's best cell, and what it makes of them."""
    test = found.data.test
    predicted = found.predictions(found.of(found.best)[0]["id"]) > 0.5
    masks = np.asarray(test.masks) > 0
    both, either = predicted & masks, predicted | masks
    scores = both.sum(axis=(1, 2, 3)) / np.maximum(either.sum(axis=(1, 2, 3)), 1)
    full = np.flatnonzero(masks.any(axis=(1, 2, 3)))  # where there is something to find
    if not len(full):
        return None
    ordered = full[np.argsort(scores[full])]
    chosen = ordered[np.linspace(0, len(ordered) - 1, SHOWN).astype(int)]
    made = np.concatenate([both, masks & ~predicted, predicted & ~masks], axis=-1) @ ERRORS
    rows = {"image": test.images[chosen], "mask": masks[chosen]}
    rows["found: orange missed,\nblue invented"] = made[chosen]
    return picture_table(rows, [f"Jaccard {scores[i]:.2f}" for i in chosen])


def mispaired(found):
    """Validation Jaccard with masks of other pictures, beside the same recipe with its own."""
    control = found.of(unet.MISPAIRED)
    same = unet.name_of(unet.Recipe(**control[0]["recipe"])) if control else None
    if not found.of(same):
        return None
    names = {"masks paired by name": same, "masks of other pictures": unet.MISPAIRED}
    with style() as plt:
        figure, ax = plt.subplots(figsize=(PAGE / 2, 2.2))
        for i, (label, name) in enumerate(names.items()):
            curve(ax, found.history(name), "val_jaccard", label, f"C{i}")
        level = found.baselines["foreground"]["jaccard"]
        ax.axhline(level, color="0.4", ls=":", label="every pixel marked (test)")
        ax.set(xlabel="epoch", ylabel="validation Jaccard", ylim=(0, 1))
        legend_below(figure, [ax], 2)
    return figure


FIGURES = (heatmaps, interactions, stability, pareto, ranking, curves, examples, mispaired)
FIGURES = {draw.__name__: draw for draw in FIGURES}
