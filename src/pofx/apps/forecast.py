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
SCORED, PICTURES = 20, 12  # series, of several, whose forecasts are scored, and drawn
LINES = (".jsonl", ".ndjson", ".json")


def forecast(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SERIES", help="A table, a line per step; gaps may be empty. Or .jsonl of GluonTS: start, target."
        ),
        Reads(),
    ],
    out: Annotated[
        Path, typer.Option(help="A folder: the forecaster, futures.csv, scores.csv and futures.png."), Folder()
    ],
    run: Annotated[
        Path | None, typer.Option(help="The folder of a forecaster, instead of training one."), Reads(run=True)
    ] = None,
    horizon: Annotated[int | None, typer.Option(min=1, max=1_000_000, help="Steps of a future (default: 24).")] = None,
    columns: Annotated[str | None, typer.Option(help="Columns to forecast, with commas between; else all.")] = None,
    by: Annotated[
        str | None, typer.Option("--by", help="Of several series in one table: the column of their names.")
    ] = None,
    known: Annotated[str | None, typer.Option(help="Columns known in advance, with commas between; not shown.")] = None,
    future: Annotated[
        Path | None, typer.Option(help="A .csv with the known columns of the coming steps."), Reads()
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A conditional model of vectors: nsf, maf, flow-matching … (default: nsf).")
    ] = None,
    block: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Steps drawn at once; by default all of them.")
    ] = None,
    season: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Steps of a season, of the floors; found if left out.")
    ] = None,
    event: Annotated[
        list[str] | None,
        typer.Option(help="NAME>VALUE, also < >= <=: how probable it is at some step of the future; repeatable."),
    ] = None,
    n: Annotated[int, typer.Option("-n", min=2, max=100_000, help="Futures.")] = 200,
    minutes: Annotated[float | None, typer.Option(help="Of training (default: 1).")] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> str:
    """Draw possible futures of a time series, scored on its end against simple forecasts."""
    from pofx.apps.forecaster import Forecaster, event_of
    from pofx.core.errors import UsageError
    from pofx.data.arrays import write_frame
    from pofx.data.columns import listed
    from pofx.data.series import by_name

    if run is not None and any(v is not None for v in (model, minutes, block, season)):
        raise UsageError("--run is trained already: leave --model, --minutes, --block and --season out")
    one = None if run is None else Forecaster.load(run)
    names = listed(known) if one is None or known is not None else one.known
    steps = horizon or (24 if one is None else one.horizon)
    if names and future is None:
        raise UsageError(f"the known columns of the coming {steps} steps are missing: pass --future FILE")
    if future is not None and not names:
        raise UsageError("--future holds the columns of --known: name them, or leave --future out")
    chosen = listed(columns) if one is None or columns is not None else list(one.names)
    every = by_name(source, by=by, known=names, columns=chosen if by_column(source, chosen) else None)
    first = next(iter(every.values()))
    events = [event_of(text, first.names) for text in event or ()]
    ahead = dict.fromkeys(every) if future is None else coming(future, names, steps, by, list(every))
    found = None
    if one is None:
        one = Forecaster(steps, model=model or "nsf", block=block, minutes=1.0 if minutes is None else minutes,
                         progress=True, seed=seed)  # fmt: skip
        found = learned(one, every, season, n)
        one.known = names  # the series that it learned from have none
        one.save(out)
    if found is not None:
        show(aligned(found, 4))
        write_frame(found, out / "scores.csv", index=True)
    many = len(every) > 1
    frames = []
    for k, (name, history) in enumerate(every.items()):
        drawn = one.simulate(history, n, steps, known=ahead[name], seed=seed + k)
        for text, (channel, happens) in zip(event or (), events, strict=True):
            chance = drawn.probability(text)
            seen, error = past_rate(history.values[:, channel], happens, steps), (chance * (1 - chance) / n) ** 0.5
            show(
                f"{name + ': ' if many else ''}{text} at some of {steps} steps: {chance:.3f} ± {error:.3f}; of "
                f"stretches of the past {seen:.3f}"
            )
        frames.append((name, drawn.frame()))
        if k < PICTURES:
            drawn.plot(out / (f"futures {file_name(name)}.png" if many else "futures.png"), history)
    write_frame(stacked(frames, by or "series"), out / "futures.csv", index=True)
    return f"{n} futures of {steps} steps" + (f" of {len(every)} series" if many else "")


def by_column(source: Path, columns: Sequence[str]) -> bool:
    """Whether a file has these columns; series of other files have channels x0, x1, …"""
    return bool(columns) and not (source.suffix.lower() in LINES and all(c.startswith("x") for c in columns))


def learned(one: Any, every: Any, season: int | None, n: int) -> Any:
    """Scores on the end of the series of a forecaster that learns what comes before; None: they are too short."""
    from pofx.apps.futures import backtest, season_of, windows

    cuts = {name: int((1 - TESTED) * len(history)) for name, history in every.items()}
    one.fit([history[: cuts[name]] for name, history in every.items()])
    tables = [
        backtest(one, history, cuts[name], season=season or season_of(history.values[: cuts[name]]),
                 draws=min(n, 100), most=max(2, 40 // len(every)))
        for name, history in list(every.items())[:SCORED]
        if windows(history, max(cuts[name], one.context), len(history), one.horizon)
    ]  # fmt: skip
    if not tables:
        show(f"the last {TESTED:.0%} of the series are shorter than {one.horizon} steps: forecasts are not scored")
        return None
    return sum(tables[1:], tables[0]) / len(tables)


def stacked(frames: Sequence[tuple[str, Any]], by: str) -> Any:
    """Tables of futures one below the other, with the names of their series where there are several."""
    import pandas as pd

    if len(frames) == 1:
        frame = frames[0][1]
        return frame.rename_axis("time" if isinstance(frame.index, pd.DatetimeIndex) else "step")
    parts = [
        frame.rename_axis("step" if not hasattr(frame.index, "tz") else "time").reset_index() for _, frame in frames
    ]
    for (name, _), part in zip(frames, parts, strict=True):
        part.insert(0, by, name)
    return pd.concat(parts, ignore_index=True).set_index(by)


def file_name(name: str) -> str:
    """A name with what a file may hold."""
    import re

    return re.sub(r"[^\w.+-]", "_", name)


def past_rate(values: Any, happens: Callable[[Any], Any], horizon: int) -> float:
    """The share of stretches of so many known steps, one after the other, in which an event happened; NaN: none."""
    import numpy as np

    rows = values[len(values) % horizon :].reshape(-1, horizon)
    rows = rows[~np.isnan(rows).any(1)]
    return float(np.mean([bool(happens(row).any()) for row in rows])) if len(rows) else float("nan")


def coming(path: Path, names: list[str], steps: int, by: str | None, every: Sequence[str]) -> dict[str, Any]:
    """The known columns of the coming steps of each series: float64 (steps, columns).

    Raises:
        DataError: a column is missing, other than numbers, or too short.
    """
    import numpy as np
    import pandas as pd

    from pofx.core.errors import DataError, unknown
    from pofx.data.frames import rows_in

    frame = rows_in(path)
    shared = by is None or by not in frame.columns  # the same for every series
    for name in names:
        if name not in frame.columns:
            raise unknown(f"column of {path}", name, map(str, frame.columns))
    parts = {} if shared else {str(k): part for k, part in frame.groupby(by, sort=False)}
    made = {}
    for one in every:
        part = frame if shared else parts.get(one)
        if part is None:
            raise DataError(f"{path} has no rows of series {one}: add {steps} of them")
        found = np.stack([pd.to_numeric(part[c], errors="coerce").to_numpy(np.float64) for c in names], 1)
        if len(found) != steps or not np.isfinite(found).all():
            of = "" if shared else f" for series {one}"
            gaps = "" if np.isfinite(found).all() else f", of which {(~np.isfinite(found)).any(1).sum()} have no number"
            raise DataError(
                f"{path} must have {steps} rows of numbers{of}, one for each coming step (got {len(found)} rows{gaps})"
            )
        made[one] = found
    return made
