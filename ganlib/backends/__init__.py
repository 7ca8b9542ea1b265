"""The only code that differs between Keras backends: gradients, and JAX's explicit state.

Each `BackendStep` has `value_and_gradients(objective, optimizers, groups)`, each loss's gradient by
its own group of variables, and `input_gradient(function, x)`, differentiable.
"""

import importlib

import keras

WEIGHTS = "All images weigh alike: leave `sample_weight` and `class_weight` out. Received: {}"


class StatefulStep:
    """Hands a batch to `play` (training) or `score` (evaluation): images, or (inputs, images)."""

    def fit(self, *args, sample_weight=None, class_weight=None, **kwargs):
        for weight in (sample_weight, class_weight):  # Keras drops them where there are no labels
            if weight is not None:
                raise ValueError(WEIGHTS.format(weight))
        return super().fit(*args, **kwargs)

    def train_step(self, data):
        return self.play(*self._images_first(data))

    def test_step(self, data):
        return self.score(*self._images_first(data))

    def _images_first(self, data):
        """Images, and the generator's inputs or None."""
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        if weight is not None:
            raise ValueError(WEIGHTS.format(weight))
        shape = self.discriminator.input_shape
        if isinstance(x, list | tuple) and len(x) == 1:
            (x,) = x  # of fit([images])
        # Images in y make a pair; labels, which are of lower rank, have no part in a GAN's step.
        paired = hasattr(y, "shape") and len(y.shape) == len(shape)
        images, inputs = (y, x) if paired else (x, None)
        if len(getattr(images, "shape", ())) != len(shape):
            received = getattr(images, "shape", None) or type(images).__name__
            raise ValueError(
                f"A batch must be images of shape {shape} or a pair (inputs, images): of a dict "
                "take the images alone; add a missing axis of channels with images[..., None]. "
                f"Received: {received}"
            )
        if inputs is None and getattr(self.content, "paired", self.content is not None):
            raise ValueError("A content loss needs pairs: fit(inputs, images). Received: images")
        return images, inputs


BackendStep = importlib.import_module(f"{__name__}.{keras.backend.backend()}").BackendStep
