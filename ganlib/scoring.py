"""Scores of a saved model, each beside its ceiling and its floor."""

from ganlib.data import DataError, load_photos
from ganlib.features.digits import train_classifier
from ganlib.images import upscale
from ganlib.metrics import super_resolution
from ganlib.metrics.digits import digit_quality, noise_images
from ganlib.sampling import sample_images
from ganlib.studies.digits import load_data
from ganlib.studies.srgan import PhotoData, enlarge_linearly
from ganlib.upscaling import scale_of, upscale_image


def score_digits_gan(gan, real, n=None, seed=0):
    """Scores a digits GAN by a digit classifier trained on `real`.

    Args:
        gan: `Adversarial` whose images are `(28, 28, 1)`.
        real: what `ganlib.studies.digits.load_data` takes.
        n: int, pictures to score; by default as many as there are real ones to compare with.
        seed: int, of the latents.

    Returns:
        dict with `generated`, `baselines` (`real`, `noise`), each as `digit_quality` returns it,
        and `classifier` (`accuracy`, `n`).

    Raises:
        DataError: the data can't be used, or the model makes other pictures.
    """
    if tuple(gan.generator.output_shape[1:]) != (28, 28, 1):
        raise DataError(
            "Digits are scored at 28×28 pixels with one channel. Received: a generator of shape "
            f"{gan.generator.output_shape}"
        )
    data = load_data(real)
    classifier = train_classifier(data.train, data.test)
    reference, held_out = data.reference.as_range("unit"), data.real.as_range("unit")
    n = n or len(held_out)
    return {
        "generated": digit_quality(classifier, sample_images(gan, n, seed), reference),
        "baselines": {
            "real": digit_quality(classifier, held_out, reference),
            "noise": digit_quality(classifier, noise_images(len(held_out)), reference),
        },
        "classifier": {"accuracy": classifier.accuracy, "n": classifier.n},
    }


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
    kernel = PhotoData(*(load_photos("photos", "train"),) * 3).kernel(scale)
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
