"""The stateful step: all that TensorFlow and torch need, and the inside of JAX's."""

import keras


class StatefulStep:
    """Hands the images of a batch to `play` (training) or `score` (evaluation)."""

    def train_step(self, data):
        return self.play(keras.utils.unpack_x_y_sample_weight(data)[0])

    def test_step(self, data):
        return self.score(keras.utils.unpack_x_y_sample_weight(data)[0])
