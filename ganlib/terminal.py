"""What the commands share: Keras without its greeting, and how results are printed."""

import json
import os
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a machine.")]


def load_keras():
    """Imports Keras without TensorFlow's greeting, which no log level of its own silences.

    Returns:
        None, or the exception: a command that needs Keras will meet it again.
    """
    greeting = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            import keras  # noqa: F401
        except Exception as error:  # a broken backend raises whatever it likes
            return error
        finally:
            os.dup2(greeting, 2)
            os.close(greeting)
    return None


def print_json(value):
    """Prints results as JSON; a number that is not finite as null."""
    from ganlib.experiment.run import plain

    typer.echo(json.dumps(plain(value), indent=2))


def print_table(table):
    """Prints a `pandas.DataFrame` without its index."""
    typer.echo(table.to_string(index=False))
