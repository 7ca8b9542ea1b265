"""What is timed, stated once for every contender."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Workload:
    """One training step; `kind` is "digits", "dcgan", "pixels", "adversarial" or "unet"."""

    name: str
    title: str
    kind: str
    batch: int  # real pictures in a step
    size: int  # pixels of a picture's side; of super-resolution the large one's
    g_batch: int = 0  # latents in the generator's own step of the alternating update
    sizes: dict = dataclasses.field(default_factory=dict)  # arguments of the builders

    @property
    def is_gan(self):
        return self.kind in ("digits", "dcgan")

    def arrays(self, steps):
        """Noise for so many steps, float32, channels last, as a tuple of arrays.

        GANs get images, super-resolution small and large pictures, a U-Net images and masks.
        """
        channels = 1 if self.kind in ("digits", "unet") else 3
        shape = (steps * self.batch, self.size, self.size, channels)
        images = np.random.default_rng(0).random(shape, "float32")
        if self.kind == "dcgan":
            return (2 * images - 1,)
        if self.kind == "unet":
            return images, (images > 0.5).astype("float32")
        return (images,) if self.kind == "digits" else (images[:, ::4, ::4], images)


def _workloads():
    digits = {"latent_dim": 100}
    yield Workload("small", "Digits GAN, small", "digits", 32, 28, 32, digits | {"g": 16, "d": 32})
    wide = digits | {"g": 128, "d": 128}
    yield Workload("tutorial", "Digits GAN, tutorial widths", "digits", 128, 28, 256, wide)
    dcgan = {"latent_dim": 100, "g": 64, "d": 64}
    yield Workload("dcgan", "DCGAN 64×64×3", "dcgan", 64, 64, 64, dcgan)
    resolution = {"filters": 32, "blocks": 6, "d": 32}
    yield Workload("sr-pixels", "Super-resolution, pixels", "pixels", 8, 96, 0, resolution)
    yield Workload("sr-adversarial", "… and adversarial", "adversarial", 8, 96, 0, resolution)
    for name in ("unet", "attention_unet", "attention_resunet"):
        sizes = {"architecture": name, "filters": 8, "depth": 3}
        yield Workload(name, name.replace("_", " "), "unet", 16, 48, 0, sizes)


WORKLOADS = {workload.name: workload for workload in _workloads()}
