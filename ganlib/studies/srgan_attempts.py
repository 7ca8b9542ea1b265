"""The super-resolution write-up: its seven attempts, what it expected, and what it printed."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One note of the write-up; what it doesn't say, or we don't measure, is not judged."""

    name: str  # of its trials
    settings: dict  # what the note sets; see `ganlib.studies.srgan.Recipe`
    epochs: int  # that we take the attempt to have run
    printed: dict  # PSNR in dB and SSIM of training and validation pictures, and the last losses
    expectation: str = ""  # the note's own words
    expects: tuple = ()  # scores that should by those words be above the attempt before's
    resolved: str = ""  # how we read what the note leaves out or contradicts


def _attempt(number, rates_and_weight, epochs, printed, *said):
    g, d, perceptual = rates_and_weight
    settings = {"g_learning_rate": g, "d_learning_rate": d, "perceptual": perceptual}
    keys = ("train_psnr", "train_ssim", "psnr", "ssim", "g_loss", "d_loss")
    printed = dict(zip(keys, printed, strict=True))
    return Attempt(f"attempt-{number}", {**settings, "adversarial": 0.01}, epochs, printed, *said)


# fmt: off
ATTEMPTS = (
    _attempt(1, (5e-6, 1e-5, 0.10), 2000, (7.29, 0.3482, 9.88, 0.3010, 0.9001, 1.0003)),
    _attempt(2, (1e-5, 5e-6, 0.20), 2000, (7.26, 0.3643, 9.69, 0.2865, 0.9063, 1.0010),
        "High resolution; capture more detail (SSIM); more details: sharper edges, curves, colors; "
        "LR image → SR image which should be ~ HR image", ("ssim_y", "sharpness")),
    _attempt(3, (2e-5, 5e-6, 0.30), 3000, (7.29, 0.4506, 9.92, 0.3523, 0.4302, 1.0005),
        "Improved Texture & Perceptual Quality; Slightly Lower PSNR, But Higher SSIM; more "
        "details: sharper edges, curves, colors; LR image → SR image which should be ~ HR image",
        ("ssim_y", "sharpness")),
    _attempt(4, (5e-6, 5e-6, 0.05), 3000, (7.29, 0.4506, 9.92, 0.3523, 0.4302, 1.0005),
        "Generator LR ↑ (5e-6 → 5e-5): Faster learning, sharper details; Discriminator LR ↓ (1e-5 "
        "→ 5e-6): Generator catches up, better textures; Adv. Loss Weight ↑ (0.001 → 0.01): More "
        "realistic textures; Perceptual Loss ↓ (0.3 → 0.05): Better pixel accuracy (PSNR ↑); 2000 "
        "→ 3000 Epochs: More refinement in textures", ("psnr_y", "sharpness"),
        "G's learning rate is 5e-6 in the text and 5e-5 in its table: the text's is run. Pictures, "
        "losses and scores are those of attempt 3, to the last digit: a copy."),
    _attempt(5, (1e-4, 2e-6, 0.10), 3000, (7.31, 0.3831, 10.2, 0.3602, 0.3109, 1.0005),
        "Faster convergence, better feature learning; Stabilizes training, prevents mode collapse; "
        "Prevents over-reliance on fooling discriminator; Improves textures, edges, and fine "
        "details; Better convergence, higher PSNR", ("psnr_y", "sharpness"),
        "4000 epochs are announced, the log ends at 3000: 3000 are run. The notes disagree on "
        "w_adv between attempts 4 and 5: 0.01, the value of both tables, is run."),
    _attempt(6, (2e-4, 2e-6, 0.15), 3000, (7.33, 0.4787, 10.3, 0.3816, 0.0529, 1.0050),
        "Faster feature learning, higher PSNR; Better training balance, avoids overfitting; "
        "Retains details, boosts SSIM; Gradual improvement, watch for stagnation",
        ("psnr_y", "ssim_y"),
        "“Extra 1000 Epochs” are announced, the log ends at 3000: 3000 are run, from the start."),
    _attempt(7, (2e-4, 2e-6, 0.15), 4000, (7.34, 0.4935, 10.7, 0.3915, 0.0254, 1.0047), "", (),
        "No settings are noted: those of attempt 6 are run, for the 4000 epochs noted."),
)
# fmt: on
