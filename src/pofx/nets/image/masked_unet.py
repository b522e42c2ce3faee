"""A U-Net over places of which some are hidden: logits of every place from the known ones.

Convolutions see what is beside a place from the first step on, where attention has to learn what beside means: on grids
of levels they learn in a fifth of the time. Levels of images enter as waves of the level and leave as evidence that
spreads to near levels (`level_embedding`); classes without an order have tables of their own. What a place holds comes
with whether it is known, and is zero where it is hidden. Made of the U-Net of diffusions (`unet`).
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from pofx.core.event import Discrete
from pofx.nets.image.unet import UNet
from pofx.nets.vector.level_embedding import LevelEmbedding, LevelLogits

CONTEXT = 64
PATCHED = 16  # longest side from which on the U-Net sees pairs of places along each axis
TERMS = 16  # numbers that encode a class at the input
GRID, SEQUENCE = 16, 128  # longest sides at which resolutions end, where all places attend to each other


class MaskedUNet(nn.Module):
    """x int64 (n, dims), hidden bool (n, dims), context (n, 64) or None → logits of the m places that are wanted, in
    row-major order: (m, classes). The event is a sequence, or a grid whose first axis, where it has three or more,
    holds channels; all its places have as many classes."""

    def __init__(
        self,
        event: Discrete,
        width: int,
        blocks: int,
        *,
        context: bool,
        dropout: float = 0.0,
        smallest: int = 0,
        patch: int = 0,
    ) -> None:
        super().__init__()
        shape = event.shape
        self.classes, self.ordered = event.largest, len(shape) > 2
        self.channels, self.sides = (shape[0], shape[1:]) if self.ordered else (1, shape)
        self.dims = math.prod(shape)
        if self.ordered:
            self.levels: nn.Module = LevelEmbedding(self.classes, TERMS)
            terms = self.levels.terms  # type: ignore[assignment]
        else:
            self.levels, terms = nn.Embedding(self.classes, TERMS * 2), TERMS * 2
        inputs = self.channels * (int(terms) + 1)  # type: ignore[call-overload]
        self.places = nn.Parameter(torch.zeros(inputs, *self.sides))
        self.net = UNet(
            (inputs, *self.sides), self.channels * width, CONTEXT, width=width, blocks=blocks, patch=patch,
            smallest=smallest or least(shape), dropout=dropout,
        )  # fmt: skip
        self.start = nn.Parameter(torch.zeros(CONTEXT)) if not context else None
        self.out = nn.Parameter(torch.randn(width, self.classes) / width**0.5 * 0.1)
        self.logits = LevelLogits((self.dims if len(shape) > 1 else 1,), self.classes)

    @property
    def matrices(self) -> list[nn.Parameter]:
        """The kernels between hidden layers."""
        return self.net.matrices

    @torch.no_grad()
    def begin(self, x: Int[Tensor, "n dims"]) -> None:
        """Set the bias to the log-frequencies of the classes in x."""
        self.logits.start(x if len(self.logits.bias) > 1 else x.reshape(-1, 1))

    def forward(
        self,
        x: Int[Tensor, "n dims"],
        hidden: Bool[Tensor, "n dims"],
        context: Float[Tensor, "n context"] | None,
        wanted: Bool[Tensor, "n dims"],
    ) -> Float[Tensor, "places classes"]:
        known = ~hidden[..., None]
        held = torch.cat((self.levels(x) * known, known.to(self.places.dtype)), 2)
        grid = held.reshape(len(x), self.channels, *self.sides, held.shape[2])
        grid = grid.movedim(-1, 2).reshape(len(x), -1, *self.sides) + self.places
        given = self.start.expand(len(x), -1) if context is None and self.start is not None else context
        assert given is not None
        h: Tensor = self.net(grid, given).unflatten(1, (self.channels, -1)).movedim(2, -1)
        rows, place = wanted.nonzero().unbind(1)
        h = nn.functional.silu(h.reshape(len(x), self.dims, -1)[rows, place])
        with torch.autocast(h.device.type, enabled=False):
            out = h.to(self.out.dtype) @ self.out
            bias = self.logits.bias[place] if len(self.logits.bias) > 1 else self.logits.bias
            return (out @ self.logits.kernel if self.ordered else out) + bias


def least(shape: tuple[int, ...]) -> int:
    """The longest side of an event at which resolutions end."""
    return GRID if len(shape) > 1 else SEQUENCE


def halved(shape: tuple[int, ...]) -> bool:
    """Whether the network of an event has more than one resolution."""
    side = max(shape[1:] if len(shape) > 2 else shape)
    return (side if side < PATCHED else -(-side // 2)) > least(shape)
