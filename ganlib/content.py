"""What ties generated pictures to real ones: to the very one each should be, or to the set."""

import dataclasses

import keras
from keras import ops

from ganlib.features.perceptual import Extractor, get
from ganlib.images import ValueRange
from ganlib.losses import Configured

DISTANCES = {"l1": ops.abs, "l2": ops.square}
EMPTY = 1e-6  # sum of squares; what rounding leaves of a picture of one colour is below it


@keras.saving.register_keras_serializable("ganlib")
@dataclasses.dataclass(frozen=True)
class ContentLoss(Configured):
    """Weighted sum of a distance between pixels and a distance between features.

    The latter is squared (Johnson et al., 2016; Ledig et al., 2017).
    """

    pixel: float = 1.0  # weight of the mean distance between pixels
    distance: str = "l1"  # or "l2", of pixels
    perceptual: float = 0.0  # weight of the mean distance between feature maps
    features: Extractor | None = None  # or its name; for `perceptual` alone
    value_range: str = "unit"  # `ganlib.images.ValueRange` or its name, of the pictures

    def __post_init__(self):
        weights = self.pixel, self.perceptual
        if min(weights) < 0 or not any(weights) or self.distance not in DISTANCES:
            raise ValueError(f"Give weights of 0 or more, and l1 or l2. Received: {self}")
        if self.perceptual and self.features is None:
            raise ValueError(f'`perceptual` needs `features`, such as "filters". Received: {self}')
        object.__setattr__(self, "value_range", str(ValueRange(self.value_range)))
        object.__setattr__(self, "features", get(self.features) if self.perceptual else None)

    def prepare(self):
        """Builds the extractor, if there is one: a traced step must not make variables."""
        if self.perceptual:
            self.features.model  # noqa: B018

    def __call__(self, fake, real):
        """Scalar loss of pictures `(n, h, w, c)` against those they should be."""
        fake, real = ops.cast(fake, "float32"), ops.cast(real, "float32")
        total = 0.0
        if self.pixel:
            total = total + self.pixel * ops.mean(DISTANCES[self.distance](fake - real))
        if self.perceptual:
            low, high = ValueRange(self.value_range).low, ValueRange(self.value_range).high
            fake, real = (fake - low) / (high - low), (real - low) / (high - low)
            total = total + self.perceptual * self.features.distance(fake, real)
        return total


@keras.saving.register_keras_serializable("ganlib")
@dataclasses.dataclass(frozen=True)
class LikenessLoss(Configured):
    """How far a batch of generated pictures is from a batch of real ones, each to its nearest.

    The distance is 1 - c with the concordance c (Lin, 1989), 2⟨x, y⟩ over ⟨x, x⟩ + ⟨y, y⟩, of the
    pixels less each picture's mean colour; its mean over nearest neighbours is taken both ways
    (chamfer distance; Barrow et al., 1977): for likeness, and for variety.
    """

    weight: float = 1.0  # above 0
    paired = False  # as `content` of an `Adversarial` it needs no pairs

    def __post_init__(self):
        if not self.weight > 0:
            raise ValueError(f"`weight` must be above 0. Received: weight={self.weight}")

    def __call__(self, fake, real):
        """Scalar loss, from 0 to 2 × `weight`, of pictures `(n, h, w, c)` and `(m, h, w, c)`."""

        def details(images):
            images = ops.cast(images, "float32")
            images = images - ops.mean(images, axis=(1, 2), keepdims=True)
            return ops.reshape(images, (ops.shape(images)[0], -1))

        a, b = details(fake), details(real)
        squares = [ops.sum(ops.square(x), axis=1) for x in (a, b)]
        products = ops.matmul(a, ops.transpose(b))
        # Of two pictures of one colour the concordance is 0.
        concordances = 2.0 * products / (squares[0][:, None] + squares[1][None, :] + EMPTY)
        there, back = (ops.mean(ops.max(concordances, axis=axis)) for axis in (1, 0))
        return self.weight * (1.0 - 0.5 * (there + back))
