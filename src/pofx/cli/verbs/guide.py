"""pofx guide."""

from pathlib import Path
from typing import Annotated

import typer

from pofx.cli import arguments
from pofx.declared import Folder, Reads

GROUP = "Use a run"
EXAMPLE = "pofx guide runs/digits --by runs/digits-small --guidance 2 --out runs/digits-guided"


def guide(
    run: arguments.Run,
    out: Annotated[Path, typer.Option(help="Folder of the guided run."), Folder()],
    by: Annotated[
        str | None,
        typer.Option(help="A weaker run of the same items, or one given a label; default: the run without its label."),
        Reads(),
    ] = None,
    guidance: Annotated[float | None, typer.Option(help="The weight (default 2, of a classifier 1).")] = None,
    rescale: Annotated[float, typer.Option(help="Share by which guided estimates get the spread of plain ones.")] = 0.0,
    start: Annotated[float, typer.Option("--from", help="Least time at which it acts (0 is data).")] = 0.0,
    stop: Annotated[float, typer.Option("--to", help="Greatest time at which it acts (1 is noise).")] = 1.0,
    overwrite: arguments.Overwrite = False,
) -> str:
    """Guide a diffusion run by another while it samples; nothing is trained.

    The weaker run is smaller, or was trained for a shorter time: samples move away from its errors. A run given a label
    which this one was not given is a classifier. The new run is sampled, edited with and evaluated like any other;
    -o guidance=3 changes the weight later.
    """
    from pofx.combine.guiding import guided

    made = guided(run, by, guidance=guidance, guidance_rescale=rescale, guidance_interval=(start, stop))
    made.save(out)
    return f"{made.card['companions']['run']['model']} guided by {_guide(made)}, weight {made.model.guidance}"


def _guide(made: object) -> str:
    found = getattr(made, "card")["companions"].get("guide")  # noqa: B009
    return "itself without its condition" if found is None else str(found["model"])
