"""Plain PyTorch twins, without Keras: the same layers, losses and optimizers.

`pytorch(workload)` returns `run(steps) -> seconds`; `run.parameters` counts what trains.
"""

import itertools
import time

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def convolution(inputs, outputs, size=3, stride=1, bias=True):
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=bias)


def digits_networks(latent_dim, g, d, **_):
    generator = nn.Sequential(
        nn.Linear(latent_dim, 49 * g),
        nn.LeakyReLU(0.2),
        nn.Unflatten(1, (g, 7, 7)),
        *(nn.ConvTranspose2d(g, g, 4, 2, 1), nn.LeakyReLU(0.2)),
        *(nn.ConvTranspose2d(g, g, 4, 2, 1), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(g, 1, 7, padding=3), nn.Sigmoid()),
    )
    discriminator = nn.Sequential(
        *(nn.Conv2d(1, d, 3, 2, 1), nn.LeakyReLU(0.2), nn.Dropout(0.4)),
        *(nn.Conv2d(d, d, 3, 2, 1), nn.LeakyReLU(0.2), nn.Dropout(0.4)),
        *(nn.Flatten(), nn.Linear(49 * d, 1)),
    )
    return generator, discriminator


def dcgan_networks(latent_dim, g, d, size):
    levels = size.bit_length() - 3
    widths = [g << level for level in reversed(range(levels))]
    up = [nn.Linear(latent_dim, 16 * widths[0], bias=False), nn.Unflatten(1, (widths[0], 4, 4))]
    up += [nn.BatchNorm2d(widths[0]), nn.ReLU()]
    for wide, narrow in itertools.pairwise(widths):
        up += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False)]
        up += [nn.BatchNorm2d(narrow), nn.ReLU()]
    up += [nn.ConvTranspose2d(g, 3, 4, 2, 1), nn.Tanh()]
    down = [nn.Conv2d(3, d, 4, 2, 1), nn.LeakyReLU(0.2)]
    for level in range(1, levels):
        down += [nn.Conv2d(d << (level - 1), d << level, 4, 2, 1, bias=False)]
        down += [nn.BatchNorm2d(d << level), nn.LeakyReLU(0.2)]
    down += [nn.Flatten(), nn.Linear(16 * (d << (levels - 1)), 1)]
    return nn.Sequential(*up), nn.Sequential(*down)


class Upscaler(nn.Module):
    """`ganlib.models.srgan.build_generator`, ×4."""

    def __init__(self, filters, blocks):
        super().__init__()
        self.first, self.last = convolution(3, filters), convolution(filters, filters)
        pairs = [[convolution(filters, filters) for _ in range(2)] for _ in range(blocks)]
        self.blocks = nn.ModuleList(map(nn.ModuleList, pairs))
        self.detail = convolution(filters, 48)
        self.register_buffer("kernel", torch.zeros(48, 3, 5, 5))

    def forward(self, low):
        x = first = self.first(low)
        for inner, outer in self.blocks:
            x = x + outer(F.relu(inner(x)))
        x = self.detail(first + self.last(x))
        skip = F.conv2d(F.pad(low, (2, 2, 2, 2), "replicate"), self.kernel)
        return F.pixel_shuffle(skip + x, 4)


def upscaler_discriminator(d, levels=4):
    """`ganlib.models.srgan.build_discriminator`."""
    parts, width = [], 3
    for i in range(2 * levels):
        parts += [convolution(width, d << i // 2, stride=1 + i % 2), nn.LeakyReLU(0.2)]
        width = d << i // 2
    parts += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 2 * width)]
    return nn.Sequential(*parts, nn.LeakyReLU(0.2), nn.Linear(2 * width, 1))


class UNet(nn.Module):
    """`ganlib.models.unet.build_unet`; `parts` have the names of its layers."""

    def __init__(self, architecture, filters, depth):
        super().__init__()
        self.depth, self.gated = depth, architecture != "unet"
        self.residual = architecture == "attention_resunet"
        self.parts = nn.ModuleDict()
        widths = [filters << level for level in range(depth + 1)]
        for level, width in enumerate(widths[:-1]):
            self.add_block(f"down{level}", widths[level - 1] if level else 1, width)
            self.add_block(f"up{level}", 3 * width, width)
            if self.gated:
                self.add_gate(f"gate{level}", width)
        self.add_block("bottom", widths[-2], widths[-1])
        self.parts["logits"] = convolution(filters, 1, 1)

    def add(self, name, inputs, width, size):
        norm = nn.BatchNorm2d(width, eps=1e-3, momentum=0.1)
        self.parts[name] = nn.Sequential(convolution(inputs, width, size, bias=False), norm)

    def add_block(self, name, inputs, width):
        self.add(f"{name}_1", inputs, width, 3)
        self.add(f"{name}_2", width, width, 3)
        if self.residual:
            self.add(f"{name}_shortcut", inputs, width, 1)

    def add_gate(self, name, width):
        self.add(f"{name}_signal", 2 * width, width, 1)
        self.add(name, width, width, 1)
        self.parts[f"{name}_theta"] = nn.Conv2d(width, width, 2, 2)
        phi = convolution(width, width, 1), convolution(width, width)
        self.parts[f"{name}_phi"] = nn.Sequential(*phi)
        self.parts[f"{name}_psi"] = convolution(width, 1, 1)

    def block(self, x, name):
        y = self.parts[f"{name}_2"](F.relu(self.parts[f"{name}_1"](x)))
        return F.relu(y + self.parts[f"{name}_shortcut"](x) if self.residual else y)

    def gate(self, skip, below, name):
        signal = F.relu(self.parts[f"{name}_signal"](below))
        x = F.relu(self.parts[f"{name}_phi"](signal) + self.parts[f"{name}_theta"](skip))
        weights = F.interpolate(torch.sigmoid(self.parts[f"{name}_psi"](x)), scale_factor=2)
        return self.parts[name](skip * weights)

    def forward(self, x):
        skips = []
        for level in range(self.depth):
            skips.append(self.block(x, f"down{level}"))
            x = F.max_pool2d(skips[-1], 2)
        x = self.block(x, "bottom")
        for level in reversed(range(self.depth)):
            skip = self.gate(skips[level], x, f"gate{level}") if self.gated else skips[level]
            x = self.block(torch.cat([F.interpolate(x, scale_factor=2), skip], 1), f"up{level}")
        return self.parts["logits"](x)


def networks(workload):
    s = workload.sizes
    if workload.kind == "digits":
        return digits_networks(**s)
    if workload.kind == "dcgan":
        return dcgan_networks(**s, size=workload.size)
    if workload.kind == "unet":
        return (UNet(**s),)
    generator = Upscaler(s["filters"], s["blocks"])
    return (generator, upscaler_discriminator(s["d"]))[: 1 + (workload.kind == "adversarial")]


def focal(logits, masks, gamma=2.0):
    away, near = F.softplus(-logits), F.softplus(logits)
    one, zero = torch.exp(-gamma * near) * away, torch.exp(-gamma * away) * near
    return (masks * one + (1 - masks) * zero).mean()


def pytorch(workload, channels_last=False, compiled=False, bfloat16=False):
    """A careful PyTorch loop: D frozen in G's step, fused Adam, pictures kept on the device."""
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True  # as XLA and TensorFlow do
    layout = torch.channels_last if channels_last else torch.contiguous_format
    parts = [part.to(DEVICE, memory_format=layout) for part in networks(workload)]
    wrap = torch.compile if compiled else lambda function: function
    arrays = (torch.from_numpy(a).permute(0, 3, 1, 2) for a in workload.arrays(8))
    data = [array.contiguous(memory_format=layout).to(DEVICE) for array in arrays]

    def batch():
        chosen = torch.randint(len(data[0]), (workload.batch,), device=DEVICE)
        return [array[chosen] for array in data]

    def mixed():
        return torch.autocast(DEVICE, torch.bfloat16, enabled=bfloat16)

    adversarial = len(parts) == 2
    step = (_adversarial if adversarial else _supervised)(workload, parts, batch, wrap, mixed)

    def run(steps):
        total = torch.zeros((), device=DEVICE)
        begin = time.perf_counter()
        for _ in range(steps):
            total += step()
        float(total)  # waits for the device
        return time.perf_counter() - begin

    run.parameters = sum(p.numel() for part in parts for p in part.parameters())
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
