"""pofx forecast: learn a series, simulate its futures, and hold them against simple forecasts on its last stretch."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pofx.core.printed import aligned, show
from pofx.declared import Folder, Overwrite, Reads, Seed

GROUP = "Uses"
EXAMPLE = "pofx forecast sales.csv --horizon 14 --out runs/sales"

TESTED = 0.15  # share of the series, its end, that is held back to score forecasts


def forecast(
    source: Annotated[
        Path, typer.Argument(metavar="SERIES", help="A .csv file, a line per step; gaps may be empty."), Reads()
    ],
    out: Annotated[
        Path, typer.Option(help="A folder: the forecaster, futures.csv, scores.csv and futures.png."), Folder()
    ],
    horizon: Annotated[int, typer.Option(min=1, max=1_000_000, help="Steps of a future.")] = 24,
    known: Annotated[str | None, typer.Option(help="Columns known in advance, with commas between; not shown.")] = None,
    future: Annotated[
        Path | None, typer.Option(help="A .csv with the known columns of the coming steps."), Reads()
    ] = None,
    model: Annotated[str, typer.Option(help="A conditional model of vectors: nsf, maf, flow-matching, edm …")] = "nsf",
    block: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Steps drawn at once; by default all of them.")
    ] = None,
    season: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Steps of a season, of the floors; found if left out.")
    ] = None,
    event: Annotated[
        list[str] | None,
        typer.Option(help="NAME>VALUE or NAME<VALUE: how probable it is at some step of the future; repeatable."),
    ] = None,
    n: Annotated[int, typer.Option("-n", min=2, max=100_000, help="Futures.")] = 200,
    minutes: Annotated[float, typer.Option(help="Of training.")] = 1.0,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> str:
    """Draw possible futures of a time series, scored on its end against simple forecasts."""
    from pofx.apps.forecaster import Forecaster
    from pofx.apps.futures import backtest, season_of
    from pofx.core.errors import UsageError
    from pofx.data.arrays import write_frame
    from pofx.data.columns import listed
    from pofx.data.series import series

    names = listed(known)
    if names and future is None:
        raise UsageError(f"the known columns of the coming {horizon} steps are missing: pass --future FILE")
    if future is not None and not names:
        raise UsageError("--future holds the columns of --known: name them, or leave --future out")
    one = series(source, known=names)
    ahead = None if future is None else coming(future, names, horizon)
    events = [read_event(text, one.names) for text in event or ()]
    train = int((1 - TESTED) * len(one))
    forecaster = Forecaster(horizon, model=model, block=block, minutes=minutes, progress=True, seed=seed).fit(
        one[:train]
    )
    found = backtest(forecaster, one, train, season=season or season_of(one.values[:train]), draws=min(n, 100), most=40)
    show(aligned(found, 4))
    drawn = forecaster.simulate(one, n, known=ahead, seed=seed)
    for text, (channel, happens) in zip(event or (), events, strict=True):
        chance = drawn.probability(lambda x, j=channel, of=happens: bool(of(x[:, j]).any()))
        seen = past_rate(one.values[:, channel], happens, horizon)
        error = (chance * (1 - chance) / n) ** 0.5
        show(f"{text} at some of {horizon} steps: {chance:.3f} ± {error:.3f}; of stretches of the past {seen:.3f}")
    forecaster.save(out)
    write_frame(found, out / "scores.csv", index=True)
    steps = "time" if drawn.times is not None else "step"
    write_frame(drawn.frame(), out / "futures.csv", index=True, index_label=steps)
    drawn.plot(out / "futures.png", one)
    return f"{n} futures of {horizon} steps"


def read_event(text: str, names: Sequence[str]) -> tuple[int, Callable[[Any], Any]]:
    """The channel of an event, and what happens: values → bool.

    Raises:
        UsageError: another form, no such column, or no number.
    """
    import math
    import operator

    from pofx.core.errors import UsageError, unknown

    sign = ">" if ">" in text else "<"
    name, _, value = text.partition(sign)
    try:
        limit = float(value)
    except ValueError:
        limit = math.nan
    if not math.isfinite(limit):
        raise UsageError(f"--event must be NAME>NUMBER or NAME<NUMBER (got '{text}'): such as --event '{names[0]}>10'")
    if name.strip() not in names:
        raise unknown("column of the series", name.strip(), list(names))
    compare = operator.gt if sign == ">" else operator.lt
    return list(names).index(name.strip()), lambda x: compare(x, limit)


def past_rate(values: Any, happens: Callable[[Any], Any], horizon: int) -> float:
    """The share of stretches of so many known steps, one after the other, in which an event happened; NaN: none."""
    import numpy as np

    rows = values[len(values) % horizon :].reshape(-1, horizon)
    rows = rows[~np.isnan(rows).any(1)]
    return float(np.mean([bool(happens(row).any()) for row in rows])) if len(rows) else float("nan")


def coming(path: Path, names: list[str], steps: int) -> Any:
    """The known columns of the coming steps: float64 (steps, columns).

    Raises:
        DataError: a column is missing, other than numbers, or too short.
    """
    import numpy as np
    import pandas as pd

    from pofx.core.errors import DataError, unknown
    from pofx.data.frames import rows_in

    frame = rows_in(path)
    for name in names:
        if name not in frame.columns:
            raise unknown(f"column of {path}", name, map(str, frame.columns))
    found = np.stack([pd.to_numeric(frame[c], errors="coerce").to_numpy(np.float64) for c in names], 1)
    if len(found) != steps or not np.isfinite(found).all():
        raise DataError(f"{path} must have {steps} rows of numbers, one for each coming step (got {len(found)} rows)")
    return found
