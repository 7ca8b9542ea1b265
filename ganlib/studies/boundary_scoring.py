"""What a trained boundary GAN is worth: s1, s2, s3 beside their limits, and D's landscape."""

import time

import numpy as np

from ganlib.apply import discriminate, draw_latents, make_images, save_grid
from ganlib.features import networks
from ganlib.metrics import fidelity
from ganlib.metrics.boundary import SIMILARITIES, most_alike, s3, score_boundary

SCORED = 1  # seed of latents; those of 0 chose the epoch
SHOWN = 36  # pictures of a sample grid
NEIGHBOURS = 8  # generated pictures shown beside their nearest real ones
PATHS, STEPS = 100, 41  # of D's landscape: ways from a picture to its nearest real one
FROM, TO = -0.5, 1.5  # where a way begins and ends: 0 is the generated picture, 1 the real one
SLOW = {"ssim": 300}  # most pictures on either side, of a similarity that takes long


def examine(gan, best, recipe, data, run):
    """Scores the last and the best epoch on the test part, and saves model and pictures.

    Args:
        gan: trained `Adversarial`; gets the best epoch's weights.
        best: `ganlib.callbacks.best.KeepBest`.
        recipe: `ganlib.studies.boundary.Recipe`.
        data: `ganlib.studies.boundary.CellData`.
        run: `ganlib.experiment.study.Run`.

    Returns:
        dict with
        "scores": of "best" and "last" (None where weights are not finite), as `score_boundary`;
        "similarities": s3 of the best by each similarity;
        "fidelity": KID, precision, recall and others of the best, and of real pictures;
        "s3_seconds": float, how long an exact s3 takes.
    """
    latents = draw_latents(gan, recipe.samples, SCORED)
    images = make_images(gan.sampler, latents)
    scores = {"last": _scored(gan, images, data, recipe)}
    if scores["last"]:  # when D has settled; an epoch that s2 chose flatters BCE
        _save_landscape(gan, images, data, recipe, run)
    best.restore()
    gan.save(run.model)
    images = make_images(gan.sampler, latents)
    scores["best"] = _scored(gan, images, data, recipe)
    if not scores["last"]:
        _save_landscape(gan, images, data, recipe, run)
    save_grid(images[:SHOWN], run.path / "samples.png")
    _save_neighbours(images, data, recipe, run)
    start = time.perf_counter()
    s3(images, data.test.as_range("unit"), "unit", recipe.similarity)
    seconds = time.perf_counter() - start
    return {
        "scores": scores,
        "similarities": {name: _by(name, images, data) for name in SIMILARITIES},
        "fidelity": _fidelity(images, data, recipe, run.path.parent),
        "s3_seconds": seconds,
    }


def _scored(gan, images, data, recipe):
    """`score_boundary` on the test part, or None where something is not finite."""
    test, train = (part.as_range("unit") for part in (data.test, data.train))
    if not np.isfinite(images).all():
        return None
    logits = [discriminate(gan, x) for x in (test, images)]
    if not all(np.isfinite(x).all() for x in logits):
        return None
    how = {"value_range": "unit", "similarity": recipe.similarity}
    return score_boundary(*logits, images, test, train, **how)


def _by(similarity, images, data):
    most = SLOW.get(similarity)
    return s3(images[:most], data.test.as_range("unit")[:most], "unit", similarity).value


def _fidelity(images, data, recipe, folder):
    """Scores over a network's features, of the generated pictures and of validation pictures."""
    eye = networks.get(recipe.network)
    test, real = (data.seen(part, recipe.network, folder) for part in ("test", "validation"))
    scored = {"generated": eye(images, "unit"), "real": real}
    return {
        name: fidelity.evaluate(test.features, seen.features, eye, seen.probabilities)
        for name, seen in scored.items()
    }


def _save_neighbours(images, data, recipe, run):
    """The generated pictures most like a test picture, that one, and the nearest training one."""
    parts = [part.as_range("unit") for part in (data.test, data.train)]
    (near, values), (trained, _) = (
        most_alike(images, part, "unit", recipe.similarity) for part in parts
    )
    order = np.argsort(-values)
    # One picture each: some real pictures are the nearest of many.
    firsts = np.sort(np.unique(near[order], return_index=True)[1])[:NEIGHBOURS]
    chosen = order[firsts]
    rows = [images[chosen], parts[0][near[chosen]], parts[1][trained[chosen]]]
    save_grid(np.concatenate(rows), run.path / "neighbours.png", len(chosen))


def _save_landscape(gan, images, data, recipe, run):
    """D's logits on sets of pictures, and along the way from generated ones to their nearest.

    landscape.npz holds "real", "train", "fake" and "noise", logits `(n,)`; "at" `(STEPS,)`, places
    on the way, 0 the generated and 1 the real picture; "ways" `(PATHS, STEPS)`, logits there; and
    "plane" `(STEPS, STEPS)`, logits of the plane through a generated picture (0, 0), its nearest
    real one (1, 0) and another real one (0, 1), a row for each place in the second direction.
    """
    test = data.test.as_range("unit")
    train = data.train.subset(slice(len(test))).as_range("unit")
    noise = np.random.default_rng(0).random(test.shape, dtype="float32")
    sets = {"real": test, "train": train, "fake": images, "noise": noise}
    logits = {name: discriminate(gan, pictures) for name, pictures in sets.items()}
    fake = images[:PATHS]
    indices = most_alike(fake, test, "unit", recipe.similarity)[0]
    near, other = test[indices], test[indices[0] - 1]
    at = np.linspace(FROM, TO, STEPS, dtype="float32")
    across = at[:, None, None, None]
    ways = [a + across * (b - a) for a, b in zip(fake, near, strict=True)]
    sides = near[0] - fake[0], other - fake[0]
    plane = [fake[0] + across * sides[0] + y * sides[1] for y in at]
    for name, pictures in (("ways", ways), ("plane", plane)):
        pictures = np.clip(np.concatenate(pictures), 0.0, 1.0)
        logits[name] = discriminate(gan, pictures).reshape(-1, STEPS)
    np.savez_compressed(run.path / "landscape.npz", at=at, **logits)
