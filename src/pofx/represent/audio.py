"""Sound as classes: 256 levels by the mu-law, and an end for clips of any length up to a limit.

f(x) = sign(x) ln(1 + 255 |x|) / ln(256), rounded to 256 levels: the steps grow with the amplitude, as hearing's do
(ITU-T G.711; as van den Oord et al., 2016, arXiv 1609.03499, section 2.2, use it). Where the clips differ in length the
class 256 ends a clip and fills the rest: one distribution over clips of every length up to the limit.
"""

import math
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from pofx.core.errors import DataError, UsageError
from pofx.core.event import Discrete
from pofx.core.model import Density
from pofx.core.random import Streams
from pofx.core.representation import Items, Representation
from pofx.data.clips import check_clips

LEVELS, MU = 256, 255.0
SPARE = 1024  # limits are whole multiples of this many samples


class MuLaw(Representation):
    """Clips of float32 samples ↔ int64 (n, length); the log-mass is that of the 256-level signal with its end."""

    kind = "audio"
    name = "mu-law"
    summary = "256 levels by the mu-law, to the end of the clip"
    measure: ClassVar[str] = "counting, of the 256-level signal"
    volume = Density.EXACT
    options = ("length",)

    def __init__(self, rate: int, length: int, ends: bool, scalars: int) -> None:
        if length < 1:
            raise UsageError(f"length must be at least 1 sample (got {length}): pass length={rate}, one second")
        self.rate, self.length, self.ends = rate, length, ends  # ends: clips may be shorter than length
        self.scalars = scalars  # samples of an average training clip
        self.event = Discrete((length,), LEVELS + ends, end=LEVELS if ends else None)

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        """The limit of the length: by default that of the longest training clip and a little more, for longer ones."""
        sizes = np.asarray([len(clip) for clip in items.values])
        longest = int(sizes.max())
        alike = bool((sizes == longest).all())
        length = int(options.get("length", longest if alike else SPARE * (longest // SPARE + 1)))
        return cls(int(items.facts["rate"]), length, not alike or length > longest, round(float(sizes.mean())))

    def tensor(self, values: Any) -> Tensor:
        clips = check_clips(values, "audio")
        rows = np.full((len(clips), self.length), LEVELS, dtype=np.int16)
        for i, clip in enumerate(clips):
            if len(clip) > self.length or (len(clip) < self.length and not self.ends):
                most = "at most " if self.ends else ""
                raise DataError(
                    f"clip {i} has {len(clip)} samples, clips here have {most}{self.length}: cut it, "
                    f"or train with length={max(len(clip), self.length)}"
                )
            rows[i, : len(clip)] = mu_law(clip)
        return torch.from_numpy(rows)

    def items(self, raw: Tensor) -> Any:
        rows = raw.cpu().numpy()
        sizes = (np.cumsum(rows == LEVELS, 1) == 0).sum(1)
        return [linear(row[:size]) for row, size in zip(rows, sizes, strict=True)]

    def encode(self, raw: Tensor, generator: Streams) -> tuple[Tensor, Tensor]:
        return raw.long(), torch.zeros(len(raw), device=raw.device)

    def decode(self, x: Tensor) -> Tensor:
        return x.to(torch.int16)

    def prefix(self, values: Any) -> Tensor:
        """Clips that begin what is to be drawn, at most `length` samples long."""
        clips = check_clips([values] if isinstance(values, np.ndarray) and values.ndim == 1 else values, "prefix")
        known = torch.full((len(clips), self.length), -1)
        for i, clip in enumerate(clips):
            if len(clip) > self.length:
                raise DataError(f"prefix {i} has {len(clip)} samples, the limit is {self.length}: cut it")
            known[i, : len(clip)] = torch.from_numpy(mu_law(clip)).long()
        return known

    @property
    def dims(self) -> int:
        """The samples of an average clip: padding counts nothing."""
        return self.scalars


def mu_law(samples: np.ndarray) -> np.ndarray:
    """Samples in [-1, 1] → levels 0 to 255, int16."""
    folded = np.sign(samples) * np.log1p(MU * np.abs(samples)) / math.log(1 + MU)
    return np.floor((folded + 1) / 2 * (LEVELS - 1) + 0.5).astype(np.int16)


def linear(levels: np.ndarray) -> np.ndarray:
    """Levels 0 to 255 → samples in [-1, 1], float32; `mu_law` gives the levels back."""
    folded = 2 * levels.astype(np.float64) / (LEVELS - 1) - 1
    return (np.sign(folded) * np.expm1(np.abs(folded) * math.log(1 + MU)) / MU).astype(np.float32)
