"""The stateful step: all that TensorFlow and torch need, and the inside of JAX's."""

import keras

WEIGHTS = (
    "A GAN's step weighs all images alike: leave `sample_weight` and `class_weight` out. "
    "Received: {}"
)


class StatefulStep:
    """Hands a batch to `play` (training) or `score` (evaluation): images, or (inputs, images)."""

    def fit(self, *args, sample_weight=None, class_weight=None, **kwargs):
        """As `keras.Model.fit`, on images, or on pairs (inputs, images); labels are left aside."""
        if sample_weight is not None or class_weight is not None:
            raise ValueError(
                WEIGHTS.format(sample_weight if class_weight is None else class_weight)
            )
        return super().fit(*args, **kwargs)

    def train_step(self, data):
        return self.play(*self._images_first(data))

    def test_step(self, data):
        return self.score(*self._images_first(data))

    def _images_first(self, data):
        """Images, and the generator's inputs or None; refuses while Keras traces the first step."""
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        if weight is not None:
            raise ValueError(WEIGHTS.format(weight))
        shape = self.discriminator.input_shape
        x, y = _only(x), _only(y)
        # Images in y make a pair; labels, which are of lower rank, have no part in a GAN's step.
        paired = hasattr(y, "shape") and len(y.shape) == len(shape)
        images, inputs = (y, x) if paired else (x, None)
        if not hasattr(images, "shape"):
            parts = list(images) if isinstance(images, dict) else len(images)
            raise ValueError(
                "A batch must be images, or a pair (inputs, images): of anything else take the "
                'images alone, such as dataset.map(lambda batch: batch["image"]). Received: a '
                f"{type(images).__name__} of {parts}"
            )
        if len(images.shape) != len(shape):
            raise ValueError(
                f"Images must have the shape that the discriminator takes, {shape}: add the axis "
                f"of channels (images[..., None]). Received: shape {tuple(images.shape)}"
            )
        self._check_pairing(inputs)
        return images, inputs

    def _check_pairing(self, inputs):
        if inputs is None and getattr(self.content, "paired", self.content is not None):
            raise ValueError(
                "A content loss needs pairs: fit(inputs, images), or batches (inputs, images). "
                f"Received: images alone, content={self.content!r}"
            )
        size = self.options["generator_batch"]
        if inputs is not None and size is not None:
            raise ValueError(
                "With pairs the generator's batch is the images' own: leave `generator_batch` out. "
                f"Received: generator_batch={size}"
            )


def _only(part):
    """What `fit([images])` holds."""
    return part[0] if isinstance(part, list | tuple) and len(part) == 1 else part
