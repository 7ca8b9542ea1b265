"""The report of the U-Net grid study, from its run directories alone."""

from ganlib.studies import unet_figures
from ganlib.studies.unet_results import UnetResults

FIGURES = (
    "heatmaps",
    "interactions",
    "stability",
    "pareto",
    "ranking",
    "curves",
    "examples",
    "mispaired",
)
TABLES = {
    "scores": "Each architecture's best cell and all else, on test tiles.",
    "cells": "All cells, the best first; intervals over seeds.",
    "variances": "Type-II analysis of variance over the grid.",
    "guidelines": "What the grid advises.",
    "speed": "Seconds an epoch, beside the published 1,980 patches of 256×256 with 64 filters.",
    "trials": "All numbers of all trials.",
}


def write_report(study, results, data, out="runs", reports="reports", found=None):
    """Writes the study's figures, tables and run.json.

    Args:
        study: the grid `Study`.
        results: list of result dicts; only finished trials are shown.
        data: `ganlib.studies.unet.TileData`.
        out: folder of all runs.
        reports: folder of all reports.
        found: `UnetResults` of the same runs, to spare the reading; None: made here.

    Returns:
        The `Report` and the `Claims`.
    """
    found = found or UnetResults(study, results, data, out)
    figures = {name: getattr(unet_figures, name) for name in FIGURES}
    tables = TABLES | ({"following": "What followed the grid."} if found.after else {})
    return found.write(reports, figures, tables, found.claims), found.claims
