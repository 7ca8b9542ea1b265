"""Scores of a saved model, each beside its ceiling and its floor: what `ganlib score` asks."""

import inspect

import numpy as np
from tqdm.auto import tqdm

from ganlib import apply
from ganlib.apply import check_generator, discriminate, sample_images
from ganlib.data import DataError, NoSplitError, check, load
from ganlib.features import networks
from ganlib.features.digits import train_classifier
from ganlib.images import upscale
from ganlib.metrics import boundary, fidelity, super_resolution
from ganlib.metrics.digits import digit_quality, noise_images
from ganlib.metrics.segmentation import baselines, score_masks
from ganlib.studies.digits import load_data
from ganlib.studies.srgan import enlarge_linearly, linear_kernel

LEAST_REAL = 50  # images in each half of the real ones: fewer say nothing


def score(kind, path, data, **options):
    """Scores a saved model (.keras) of one of `KINDS` by the measures of its kind.

    `data` is what `ganlib.data.load` takes. Options are of the kind's own function, None for its
    default; foreign ones are a ValueError.
    """
    read, measure = KINDS[kind]
    known = inspect.signature(measure).parameters
    given = {name: value for name, value in options.items() if value is not None}
    if foreign := given.keys() - known.keys() - {"progress"}:
        raise ValueError(f"`ganlib score {kind}` has no option --{min(foreign)}: leave it out.")
    return measure(read(path), data, **{name: given[name] for name in known if name in given})


def describe(scores):
    """Scores as text: a table, the model beside its ceiling and floor, and what to know of them."""
    import pandas

    model = {**scores, **scores.get("generated", {}), **scores.get("model", {})}
    others = {name: scores[name] for name in ("bicubic", "linear") if name in scores}
    rows = {"model": model, **scores.get("baselines", others)}
    floats = {n: {k: v for k, v in row.items() if isinstance(v, float)} for n, row in rows.items()}
    lines = [pandas.DataFrame(floats).dropna().round(4).to_string()]
    facts = {**scores, **scores.get("classifier", {})}
    told = [f"{k} {v}" for k, v in facts.items() if isinstance(v, str | int) or k == "accuracy"]
    lines.append(", ".join(told))
    if scores.get("s3", 0) > scores.get("s3_real", 1):
        lines.append("s3 above the ceiling is not better than real: smooth pictures have it.")
    return "\n".join([*lines, *(f"Caution: {caution}" for caution in scores.get("cautions", ()))])


def score_gan(gan, real, n=None, seed=0, network=None, progress=False):
    """Scores a GAN against one half of the real images (the test part, if any).

    Args:
        gan: `Adversarial`, or a generator of one, that ends in sigmoid or tanh.
        real: what `ganlib.data.load` takes; brought to the generator's size and channels.
        n, seed: ints, pictures to generate (None: as many as the reference); of all that is drawn.
        network: name for `networks.get`. None: for labelled pictures of 28×28×1 a digit classifier
            trained on their training part; else "auto".

    Returns:
        dict as of `fidelity.evaluate`; `baselines` has the same of the other half and of noise.
        Digits also have `classifier`, and `digit_quality` in `generated` and the baselines.
    """
    check_generator(gan)
    shape = tuple(getattr(gan, "sampler", gan).output_shape[1:])
    classifier = None
    if network is None and shape == (28, 28, 1) and _held_out(real, shape).labels is not None:
        data = load_data(real)
        classifier = train_classifier(data.train, data.test)
        reference, other, noise = data.reference, data.real, noise_images(len(data.real))
        n = n or len(other)
    else:
        held_out = check(_held_out(real, shape), minimum=2 * LEAST_REAL)
        reference, other = held_out.split(0.5, seed=seed)
        n = n or len(reference)
        noise = np.random.default_rng(seed).random((n, *shape), dtype="float32")
    eye = networks.get(classifier or network or "auto")
    reference, other = reference.as_range("unit"), other.as_range("unit")
    features, scores = eye(reference, "unit", progress).features, {}
    pictures = {"generated": sample_images(gan, n, seed), "real": other, "noise": noise}
    for name, images in pictures.items():
        seen = eye(images, "unit", progress)
        scores[name] = fidelity.evaluate(features, seen.features, eye, seen.probabilities, seed)
    if not classifier:
        return {**scores.pop("generated"), "baselines": scores}
    quality = {name: digit_quality(classifier, x, reference) for name, x in pictures.items()}
    found = {"baselines": {name: scores[name] | quality[name] for name in ("real", "noise")}}
    found["classifier"] = {"accuracy": classifier.accuracy, "n": classifier.n}
    return {**scores["generated"], "generated": quality["generated"], **found}


def _held_out(real, shape):
    height, width, channels = shape
    if height != width:
        raise DataError(f"Only square pictures can be scored. Received: a generator of {shape}")
    return _test_part(real, size=height, channels=channels)[0]


def _test_part(data, **wanted):  # or all of a set without parts, and which of both it is
    try:
        return load(data, "test", **wanted), "test"
    except NoSplitError:
        return load(data, **wanted), "all"


def score_boundary_gan(gan, real, n=None, seed=0):
    """Scores a boundary GAN, an `Adversarial`, as `ganlib.metrics.boundary.score_boundary`.

    The others are as for `score_gan`; `n` is by default the number of real pictures.
    """
    check_generator(gan)
    real = check(_held_out(real, gan.generator.output_shape[1:]), minimum=2).as_range("unit")
    fake = sample_images(gan, n or len(real), seed)
    logits = [discriminate(gan, pictures) for pictures in (real, fake)]
    if not all(np.isfinite(values).all() for values in (fake, *logits)):
        raise DataError("G's pictures and D's logits must be finite: score a model saved earlier.")
    how = {"value_range": "unit", "similarity": "correlation", "seed": seed}
    return boundary.score_boundary(*logits, fake, real, **how)


def score_upscaler(model, high):
    """Scores a super-resolution model on high-resolution photographs, beside two baselines.

    The linear one is fitted to embedded photographs.

    Args:
        model: as `ganlib.apply.load_upscaler` returns it.
        high: what `ganlib.data.load` takes; of "photos" the test part is scored.

    Returns:
        dict of "model", "bicubic", "linear": means of `super_resolution.FIDELITY`, PSNR in dB; `n`.
    """
    scale = apply.scale_of(model)
    wanted = {"channels": 3, "any_size": True}
    part = "test" if str(high) in ("photos", "embedded:photos") else None
    photos, scores = load(high, part, **wanted), {}
    kernel = linear_kernel(load("embedded:photos", "train", **wanted), scale)
    upscalers = {
        "model": lambda low: apply.upscale_image(model, low),
        "bicubic": lambda low: upscale(low, scale),
        "linear": lambda low: enlarge_linearly(low, kernel, scale),
    }
    for name, enlarge in upscalers.items():
        means = super_resolution.mean_scores(super_resolution.evaluate(enlarge, photos, scale))
        scores[name] = {key: means[key] for key in super_resolution.FIDELITY}
    return {**scores, "n": len(photos)}


def score_segmenter(model, data, progress=False):
    """Scores a segmentation model on images with masks, beside what needs no look at the image.

    Args:
        model: as `ganlib.apply.load_segmenter` returns it.
        data: what `ganlib.data.load` takes, with masks; the test part, where the set has one.

    Returns:
        dict as of `score_masks`, with `data`, `synthetic`, `part` (test or all) and `baselines`.
    """
    masked, part = _test_part(data, channels=apply.channels_of(model), masks=True)
    images = tqdm(masked.images, desc="segment", unit="image", disable=not progress)
    found = [apply.segment(model, image) for image in images]
    about = {"data": masked.name, "synthetic": masked.synthetic, "part": part}
    return {**score_masks(found, masked.masks), **about, "baselines": baselines(masked.masks)}


KINDS = {
    "gan": (apply.load_model, score_gan),
    "boundary": (apply.load_gan, score_boundary_gan),
    "sr": (apply.load_upscaler, score_upscaler),
    "segmentation": (apply.load_segmenter, score_segmenter),
}
