"""Class numbers ↔ vectors: a table that starts as a cosine basis, so that near classes start near each other.

Basis function k of class v is sqrt(2) cos(pi k (v + 1/2) / classes), the discrete cosine transform (Ahmed, Natarajan
and Rao, 1974, "Discrete cosine transform"). With k up to classes - 1 it is orthogonal and the table stays as it is: a
linear map of it can be any function of the class. A smaller table is learned from there.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pofx.maths.distributions import class_counts


def cosine_basis(classes: int, terms: int) -> Float[Tensor, "{classes} {terms}"]:
    """The first `terms` non-constant basis functions: float (classes, terms), columns of mean 0 and mean square 1."""
    v, k = torch.arange(classes)[:, None] + 0.5, torch.arange(1, terms + 1)[None, :]
    basis = math.sqrt(2) * torch.cos(math.pi / classes * k * v)
    return basis / basis.square().mean(0).sqrt().clamp(min=1e-6)


class LevelEmbedding(nn.Module):
    """Encodes int64 class numbers (…) as floats (…, terms); terms is at most classes - 1."""

    table: Tensor

    def __init__(self, classes: int, terms: int = 16) -> None:
        super().__init__()
        self.classes, self.terms = classes, max(1, min(terms, classes - 1))
        amplitude = 1.0 / torch.arange(1, self.terms + 1)  # smooth functions of the class are the easy ones
        amplitude = amplitude / amplitude.square().mean().sqrt()
        table = cosine_basis(classes, self.terms) * amplitude if classes > 1 else torch.zeros(1, 1)
        if self.terms < classes - 1:
            self.table = nn.Parameter(table)
        else:
            self.register_buffer("table", table, persistent=False)

    def forward(self, x: Int[Tensor, "*place"], place: int | None = None) -> Float[Tensor, "*place terms"]:
        """x int64 (…) → (…, terms); every dimension, whatever its `place`, has the same table."""
        return nn.functional.embedding(x, self.table)


class LevelLogits(nn.Module):
    """A network's outputs (…, *shape, classes) → logits: evidence for a class spreads to near classes.

    The outputs are multiplied by the matrix exp(-8 |u - v| / classes), which is positive definite, so every vector of
    logits can be reached; a bias per dimension starts at the frequencies of the data (`start`). The class `end`, if
    any, lies near no other.
    """

    kernel: Tensor

    def __init__(self, shape: tuple[int, ...], classes: int, end: int | None = None) -> None:
        super().__init__()
        v = torch.arange(classes)
        kernel = torch.exp(-8.0 / classes * (v[:, None] - v).abs())
        if end is not None:
            kernel[end], kernel[:, end], kernel[end, end] = 0.0, 0.0, 1.0
        self.register_buffer("kernel", kernel, persistent=False)
        self.bias = nn.Parameter(torch.zeros(*shape, classes))

    @torch.no_grad()
    def start(self, x: Int[Tensor, "n *event"]) -> None:
        """Set the bias to the log-frequencies of each dimension's classes in x int64 (n, *shape), smoothed."""
        classes = len(self.kernel)
        counts = class_counts(x, classes).to(self.bias.dtype)
        self.bias.copy_(torch.log((counts + 1.0 / classes) / (len(x) + 1.0)))

    def forward(
        self, out: Float[Tensor, "n *event classes"], place: tuple[int, ...] = ()
    ) -> Float[Tensor, "n *event classes"]:
        """out (n, *shape, classes), or (n, classes) for the one dimension at `place` → logits of the same shape."""
        with torch.autocast(out.device.type, enabled=False):  # densities are computed in full precision
            return out.to(self.bias.dtype) @ self.kernel + self.bias[place]
