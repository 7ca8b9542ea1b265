"""Whether PyTorch's twins of the larger networks are the same functions, weight for weight.

    python benchmarks/twins.py

Gives each twin the weights of ganlib's network and compares outputs and losses, and the number of
weights of a random VGG16 with those of ganlib's. A few seconds; CPU, PyTorch alone.
"""

import os
import pathlib
import sys

os.environ["KERAS_BACKEND"] = "torch"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import dataclasses

import keras_tasks
import numpy as np
import torch
import torch_tasks
from tasks import QUICK_UNET, TITLES, Segmentation, tasks
from torch import nn

from ganlib.features import perceptual
from ganlib.losses import BinaryFocal


def give(part, layer, flip=False, order=None):
    """Copies a Keras layer's weights to a module; `order` of its outputs."""
    kernel, *rest = (torch.tensor(np.asarray(w)) for w in layer.get_weights())
    with torch.no_grad():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.copy_(kernel)
            part.bias.copy_(rest[0])
            return
        if kernel.ndim == 4:
            kernel = kernel.permute(3, 2, 0, 1)
            kernel = kernel.flip(2, 3) if flip else kernel
        else:
            kernel = kernel.T
        part.weight.copy_(kernel if order is None else kernel[order])
        if rest:
            part.bias.copy_(rest[0] if order is None else rest[0][order])


def shake(model):
    """Random weights everywhere: zeros would hide a mistake."""
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(np.asarray(weight.numpy()) + rng.normal(0, 0.05, weight.shape))


def kernels(model):
    return [layer for layer in model.layers if hasattr(layer, "kernel") and layer.name != "skip"]


def first(array):
    return torch.from_numpy(array).permute(0, 3, 1, 2)


def last(tensor):
    return tensor.detach().permute(0, 2, 3, 1).numpy()


def check(name, a, b):
    a, b = np.asarray(a), np.asarray(b)
    gap = np.abs(a - b).max() / np.abs(a).max()
    print(f"{name}: largest relative difference {gap:.1e}")
    if a.shape != b.shape or not gap < 1e-4:
        sys.exit(f"{name}: not the same function")


def check_unet(task):
    model = keras_tasks.compiled(task)
    shake(model)
    twin = torch_tasks.UNet(task)
    for name, part in twin.parts.items():
        give(part, model.get_layer(name))
    images, masks = task.arrays(4)
    logits = model(images, training=True).detach()
    check(task.architecture, logits, last(twin(first(images))))
    ours = BinaryFocal()(torch.from_numpy(masks), logits)
    check("focal loss", ours, torch_tasks.focal(torch.from_numpy(masks), logits))


def check_super_resolution(task):
    gan = keras_tasks.compiled(task)
    generator, discriminator, features = keras_tasks.networks(gan, task)
    for model in (generator, discriminator):
        shake(model)
    low, high = (torch.from_numpy(array) for array in task.arrays(2))
    twin = torch_tasks.Generator(task)
    # Keras' channels are (row, column, colour), PyTorch's (colour, row, column).
    order = torch.arange(3 * task.scale**2).reshape(-1, 3).T.flatten()
    parts = [twin.first, *(part for pair in twin.blocks for part in pair), twin.last]
    for part, layer in zip(parts, kernels(generator)[:-1], strict=True):
        give(part, layer)
    give(twin.detail, generator.get_layer("detail"), order=order)
    kernel = torch.tensor(np.asarray(generator.get_layer("skip").kernel.numpy()))
    twin.kernel.copy_(kernel.permute(3, 2, 0, 1)[order])
    fake = generator(low, training=True).detach()
    check("generator", fake, last(twin(low.permute(0, 3, 1, 2))))

    twin = torch_tasks.Discriminator(task)
    parts = [part for part in twin if hasattr(part, "weight")]
    for part, layer in zip(parts, kernels(discriminator), strict=True):
        give(part, layer, flip=True)
    # Keras pads stride 2 at the end alone, PyTorch at the beginning: mirror images of each other.
    turned = fake.permute(0, 3, 1, 2).flip(2, 3)
    check("discriminator", discriminator(fake, training=True).detach(), twin(turned).detach())

    twin = torch_tasks.Features(task.feature_width)
    parts = [twin.caffe, *(p for block in twin.blocks for p in block if hasattr(p, "weight"))]
    for part, layer in zip(parts, kernels(features), strict=True):
        give(part, layer)
    pair = [array.permute(0, 3, 1, 2) for array in (fake, high)]
    check("content loss", gan.content(fake, high).detach(), torch_tasks.content(twin, *pair))


def main():
    for architecture in TITLES:
        check_unet(Segmentation("check", "", architecture, batch=4, **QUICK_UNET))
    task = tasks("quick")["sr-adversarial-quick"]
    check_super_resolution(dataclasses.replace(task, patch=96))
    if perceptual.hed_weights():
        ours, theirs = keras_tasks.RandomVGG16().model, perceptual.VGG16().model
        if ours.count_params() != theirs.count_params():
            sys.exit("keras_tasks.RandomVGG16 is not ganlib's VGG16")
        print(f"VGG16: {ours.count_params():,} weights each")


if __name__ == "__main__":
    main()
