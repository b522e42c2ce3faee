"""Randomness is an argument: one counter-based stream per sample.

`Streams` gives sample number i the same numbers whatever the batch size, the number of processes or the device. It is
Philox4x32-10 (Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3"), written with tensor arithmetic: the
key is the seed, the counter is (block, draw, sample, 0), and nothing is stored but the number of draws made so far.
"""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float32, Float64, Int64, Shaped, UInt8
from torch import Tensor

_M0, _M1 = 0xD2511F53, 0xCD9E8D57  # multipliers
_W0, _W1 = 0x9E3779B9, 0xBB67AE85  # Weyl increments of the key
_LOW = 0xFFFFFFFF

Words = Int64[Tensor, "*places"]  # 32-bit words


def philox(
    c0: Words, c1: Words, c2: Words, c3: Words, k0: int | Words, k1: int | Words
) -> tuple[Words, Words, Words, Words]:
    """Philox4x32-10: four 32-bit counters (int64 tensors) and two 32-bit keys → four random 32-bit words."""
    for _ in range(10):
        p0, p1 = c0 * _M0, c2 * _M1  # 64-bit products; signed wrap-around keeps their bits
        c0 = (p1 >> 32).bitwise_xor_(c1).bitwise_xor_(k0).bitwise_and_(_LOW)
        c2 = (p0 >> 32).bitwise_xor_(c3).bitwise_xor_(k1).bitwise_and_(_LOW)
        c1, c3 = p1, p0  # of which only the lower halves count
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1 & _LOW, c2, c3 & _LOW


class Streams:
    """Random numbers for samples first, …, first + n - 1 of a seed.

    Every method returns a tensor whose first axis is the sample. Draws are numbered in the order of the calls, so two
    programs that make the same calls see the same numbers, and a slice `streams[a:b]` sees those of its samples.
    """

    def __init__(self, seed: int, n: int, *, first: int = 0, device: torch.device | str = "cpu") -> None:
        self.seed, self.n, self.device = int(seed), int(n), torch.device(device)
        self.ids = torch.arange(first, first + self.n, device=self.device)
        self.draws = 0
        self.watch: Callable[[Tensor, float], None] | None = None

    def notice(self, x: Tensor, share: float) -> None:
        """What a sampler that draws events part by part has so far, and its share; `watch`, if any, receives it."""
        if self.watch is not None:
            self.watch(x, share)

    @classmethod
    def of_items(cls, seed: int, x: Shaped[Tensor, "n *event"]) -> "Streams":
        """Streams keyed by the content of each item of x (n, …): equal items meet equal noise, in any batch."""
        bits = x.detach().flatten(1)
        bits = bits.float().view(torch.int32).long() if bits.is_floating_point() else bits.long()
        place = torch.arange(1, bits.shape[1] + 1, device=x.device)
        odd = (place * _W0 + _W1) & _LOW | 1
        mixed = ((bits & _LOW) + place) * odd
        streams = cls(seed, len(x), device=x.device)
        streams.ids = ((mixed ^ (mixed >> 29)) * _M0).sum(1) >> 8 & _LOW
        return streams

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, part: slice) -> "Streams":
        start, stop, step = part.indices(self.n)
        if step != 1:
            raise ValueError("Streams are sliced in steps of 1")
        taken = Streams(self.seed, max(stop - start, 0), device=self.device)
        taken.ids, taken.draws, taken.watch = self.ids[start : max(stop, start)], self.draws, self.watch
        return taken

    def _keys(self, blocks: int) -> tuple[int | Tensor, int | Tensor]:
        """The two halves of the key, of all samples or (n, blocks)."""
        return self.seed & _LOW, (self.seed >> 32) & _LOW

    def words(self, count: int) -> Int64[Tensor, "{self.n} {count}"]:
        """`count` random 32-bit words per sample: int64 (n, count) in [0, 2^32)."""
        blocks = -(-count // 4)
        block = torch.arange(blocks, device=self.device)[None, :].expand(self.n, blocks)
        draw = torch.full_like(block, self.draws)
        self.draws += 1
        four = philox(
            block,
            draw,
            (self.ids[:, None] & _LOW).expand(self.n, blocks),
            torch.zeros_like(block),
            *self._keys(blocks),
        )
        return torch.stack(four, -1).reshape(self.n, 4 * blocks)[:, :count]

    def bytes(self, count: int) -> UInt8[Tensor, "{self.n} {count}"]:
        """`count` random bytes per sample, four of each word: uint8 (n, count)."""
        words = self.words(-(-count // 4)).to(torch.int32).contiguous()
        return words.view(torch.uint8)[:, :count]

    def uniform(self, *shape: int) -> Float32[Tensor, "{self.n} *shape"]:
        """Uniform on the open interval (0, 1): float32 (n, *shape)."""
        u = (self.words(math.prod(shape)) >> 9).to(torch.float32)  # 23 bits, so that u + 1/2 is exact
        return ((u + 0.5) * 2.0**-23).reshape(self.n, *shape)

    def uniform_where(self, needed: Bool[Tensor, "{self.n} *shape"]) -> Float32[Tensor, "{self.n} *shape"]:
        """What `uniform` gives, in less time where few numbers are needed; anything elsewhere."""
        flat = needed.flatten(1)
        blocks = -(-flat.shape[1] // 4)
        wanted = torch.nn.functional.pad(flat, (0, 4 * blocks - flat.shape[1])).reshape(self.n, blocks, 4).any(-1)
        row, block = wanted.nonzero(as_tuple=True)
        k0, k1 = (key if isinstance(key, int) else key[row, block] for key in self._keys(blocks))
        draw, zero = torch.full_like(block, self.draws), torch.zeros_like(block)
        self.draws += 1
        four = torch.stack(philox(block, draw, self.ids[row] & _LOW, zero, k0, k1), -1)
        found = torch.zeros(self.n, blocks, 4, dtype=torch.float32, device=self.device)
        found[row, block] = ((four >> 9).to(torch.float32) + 0.5) * 2.0**-23
        return found.flatten(1)[:, : flat.shape[1]].reshape(needed.shape)

    def uniform64(self, *shape: int) -> Float64[Tensor, "{self.n} *shape"]:
        """Uniform on (0, 1) with 46 random bits: float64 (n, *shape). Single precision cuts the tails of draws off."""
        high, low = self.uniform(2, *shape).double().unbind(1)
        return (high - 0.5 * 2.0**-23) + low * 2.0**-23

    def normal(self, *shape: int) -> Float32[Tensor, "{self.n} *shape"]:
        """Standard normal by the Box-Muller transform: float32 (n, *shape)."""
        count = math.prod(shape)
        half = -(-count // 2)
        u = self.uniform(2, half)
        radius, angle = (-2 * u[:, 0].log()).sqrt(), 2 * math.pi * u[:, 1]
        z = torch.cat((radius * angle.cos(), radius * angle.sin()), -1)
        return z[:, :count].reshape(self.n, *shape)

    def integers(self, high: int, *shape: int) -> Int64[Tensor, "{self.n} *shape"]:
        """Uniform on {0, …, high - 1}: int64 (n, *shape)."""
        return ((self.words(math.prod(shape)) * high) >> 32).reshape(self.n, *shape)


class Joined(Streams):
    """Streams of several seeds, one after the other, each the same as alone: what lets requests share a batch."""

    def __init__(self, parts: Sequence[Streams]) -> None:
        super().__init__(0, sum(len(part) for part in parts), device=parts[0].device)
        self.ids = torch.cat([part.ids for part in parts])
        seeds = [torch.full_like(part.ids, part.seed) for part in parts]
        self.seeds = torch.cat(seeds)

    def __getitem__(self, part: slice) -> "Joined":
        start, stop, step = part.indices(self.n)
        if step != 1:
            raise ValueError("Streams are sliced in steps of 1")
        taken = Joined([Streams(0, max(stop - start, 0), device=self.device)])
        taken.ids, taken.seeds = self.ids[start : max(stop, start)], self.seeds[start : max(stop, start)]
        taken.draws, taken.watch = self.draws, self.watch
        return taken

    def _keys(self, blocks: int) -> tuple[Tensor, Tensor]:
        seeds = self.seeds[:, None].expand(self.n, blocks)
        return seeds & _LOW, (seeds >> 32) & _LOW


_GLOBAL = threading.RLock()  # for torch's global generators, which all threads share


@contextmanager
def seeded(seed: int, step: int, rank: int = 0, device: torch.device | str = "cpu") -> Iterator[None]:
    """torch's global generators, seeded for a step of a training and restored afterwards.

    Losses draw from these generators. Trainings in several threads take turns, so that each draws the numbers of its
    own seed; other code that draws from the global generators in another thread at the same time changes them.
    """
    where = torch.device(device)
    devices = [] if where.type == "cpu" else [where.index or 0]
    with _GLOBAL, torch.random.fork_rng(devices=devices, device_type="cuda" if where.type == "cpu" else where.type):
        seed_step(seed, step, rank)
        yield


class Still(Streams):
    """Streams without randomness, in the middle of every distribution: what conditions are encoded with."""

    def __getitem__(self, part: slice) -> "Still":
        start, stop, _ = part.indices(self.n)
        return Still(self.seed, max(stop - start, 0), device=self.device)

    def words(self, count: int) -> Int64[Tensor, "{self.n} {count}"]:
        return torch.full((self.n, count), 1 << 31, device=self.device)

    def bytes(self, count: int) -> UInt8[Tensor, "{self.n} {count}"]:
        return torch.full((self.n, count), 128, dtype=torch.uint8, device=self.device)

    def uniform(self, *shape: int) -> Float32[Tensor, "{self.n} *shape"]:
        return torch.full((self.n, *shape), 0.5, device=self.device)

    def uniform_where(self, needed: Bool[Tensor, "{self.n} *shape"]) -> Float32[Tensor, "{self.n} *shape"]:
        return torch.full(needed.shape, 0.5, device=self.device)

    def normal(self, *shape: int) -> Float32[Tensor, "{self.n} *shape"]:
        return torch.zeros(self.n, *shape, device=self.device)


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Seed torch's global generators for one training step, so that a resumed run continues the very same stream.

    Those of devices that are not in use are left out: `torch.manual_seed` would note a stack trace for each of them.
    """
    c0, c1, c2, c3, k0, k1 = step, rank, 0, 1, seed & _LOW, (seed >> 32) & _LOW
    for _ in range(10):  # `philox` of whole numbers
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c2 = (p1 >> 32) ^ c1 ^ k0, (p0 >> 32) ^ c3 ^ k1
        c1, c3 = p1 & _LOW, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    number = c0 | ((c1 & 0x7FFFFFFF) << 32)
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(number)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(number)
