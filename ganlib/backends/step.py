"""The stateful step: all that TensorFlow and torch need, and the inside of JAX's."""

import keras


class StatefulStep:
    """Hands a batch to `play` (training) or `score` (evaluation): images, or (inputs, images)."""

    def train_step(self, data):
        return self.play(*self._images_first(data))

    def test_step(self, data):
        return self.score(*self._images_first(data))

    def _images_first(self, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        # Images in y make a pair; labels, which are of lower rank, have no part in a GAN's step.
        paired = y is not None and len(y.shape) == len(self.discriminator.input_shape)
        return (y, x) if paired else (x, None)
