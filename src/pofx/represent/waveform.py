"""Sound as real samples in [-1, 1], all clips of one length: for models of whole waveforms, as WaveGAN is one."""

import warnings
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from pofx.core.errors import UsageError
from pofx.core.event import Bounded
from pofx.core.model import Density
from pofx.core.random import Streams
from pofx.core.representation import Items, Representation
from pofx.data.clips import check_clips

COVERED, FAR = 0.99, 1.5  # share of the clips, and how many times longer all of them may be without being cut


class Waveform(Representation):
    """Clips ↔ float32 (n, length): longer ones are cut, shorter ones end in silence; no density survives that."""

    kind = "audio"
    name = "waveform"
    summary = "real samples in [-1, 1], cut or filled with silence to one length"
    measure: ClassVar[str] = "none"
    volume = Density.NONE
    options = ("length",)
    on_request = True

    def __init__(self, rate: int, length: int) -> None:
        if length < 1:
            raise UsageError(f"length must be at least 1 sample (got {length}): pass length={rate}, one second")
        self.rate, self.length = rate, length
        self.event = Bounded((length,))

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        """By default the length of the longest training clip; where a few are far longer than the others, of those."""
        lengths = np.array([len(clip) for clip in items.values])
        usual, longest = int(np.quantile(lengths, COVERED, method="higher")), int(lengths.max())
        whole = longest <= FAR * usual
        if not whole and "length" not in options:
            cut = f"{(lengths > usual).sum():,} of {len(lengths):,} clips are longer than {usual:,} samples and are cut"
            warnings.warn(
                f"{cut} (the longest has {longest:,}): pass length={longest} to have them whole", stacklevel=2
            )
        return cls(int(items.facts["rate"]), int(options.get("length", longest if whole else usual)))

    def tensor(self, values: Any) -> Tensor:
        clips = check_clips(values, "audio")
        rows = np.zeros((len(clips), self.length), dtype=np.float32)
        for row, clip in zip(rows, clips, strict=True):
            row[: min(len(clip), self.length)] = clip[: self.length]
        return torch.from_numpy(rows)

    def items(self, raw: Tensor) -> Any:
        return list(raw.cpu().numpy())

    def encode(self, raw: Tensor, generator: Streams) -> tuple[Tensor, Tensor]:
        return raw, torch.zeros(len(raw), device=raw.device)

    straight = True

    def decode(self, x: Tensor) -> Tensor:
        return x.float().clamp(-1, 1)

    def real(self, x: Tensor) -> Tensor:
        return x

    @property
    def dims(self) -> int:
        return self.length
