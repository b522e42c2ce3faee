"""Quantisers: vectors e (…, d) → the number of a code and the vector that the decoder sees, with gradients to e.

- `Codebook`: the nearest of K learned vectors, which follow the vectors assigned to them by moving averages (van den
  Oord et al., 2017, arXiv 1711.00937, appendix A.1). Codes that nothing uses are revived at encoder outputs. Gradients
  pass by the rotation that carries e to its code (Fifty et al., 2024, arXiv 2410.06424).
- `FiniteScalar`: every dimension is bounded and cut into a few bins (Mentzer et al., 2023, arXiv 2309.15505), by
  2 sigmoid(1.6 e) - 1, under which normal outputs use all bins alike (iFSQ, 2026, arXiv 2601.17124).
- `Signs`: the sign of every dimension (lookup-free quantisation; Yu et al., 2023, arXiv 2310.05737).
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

DECAY, LEAST_USE = 0.99, 0.03  # of the averages; share of a code's fair use below which it is revived


class Codebook(nn.Module):
    """The nearest of K vectors; `follow` moves them, and is no part of the gradient."""

    def __init__(self, codes: int, features: int) -> None:
        super().__init__()
        self.codes, self.features = codes, features
        self.vectors: Tensor
        self.sums: Tensor
        self.uses: Tensor
        start = torch.randn(codes, features)
        self.register_buffer("vectors", start.clone())
        self.register_buffer("sums", start.clone())
        self.register_buffer("uses", torch.ones(codes))

    def forward(self, e: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Int[Tensor, "n"]]:
        e = e.float()
        index = self.distances(e).argmin(1)
        return rotated(e, self.vectors[index]), index

    def vector(self, index: Int[Tensor, "*n"]) -> Float[Tensor, "*n d"]:
        return self.vectors[index]

    def distances(self, e: Float[Tensor, "n d"]) -> Float[Tensor, "n codes"]:
        """Squared distances from all codes, up to a number for each vector."""
        with torch.autocast(e.device.type, enabled=False):  # the nearest of two close codes needs all digits
            found: Tensor = self.vectors.square().sum(1) - 2 * e.float() @ self.vectors.T
        return found

    @torch.no_grad()
    def follow(self, e: Float[Tensor, "n d"], index: Int[Tensor, "n"], step: int) -> None:
        """Move the codes towards what was assigned to them in a batch, and revive unused ones at its vectors."""
        uses = torch.bincount(index, minlength=self.codes).to(e.dtype)
        sums = torch.zeros_like(self.sums).index_add_(0, index, e)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            for part in (uses, sums):
                torch.distributed.all_reduce(part)
        self.uses.mul_(DECAY).add_(uses, alpha=1 - DECAY)
        self.sums.mul_(DECAY).add_(sums, alpha=1 - DECAY)
        total = self.uses.sum()
        smoothed = (self.uses + 1e-5) / (total + self.codes * 1e-5) * total
        self.vectors.copy_(self.sums / smoothed[:, None])
        dead = (self.uses < LEAST_USE * total / self.codes).nonzero()[:, 0]
        if len(dead):
            generator = torch.Generator().manual_seed(step)
            pick = torch.randint(len(e), (len(dead),), generator=generator).to(e.device)
            fresh = e[pick]
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                torch.distributed.broadcast(fresh, 0)
            fair = total / self.codes
            self.vectors[dead], self.uses[dead], self.sums[dead] = fresh, fair, fresh * fair


class FiniteScalar(nn.Module):
    """Bins of equal size in every dimension of (-1, 1): codes are numbers in the mixed base of `levels`."""

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.codes, self.features = math.prod(levels), len(levels)
        self.levels: Tensor
        self.places: Tensor
        self.register_buffer("levels", torch.tensor(list(levels)), persistent=False)
        places = [math.prod(levels[:k]) for k in range(len(levels))]
        self.register_buffer("places", torch.tensor(places), persistent=False)

    def forward(self, e: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Int[Tensor, "n"]]:
        y = self.bounded(e)
        bins = ((y + 1) / 2 * self.levels).floor().clamp(min=0).minimum(self.levels - 1)
        value = (2 * bins + 1) / self.levels - 1
        return y + (value - y).detach(), (bins.long() * self.places).sum(-1)

    def distances(self, e: Float[Tensor, "n d"]) -> Float[Tensor, "n codes"]:
        """Squared distances from all codes, up to a number for each vector, where bins are equal."""
        vectors = self.vector(torch.arange(self.codes, device=e.device))
        with torch.autocast(e.device.type, enabled=False):
            found: Tensor = vectors.square().sum(1) - 2 * self.bounded(e) @ vectors.T
        return found

    def bounded(self, e: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Vectors where they are cut into bins."""
        return 2 * torch.sigmoid(1.6 * e.float()) - 1

    def vector(self, index: Int[Tensor, "*n"]) -> Float[Tensor, "*n d"]:
        bins = index[..., None] // self.places % self.levels
        return (2 * bins.float() + 1) / self.levels - 1


class Signs(FiniteScalar):
    """One bit per dimension, with the identity as the gradient."""

    def __init__(self, bits: int) -> None:
        super().__init__([2] * bits)

    def bounded(self, e: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return e.float()

    def forward(self, e: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Int[Tensor, "n"]]:
        e = e.float()
        bits = e > 0
        value = 0.5 * (2 * bits.float() - 1)  # the values of `vector`
        return e + (value - e).detach(), (bits.long() * self.places).sum(-1)


def rotated(e: Float[Tensor, "n d"], q: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """q, through which gradients reach e by the rotation and scaling that carry e to q, taken as constant."""
    with torch.no_grad():
        length, wanted = e.norm(dim=-1, keepdim=True).clamp(min=1e-6), q.norm(dim=-1, keepdim=True)
        a, b = e / length, q / wanted.clamp(min=1e-6)
        middle = torch.nn.functional.normalize(a + b, dim=-1)
        scale = wanted / length
    turned = e - 2 * (e * middle).sum(-1, keepdim=True) * middle + 2 * (e * a).sum(-1, keepdim=True) * b
    value = scale * turned
    return value + (q - value).detach()  # q to the last digit


Quantiser = Codebook | FiniteScalar
