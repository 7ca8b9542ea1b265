"""Quality of generated digits, by a digit classifier: no internet, seconds on a CPU."""

import numpy as np

from ganlib.metrics.fidelity import frechet_distance, inception_score

MISSING, SURE = 0.01, 0.5  # a tenth of an even share; less probable, a picture is no digit


def digit_quality(classifier, images, reference):
    """Scores a set of 28×28 digit images.

    Args:
        classifier: `ganlib.features.digits.DigitClassifier`.
        images: float32 array `(n, 28, 28, 1)` in [0, 1].
        reference: the same, real digits that neither the GAN nor the classifier was trained on.

    Returns:
        dict with `confidence`, mean probability of the class each image is taken for;
        `digit_score`, the Inception Score's formula, in [1, 10]; `frechet_distance` of the
        features; `histogram`, ten shares, by digit; `missing_digits`, how many are below 1 %;
        `no_digit`, share of images with less than 50 % confidence; `n`.
    """
    probabilities, features = classifier(images)
    confidence = probabilities.max(axis=1)
    taken_for = probabilities.argmax(axis=1)[confidence >= SURE]
    histogram = np.bincount(taken_for, minlength=10) / len(images)
    return {
        "confidence": float(confidence.mean()),
        "digit_score": inception_score(probabilities),
        "frechet_distance": frechet_distance(features, classifier(reference)[1]),
        "missing_digits": int((histogram < MISSING).sum()),
        "histogram": histogram.tolist(),
        "no_digit": float((confidence < SURE).mean()),
        "n": len(images),
    }


def noise_images(n, seed=0):
    """The trivial baseline: returns uniform noise, float32 `(n, 28, 28, 1)` in [0, 1)."""
    return np.random.default_rng(seed).random((n, 28, 28, 1), dtype="float32")
