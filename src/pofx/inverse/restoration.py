"""What a restoration found: draws of the items behind each measurement, with what follows from them.

The mean has the best expected squared error of all answers, a draw looks like an item; their PSNRs are different
numbers, and a draw's is never held against a mean's. Intervals are order statistics: with n draws the i-th least and
greatest hold (n + 1 - 2 i) / (n + 1), so that few draws do not make them too narrow.
"""

import base64
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from pofx.core.errors import UsageError
from pofx.core.files import write

LEVELS = (0.5, 0.8, 0.9)
FEW = 8  # measurements in one picture


@dataclass(frozen=True, eq=False)
class Restoration:
    """Draws for m measurements, n each, as real numbers in the units of the items (pictures: 0 to 1, channels first).

    Attributes:
        samples: float32 (m, n, *shape).
        items: the same in data space, as `sample` of the run returns them: m · n items.
        measurement: what was given, as something to look at where that is possible.
        residual: float (m, n): deviations of the noise that each draw is from its measurement; near 1.
        method: that drew them.
        draws: "exact", "approximate" or "point".
        evaluations: of the network for each draw, where they are counted.
        resolution: the distance of two neighbouring values of an item; 0 for real numbers.
        level: the deviation of the noise as found, (m,), where it was unknown.
    """

    samples: np.ndarray
    items: Any
    measurement: np.ndarray
    residual: np.ndarray
    method: str
    draws: str
    evaluations: int = 0
    resolution: float = 0.0
    level: np.ndarray | None = None

    @property
    def mean(self) -> np.ndarray:
        """The mean of the draws (m, *shape)."""
        return np.asarray(self.samples.mean(1))

    @property
    def std(self) -> np.ndarray:
        """The standard deviation of every number (m, *shape)."""
        count = self.samples.shape[1]
        return np.asarray(self.samples.std(1, ddof=1 if count > 1 else 0))

    def interval(self, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends (m, *shape) of the interval of every number that holds it with this probability.

        Raises:
            UsageError: fewer draws than such an interval needs.
        """
        count = self.samples.shape[1]
        tail = (1 - level) / 2 * (count + 1)
        if not 0 < level < 1 or tail < 1 - 1e-9:
            least = math.ceil(2 / (1 - level) - 1e-9) - 1 if 0 < level < 1 else 1
            raise UsageError(f"a level of {level} needs at least {least} draws (got {count}): pass sample({least})")
        low, high = np.quantile(self.samples, ((1 - level) / 2, (1 + level) / 2), axis=1, method="weibull")
        return low, high

    def coverage(self, truth: np.ndarray, level: float = 0.9) -> np.ndarray:
        """The share of true numbers (m, *shape) inside their intervals, for each item: (m,).

        Counted where the interval is wider than two steps of the items' own resolution: constant places test nothing.
        NaN of an item without any other.
        """
        low, high = self.interval(level)
        truth = np.asarray(truth).reshape(low.shape)
        half = 0.5 * self.resolution
        wide = (high - low) > 2 * self.resolution + 1e-9
        inside = (truth >= low - half) & (truth <= high + half) & wide
        axes = tuple(range(1, low.ndim))
        tested = wide.sum(axes)
        return np.where(tested > 0, inside.sum(axes) / np.maximum(tested, 1), np.nan)

    def psnr(self, truth: np.ndarray) -> np.ndarray:
        """Of the mean, in dB at a peak of 1: (m,)."""
        return _psnr(self.mean, truth)

    def sample_psnr(self, truth: np.ndarray) -> np.ndarray:
        """Of single draws, averaged: (m,). Lower than `psnr` by up to 3 dB for perfect draws."""
        each = [_psnr(self.samples[:, k], truth) for k in range(self.samples.shape[1])]
        return np.asarray(np.mean(each, 0))

    def picture(self, path: str | Path | None = None, truth: np.ndarray | None = None) -> bytes:
        """Truth (where known), measurement, mean, three draws and spread of the first measurements: a PNG."""
        from pofx.inverse.picture import picture

        made = picture(self, truth, FEW)
        if path is not None:
            write(Path(path), lambda aside: aside.write_bytes(made))  # type: ignore[arg-type,return-value]
        return made

    def save(self, path: str | Path) -> Path:
        """Write samples, mean, spread and residual into an .npz."""
        buffer, path = io.BytesIO(), Path(path)
        np.savez_compressed(buffer, samples=self.samples, mean=self.mean, std=self.std, residual=self.residual)
        write(path, lambda aside: aside.write_bytes(buffer.getvalue()))  # type: ignore[arg-type,return-value]
        return path

    def __repr__(self) -> str:
        m, n = self.samples.shape[:2]
        many = "" if m == 1 else "s"
        return (
            f"<Restoration: {n} {self.draws} draws by {self.method} for {m} measurement{many}, residual "
            f"{self.residual.mean():.2f}>"
        )

    def _repr_html_(self) -> str:
        picture = base64.b64encode(self.picture()).decode()
        text = repr(self).strip("<>")
        shown = f'<img alt="restorations" src="data:image/png;base64,{picture}">'
        return f"<figure>{shown}<figcaption>{text}</figcaption></figure>"


@dataclass(frozen=True)
class Check:
    """How restorations of held-out items fare.

    Attributes:
        n: items.
        psnr: of means in dB at a peak of 1; sample_psnr: of single draws; psnr_error: standard error of `psnr`.
        coverage: by level, the share of true numbers inside their intervals, with a 95 % interval over items; NaN where
            all intervals are too narrow to test anything.
        residual: of draws; near 1.
    """

    n: int
    psnr: float
    sample_psnr: float
    coverage: dict[float, tuple[float, float, float]]
    residual: float
    method: str
    psnr_error: float = 0.0

    @property
    def calibrated(self) -> bool:
        """Whether 90 % intervals hold 85 to 95 %."""
        return 0.85 <= self.coverage[0.9][0] <= 0.95

    def to_json(self) -> dict[str, Any]:
        tested = math.isfinite(self.coverage[0.9][0])
        return {
            "n": self.n,
            "method": self.method,
            "psnr_of_mean": self.psnr,
            "psnr_error": self.psnr_error,
            "psnr_of_samples": self.sample_psnr,
            "coverage": {str(level): list(v) for level, v in self.coverage.items() if math.isfinite(v[0])},
            "residual": self.residual,
            "calibrated": self.calibrated if tested else None,
        }


def checked(found: Restoration, truth: np.ndarray) -> Check:
    """Restorations against the items behind them."""
    coverage, count = {}, len(truth)
    for level in LEVELS:
        each = found.coverage(truth, level)
        each = each[np.isfinite(each)]
        tested = len(each)
        if not tested:
            coverage[level] = (math.nan, math.nan, math.nan)
            continue
        error = 1.96 * float(each.std(ddof=1)) / math.sqrt(tested) if tested > 1 else 0.5
        least = binomtest(round(float(each.mean()) * tested), tested).proportion_ci(method="wilson")
        error = error if tested > 4 else max(error, 0.5 * float(least.high - least.low))
        mean = float(each.mean())
        coverage[level] = (mean, max(mean - error, 0.0), min(mean + error, 1.0))
    each = found.psnr(truth)
    return Check(
        count,
        float(each.mean()),
        float(found.sample_psnr(truth).mean()),
        coverage,
        float(found.residual.mean()),
        found.method,
        float(each.std(ddof=1)) / math.sqrt(count) if count > 1 else 0.0,
    )


def _psnr(x: np.ndarray, truth: np.ndarray) -> np.ndarray:
    error = np.square(x - np.asarray(truth).reshape(x.shape)).reshape(len(x), -1).mean(1)
    return np.asarray(-10 * np.log10(np.maximum(error, 1e-12)))
