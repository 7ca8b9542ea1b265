"""Upscalers that are one convolution at low resolution: bicubic, and the best linear one."""

import keras
import numpy as np
from keras import layers, ops

from ganlib.images import upscale
from ganlib.models.layers import PixelShuffle

SIDE = 5  # pixels of the patch: bicubic by a whole factor reaches two to each side
MARGIN, CENTRE = SIDE // 2, SIDE * SIDE // 2


def bicubic_kernel(scale):
    """Returns the kernel with which `apply_kernel` is `upscale`: float32 `(5, 5, scale**2)`.

    The channels are in the order of `PixelShuffle`. The 25 taps of a channel sum to 1.
    """
    impulse = np.zeros((2 * SIDE - 1, 2 * SIDE - 1), np.float32)
    impulse[SIDE - 1, SIDE - 1] = 1
    reached = slice(MARGIN * scale, (MARGIN + SIDE) * scale)
    blocks = upscale(impulse, scale)[reached, reached].reshape(SIDE, scale, SIDE, scale)
    # Flipped: the pixel above the impulse sees it below.
    return blocks[::-1, :, ::-1].transpose(0, 2, 1, 3).reshape(SIDE, SIDE, scale**2)


def fit_kernel(pairs, scale, ridge=1e-4):
    """Returns the kernel of least squared error on pairs of pictures, in closed form.

    All colour channels share it. The 25 taps sum to 1, so that a flat picture stays flat.

    Args:
        pairs: iterable of pairs of float arrays `(height, width, channels)`, small and large.
        scale: int, 2 to 4.
        ridge: float above 0, the pull to bicubic, relative to neighbours' mean squared difference.
    """
    gram = np.zeros((SIDE * SIDE - 1, SIDE * SIDE - 1))
    moments = np.zeros((SIDE * SIDE - 1, scale**2))
    for pair in pairs:
        # A channel at a time: patches take 25 times the memory.
        channels = (np.moveaxis(np.asarray(image, np.float64), -1, 0) for image in pair)
        for low, high in zip(*channels, strict=True):
            patches = _windows(low[..., np.newaxis]).reshape(low.size, -1)
            blocks = high.reshape(len(low), scale, -1, scale).transpose(0, 2, 1, 3)
            # Relative to the patch's centre, whose tap is then what the others leave to 1.
            centre = patches[:, CENTRE, np.newaxis]
            others = np.delete(patches, CENTRE, axis=1) - centre
            gram += others.T @ others
            moments += others.T @ (blocks.reshape(low.size, -1) - centre)
    start = np.delete(bicubic_kernel(scale).reshape(SIDE * SIDE, -1), CENTRE, axis=0)
    ridge = ridge * np.trace(gram) / len(gram) * np.eye(len(gram))
    taps = start + np.linalg.solve(gram + ridge, moments - gram @ start)
    taps = np.insert(taps, CENTRE, 1 - taps.sum(axis=0), axis=0)
    return taps.reshape(SIDE, SIDE, scale**2).astype(np.float32)


def apply_kernel(image, kernel, scale):
    """Enlarges an image in any value range; returns float32, which may overshoot it a little.

    `image` is `(height, width, channels)`, mirrored beyond its borders; `kernel` `(5, 5, scale²)`.
    """
    height, width, channels = np.shape(image)
    windows = _windows(np.asarray(image, np.float32))
    blocks = np.tensordot(windows, np.asarray(kernel, np.float32), axes=2)
    blocks = blocks.reshape(height, width, channels, scale, scale).transpose(0, 3, 1, 4, 2)
    return blocks.reshape(height * scale, width * scale, channels)


def _windows(image):
    padded = np.pad(image, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), "symmetric")
    return np.lib.stride_tricks.sliding_window_view(padded, (SIDE, SIDE), axis=(0, 1))


@keras.saving.register_keras_serializable("ganlib")
class LinearUpscaling(layers.Layer):
    """`apply_kernel` as a layer: its kernel is a weight that is saved, and never trained.

    `kernel` is an array `(5, 5, scale²)` as `fit_kernel` returns it. `None`: bicubic.
    """

    def __init__(self, scale, kernel=None, **kwargs):
        super().__init__(**{**kwargs, "trainable": False})
        self.scale, self._initial = scale, kernel
        self.shuffle = PixelShuffle(scale, dtype=self.dtype_policy)

    def build(self, input_shape):
        kernel = bicubic_kernel(self.scale) if self._initial is None else self._initial
        channels = input_shape[-1]
        # Dense in the channels, zero between two colours: one convolution on every backend.
        dense = np.einsum("hwr,ck->hwcrk", kernel, np.eye(channels))
        dense = dense.reshape(SIDE, SIDE, channels, -1).astype("float32")
        self.kernel = self.add_weight(name="kernel", shape=dense.shape, trainable=False)
        self.kernel.assign(dense)

    def call(self, inputs):
        x = inputs
        for axis in (1, 2):  # ops.pad knows no symmetric mode on torch
            length = ops.shape(x)[axis]
            at = ops.arange(-MARGIN, length + MARGIN, dtype="int32")
            at = ops.where(at < 0, -1 - at, ops.where(at < length, at, 2 * length - 1 - at))
            x = ops.take(x, ops.clip(at, 0, length - 1), axis=axis)
        return self.shuffle(ops.conv(x, ops.cast(self.kernel, x.dtype), padding="valid"))

    def compute_output_shape(self, input_shape):
        n, height, width, channels = input_shape
        return self.shuffle.compute_output_shape((n, height, width, channels * self.scale**2))

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}
