"""The feed: training items on the device as a whole, and batch number s of the run as a function of s.

Positions run 0, 1, 2, … over the whole run; position p is item permutation(p // n)[p % n]. Batch s takes positions
s·B to (s+1)·B, each process its share, and noise of the representation is drawn from stream p. So no item is dropped
or counted twice, a resumed run sees what the uninterrupted one saw, and two processes see what one would.
"""

from functools import lru_cache

import torch
from torch import Tensor

from pofx.core.event import each, select
from pofx.core.model import Batch, X
from pofx.core.random import Still, Streams
from pofx.core.representation import Representation


class Feed:
    """Raw items (n, …) with their conditions and weights on a device, encoded batch by batch.

    Conditions are raw items of `conditioning`, or without one the values of an event.
    """

    def __init__(
        self,
        raw: Tensor,
        condition: X | None,
        representation: Representation,
        *,
        conditioning: Representation | None = None,
        weight: Tensor | None = None,
        seed: int,
        device: torch.device,
    ) -> None:
        self.raw = _moved(raw, device)
        self.condition = None if condition is None else each(condition, lambda part: part.to(device))
        self.conditioning = None if conditioning is None else conditioning.to(device)
        self.weight = None if weight is None else weight.float().to(device)
        self.representation, self.seed, self.device = representation.to(device), seed, device
        self._permutation = lru_cache(maxsize=2)(self._permute)

    def __len__(self) -> int:
        return len(self.raw)

    def _permute(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed((self.seed << 20) + epoch + 1)
        return torch.randperm(len(self.raw), generator=generator).to(self.device)

    def indices(self, step: int, batch: int, rank: int = 0, world: int = 1) -> Tensor:
        """The items of this process's share of batch number `step`: int64 (batch / world,)."""
        share = batch // world
        first = step * batch + rank * share
        n = len(self.raw)
        parts, position = [], first
        while position < first + share:
            epoch, offset = divmod(position, n)
            take = min(n - offset, first + share - position)
            parts.append(self._permutation(epoch)[offset : offset + take])
            position += take
        return torch.cat(parts)

    def batch(self, step: int, batch: int, rank: int = 0, world: int = 1) -> Batch:
        """This process's share of batch number `step`, encoded with the noise of its positions."""
        index = self.indices(step, batch, rank, world)
        share = batch // world
        streams = Streams(self.seed + 1, share, first=step * batch + rank * share, device=self.device)
        return self._encode(index, streams)

    def take(self, n: int) -> Batch:
        """At most n items in a fixed random order, for a model's start from the data."""
        index = self.taken(n)
        return self._encode(index, Streams(self.seed + 2, len(index), device=self.device))

    def taken(self, n: int) -> Tensor:
        """The numbers of the items that `take` gives."""
        return self._permutation(-1)[:n]

    def validation(self, limit: int, batch: int) -> list[Batch]:
        """The first `limit` items in batches, always with the same noise."""
        index = torch.arange(min(limit, len(self.raw)), device=self.device)
        streams = Streams(self.seed + 3, len(index), device=self.device)
        return [self._encode(index[i : i + batch], streams[i : i + batch]) for i in range(0, len(index), max(batch, 1))]

    def _encode(self, index: Tensor, streams: Streams) -> Batch:
        condition = None if self.condition is None else select(self.condition, index)
        if condition is not None and self.conditioning is not None:
            condition, _ = self.conditioning.encode(condition, Still(0, len(index), device=self.device))
        x = self.representation.under(condition).events(self.raw[index], streams)
        return Batch(x, condition, weight=None if self.weight is None else self.weight[index])


def _moved(raw: Tensor, device: torch.device) -> Tensor:
    """Items on a device; overlapping windows, each one place behind the last, stay a view."""
    if raw.ndim == 2 and raw.stride() == (1, 1) and len(raw) > 1:
        return torch.cat((raw[:, 0], raw[-1, 1:])).to(device).unfold(0, raw.shape[1], 1)
    return raw.to(device)
