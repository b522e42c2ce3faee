"""pofx data."""

import typer

from pofx.cli import arguments as given

GROUP = "Look up"
EXAMPLE = "pofx data"


def data(as_json: given.Json = False) -> None:
    """List the built-in data sets and the file types that are read."""
    from pofx.data.files import SUFFIXES
    from pofx.data.sources import catalogue

    given.show(catalogue(), as_json)
    if not as_json:
        typer.echo(f"\nFiles: {', '.join(sorted(SUFFIXES))}, folders of images or sound (labels from sub-folders).")
