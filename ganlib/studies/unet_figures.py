"""Figures of the U-Net grid study; `found` is a `UnetResults`.

Each is a matplotlib figure, or None where the trials that it needs are missing.
"""

import math

import numpy as np

from ganlib.models.unet import ARCHITECTURES
from ganlib.report.figures import COLUMN, PAGE, style
from ganlib.studies.unet import BATCH_SIZES, LEARNING_RATES, MISPAIRED

HEATS = {  # measure → label, and whether colours run on a logarithmic scale
    "jaccard": ("validation Jaccard", False),
    "loss_std": ("std of validation loss", True),
    "best_epoch": ("epochs to the best", False),
}
MARKS = dict(zip(ARCHITECTURES, "os^", strict=True))
COLOURS = {"unet": "#0072B2", "attention_unet": "#D55E00", "attention_resunet": "#009E73"}
EARLIER = 1e-2
SHOWN = 6  # test tiles
SMALL = 6  # points
MISSED, INVENTED = (0.84, 0.37, 0.0), (0.34, 0.71, 0.91)


def heatmaps(found):
    """Three measures over learning rate and batch size for each architecture, means over seeds.

    A row has one colour scale. The small number is n where seeds were repeated; a cell that ran out
    of memory says so.
    """
    counts = found.grid.groupby(["architecture", "batch_size", "learning_rate"]).size()
    lost = found.out_of_memory()
    with style() as plt:
        figure, axes = plt.subplots(3, 3, figsize=(PAGE, 4.6), sharex=True, sharey=True)
        for row, (key, (label, logarithmic)) in zip(axes, HEATS.items(), strict=True):
            means = found.cell_means(key)
            norm = _scale(means, logarithmic)
            for ax, architecture in zip(row, ARCHITECTURES, strict=True):
                grid = [
                    [means.get((architecture, batch, rate), np.nan) for rate in LEARNING_RATES]
                    for batch in BATCH_SIZES
                ]
                heat = ax.imshow(grid, norm=norm, aspect="auto")
                ax.grid(visible=False)
                for i, batch in enumerate(BATCH_SIZES):
                    for j, rate in enumerate(LEARNING_RATES):
                        cell = architecture, batch, rate
                        _annotate(ax, j, i, grid[i][j], norm, counts.get(cell, 0), cell in lost)
            row[0].set_ylabel("batch size")
            figure.colorbar(heat, ax=row, label=label, fraction=0.05, pad=0.01)
        for ax, architecture in zip(axes[0], ARCHITECTURES, strict=True):
            ax.set_title(_spoken(architecture))
        for ax in axes[-1]:
            ax.set(xlabel="learning rate", xticks=range(4), yticks=range(3))
            ax.set_xticklabels([f"{rate:g}" for rate in LEARNING_RATES])
            ax.set_yticklabels([str(batch) for batch in BATCH_SIZES])
    return figure


def _scale(values, logarithmic):
    from matplotlib.colors import LogNorm, Normalize

    low, high = float(values.min()), float(values.max())
    if logarithmic and low > 0:
        return LogNorm(low, max(high, low * 1.01))
    return Normalize(low, max(high, low + 1e-9))


def _annotate(ax, x, y, value, norm, n, lost):
    if lost or not math.isfinite(value):
        ax.text(x, y, "OOM" if lost else "–", ha="center", va="center", fontsize=SMALL)
        return
    color = "white" if norm(value) < 0.5 else "black"
    text = f"{value:.3g}" if value < 100 else f"{value:.0f}"
    ax.text(x, y, text, ha="center", va="center", fontsize=SMALL, color=color)
    if n > 1:
        ax.text(x + 0.45, y + 0.42, n, ha="right", va="bottom", fontsize=4, color=color)


def _spoken(architecture):
    return {"unet": "UNet", "attention_unet": "Attention UNet"}.get(
        architecture, "Attention ResUNet"
    )


def interactions(found):
    """Jaccard over the learning rate, a panel a batch size: the earlier setting, too.

    Lines are means over seeds, dots single runs.
    """
    with style() as plt:
        figure, axes = plt.subplots(1, 3, figsize=(PAGE, 2.5), sharey=True)
        for ax, batch in zip(axes, BATCH_SIZES, strict=True):
            for architecture in ARCHITECTURES:
                runs = found.grid.query("architecture == @architecture and batch_size == @batch")
                look = {"color": COLOURS[architecture], "marker": MARKS[architecture]}
                means = runs.groupby("learning_rate")["jaccard"].mean()
                ax.plot(means.index, means, label=_spoken(architecture), **look)
                _dots(ax, runs["learning_rate"], runs["jaccard"], architecture)
                earlier = found.of(f"earlier-{architecture}") if batch == 8 else []
                if earlier:
                    scores = [r["metrics"]["jaccard"] for r in earlier]
                    ax.plot([EARLIER], [np.mean(scores)], mfc="none", ls="", **look)
            ax.set(xscale="log", xlabel="learning rate", title=f"batch size {batch}")
        axes[0].set_ylabel("validation Jaccard")
        handles, labels = axes[0].get_legend_handles_labels()
        hollow = plt.Line2D([], [], color="0.3", marker="o", mfc="none", ls="")
        if any(found.of(f"earlier-{architecture}") for architecture in ARCHITECTURES):
            handles, labels = [*handles, hollow], [*labels, "before: 1e-2, batch 8"]
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def _dots(ax, x, y, architecture):
    if len(x) > len(set(x)):
        ax.plot(x, y, ".", color=COLOURS[architecture], alpha=0.4, mew=0)


def stability(found):
    """Std and median absolute deviation of the validation loss against batch size.

    Thick: mean over the learning rates; thin: each of them.
    """
    if not (found.grid["loss_std"] > 0).any():  # one epoch has no spread
        return None
    labels = {"loss_std": "std", "loss_mad": "median absolute deviation"}
    with style() as plt:
        figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.5), sharey=True)
        for ax, (key, label) in zip(axes, labels.items(), strict=True):
            for architecture in ARCHITECTURES:
                runs = found.grid[found.grid["architecture"] == architecture]
                color = COLOURS[architecture]
                for _, part in runs.groupby("learning_rate"):
                    means = part.groupby("batch_size")[key].mean()
                    ax.plot(means.index, means, color=color, lw=0.5, alpha=0.5)
                means = runs.groupby("batch_size")[key].apply(_geometric_mean)
                look = {"color": color, "marker": MARKS[architecture], "lw": 2}
                ax.plot(means.index, means, label=_spoken(architecture), **look)
            ax.set(xscale="log", yscale="log", xlabel="batch size", title=label)
            ax.set_xticks(BATCH_SIZES, [str(batch) for batch in BATCH_SIZES])
            ax.xaxis.set_minor_locator(plt.NullLocator())
        axes[0].set_ylabel("of the validation loss")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _geometric_mean(values):
    values = values[values > 0]
    return float(np.exp(np.log(values).mean())) if len(values) else np.nan


def pareto(found):
    """Jaccard against training time, a mark a cell; the line joins those that none beats."""
    means = found.grid.groupby("name").agg(
        {"architecture": "first", "training_seconds": "mean", "jaccard": "mean"}
    )
    front = means.loc[sorted(found.pareto())].sort_values("training_seconds")
    with style() as plt:
        figure, ax = plt.subplots(figsize=(1.4 * COLUMN, 2.9))
        for architecture in ARCHITECTURES:
            part = means[means["architecture"] == architecture]
            ax.plot(
                part["training_seconds"],
                part["jaccard"],
                MARKS[architecture],
                color=COLOURS[architecture],
                label=_spoken(architecture),
            )
        ax.step(front["training_seconds"], front["jaccard"], "k-", where="post", lw=0.8, zorder=0)
        for name, row in front.iterrows():
            at = row["training_seconds"], row["jaccard"]
            setting = name.removeprefix(f"{row['architecture']}-")
            look = {"textcoords": "offset points", "fontsize": 4.5, "rotation": 50}
            ax.annotate(setting, at, (-1, 4), **look)
        ax.margins(y=0.15)
        ax.set(
            xscale="log",
            xlabel="processor- or GPU-seconds of training",
            ylabel="validation Jaccard",
        )
        for axis in (ax.xaxis.set_major_formatter, ax.xaxis.set_minor_formatter):
            axis(plt.FuncFormatter(lambda x, _: f"{x:g}"))
        ax.tick_params(axis="x", which="minor", labelsize=5)
        ax.legend(loc="lower right")
    return figure


def ranking(found):
    """All cells by their mean, the best at the top: dots are seeds; grey can't be told from it."""
    table = found.group.table
    with style() as plt:
        figure, ax = plt.subplots(figsize=(PAGE, 0.8 + 0.115 * len(table)))
        for y, row in enumerate(table.itertuples()):
            runs = found.grid[found.grid["name"] == row.cell]
            color = COLOURS[runs["architecture"].iloc[0]]
            if row.in_group:
                ax.axhspan(y - 0.5, y + 0.5, color="0.93", lw=0)
            ax.plot(runs["jaccard"], [y] * len(runs), ".", color=color, alpha=0.6, mew=0)
            ax.plot([row.mean], [y], "|", color=color, ms=7, mew=1.5)
        ax.set_yticks(range(len(table)), table["cell"], fontsize=5)
        ax.set(xlabel="validation Jaccard", ylim=(len(table) - 0.5, -0.5))
        ax.grid(visible=False, axis="y")
        if found.group.sd is None:
            ax.set_title("One seed a cell: nothing can be told apart")
    return figure


def curves(found):
    """Validation loss and Jaccard over epochs: each architecture's best cell, and before."""
    with style() as plt:
        figure, axes = plt.subplots(2, 3, figsize=(PAGE, 3.4), sharex=True, sharey="row")
        for column, architecture in enumerate(ARCHITECTURES):
            best = found.best_of.get(architecture)
            names = {"best cell": best, "before: 1e-2, batch 8": f"earlier-{architecture}"}
            for (label, name), color in zip(names.items(), ("C0", "C1"), strict=True):
                for i, history in enumerate(found.history(name) if found.of(name) else ()):
                    look = {"color": color, "lw": 0.9, "label": label if i == 0 else None}
                    axes[0, column].plot(history["epoch"], history["val_loss"], **look)
                    axes[1, column].plot(history["epoch"], history["val_jaccard"], **look)
            axes[0, column].set(yscale="log", title=_spoken(architecture))
            axes[1, column].set_xlabel("epoch")
            axes[1, column].xaxis.get_major_locator().set_params(integer=True)
            if best:
                setting = best.removeprefix(f"{architecture}-")
                axes[1, column].set_title(f"best: {setting}", fontsize=SMALL)
        axes[0, 0].set_ylabel("validation loss")
        axes[1, 0].set_ylabel("validation Jaccard")
        drawn = [line for ax in axes[0] for line in ax.lines if line.get_label()[0] != "_"]
        shown = {line.get_label(): line for line in drawn}
        figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=2)
    return figure


def examples(found):
    """Test tiles from the worst to the best of the grid's best cell, and what it makes of them.

    In the last row orange pixels were missed and blue ones invented.
    """
    result = found.of(found.best)[0]
    found_masks = found.predictions(result["id"]) > 0.5
    masks = found.data.test.masks > 0
    inside = (found_masks & masks).sum(axis=(1, 2, 3))
    either = (found_masks | masks).sum(axis=(1, 2, 3))
    scores = inside / np.maximum(either, 1)
    # Where there is nothing to find, 1 or 0 says little.
    full = np.flatnonzero(masks.any(axis=(1, 2, 3)))
    if not len(full):
        return None
    ordered = full[np.argsort(scores[full])]
    chosen = ordered[np.linspace(0, len(ordered) - 1, SHOWN).astype(int)]
    with style() as plt:
        figure, axes = plt.subplots(3, SHOWN, figsize=(PAGE, 0.2 + 2.9 * PAGE / SHOWN))
        for column, i in zip(axes.T, chosen, strict=True):
            rows = found.data.test.images[i], masks[i], _errors(found_masks[i], masks[i])
            for ax, picture in zip(column, rows, strict=True):
                ax.imshow(np.squeeze(picture), cmap="gray", interpolation="nearest")
                ax.set(xticks=[], yticks=[])
                ax.spines[:].set_visible(False)
            column[0].set_title(f"Jaccard {scores[i]:.2f}", fontsize=SMALL)
        for ax, label in zip(axes[:, 0], ("image", "mask", "found"), strict=True):
            ax.set_ylabel(label)
    return figure


def _errors(found, truth):
    """A colour picture of a found mask: white where it is right, colours where it is not."""
    found, truth = np.squeeze(found), np.squeeze(truth)
    picture = np.zeros((*truth.shape, 3))
    picture[found & truth] = 1
    picture[truth & ~found] = MISSED
    picture[found & ~truth] = INVENTED
    return picture


def mispaired(found):
    """Validation Jaccard with masks of other pictures, beside the same recipe with its own."""
    if not found.of(MISPAIRED):
        return None
    recipe = found.of(MISPAIRED)[0]["recipe"]
    same = found.grid
    for field in ("architecture", "batch_size", "learning_rate"):
        same = same[same[field] == recipe[field]]
    if not len(same):
        return None
    with style() as plt:
        figure, ax = plt.subplots(figsize=(COLUMN, 2.2))
        for label, name, color in (
            ("masks paired by name", same["name"].iloc[0], "C0"),
            ("masks of other pictures", MISPAIRED, "C1"),
        ):
            for i, history in enumerate(found.history(name)):
                shown = label if i == 0 else None
                ax.plot(history["epoch"], history["val_jaccard"], color=color, label=shown)
        level = found.baselines["foreground"]["jaccard"]
        ax.axhline(level, color="0.4", ls=":", label="every pixel marked (test)")
        ax.set(xlabel="epoch", ylabel="validation Jaccard", ylim=(0, 1))
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend()
    return figure
