"""What each study asks, what went wrong in it, and what repairs it: for those who read no code."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Story:
    """A study in four sentences or so.

    Attributes:
        question: what its write-up wanted to know.
        submitted: what it did.
        wrong: what went wrong, and how one can tell.
        repaired: what helps.
    """

    question: str
    submitted: str
    wrong: str
    repaired: str


STORIES = {
    "digits": Story(
        "Can six small changes make a tutorial's MNIST GAN better?",
        "A dense-and-transposed-convolution generator, a dropout discriminator, Adam at 2e-4 for "
        "both, and a tanh output, fewer latents, smoothed labels, batch normalisation, other "
        "losses, input noise and a wider generator, one at a time.",
        "Under Keras 3 the tutorial's loop never trains its discriminator. “0 % right on real "
        "digits” is Keras' accuracy, which asks whether a rounded output equals a smoothed label. "
        "Blank pictures are a generator that lost at the start and gets no gradient through its "
        "output any more.",
        "One step with a gradient for each player; a generator that is normalised and slower than "
        "its critic, and a moving average of its weights.",
    ),
    "bedrooms": Story(
        "Does a DCGAN's picture resemble a bedroom, and do its pictures differ?",
        "An assignment's DCGAN, 400 epochs on LSUN bedrooms, batches of 128 and 256; both players "
        "learn from one pass at 1e-4.",
        "Pictures of checkerboards, which transposed convolutions draw before any training. The "
        "two scores are written down wrongly: an inception score without its exponential, and a "
        "distance of variances in place of covariances.",
        "Upsampling before a convolution, spectral normalisation, augmentation that the "
        "discriminator sees on both sides, and a faster discriminator. Precision and recall say "
        "whether quality or diversity is missing.",
    ),
    "boundary": Story(
        "Can generated cells be made to lie on the discriminator's decision boundary?",
        "A boundary loss with weight γ against plain binary cross-entropy, judged by s1 (real "
        "pictures), s2 (generated ones at one half) and s3 (likeness), 60 epochs.",
        "As written the loss becomes infinite in single precision. s1 and s2 are the "
        "discriminator's doing: it reaches them before a generator that never learns. s3 was left "
        "unwatched, and a mean picture beats real ones in it.",
        "The loss by softplus; a slow generator that comes to rest before a wider discriminator; "
        "a likeness term; every score beside its ceiling and floor, and KID, which no "
        "discriminator moves.",
    ),
    "srgan": Story(
        "Do seven attempts at an SRGAN, each with other rates and weights, get better?",
        "SRGAN from scratch without pixel pretraining, ×4, from 2,000 to 4,000 epochs; PSNR rises "
        "from 9.9 to 10.7 dB.",
        "Pictures were compared in the wrong value range, which hides nearly all that training "
        "does: even bicubic scores 10 dB there, and 26 dB truly. A discriminator's loss of 1.00 "
        "is, for that loss, the price of guessing: it never learned.",
        "Begin as the best linear upscaler, pretrain on pixels, and only then add a discriminator "
        "that learns. Every attempt stands beside bicubic.",
    ),
    "unet": Story(
        "Which of 36 U-Nets, learning rates and batch sizes segments nuclei best?",
        "Four learning rates × three batch sizes × three architectures, focal loss, one seed "
        "each; the winner by Jaccard.",
        "The learning rate was never set: the optimizer ignored a misspelt argument. Two of three "
        "published grids scored no better than a constant, as with masks of other pictures. "
        "Differences between the best cells are as large as those between seeds.",
        "Settings read back from what trains, images and masks paired by name, predictors that do "
        "not look beside every score, several seeds, and a test that says which cells can't be "
        "told apart.",
    ),
}
