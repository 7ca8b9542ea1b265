"""Models that turn images into images in a way that is told in one line, and files for them."""

import keras
import numpy as np
from keras import layers
from PIL import Image


def noise(*shape):
    return np.random.default_rng(shape).integers(0, 256, shape, "uint8")


def make_nearest(scale=2):
    """Each pixel becomes scale × scale of them."""
    inputs = keras.Input((None, None, 3))
    return keras.Model(inputs, layers.UpSampling2D(scale)(inputs))


def make_brightness(sharpness=1e3, channels=1, threshold=0.5):
    """Logits of sharpness · (brightness - threshold)."""
    inputs = keras.Input((None, None, channels))
    convolution = layers.Conv2D(1, 1)
    model = keras.Model(inputs, convolution(inputs))
    kernel = np.full((1, 1, channels, 1), sharpness / channels)
    convolution.set_weights([kernel, np.array([-sharpness * threshold])])
    return model


def opened(path):
    """A picture without a file behind it."""
    with Image.open(path) as image:
        image.load()
    return image


def cut(path):
    """Leaves a file's header and some of its pixels."""
    path.write_bytes(path.read_bytes()[:80])
