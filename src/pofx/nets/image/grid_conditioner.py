"""The network of a coupling on a grid: two convolutions with 1×1 layers between them, which starts at zero.

The form is Glow's (Kingma and Dhariwal, 2018, arXiv 1807.03039, appendix B): 3×3, 1×1, 3×3, the last one zero. Added
are a learned number per channel and place, because convolutions do not know where they are, and a vector context.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class GridConditioner(nn.Module):
    """(n, inputs, H, W) and a context (n, context) → (n, outputs, H, W); zero at the start. No inputs: the rest speaks.

    Args:
        width: hidden channels.
        blocks: residual 1×1 layers between the two convolutions.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        sides: tuple[int, int],
        width: int,
        blocks: int,
        *,
        context: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, width, 3, padding=1) if inputs else None
        self.place = nn.Parameter(torch.zeros(1, width, *sides))
        self.context = nn.Linear(context, width) if context else None
        self.inner = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(blocks))
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Conv2d(width, outputs, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]
        if self.first is None:  # the last layer is zero, so the place must not be: else neither would ever move
            nn.init.normal_(self.place)

    def forward(
        self, x: Float[Tensor, "n inputs H W"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n outputs H W"]:
        """x (n, inputs, H, W), context (n, context) → (n, outputs, H, W)."""
        h = self.place.expand(len(x), -1, -1, -1)
        if self.first is not None:
            seen = self.first(x.contiguous(memory_format=torch.channels_last))
            h = seen + self.place.to(seen.dtype)
        if self.context is not None and context is not None:
            h = h + self.context(context).to(h.dtype)[:, :, None, None]
        h = F.relu(h)
        for layer in self.inner:
            h = h + F.relu(layer(h))
        out: Tensor = self.last(self.dropout(h))
        return out
