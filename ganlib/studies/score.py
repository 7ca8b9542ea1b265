"""Scores of a saved model, each beside its ceiling and its floor: what `ganlib score` asks."""

import inspect

import numpy as np

from ganlib.apply import (
    channels_of,
    check_generator,
    discriminate,
    load_gan,
    load_model,
    load_segmenter,
    load_upscaler,
    sample_images,
    scale_of,
    segment,
    upscale_image,
)
from ganlib.data import DataError, NoSplitError, check, load
from ganlib.features import networks
from ganlib.features.digits import train_classifier
from ganlib.images import upscale
from ganlib.metrics import boundary, fidelity, super_resolution
from ganlib.metrics.digits import digit_quality, noise_images
from ganlib.metrics.segmentation import baselines, check_threshold, score_masks
from ganlib.studies.digits import load_data
from ganlib.studies.srgan import enlarge_linearly, linear_kernel

LEAST_REAL = 50  # images in each half of the real ones: fewer say nothing


def score(kind, path, data, **options):
    """Scores a saved model by the measures of its kind.

    Args:
        kind: str, one of `KINDS`.
        path: of a .keras file.
        data: what `ganlib.data.load` takes.
        **options: of the kind's own function; None for its default.

    Raises:
        DataError: the data or the model can't be used.
        ValueError: an option is not for this kind, or out of its range.
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
    """Scores a GAN against real images, beside more real images and noise.

    The real images (the test part, where the set has one) are halved: one half is the reference of
    every score, the other is scored like a generator's output and gives the row "real".

    Args:
        gan: `Adversarial`, or a generator of one, that ends in sigmoid or tanh.
        real: what `ganlib.data.load` takes; brought to the generator's size and channels.
        n: int, pictures to generate; by default as many as there are in the reference.
        seed: int, of the latents and of the halving.
        network: name for `ganlib.features.networks.get`. `None`: for labelled pictures of
            28×28×1 a digit classifier trained on their training part; else "auto".
        progress: bool, show a progress bar.

    Returns:
        dict as `ganlib.metrics.fidelity.evaluate` returns it, and `baselines`, a dict with the
        same for `real` and for `noise`. For digits also `generated` and `classifier`, and in the
        baselines what `ganlib.metrics.digits.digit_quality` measures.

    """
    check_generator(gan)
    shape = tuple(getattr(gan, "sampler", gan).output_shape[1:])
    if network is None and shape == (28, 28, 1) and load_held_out(real, shape).labels is not None:
        return _score_digits(gan, real, n, seed)
    eye = networks.get(network or "auto")
    images = check(load_held_out(real, shape), minimum=2 * LEAST_REAL)
    reference, other = images.split(0.5, seed=seed)
    n = n or len(reference)
    noise = np.random.default_rng(seed).random((n, *shape), dtype="float32")
    seen = {
        "fake": eye(sample_images(gan, n, seed), "unit", progress),
        "real": eye(other, progress=progress),
        "noise": eye(noise, "unit", progress),
    }
    features = eye(reference, progress=progress).features
    scores = {
        name: fidelity.evaluate(features, s.features, eye, s.probabilities, seed)
        for name, s in seen.items()
    }
    return {**scores["fake"], "baselines": {name: scores[name] for name in ("real", "noise")}}


def load_held_out(real, shape):
    """The test part of a set, or all of one without parts, as pictures of a generator's shape."""
    height, width, channels = shape
    if height != width:
        raise DataError(f"Only square pictures can be scored. Received: a generator of {shape}")
    try:
        return load(real, split="test", size=height, channels=channels)
    except NoSplitError:
        return load(real, size=height, channels=channels)


def _score_digits(gan, real, n, seed):
    data = load_data(real)
    classifier = train_classifier(data.train, data.test)
    eye = networks.get(classifier)
    reference, held_out = data.reference.as_range("unit"), data.real.as_range("unit")
    pictures = {
        "generated": sample_images(gan, n or len(held_out), seed),
        "real": held_out,
        "noise": noise_images(len(held_out)),
    }
    features, scores = eye(reference, "unit").features, {}
    for name, images in pictures.items():
        seen = eye(images, "unit")
        scores[name] = fidelity.evaluate(features, seen.features, eye, seen.probabilities, seed)
        pictures[name] = digit_quality(classifier, images, reference)
    return {
        **scores["generated"],
        "generated": pictures["generated"],
        "baselines": {name: {**scores[name], **pictures[name]} for name in ("real", "noise")},
        "classifier": {"accuracy": classifier.accuracy, "n": classifier.n},
    }


def score_boundary_gan(gan, real, n=None, seed=0, similarity="correlation"):
    """Scores a boundary GAN by s1, s2 and s3, and s3 beside its ceiling and its floor.

    Args:
        gan: `Adversarial`. D's sigmoid is taken to be the probability of being real.
        real, n, seed: as for `score_gan`; `n` is by default the number of real pictures.
        similarity: str, one of `ganlib.metrics.boundary.SIMILARITIES`.

    Returns:
        dict as `ganlib.metrics.boundary.score_boundary` returns it, without `train`.
    """
    if similarity not in boundary.SIMILARITIES:  # before any picture is made
        raise ValueError(
            f"`similarity` must be one of {boundary.SIMILARITIES}. Received: {similarity!r}"
        )
    check_generator(gan)
    real = check(load_held_out(real, gan.generator.output_shape[1:]), minimum=2).as_range("unit")
    fake = sample_images(gan, n or len(real), seed)
    logits = [discriminate(gan, pictures) for pictures in (real, fake)]
    for name, values in (("generator's pictures", fake), ("discriminator's logits", logits)):
        if not all(np.isfinite(part).all() for part in values):
            raise DataError(
                f"The {name} must be finite: its training has diverged, so score a model saved "
                "earlier, or train again with a lower learning rate. Received: NaN or infinities"
            )
    return boundary.score_boundary(
        *logits, fake, real, value_range="unit", similarity=similarity, seed=seed
    )


def score_upscaler(model, high, scale=None):
    """Scores a super-resolution model on high-resolution photographs, beside two baselines.

    Each picture is made small by antialiased bicubic downscaling and 8-bit rounding, then enlarged;
    `scale` pixels at the border are left out. The linear upscaler is fitted to the embedded
    photographs' training part, never to `high`.

    Args:
        model: as `ganlib.apply.load_upscaler` returns it.
        high: what `ganlib.data.load` takes; of "photos" the test part is scored.
        scale: int, the model's; None: whatever that is.

    Returns:
        dict with `model`, `bicubic`, `linear`, each a dict of `psnr_y`, `psnr_rgb` (dB), `ssim_y`,
        `ssim_rgb`, means over the pictures; and `n`, their number.
    """
    if scale not in (None, actual := scale_of(model)):
        raise DataError(f"The model enlarges by {actual}: leave out --scale. Received: {scale}")
    photographs = {"channels": 3, "any_size": True}
    part = "test" if str(high) in ("photos", "embedded:photos") else None
    photos = load(high, part, **photographs)
    kernel = linear_kernel(load("embedded:photos", "train", **photographs), actual)
    upscalers = {
        "model": lambda low: upscale_image(model, low),
        "bicubic": lambda low: upscale(low, actual),
        "linear": lambda low: enlarge_linearly(low, kernel, actual),
    }
    scores = {}
    for name, enlarge in upscalers.items():
        try:
            means = super_resolution.mean_scores(super_resolution.evaluate(enlarge, photos, actual))
        except DataError:  # of the photographs
            raise
        except ValueError as error:
            raise DataError(f"The pictures of {name!r} can't be scored. {error}") from error
        scores[name] = {key: means[key] for key in super_resolution.FIDELITY}
    return {**scores, "n": len(photos)}


def score_segmenter(model, data, threshold=0.5, progress=False):
    """Scores a segmentation model on images with masks, beside what needs no look at the image.

    Each image is segmented whole, whatever its size; all pixels of all images count alike.

    Args:
        model: as `ganlib.apply.load_segmenter` returns it.
        data: what `ganlib.data.load` takes, with masks; the test part, where the set has one.
        threshold: float in (0, 1), the probability above which a pixel counts as foreground.
        progress: bool, show a progress bar.

    Returns:
        dict with `jaccard`, `jaccard_soft`, `dice`, `dice_soft`, `foreground` (its share in truth)
        and `n` as of `ganlib.metrics.segmentation.score_masks`; `threshold`; `data`, the set's
        name, and `synthetic`; `part`, "test" or "all"; `baselines`, the same four scores of
        "background", "foreground" and "constant" (0.5 everywhere).
    """
    from tqdm.auto import tqdm

    check_threshold(threshold)  # before any work
    wanted = {"channels": channels_of(model), "masks": True}
    try:
        masked, part = load(data, "test", **wanted), "test"
    except NoSplitError:
        masked, part = load(data, None, **wanted), "all"
    images = tqdm(masked.images, desc="segment", unit="image", disable=not progress)
    found = [segment(model, image) for image in images]
    return {
        **score_masks(found, masked.masks, threshold),
        "threshold": threshold,
        "data": masked.name,
        "synthetic": masked.synthetic,
        "part": part,
        "baselines": baselines(masked.masks),
    }


KINDS = {
    "gan": (load_model, score_gan),
    "boundary": (load_gan, score_boundary_gan),
    "sr": (load_upscaler, score_upscaler),
    "segmentation": (load_segmenter, score_segmenter),
}
