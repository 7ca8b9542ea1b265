"""What is worth its cost."""

import numpy as np


def pareto_front(cost, value):
    """Which runs no other run beats: cheaper and as good, or better and as cheap.

    Runs with the same cost and value do not beat each other. A run whose cost or value is not
    finite is not on the front and beats none.

    Args:
        cost: sequence of floats, lower is better.
        value: sequence of floats, higher is better.

    Returns:
        Array of bool, one a run.

    Raises:
        ValueError: not as many costs as values.
    """
    cost, value = np.asarray(cost, "float64"), np.asarray(value, "float64")
    if cost.ndim != 1 or cost.shape != value.shape:
        raise ValueError(
            f"Runs need a cost and a value each. Received: shapes {cost.shape} and {value.shape}"
        )
    front = np.isfinite(cost) & np.isfinite(value)
    # What is not finite is moved to where it beats none; it is off the front already.
    cost, value = np.where(front, cost, np.inf), np.where(front, value, -np.inf)
    as_good = (cost[:, None] <= cost) & (value[:, None] >= value)  # row i, run i against all others
    better = (cost[:, None] < cost) | (value[:, None] > value)
    return front & ~(as_good & better).any(axis=0)
