"""The feed: training items on the device as a whole, or on the disk, and batch s of the run as a function of s.

Positions run 0, 1, 2, … over the whole run; position p is item permutation(p // n)[p % n]. Batch s takes positions
s·B to (s+1)·B, each process its share, and noise of the representation is drawn from stream p. So no item is dropped
or counted twice, a resumed run sees what the uninterrupted one saw, and two processes see what one would. Items on the
disk are read batch by batch, the next one in the background while the present one is trained on.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pofx.core.event import concatenated, each, select
from pofx.core.model import Batch, X
from pofx.core.random import Still, Streams
from pofx.core.representation import Representation
from pofx.data.on_disk import OnDisk
from pofx.data.weights import systematic

Augment = Callable[[Tensor, Streams], Tensor]  # raw items → raw items, with the noise of their positions
TAKEN, ENCODED = 1 << 25, 1 << 20  # numbers that `take` gives at most, and that are encoded at a time there
FINER = 4  # times the items that `take` gives where weights are no whole numbers, so that each is near its share


class Stored:
    """Raw items that stay on the disk: a batch is read where it is needed, or earlier in a thread of its own."""

    def __init__(self, values: OnDisk, tensor: Callable[[Any], Tensor]) -> None:
        self.values, self.tensor = values, tensor
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="pofx-read")
        self.ahead: tuple[bytes, Future[Tensor]] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Tensor) -> Tensor:
        at = index.cpu().numpy()
        ahead, self.ahead = self.ahead, None
        if ahead is not None and ahead[0] == at.tobytes():
            return ahead[1].result()
        return self._read(at)

    def prepare(self, index: Tensor) -> None:
        """Begin to read these items."""
        at = index.cpu().numpy()
        self.ahead = at.tobytes(), self.thread.submit(self._read, at)

    def _read(self, at: np.ndarray) -> Tensor:
        return self.tensor(self.values[at])


class Feed:
    """Raw items (n, …) with their conditions and weights on a device, encoded batch by batch.

    Conditions are raw items of `conditioning`, or without one the values of an event. `augment` changes the items of
    training batches, each position of the run with noise of its own. With weights, n positions of the run hold each
    item in proportion to its weight (`systematic`), so that the mean of any loss is that of repeated items; `take`
    gives just these where weights are whole numbers. Targets are one number per item for the objective.
    """

    def __init__(
        self,
        raw: Tensor | Stored,
        condition: X | None,
        representation: Representation,
        *,
        conditioning: Representation | None = None,
        weight: Tensor | None = None,
        targets: Tensor | None = None,
        augment: Augment | None = None,
        seed: int,
        device: torch.device,
    ) -> None:
        self.raw = raw if isinstance(raw, Stored) else _moved(raw, device)
        self.augment = augment
        self.condition = None if condition is None else each(condition, lambda part: part.to(device))
        self.conditioning = None if conditioning is None else conditioning.to(device)
        self.targets = None if targets is None else targets.to(device)
        self.weight = None if weight is None else weight.detach().cpu().double().numpy()
        self.representation, self.seed, self.device = representation.to(device), seed, device
        self._permutation = lru_cache(maxsize=2)(self._permute)
        self.latest: tuple[tuple[int, ...], Batch] | None = None  # which all phases of a step descend on

    def __len__(self) -> int:
        return len(self.raw)

    def _permute(self, epoch: int) -> Tensor:
        if self.weight is not None:
            return self._weighted(self.weight, len(self.raw), epoch)
        generator = torch.Generator().manual_seed((self.seed << 20) + epoch + 1)
        return torch.randperm(len(self.raw), generator=generator).to(self.device)

    def _weighted(self, weight: np.ndarray, n: int, epoch: int) -> Tensor:
        """n items in proportion to their weights."""
        generator = np.random.default_rng([abs(self.seed), int(self.seed < 0), epoch + 2])
        return torch.from_numpy(systematic(weight, n, generator)).to(self.device)

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
        """This process's share of batch number `step`, encoded with the noise of its positions: the same object for
        the same arguments until another one is wanted."""
        if self.latest is None or self.latest[0] != (step, batch, rank, world):
            self.latest = (step, batch, rank, world), self._batch(step, batch, rank, world)
        return self.latest[1]

    def _batch(self, step: int, batch: int, rank: int, world: int) -> Batch:
        index = self.indices(step, batch, rank, world)
        share = batch // world
        first = step * batch + rank * share
        raw = self._raw(index)
        if isinstance(self.raw, Stored):
            self.raw.prepare(self.indices(step + 1, batch, rank, world))
        if self.augment is not None:
            raw = self.augment(raw, Streams(self.seed + 4, share, first=first, device=self.device))
        return self._encode(index, Streams(self.seed + 1, share, first=first, device=self.device), raw)

    def take(self, n: int) -> Batch:
        """At most n items of at most TAKEN numbers in a fixed random order, for a model's start from the data."""
        index = self.taken(n)
        block = max(1, ENCODED // max(self._raw(index[:1]).numel(), 1))
        streams = Streams(self.seed + 2, len(index), device=self.device)
        parts = [self.of(index[i : i + block], streams[i : i + block]) for i in range(0, len(index), block)]
        if len(parts) == 1:
            return parts[0]
        x, *others = (
            None if getattr(parts[0], name) is None else concatenated([getattr(part, name) for part in parts])
            for name in ("x", "condition", "target")
        )
        return Batch(x, *others)

    def taken(self, n: int) -> Tensor:
        """The numbers of the items that `take` gives."""
        most = TAKEN // max(self._raw(torch.zeros(1, dtype=torch.long, device=self.device)).numel(), 1)
        n = min(n, max(most, 1))
        if self.weight is None:
            return self._permutation(-1)[:n]
        total = float(self.weight.sum())
        if total <= n and bool((self.weight == self.weight.round()).all()):
            every = np.repeat(np.arange(len(self.weight)), self.weight.astype(np.int64))
            order = np.random.default_rng([abs(self.seed), int(self.seed < 0), 1]).permutation(every)
            return torch.from_numpy(order).to(self.device)
        return self._weighted(self.weight, min(n, FINER * len(self.raw)), -1)

    def validation(self, limit: int, batch: int) -> list[Batch]:
        """The first `limit` items in batches, always with the same noise."""
        n = min(limit, len(self.raw))
        index = torch.arange(n, device=self.device) if self.weight is None else self._weighted(self.weight, n, -2)
        streams = Streams(self.seed + 3, len(index), device=self.device)
        return [self._encode(index[i : i + batch], streams[i : i + batch]) for i in range(0, len(index), max(batch, 1))]

    def of(self, index: Tensor, streams: Streams) -> Batch:
        """These items, encoded with this noise."""
        return self._encode(index, streams)

    def _raw(self, index: Tensor) -> Tensor:
        return self.raw[index].to(self.device)

    def _encode(self, index: Tensor, streams: Streams, raw: Tensor | None = None) -> Batch:
        condition = None if self.condition is None else select(self.condition, index)
        if condition is not None and self.conditioning is not None:
            condition, _ = self.conditioning.encode(condition, Still(0, len(index), device=self.device))
        raw = self._raw(index) if raw is None else raw
        x = self.representation.under(condition).events(raw, streams)
        return Batch(x, condition, None if self.targets is None else self.targets[index])


def _moved(raw: Tensor, device: torch.device) -> Tensor:
    """Items on a device; overlapping windows, each one place behind the last, stay a view."""
    if raw.ndim == 2 and raw.stride() == (1, 1) and len(raw) > 1:
        return torch.cat((raw[:, 0], raw[-1, 1:])).to(device).unfold(0, raw.shape[1], 1)
    return raw.to(device)
