"""pofx serve."""

from typing import Annotated

import typer

from pofx.cli import arguments

GROUP = "Use a run"
EXAMPLE = "pofx serve runs/digits --port 8700"


def serve(
    run: arguments.Run,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8700,
    host: Annotated[str, typer.Option(help="0.0.0.0 lets other machines in, with a token.")] = "127.0.0.1",
    token: Annotated[
        str | None,
        typer.Option(help="Of every request; made and printed where --host is another.", envvar="POFX_TOKEN"),
    ] = None,
    items: Annotated[int, typer.Option(min=1, max=1_000_000, help="Of one request, at most.")] = 1000,
    seconds: Annotated[float, typer.Option(min=0.1, max=86_400, help="Of one request, at most.")] = 60.0,
    megabytes: Annotated[float, typer.Option(min=0.001, max=4096, help="Of the body of a request, at most.")] = 16.0,
    waiting: Annotated[int, typer.Option(min=1, max=100_000, help="Requests that may wait.")] = 256,
    device: arguments.Device = "auto",
) -> None:
    """Serve a run over HTTP: sample, score, encode, decode, edit, with OpenAPI pages at /docs.

    Requests that wait at the same time are computed together. `pofx.Client` is its Python client.
    """
    from pofx.artifact import load
    from pofx.serve.server import serve as start
    from pofx.serve.work import Limits

    limits = Limits(items=items, seconds=seconds, bytes=int(megabytes * 1e6), waiting=waiting)
    start(load(run).to(device), host, port, token, limits)
