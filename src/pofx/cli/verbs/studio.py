"""pofx studio."""

from pathlib import Path
from typing import Annotated

import typer

from pofx.declared import Reads

GROUP = "Use a run"
EXAMPLE = "pofx studio runs/vae runs/flow"


def studio(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Folders of runs (default: all in ./runs)."), Reads(run=True)
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8800,
    host: Annotated[str, typer.Option(help="0.0.0.0 lets other machines in, with a password.")] = "127.0.0.1",
    browser: Annotated[bool, typer.Option("--browser", help="Open it in the browser.")] = False,
) -> None:
    """Open a local page for runs: sample, complete, reconstruct, walk, compare, score, watch trainings."""
    from pofx.serve.desk import Desk
    from pofx.serve.studio import launch

    launch(Desk(runs or []), host, port, browser=browser)
