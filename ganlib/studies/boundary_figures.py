"""Figures of the boundary study; `found` is a `BoundaryResults`.

Each is a matplotlib figure, or None where the trials that it needs are missing.
"""

import math

import numpy as np
import pandas
from scipy.special import expit

from ganlib.apply import read_grid
from ganlib.metrics.boundary import s3, s3_ceiling
from ganlib.report.figures import PAGE, show_spaced, style
from ganlib.stats import mean_interval
from ganlib.studies.boundary import SIZE
from ganlib.studies.boundary_claims import PAIRS

# Plain binary cross-entropy and the boundary loss, all else alike.
LOSSES = {"BCE": ":", "boundary loss": "-"}
SCORES = ("s1", "s2", "s3", "score")
SHOWN = 16  # pictures
BINS = 41  # an odd number: ½ lies in the middle of a bin
SMALL = 6  # points
GREY = "0.4"


def samples(found):
    """Real pictures, and each variation's as its kept epoch makes them."""
    results = [found.of(name)[0] for name in found.names]
    ceiling = found.metric(results[0], "s3_real")
    real = found.data.test.as_range("unit")
    real = real[np.linspace(0, len(real) - 1, SHOWN).astype(int)]  # those in a row may be alike
    panels = [(f"real pictures\ns3 {ceiling:.3f}", real)]
    for result in results:
        scores = "  ".join(f"{key} {found.metric(result, key):.3f}" for key in SCORES[:3])
        images = read_grid(found.folders[result["id"]] / "samples.png", SIZE)
        panels.append((f"{result['name']}\n{scores}", images))
    rows = math.ceil(len(panels) / 5)
    columns = math.ceil(len(panels) / rows)
    with style() as plt:
        side = PAGE / max(columns, 4)
        size = (side * columns, rows * (side + 0.25))
        figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
        for ax in axes.flat[len(panels) :]:
            ax.axis("off")
        for ax, (title, images) in zip(axes.flat, panels, strict=False):
            show_spaced(ax, images[:SHOWN], 4)
            ax.set_title(title, fontsize=SMALL)
    return figure


def criteria(found):
    """s1, s2 and s3 on validation pictures over epochs: mean over seeds, and its 95 % interval.

    A dot marks where a run ended early; seeds that go on from there do so as thin lines.
    """
    shown = [
        (name, f"C{i}", {"ls": mark, "label": f"{recipe}, {loss}"})
        for i, (recipe, pair) in enumerate(PAIRS.items())
        for name, (loss, mark) in zip(pair, LOSSES.items(), strict=True)
        if found.of(name)
    ]
    if not shown:
        return None
    first = found.of(shown[0][0])[0]
    limits = _limits(found, first["recipe"]["similarity"])
    with style() as plt:
        figure, axes = plt.subplots(1, 3, figsize=(PAGE, 2.7), sharex=True, sharey=True)
        for ax, key in zip(axes, SCORES, strict=False):
            for name, color, look in shown:
                _curve(ax, found, name, key, _fixed(color), look)
            ax.set(xlabel="epoch", title=key, ylim=(0, 1.02))
            ax.xaxis.get_major_locator().set_params(integer=True)
            if key == "s3":
                for (label, level), mark in zip(limits.items(), ("--", (0, (1, 3))), strict=True):
                    ax.axhline(level, color="k", ls=mark, lw=0.9, label=label)
            else:
                high = first["metrics"]["high"][key]
                ax.axhline(high, color=GREY, ls="--", lw=0.6, label="counts as high")
        axes[0].set_ylabel("validation pictures")
        entries = {}
        for ax in axes:
            entries |= {label: h for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
        figure.legend(entries.values(), entries, loc="outside lower center", ncols=4)
    return figure


def gamma(found):
    """Scores of the kept epoch on test pictures against γ; dotted: plain binary cross-entropy."""
    names = found.gammas()
    if len(names) < 2:
        return None
    gammas = list(names)
    with style() as plt:
        figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.6), sharex=True)
        for i, key in enumerate(SCORES):
            ax, color, mark = axes[i // 2], _fixed(f"C{i}"), "os^D"[i]
            seeds = [found.values(names[g], key) for g in gammas]
            means = [mean_interval(values) for values in seeds]
            ax.plot(gammas, [m.mean for m in means], color=color, marker=mark, label=key)
            for at, values, m in zip(gammas, seeds, means, strict=True):
                if m.low is None:
                    continue
                beside = [at + 0.02 * np.ptp(gammas)] * len(values)
                ax.plot(beside, values, ".", color=color, ms=5, alpha=0.5, mew=0)
                ends = [[m.mean - m.low], [m.high - m.mean]]
                ax.errorbar([at], [m.mean], ends, color=color, capsize=2, lw=0.9)
            if found.of("bce"):
                label = f"{key}, BCE"
                ax.axhline(found.mean("bce", key), color=color, ls=":", lw=1.1, label=label)
        for ax in axes:
            ax.set(xlabel="γ", xticks=gammas)
            ax.margins(0.1)
            ax.legend(ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=SMALL)
        axes[0].set_ylabel("test pictures")
    return figure


def landscape(found):
    """D around the boundary, plain cross-entropy above the boundary loss; the first seed of each.

    From the left: how many pictures of each kind D gives which value; D on the way from a generated
    picture to its nearest real one (median and 10 to 90 % of 100 ways; grey: the other loss's
    median); D on the plane through one generated and two real pictures.
    """
    pairs = [pair for pair in PAIRS.values() if all(found.of(name) for name in pair)]
    if not pairs:
        return None
    logits = [_landscape(found, found.of(name)[0]) for name in pairs[-1]]
    with style() as plt:
        figure, axes = plt.subplots(2, 3, figsize=(PAGE, 4.5), sharex="col")
        for i, (row, loss) in enumerate(zip(axes, LOSSES, strict=True)):
            _histogram(row[0], logits[i])
            row[0].set_ylabel(f"{pairs[-1][i]} ({loss})\n% of pictures")
            _ways(row[1], logits[i], logits[1 - i])
            mesh = _plane(row[2], logits[i])
        titles = ("D on pictures", "D on the way to real ones", "D on a plane")
        for ax, title in zip(axes[0], titles, strict=True):
            ax.set_title(title)
        axes[1, 0].set_xlabel("D")
        axes[1, 1].set_xticks([0, 1], ["a generated\npicture", "its nearest\nreal one"])
        axes[1, 2].set_xlabel("to its nearest real picture →")
        for ax in axes[1, :2]:
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2, fontsize=SMALL)
        figure.colorbar(mesh, ax=axes[:, 2], label="D", shrink=0.6, ticks=(0, 0.5, 1))
    return figure


def neighbours(found):
    """The generated pictures most like a test picture, that one, and the training one nearest."""
    results = found.of("repaired") or found.of("gamma-0.8")
    if not results:
        return None
    result = results[0]
    images = read_grid(found.folders[result["id"]] / "neighbours.png", SIZE)
    s = {key: found.metric(result, key) for key in ("s3", "s3_train", "s3_real")}
    n = {key: f"{found.metric(result, key):,}" for key in ("n", "n_real", "n_train")}
    title = (
        f"{result['name']}: s3 of {n['n']} generated pictures is {s['s3']:.3f} against "
        f"{n['n_real']} test pictures, {s['s3_train']:.3f} against {n['n_train']} training "
        f"pictures.\nOf the test pictures among themselves it is {s['s3_real']:.3f}. It rises with "
        "the pictures to choose from. The generated ones most like a test picture:"
    )
    columns = len(images) // 3
    with style() as plt:
        figure, axes = plt.subplots(3, 1, figsize=(PAGE, 3 * PAGE / max(columns, 8) + 0.25))
        labels = ("generated", "nearest test", "nearest training")
        for ax, label, row in zip(axes, labels, np.split(images, 3), strict=True):
            show_spaced(ax, row, columns)
            ax.set_ylabel(label, fontsize=SMALL)
        axes[0].set_title(title, fontsize=SMALL)
    return figure


def loss_forms(literal):
    """What D pays for a generated picture, and its gradient, in two forms that are equal on paper.

    Args:
        literal: callable `(logits) -> (value, gradient)`, float32 `(n,)` each: -log(1 - 4(D - ½)²)
            as it is written, which ends where D rounds to 0 or 1.
    """
    logits = np.linspace(-40.0, 40.0, 4001)
    titles = ("-log(1 - 4(D - ½)²), γ = 1", "its derivative by the logit l")
    exact, stable = _exact(logits), _stable(logits)
    literal = literal(logits.astype("float32"))
    with style() as plt:
        figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.8))
        for i, (ax, title) in enumerate(zip(axes, titles, strict=True)):
            ax.plot(logits, stable[i], color=_fixed("C5"), lw=4, label="from the logit, float32")
            ax.plot(logits, literal[i], color=_fixed("C1"), lw=1.2, label="as written, float32")
            ax.plot(logits, exact[i], color="k", lw=0.5, label="from the logit, float64")
            _shade(ax, logits, literal[i], height=(0.12, 0.5)[i])
            ax.set(title=title, xlabel="l, D's logit of a generated picture", xlim=(-40, 40))
        axes[0].set_ylim(0, 42)
        axes[1].set_ylim(-1.6, 1.6)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _fixed(color):
    """A colour of the style's cycle that stays when the figure is saved outside the style."""
    from matplotlib.colors import to_hex

    return to_hex(color)


# -- over epochs -----------------------------------------------------------------------------------


def _limits(found, similarity):
    """s3 of real pictures and of noise, of the validation pictures that the curves are of."""
    real = found.data.validation.as_range("unit")
    noise = np.random.default_rng(0).random(real.shape, "float32")
    return {
        "real pictures": s3_ceiling(real, "unit", similarity).value,
        "noise": s3(noise, real, "unit", similarity).value,
    }


def _curve(ax, found, name, key, color, look):
    """A score's mean over seeds, in the epochs that all seeds have."""
    curves = [
        history.set_index("epoch")[key].dropna() if key in history else pandas.Series(dtype=float)
        for history in found.history(name)
    ]
    common = pandas.concat(curves, axis=1, join="inner")
    intervals = [mean_interval(values) for values in common.to_numpy()]
    ax.plot(common.index, [m.mean for m in intervals], color=color, **look)
    if len(curves) > 1:
        low, high = ([getattr(m, end) for m in intervals] for end in ("low", "high"))
        ax.fill_between(common.index, low, high, color=color, alpha=0.15, lw=0)
    for result, curve in zip(found.of(name), curves, strict=True):
        if len(common) and len(curve) > len(common):
            rest = curve[curve.index >= common.index[-1]]
            ax.plot(rest.index, rest, color=color, ls=look["ls"], lw=0.6, alpha=0.6)
        if len(curve) and curve.index[-1] < result["recipe"]["epochs"]:
            ax.plot(curve.index[-1:], curve[-1:], "o", color=color, ms=4, mec="white", mew=0.5)


# -- D's landscape ---------------------------------------------------------------------------------


def _landscape(found, result):
    path = found.folders[result["id"]] / "landscape.npz"
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def _histogram(ax, logits):
    """Shares are on a logarithmic axis: one picture far from the rest can be seen."""
    looks = {
        "real": {"color": "C0", "label": "real, test"},
        "train": {"color": "C5", "label": "real, training", "ls": "--"},
        "fake": {"color": "C1", "label": "generated", "histtype": "stepfilled", "alpha": 0.6},
        "noise": {"color": "k", "label": "noise", "ls": ":"},
    }
    most = max(logits[name].size for name in looks)
    for name, look in looks.items():
        values = expit(logits[name].ravel().astype("float64"))
        weights = np.full(values.size, 100 / values.size)
        look = {"histtype": "step", "lw": 1.1, "bins": BINS, "range": (0, 1)} | look
        ax.hist(values, weights=weights, **look)
    ax.set(yscale="log", ylim=(50 / most, 150), xlim=(-0.02, 1.02), xticks=(0, 0.5, 1))
    ax.yaxis.set_major_formatter("{x:g}")


def _ways(ax, logits, others):
    at, color = logits["at"], _fixed("C2")
    (low, middle, high), (_, other, _) = (
        np.quantile(expit(each["ways"].astype("float64")), (0.1, 0.5, 0.9), 0)
        for each in (logits, others)
    )
    ax.axhline(0.5, color="k", lw=0.6)
    ax.fill_between(at, low, high, color=color, alpha=0.2, lw=0, label="10–90 %")
    ax.plot(at, middle, color=color, label="median")
    ax.plot(at, other, color="0.5", lw=0.9, ls="--", label="median, other loss")
    ax.set(ylim=(0, 1.02), yticks=(0, 0.5, 1), xlim=(at[0], at[-1]))


def _plane(ax, logits):
    at, plane = logits["at"], logits["plane"]
    half = (at[1] - at[0]) / 2  # a value stands in the middle of its pixel
    extent = (at[0] - half, at[-1] + half) * 2
    mesh = ax.imshow(expit(plane), vmin=0, vmax=1, origin="lower", extent=extent, aspect="auto")
    if plane.min() < 0 < plane.max():
        ax.contour(at, at, plane, levels=[0.0], colors="w", linewidths=0.8)
    outline = {"boxstyle": "square,pad=0.15", "fc": "w", "ec": "none", "alpha": 0.75}
    points = {"generated": (0, 0), "its nearest": (1, 0), "another real": (0, 1)}
    for label, (x, y) in points.items():
        ax.plot(x, y, "o", color=_fixed("C1"), mec="w", mew=0.7)
        place = {"xytext": (0, 5), "textcoords": "offset points", "ha": "center", "va": "bottom"}
        ax.annotate(label, (x, y), fontsize=SMALL, bbox=outline, **place)
    ax.set(ylabel="to another real one →", xticks=(0, 1), yticks=(0, 1))
    ax.grid(False)
    return mesh


# -- the loss, in two forms ------------------------------------------------------------------------


def _exact(logits):
    """`(value, gradient)` in float64."""
    value = np.logaddexp(0, logits) + np.logaddexp(0, -logits) - 2 * math.log(2)
    return value, np.tanh(logits / 2)


def _stable(logits):
    """The same in float32: softplus(l) + softplus(-l) - 2·log 2."""
    return _exact(logits.astype("float32"))


def _shade(ax, logits, values, height):
    """Shades where values are not finite, on either side, and says what they are."""
    for side in (-1, 1):
        bad = ~np.isfinite(values) & (np.sign(logits) == side)
        if not bad.any():
            continue
        first = side * np.abs(logits[bad]).min()
        what = values[bad][0]
        what = "not a\nnumber" if np.isnan(what) else "−∞" if what < 0 else "∞"
        ax.axvspan(first, side * 40, color="C1", alpha=0.12, lw=0)
        text = f"{what}\nfrom l = {first:.1f} on".replace("-", "−")
        middle = ((first + side * 40) / 2, height)
        look = {"ha": "center", "va": "center", "fontsize": SMALL}
        ax.text(*middle, text, transform=ax.get_xaxis_transform(), **look)
