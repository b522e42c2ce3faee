"""pofx forecast: learn a series, simulate its futures, and hold them against simple forecasts on its last stretch."""

from pathlib import Path
from typing import Annotated

import typer

GROUP = "Uses"
EXAMPLE = "pofx forecast sales.csv --horizon 14 --out runs/sales"

TESTED = 0.15  # share of the series, its end, that is held back to score forecasts


def forecast(
    source: Annotated[Path, typer.Argument(metavar="SERIES", help="A .csv file, a line per step; gaps may be empty.")],
    out: Annotated[Path, typer.Option(help="A folder: the forecaster, futures.csv, scores.csv and futures.png.")],
    horizon: Annotated[int, typer.Option(min=1, help="Steps of a future.")] = 24,
    known: Annotated[str | None, typer.Option(help="Columns known in advance, with commas between; not shown.")] = None,
    future: Annotated[Path | None, typer.Option(help="A .csv with the known columns of the coming steps.")] = None,
    model: Annotated[str, typer.Option(help="A conditional model of vectors: nsf, maf, flow-matching, edm …")] = "nsf",
    block: Annotated[int | None, typer.Option(min=1, help="Steps drawn at once; by default all of them.")] = None,
    season: Annotated[
        int | None, typer.Option(min=1, help="Steps of a season, of the floors; found if left out.")
    ] = None,
    n: Annotated[int, typer.Option("-n", min=2, help="Futures.")] = 200,
    minutes: Annotated[float, typer.Option(help="Of training.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the training and the draws.")] = 0,
) -> None:
    """Draw possible futures of a time series, scored on its end against simple forecasts."""
    import numpy as np
    import pandas as pd

    from pofx.apps.forecaster import Forecaster
    from pofx.apps.futures import backtest, season_of
    from pofx.core.errors import UsageError
    from pofx.data.series import series

    names = known.split(",") if known else []
    if names and future is None:
        raise UsageError(f"the known columns of the coming {horizon} steps are missing: pass --future FILE")
    one = series(source, known=names)
    train = int((1 - TESTED) * len(one))
    forecaster = Forecaster(horizon, model=model, block=block, minutes=minutes, seed=seed).fit(one[:train])
    found = backtest(forecaster, one, train, season=season or season_of(one.values[:train]), draws=min(n, 100), most=40)
    typer.echo(found.round(4).to_string())
    ahead = None if future is None else pd.read_csv(future)[names].to_numpy(np.float64)
    drawn = forecaster.simulate(one, n, known=ahead, seed=seed)
    forecaster.save(out)
    found.to_csv(out / "scores.csv")
    drawn.frame().to_csv(out / "futures.csv", index_label="time" if drawn.times is not None else "step")
    drawn.plot(out / "futures.png", one)
    typer.echo(f"{n} futures of {horizon} steps → {out}")
