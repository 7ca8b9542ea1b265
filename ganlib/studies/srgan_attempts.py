"""The super-resolution write-up: its seven attempts, what it expected, and what it printed."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One note of the write-up.

    Attributes:
        name: of its trials.
        settings: dict, what the note sets; see `ganlib.studies.srgan.Recipe`.
        epochs: int, epochs that we take the attempt to have run.
        expectation: what the note hoped for.
        expects: the score that should then rise above the attempt before's, and its name for
            people; None where nothing that we measure was expected.
        printed: dict of the note's numbers: PSNR in dB and SSIM of training and validation
            pictures, and the last losses.
        resolved: how we read what the note leaves out or contradicts; "" where it is clear.
    """

    name: str
    settings: dict
    epochs: int
    expectation: str
    printed: dict
    expects: tuple | None = None
    resolved: str = ""


def _printed(*values):
    keys = ("train_psnr", "train_ssim", "psnr", "ssim", "g_loss", "d_loss")
    return dict(zip(keys, values, strict=True))


def _settings(g, d, perceptual, adversarial=0.01):
    return {
        "g_learning_rate": g,
        "d_learning_rate": d,
        "adversarial": adversarial,
        "perceptual": perceptual,
    }


ATTEMPTS = (
    Attempt(
        "attempt-1",
        _settings(5e-6, 1e-5, 0.10),
        2000,
        "Sharper edges, more texture.",
        _printed(7.29, 0.3482, 9.88, 0.3010, 0.9001, 1.0003),
    ),
    Attempt(
        "attempt-2",
        _settings(1e-5, 5e-6, 0.20),
        2000,
        "SSIM rises, PSNR may fall a little.",
        _printed(7.26, 0.3643, 9.69, 0.2865, 0.9063, 1.0010),
        ("ssim_y", "SSIM (Y)"),
    ),
    Attempt(
        "attempt-3",
        _settings(2e-5, 5e-6, 0.30),
        3000,
        "More texture from a larger perceptual weight.",
        _printed(7.29, 0.4506, 9.92, 0.3523, 0.4302, 1.0005),
        ("sharpness", "Sharpness"),
    ),
    Attempt(
        "attempt-4",
        _settings(5e-6, 5e-6, 0.05),
        3000,
        "Fewer artefacts from a lower learning rate of G.",
        _printed(7.29, 0.4506, 9.92, 0.3523, 0.4302, 1.0005),
        resolved="G's learning rate is 5e-6 in the text and 5e-5 in its table: the text's is run. "
        "Pictures, losses and scores are those of attempt 3, to the last digit: a copy.",
    ),
    Attempt(
        "attempt-5",
        _settings(1e-4, 2e-6, 0.10),
        3000,
        "Faster convergence, no mode collapse, better textures, higher PSNR.",
        _printed(7.31, 0.3831, 10.2, 0.3602, 0.3109, 1.0005),
        ("psnr_y", "PSNR (Y) in dB"),
        "4000 epochs are announced, the log ends at 3000: 3000 are run. The notes disagree on "
        "w_adv between attempts 4 and 5: 0.01, the value of both tables, is run.",
    ),
    Attempt(
        "attempt-6",
        _settings(2e-4, 2e-6, 0.15),
        3000,
        "Higher PSNR and SSIM, better balance, gradual gain.",
        _printed(7.33, 0.4787, 10.3, 0.3816, 0.0529, 1.0050),
        ("psnr_y", "PSNR (Y) in dB"),
        "“+1000” epochs are announced, the log ends at 3000: 3000 are run, from the start.",
    ),
    Attempt(
        "attempt-7",
        _settings(2e-4, 2e-6, 0.15),
        4000,
        "None noted.",
        _printed(7.34, 0.4935, 10.7, 0.3915, 0.0254, 1.0047),
        resolved="No settings are noted: those of attempt 6 are run, for the 4000 epochs noted.",
    ),
)


def get(name):
    """The attempt of that name, or None."""
    return next((attempt for attempt in ATTEMPTS if attempt.name == name), None)
