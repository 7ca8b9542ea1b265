"""Figures that fit a paper: column widths, colours for every eye, pictures in their true range."""

import contextlib
import pathlib

import numpy as np

from ganlib.apply import read_grid, tile, untile  # noqa: F401

COLUMN, PAGE = 3.4, 7.0  # inches
STRIP = 0.16  # inches, below a marked figure
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


def spaced(images, columns):
    """Pictures in [0, 1] in a grid, with white between them."""
    gap = max(1, images.shape[1] // 32)
    framed = np.pad(images, ((0, 0), (0, gap), (0, gap), (0, 0)), constant_values=1.0)
    return tile(framed, columns)[:-gap, :-gap]


def show_spaced(axes, images, columns):
    """Draws pictures in [0, 1] on `axes`, with white between them; says so where there are none."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if images is None:
        axes.text(0.5, 0.5, "no pictures", ha="center", va="center", fontsize=6)
    else:
        axes.imshow(spaced(images, columns), interpolation="nearest")  # no pixels made up


def show_images(axes, images, columns, title=""):
    """Draws a grid of images in [0, 1] on `axes`.

    Args:
        axes: of matplotlib.
        images: float array `(n, height, width, channels)`, 1 or 3 channels.
        columns: int, of the grid.
        title: str.

    Raises:
        ValueError: no images, or values outside [0, 1]: convert the range first, a clipped picture
            misleads.
    """
    images = np.asarray(images)
    if images.size and not (images.min() >= -1e-3 and images.max() <= 1 + 1e-3):  # NaN, too
        raise ValueError(
            "Pictures are drawn from [0, 1]; use ganlib.images.convert. Received: values in "
            f"[{images.min():.3g}, {images.max():.3g}]"
        )
    grid = tile(np.clip(images, 0, 1), columns)
    axes.imshow(grid.squeeze(-1) if grid.shape[-1] == 1 else grid, cmap="gray", vmin=0, vmax=1)
    axes.set_title(title)
    axes.axis("off")


def mark(figure, text):
    """Says at which scale a figure was made, in a strip below it; its layout stays as it is now.

    Args:
        figure: of matplotlib.
        text: str.

    Returns:
        The part of the plane to save, in inches, for `bbox_inches`: the figure and the strip.
    """
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
