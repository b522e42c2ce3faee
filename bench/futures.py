"""Forecasts against floors: `POFX_DATA=… python bench/futures.py NAME [--minutes 1]`.

NAME is ett, exchange, lorenz or lotka-volterra. ETTh1: the standard split (8,640 hours to train, 2,880 for validation,
on both of which the forecaster learns), 120 windows of 24 hours of the next 2,880, in standard deviations of the
training part. Exchange rates: the five windows of 30 days after day 6,071. Systems: 90 windows of 20 steps of a second
path, beside two exact ensembles.
"""

import argparse
import os
from pathlib import Path

import numpy as np

from pofx.apps.forecaster import Forecaster
from pofx.apps.futures import floors, table, windows
from pofx.data.dynamics import SYSTEMS
from pofx.data.series import series

DRAWS = 100


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("name", choices=["ett", "exchange", *SYSTEMS])
    cli.add_argument("--minutes", type=float, default=1.0)
    cli.add_argument("--model", default="nsf")
    args = cli.parse_args()
    extra = {}
    if args.name in SYSTEMS:
        system, horizon, season = SYSTEMS[args.name], 20, SYSTEMS[args.name].season
        path, other = system.series(10_000, 0), system.series(3_000, 1)
        one, train = series(np.concatenate((path, other))), len(path)
        starts = [train + at for at in range(50, 2_950, 30)][:90]
        model = Forecaster(horizon, context=1, block=1, model=args.model, minutes=args.minutes)
        states = np.stack([one.values[at - 1] for at in starts])
        extra = {f"exact {k}": system.futures(states, DRAWS, horizon, k) for k in (1, 2)}
    else:
        folder = Path(os.environ["POFX_DATA"]) / "series"
        ett = args.name == "ett"
        one = series(folder / ("ETTh1.csv" if ett else "exchange_rate.txt.gz"))
        horizon, season, train = (24, 24, 11_520) if ett else (30, 1, 6_071)
        starts = windows(one, train, 14_400 if ett else train + 150, horizon)
        options = {"context": 96} if ett else {"context": 60, "block": 5}
        model = Forecaster(horizon, model=args.model, minutes=args.minutes, **options)
    model.fit(one[:train])
    truth = np.stack([one.values[at : at + horizon] for at in starts])
    simple = floors(one, train, starts, horizon, season, draws=DRAWS, linear=model.linear, context=model.context,
                    given=model.given(one, starts))  # fmt: skip
    scale = one.values[: 8_640 if args.name == "ett" else train].std(0)
    forecasts = {args.model: model.rolling(one, starts, DRAWS), **extra, **simple}
    print(table(forecasts, truth, scale).round(4).to_string())


if __name__ == "__main__":
    main()
