"""`Photos`: photographs of different sizes, with their names, groups and origin."""

import dataclasses
import hashlib

import numpy as np

from ganlib.data.errors import DataError
from ganlib.data.imageset import facts_table
from ganlib.data.resize import fit
from ganlib.data.splits import split_mask


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Photos:
    """Photographs of any sizes, and what is known about them.

    Args:
        images: sequence of uint8 arrays `(height, width, 3)`, kept as a tuple. Grey ones, `(height,
            width)` or `(height, width, 1)`, become RGB; a fourth channel, alpha, is dropped.
        names: sequence of str, the name of each picture. `None`: "0", "1", …
        groups: sequence of integers or strings, such as the scene that two views show; `split`
            never divides a group. `None`: each picture stands alone.
        name: str, short name of the set.
        origin: str, one sentence: where the pictures come from and under which licence.
        synthetic: bool, whether a program drew them.

    Raises:
        DataError: a shape, a dtype or a number of names or groups does not fit.
    """

    images: tuple
    names: tuple | None = None
    groups: tuple | None = None
    name: str = "photos"
    origin: str = "Arrays in memory."
    synthetic: bool = False

    def __post_init__(self):
        n = len(self.images)
        names = map(str, range(n) if self.names is None else self.names)
        values = {"names": tuple(names)}
        values["groups"] = None if self.groups is None else tuple(self.groups)
        for field, value in values.items():
            if value is not None and len(value) != n:
                raise DataError(
                    f"`{field}` must have one entry per picture. Received: {len(value)} {field}, "
                    f"{n} pictures"
                )
        pairs = zip(self.images, values["names"], strict=True)
        values["images"] = tuple(_rgb(image, name) for image, name in pairs)
        for field, value in values.items():
            object.__setattr__(self, field, value)

    def __len__(self):
        return len(self.images)

    def checksum(self):
        """SHA-256, 64 hex digits, of the shapes and pixels; the same on any machine."""
        digest = hashlib.sha256()
        for image in self.images:
            digest.update(f"{image.shape}".encode())
            digest.update(image)
        return digest.hexdigest()

    def subset(self, indices):
        """`Photos` of the pictures at `indices` (integers, a mask or a slice), in that order."""
        chosen = np.arange(len(self))[indices]
        parts = {
            field: tuple(value[i] for i in chosen)
            for field in ("images", "names", "groups")
            if (value := getattr(self, field)) is not None
        }
        return dataclasses.replace(self, **parts)

    def split(self, fraction, seed):
        """Splits by picture, at random, the first part with about `fraction` of them.

        Groups stay whole, and the pictures keep their order.

        Args:
            fraction: float in (0, 1).
            seed: int, the same split for the same seed on every machine.

        Returns:
            Two `Photos`.

        Raises:
            ValueError: `fraction` is out of its range.
            DataError: one side would be empty.
        """
        if not 0.0 < fraction < 1.0:
            raise ValueError(f"`fraction` must lie in (0, 1). Received: fraction={fraction}")
        first = split_mask(len(self), None, self.groups, fraction, seed)
        if first.all() or not first.any():
            groups = "" if self.groups is None else f", {len(set(self.groups))} groups"
            raise DataError(
                f"A split of {self.name!r} would leave one side empty: use another fraction, more "
                f"pictures, or more groups. Received: fraction={fraction}, {len(self)} pictures"
                f"{groups}"
            )
        return self.subset(first), self.subset(~first)

    def __repr__(self):
        facts = [f"{len(self)} × {self._sizes()}" if self.images else "empty"]
        facts += [] if self.groups is None else [f"{len(set(self.groups))} groups"]
        facts.append("synthetic" if self.synthetic else "real")
        return f"Photos({self.name!r}, {', '.join(facts)})"

    def _repr_html_(self):
        rows = {
            "name": self.name,
            "pictures": f"{len(self)} of {self._sizes()}" if self.images else "none",
            "megapixels": f"{sum(h * w for h, w, _ in self._shapes()) / 1e6:.1f}",
            "groups": "none" if self.groups is None else len(set(self.groups)),
            "synthetic": "yes" if self.synthetic else "no",
            "origin": self.origin,
            "checksum": self.checksum()[:12],
        }
        return facts_table(rows)

    def _shapes(self):
        return [image.shape for image in self.images]

    def _sizes(self):
        by_area = sorted((height * width, height, width) for height, width, _ in self._shapes())
        ends = [f"{height}×{width}" for _, height, width in (by_area[0], by_area[-1])]
        return " to ".join(dict.fromkeys(ends))


def check_photos(photos, minimum_size):
    """Raises unless there are pictures, and all are large enough to cut patches from.

    Args:
        photos: `Photos`.
        minimum_size: int, the least height and width in pixels.

    Returns:
        The photos.

    Raises:
        DataError: there is no picture, or some are smaller; they are named.
    """
    if not len(photos):
        raise DataError(f"{photos.name!r} is empty: add pictures, or choose another split.")
    small = [
        f"{name} ({image.shape[0]}×{image.shape[1]})"
        for name, image in zip(photos.names, photos.images, strict=True)
        if min(image.shape[:2]) < minimum_size
    ]
    if small:
        more = f" and {len(small) - 8} more" if len(small) > 8 else ""
        raise DataError(
            f"Pictures of {photos.name!r} are smaller than a patch of {minimum_size}×{minimum_size}"
            f" pixels: leave them out, or choose smaller patches. Received: {', '.join(small[:8])}"
            f"{more}"
        )
    return photos


def _rgb(image, name):
    image = np.asarray(image)
    if image.dtype != np.uint8:
        raise DataError(
            f"The picture {name} must have 8 bits per channel, uint8; floats become so by "
            f'ganlib.images.convert(image, "unit", "byte"). Received: dtype={image.dtype}'
        )
    if image.ndim == 2:
        image = image[..., np.newaxis]
    if image.ndim != 3 or 0 in image.shape:
        raise DataError(
            f"The picture {name} must have the shape (height, width, 3) or (height, width). "
            f"Received: shape={image.shape}"
        )
    return np.ascontiguousarray(fit(image, channels=3))
