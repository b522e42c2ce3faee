"""pofx card."""

from pathlib import Path
from typing import Annotated

import typer

from pofx.cli import arguments
from pofx.declared import File

GROUP = "Look up"
EXAMPLE = "pofx card runs/digits --out README.md"


def card(
    run: arguments.Run,
    out: Annotated[Path | None, typer.Option(help="A .md file (default: the screen)."), File(".md")] = None,
) -> str | None:
    """Write the model card of a run: data and licence, intended use, measures, limits, energy (Hugging Face format)."""
    from pofx.artifact import load
    from pofx.core.files import read_json, write_bytes
    from pofx.storage import EVALUATION

    evaluation = read_json(run / EVALUATION) if (run / EVALUATION).exists() else None
    text = load(run).model_card(evaluation)
    if out is None:
        typer.echo(text, nl=False)
        return None
    write_bytes(out, text.encode("utf-8", "surrogatepass"))
    return "model card"
