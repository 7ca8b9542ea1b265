"""Images in a wrong value range although every value lies inside the declared one."""

import types

import numpy as np

from ganlib.images.ranges import ValueRange

# What a comparison sees in place of a unit image u after the usual mistakes.
RANGE_MISTAKES = types.MappingProxyType(
    {
        "signed compared with unit": lambda u: 2 * u - 1,
        "normalised twice": lambda u: np.clip(2 * u - 1, 0, 1),
        "denormalised twice": lambda u: (u + 1) / 2,
    }
)


def check_pair(image, reference, value_range):
    """Raises if the image is plainly its reference in a wrong value range.

    That a value lies inside the declared range does not say that it is meant so. The image is
    refused if it correlates with the reference, and equals what one of `RANGE_MISTAKES` makes of
    the reference with a PSNR at least 6 dB above that with the reference itself.

    Args:
        image: array of any shape and real dtype.
        reference: array of the same shape.
        value_range: `ValueRange` of both, or its name.

    Raises:
        ValueError: the image is in a wrong range, or the shapes differ.
    """
    image, reference = as_unit(image, value_range), as_unit(reference, value_range)
    check_shapes(image, reference)
    error = mean_squared(image, reference)
    if not error or not _correlation(image, reference) > 0.5:
        return
    for mistake, seen in RANGE_MISTAKES.items():
        mistaken = mean_squared(image, seen(reference))
        if mistaken < error / 4:
            raise ValueError(
                f'The image is the reference after the mistake "{mistake}": both are declared '
                f'"{ValueRange(value_range)}", and one is not. Bring each from the range that it '
                "really has to the declared one, exactly once, with ganlib.images.convert. "
                f"Received: PSNR {decibels(error):.2f} dB against the reference, "
                f"{decibels(mistaken):.2f} dB against the reference after the mistake"
            )


def as_unit(image, value_range):
    """The image in [0, 1] as float64; values outside its range stay outside."""
    value_range = ValueRange(value_range)
    image = np.asarray(image, np.float64)
    return (image - value_range.low) / (value_range.high - value_range.low)


def mean_squared(image, reference):
    return float(np.mean((image - reference) ** 2))


def decibels(error):
    """PSNR of a mean squared error, for a peak of 1."""
    return float(-10 * np.log10(error)) if error else np.inf


def check_shapes(image, reference):
    """Raises unless the two have one shape."""
    if image.shape != reference.shape:
        raise ValueError(
            "The image and its reference must have one shape. "
            f"Received: shapes {image.shape} and {reference.shape}"
        )


def _correlation(image, reference):
    image, reference = image - image.mean(), reference - reference.mean()
    norm = np.sqrt((image**2).sum() * (reference**2).sum())
    return (image * reference).sum() / norm if norm else 0.0
