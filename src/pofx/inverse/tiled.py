"""A denoiser of large pictures made of one of small ones: overlapping patches are denoised and averaged.

The patches of one evaluation lie on a grid whose origin moves from evaluation to evaluation, so that no seam stays
(Coifman and Donoho, 1995, cycle spinning; Zoran and Weiss, 2011, for priors of patches). No one distribution of the
whole picture has this denoiser: spreads of restorations are approximate. Edges are joined, so that all places lie in as
many patches, or they are not, where a picture is continued beyond what is known of it.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pofx.core.errors import Unsupported, UsageError
from pofx.core.event import Bounded, Continuous, select
from pofx.core.model import Denoising, Phase
from pofx.core.random import Streams

CHUNK = 2048  # patches at once


class Tiled(Denoising):
    """The denoiser of events (channels, height, width), larger than those of `model`."""

    events = (Continuous,)
    ranks = (3,)

    def __init__(self, model: Denoising, shape: tuple[int, ...], joined: bool = True) -> None:
        small = model.event
        if not isinstance(small, Continuous) or len(small.shape) != 3 or len(shape) != 3:
            raise Unsupported("only pictures are restored patch by patch: choose a run of whole items")
        if shape[0] != small.shape[0] or any(a < b for a, b in zip(shape, small.shape, strict=True)):
            raise UsageError(f"the operator must take items of at least {small.shape} (got {shape})")
        super().__init__(Bounded(tuple(shape)) if isinstance(small, Bounded) else Continuous(tuple(shape)))
        self.inner, self.sides, self.turn, self.joined = model, small.shape[1:], 0, joined
        self.steps = tuple(max(1, side // 2) for side in self.sides)

    def phases(self) -> Iterable[Phase]:
        return ()

    def sample(self, n: int, condition: Any = None, *, generator: Streams) -> Tensor:
        raise Unsupported("a denoiser of patches draws no whole pictures: train a run on them")

    @property
    def spread(self) -> Tensor:
        return self.inner.spread

    def schedule(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner.schedule(t)

    def denoise(self, x_t: Tensor, t: Tensor, condition: Any = None) -> Tensor:
        """The mean of the estimates of the patches that a place is in: (n, *event)."""
        self.turn += 1
        if not self.joined:
            return self._apart(x_t, t, condition)
        shift = tuple((self.turn * k) % side for k, side in zip((3, 5), self.sides, strict=True))
        x = torch.roll(x_t, shift, (-2, -1))
        height, width = x.shape[-2:]
        more = [-(side - own) % step for side, own, step in zip((height, width), self.sides, self.steps, strict=True)]
        x = F.pad(x, (0, more[1], 0, more[0]), mode="circular") if any(more) else x
        patches = F.unfold(x, self.sides, stride=self.steps)  # (n, channels · sides, places)
        places = patches.shape[2]
        rows = patches.transpose(1, 2).reshape(-1, x.shape[1], *self.sides)
        found = torch.cat([self._each(part, t) for part in rows.split(CHUNK)])
        back = found.reshape(len(x), places, -1).transpose(1, 2)
        whole = F.fold(back, x.shape[-2:], self.sides, stride=self.steps)
        count = F.fold(torch.ones_like(back[:1]), x.shape[-2:], self.sides, stride=self.steps)
        mean = (whole / count)[..., :height, :width]
        return torch.roll(mean, tuple(-s for s in shift), (-2, -1))

    def _apart(self, x: Tensor, t: Tensor, condition: Any) -> Tensor:
        """As `denoise`, where no patch reaches over an edge."""
        places = [(i, j) for i in self._starts(x.shape[-2], 0) for j in self._starts(x.shape[-1], 1)]
        height, width = self.sides
        rows = torch.stack([x[..., i : i + height, j : j + width] for i, j in places], 1)
        given = None
        if condition is not None:
            given = select(condition, torch.arange(len(x), device=x.device).repeat_interleave(len(places)))
        found = self.inner.denoise(rows.flatten(0, 1), t, given).reshape(rows.shape)
        total, count = torch.zeros_like(x), torch.zeros_like(x[:1])
        for k, (i, j) in enumerate(places):
            total[..., i : i + height, j : j + width] += found[:, k]
            count[..., i : i + height, j : j + width] += 1
        return total / count

    def _starts(self, side: int, axis: int) -> list[int]:
        """Where patches begin along an axis: at both ends, and between them on a grid that moves."""
        own, step = self.sides[axis], self.steps[axis]
        return sorted({0, side - own, *range(self.turn * (3, 5)[axis] % step, side - own, step)})

    def _each(self, rows: Tensor, t: Tensor) -> Tensor:
        return self.inner.denoise(rows, t)  # type: ignore[no-any-return]
