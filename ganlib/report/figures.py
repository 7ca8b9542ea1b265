"""Figures that fit a paper: column widths, colours for every eye, pictures in their true range."""

import contextlib
import io
import pathlib

import numpy as np
import pandas
from PIL import Image

from ganlib.apply import tile
from ganlib.stats import bounded_interval

COLUMN, PAGE = 3.4, 7.0  # inches
STRIP = 0.16  # inches, below a marked figure
SMALL = 6  # points, of labels between pictures
STYLE = pathlib.Path(__file__).with_name("ganlib.mplstyle")


@contextlib.contextmanager
def style():
    """The look of all figures, for as long as the context lasts."""
    import matplotlib.pyplot as plt

    with plt.style.context(STYLE):
        yield plt


def close(figure):
    """Frees a figure, so that a notebook does not show it once more."""
    import matplotlib.pyplot as plt

    plt.close(figure)


def show_spaced(axes, images, columns):
    """Draws a grid of pictures `(n, h, w, 1 or 3)`, or of None, on `axes`, with white between them.

    Values outside [0, 1] are a ValueError: a clipped picture misleads.
    """
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if images is None:
        axes.text(0.5, 0.5, "no pictures", ha="center", va="center", fontsize=SMALL)
        return
    if images.size and not (images.min() >= -1e-3 and images.max() <= 1 + 1e-3):  # NaN, too
        had = f"[{images.min():.3g}, {images.max():.3g}]"
        text = "Pictures are drawn from [0, 1]; use ganlib.images.convert. Received: values in"
        raise ValueError(f"{text} {had}")
    gap = max(1, images.shape[1] // 32)
    framed = np.pad(images, ((0, 0), (0, gap), (0, gap), (0, 0)), constant_values=1.0)
    grey = {"cmap": "gray", "vmin": 0, "vmax": 1}  # of one channel: not stretched to its values
    grid = tile(framed, columns)[:-gap, :-gap].clip(0, 1)
    axes.imshow(grid, interpolation="nearest", **grey)  # no pixels made up


def mark(figure, text):
    """Writes a text into a strip below a figure; returns both as what to save, `bbox_inches`."""
    from matplotlib import rcParams
    from matplotlib.transforms import Bbox

    # Hinted text is narrower on a screen: what is laid out there would be cut off in the file.
    shown, saved = figure.dpi, rcParams["savefig.dpi"]
    figure.set_dpi(shown if saved == "figure" else saved)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # all stays where it is now
    for legend in figure.legends:  # else one outside would go to the edge of what is saved
        place = legend.get_window_extent().transformed(figure.transFigure.inverted())
        legend.borderaxespad = 0
        legend.set_loc("lower left")
        legend.set_bbox_to_anchor((place.x0, place.y0), figure.transFigure)
    width, height = figure.get_size_inches()
    look = {"ha": "right", "va": "bottom", "fontsize": 6, "color": "#D55E00", "in_layout": False}
    figure.text(0.995, (0.015 - STRIP) / height, text, **look)
    figure.set_dpi(shown)
    return Bbox([[0, -STRIP], [width, height]])


def picture_panels(panels, shown=16):
    """A figure of squares of at most `shown` pictures: title → images as of `show_spaced`."""
    rows = -(-len(panels) // 5)
    columns = -(-len(panels) // rows)
    side = PAGE / max(columns, 4)
    with style() as plt:
        size = (columns * side, rows * (side + 0.28))
        figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
        for ax in axes.flat[len(panels) :]:
            ax.axis("off")
        for ax, (title, images) in zip(axes.flat, panels.items(), strict=False):
            show_spaced(ax, images if images is None else images[:shown], round(shown**0.5))
            ax.set_title(title, fontsize=SMALL)
    return figure


def picture_rows(rows, title="", width=PAGE):
    """A figure of rows of pictures, `width` inches wide: label → images as of `show_spaced`."""
    columns = max((len(images) for images in rows.values() if images is not None), default=1)
    with style() as plt:
        size = (width, len(rows) * width / max(columns, 8) + 0.25)
        figure, axes = plt.subplots(len(rows), 1, figsize=size, squeeze=False)
        for ax, (label, images) in zip(axes[:, 0], rows.items(), strict=True):
            show_spaced(ax, images, columns)
            ax.set_ylabel(label, fontsize=SMALL, rotation=0, ha="right", va="center")
        axes[0, 0].set_title(title, fontsize=SMALL)
    return figure


def picture_table(rows, titles, captions=None):
    """A figure of rows (label → pictures, uint8 or in [0, 1]) under titles, over a page's width.

    `captions` are texts below the pictures, label → one each.
    """
    side = PAGE / len(titles)
    with style() as plt:
        size = (PAGE, len(rows) * (side + 0.15 * bool(captions)) + 0.15)
        figure, axes = plt.subplots(len(rows), len(titles), figsize=size, squeeze=False)
        for ax, title in zip(axes[0], titles, strict=True):
            ax.set_title(title, fontsize=SMALL)
        for row, (label, pictures) in zip(axes, rows.items(), strict=True):
            row[0].set_ylabel(label, fontsize=SMALL)
            texts = captions[label] if captions else [""] * len(titles)
            for ax, picture, text in zip(row, pictures, texts, strict=True):
                ax.imshow(np.squeeze(picture), cmap="gray", interpolation="nearest")
                ax.set(xticks=[], yticks=[])
                ax.set_xlabel(text, fontsize=SMALL)
                ax.spines[:].set_visible(False)
    return figure


def legend_below(figure, axes, columns):
    """One legend below a figure, of all that the axes show; each label once."""
    entries = {}
    for ax in axes:
        entries |= {label: h for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    look = {"loc": "outside lower center", "ncols": columns, "fontsize": SMALL}
    figure.legend(entries.values(), entries, **look)


def curve(ax, histories, key, label, color, line="-", bounds=None):
    """Draws a column of histories, its mean with a 95 % interval, and returns it of each.

    Seeds that go on longer do so as thin lines; `bounds` are of `bounded_interval`.
    """
    empty = pandas.Series(dtype=float)
    columns = [h.set_index("epoch").get(key, empty).dropna() for h in histories]
    common = pandas.concat(columns, axis=1, join="inner")
    intervals = [bounded_interval(values, bounds) for values in common.to_numpy()]
    ax.plot(common.index, [m.mean for m in intervals], color=color, ls=line, label=label)
    if len(columns) > 1:
        low, high = ([getattr(m, end) for m in intervals] for end in ("low", "high"))
        ax.fill_between(common.index, low, high, color=color, alpha=0.15, lw=0)
        for column in columns:
            rest = column[column.index >= common.index.max()]
            ax.plot(rest.index, rest, color=color, ls=line, lw=0.6, alpha=0.6)
    ax.xaxis.get_major_locator().set_params(integer=True)
    return columns


def curves(history, lines, by="name", columns=3, label="", bounds=None):
    """A figure of curves over epochs, each a mean over seeds with its 95 % interval.

    Args:
        history: `Results.history`, or a part of it.
        lines: dict of label → (column, colour, line style).
        by: column with a panel for each of its values; `columns`, number of panels in a row.
        label: str, of the vertical axis.
        bounds: (lowest, highest) value that all columns can have.
    """
    panels = list(history.groupby(by, sort=False))
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    with style() as plt:
        size = {"figsize": (PAGE, 1.45 * rows + 0.5), "squeeze": False}
        figure, axes = plt.subplots(rows, columns, sharex=True, sharey=True, **size)
        for ax in axes.flat[len(panels) :]:
            ax.axis("off")
        for place, (ax, (title, part)) in enumerate(zip(axes.flat, panels, strict=False)):
            seeds = [one for _, one in part.groupby("id")]
            for text, (column, color, line) in lines.items():
                curve(ax, seeds, column, text, color, line, bounds)
            lowest = place + columns >= len(panels)  # also above an empty place
            ax.tick_params(labelbottom=lowest)
            ax.set(title=title, xlabel="epoch" if lowest else "")
        figure.supylabel(label, fontsize=8)
        legend_below(figure, axes.flat[:1], 4)
    return figure


def dots(results, columns, between=None, log=()):
    """A figure of dots, one a run, with intervals over seeds; a row a variation.

    `results` are `ganlib.experiment.results.Results`; `columns` and `between` as of its `table`,
    the latter as vertical lines; headings in `log` get a logarithmic axis.
    """
    names = results.names[::-1]
    with style() as plt:
        size = (PAGE, 0.24 * len(names) + 0.9)
        figure, axes = plt.subplots(1, len(columns), figsize=size, sharey=True, squeeze=False)
        for ax, (label, measure) in zip(axes.flat, columns.items(), strict=True):
            for y, name in enumerate(names):
                values, interval = results.values(name, measure), results.interval(name, measure)
                ax.plot(values, [y] * len(values), "o", color="C0", alpha=0.5)
                if interval.low is not None:
                    ax.plot([interval.low, interval.high], [y, y], color="C0")
            for color, (limit, scores) in zip(("C2", "C1"), (between or {}).items(), strict=False):
                ax.axvline(scores[measure], color=color, ls="--", label=limit)
            ax.set(xlabel=label, xscale="log" if label in log else "linear")
        axes[0, 0].set_yticks(range(len(names)), names)
        axes[0, 0].set_ylim(-0.5, len(names) - 0.5)  # no dot on the frame
        legend_below(figure, axes.flat[:1], 2)
    return figure


def heat(table, label, most, across=""):
    """A figure of a `pandas.DataFrame` as colours from 0 to `most`; `across` is its lower axis."""
    with style() as plt:
        size = (COLUMN + 0.6, 0.2 * len(table) + 0.7)
        figure, ax = plt.subplots(figsize=size)
        heatmap(figure, ax, table.to_numpy(float), list(table.index), list(table), most, label)
        ax.set_xlabel(across)
    return figure


def heatmap(figure, ax, values, rows, columns, most, label):
    """Draws a matrix with a name a row and column, and its colours from 0 to `most`."""
    mesh = ax.imshow(values, vmin=0, vmax=most, aspect="auto")
    ax.set_xticks(range(len(columns)), columns, fontsize=SMALL)
    ax.set_yticks(range(len(rows)), rows, fontsize=SMALL)
    ax.grid(False)
    figure.colorbar(mesh, label=label, extend="max", pad=0.01)


def as_frame(figure, dpi=140):
    """A figure as a picture, uint8 `(height, width, 3)`, such as a film's; closes the figure."""
    with style():
        figure.savefig(file := io.BytesIO(), dpi=dpi, bbox_inches=None)
    close(figure)
    return np.asarray(Image.open(file).convert("RGB"))
