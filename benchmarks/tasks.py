"""The larger networks that are timed: super-resolution and U-Nets, as their studies train them."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class SuperResolution:
    """A step of super-resolution, four times, RGB.

    Attributes:
        kind: "pixels" (pretraining, mean absolute error) or "adversarial" (update "shared": hinge
            loss, pixels, features of a VGG16 with random weights, moving average).
        feature_width: int, filters of the VGG16's first block; the real one has 64.
        generator: "residual", or "paper" as in the write-up's attempts, which has no twin.
    """

    name: str
    title: str
    kind: str
    filters: int = 96
    blocks: int = 16
    d_filters: int = 64
    patch: int = 192
    batch: int = 16
    feature_width: int = 64
    generator: str = "residual"
    scale: int = 4
    section = "sr"

    @property
    def described(self):
        sizes = f"{self.filters} filters, {self.blocks} blocks, patches of {self.patch}²"
        return f"{sizes}, batch {self.batch}"

    def arrays(self, count):
        """Pairs of pictures in [0, 1], channels last, in low and high resolution."""
        low = noise(count, self.patch // self.scale, 3)
        return low, low.repeat(self.scale, axis=1).repeat(self.scale, axis=2)


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """A step of a U-Net of the grid: focal loss, Adam with each gradient's norm clipped to 1."""

    name: str
    title: str
    architecture: str = "unet"
    filters: int = 64
    depth: int = 4
    size: int = 256
    batch: int = 16
    kind = "unet"
    section = "unet"
    generator = ""

    @property
    def described(self):
        sizes = f"{self.filters} filters, depth {self.depth}, tiles of {self.size}²"
        return f"{sizes}, batch {self.batch}"

    def arrays(self, count):
        """Images in [0, 1] and masks of 0 and 1, channels last."""
        images = noise(count, self.size, 1)
        return images, (images > 0.5).astype("float32")


def noise(count, size, channels):
    """Random pictures, float32; of more than 64, some are alike."""
    shape = (min(count, 64), size, size, channels)
    return np.resize(np.random.default_rng(0).random(shape, "float32"), (count, *shape[1:]))


# As the studies' quick profiles; the feature network is thinner, too.
QUICK_SR = {"filters": 32, "blocks": 4, "d_filters": 16, "patch": 64, "batch": 8}
QUICK_SR["feature_width"] = 8
QUICK_UNET = {"filters": 8, "depth": 2, "size": 48}
ATTEMPT = {"filters": 64, "patch": 96, "generator": "paper"}
U_NETS = [("unet", 8), ("unet", 16), ("unet", 32), ("attention_unet", 16)]
U_NETS.append(("attention_resunet", 16))
TITLES = dict(zip(("unet", "attention_unet", "attention_resunet"),
                  ("U-Net", "Attention U-Net", "Attention ResU-Net"), strict=True))  # fmt: skip


def tasks(size):
    """Name → task of a profile, "quick" or "full"; a name ends in its profile."""
    sr, unet = (QUICK_SR, QUICK_UNET) if size == "quick" else ({}, {})
    attempt = {**sr, "generator": "paper"} if size == "quick" else ATTEMPT
    rows = [
        SuperResolution("sr-pixels", "Super-resolution, pixels", "pixels", **sr),
        SuperResolution("sr-adversarial", "Super-resolution, adversarial", "adversarial", **sr),
        SuperResolution("sr-attempt", "SRGAN as attempted", "adversarial", **attempt),
        *(
            Segmentation(f"{name}-{batch}", TITLES[name], name, batch=batch, **unet)
            for name, batch in U_NETS
        ),
    ]
    return {
        f"{row.name}-{size}": dataclasses.replace(row, name=f"{row.name}-{size}") for row in rows
    }


TASKS = {**tasks("quick"), **tasks("full")}
