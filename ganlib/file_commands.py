"""The commands that turn image files into image files: `ganlib upscale` and `ganlib segment`.

Nothing here imports a Keras backend before a command needs it, so `--help` answers at once.
"""

import pathlib
from typing import Annotated

import typer

from ganlib.terminal import AsJson, load_keras, print_json

files = typer.Typer()

Images = Annotated[list[pathlib.Path], typer.Argument(metavar="IMAGE…", help="Image files.")]
Out = Annotated[pathlib.Path, typer.Option(help="Folder for the results.")]
Tile = Annotated[
    int, typer.Option(min=16, help="Side of a tile in pixels; smaller needs less memory.")
]


@files.command(epilog="Example: ganlib upscale model.keras photo.jpg scan.png --out large/")
def upscale(
    model: Annotated[pathlib.Path, typer.Argument(help="A .keras file of a super-resolver.")],
    images: Images,
    out: Out = pathlib.Path("upscaled"),
    tile: Tile = 256,
    as_json: AsJson = False,
):
    """Enlarges image files of any size; each becomes a PNG with the scale in its name.

    If one fails, the others are still made, and the exit code is 1.
    """
    load_keras()
    from ganlib.apply import load_upscaler, upscale_files

    results = upscale_files(load_upscaler(model), images, out, tile, show=not as_json)
    _print_results(results, as_json)


@files.command(epilog="Example: ganlib segment model.keras slide.png scan.tif --out masks/")
def segment(
    model: Annotated[pathlib.Path, typer.Argument(help="A .keras file of a U-Net or the like.")],
    images: Images,
    out: Out = pathlib.Path("segmented"),
    tile: Tile = 256,
    threshold: Annotated[
        float, typer.Option(help="Probability above which a pixel is foreground.")
    ] = 0.5,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write probabilities, as grey levels.")
    ] = False,
    as_json: AsJson = False,
):
    """Writes a mask for image files of any size, as PNG: 255 for the foreground, 0 for the rest.

    If one fails, the others are still made, and the exit code is 1.
    """
    load_keras()
    from ganlib.apply import load_segmenter, segment_files
    from ganlib.metrics.segmentation import check_threshold

    try:
        check_threshold(threshold)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    threshold = None if probabilities else threshold
    results = segment_files(load_segmenter(model), images, out, tile, threshold, not as_json)
    _print_results(results, as_json)


def _print_results(results, as_json):
    """Prints what `ganlib.apply.work_through` returns; exits with 1 if a file failed."""
    if as_json:
        print_json(results)
    failed = [result for result in results if result["output"] is None]
    for result in results:
        if result in failed:
            typer.echo(f"{result['input']}: {result['error']}", err=True)
        elif not as_json:
            share = f"{result['foreground']:.1%} foreground, " if "foreground" in result else ""
            typer.echo(f"{result['output']}: {share}{result['seconds']:.1f} s")
    if failed:
        raise typer.Exit(1)
