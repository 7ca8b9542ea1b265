"""How many parameters a U-Net has: arithmetic alone.

A trial reads its model's parameters back and compares them with what its recipe promises. If the
builder gave that number, too, the comparison would hold whatever it built: nothing here asks it.
"""

GATED = ("attention_unet", "attention_resunet")
RESIDUAL = ("attention_resunet",)


def parameters(architecture, filters, depth, channels):
    """The parameters of `ganlib.models.unet.build_unet`, trained and moving statistics together.

    With f filters at a level: a k×k convolution from i to o channels has k²·i·o weights; each batch
    normalisation 4 numbers a channel. A level on the way down makes f channels of f/2, the first of
    `channels`; one on the way up f of 3f, which are 2f from below and f from the skip.

    Args:
        architecture: str, one of `ganlib.models.unet.ARCHITECTURES`.
        filters: int, of the first level.
        depth: int, poolings.
        channels: int, of the images.

    Returns:
        int, as the model's `count_params()`.

    Raises:
        ValueError: an unknown architecture.
    """
    if architecture not in ("unet", *GATED):
        raise ValueError(
            f"`architecture` must be one of {('unet', *GATED)}. Received: {architecture!r}"
        )
    first, up = filters, [filters << level for level in range(depth)]
    down = [2 * f for f in up]
    total = 9 * channels * first + 9 * first**2 + 8 * first
    total += sum(27 * f**2 // 2 + 8 * f for f in down)
    total += sum(36 * f**2 + 8 * f for f in up)
    if architecture in GATED:  # signal 2f², θ 4f², φ f², its 3×3 9f², what passes f²
        total += sum(17 * f**2 + 12 * f + 1 for f in up)
    if architecture in RESIDUAL:  # 1×1 shortcuts with batch normalisation
        total += channels * first + 4 * first
        total += sum(f**2 // 2 + 4 * f for f in down) + sum(3 * f**2 + 4 * f for f in up)
    return total + first + 1
