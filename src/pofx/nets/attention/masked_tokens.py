"""A transformer without a causal mask over tokens of numbers of which some are hidden: outputs from the known ones."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from pofx.core.errors import UsageError
from pofx.nets.attention.dit import SteeredBlock
from pofx.nets.attention.token_transformer import HEAD, SEEN
from pofx.nets.image.patches import grid_positions
from pofx.nets.vector.linear import Linear

FAINT = 0.2  # size of the places at first: what a token holds is a number times a vector, and must be seen beside them


class MaskedTokens(nn.Module):
    """Tokens (n, count, numbers), hidden (n, count), a context (n, context) → outputs of the tokens that are wanted, in
    row-major order: (m, outputs); zero at the start.

    Args:
        counts: tokens along each axis.
        context: width of the condition's embedding; 0: none.
    """

    def __init__(
        self,
        counts: tuple[int, ...],
        numbers: int,
        outputs: int,
        width: int,
        layers: int,
        *,
        context: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        heads = max(1, width // HEAD)
        if width % heads or width % HEAD:
            raise UsageError(f"width must be a multiple of {HEAD} (got {width}): pass width={HEAD * heads}")
        self.count = math.prod(counts)
        self.inward = Linear(numbers, width)
        self.hidden = nn.Parameter(torch.randn(width) / math.sqrt(width))
        self.places = nn.Parameter(FAINT * grid_positions(counts, width))
        self.start = nn.Parameter(torch.zeros(width)) if not context else None
        self.blocks = nn.ModuleList(SteeredBlock(width, heads, context or width, dropout) for _ in range(layers))
        for block in self.blocks:  # gates are open from the start: nothing else carries what is known
            nn.init.constant_(block.steer.bias[2 * width : 3 * width], 0.5)  # type: ignore[union-attr,index]
            nn.init.constant_(block.steer.bias[5 * width :], 0.5)  # type: ignore[union-attr,index]
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.outward = Linear(width, outputs)
        nn.init.zeros_(self.outward.weight)
        nn.init.zeros_(self.outward.bias)

    @property
    def matrices(self) -> list[nn.Parameter]:
        """The weights between hidden layers."""
        return [p for name, p in self.blocks.named_parameters() if p.ndim == 2 and "steer" not in name]

    def forward(
        self,
        x: Float[Tensor, "n count numbers"],
        hidden: Bool[Tensor, "n count"],
        context: Float[Tensor, "n context"] | None,
        wanted: Bool[Tensor, "n count"],
    ) -> Float[Tensor, "some outputs"]:
        seen = self.inward((SEEN * torch.tanh(x / SEEN)).to(self.inward.weight.dtype))
        h = torch.where(hidden[..., None], self.hidden.to(seen.dtype), seen) + self.places
        given = self.start.expand(len(x), -1) if self.start is not None else context
        assert given is not None
        for block in self.blocks:
            h = block(h, nn.functional.silu(given))
        out: Tensor = self.outward(self.norm(h[wanted]))
        return out
