"""How far values spread, with and without the say of a single spike."""

import math

import numpy as np

NORMAL_MAD = 1.4826  # the standard deviation of a normal distribution in units of its MAD
ROUNDING = 1e-12


def std(values):
    """The standard deviation of `values` around their mean, by n - 1.

    Args:
        values: sequence of floats.

    Returns:
        float, NaN of fewer than two values.

    Raises:
        ValueError: no values, or some that are not finite.
    """
    values = finite(values)
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan


def mad(values):
    """The median absolute deviation from the median, scaled to be a standard deviation.

    A single spike can own a standard deviation and does not move this (Hampel, 1974). Of normal
    values it estimates the standard deviation, from below where they are few.

    Args:
        values: sequence of floats.

    Returns:
        float, NaN of fewer than two values.

    Raises:
        ValueError: no values, or some that are not finite.
    """
    values = finite(values)
    if len(values) < 2:
        return math.nan
    return float(NORMAL_MAD * np.median(np.abs(values - np.median(values))))


def finite(values):
    """`values` in float64, refused if there are none or some are not finite."""
    values = np.asarray(values, "float64")
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"`values` must be finite and at least one. Received: {values.tolist()}")
    return values


def constant(values):
    """Whether all `values` are the same but for rounding."""
    return bool(np.ptp(values) <= ROUNDING * np.abs(values).max())
