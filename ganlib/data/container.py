"""`Images`: pictures with what is known about them."""

import dataclasses
import hashlib
import html

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ganlib.data import forms
from ganlib.data.errors import DataError
from ganlib.data.fit import fit, fit_mask
from ganlib.images import ValueRange, convert


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Images:
    """Images, with masks, labels and groups where they have them.

    Args:
        images: array `(n, height, width[, channels])`, kept as uint8 in the range "byte", else as
            float32; or a list of uint8 arrays, kept as a tuple where they differ in size.
        masks: as many and as large, of two values; kept as uint8 of 0 and 1, `(…, 1)`.
        labels: integers `(n,)`, the class of each image.
        groups: integers or strings `(n,)`, such as the patient: `split` never divides a group.
        names: sequence of str, the name of each image. `None`: "0", "1", …
        name, origin: str, of the set; where it comes from and, if known, under which licence.
        synthetic: bool, whether a program drew the images.
        value_range: `ganlib.images.ValueRange` or its name. `None`: by dtype and values.
        stack: bool, whether consecutive images are neighbours, such as slices of a volume.
    """

    images: np.ndarray | tuple
    masks: np.ndarray | tuple | None = None
    labels: np.ndarray | None = None
    groups: np.ndarray | None = None
    names: tuple | None = None
    _: dataclasses.KW_ONLY
    name: str = "array"
    origin: str = "An array in memory."
    synthetic: bool = False
    value_range: ValueRange | None = None
    stack: bool = False

    def __post_init__(self):
        n = len(self.images)
        names = tuple(map(str, range(n) if self.names is None else self.names))
        for many in (names, names if self.masks is None else self.masks):
            if len(many) != n:
                raise DataError(
                    f"Names and masks must be one per image. Received: {len(many)} for {n} images"
                )
        images, value_range = forms.images(self.images, self.value_range, names)
        kept = {"images": images, "value_range": value_range, "names": names}
        kept["masks"] = None if self.masks is None else forms.masks(self.masks, images, names)
        kept["labels"] = forms.per_image(self.labels, n, "biu")
        kept["groups"] = forms.per_image(self.groups, n, "biuU")
        for field, value in kept.items():
            object.__setattr__(self, field, value)

    def __len__(self):
        return len(self.images)

    @property
    def shape(self):
        """Shape of the image array, `(n, height, width, channels)`; several sizes are an error."""
        if isinstance(self.images, tuple):
            raise DataError(
                f"The images of {self.name!r} differ in size: load them with size=…, which crops "
                f"and resizes them, or any_size=True where they may. Received: {self._sizes()}"
            )
        return self.images.shape

    @property
    def channels(self):
        return (self.images[0] if len(self) else self.images).shape[-1]

    @property
    def foreground(self):
        """Share of the pixels of all images that are foreground; None without masks."""
        if self.masks is None:
            return None
        total = sum(mask.size for mask in self.masks)
        return sum(int(mask.sum()) for mask in self.masks) / max(total, 1)

    def checksum(self):
        """SHA-256, 64 hex digits, of all but names and origin; the same on any machine."""
        digest = hashlib.sha256(str(self.value_range).encode())
        masks = () if self.masks is None else (self.masks,)
        for values in (self.images, *masks, self.labels, self.groups):
            for array in values if isinstance(values, tuple) else (values,):
                if array is None:
                    digest.update(b"none")
                    continue
                array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(array)
        digest.update(b"stack" if self.stack else b"")
        return digest.hexdigest()

    def as_range(self, value_range):
        """The images as one float32 array, in a `ganlib.images.ValueRange` (or its name)."""
        images = np.reshape(self.images, self.shape)  # several sizes are an error
        return convert(images, self.value_range, value_range).astype(np.float32, copy=False)

    def arrays(self):
        """Images and masks as float32 arrays, both in [0, 1]."""
        return self.as_range("unit"), self.masks.astype(np.float32)

    def subset(self, indices):
        """`Images` at `indices` (integers, a mask or a slice), in that order."""
        chosen, parts = np.arange(len(self))[indices], {}
        for field in ("images", "masks", "labels", "groups", "names"):
            value = getattr(self, field)
            if value is not None:
                several = isinstance(value, tuple)
                parts[field] = tuple(value[i] for i in chosen) if several else value[chosen]
        return dataclasses.replace(self, **parts)

    def split(self, fraction, seed):
        """Splits at random in two, each class by itself; the images keep their order.

        Groups and images with equal pixels stay together; a stack without groups is cut once, one
        slice left out. `fraction`, in (0, 1), is about the share of the first side.
        """
        first, second = _sides(self, fraction, seed)
        if not (first.any() and second.any()):
            raise DataError(
                f"A split of {self.name!r} would leave one side empty: use another fraction, more "
                f"different images, or more groups. Received: fraction={fraction}, {self!r}"
            )
        return self.subset(first), self.subset(second)

    def fitted(self, size=None, channels=None):
        """These images in another size or number of channels, see `fit`; masks go with them."""
        shapes = {image.shape for image in self.images}
        if all((size or h, size or w, channels or c) == (h, w, c) for h, w, c in shapes):
            return self
        limits = (self.value_range.low, self.value_range.high)
        images = [fit(image, size, channels, limits) for image in self.images]
        images = images if size is None and len(shapes) > 1 else np.stack(images)
        masks = self.masks
        if masks is not None and size is not None:
            masks = [fit_mask(mask, size) for mask in masks]
        return dataclasses.replace(self, images=images, masks=masks)

    def __repr__(self):
        facts = [f"{len(self)} × {self._sizes()}×{self.channels}" if len(self) else "empty"]
        facts += [str(self.value_range)] if self.masks is None else []
        facts += ["stack"] * self.stack
        facts += [f"{n} {what}" for what, n in self._counts().items()]
        facts += [] if self.masks is None else [f"{self.foreground:.1%} foreground"]
        facts += ["synthetic" if self.synthetic else "real"]
        return f"Images({self.name!r}, {', '.join(facts)})"

    def _repr_html_(self):
        rows = {"name": self.name, "images": len(self), **self._counts()}
        rows |= {"size": f"{self._sizes()}×{self.channels}", "value range": self.value_range}
        rows |= {"synthetic": self.synthetic}
        rows |= {} if self.masks is None else {"foreground": f"{self.foreground:.1%}"}
        rows |= {"origin": self.origin, "checksum": self.checksum()[:12]}
        cells = (f"<tr><th>{k}</th><td>{html.escape(str(v))}</td></tr>" for k, v in rows.items())
        return f"<table>{''.join(cells)}</table>"

    def _counts(self):
        found = {"classes": self.labels, "groups": self.groups}
        return {key: len(np.unique(values)) for key, values in found.items() if values is not None}

    def _sizes(self):
        sizes = sorted({image.shape[:2] for image in self.images}, key=lambda s: (s[0] * s[1], s))
        return " to ".join(dict.fromkeys(f"{h}×{w}" for h, w in sizes[:1] + sizes[-1:]))


def _sides(images, fraction, seed):
    """Masks `(n,)` of the first and of the second side; a stack has an image on neither."""
    n = len(images)
    rng = np.random.default_rng(seed)
    if images.stack and images.groups is None:
        count = int(np.clip(round(fraction * (n - 1)), 1, max(n - 2, 1)))
        place = np.arange(n)[::-1] if rng.integers(2) else np.arange(n)
        return place < count, place > count  # neighbours look alike
    units = _units(images)
    sizes = np.bincount(units, minlength=1)
    classes = np.zeros(len(sizes), int)
    if images.labels is not None:  # the most frequent class of each unit
        values, codes = np.unique(images.labels, return_inverse=True)
        table = np.zeros((len(sizes), len(values)), int)
        np.add.at(table, (units, codes), 1)
        classes = table.argmax(axis=1)
    chosen = np.zeros(len(sizes), bool)
    for label in np.unique(classes):
        members = rng.permutation(np.flatnonzero(classes == label))
        before = np.cumsum(sizes[members]) - sizes[members]
        # A unit is in if most of it is; with units of one image this rounds to the nearest.
        chosen[members] = before + sizes[members] / 2 <= fraction * sizes[members].sum()
    return chosen[units], ~chosen[units]


def pixels(image):
    """A short key that images with equal pixels share."""
    image = np.ascontiguousarray(image)
    return f"{image.shape} {hashlib.blake2b(image, digest_size=16).hexdigest()}"


def _units(images):
    """Number of the unit that each image belongs to: its group, and all with equal pixels."""
    n, groups = len(images), images.groups
    groups = np.unique(range(n) if groups is None else groups, return_inverse=True)[1]
    copies = np.unique([pixels(image) for image in images.images], return_inverse=True)[1]
    links = coo_array((np.ones(n), (groups, n + copies)), (2 * n + 1, 2 * n + 1))
    return connected_components(links, directed=False)[1][groups]
