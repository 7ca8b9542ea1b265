"""Plain PyTorch twins: ganlib's networks layer for layer, without Keras in the step.

`pytorch(workload)` returns `run(steps) -> seconds`.
"""

import time

import keras_contenders
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PLAIN = {
    "Flatten": lambda layer: nn.Flatten(),
    "LeakyReLU": lambda layer: nn.LeakyReLU(layer.negative_slope),
    "ReLU": lambda layer: nn.ReLU(),
    "Dropout": lambda layer: nn.Dropout(layer.rate),
    "MaxPooling2D": lambda layer: nn.MaxPool2d(2),
    "UpSampling2D": lambda layer: nn.Upsample(scale_factor=2),
    "GlobalAveragePooling2D": lambda layer: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "PixelShuffle": lambda layer: nn.PixelShuffle(layer.scale),
    "CheckSize": lambda layer: nn.Identity(),
    "Reshape": lambda layer: nn.Unflatten(1, (layer.target_shape[-1], *layer.target_shape[:-1])),
    "Concatenate": lambda layer: Joined(lambda *x: torch.cat(x, 1)),
    "Add": lambda layer: Joined(lambda a, b: a + b),
    "Multiply": lambda layer: Joined(lambda a, b: a * b),
    "Activation": lambda layer: ACTIVATIONS[layer.activation.__name__](),
}
ACTIVATIONS = {"linear": nn.Identity, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


class Joined(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.forward = function


def twin_of(layer):
    """The PyTorch module of a built Keras layer."""
    kind = type(layer).__name__
    if kind in PLAIN:
        return PLAIN[kind](layer)
    if kind == "LinearUpscaling":
        kernel = nn.Conv2d(3, 3 * layer.scale**2, 5, bias=False).requires_grad_(False)
        return nn.Sequential(nn.ReplicationPad2d(2), kernel, nn.PixelShuffle(layer.scale))
    if kind == "BatchNormalization":
        return nn.BatchNorm2d(layer.gamma.shape[0], layer.epsilon, 1 - layer.momentum)
    if kind == "Dense":
        return nn.Linear(*layer.kernel.shape, bias=layer.use_bias)
    *size, inputs, outputs = layer.kernel.shape
    transposed = kind == "Conv2DTranspose"
    inputs, outputs = (outputs, inputs) if transposed else (inputs, outputs)
    options = {"stride": layer.strides, "padding": (size[0] - 1) // 2, "bias": layer.use_bias}
    convolution = (nn.ConvTranspose2d if transposed else nn.Conv2d)(
        inputs, outputs, size, **options
    )
    return nn.Sequential(convolution, ACTIVATIONS[layer.activation.__name__]())


class Twin(nn.Module):
    """A functional Keras model, layer for layer, channels first."""

    def __init__(self, model):
        super().__init__()
        self.parts, self.graph = nn.ModuleList(), []
        self.first, self.last = id(model.inputs[0]), id(model.outputs[0])
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                if node.input_tensors:
                    self.parts.append(twin_of(node.operation))
                    tensors = [[id(x) for x in t] for t in (node.input_tensors, node.outputs)]
                    self.graph.append(tensors)

    def forward(self, x):
        values = {self.first: x}
        for part, (inputs, outputs) in zip(self.parts, self.graph, strict=True):
            values[outputs[0]] = part(*(values[i] for i in inputs))
        return values[self.last]


def networks(workload):
    return [Twin(model) for model in keras_contenders.networks(workload)]


def focal(logits, masks, gamma=2.0):
    loss = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    return ((1 - torch.exp(-loss)) ** gamma * loss).mean()


def pytorch(workload, channels_last=False, compiled=False, half=False):
    """A careful PyTorch loop: D frozen in G's step, fused Adam, pictures kept on the device."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    parts = [part.to(DEVICE, memory_format=layout) for part in networks(workload)]
    wrap = torch.compile if compiled else lambda function: function
    arrays = (torch.from_numpy(a).permute(0, 3, 1, 2) for a in workload.arrays(8))
    data = [array.contiguous(memory_format=layout).to(DEVICE) for array in arrays]

    def batch():
        chosen = torch.randint(len(data[0]), (workload.batch,), device=DEVICE)
        return [array[chosen] for array in data]

    def mixed():
        return torch.autocast(DEVICE, torch.bfloat16, enabled=half)

    adversarial = len(parts) == 2
    step = (_adversarial if adversarial else _supervised)(workload, parts, batch, wrap, mixed)

    def run(steps):
        total = torch.zeros((), device=DEVICE)
        begin = time.perf_counter()
        for _ in range(steps):
            total += step()
        float(total)  # waits for the device
        return time.perf_counter() - begin

    return run


def _adam(part, rate=2e-4, beta_1=0.5):
    return torch.optim.Adam(part.parameters(), rate, betas=(beta_1, 0.999), fused=True)


def _supervised(workload, parts, batch, wrap, mixed):
    (model,) = parts
    segments = workload.kind == "unet"
    optimizer = _adam(model, 1e-3 if segments else 5e-4, 0.9)

    @wrap
    def objective(inputs, targets):
        outputs = model(inputs)
        return focal(outputs, targets) if segments else (outputs - targets).abs().mean()

    def step():
        optimizer.zero_grad()
        with mixed():
            loss = objective(*batch())
        loss.backward()
        if segments:  # each gradient by itself, as Keras' `clipnorm`
            gradients = [parameter.grad for parameter in model.parameters()]
            norms = torch._foreach_norm(gradients)
            torch._foreach_div_(gradients, torch._foreach_clamp_min(norms, 1.0))
        optimizer.step()
        return loss.detach()

    return step


def _adversarial(workload, parts, batch, wrap, mixed):
    generator, discriminator = parts
    optimizers = _adam(discriminator), _adam(generator)
    paired = workload.kind == "adversarial"
    average = networks(workload)[0].to(DEVICE).requires_grad_(False) if paired else None
    together = workload.kind != "dcgan"  # without batch normalisation one pass may hold both

    def latents(n):
        return torch.randn(n, workload.sizes["latent_dim"], device=DEVICE)

    def d_objective(real, fake):
        if together:
            real, fake = discriminator(torch.cat([real, fake])).chunk(2)
        else:
            real, fake = discriminator(real), discriminator(fake)
        if paired:
            return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        return F.softplus(-real).mean() + F.softplus(fake).mean()

    def g_objective(fake, real):
        if paired:
            return (fake - real).abs().mean() - 0.02 * discriminator(fake).mean()
        return F.softplus(-discriminator(fake)).mean()

    make, d_loss, g_loss = map(wrap, (generator, d_objective, g_objective))

    def step():
        *inputs, real = batch()
        with mixed():
            with torch.set_grad_enabled(paired):  # the "shared" update uses these fakes again
                fake = make(inputs[0] if paired else latents(workload.batch))
            optimizers[0].zero_grad()
            loss = total = d_loss(real, fake.detach())
        loss.backward()
        optimizers[0].step()
        discriminator.requires_grad_(False)
        optimizers[1].zero_grad()
        with mixed():
            loss = g_loss(fake if paired else make(latents(workload.g_batch)), real)
        loss.backward()
        optimizers[1].step()
        discriminator.requires_grad_(True)
        if paired:
            pair = [list(part.parameters()) for part in (average, generator)]
            with torch.no_grad():
                torch._foreach_lerp_(*pair, 1e-3)
        return total.detach() + loss.detach()

    return step


def count_flops(run):
    """Operations of the convolutions and matrix products that a step really takes."""
    with FlopCounterMode(display=False) as counter:
        run(1)
    return counter.get_total_flops()
