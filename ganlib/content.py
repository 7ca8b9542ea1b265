"""What ties a generated picture to the one it should be: pixels, and features of a network."""

import dataclasses

import keras
from keras import ops

from ganlib.features.perceptual import Extractor, get
from ganlib.images import ValueRange

DISTANCES = {"l1": lambda x: ops.abs(x), "l2": lambda x: ops.square(x)}


@keras.saving.register_keras_serializable("ganlib")
@dataclasses.dataclass(frozen=True)
class ContentLoss:
    """Weighted sum of a distance between pixels and a distance between features.

    Args:
        pixel: float, weight of the mean distance between pixels.
        distance: `"l1"` or `"l2"`, of pixels.
        perceptual: float, weight of the mean squared distance between feature maps (Johnson et
            al., 2016; Ledig et al., 2017).
        features: `ganlib.features.perceptual.Extractor`, or its name; needed where `perceptual`
            is not 0.
        value_range: `ganlib.images.ValueRange` or its name, of the pictures.

    Raises:
        ValueError: a weight is negative, both are 0, or a name is unknown.
    """

    pixel: float = 1.0
    distance: str = "l1"
    perceptual: float = 0.0
    features: Extractor | None = None
    value_range: str = "unit"

    def __post_init__(self):
        if min(self.pixel, self.perceptual) < 0 or self.pixel == self.perceptual == 0:
            raise ValueError(
                "`pixel` and `perceptual` must not be negative, and one of them above 0. "
                f"Received: pixel={self.pixel}, perceptual={self.perceptual}"
            )
        if self.distance not in DISTANCES:
            raise ValueError(
                f"`distance` must be one of {sorted(DISTANCES)}. Received: {self.distance!r}"
            )
        object.__setattr__(self, "value_range", str(ValueRange(self.value_range)))
        if self.perceptual:
            if self.features is None:
                raise ValueError(
                    "`features` must say which network measures the perceptual part, such as "
                    f'"filters". Received: features=None, perceptual={self.perceptual}'
                )
            object.__setattr__(self, "features", get(self.features))

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
            low, width = ValueRange(self.value_range).low, self._width()
            fake, real = (fake - low) / width, (real - low) / width
            total = total + self.perceptual * self.features.distance(fake, real)
        return total

    def _width(self):
        return ValueRange(self.value_range).high - ValueRange(self.value_range).low

    def get_config(self):
        config = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if self.features is not None:
            config["features"] = keras.saving.serialize_keras_object(self.features)
        return config

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "features": get(config["features"])})
