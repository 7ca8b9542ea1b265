"""Figures of the boundary study; `found` is a `BoundaryResults`.

Each is a matplotlib figure, or None where the trials that it needs are missing.
"""

import numpy as np
from scipy.special import expit

from ganlib.apply import read_grid
from ganlib.metrics.boundary import s3, s3_ceiling
from ganlib.report import figures as draw
from ganlib.studies.boundary import SIZE

BCE, BOUNDARY, REPAIRED = "bce", "gamma-0.8", "repaired"
# Each recipe with plain cross-entropy and with the boundary loss, all else alike.
PAIRS = {"write-up": (BCE, BOUNDARY), "repaired": ("repaired-bce", REPAIRED)}
LOSSES = {"BCE": ":", "boundary loss": "-"}
SCORES = ("s1", "s2", "s3", "score")


def samples(found):
    """Real pictures, and each variation's as its kept epoch makes them."""
    real = found.data.test.as_range("unit")
    real = real[np.linspace(0, len(real) - 1, 16).astype(int)]  # those in a row may be alike
    panels = {f"real pictures\ns3 {found.metric(found.results[0], 's3_real'):.3f}": real}
    for name in found.names:
        result = found.of(name)[0]
        scores = "  ".join(f"{key} {found.metric(result, key):.3f}" for key in ("s1", "s2", "s3"))
        path = found.folders[result["id"]] / "samples.png"
        panels[f"{name}\n{scores}"] = read_grid(path, SIZE)
    return draw.picture_panels(panels)


def criteria(found):
    """s1, s2 and s3 on validation pictures over epochs: mean over seeds, and its 95 % interval.

    A dot marks where a run ended early; seeds that go on from there do so as thin lines.
    """
    shown = [
        (name, f"C{i}", line, f"{recipe}, {loss}")
        for i, (recipe, pair) in enumerate(PAIRS.items())
        for name, (loss, line) in zip(pair, LOSSES.items(), strict=True)
        if found.of(name)
    ]
    if not shown:
        return None
    first, real = found.of(shown[0][0])[0], found.data.validation.as_range("unit")
    noise = np.random.default_rng(0).random(real.shape, "float32")
    how = ("unit", first["recipe"]["similarity"])
    limits = {"real pictures": s3_ceiling(real, *how), "noise": s3(noise, real, *how)}
    with draw.style() as plt:
        shared = {"sharex": True, "sharey": True}
        figure, axes = plt.subplots(1, 3, figsize=(draw.PAGE, 2.7), **shared)
        for ax, key in zip(axes, ("s1", "s2", "s3"), strict=True):
            for name, color, line, label in shown:
                curves = draw.curve(ax, found.history(name), key, label, color, line)
                for curve in curves:
                    if len(curve) and curve.index[-1] < first["recipe"]["epochs"]:
                        ax.plot(curve.index[-1:], curve[-1:], "o", color=color, mec="w", mew=0.5)
            ax.set(xlabel="epoch", title=key, ylim=(0, 1.02))
        for (label, level), line in zip(limits.items(), ("--", ":"), strict=True):
            axes[2].axhline(level, color="k", ls=line, lw=0.9, label=label)
        for ax, key in zip(axes, ("s1", "s2"), strict=False):
            high = first["metrics"]["high"][key]
            ax.axhline(high, color="0.4", ls="--", lw=0.6, label="counts as high")
        axes[0].set_ylabel("validation pictures")
        draw.legend_below(figure, axes, 4)
    return figure


def gamma(found):
    """Scores of the kept epoch on test pictures against γ; dotted: plain binary cross-entropy."""
    if len(names := found.gammas()) < 2:
        return None
    with draw.style() as plt:
        figure, axes = plt.subplots(1, 2, figsize=(draw.PAGE, 2.6), sharex=True)
        for i, key in enumerate(SCORES):
            ax, color = axes[i // 2], f"C{i}"
            means = [found.interval(name, key) for name in names.values()]
            ends = [(m.mean - m.low, m.high - m.mean) if m.n > 1 else (0, 0) for m in means]
            look = {"color": color, "marker": "os^D"[i], "capsize": 2, "label": key}
            ax.errorbar(list(names), [m.mean for m in means], np.transpose(ends), **look)
            if found.of(BCE):
                level = found.mean(BCE, key)
                ax.axhline(level, color=color, ls=":", lw=1.1, label=f"{key}, BCE")
        for ax in axes:
            ax.set(xlabel="γ", xticks=list(names))
            ax.legend(ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.2))
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
    logits = []
    for name in pairs[-1]:
        path = found.folders[found.of(name)[0]["id"]] / "landscape.npz"
        with np.load(path, allow_pickle=False) as file:
            logits.append({key: file[key].astype("float64") for key in file})
    with draw.style() as plt:
        figure, axes = plt.subplots(2, 3, figsize=(draw.PAGE, 4.5), sharex="col")
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
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2)
        figure.colorbar(mesh, ax=axes[:, 2], label="D", shrink=0.6, ticks=(0, 0.5, 1))
    return figure


def _histogram(ax, logits):
    looks = {
        "real": {"color": "C0", "label": "real, test"},
        "train": {"color": "C5", "label": "real, training", "ls": "--"},
        "fake": {"color": "C1", "label": "generated", "histtype": "stepfilled", "alpha": 0.6},
        "noise": {"color": "k", "label": "noise", "ls": ":"},
    }
    for name, look in looks.items():
        values = expit(logits[name].ravel())
        shares = np.full(values.size, 100 / values.size)
        # An odd number of bins: ½ lies in the middle of one.
        look = {"histtype": "step", "lw": 1.1, "range": (0, 1)} | look
        ax.hist(values, 41, weights=shares, **look)
    most = max(logits[name].size for name in looks)
    # Shares are on a logarithmic axis: one picture far from the rest can be seen.
    ax.set(yscale="log", ylim=(50 / most, 150), xlim=(-0.02, 1.02), xticks=(0, 0.5, 1))
    ax.yaxis.set_major_formatter("{x:g}")


def _ways(ax, logits, others):
    at = logits["at"]
    low, middle, high = np.quantile(expit(logits["ways"]), (0.1, 0.5, 0.9), axis=0)
    ax.axhline(0.5, color="k", lw=0.6)
    ax.fill_between(at, low, high, color="C2", alpha=0.2, lw=0, label="10–90 %")
    ax.plot(at, middle, color="C2", label="median")
    other = np.median(expit(others["ways"]), axis=0)
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
    place = {"xytext": (0, 5), "textcoords": "offset points", "ha": "center", "va": "bottom"}
    for label, at in {"generated": (0, 0), "its nearest": (1, 0), "another real": (0, 1)}.items():
        ax.plot(*at, "o", color="C1", mec="w", mew=0.7)
        ax.annotate(label, at, fontsize=draw.SMALL, bbox=outline, **place)
    ax.set(ylabel="to another real one →", xticks=(0, 1), yticks=(0, 1))
    ax.grid(False)
    return mesh


def neighbours(found):
    """The generated pictures most like a test picture, that one, and the training one nearest."""
    if not (results := found.of(REPAIRED) or found.of(BOUNDARY)):
        return None
    best = results[0]["metrics"]["scores"]["best"]
    title = (
        f"{results[0]['name']}: s3 of {best['n']:,} generated pictures is {best['s3']:.3f} against "
        f"{best['n_real']:,} test pictures, {best['s3_train']:.3f} against {best['n_train']:,} "
        f"training pictures.\nOf the test pictures among themselves it is {best['s3_real']:.3f}. "
        "It rises with the pictures to choose from. The generated ones most like a test picture:"
    )
    images = read_grid(found.folders[results[0]["id"]] / "neighbours.png", SIZE)
    labels = ("generated", "nearest test", "nearest training")
    return draw.picture_rows(dict(zip(labels, np.split(images, 3), strict=True)), title)


FIGURES = {figure.__name__: figure for figure in (samples, criteria, gamma, landscape, neighbours)}
