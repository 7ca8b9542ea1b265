"""What is timed: three GANs, each of them stated once for every contender."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Workload:
    """A GAN and its batch sizes; all contenders train it with Adam(2e-4, beta_1 = 0.5).

    Attributes:
        kind: "digits" (28×28×1, no batch normalisation, dropout 0.4) or "dcgan".
        width: int, filters of the generator's hidden layers; DCGAN: of its last one.
        d_width: int, filters of the discriminator's layers; DCGAN: of its first one.
        batch: int, real images in a step, and fakes in the discriminator's.
        generator_batch: int, latents in the generator's own step of the alternating update.
    """

    name: str
    title: str
    kind: str
    width: int
    d_width: int
    batch: int
    generator_batch: int
    size: int = 28
    channels: int = 1
    latent_dim: int = 100

    def images(self, steps):
        """Smooth pictures in [0, 1] or [-1, 1] for `steps` steps, float32, channels last."""
        count = min(steps * self.batch, 1024)
        y, x = np.mgrid[: self.size, : self.size] / self.size
        centre = np.random.default_rng(0).uniform(0.3, 0.7, (count, 2, 1, 1))
        blobs = np.exp(-40 * ((x - centre[:, 0]) ** 2 + (y - centre[:, 1]) ** 2))
        if self.kind == "dcgan":
            blobs = 2 * blobs - 1
        images = np.repeat(blobs[..., None], self.channels, axis=-1).astype("float32")
        return np.resize(images, (steps * self.batch, *images.shape[1:]))


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("small", "Digits GAN, small", "digits", 16, 32, 32, 32),
        Workload("tutorial", "Digits GAN, tutorial widths", "digits", 128, 128, 128, 256),
        Workload("dcgan", "DCGAN 64×64×3", "dcgan", 64, 64, 64, 64, size=64, channels=3),
    )
}


def step_flops(generator, discriminator, workload, update):
    """Floating-point operations of one step: convolutions and dense layers only.

    A multiplication and its addition are two operations. Forward costs a pass one time its layers'
    products; the gradients of a player's weights cost one more, those of its inputs another one,
    less the first layer's where nothing needs them. Nothing else is counted, and neither is what a
    contender computes without needing it.
    """
    g, g_first = _pass_flops(generator)
    d, d_first = _pass_flops(discriminator)
    n, m = workload.batch, workload.generator_batch
    d_step = 2 * n * (3 * d - d_first)  # real and fake, forward and both gradients
    g_through_d = 2 * d  # forward, and the gradient of its inputs
    g_step = 3 * g - g_first
    if update == "alternating":
        return n * g + d_step + m * (g_through_d + g_step)
    if update == "shared":
        return d_step + n * (g_through_d + g_step)
    return d_step + n * (d + g_step)  # joint: the generator needs D's input gradient alone


def _pass_flops(model):
    """(All, the first counted layer's) forward operations for one image."""
    costs = []
    for layer in model.layers:
        kind = type(layer).__name__
        if not (kind == "Dense" or kind.endswith(("Conv2D", "Conv2DTranspose"))):
            continue
        height, width = 1, 1
        if kind != "Dense":
            place = layer.input if kind.endswith("Transpose") else layer.output
            height, width = place.shape[1:3]
        costs.append(2 * height * width * int(np.prod(layer.kernel.shape)))
    return sum(costs), costs[0]
