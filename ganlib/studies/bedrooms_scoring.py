"""What a trained bedroom GAN is worth: quality, diversity, memory."""

import dataclasses

import numpy as np

from ganlib.apply import draw_latents, interpolate, make_images, save_grid
from ganlib.callbacks.best import score
from ganlib.data import ImageSet
from ganlib.data.room_styles import style_coverage
from ganlib.data.rooms import SIZES
from ganlib.features import networks
from ganlib.metrics import fidelity
from ganlib.metrics.neighbours import nearest

NEIGHBOURS = 8  # generated pictures shown beside their nearest training pictures
PATHS, STEPS = 4, 8  # of the latent interpolation
COUNTED = 1152  # generated rooms whose styles are counted: as many as there are styles
SCORED, SHOWN = 1, 2  # seeds of latents; those of 0 chose the epoch


def examine(gan, best, recipe, data, run, folder):
    """Scores the last and the best epoch on the test part, and saves model and pictures.

    Args:
        gan: trained `Adversarial`; its sampler gets the best epoch's weights.
        best: `ganlib.callbacks.best.BestByKID`.
        recipe: `ganlib.studies.bedrooms.Recipe`.
        data: `ganlib.studies.bedrooms.BedroomData`.
        run: `ganlib.experiment.study.Run`.
        folder: where features are kept.

    Returns:
        dict with
        "scores": of "best" and "last" (None where weights are not finite), and, where the generator
        is averaged, of the last one without its average, "unaveraged";
        "truncation": list of scores with their "truncation";
        "neighbours": how near the training pictures the generated ones are, beside held-out ones;
        "spread": float, standard deviation of the features over that of real ones;
        "styles": counts of style factors, for rooms alone.
    """
    eye = networks.get(recipe.network)
    real = data.seen("test", recipe.network, folder).features
    latents = draw_latents(gan, recipe.samples, SCORED)
    scores = {}
    if best.epoch != recipe.epochs:
        scores["last"] = score(gan.sampler, latents, eye, real)
    if gan.average is not None:
        scores["unaveraged"] = score(gan.generator, latents, eye, real)
    best.restore()
    gan.save(run.model)
    images = make_images(gan.sampler, latents)
    seen = eye(images, "unit")
    scores["best"] = fidelity.evaluate(real, seen.features, eye, seen.probabilities)
    if best.epoch == recipe.epochs:
        scores["last"] = scores["best"]
    ends = draw_latents(gan, 2 * PATHS, SHOWN)
    path = interpolate(ends[:PATHS], ends[PATHS:], STEPS)
    between = make_images(gan.sampler, path.reshape(PATHS * STEPS, *gan.latent_shape))
    save_grid(between, run.path / "interpolation.png", STEPS)
    return {
        "scores": scores,
        "truncation": [_truncated(gan, t, eye, real, recipe, data) for t in recipe.truncations],
        "neighbours": _neighbours(images, seen.features, recipe, data, run, folder),
        "spread": float(np.sqrt(seen.features.var(axis=0).sum() / real.var(axis=0).sum())),
        "styles": _styles(gan, data),
    }


def _truncated(gan, truncation, eye, real, recipe, data):
    latents = draw_latents(gan, recipe.samples, SCORED, truncation)
    scores = score(gan.sampler, latents, eye, real)
    return {"truncation": truncation, **scores, "styles": _styles(gan, data, truncation)}


def _neighbours(images, features, recipe, data, run, folder):
    """Distances to the nearest training pictures; saves the nearest pairs of all."""
    train = data.seen("train", recipe.network, folder).features
    held_out = data.seen("validation", recipe.network, folder).features
    indices, distances = (part[:, 0] for part in nearest(features, train))
    usual = nearest(held_out, train)[1][:, 0]
    order = np.argsort(distances)
    # One picture each: some training pictures are the nearest of many.
    firsts = np.sort(np.unique(indices[order], return_index=True)[1])[:NEIGHBOURS]
    closest = order[firsts]
    pairs = np.concatenate([images[closest], data.train.subset(indices[closest]).as_range("unit")])
    save_grid(pairs, run.path / "neighbours.png", len(closest))
    return {
        "distance": float(np.median(distances)),
        "held_out_distance": float(np.median(usual)),
        # Real pictures never trained on: one in a hundred of them is as near by chance.
        "copies": float((distances < np.quantile(usual, 0.01)).mean()),
        "n": len(images),
    }


def _styles(gan, data, truncation=None):
    """Which styles of room there are among as many pictures as there are styles."""
    if data.name != "rooms" or gan.sampler.output_shape[1] not in SIZES:
        return None
    images = make_images(gan.sampler, draw_latents(gan, COUNTED, SCORED, truncation))
    found = dataclasses.asdict(style_coverage(ImageSet(images, value_range="unit")))
    found["missing_styles"] = len(found["missing_styles"])
    return found
