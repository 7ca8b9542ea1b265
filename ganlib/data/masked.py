"""`MaskedImages`: images of any sizes with a mask each, and whether neighbours belong together."""

import dataclasses
import hashlib

import numpy as np

from ganlib.data import normalise
from ganlib.data.errors import DataError
from ganlib.data.imageset import facts_table


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class MaskedImages:
    """Images for binary segmentation, and what is known about them.

    Masks are kept as 0 (background) and 1 (foreground). They may come with any two values, such as
    0 and 255 or False and True: the lower one of the set is the background. A set of masks that
    have but one value is background where that is 0.

    Args:
        images: sequence of uint8 arrays `(height, width, channels)`, channels 1 or 3 throughout, or
            `(height, width)`; kept as a tuple of the first. Sizes may differ.
        masks: sequence of arrays `(height, width)` or `(height, width, 1)`, one per image and of
            its size; kept as a tuple of uint8 `(height, width)`.
        names: sequence of str, the name of each image. `None`: "0", "1", …
        stack: bool, whether consecutive images are neighbours, such as the slices of a volume or
            the frames of a film: `ganlib.data.split_tiles` then never parts them at random.
        groups: sequence of integers or strings, such as the patient or the volume that an image
            comes from; a group is never divided. `None`: nothing is known.
        name: str, short name of the set.
        origin: str, one sentence: where the images come from and, if known, under which licence.
        synthetic: bool, whether a program drew them.

    Raises:
        DataError: there is no image; a shape, a dtype or a number of masks, names or groups does
            not fit; a group is no integer or string; or the masks have more than two values.
    """

    images: tuple
    masks: tuple
    names: tuple | None = None
    stack: bool = False
    groups: tuple | None = None
    name: str = "masked images"
    origin: str = "Arrays in memory."
    synthetic: bool = False

    def __post_init__(self):
        n = len(self.images)
        if n == 0:
            raise DataError(f"{self.name!r} is empty: add images, or choose another split.")
        names = range(n) if self.names is None else self.names
        values = {"masks": tuple(self.masks), "names": tuple(map(str, names))}
        values["groups"] = None if self.groups is None else tuple(self.groups)
        for field, value in values.items():
            if value is not None and len(value) != n:
                raise DataError(
                    f"`{field}` must have one entry per image. Received: {len(value)} {field}, "
                    f"{n} images"
                )
        if values["groups"] is not None:
            values["groups"] = tuple(normalise.groups(values["groups"], n).tolist())
        pairs = zip(self.images, values["names"], strict=True)
        values["images"] = tuple(_image(image, name) for image, name in pairs)
        _check_channels(values["images"], values["names"])
        pairs = zip(values["masks"], values["names"], strict=True)
        masks = [_plane(mask, name) for mask, name in pairs]
        _check_sizes(values["images"], masks, values["names"])
        values["masks"] = _binary(masks, values["names"])
        values["stack"] = bool(self.stack)
        for field, value in values.items():
            object.__setattr__(self, field, value)

    def __len__(self):
        return len(self.images)

    @property
    def channels(self):
        """1 or 3."""
        return self.images[0].shape[-1]

    @property
    def foreground(self):
        """Share of the pixels that are foreground, all images taken together."""
        return sum(int(m.sum()) for m in self.masks) / sum(m.size for m in self.masks)

    def checksum(self):
        """SHA-256, 64 hex digits, of the shapes, pixels and masks; the same on any machine."""
        digest = hashlib.sha256()
        for image, mask in zip(self.images, self.masks, strict=True):
            digest.update(f"{image.shape}".encode())
            digest.update(image)
            digest.update(mask)
        return digest.hexdigest()

    def subset(self, indices):
        """`MaskedImages` at `indices` (integers, a mask or a slice), in that order."""
        chosen = np.arange(len(self))[indices]
        parts = {
            field: tuple(value[i] for i in chosen)
            for field in ("images", "masks", "names", "groups")
            if (value := getattr(self, field)) is not None
        }
        return dataclasses.replace(self, **parts)

    def __repr__(self):
        facts = [f"{len(self)} × {self._sizes()}×{self.channels}"]
        facts += ["stack"] if self.stack else []
        facts += [] if self.groups is None else [f"{len(set(self.groups))} groups"]
        facts += [f"{self.foreground:.1%} foreground", "synthetic" if self.synthetic else "real"]
        return f"MaskedImages({self.name!r}, {', '.join(facts)})"

    def _repr_html_(self):
        rows = {
            "name": self.name,
            "images": f"{len(self):,} of {self._sizes()}, {self.channels} "
            f"channel{'s' * (self.channels != 1)}",
            "neighbours": "slices or frames of a stack" if self.stack else "independent",
            "groups": "none" if self.groups is None else len(set(self.groups)),
            "foreground": f"{self.foreground:.1%} of the pixels",
            "synthetic": "yes" if self.synthetic else "no",
            "origin": self.origin,
            "checksum": self.checksum()[:12],
        }
        return facts_table(rows)

    def _sizes(self):
        by_area = sorted((m.size, *m.shape) for m in self.masks)
        ends = [f"{height}×{width}" for _, height, width in (by_area[0], by_area[-1])]
        return " to ".join(dict.fromkeys(ends))


def _image(image, name):
    image = np.asarray(image)
    if image.dtype != np.uint8:
        raise DataError(
            f"The image {name} must have 8 bits per channel, uint8; floats become so by "
            f'ganlib.images.convert(image, "unit", "byte"). Received: dtype={image.dtype}'
        )
    if image.ndim == 2:
        image = image[..., np.newaxis]
    if image.ndim != 3 or 0 in image.shape or image.shape[-1] not in (1, 3):
        raise DataError(
            f"The image {name} must have the shape (height, width), (height, width, 1) or (height, "
            f"width, 3). Received: shape={image.shape}"
        )
    return np.ascontiguousarray(image)


def _check_channels(images, names):
    first = images[0].shape[-1]
    for image, name in zip(images, names, strict=True):
        if image.shape[-1] != first:
            raise DataError(
                "All images must have the same number of channels: load them with channels=1 or "
                f"channels=3. Received: {first} channels in {names[0]}, {image.shape[-1]} in {name}"
            )


def _plane(mask, name):
    mask = np.asarray(mask)
    if mask.ndim == 3 and mask.shape[-1] == 1:
        mask = mask[..., 0]
    if mask.ndim != 2 or 0 in mask.shape or mask.dtype.kind not in "biuf":
        raise DataError(
            f"The mask of {name} must be numbers of the shape (height, width); one plane per class "
            "becomes so by choosing the foreground's, masks[..., k]. "
            f"Received: shape={mask.shape}, dtype={mask.dtype}"
        )
    return mask


def _check_sizes(images, masks, names):
    for image, mask, name in zip(images, masks, names, strict=True):
        if image.shape[:2] != mask.shape:
            (h, w), (mask_h, mask_w) = image.shape[:2], mask.shape
            raise DataError(
                f"The mask of {name} must have the size of its image: look whether it belongs to "
                "another one, or was saved smaller (then resize it without interpolation). "
                f"Received: image {h}×{w}, mask {mask_h}×{mask_w}"
            )


def _binary(masks, names):
    # Seen over the whole set: in one mask alone, 255 throughout could mean either.
    ends = {}  # value → name of the first mask that has it
    for mask, name in zip(masks, names, strict=True):
        low, high = mask.min(), mask.max()
        if not ((mask == low) | (mask == high)).all():
            _refuse(name, np.unique(mask))
        ends.setdefault(low.item(), name)
        ends.setdefault(high.item(), name)
    values = sorted(ends)
    if len(values) > 2 and values != [0, 1, 255]:  # some masks saved as 0 and 1, some as 0 and 255
        added = list(ends)[2]
        _refuse(ends[added], np.array(values), " with those before it")
    threshold = values[0] if len(values) == 2 else 0
    binary = tuple(np.ascontiguousarray(mask > threshold, np.uint8) for mask in masks)
    if values == [0, 1, 255]:
        for mask, name in zip(masks, names, strict=True):
            if mask.min() == 1 and mask.max() == 255:
                _refuse(name, np.array(values), " with the other masks")
    return binary


def _refuse(name, values, where=""):
    shown = ", ".join(f"{value:g}" for value in values[:8])
    more = f" and {len(values) - 8} more" if len(values) > 8 else ""
    raise DataError(
        f"The mask of {name} must be binary{where}: decide which values are the foreground and "
        "save it as 0 and 1, such as (mask > 0) for numbered objects or (mask > 127) after a lossy "
        f"format (save masks as PNG, not JPEG). Received: values {shown}{more}"
    )
