"""`ImageSet`: images with their labels, groups, value range and origin."""

import dataclasses
import hashlib
import html

import numpy as np

from ganlib.data import normalise
from ganlib.data.errors import DataError
from ganlib.data.splits import split_mask
from ganlib.images import ValueRange, convert


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ImageSet:
    """Images, and what is known about them.

    Args:
        images: array `(n, height, width, channels)`, or `(n, height, width)` for one channel. Kept
            as uint8 where the value range is "byte", else as float32.
        labels: integers `(n,)`, the class of each image; `None` if unknown.
        groups: integers or strings `(n,)`, such as the patient that an image comes from; `split`
            never divides a group. `None`: each image stands alone.
        name: str, short name of the set.
        origin: str, one sentence: where the images come from and, if known, under which licence.
        synthetic: bool, whether a program drew the images.
        value_range: `ganlib.images.ValueRange` or its name. `None`: by dtype and values, see
            `ganlib.images.infer_range`.
        class_names: tuple of str, the name of label 0, 1, …; `None` if they have none.

    Raises:
        DataError: a shape, a dtype or the values do not fit.
    """

    images: np.ndarray
    labels: np.ndarray | None = None
    groups: np.ndarray | None = None
    name: str = "array"
    origin: str = "An array in memory."
    synthetic: bool = False
    value_range: ValueRange | None = None
    class_names: tuple | None = None

    def __post_init__(self):
        images, value_range = normalise.images(self.images, self.value_range)
        n = len(images)
        labels = None if self.labels is None else normalise.labels(self.labels, n)
        groups = None if self.groups is None else normalise.groups(self.groups, n)
        names = None if self.class_names is None else tuple(self.class_names)
        values = {"images": images, "labels": labels, "groups": groups}
        values |= {"value_range": value_range, "class_names": names}
        for field, value in values.items():
            object.__setattr__(self, field, value)

    def __len__(self):
        return len(self.images)

    @property
    def shape(self):
        """Shape of the image array, `(n, height, width, channels)`."""
        return self.images.shape

    def checksum(self):
        """SHA-256, 64 hex digits, of range, images, labels and groups; the same on any machine."""
        digest = hashlib.sha256(str(self.value_range).encode())
        for array in (self.images, self.labels, self.groups):
            if array is None:
                digest.update(b"none")
                continue
            array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(array)
        return digest.hexdigest()

    def as_range(self, value_range):
        """The images as float32, in the given `ganlib.images.ValueRange` (or its name)."""
        return convert(self.images, self.value_range, value_range).astype(np.float32, copy=False)

    def subset(self, indices):
        """An `ImageSet` of the images at `indices` (integers, a mask or a slice), in that order."""
        parts = {
            field: value[indices]
            for field in ("images", "labels", "groups")
            if (value := getattr(self, field)) is not None
        }
        return dataclasses.replace(self, **parts)

    def split(self, fraction, seed):
        """Splits at random in two, the first with about `fraction` of the images.

        Each class is split by itself, so that both sides have its share; groups stay whole (a group
        counts for the class that most of its images have). The images keep their order.

        Args:
            fraction: float in (0, 1).
            seed: int, the same split for the same seed on every machine.

        Returns:
            Two `ImageSet`s.

        Raises:
            ValueError: `fraction` is out of its range.
            DataError: one side would be empty.
        """
        if not 0.0 < fraction < 1.0:
            raise ValueError(f"`fraction` must lie in (0, 1). Received: fraction={fraction}")
        first = split_mask(len(self), self.labels, self.groups, fraction, seed)
        if first.all() or not first.any():
            raise DataError(
                f"A split of {self.name!r} would leave one side empty: use another fraction, more "
                f"images, or more groups. Received: fraction={fraction}, {len(self)} images"
                + ("" if self.groups is None else f", {len(np.unique(self.groups))} groups")
            )
        return self.subset(first), self.subset(~first)

    def __repr__(self):
        n, *shape = self.shape
        facts = [f"{n} × {'×'.join(map(str, shape))}", str(self.value_range)]
        facts += [f"{count} {what}" for what, count in self._counts().items()]
        facts.append("synthetic" if self.synthetic else "real")
        return f"ImageSet({self.name!r}, {', '.join(facts)})"

    def _repr_html_(self):
        n, height, width, channels = self.shape
        rows = {
            "name": self.name,
            "images": f"{n:,} of {height}×{width}, {channels} channel{'s' * (channels != 1)}",
            "value range": f"{self.value_range} ({self.images.dtype})",
            **self._counts(),
            "synthetic": "yes" if self.synthetic else "no",
            "origin": self.origin,
            "checksum": self.checksum()[:12],
        }
        return facts_table(rows)

    def _counts(self):
        named = {"classes": self.labels, "groups": self.groups}
        return {key: len(np.unique(v)) for key, v in named.items() if v is not None}


def facts_table(facts):
    """A dict as an HTML table, a row an entry."""
    cells = (
        f"<tr><th>{html.escape(str(key))}</th><td>{html.escape(str(value))}</td></tr>"
        for key, value in facts.items()
    )
    return f"<table>{''.join(cells)}</table>"
