"""Scores of a saved model, each beside its ceiling and its floor."""

from ganlib.data import DataError
from ganlib.features.digits import train_classifier
from ganlib.metrics.digits import digit_quality, noise_images
from ganlib.sampling import sample_images
from ganlib.studies.digits import load_data


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
