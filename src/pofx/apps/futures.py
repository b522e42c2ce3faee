"""How good forecasts are: proper scores over windows of a later stretch, beside those of simple forecasts.

Floors: climatology (stretches of the past that began at the same phase of the season), the seasonal naive forecast with
bootstrapped errors, the bootstrapped random walk, and the linear-Gaussian forecast. No forecast sees the windows it is
scored on, and one with a NaN scores inf.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pofx.apps.linear_forecast import LinearForecast
from pofx.data.series import Series
from pofx.maths.proper_scores import covered, crps, energy_score, quantile_loss, ranks, variogram_score

PAIRS = 200  # numbers of a future up to which the variogram score takes all pairs


def scores(samples: np.ndarray, truth: np.ndarray, scale: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Scores of futures (windows, draws, horizon, d) of what happened (windows, horizon, d).

    `scale` (d,) are the units of CRPS, energy and variogram scores and of the squared error: the spread of the past.
    """
    x, y = samples / scale, truth / scale
    both = list(zip(x, y, strict=True))
    every = max(1, y[0].size // PAIRS)
    flat = [(a.reshape(len(a), -1), b.reshape(-1)) for a, b in both]
    pit = np.concatenate([ranks(a, b, seed + i).ravel() for i, (a, b) in enumerate(both)])
    pit = pit[~np.isnan(pit)]
    return {
        "CRPS": float(np.nanmean([crps(a, b) for a, b in both])),
        "CRPS-sum": quantile_loss(np.moveaxis(samples.sum(3), 1, 0), truth.sum(2)),
        "energy": float(np.nanmean([energy_score(a, b) for a, b in flat])),
        "variogram": float(np.nanmean([variogram_score(a[:, ::every], b[::every]) for a, b in flat])),
        "squared error": float(np.nanmean([np.square(a.mean(0) - b) for a, b in both])),
        "covered 50%": coverage(x, y, 0.5),
        "covered 90%": coverage(x, y, 0.9),
        "PIT error": float(np.abs(np.sort(pit) - (np.arange(len(pit)) + 0.5) / max(len(pit), 1)).max(initial=0.0)),
    }


def coverage(samples: np.ndarray, truth: np.ndarray, level: float) -> float:
    """The share of known values in their central intervals of this level."""
    inside = [covered(a, b, level)[~np.isnan(b)] for a, b in zip(samples, truth, strict=True)]
    return float(np.concatenate([v.ravel() for v in inside]).mean())


def windows(one: Series, start: int, stop: int, horizon: int, most: int | None = None) -> list[int]:
    """The first steps of futures that follow one another without overlap and end by `stop`; the last `most`."""
    starts = list(range(start, stop - horizon + 1, horizon))
    return starts if most is None else starts[-most:]


def floors(
    one: Series, train: int, starts: Sequence[int], horizon: int, season: int, *, draws: int = 100, seed: int = 0,
    linear: LinearForecast | None = None, context: int = 0, given: np.ndarray | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Futures (starts, draws, horizon, d) of simple forecasts that learn from the first `train` steps.

    Args:
        season: steps after which the series repeats itself, about.
        linear: a linear forecast in units of the training part, whose residuals are taken as normal; with its
            `context` and what it is `given` at each start.
    """
    g = np.random.default_rng(seed)
    frame = pd.DataFrame(one.values).ffill().bfill()
    z = frame.to_numpy()
    past, d = z[:train], z.shape[1]
    reach = -(-horizon // season) * season
    found: dict[str, list[np.ndarray]] = {"climatology": [], "seasonal naive": [], "random walk": []}
    moves = np.diff(past, axis=0)
    ends = np.arange(reach, train - horizon)
    naive = (
        np.stack([past[e : e + horizon] - _repeated(past, int(e), horizon, season) for e in ends])
        if len(ends)
        else (np.zeros((1, horizon, d)))
    )
    for at in starts:
        phase = list(range(at % season, train - horizon + 1, season)) or [max(0, train - horizon)]
        found["climatology"].append(np.stack([past[e : e + horizon] for e in g.choice(phase, draws)]))
        found["seasonal naive"].append(_repeated(z, at, horizon, season) + naive[g.integers(len(naive), size=draws)])
        steps = moves[g.integers(len(moves), size=(draws, horizon))] - moves.mean(0)
        found["random walk"].append(z[at - 1] + steps.cumsum(1))
    made = {name: np.stack(parts) for name, parts in found.items()}
    if linear is not None and given is not None and linear.shape[0] >= horizon:
        middle, scale = np.nanmean(one.values[:train], 0), np.nanstd(one.values[:train], 0)
        scale = np.where(scale > 1e-12, scale, 1.0)
        pasts = np.stack([(z[at - context : at] - middle) / scale for at in starts])
        mean = np.repeat(linear(pasts, given), draws, 0)
        normal = linear.inverse(g.standard_normal((len(mean), mean[0].size)), mean)
        made["linear-Gaussian"] = (normal * scale + middle).reshape(len(starts), draws, -1, d)[:, :, :horizon]
    return made


def _repeated(z: np.ndarray, at: int, horizon: int, season: int) -> np.ndarray:
    """The last season before a step, again and again."""
    return np.asarray(z[at - season + np.arange(horizon) % season])


def table(forecasts: Mapping[str, np.ndarray], truth: np.ndarray, scale: np.ndarray) -> pd.DataFrame:
    """Scores by forecast."""
    rows: dict[str, Any] = {name: scores(samples, truth, scale) for name, samples in forecasts.items()}
    return pd.DataFrame(rows).T


def season_of(values: np.ndarray, most: int = 400) -> int:
    """The lag of the strongest autocorrelation after its first dip, of the first difference; 1 where there is none."""
    x = np.diff(pd.DataFrame(values).ffill().bfill().to_numpy(), axis=0)
    x = (x - x.mean(0)) / (x.std(0) + 1e-12)
    most = min(most, len(x) // 3)
    power = np.abs(np.fft.rfft(x, 2 * len(x), axis=0)) ** 2
    found = np.fft.irfft(power, axis=0)[: most + 1].mean(1)
    found = found / max(found[0], 1e-12)
    dips = np.flatnonzero(found[1:] < 0.0)
    if not len(dips):
        return 1
    after = 1 + int(dips[0])
    best = after + int(np.argmax(found[after:])) if after < len(found) else 1
    return best if found[best] > max(0.1, 3 / len(x) ** 0.5) else 1


def backtest(
    forecaster: Any, one: Series, train: int, *, season: int, draws: int = 100, most: int | None = 60, seed: int = 0
) -> pd.DataFrame:
    """Scores of a forecaster that was fitted to the first `train` steps, and of the floors, on what came later."""
    horizon, context = forecaster.horizon, forecaster.context
    starts = windows(one, max(train, context), len(one), horizon, most)
    truth = np.stack([one.values[at : at + horizon] for at in starts])
    given = forecaster.given(one, starts)
    simple = floors(
        one, train, starts, horizon, season, draws=draws, seed=seed, linear=forecaster.linear, context=context,
        given=given,
    )  # fmt: skip
    samples = forecaster.rolling(one, starts, draws, seed=seed)
    scale = np.nanstd(one.values[:train], 0)
    return table({forecaster.model: samples, **simple}, truth, np.where(scale > 1e-12, scale, 1.0))
