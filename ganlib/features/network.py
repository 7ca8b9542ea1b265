"""What all networks that scores stand on have in common.

A score means nothing without its network and its resize, so a `Network` carries the names of both.
"""

import dataclasses
import typing

import numpy as np

from ganlib.images import ValueRange, check_range, convert


class Seen(typing.NamedTuple):
    """What a network makes of n images.

    Attributes:
        features: float32 array `(n, dimension)`.
        probabilities: float32 array `(n, classes)`, rows that sum to 1.
    """

    features: np.ndarray
    probabilities: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Network:
    """A frozen network with the way that images are brought to it.

    Called with images it returns `Seen`. Images of any size and value range become 8-bit, as in a
    PNG file, and are resized by Pillow, whose bicubic filter is antialiased: the filter of common
    frameworks is not, and moves scores by more than models differ (Parmar et al., 2022). An image
    that is not square is squeezed to one.

    Attributes:
        name: str, as `get` knows it.
        title: str, as it stands beside a number.
        size: int, side of its input in pixels.
        channels: int, 1 or 3.
        resize: str, how images are brought to that size.
        dimension: int, number of features.
        checksum: str, SHA-256 of its weights.
        forward: function, uint8 `(batch_size, size, size, channels)` to features and probabilities.
        batch_size: int, images that go through at once.
    """

    name: str
    title: str
    size: int
    channels: int
    resize: str
    dimension: int
    checksum: str
    forward: typing.Callable
    batch_size: int = 32

    def __call__(self, images, value_range=None, progress=False):
        """Returns `Seen` of the images.

        Args:
            images: `ganlib.data.ImageSet`, or array `(n, height, width, channels)` of 1 or 3
                channels, n at least 1. Grey and RGB become each other where needed.
            value_range: `ganlib.images.ValueRange` or its name; an `ImageSet` brings its own.
            progress: bool, whether a progress bar is shown.

        Raises:
            ValueError: another shape, or values that do not match the value range.
        """
        from tqdm.auto import tqdm

        images, value_range = unpacked(images, value_range)
        check_range(images, value_range)
        starts = range(0, len(images), self.batch_size)
        # One shape of batch for all, since a backend compiles for each shape.
        full = min(self.batch_size, 1 << (len(images) - 1).bit_length())
        parts = []
        for start in tqdm(starts, desc=self.title, unit="batch", disable=not progress):
            batch = self.prepare(images[start : start + self.batch_size], value_range)
            padding = np.zeros((full - len(batch), *batch.shape[1:]), batch.dtype)
            outputs = self.forward(np.concatenate([batch, padding]))
            parts.append([np.asarray(x)[: len(batch)].astype("float32") for x in outputs])
        return Seen(*(np.concatenate(x) for x in zip(*parts, strict=True)))

    def prepare(self, images, value_range):
        """What the network is given: uint8 `(n, size, size, channels)`."""
        from PIL import Image

        mode = "L" if self.channels == 1 else "RGB"
        prepared = []
        for image in convert(images, value_range, "byte"):
            # Pillow reads an array of one channel without its axis.
            image = Image.fromarray(np.squeeze(image, -1) if image.shape[-1] == 1 else image)
            image = image.convert(mode)
            if image.size != (self.size, self.size):
                image = image.resize((self.size, self.size), Image.Resampling.BICUBIC)
            prepared.append(np.asarray(image).reshape(self.size, self.size, self.channels))
        return np.stack(prepared)

    def __repr__(self):
        return f"Network({self.name!r}, {self.size}×{self.size}, {self.dimension} features)"


def unpacked(images, value_range):
    """Images as an array `(n, height, width, channels)` and their `ValueRange`."""
    if hasattr(images, "value_range"):
        images, value_range = images.images, value_range or images.value_range
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or images.size == 0:
        raise ValueError(
            "Images must have the shape (n, height, width, channels), with 1 or 3 channels and at "
            f"least one image. Received: shape={images.shape}"
        )
    return images, ValueRange(value_range)
