"""pofx push."""

from typing import Annotated

import typer

from pofx.cli import arguments
from pofx.core.printed import show

GROUP = "Use a run"
EXAMPLE = "pofx push runs/digits me/digits-flow"


def push(
    run: arguments.Run,
    repo: Annotated[str, typer.Argument(help="user/name on the Hugging Face Hub.")],
    public: Annotated[bool, typer.Option("--public", help="A new repository is visible to everybody.")] = False,
    message: Annotated[str, typer.Option(help="Of the commit.")] = "",
) -> None:
    """Upload a run with its model card to the Hugging Face Hub; every verb reads it back as hf://user/name."""
    from pofx.artifact import load
    from pofx.core.files import read_json
    from pofx.storage import EVALUATION

    evaluation = read_json(run / EVALUATION) if (run / EVALUATION).exists() else None
    show(load(run).push(repo, private=not public, message=message, evaluation=evaluation))
