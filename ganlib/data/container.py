"""`Images`: pictures with what is known about them, and how they are brought to one shape."""

import dataclasses
import hashlib
import html
import numbers

import numpy as np
from PIL import Image

from ganlib.data import forms
from ganlib.data.errors import DataError
from ganlib.data.splitting import first_side
from ganlib.images import ValueRange, convert

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
PER_IMAGE = ("images", "masks", "labels", "groups", "names")  # fields with an entry an image


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Images:
    """Images, with masks, labels and groups where they have them.

    Args:
        images: array `(n, height, width, channels)`, or `(n, height, width)` for one channel; kept
            as uint8 where the value range is "byte", else as float32. Or a sequence of uint8
            arrays: kept as a tuple where they differ in size, else as one array.
        masks: array `(n, height, width)` or `(n, height, width, 1)`, or a sequence of single ones,
            of any two values, such as 0 and 255: the lower one of the set is the background. Kept
            as uint8 of 0 and 1, `(n, height, width, 1)` or a tuple of `(height, width, 1)`.
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
        stack: bool, whether consecutive images are neighbours, such as the slices of a volume or
            the frames of a film.

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
        names = range(n) if self.names is None else self.names
        values = {"images": images, "value_range": value_range, "names": tuple(map(str, names))}
        if len(values["names"]) != n:
            raise DataError(
                f"`names` must have one entry per image. Received: {len(values['names'])} names, "
                f"{n} images"
            )
        if self.masks is not None:
            values["masks"] = forms.masks(self.masks, images, values["names"])
        if self.labels is not None:
            values["labels"] = forms.labels(self.labels, n)
        if self.groups is not None:
            values["groups"] = forms.groups(self.groups, n)
        if self.class_names is not None:
            values["class_names"] = tuple(self.class_names)
        for field, value in values.items():
            object.__setattr__(self, field, value)

    def __len__(self):
        return len(self.images)

    @property
    def shape(self):
        """Shape of the image array, `(n, height, width, channels)`.

        Raises:
            DataError: the images differ in size.
        """
        if isinstance(self.images, tuple):
            raise DataError(
                f"The images of {self.name!r} differ in size: load them with size=…, which crops "
                f"and resizes them. Received: {self._sizes()}"
            )
        return self.images.shape

    @property
    def channels(self):
        """Channels of the images, such as 1 or 3."""
        return self.images[0].shape[-1] if len(self) else self.images.shape[-1]

    @property
    def foreground(self):
        """Share of the pixels that are foreground, all images taken together; None without masks.

        0 where there is no image.
        """
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
        if self.stack:
            digest.update(b"stack")
        return digest.hexdigest()

    def as_range(self, value_range):
        """The images as one float32 array, in the given `ganlib.images.ValueRange` (or its name).

        Raises:
            DataError: they differ in size.
        """
        _ = self.shape
        return convert(self.images, self.value_range, value_range).astype(np.float32, copy=False)

    def arrays(self):
        """Images and masks as float32 arrays, both in [0, 1].

        Raises:
            DataError: there are no masks, or the images differ in size.
        """
        if self.masks is None:
            raise DataError(f"{self.name!r} has no masks. Received: masks=None")
        return self.as_range("unit"), self.masks.astype(np.float32)

    def subset(self, indices):
        """`Images` at `indices` (integers, a mask or a slice), in that order."""
        chosen = np.arange(len(self))[indices]
        parts = {}
        for field in PER_IMAGE:
            value = getattr(self, field)
            if isinstance(value, tuple):
                parts[field] = tuple(value[i] for i in chosen)
            elif value is not None:
                parts[field] = value[indices]
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
            ValueError: `fraction` is out of its range.
            DataError: one side would be empty.
        """
        if not 0.0 < fraction < 1.0:
            raise ValueError(f"`fraction` must lie in (0, 1). Received: fraction={fraction}")
        first, second = first_side(self, fraction, seed)
        if not (first.any() and second.any()):
            groups = "" if self.groups is None else f", {len(np.unique(self.groups))} groups"
            raise DataError(
                f"A split of {self.name!r} would leave one side empty: use another fraction, more "
                f"different images, or more groups. Received: fraction={fraction}, {len(self)} "
                f"images{groups}"
            )
        return self.subset(first), self.subset(second)

    def fitted(self, size=None, channels=None):
        """These images in another size or number of channels, see `fit`; masks go with them."""
        check_target(size, channels)
        kept = [(size or h, size or w, channels or c) for h, w, c in self._shapes()]
        if kept == self._shapes():
            return self
        limits = (self.value_range.low, self.value_range.high)
        first = fit(self.images[0], size, channels, limits)
        if isinstance(self.images, tuple) and size is None:
            images = tuple(fit(image, None, channels) for image in self.images)
        else:  # filled in place: it needs little more memory than the result
            images = np.empty((len(self), *first.shape), first.dtype)
            for i, image in enumerate(self.images):
                images[i] = fit(image, size, channels, limits)
        masks = self.masks
        if masks is not None and size is not None:
            masks = np.stack([fit_mask(mask, size) for mask in masks])
        return dataclasses.replace(self, images=images, masks=masks)

    def __repr__(self):
        facts = [f"{len(self)} × {self._sizes()}×{self.channels}" if len(self) else "empty"]
        facts += [str(self.value_range)] if self.masks is None else []
        facts += ["stack"] if self.stack else []
        facts += [f"{count} {what}" for what, count in self._counts().items()]
        facts += [] if self.masks is None else [f"{self.foreground:.1%} foreground"]
        facts.append("synthetic" if self.synthetic else "real")
        return f"Images({self.name!r}, {', '.join(facts)})"

    def _repr_html_(self):
        plural = "s" * (self.channels != 1)
        rows = {
            "name": self.name,
            "images": f"{len(self):,} of {self._sizes()}, {self.channels} channel{plural}"
            + (", slices or frames of a stack" if self.stack else ""),
            "value range": f"{self.value_range} ({'float32' if self._is_float() else 'uint8'})",
            **self._counts(),
        }
        if self.masks is not None:
            empty = sum(not mask.any() for mask in self.masks)
            full = sum(bool(mask.all()) for mask in self.masks)
            rows["foreground"] = f"{self.foreground:.1%} of the pixels" + "".join(
                f"; {count} masks {what}"
                for count, what in ((empty, "empty"), (full, "full"))
                if count
            )
        rows["synthetic"] = "yes" if self.synthetic else "no"
        rows |= {"origin": self.origin, "checksum": self.checksum()[:12]}
        return "<table>{}</table>".format(
            "".join(
                f"<tr><th>{html.escape(str(key))}</th><td>{html.escape(str(value))}</td></tr>"
                for key, value in rows.items()
            )
        )

    def _is_float(self):
        return self.value_range is not ValueRange.BYTE

    def _counts(self):
        named = {"classes": self.labels, "groups": self.groups}
        return {key: len(np.unique(v)) for key, v in named.items() if v is not None}

    def _shapes(self):
        return sorted({image.shape for image in self.images})

    def _sizes(self):
        by_area = sorted(self._shapes(), key=lambda shape: shape[0] * shape[1])
        ends = [f"{height}×{width}" for height, width, _ in (by_area[0], by_area[-1])]
        return " to ".join(dict.fromkeys(ends))


def fit(image, size=None, channels=None, limits=None):
    """Brings one image to a size and number of channels.

    Args:
        image: array `(height, width, channels)`, uint8 or float32.
        size: int, the new height and width in pixels: the largest centred square is resized with
            Pillow's Lanczos filter (antialiased when it shrinks). `None` keeps the size.
        channels: 1 for BT.601 luma or 3 for RGB, where one channel is repeated; an alpha channel is
            dropped. `None` keeps the channels.
        limits: pair of floats, where a resized float image is clipped: Lanczos overshoots.

    Returns:
        Array `(height, width, channels)` of the image's dtype.

    Raises:
        DataError: the channels cannot be converted.
    """
    if channels is not None:
        image = _with_channels(image, channels)
    if size is None or image.shape[:2] == (size, size):
        return image
    # One channel at a time: Pillow has no float RGB.
    planes = np.moveaxis(_centre_square(image), -1, 0)
    planes = (Image.fromarray(np.ascontiguousarray(plane)) for plane in planes)
    resized = [plane.resize((size, size), Image.Resampling.LANCZOS) for plane in planes]
    image = np.stack([np.asarray(plane) for plane in resized], axis=-1)
    return image if limits is None else np.clip(image, *limits)


def fit_mask(mask, size):
    """A mask `(height, width, 1)` cropped and resized as `fit` does, without values in between."""
    plane = Image.fromarray(np.ascontiguousarray(_centre_square(mask)[..., 0]))
    return np.asarray(plane.resize((size, size), Image.Resampling.NEAREST))[..., np.newaxis]


def check_target(size, channels):
    """Raises `DataError` unless the two are such as `fit` takes."""
    if size is not None and (not isinstance(size, numbers.Integral) or size < 1):
        raise DataError(f"`size` must be a positive number of pixels. Received: size={size!r}")
    if channels not in (None, 1, 3):
        raise DataError(f"`channels` must be 1 or 3. Received: channels={channels!r}")


def _with_channels(image, channels):
    present = image.shape[-1]
    if present == channels:
        return image
    if channels == 3 and present == 1:
        return np.repeat(image, 3, axis=-1)
    if present == 4:
        return _with_channels(image[..., :3], channels)
    if present != 3:
        raise DataError(
            f"Only images of 1, 3 or 4 channels can get {channels}; channels come last (np.moveaxis"
            f"(images, 1, -1) moves them there). Received: images of {present} channels"
        )
    luma = image.astype(np.float32) @ np.float32(LUMA)
    luma = np.rint(luma) if image.dtype == np.uint8 else luma
    return luma[..., np.newaxis].astype(image.dtype)


def _centre_square(image):
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]
