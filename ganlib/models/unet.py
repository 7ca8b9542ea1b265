"""The U-Nets of a well-known microscopy tutorial (DigitalSreeni's videos 224 to 226)."""

import keras
from keras import layers

from ganlib.models.layers import BatchNormalization, CheckSize, check_choice

ARCHITECTURES = ("unet", "attention_unet", "attention_resunet")


def build_unet(
    architecture="unet", filters=64, *, depth=4, channels=1, dropout=0.0, momentum=0.9, seed=0
):
    """Builds a U-Net: images `(batch_size, height, width, channels)` in [0, 1] to logits.

    After Ronneberger et al. (2015). Other than in the tutorial, logits come out, without batch
    normalisation; no bias is before one, where its gradient is rounding noise that Adam blows up;
    and a gate's transposed 3×3 convolution with stride 1 is a convolution: fast on JAX.

    Args:
        architecture: "unet"; "attention_unet", with a gate on each skip (Oktay et al., 2018); or
            "attention_resunet", with a 1×1 shortcut past each pair of convolutions, too.
        filters: int, of the first level; each deeper one has twice as many.
        depth: int, poolings. Height and width must be multiples of 2**depth.
        channels, dropout: int; rate in [0, 1) of dropout after each pair of convolutions.
        momentum: float, of batch normalisation: after 120 steps 0.99 gave an IoU of 0.015.
        seed: int, of initial values and dropout masks.
    """
    check_choice("architecture", architecture, ARCHITECTURES)
    gated, residual = architecture != "unet", architecture == "attention_resunet"
    kernel_seeds = iter(range(1000 * seed, 1000 * seed + 500))
    mask_seeds = iter(range(1000 * seed + 500, 1000 * seed + 1000))  # apart: same weights without

    def convolution(x, width, size, name, **options):
        initializer = keras.initializers.GlorotUniform(seed=next(kernel_seeds))
        options = {"padding": "same", "kernel_initializer": initializer, **options}
        return layers.Conv2D(width, size, name=name, **options)(x)

    def normalised(x, width, size, name, number=""):
        x = convolution(x, width, size, f"{name}_conv{number}", use_bias=False)
        return BatchNormalization(name=f"{name}_norm{number}", momentum=momentum)(x)

    def drop(x, name):
        seed = next(mask_seeds)
        return layers.Dropout(dropout, seed=seed, name=f"{name}_dropout")(x) if dropout else x

    def block(x, width, name):
        y = layers.ReLU(name=f"{name}_relu1")(normalised(x, width, 3, name, 1))
        y = normalised(y, width, 3, name, 2)
        if residual:  # the tutorial drops before the sum here, so that the shortcut is whole
            y = drop(y, name)
            y = layers.Add(name=f"{name}_sum")([normalised(x, width, 1, f"{name}_shortcut"), y])
            return layers.ReLU(name=f"{name}_relu2")(y)
        return drop(layers.ReLU(name=f"{name}_relu2")(y), name)

    def gate(skip, below, width, name):
        """The skip, weighted in [0, 1] at each place of the level below."""
        signal = normalised(below, width, 1, f"{name}_signal")
        signal = layers.ReLU(name=f"{name}_signal_relu")(signal)
        theta = convolution(skip, width, 2, f"{name}_theta", strides=2)
        phi = convolution(signal, width, 1, f"{name}_phi")
        phi = convolution(phi, width, 3, f"{name}_phi_spread")
        x = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_sum")([phi, theta]))
        weights = convolution(x, 1, 1, f"{name}_psi", activation="sigmoid")
        weights = layers.UpSampling2D(name=f"{name}_weights")(weights)
        x = layers.Multiply(name=f"{name}_weighted")([skip, weights])
        return normalised(x, width, 1, name)

    images = keras.Input((None, None, channels), name="images")
    x = CheckSize(2**depth, name="check_size")(images)
    skips = []
    for level in range(depth):
        skips.append(block(x, filters << level, f"down{level}"))
        x = layers.MaxPooling2D(name=f"down{level}_pool")(skips[-1])
    x = block(x, filters << depth, "bottom")
    for level in reversed(range(depth)):
        width, skip = filters << level, skips[level]
        skip = gate(skip, x, width, f"gate{level}") if gated else skip
        x = layers.UpSampling2D(name=f"up{level}_double")(x)
        x = layers.Concatenate(name=f"up{level}_join")([x, skip])
        x = block(x, width, f"up{level}")
    logits = convolution(x, 1, 1, "logits", dtype="float32")
    return keras.Model(images, logits, name=architecture)
