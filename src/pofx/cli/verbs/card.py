"""pofx card."""

from pathlib import Path
from typing import Annotated

import typer

from pofx.cli import arguments

GROUP = "Look up"
EXAMPLE = "pofx card runs/digits --out README.md"


def card(
    run: arguments.Run,
    out: Annotated[Path | None, typer.Option(help="A .md file (default: the screen).")] = None,
) -> None:
    """Write the model card of a run: data and licence, intended use, measures, limits, energy (Hugging Face format)."""
    from pofx.artifact import load
    from pofx.core.files import read_json, write_bytes
    from pofx.data.arrays import check_ending
    from pofx.runs.info import EVALUATION

    if out is not None:
        check_ending(out, ".md")
    evaluation = read_json(run / EVALUATION) if (run / EVALUATION).exists() else None
    text = load(run).model_card(evaluation)
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_bytes(out, text.encode("utf-8", "surrogatepass"))
        typer.echo(f"model card → {out}")
