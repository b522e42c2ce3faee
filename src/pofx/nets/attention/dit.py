"""A transformer over patches of a grid of one, two or three axes, steered by a context.

Peebles and Xie, 2023, "Scalable diffusion models with transformers", arXiv 2212.09748: every branch is scaled, shifted
and gated by the context, and starts as the identity (adaLN-zero). With large patches it is the plain vision transformer
of Li and He, 2025, arXiv 2511.13720, which embeds a patch through a bottleneck and predicts the data itself.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.core.errors import UsageError
from pofx.nets.attention.transformer import Feedforward
from pofx.nets.image.patches import gathered, grid_positions, spread
from pofx.nets.vector.linear import Linear

HEAD = 32  # features of a head, where the width is a multiple of it


class SteeredBlock(nn.Module):
    """Attention among all places, then a net at each place; the context gates both."""

    def __init__(self, width: int, heads: int, context: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = (nn.RMSNorm(width, eps=1e-6, elementwise_affine=False) for _ in range(2))
        self.inward, self.outward = Linear(width, 3 * width, bias=False), Linear(width, width, bias=False)
        self.feedforward = Feedforward(width, 4, "swiglu")
        self.steer = Linear(context, 6 * width)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.steer.weight)
        nn.init.zeros_(self.steer.bias)

    def forward(
        self, h: Float[Tensor, "n places width"], context: Float[Tensor, "n context"]
    ) -> Float[Tensor, "n places width"]:
        """h (n, places, width) and an activated context (n, context) → (n, places, width)."""
        scale_1, shift_1, gate_1, scale_2, shift_2, gate_2 = self.steer(context)[:, None].to(h.dtype).chunk(6, -1)
        seen = torch.addcmul(shift_1, self.first(h), 1 + scale_1)
        q, k, v = self.inward(seen).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = (F.rms_norm(t, t.shape[-1:], eps=1e-6) for t in (q, k))  # bounded scores: stable in bf16
        attended = _attended(q, k, v).transpose(1, 2).flatten(2)
        h = h + gate_1 * self.dropout(self.outward(attended))
        seen = torch.addcmul(shift_2, self.second(h), 1 + scale_2)
        return h + gate_2 * self.dropout(self.feedforward(seen))


def _attended(
    q: Float[Tensor, "n heads places size"],
    k: Float[Tensor, "n heads places size"],
    v: Float[Tensor, "n heads places size"],
) -> Float[Tensor, "n heads places size"]:
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v)
    scores = (q / math.sqrt(q.shape[-1])) @ k.transpose(-1, -2)
    return scores.float().softmax(-1).to(v.dtype) @ v


class DiT(nn.Module):
    """(n, channels, *sides) and a context (n, context) → (n, outputs, *sides); zero at the start.

    Args:
        patch: side of the squares of positions that become one place.
        bottleneck: features between a patch and its place; 0 embeds it directly.

    Raises:
        UsageError: a width that its heads do not divide.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: int,
        context: int,
        *,
        width: int,
        layers: int,
        patch: int,
        bottleneck: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels, *sides = shape
        counts = tuple(-(-side // patch) for side in sides)
        heads = max(1, width // HEAD)
        if width % heads:
            raise UsageError(f"width must be a multiple of {HEAD} for a transformer (got {width}): pass width=128")
        numbers = patch ** len(sides)
        self.patch, self.counts = patch, counts
        first: list[nn.Module] = [Linear(channels * numbers, width)]
        if bottleneck:
            first = [Linear(channels * numbers, bottleneck, bias=False), Linear(bottleneck, width)]
        self.first = nn.Sequential(*first)
        self.places = nn.Parameter(grid_positions(counts, width))
        self.blocks = nn.ModuleList(SteeredBlock(width, heads, context, dropout) for _ in range(layers))
        self.norm = nn.RMSNorm(width, eps=1e-6, elementwise_affine=False)
        self.steer, self.last = Linear(context, 2 * width), Linear(width, outputs * numbers)
        for parameter in (*self.steer.parameters(), *self.last.parameters()):
            nn.init.zeros_(parameter)

    @property
    def matrices(self) -> list[nn.Parameter]:
        """The weights between hidden layers."""
        return [p for name, p in self.blocks.named_parameters() if p.ndim == 2 and "steer" not in name]

    def forward(
        self, x: Float[Tensor, "n channels *sides"], context: Float[Tensor, "n context"]
    ) -> Float[Tensor, "n outputs *sides"]:
        """x (n, channels, *sides), context (n, context) → (n, outputs, *sides)."""
        context = F.silu(context)
        h = self.first(gathered(x, self.patch).flatten(2).transpose(1, 2))
        h = h + self.places.to(h.dtype)
        for block in self.blocks:
            h = block(h, context)
        scale, shift = self.steer(context)[:, None].to(h.dtype).chunk(2, -1)
        h = self.last(torch.addcmul(shift, self.norm(h), 1 + scale))
        return spread(h.transpose(1, 2).unflatten(2, self.counts), self.patch, tuple(x.shape[2:]))
