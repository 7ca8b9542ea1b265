"""Bicubic resizing by whole factors, as MATLAB's imresize: the convention of super-resolution."""

import numbers

import numpy as np


def crop_to_multiple(image, scale):
    """Crops an image at the bottom and the right, so that both sides divide by the scale.

    Args:
        image: array `(height, width, ...)`.
        scale: int, at least 1.

    Returns:
        A view of the image.

    Raises:
        ValueError: nothing would be left, or the scale is no positive integer.
    """
    _check_scale(scale)
    image = np.asarray(image)
    if image.ndim < 2 or min(image.shape[:2]) < scale:
        raise ValueError(
            f"The image must have at least `scale` pixels in height and width. Received: "
            f"shape={image.shape}, scale={scale}"
        )
    height, width = image.shape[:2]
    return image[: height - height % scale, : width - width % scale]


def downscale(image, scale):
    """Shrinks an image by a whole factor: antialiased bicubic, as MATLAB's imresize.

    The kernel (a = -0.5) is stretched by the scale, and the image continues as its mirror image
    beyond the borders.

    Args:
        image: array `(height, width)` or `(height, width, channels)`, uint8 or float in any range.
        scale: int, at least 1, by which both sides divide.

    Returns:
        Array `(height / scale, width / scale, ...)`: uint8, rounded and clipped, of a uint8 image;
        float32 of a float image, which may overshoot its range a little.

    Raises:
        ValueError: the scale does not divide the sides or is no positive integer, or the image has
            another shape or dtype.
    """
    _check_scale(scale)
    image = _checked(image)
    height, width = image.shape[:2]
    if height % scale or width % scale:
        raise ValueError(
            "Both sides of the image must divide by the scale: use ganlib.images.crop_to_multiple "
            f"first. Received: shape={image.shape}, scale={scale}"
        )
    return _bicubic(image, 2 * scale, (height // scale, width // scale), 2)


def upscale(image, scale):
    """Enlarges an image by a whole factor: bicubic, as MATLAB's imresize.

    Args:
        image: array `(height, width)` or `(height, width, channels)`, uint8 or float in any range.
        scale: int, at least 1.

    Returns:
        Array `(height * scale, width * scale, ...)`: uint8, rounded and clipped, of a uint8 image;
        float32 of a float image, which may overshoot its range a little.

    Raises:
        ValueError: the scale is no positive integer, or the image has another shape or dtype.
    """
    _check_scale(scale)
    image = _checked(image)
    height, width = image.shape[:2]
    return _bicubic(image, 2, (height * scale, width * scale), 2 * scale)


def _bicubic(image, margin, size, crop):
    """Pads by `margin`, resizes, and crops by `crop`, which is the margin's new width."""
    from PIL import Image

    # Pillow's kernel is MATLAB's, but cut off at the borders, where MATLAB mirrors the image.
    planes = np.moveaxis(image.astype(np.float32).reshape(*image.shape[:2], -1), -1, 0)
    padded = np.pad(planes, ((0, 0), (margin, margin), (margin, margin)), "symmetric")
    height, width = (side + 2 * crop for side in size)
    resized = [
        Image.fromarray(plane).resize((width, height), Image.Resampling.BICUBIC) for plane in padded
    ]
    values = np.stack([np.asarray(plane) for plane in resized], axis=-1)
    values = values[crop:-crop, crop:-crop].reshape(*size, *image.shape[2:])
    if image.dtype != np.uint8:
        return values
    # MATLAB rounds halves up, np.rint to even.
    return np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8)


def _check_scale(scale):
    if not isinstance(scale, numbers.Integral) or scale < 1:
        raise ValueError(f"`scale` must be a positive integer. Received: scale={scale!r}")


def _checked(image):
    image = np.asarray(image)
    if image.ndim not in (2, 3) or image.size == 0:
        raise ValueError(
            "The image must have the shape (height, width) or (height, width, channels). "
            f"Received: shape={image.shape}"
        )
    if image.dtype != np.uint8 and image.dtype.kind != "f":
        raise ValueError(f"The image must be uint8 or float. Received: dtype={image.dtype}")
    return image
