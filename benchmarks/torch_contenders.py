"""The plain PyTorch peer, without Keras. Each builder returns `run(steps) -> seconds`."""

import itertools
import time

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def digits_players(workload):
    w, d = workload.width, workload.d_width
    generator = nn.Sequential(
        nn.Linear(workload.latent_dim, 49 * w),
        nn.LeakyReLU(0.2),
        nn.Unflatten(1, (w, 7, 7)),
        nn.ConvTranspose2d(w, w, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.ConvTranspose2d(w, w, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(w, 1, 7, padding=3),
        nn.Sigmoid(),
    )
    discriminator = nn.Sequential(
        nn.Conv2d(1, d, 3, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Dropout(0.4),
        nn.Conv2d(d, d, 3, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Dropout(0.4),
        nn.Flatten(),
        nn.Linear(49 * d, 1),
    )
    return generator, discriminator


def dcgan_players(workload):
    f, d, channels = workload.width, workload.d_width, workload.channels
    levels = workload.size.bit_length() - 3
    widths = [f << level for level in reversed(range(levels))]
    up = [
        nn.Linear(workload.latent_dim, 16 * widths[0], bias=False),
        nn.Unflatten(1, (widths[0], 4, 4)),
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(),
    ]
    for wide, narrow in itertools.pairwise(widths):
        up += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False)]
        up += [nn.BatchNorm2d(narrow), nn.ReLU()]
    up += [nn.ConvTranspose2d(f, channels, 4, 2, 1), nn.Tanh()]
    down = [nn.Conv2d(channels, d, 4, 2, 1), nn.LeakyReLU(0.2)]
    for level in range(1, levels):
        down += [nn.Conv2d(d << (level - 1), d << level, 4, 2, 1, bias=False)]
        down += [nn.BatchNorm2d(d << level), nn.LeakyReLU(0.2)]
    down += [nn.Flatten(), nn.Linear(16 * (d << (levels - 1)), 1)]
    return nn.Sequential(*up), nn.Sequential(*down)


def set_up():
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True  # as XLA and TensorFlow do


def mixed(bfloat16):
    """A context in which products are taken in bfloat16, if so wanted."""
    return torch.autocast(DEVICE, torch.bfloat16, enabled=bfloat16)


def timed(step, *players):
    """A `run` of `step(total)`, which adds its losses to `total`; it knows its parameters."""

    def run(steps):
        total = torch.zeros((), device=DEVICE)
        begin = time.perf_counter()
        for _ in range(steps):
            step(total)
        float(total)  # waits for the device
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    run.parameters = sorted(p.numel() for player in players for p in player.parameters())
    return run


def count_flops(run):
    """Operations of the convolutions and matrix products that a step really takes."""
    with FlopCounterMode(display=False) as counter:
        run(1)
    return counter.get_total_flops()


def pytorch(workload, channels_last=False, compiled=False, bfloat16=False):
    """A careful PyTorch loop: D frozen in G's step, fused Adam, images kept on the device."""
    set_up()
    build = {"digits": digits_players, "dcgan": dcgan_players}[workload.kind]
    layout = torch.channels_last if channels_last else torch.contiguous_format
    generator, discriminator = (p.to(DEVICE, memory_format=layout) for p in build(workload))
    d_optimizer, g_optimizer = (
        torch.optim.Adam(p.parameters(), 2e-4, betas=(0.5, 0.999), fused=True)
        for p in (discriminator, generator)
    )
    n, m = workload.batch, workload.generator_batch
    dataset = torch.from_numpy(workload.images(8)).permute(0, 3, 1, 2)
    dataset = dataset.contiguous(memory_format=layout).to(DEVICE)
    together = workload.kind == "digits"  # no batch normalisation: one pass may hold both

    def d_loss(real, fake):
        if together:
            logits = discriminator(torch.cat([real, fake])).chunk(2)
        else:
            logits = discriminator(real), discriminator(fake)
        return F.softplus(-logits[0]).mean() + F.softplus(logits[1]).mean()

    def g_loss(latents):
        return F.softplus(-discriminator(generator(latents))).mean()

    make_fakes = generator
    if compiled:
        d_loss, g_loss, make_fakes = map(torch.compile, (d_loss, g_loss, generator))

    def step(total):
        real = dataset[torch.randint(len(dataset), (n,), device=DEVICE)]
        with torch.no_grad(), mixed(bfloat16):
            fake = make_fakes(torch.randn(n, workload.latent_dim, device=DEVICE))
        d_optimizer.zero_grad()
        with mixed(bfloat16):
            loss = d_loss(real, fake)
        loss.backward()
        d_optimizer.step()
        total += loss.detach()
        discriminator.requires_grad_(False)
        g_optimizer.zero_grad()
        with mixed(bfloat16):
            loss = g_loss(torch.randn(m, workload.latent_dim, device=DEVICE))
        loss.backward()
        g_optimizer.step()
        discriminator.requires_grad_(True)
        total += loss.detach()

    return timed(step, generator, discriminator)
