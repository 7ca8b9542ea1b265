"""`Images`: pictures with what is known about them."""

import dataclasses
import hashlib
import html

import numpy as np

from ganlib.data import forms
from ganlib.data.errors import DataError
from ganlib.data.fit import fit, fit_mask
from ganlib.data.splitting import sides
from ganlib.images import ValueRange, convert

PER_IMAGE = ("images", "masks", "labels", "groups", "names")  # fields with an entry an image


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Images:
    """Images, with masks, labels and groups where they have them.

    Args:
        images: array `(n, height, width, channels)`, or `(n, height, width)` for one channel; kept
            as uint8 where the value range is "byte", else as float32. Or a sequence of uint8
            arrays: kept as a tuple where they differ in size, else as one array.
        masks: as many and as large, of any two values, such as 0 and 255: the lower one of the set
            is the background. Kept as uint8 of 0 and 1, `(n, height, width, 1)` or a tuple of
            `(height, width, 1)`.
        labels: integers `(n,)`, the class of each image.
        groups: integers or strings `(n,)`, such as the patient that an image comes from; `split`
            never divides a group. `None`: each image stands alone.
        names: sequence of str, the name of each image. `None`: "0", "1", …
        name: str, short name of the set.
        origin: str, one sentence: where the images come from and, if known, under which licence.
        synthetic: bool, whether a program drew the images.
        value_range: `ganlib.images.ValueRange` or its name. `None`: by dtype and values, see
            `ganlib.images.infer_range`.
        class_names: tuple of str, the name of label 0, 1, …
        stack: bool, whether consecutive images are neighbours, such as slices of a volume.

    Raises:
        DataError: a shape, a dtype or the values do not fit.
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
    class_names: tuple | None = None
    stack: bool = False

    def __post_init__(self):
        images, value_range = forms.images(self.images, self.value_range)
        n = len(images)
        names = tuple(map(str, range(n) if self.names is None else self.names))
        values = {"images": images, "value_range": value_range, "names": names}
        values["masks"] = None if self.masks is None else forms.masks(self.masks, images, names)
        values["labels"] = None if self.labels is None else forms.labels(self.labels, n)
        values["groups"] = None if self.groups is None else forms.groups(self.groups, n)
        values["class_names"] = self.class_names and tuple(self.class_names)
        if len(names) != n:
            raise DataError(f"`names` must be one per image. Received: {len(names)} for {n} images")
        for field, value in values.items():
            object.__setattr__(self, field, value)

    def __len__(self):
        return len(self.images)

    @property
    def shape(self):
        """Shape of the image array, `(n, height, width, channels)`; several sizes are an error."""
        if isinstance(self.images, tuple):
            raise DataError(
                f"The images of {self.name!r} differ in size: load them with size=…, which crops "
                f"and resizes them. Received: {self._sizes()}"
            )
        return self.images.shape

    @property
    def channels(self):
        """Channels of the images, such as 1 or 3."""
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
            if values is None:
                digest.update(b"none")
                continue
            for array in values if isinstance(values, tuple) else (values,):
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
        if self.masks is None:
            raise DataError(f"{self.name!r} has no masks. Received: masks=None")
        return self.as_range("unit"), self.masks.astype(np.float32)

    def subset(self, indices):
        """`Images` at `indices` (integers, a mask or a slice), in that order."""
        chosen, parts = np.arange(len(self))[indices], {}
        for field in PER_IMAGE:
            value = getattr(self, field)
            if value is not None:
                several = isinstance(value, tuple)
                parts[field] = tuple(value[i] for i in chosen) if several else value[chosen]
        return dataclasses.replace(self, **parts)

    def split(self, fraction, seed):
        """Splits at random in two, the first with about `fraction` of the images.

        Each class is split by itself, so that both sides have its share. Groups stay whole (a group
        counts for the class that most of its images have), and so do images with equal pixels. A
        stack without groups is cut once, and one slice at the cut is left out. The images keep
        their order.

        Args:
            fraction: float in (0, 1).
            seed: int, the same split for the same seed on every machine.

        Returns:
            Two `Images`.

        Raises:
            DataError: one side would be empty.
        """
        if not 0.0 < fraction < 1.0:
            raise ValueError(f"`fraction` must lie in (0, 1). Received: fraction={fraction}")
        first, second = sides(self, fraction, seed)
        if not (first.any() and second.any()):
            counts = ", ".join(f"{n} {what}" for what, n in self._counts().items())
            raise DataError(
                f"A split of {self.name!r} would leave one side empty: use another fraction, more "
                f"different images, or more groups. Received: fraction={fraction}, {counts}"
            )
        return self.subset(first), self.subset(second)

    def fitted(self, size=None, channels=None):
        """These images in another size or number of channels, see `fit`; masks go with them."""
        shapes = self._shapes()
        if all((size or h, size or w, channels or c) == (h, w, c) for h, w, c in shapes):
            return self
        limits = (self.value_range.low, self.value_range.high)
        found = [fit(image, size, channels, limits) for image in self.images]
        masks = self.masks
        if masks is not None and size is not None:
            masks = np.stack([fit_mask(mask, size) for mask in masks])
        one_size = size is not None or len(shapes) == 1
        return dataclasses.replace(self, images=np.stack(found) if one_size else found, masks=masks)

    def __repr__(self):
        facts = [f"{len(self)} × {self._sizes()}×{self.channels}" if len(self) else "empty"]
        facts += [str(self.value_range)] if self.masks is None else []
        facts += ["stack"] if self.stack else []
        facts += [f"{n} {what}" for what, n in list(self._counts().items())[1:]]
        facts += [] if self.masks is None else [f"{self.foreground:.1%} foreground"]
        facts += ["synthetic" if self.synthetic else "real"]
        return f"Images({self.name!r}, {', '.join(facts)})"

    def _repr_html_(self):
        rows = {"name": self.name, **self._counts(), "size": f"{self._sizes()}×{self.channels}"}
        rows |= {"value range": self.value_range, "synthetic": self.synthetic}
        if self.masks is not None:
            empty = sum(not mask.any() for mask in self.masks)
            full = sum(bool(mask.all()) for mask in self.masks)
            rows["foreground"] = f"{self.foreground:.1%}; masks: {empty} empty, {full} full"
            rows["stack"] = self.stack
        rows |= {"origin": self.origin, "checksum": self.checksum()[:12]}
        cells = (
            f"<tr><th>{key}</th><td>{html.escape(str(value))}</td></tr>"
            for key, value in rows.items()
        )
        return f"<table>{''.join(cells)}</table>"

    def _counts(self):
        named = {"classes": self.labels, "groups": self.groups}
        counts = {key: len(np.unique(v)) for key, v in named.items() if v is not None}
        return {"images": len(self)} | counts

    def _shapes(self):
        return {image.shape for image in self.images}

    def _sizes(self):
        by_area = sorted((h * w, h, w) for h, w, _ in self._shapes()) or [(0, 0, 0)]
        return " to ".join(dict.fromkeys(f"{h}×{w}" for _, h, w in (by_area[0], by_area[-1])))
