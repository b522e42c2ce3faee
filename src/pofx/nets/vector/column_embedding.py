"""Classes of dimensions that differ in their number, as those of a table's columns ↔ vectors.

As in `level_embedding`, but with a table and a bias for every dimension, and only as many rows of each as it has
classes: nothing is as large as dimensions × the largest number of classes but what a network gives out.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pofx.maths.distributions import class_counts
from pofx.nets.vector.level_embedding import cosine_basis

FEW = 20  # classes up to which the logits of a dimension do not spread to near classes


def first_rows(counts: Sequence[int]) -> Int[Tensor, "dims"]:
    """The first row of each dimension in a table of all classes."""
    return torch.tensor([0, *counts[:-1]]).cumsum(0)


class ColumnEmbedding(nn.Module):
    """Encodes classes int64 (n, dims), or those of one dimension (n,), as floats (…, terms)."""

    first: Tensor

    def __init__(self, counts: Sequence[int], terms: int = 16) -> None:
        super().__init__()
        self.terms = max(1, min(terms, max(counts) - 1))
        table = torch.zeros(sum(counts), self.terms)
        amplitude = 1.0 / torch.arange(1, self.terms + 1)
        row = 0
        for count in counts:
            known = min(self.terms, count - 1)
            if known:
                scale = amplitude[:known] / amplitude[:known].square().mean().sqrt()
                table[row : row + count, :known] = cosine_basis(count, known) * scale
            row += count
        self.table = nn.Parameter(table)
        self.register_buffer("first", first_rows(counts), persistent=False)

    def forward(self, x: Int[Tensor, "*places"], place: int | None = None) -> Float[Tensor, "*places terms"]:
        """The embedding of all dimensions, or of the one at `place`."""
        return nn.functional.embedding(x + (self.first if place is None else self.first[place]), self.table)


class ColumnLogits(nn.Module):
    """A network's outputs (n, *shape, largest) → logits, -inf for classes that a dimension does not have.

    In dimensions of more than `FEW` classes evidence for a class spreads to near classes, by exp(-8 |u - v| / count).
    """

    kernel: Tensor
    lacking: Tensor

    def __init__(self, shape: tuple[int, ...], counts: Sequence[int]) -> None:
        super().__init__()
        self.shape, largest, v = shape, max(counts), torch.arange(max(counts))
        kernels = []
        for count in counts:
            kernel = torch.eye(largest)
            if count > FEW:
                near = torch.exp(-8.0 / count * (v[:, None] - v).abs())
                kernel[:count, :count] = near[:count, :count]
            kernels.append(kernel)
        self.register_buffer("kernel", torch.stack(kernels), persistent=False)
        none = torch.where(v < torch.tensor(list(counts))[:, None], 0.0, -torch.inf)
        self.register_buffer("lacking", none.reshape(*shape, largest), persistent=False)
        self.bias = nn.Parameter(torch.zeros(*shape, largest))

    @torch.no_grad()
    def start(self, x: Int[Tensor, "n *event"]) -> None:
        """Set the bias to the smoothed log-frequencies of each dimension's classes in x int64 (n, *shape)."""
        classes = self.bias.shape[-1]
        counts = class_counts(x, classes).to(self.bias.dtype)
        size = (self.lacking == 0).sum(-1, keepdim=True)
        self.bias.copy_(torch.log((counts + 1.0 / size) / (len(x) + 1.0)))

    def forward(
        self, out: Float[Tensor, "n *event classes"], place: tuple[int, ...] = ()
    ) -> Float[Tensor, "n *event classes"]:
        """out (n, *shape, largest), or (n, largest) for the one dimension at `place` → logits of the same shape."""
        with torch.autocast(out.device.type, enabled=False):  # densities are computed in full precision
            out = out.to(self.bias.dtype)
            if place:
                at = sum(i * math.prod(self.shape[k + 1 :]) for k, i in enumerate(place))
                return out @ self.kernel[at] + self.bias[place] + self.lacking[place]
            flat = out.reshape(len(out), -1, out.shape[-1])
            spread = (flat.transpose(0, 1) @ self.kernel).transpose(0, 1)
            return spread.reshape(out.shape) + self.bias + self.lacking
