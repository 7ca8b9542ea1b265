"""Upscalers that are one convolution at low resolution: bicubic, and the best linear one."""

import numbers

import numpy as np

from ganlib.images.resize import upscale

SIDE = 5  # of the patch: bicubic upscaling by any whole factor reaches two pixels to each side
MARGIN = SIDE // 2
CENTRE = SIDE * SIDE // 2


def bicubic_kernel(scale):
    """The kernel with which `apply_kernel` is `upscale`.

    Args:
        scale: int, 2 to 4.

    Returns:
        float32 array `(5, 5, scale**2)`. Channel `i * scale + j` gives the pixel in row `i`, column
        `j` of the block that replaces one pixel, which is the order of depth-to-space. The 25 taps
        of a channel sum to 1.

    Raises:
        ValueError: another scale.
    """
    _check_scale(scale)
    impulse = np.zeros((2 * SIDE - 1, 2 * SIDE - 1), np.float32)
    impulse[SIDE - 1, SIDE - 1] = 1
    reached = slice(MARGIN * scale, (MARGIN + SIDE) * scale)
    blocks = upscale(impulse, scale)[reached, reached].reshape(SIDE, scale, SIDE, scale)
    # Flipped: the pixel above the impulse sees it below.
    blocks = blocks[::-1, :, ::-1].transpose(0, 2, 1, 3)
    return blocks.reshape(SIDE, SIDE, scale**2)


def fit_kernel(pairs, scale, ridge=1e-4):
    """The kernel of least squared error on pairs of pictures, in closed form.

    All colour channels share it. The taps of each channel sum to 1, so that a flat picture stays
    flat. One picture's channel is held in patches at a time.

    Args:
        pairs: iterable of pairs of float arrays in [0, 1]: low resolution
            `(height, width, channels)` and high resolution
            `(height * scale, width * scale, channels)`.
        scale: int, 2 to 4.
        ridge: float above 0, how strongly the kernel is drawn to the bicubic one, as a fraction of
            the mean squared difference between a pixel and its neighbours.

    Returns:
        float32 array `(5, 5, scale**2)`, see `bicubic_kernel`.

    Raises:
        ValueError: another scale, shapes that do not match, a ridge of 0 or less, or no picture
            that is not flat.
    """
    _check_scale(scale)
    if not ridge > 0:
        raise ValueError(f"`ridge` must be above 0. Received: ridge={ridge!r}")
    gram = np.zeros((SIDE * SIDE - 1, SIDE * SIDE - 1))
    moments = np.zeros((SIDE * SIDE - 1, scale**2))
    for low, high in pairs:
        for patches, blocks in _channels(np.asarray(low), np.asarray(high), scale):
            # Relative to the patch's centre, whose tap is then what the others leave to 1.
            centre = patches[:, CENTRE, np.newaxis]
            others = np.delete(patches, CENTRE, axis=1) - centre
            gram += others.T @ others
            moments += others.T @ (blocks - centre)
    spread = np.trace(gram) / len(gram)
    if not spread > 0:
        raise ValueError(
            "A kernel needs at least one picture that is not flat and holds no NaN. Received: "
            f"mean squared difference between neighbours={spread:g}"
        )
    start = np.delete(bicubic_kernel(scale).reshape(SIDE * SIDE, -1), CENTRE, axis=0)
    step = np.linalg.solve(gram + ridge * spread * np.eye(len(gram)), moments - gram @ start)
    taps = start + step
    taps = np.insert(taps, CENTRE, 1 - taps.sum(axis=0), axis=0)
    return taps.reshape(SIDE, SIDE, scale**2).astype(np.float32)


def apply_kernel(image, kernel, scale):
    """Enlarges an image with a kernel of `bicubic_kernel` or `fit_kernel`.

    Args:
        image: array `(height, width, channels)`, in any value range. Beyond its borders it
            continues as its mirror image.
        kernel: array `(5, 5, scale**2)`.
        scale: int, 2 to 4.

    Returns:
        float32 array `(height * scale, width * scale, channels)`, in the image's value range, which
        it may overshoot a little.

    Raises:
        ValueError: another scale or other shapes.
    """
    _check_scale(scale)
    image, kernel = np.asarray(image), np.asarray(kernel)
    _check_image(image)
    if kernel.shape != (SIDE, SIDE, scale**2):
        raise ValueError(
            f"The kernel must have the shape {(SIDE, SIDE, scale**2)} for a scale of {scale}. "
            f"Received: shape={kernel.shape}"
        )
    windows = _windows(image.astype(np.float32))
    blocks = np.tensordot(windows, kernel.astype(np.float32), axes=2)
    height, width, channels = image.shape
    blocks = blocks.reshape(height, width, channels, scale, scale).transpose(0, 3, 1, 4, 2)
    return blocks.reshape(height * scale, width * scale, channels)


def _channels(low, high, scale):
    """Of each channel, the patches `(n, 25)` and the blocks `(n, scale**2)`, as float64."""
    _check_image(low)
    height, width, channels = low.shape
    if high.shape != (height * scale, width * scale, channels):
        raise ValueError(
            f"The high resolution must have {scale} times the low one's height and width, and the "
            f"same channels. Received: shapes {low.shape} and {high.shape}"
        )
    for channel in range(channels):
        patches = _windows(low[..., channel, np.newaxis].astype(np.float64))
        blocks = high[..., channel].astype(np.float64).reshape(height, scale, width, scale)
        yield (
            patches.reshape(height * width, -1),
            blocks.transpose(0, 2, 1, 3).reshape(height * width, -1),
        )


def _windows(image):
    """The patch around each pixel: `(height, width, channels, 5, 5)`."""
    padded = np.pad(image, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), "symmetric")
    return np.lib.stride_tricks.sliding_window_view(padded, (SIDE, SIDE), axis=(0, 1))


def _check_scale(scale):
    if not isinstance(scale, numbers.Integral) or not 2 <= scale <= 4:
        raise ValueError(f"`scale` must be 2, 3 or 4. Received: scale={scale!r}")


def _check_image(image):
    if image.ndim != 3 or image.size == 0:
        raise ValueError(
            f"An image must have the shape (height, width, channels). Received: shape={image.shape}"
        )
