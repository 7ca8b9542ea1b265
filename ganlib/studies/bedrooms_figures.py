"""Figures of the bedroom study; `found` is a `BedroomResults`.

Each is a matplotlib figure, or None where the trials that it needs are missing.
"""

import numpy as np
import pandas

from ganlib.apply import read_grid
from ganlib.data.room_styles import style_coverage
from ganlib.data.rooms import FACTORS
from ganlib.report import figures as draw

ASSIGNMENT, REPAIRED = "batch-128", "repaired"
RIVALS = {ASSIGNMENT: "assignment", REPAIRED: "repaired"}  # shown beside each other


def samples(found):
    """Real pictures, and the same latents through each variation's generator as it was kept."""
    real = f"real pictures\nKID {found.baselines['real']['kid']:.3f}"
    panels = {real: found.data.test.as_range("unit")}
    for name in found.names:
        result = found.of(name)[0]
        title = f"{name}\nKID {found.metric(result, 'kid'):.3f}"
        panels[title] = _pictures(found, result, _kept(found, result))
    return draw.picture_panels(panels)


def progress(found):
    """KID on validation pictures over epochs; a dot marks the epoch that was kept."""
    titles = "the assignment's networks", "the repaired recipe and its ablations"
    sides = [[n for n in found.names if found.of_assignment(n) == side] for side in (True, False)]
    sides = {title: names for title, names in zip(titles, sides, strict=True) if names}
    with draw.style() as plt:
        shared = {"sharex": True, "sharey": True, "squeeze": False}
        figure, axes = plt.subplots(1, len(sides), figsize=(draw.PAGE, 3.2), **shared)
        for ax, (title, names) in zip(axes[0], sides.items(), strict=True):
            for i, name in enumerate(names):
                curves = draw.curve(ax, found.history(name), "kid", name, f"C{i}")
                for result, curve in zip(found.of(name), curves, strict=True):
                    kept = curve[curve.index == result["metrics"]["best_epoch"]]
                    ax.plot(kept.index, kept, "o", color=f"C{i}", mec="white", mew=0.5)
            for label, mark in (("real", "--"), ("noise", ":")):
                ax.axhline(found.baselines[label]["kid"], color="0.4", ls=mark, lw=0.9, label=label)
            ax.set(xlabel="epoch", title=title)
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)
        axes[0, 0].set_ylabel("KID, validation pictures (lower is better)")
    return figure


def best_and_last(found):
    """The same latents' pictures at the epoch that was kept, and at the last one."""
    rows = {}
    for name in filter(found.of, RIVALS):
        result = found.of(name)[0]
        kid = kid_of(found.histories[result["id"]])
        kept = "kept" if result["metrics"]["best_epoch"] else "none kept"
        epochs = {kept: _kept(found, result), "last": _last(found, result)}
        for label, epoch in epochs.items():
            images = _pictures(found, result, epoch)
            score = f"\nKID {kid[epoch]:.3f}" if epoch in kid else ""
            text = f"{name}\n{label}, epoch {epoch}{score}"
            rows[text] = images if images is None else images[:12]
    return draw.picture_rows(rows) if rows else None


def truncation(found):
    """Quality and diversity as latents far from 0 are cut off, and what KID says of it.

    Dashed: real pictures. Of rooms, whose styles are known, the second panel shows the share of
    pictures that show one clearly and the share of styles seen.
    """
    if not found.of(REPAIRED):
        return None
    points, real = _truncated(found.of(REPAIRED)), found.baselines["real"]
    second = ("clear", "styles seen") if "clear" in points else ("density", "coverage")
    panels = ("precision", "recall"), second, ("kid",)
    with draw.style() as plt:
        figure, axes = plt.subplots(1, 3, figsize=(draw.PAGE, 2.3))
        for ax, keys in zip(axes, panels, strict=True):
            for i, key in enumerate(keys):
                errors = points[f"{key}_standard_error"] if key == "kid" else None
                look = {
                    "fmt": "o-",
                    "color": f"C{i}",
                    "label": key.replace("kid", "KID"),
                    "capsize": 2,
                }
                ax.errorbar(points.index, points[key], errors, **look)
                if key in real:
                    ax.axhline(real[key], color=f"C{i}", ls="--", lw=0.9)
            ax.set_xlabel("truncation of z")
            ax.legend()
    return figure


def neighbours(found):
    """The generated pictures that are nearest to a training picture, and that picture."""
    if not (results := found.of(REPAIRED)):
        return None
    numbers = results[0]["metrics"]["neighbours"]
    title = (
        f"Distance to the nearest training picture, median: {numbers['distance']:.3g} over "
        f"{numbers['n']:,} generated pictures, {numbers['held_out_distance']:.3g} over held-out "
        f"ones.\n{100 * numbers['copies']:.2g} % of the generated pictures are nearer than the "
        "nearest 1 % of the held-out ones. The nearest of all:"
    )
    generated, training = np.split(_read(found, results[0], "neighbours.png"), 2)
    return draw.picture_rows({"generated": generated, "training": training}, title)


def interpolation(found):
    """Pictures on the way from one latent to another, on the arc between them; a row a way."""
    if not (results := found.of(REPAIRED)):
        return None
    images = _read(found, results[0], "interpolation.png")
    ways = {f"way {i + 1}": way for i, way in enumerate(np.split(images, len(images) // 8))}
    return draw.picture_rows(ways, width=draw.COLUMN)


def styles(found):
    """Share of each style factor's values among synthetic rooms, read from the pictures."""
    counted = {n: [r["metrics"]["styles"] for r in found.of(n)] for n in found.names}
    if not all(all(each) for each in counted.values()):
        return None  # of other pictures than rooms there is nothing to count
    real = style_coverage(found.data.train)
    rows = {
        f"{name} ({np.mean([s['clear'] / s['n'] for s in each]):.0%} clear)": np.mean(
            [[n / s["n"] for f in FACTORS for n in s["counts"][f]] for s in each], axis=0
        )
        for name, each in {**counted, "training pictures": [real]}.items()
    }
    values, shares = [v for group in FACTORS.values() for v in group], list(rows.values())
    with draw.style() as plt:
        figure, ax = plt.subplots(figsize=(draw.PAGE, 0.2 * len(rows) + 1.1))
        names, label = list(rows), "% of pictures"
        draw.heatmap(figure, ax, 100 * np.stack(shares), names, values, 60, label)
        ax.tick_params("x", rotation=90)
        end = -0.5
        for factor, group in FACTORS.items():
            middle, end = end + len(group) / 2, end + len(group)
            ax.text(middle, -0.65, factor, ha="center", va="bottom", fontsize=draw.SMALL)
            ax.axvline(end, color="white", lw=2)
    return figure


def film(found):
    """Frames of the same latents' pictures over the epochs, the assignment beside the repair.

    Returns:
        List of uint8 arrays `(height, width, 3)` for `save_gif`, one for each epoch that all shown
        variations have pictures of; empty where there are none.
    """
    shown = {name: found.of(name)[0] for name in RIVALS if found.of(name)}
    shown = {name: result for name, result in shown.items() if found.epochs(result)}
    common, frames = [set(found.epochs(result)) for result in shown.values()], []
    for epoch in sorted(set.intersection(*common) if common else ()):
        panels = {f"{RIVALS[n]}, epoch {epoch}": _pictures(found, shown[n], epoch) for n in shown}
        frames.append(draw.as_frame(draw.picture_panels(panels, shown=25)))
    return frames


FIGURES = {
    figure.__name__: figure
    for figure in (samples, progress, best_and_last, truncation, neighbours, interpolation, styles)
}


def _read(found, result, path):
    return read_grid(found.folders[result["id"]] / path, result["recipe"]["size"])


def _last(found, result):
    return max(found.epochs(result), default=0)


def _kept(found, result):
    """The epoch that was kept; the last one with pictures where none was."""
    return result["metrics"]["best_epoch"] or _last(found, result)


def _pictures(found, result, epoch):
    """An epoch's sample grid, picture by picture; None where there is none."""
    there = epoch in found.epochs(result)
    return _read(found, result, f"samples/epoch-{epoch:04d}.png") if there else None


def kid_of(history):
    """KID by epoch, of the epochs that were scored: none where weights were never finite."""
    return history.set_index("epoch").get("kid", pandas.Series(dtype=float)).dropna()


def _truncated(results):
    """Mean scores, a row a truncation; the last row is that of latents that are not cut off."""
    label, rows = {t: f"{t:g}" for t in results[0]["recipe"]["truncations"]} | {np.inf: "none"}, []
    for metrics in (result["metrics"] for result in results):
        whole = {**metrics["scores"]["best"], "truncation": np.inf, "styles": metrics["styles"]}
        for point in (*metrics["truncation"], whole):
            row = {key: value for key, value in point.items() if isinstance(value, int | float)}
            if counted := point.get("styles"):
                row |= {"styles seen": counted["styles"], "clear": counted["clear"] / counted["n"]}
            rows.append(row)
    return pandas.DataFrame(rows).groupby("truncation").mean().rename(index=label)
