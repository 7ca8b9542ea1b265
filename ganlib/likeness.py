"""What ties generated pictures to real ones as sets, where none has a partner."""

import dataclasses

import keras
from keras import ops

EMPTY = 1e-6  # sum of squares; what rounding leaves of a picture of one colour is below it


@keras.saving.register_keras_serializable("ganlib")
@dataclasses.dataclass(frozen=True)
class LikenessLoss:
    """How far a batch of generated pictures is from a batch of real ones, each to its nearest.

    The distance of two pictures is 1 - c with their concordance c (Lin, 1989), 2⟨x, y⟩ over
    ⟨x, x⟩ + ⟨y, y⟩, of the pixels after each picture has lost its own mean colour: the correlation
    of `ganlib.metrics.boundary`, but a picture of too much or too little contrast loses by it. Its
    mean over the nearest neighbours is taken both ways, as in the chamfer distance of point sets
    (Barrow et al., 1977): from generated to real pictures, which asks for likeness, and back, which
    asks for variety. Without the way back a generator does best with one typical picture. Colours
    are left to the discriminator.

    As `content` of `ganlib.adversarial.Adversarial`, whose pictures have no partners: `paired` says
    so.

    Args:
        weight: float above 0.

    Raises:
        ValueError: the weight is not above 0.
    """

    weight: float = 1.0
    paired = False

    def __post_init__(self):
        if not self.weight > 0:
            raise ValueError(f"`weight` must be above 0. Received: weight={self.weight}")

    def __call__(self, fake, real):
        """Scalar loss, from 0 to 2 × `weight`, of pictures `(n, h, w, c)` and `(m, h, w, c)`."""
        concordances = _concordances(_details(fake), _details(real))
        there, back = (ops.mean(ops.max(concordances, axis=axis)) for axis in (1, 0))
        return self.weight * (1.0 - 0.5 * (there + back))

    def get_config(self):
        return {"weight": self.weight}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def _details(images):
    """Pixel vectors `(n, values)`, less each picture's mean colour."""
    images = ops.cast(images, "float32")
    images = images - ops.mean(images, axis=(1, 2), keepdims=True)
    return ops.reshape(images, (ops.shape(images)[0], -1))


def _concordances(a, b):
    """Of all pairs, `(n, m)`; of two pictures of one colour 0."""
    squares = [ops.sum(ops.square(x), axis=1) for x in (a, b)]
    products = ops.matmul(a, ops.transpose(b))
    return 2.0 * products / (squares[0][:, None] + squares[1][None, :] + EMPTY)
