"""Plain PyTorch twins of the larger networks: the same layers, losses and optimizers."""

import torch
from torch import nn
from torch.nn import functional as F
from torch_contenders import DEVICE, mixed, set_up, timed


def convolution(inputs, outputs, size=3, stride=1, bias=True):
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=bias)


class Generator(nn.Module):
    """`ganlib.models.srgan.build_generator`."""

    def __init__(self, task):
        super().__init__()
        f, self.scale = task.filters, task.scale
        self.first = convolution(3, f)
        pairs = [[convolution(f, f), convolution(f, f)] for _ in range(task.blocks)]
        self.blocks = nn.ModuleList(map(nn.ModuleList, pairs))
        self.last, self.detail = convolution(f, f), convolution(f, 3 * task.scale**2)
        self.register_buffer("kernel", torch.zeros(3 * task.scale**2, 3, 5, 5))

    def forward(self, low):
        x = first = self.first(low)
        for inner, outer in self.blocks:
            x = x + outer(F.relu(inner(x)))
        x = self.detail(first + self.last(x))
        padded = low  # symmetric: the border itself is repeated, which no mode of F.pad does
        for axis in (2, 3):
            n = padded.shape[axis]
            ends = padded.narrow(axis, 0, 2).flip(axis), padded.narrow(axis, n - 2, 2).flip(axis)
            padded = torch.cat([ends[0], padded, ends[1]], axis)
        skip = F.conv2d(padded, self.kernel)
        return F.pixel_shuffle(skip, self.scale) + F.pixel_shuffle(x, self.scale)


class Discriminator(nn.Sequential):
    """`ganlib.models.srgan.build_discriminator`."""

    def __init__(self, task, levels=4):
        parts, width = [], 3
        for i in range(2 * levels):
            parts += [convolution(width, task.d_filters << i // 2, stride=1 + i % 2)]
            parts += [nn.LeakyReLU(0.2)]
            width = task.d_filters << i // 2
        parts += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 2 * width)]
        super().__init__(*parts, nn.LeakyReLU(0.2), nn.Linear(2 * width, 1))


class Features(nn.Module):
    """`keras_tasks.RandomVGG16`."""

    def __init__(self, width):
        super().__init__()
        self.caffe, last, blocks = convolution(3, 3, 1), 3, []
        for block, count in enumerate((2, 2, 3, 3, 3)):
            wide, parts = width << min(block, 3), [nn.MaxPool2d(2, ceil_mode=True)][: block > 0]
            for _ in range(count):
                parts += [convolution(last, wide), nn.ReLU()]
                last = wide
            blocks.append(nn.Sequential(*parts))
        self.blocks = nn.ModuleList(blocks)
        self.requires_grad_(False)

    def forward(self, images):
        x, maps = self.caffe(images), []
        for block in self.blocks:
            x = block(x)
            length = x.square().sum(1, keepdim=True).sqrt() + 1e-6
            maps.append(x.shape[1] ** 0.5 * x / length)
        return maps


class UNet(nn.Module):
    """`ganlib.models.unet.build_unet`; `parts` have the names of its layers."""

    def __init__(self, task):
        super().__init__()
        self.depth = task.depth
        self.gated = task.architecture != "unet"
        self.residual = task.architecture == "attention_resunet"
        self.parts = nn.ModuleDict()
        widths = [task.filters << level for level in range(task.depth + 1)]
        for level, width in enumerate(widths[:-1]):
            self.add_block(f"down{level}", widths[level - 1] if level else 1, width)
        self.add_block("bottom", widths[-2], widths[-1])
        for level, width in enumerate(widths[:-1]):
            self.add_block(f"up{level}", 3 * width, width)
            if self.gated:
                self.add_gate(f"gate{level}", width)
        self.parts["logits"] = convolution(task.filters, 1, 1)

    def add(self, name, inputs, width, size, number=""):
        self.parts[f"{name}_conv{number}"] = convolution(inputs, width, size, bias=False)
        self.parts[f"{name}_norm{number}"] = nn.BatchNorm2d(width, eps=1e-3, momentum=0.1)

    def add_block(self, name, inputs, width):
        self.add(name, inputs, width, 3, 1)
        self.add(name, width, width, 3, 2)
        if self.residual:
            self.add(f"{name}_shortcut", inputs, width, 1)

    def add_gate(self, name, width):
        self.add(f"{name}_signal", 2 * width, width, 1)
        self.parts[f"{name}_theta"] = nn.Conv2d(width, width, 2, 2)
        self.parts[f"{name}_phi"] = convolution(width, width, 1)
        self.parts[f"{name}_phi_spread"] = convolution(width, width)
        self.parts[f"{name}_psi"] = convolution(width, 1, 1)
        self.add(name, width, width, 1)

    def normalised(self, x, name, number=""):
        return self.parts[f"{name}_norm{number}"](self.parts[f"{name}_conv{number}"](x))

    def block(self, x, name):
        y = self.normalised(F.relu(self.normalised(x, name, 1)), name, 2)
        return F.relu(y + self.normalised(x, f"{name}_shortcut") if self.residual else y)

    def gate(self, skip, below, name):
        signal = F.relu(self.normalised(below, f"{name}_signal"))
        phi = self.parts[f"{name}_phi_spread"](self.parts[f"{name}_phi"](signal))
        x = F.relu(phi + self.parts[f"{name}_theta"](skip))
        weights = F.interpolate(torch.sigmoid(self.parts[f"{name}_psi"](x)), scale_factor=2)
        return self.normalised(skip * weights, name)

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


def focal(masks, logits, gamma=2.0):
    """`ganlib.losses.BinaryFocal`, the mean over all pixels."""
    away, near = F.softplus(-logits), F.softplus(logits)
    one, zero = torch.exp(-gamma * near) * away, torch.exp(-gamma * away) * near
    return (masks * one + (1 - masks) * zero).mean()


def overlap(masks, logits):
    """What the study's two Jaccard metrics sum up a step."""
    found, soft = (logits > 0).float(), torch.sigmoid(logits.float())
    both = (masks * found).sum(), masks.sum() + found.sum()
    return torch.stack([*both, (masks * soft).sum(), masks.sum() + soft.sum()])


def content(features, fake, real, weight=0.1):
    """`ganlib.content.ContentLoss` of the repaired recipe."""
    pairs = list(zip(features(fake), features(real), strict=True))
    distance = sum((a.float() - b.float()).square().mean() for a, b in pairs) / len(pairs)
    return (fake - real).abs().mean() + weight * distance


def pytorch_task(task, channels_last=False, compiled=False, bfloat16=False):
    """A careful PyTorch loop, as `torch_contenders.pytorch`."""
    if task.generator == "paper":
        raise ValueError("the write-up's own generator has no twin here")
    set_up()
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def placed(network):
        return network.to(DEVICE, memory_format=layout)

    arrays = (torch.from_numpy(array).permute(0, 3, 1, 2) for array in task.arrays(64))
    data = [array.to(DEVICE).contiguous(memory_format=layout) for array in arrays]

    def batch():
        chosen = torch.randint(len(data[0]), (task.batch,), device=DEVICE)
        return [array[chosen] for array in data]

    wrap = torch.compile if compiled else lambda function: function
    make = {"unet": _unet_step, "pixels": _pixel_step, "adversarial": _adversarial_step}[task.kind]
    return timed(*make(task, placed, batch, wrap, lambda: mixed(bfloat16)))


def adam(player, rate, **options):
    return torch.optim.Adam(player.parameters(), rate, fused=True, eps=1e-7, **options)


def _unet_step(task, placed, batch, wrap, precision):
    model = placed(UNet(task))
    optimizer = adam(model, 1e-3)
    parameters = list(model.parameters())
    sums = torch.zeros(4, device=DEVICE)

    @wrap
    def objective(images, masks):
        logits = model(images)
        return focal(masks, logits), overlap(masks, logits.detach())

    def step(total):
        optimizer.zero_grad()
        with precision():
            loss, added = objective(*batch())
        loss.backward()
        gradients = [parameter.grad for parameter in parameters]
        norms = torch._foreach_norm(gradients)  # each by itself, as Keras' `clipnorm`
        torch._foreach_div_(gradients, torch._foreach_clamp_min(norms, 1.0))
        optimizer.step()
        total += loss.detach()
        sums.add_(added)

    return step, model


def _pixel_step(task, placed, batch, wrap, precision):
    model = placed(Generator(task))
    optimizer = adam(model, 5e-4, betas=(0.9, 0.95))

    @wrap
    def objective(low, high):
        return (model(low) - high).abs().mean()

    def step(total):
        optimizer.zero_grad()
        with precision():
            loss = objective(*batch())
        loss.backward()
        optimizer.step()
        total += loss.detach()

    return step, model


def _adversarial_step(task, placed, batch, wrap, precision):
    generator, discriminator = placed(Generator(task)), placed(Discriminator(task))
    average = placed(Generator(task)).requires_grad_(False)
    features = placed(Features(task.feature_width))
    optimizers = adam(discriminator, 1e-4), adam(generator, 1e-4)
    pairs = [list(network.parameters()) for network in (average, generator)]

    def d_objective(real, fake):
        return F.relu(1 - discriminator(real)).mean() + F.relu(1 + discriminator(fake)).mean()

    def g_objective(real, fake):
        return content(features, fake, real) - 0.02 * discriminator(fake).mean()

    make, d_loss, g_loss = wrap(generator), wrap(d_objective), wrap(g_objective)

    def step(total):
        low, real = batch()
        for optimizer in optimizers:
            optimizer.zero_grad()
        with precision():
            fake = make(low)
            loss = d_loss(real, fake.detach())
        loss.backward()
        optimizers[0].step()
        total += loss.detach()
        discriminator.requires_grad_(False)
        with precision():
            loss = g_loss(real, fake)
        loss.backward()
        optimizers[1].step()
        discriminator.requires_grad_(True)
        with torch.no_grad():
            torch._foreach_lerp_(*pairs, 1e-3)
        total += loss.detach()

    return step, generator, discriminator
