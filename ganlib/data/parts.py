"""What the data of a study have in common whose pictures come in three parts."""

import dataclasses

import numpy as np

from ganlib.data import DataError, NoSplitError, check, load
from ganlib.data.tfds import count, prepared

HELD_OUT = 0.15  # share of a set without a test part that becomes one; the same for validation
LEAST = 50  # pictures in a held-out part: fewer say nothing


@dataclasses.dataclass(eq=False)
class Parts:
    """Pictures in three parts that share none.

    Attributes:
        train: `ganlib.data.ImageSet` or `Photos`, for the networks.
        validation: the same, for every choice, such as the best epoch.
        test: the same, scored at the end and used for no choice.
        checksum, name, origin, synthetic: what a run and a report say of the data.
    """

    train: object
    validation: object
    test: object

    def __post_init__(self):
        parts = self.train, self.validation, self.test
        self.checksum = "".join(part.checksum()[:16] for part in parts)
        self.name, self.origin = self.train.name, self.train.origin
        self.synthetic = self.train.synthetic


def load_parts(spec, size, most=None):
    """Loads and checks colour pictures, and divides them; groups stay whole.

    Args:
        spec: what `ganlib.data.load` takes. A set without a test part is divided at random.
        size: int, pictures become size × size pixels (centre square, Lanczos).
        most: dict, most pictures of "train", "validation" and "test", drawn at random. `None`: all.

    Returns:
        dict of `ganlib.data.ImageSet`, the pictures of `Parts`.

    Raises:
        DataError: the data can't be used, there are too few pictures, or the set's own test part
            has groups of its training part.
    """
    options = {"size": size, "channels": 3}
    try:
        test, whole = (_load(spec, split, most, options) for split in ("test", "train"))
    except NoSplitError:
        whole = check(_load(spec, None, most, options), minimum=8 * LEAST)
        whole, test = whole.split(1 - HELD_OUT, seed=0)
    _check_groups(whole, test)
    train, validation = whole.split(1 - HELD_OUT, seed=1)
    parts = {"train": train, "validation": validation, "test": test}
    if most:
        parts = {name: _at_most(part, most[name]) for name, part in parts.items()}
    return {name: check(part, channels=3, size=size, minimum=LEAST) for name, part in parts.items()}


def _check_groups(train, test):
    if train.groups is None or test.groups is None:
        return
    if shared := set(train.groups.tolist()) & set(test.groups.tolist()):
        raise DataError(
            "The test part must have no group of the training part, or its pictures are not held "
            "out: save all pictures in one part, which is then divided by group, or number the "
            f"groups of both parts apart. Received: {len(shared)} groups in both, such as "
            f"{min(shared, key=str)!r}"
        )


def _load(spec, split, most, options):
    if most and str(spec).startswith("tfds:"):  # all of LSUN would not fit into memory
        builder, split = prepared(str(spec).removeprefix("tfds:")), split or "train"
        split = f"{split}[:{min(count(builder, split), sum(most.values()))}]"
    return load(spec, split=split, **options)


def _at_most(images, most):
    if len(images) <= most:
        return images
    chosen = np.random.default_rng(0).choice(len(images), most, replace=False)
    return images.subset(np.sort(chosen))
