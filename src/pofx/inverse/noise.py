"""Noise of a measurement, and its log-likelihood.

Gaussian noise of a known or unknown deviation (of real and imaginary part each, where measurements are complex), and
Poisson noise, y = counts / gain. Methods that need Gaussian noise take Poisson's by its variance at the
measured counts.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pofx.core.errors import UsageError
from pofx.core.options import short

LEAST = 1e-4  # deviation that is assumed where a measurement is stated to be exact


@dataclass(frozen=True)
class Noise:
    """sigma: the deviation of Gaussian noise, None where it is unknown; gain: counts per unit of Poisson noise."""

    sigma: float | None = None
    gain: float | None = None

    @classmethod
    def of(cls, given: Any) -> "Noise":
        """A number is a deviation; "unknown"; "poisson(100)": a gain.

        Raises:
            UsageError: something else, or a number below 0.
        """
        if isinstance(given, cls):
            return given
        given = given.item() if getattr(given, "shape", None) == () else given  # of numpy and torch
        text = str(given).strip().lower()
        found = re.fullmatch(r"poisson\s*\(\s*([\d.eE+-]+)\s*\)", text)
        try:
            value = float(found[1] if found else text) if text not in ("unknown", "none") else None
        except ValueError:
            raise UsageError(f"noise must be a deviation, 'unknown' or 'poisson(gain)' (got {short(given)})") from None
        if value is not None and (not math.isfinite(value) or value < 0 or (found and value == 0)):
            raise UsageError(f"noise must be a finite number from 0 up (got {given!r})")
        return cls(gain=value) if found else cls(sigma=value)

    @property
    def unknown(self) -> bool:
        return self.sigma is None and self.gain is None

    def deviation(self, y: Tensor) -> Tensor:
        """The deviation of each number of flat real measurements (n, m), broadcast; 1 where it is unknown."""
        if self.gain is not None:
            return ((y.clamp(min=0) + 1 / self.gain) / self.gain).sqrt()
        return y.new_full((1, 1), 1.0 if self.sigma is None else max(self.sigma, LEAST))

    def log_likelihood(self, y: Tensor, mean: Tensor) -> Tensor:
        """log p(y | mean) without a constant, per measurement: (n,)."""
        if self.gain is not None:
            rate = self.gain * mean.clamp(min=1e-6)
            return (self.gain * y * rate.log() - rate).sum(1) - 0.5 * (mean.clamp(max=0) * self.gain).square().sum(1)
        return -0.5 * ((y - mean) / self.deviation(y)).square().sum(1)

    def added(self, clean: Tensor, normal: Tensor, seed: int) -> Tensor:
        """Flat real measurements (n, m) with noise made from standard normals of that shape."""
        if self.gain is not None:
            draw = torch.Generator().manual_seed(seed)
            return torch.poisson(self.gain * clean.clamp(min=0), generator=draw) / self.gain
        return clean + (self.sigma or 0.0) * normal


USUAL = 0.05  # deviation where none is stated


def stated_noise(physics: Any) -> Any:
    """The noise that a physics object states as deepinv does, by a `noise_model` with `sigma`, or with `gain` where
    y = gain · Poisson(x / gain); of others 0.05.

    Raises:
        UsageError: it states a noise that is not known here.
    """
    model = getattr(physics, "noise_model", None)
    if model is None or isinstance(physics, str) or type(model).__name__ == "ZeroNoise":
        return 0.0 if type(model).__name__ == "ZeroNoise" else USUAL
    sigma, gain = (_number(getattr(model, name, None)) for name in ("sigma", "gain"))
    if gain is not None and sigma is None and bool(getattr(model, "normalize", True)):
        return Noise(gain=1 / gain)
    if sigma is not None and gain is None:
        return Noise(sigma=sigma)
    raise UsageError(
        f"the noise model {type(model).__name__} of the physics is not known: pass noise= a deviation, 'unknown' or "
        "'poisson(gain)'"
    )


def _number(value: Any) -> float | None:
    """One positive number, or None."""
    try:
        found = float(value)
    except (TypeError, ValueError, RuntimeError):
        return None
    return found if math.isfinite(found) and found >= 0 else None
