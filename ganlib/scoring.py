"""Scores of a saved model, each beside its ceiling and its floor."""

import numpy as np

from ganlib.data import DataError, NoSplitError, check, load, load_masks, load_photos
from ganlib.features import networks
from ganlib.features.digits import train_classifier
from ganlib.images import upscale
from ganlib.metrics import boundary, fidelity, super_resolution
from ganlib.metrics.digits import digit_quality, noise_images
from ganlib.metrics.segmentation import baselines, check_threshold, score_masks
from ganlib.sampling import discriminate, sample_images
from ganlib.segmentation import channels_of, segment
from ganlib.studies.digits import load_data
from ganlib.studies.srgan import best_linear_kernel, enlarge_linearly
from ganlib.upscaling import scale_of, upscale_image

LEAST_REAL = 50  # images in each half of the real ones: fewer say nothing


def score_gan(gan, real, n=None, seed=0, network=None, progress=False):
    """Scores a GAN against real images, beside more real images and noise.

    The real images (the test part, where the set has one) are halved: one half is the reference of
    every score, the other is scored like a generator's output and gives the row "real".

    Args:
        gan: `ganlib.adversarial.Adversarial` that ends in sigmoid or tanh.
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

    Raises:
        DataError: the data or the model can't be used.
        ValueError: the network is unknown.
    """
    shape = tuple(gan.generator.output_shape[1:])
    if network is None and shape == (28, 28, 1) and _are_labelled(real):
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
    """The test part of a set, or all of one without parts, as pictures of a generator's shape.

    Raises:
        DataError: the generator's pictures are not square, or the data can't be used.
    """
    height, width, channels = shape
    if height != width:
        raise DataError(f"Only square pictures can be scored. Received: a generator of {shape}")
    try:
        return load(real, split="test", size=height, channels=channels)
    except NoSplitError:
        return load(real, size=height, channels=channels)


def _are_labelled(real):
    return load_held_out(real, (28, 28, 1)).labels is not None


def _score_digits(gan, real, n, seed):
    data = load_data(real)
    classifier = train_classifier(data.train, data.test)
    eye = networks.get(classifier)
    reference, held_out = data.reference.as_range("unit"), data.real.as_range("unit")
    n = n or len(held_out)
    pictures = {
        "generated": sample_images(gan, n, seed),
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
        gan: `ganlib.adversarial.Adversarial` that ends in sigmoid or tanh. D's sigmoid is taken to
            be the probability of being real, whatever the loss.
        real: what `ganlib.data.load` takes, two pictures or more; the test part, where the set has
            one. Brought to the generator's size and channels.
        n: int above 0, pictures to generate; by default as many as there are real ones.
        seed: int, of the latents and of the noise.
        similarity: str, one of `ganlib.metrics.boundary.SIMILARITIES`.

    Returns:
        dict as `ganlib.metrics.boundary.score_boundary` returns it, without `train`. s1 and s2 lie
        in [0, 1], s3 and the score in [-1, 1].

    Raises:
        DataError: the data or the model can't be used, or pictures or logits are not finite.
        ValueError: the similarity is unknown, or the pictures are too small for it.
    """
    if similarity not in boundary.SIMILARITIES:  # before any picture is made
        raise ValueError(
            f"`similarity` must be one of {boundary.SIMILARITIES}. Received: {similarity!r}"
        )
    shape = tuple(gan.generator.output_shape[1:])
    real = check(load_held_out(real, shape), minimum=2).as_range("unit")
    fake = sample_images(gan, n or len(real), seed)
    _check_finite(fake, "The generator's pictures")
    logits = [discriminate(gan, pictures) for pictures in (real, fake)]
    _check_finite(np.concatenate(logits), "The discriminator's logits")
    return boundary.score_boundary(
        *logits, fake, real, value_range="unit", similarity=similarity, seed=seed
    )


def _check_finite(values, name):
    if bad := int((~np.isfinite(values)).sum()):
        raise DataError(
            f"{name} must be finite: its training has diverged, so score a model saved earlier, or "
            f"train again with a lower learning rate. Received: {bad} of {values.size} values that "
            "are NaN or infinite"
        )


def score_upscaler(model, high, scale):
    """Scores a super-resolution model on high-resolution photographs, beside two baselines.

    Each picture is made small by antialiased bicubic downscaling and 8-bit rounding, then enlarged;
    `scale` pixels at the border are left out. The linear upscaler is fitted to the embedded
    photographs' training part, never to `high`.

    Args:
        model: as `ganlib.upscaling.load_upscaler` returns it.
        high: what `ganlib.data.load_photos` takes; of "photos" the test part is scored.
        scale: int.

    Returns:
        dict with `model`, `bicubic`, `linear`, each a dict of `psnr_y`, `psnr_rgb` (dB), `ssim_y`,
        `ssim_rgb`, means over the pictures; and `n`, their number.

    Raises:
        DataError: the model is of another scale, a picture can't be used, or the model's pictures
            are in a wrong value range.
    """
    if (actual := scale_of(model)) != scale:
        raise DataError(
            f"The model enlarges by {actual}: score it with --scale {actual}, or load another. "
            f"Received: scale={scale}"
        )
    kernel = best_linear_kernel(load_photos("photos", "train"), scale)
    photos = load_photos(high, "test" if str(high) == "photos" else None)
    upscalers = {
        "model": lambda low: upscale_image(model, low),
        "bicubic": lambda low: upscale(low, scale),
        "linear": lambda low: enlarge_linearly(low, kernel, scale),
    }
    scores = {}
    for name, enlarge in upscalers.items():
        try:
            means = super_resolution.mean_scores(super_resolution.evaluate(enlarge, photos, scale))
        except ValueError as error:
            raise DataError(f"The pictures of {name!r} can't be scored. {error}") from error
        scores[name] = {key: means[key] for key in super_resolution.FIDELITY}
    return {**scores, "n": len(photos)}


def score_segmenter(model, data, threshold=0.5, progress=False):
    """Scores a segmentation model on images with masks, beside what needs no look at the image.

    Each image is segmented whole, whatever its size; all pixels of all images count alike.

    Args:
        model: as `ganlib.segmentation.load_segmenter` returns it.
        data: what `ganlib.data.load_masks` takes; the test part, where the set has one.
        threshold: float in (0, 1), the probability above which a pixel counts as foreground.
        progress: bool, show a progress bar.

    Returns:
        dict with
        `jaccard`, `jaccard_soft`, `dice`, `dice_soft`, `foreground` (its share in truth) and `n`
        as `ganlib.metrics.segmentation.score_masks` returns them,
        `threshold`: float,
        `data`: str, name of the set, and `synthetic`: bool, whether a program drew it,
        `part`: str, "test" or "all", what of it was scored,
        `baselines`: dict of "background", "foreground" and "constant" (0.5 everywhere), each with
        the four scores; the constant's hard ones are at a threshold of 0.5.

    Raises:
        ValueError: the threshold is out of its range.
        DataError: the data or the model can't be used.
    """
    from tqdm.auto import tqdm

    check_threshold(threshold)  # before any work
    try:
        masked, part = load_masks(data, "test", channels_of(model)), "test"
    except NoSplitError:
        masked, part = load_masks(data, None, channels_of(model)), "all"
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
