"""The command group `ganlib score`.

Nothing here imports a Keras backend before a command needs it, so `--help` answers at once.
"""

import pathlib
from typing import Annotated

import typer

from ganlib.terminal import AsJson, load_keras, print_json, print_table

Gan = Annotated[pathlib.Path, typer.Argument(help="A .keras file of an Adversarial model.")]
Real = Annotated[
    str,
    typer.Argument(help="digits, tissue, rooms, tfds:NAME, an .npz or a folder of real images."),
]

_SHOWN = (
    "frechet",
    "inception_score",
    "precision",
    "recall",
    "density",
    "coverage",
    "n_fake",
)
_FIRST = ("s1", "s2", "s3", "score", "s3_real", "s3_noise", "n")
_OVERLAPS = ("jaccard", "jaccard_soft", "dice", "dice_soft")
_COMPARED = {
    "s3": "generated",
    "s3_real": "real pictures (ceiling)",
    "s3_noise": "noise (floor)",
    "s3_flat": "each of one colour",
    "s3_mean": "the mean picture",
}

score = typer.Typer(help="Scores a trained model against real data.", no_args_is_help=True)


@score.command("gan", epilog="Example: ganlib score gan model.keras digits --json")
def score_gan(
    model: Gan,
    real: Real,
    n: Annotated[int | None, typer.Option("-n", min=100, help="Pictures to score.")] = None,
    seed: Annotated[int, typer.Option(help="Of the latents.")] = 0,
    network: Annotated[
        str | None, typer.Option(help="efficientnet_lite0, inception_v3, digits; or auto.")
    ] = None,
    as_json: AsJson = False,
):
    """Scores a GAN against real images, beside more real images and noise.

    KID, Fréchet distance, Inception Score, precision, recall, density and coverage. Digits are
    looked at by a classifier trained on REAL's training part, other images by Inception-v3 where
    its weights are at hand, else by EfficientNet-Lite0. The scores refer to REAL's test part.
    """
    load_keras()
    from ganlib import scoring
    from ganlib.apply import load_gan
    from ganlib.data import DataError

    gan = load_gan(model)
    try:
        scores = scoring.score_gan(gan, real, n, seed, network, progress=not as_json)
    except DataError:
        raise
    except (ValueError, OSError) as error:  # the network's name, or its weights
        raise typer.BadParameter(str(error)) from None
    if as_json:
        print_json(scores)
        return
    import pandas

    rows = {"generated": scores, **scores["baselines"]}
    keys = [k for k in ("kid", "kid_standard_error", *_SHOWN) if k in scores]
    table = [{"images": name, **{k: row[k] for k in keys}} for name, row in rows.items()]
    print_table(pandas.DataFrame(table).round(4))
    typer.echo(f"Network: {scores['network']} ({scores['resize']}).")
    if "classifier" in scores:
        keys = ("confidence", "digit_score", "missing_digits")
        rows["generated"] = scores["generated"]
        table = [{"images": name, **{k: row[k] for k in keys}} for name, row in rows.items()]
        print_table(pandas.DataFrame(table).round(3))
        typer.echo(
            f"Digit classifier: {scores['classifier']['accuracy']:.1%} right on "
            f"{scores['classifier']['n']} held-out digits."
        )
    for caution in scores["cautions"]:
        typer.echo(f"Caution: {caution}")


@score.command("boundary", epilog="Example: ganlib score boundary model.keras cells.npz --json")
def score_boundary(
    model: Gan,
    real: Real,
    n: Annotated[
        int | None, typer.Option("-n", min=1, help="Pictures to score; default: as many as real.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the latents, and of the noise.")] = 0,
    similarity: Annotated[
        str, typer.Option(help="correlation, cosine, plain_cosine or ssim.")
    ] = "correlation",
    as_json: AsJson = False,
):
    """Scores a boundary GAN: s1 for real images, s2 for the boundary, s3 for likeness.

    s1 is the mean D(x) over real images, s2 the mean of 1 - 4(D(G(z)) - ½)² over generated ones, s3
    their mean similarity to the nearest real image; the score is the product. To read s3 beside:
    real images, noise, the generated ones as one colour each, and the mean real image. The scores
    refer to REAL's test part.
    """
    load_keras()
    from ganlib import scoring
    from ganlib.apply import load_gan
    from ganlib.data import DataError

    gan = load_gan(model)
    try:
        scores = scoring.score_boundary_gan(gan, real, n, seed, similarity)
    except DataError:
        raise
    except ValueError as error:  # the similarity, or it is not for such pictures
        raise typer.BadParameter(str(error)) from None
    if as_json:
        print_json({key: scores[key] for key in _FIRST} | scores)
        return
    import pandas

    rows = [{"pictures": name, "s3": scores[key]} for key, name in _COMPARED.items()]
    print_table(pandas.DataFrame(rows).round(4))
    s1, s2, product = (f"{scores[key]:.4f}" for key in ("s1", "s2", "score"))
    typer.echo(f"s1 {s1}, s2 {s2}, score {product}, which is s1 × s2 × s3.")
    if scores["s3"] > scores["s3_real"]:
        typer.echo(
            "s3 above the ceiling does not mean better than real: smooth or typical pictures have "
            "it too."
        )


@score.command("sr", epilog="Example: ganlib score sr model.keras photos/ --scale 4 --json")
def score_sr(
    model: Annotated[pathlib.Path, typer.Argument(help="A .keras file of an upscaler.")],
    high: Annotated[str, typer.Argument(help="A folder of high-resolution pictures, or photos.")],
    scale: Annotated[int, typer.Option(min=2, max=4, help="How many times the model enlarges.")],
    as_json: AsJson = False,
):
    """Scores a super-resolution model, beside bicubic and the best linear upscaler.

    The pictures are made small, enlarged again, and compared with themselves: PSNR in dB and SSIM,
    of luma (Y) and RGB.
    """
    load_keras()
    from ganlib.apply import load_upscaler
    from ganlib.scoring import score_upscaler

    scores = score_upscaler(load_upscaler(model), high, scale)
    if as_json:
        print_json(scores)
        return
    import pandas

    rows = [{"method": name, **values} for name, values in scores.items() if name != "n"]
    print_table(pandas.DataFrame(rows).round(4))
    typer.echo(f"Means over {scores['n']} pictures.")


@score.command(
    "segmentation", epilog="Example: ganlib score segmentation model.keras cells/ --json"
)
def score_segmentation(
    model: Annotated[pathlib.Path, typer.Argument(help="A .keras file of a U-Net or the like.")],
    data: Annotated[
        str,
        typer.Argument(help="nuclei, membranes, tfds:NAME, an .npz, or a folder with masks."),
    ],
    threshold: Annotated[
        float, typer.Option(help="Probability above which a pixel is foreground.")
    ] = 0.5,
    as_json: AsJson = False,
):
    """Scores a segmentation model, beside predictors that do not look at the image.

    Jaccard (intersection over union) and Dice, of masks and soft, where each pixel counts with its
    probability; images of any size, all pixels of all of them together. The scores refer to DATA's
    test part, or to all of it where it has none.
    """
    load_keras()
    from ganlib.apply import load_segmenter
    from ganlib.data import DataError
    from ganlib.scoring import score_segmenter

    try:
        scores = score_segmenter(load_segmenter(model), data, threshold, progress=not as_json)
    except DataError:
        raise
    except ValueError as error:  # the threshold
        raise typer.BadParameter(str(error)) from None
    if as_json:
        print_json(scores)
        return
    import pandas

    rows = {"model": scores, **scores["baselines"]}
    table = [{"masks": name, **{k: row[k] for k in _OVERLAPS}} for name, row in rows.items()]
    print_table(pandas.DataFrame(table).round(4))
    which = "the test part of" if scores["part"] == "test" else "all of"
    which = f"{which} {scores['data']}{' (synthetic)' * scores['synthetic']}"
    typer.echo(
        f"{scores['n']} images, {which}; {scores['foreground']:.1%} foreground; "
        f"threshold {scores['threshold']}."
    )
