"""Features of grids of one to three axes under a vector context: a U-Net's falling resolutions (`unet`), then a layer.

No item sees another, and the blocks have second derivatives, so that a critic of noisy items can be made of it.
"""

import math

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.nets.image.patches import gathered
from pofx.nets.image.unet import CONVS, Block
from pofx.nets.vector.linear import Linear


class SteeredFeatures(nn.Module):
    """(n, channels, *sides) and a context (n, context) → (n, outputs); sizes as in `UNet`."""

    def __init__(
        self, shape: tuple[int, ...], outputs: int, context: int, *, width: int, blocks: int = 1, smallest: int = 7
    ) -> None:
        super().__init__()
        channels, *sides = shape
        rank, self.patch = len(sides), 2 if max(sides) >= 16 else 1
        sides = [-(-side // self.patch) for side in sides]
        conv, now = CONVS[rank - 1], width
        self.first = conv(channels * self.patch**rank, width, 3, padding=1)
        self.levels, self.shrink = nn.ModuleList(), nn.ModuleList()
        while True:
            self.levels.append(nn.ModuleList(Block(now, context, 0.0, rank) for _ in range(blocks)))
            if max(sides) <= smallest:
                break
            self.shrink.append(conv(now, 2 * width, 3, stride=2, padding=1))
            sides, now = [-(-side // 2) for side in sides], 2 * width
        self.last = Linear(now * math.prod(sides), outputs)

    def forward(
        self, x: Float[Tensor, "n channels *sides"], context: Float[Tensor, "n context"]
    ) -> Float[Tensor, "n outputs"]:
        """x (n, channels, *sides), context (n, context) → (n, outputs)."""
        h, context = self.first(gathered(x, self.patch)), F.silu(context)
        for i, blocks in enumerate(self.levels):
            h = self.shrink[i - 1](h) if i else h
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h, context)
        out: Tensor = self.last(F.silu(h).flatten(1))
        return out
