"""What `Adversarial` refuses, before any training."""

UPDATES = ("alternating", "shared", "joint")


def check_players(generator, discriminator):
    for name, player in (("generator", generator), ("discriminator", discriminator)):
        if not player.built:
            raise ValueError(
                f"The {name} must be built: give its first layer an Input, or call it once. "
                f"Received: {player}"
            )
    made, expected = generator.output_shape[1:], discriminator.input_shape[1:]
    fits = len(made) == len(expected) and all(
        a == b or None in (a, b) for a, b in zip(made, expected, strict=True)
    )
    if not fits:
        raise ValueError(
            f"The generator's images must have the discriminator's input shape. Received: "
            f"generator.output_shape={generator.output_shape}, "
            f"discriminator.input_shape={discriminator.input_shape}"
        )


def check_pairing(inputs, content, generator_batch):
    """Called while Keras traces a step, so before the first one."""
    if inputs is None and getattr(content, "paired", content is not None):
        raise ValueError(
            "A content loss needs pairs: fit(inputs, images), or batches (inputs, images). "
            f"Received: images alone, content={content!r}"
        )
    if inputs is not None and generator_batch is not None:
        raise ValueError(
            "With pairs the generator's batch is the images' own: leave `generator_batch` out. "
            f"Received: generator_batch={generator_batch}"
        )


def check_options(
    update,
    d_steps,
    generator_batch,
    gradient_penalty,
    r1,
    instance_noise,
    instance_noise_steps,
    ema,
    adversarial_weight,
    seed,
):
    if update not in UPDATES:
        raise ValueError(f"`update` must be one of {UPDATES}. Received: update={update!r}")
    if d_steps < 1:
        raise ValueError(f"`d_steps` must be at least 1. Received: d_steps={d_steps}")
    if update != "alternating" and (d_steps != 1 or generator_batch is not None):
        raise ValueError(
            '`d_steps` and `generator_batch` only mean something with update="alternating". '
            f"Received: update={update!r}, d_steps={d_steps}, generator_batch={generator_batch}"
        )
    if generator_batch is not None and generator_batch < 1:
        raise ValueError(
            f"`generator_batch` must be at least 1. Received: generator_batch={generator_batch}"
        )
    weights = {
        "gradient_penalty": gradient_penalty,
        "r1": r1,
        "instance_noise": instance_noise,
        "instance_noise_steps": instance_noise_steps,
        "adversarial_weight": adversarial_weight,
    }
    for name, value in weights.items():
        if value < 0:
            raise ValueError(f"`{name}` must not be negative. Received: {name}={value}")
    if not 0.0 <= ema < 1.0:
        raise ValueError(f"`ema` must lie in [0, 1). Received: ema={ema}")
