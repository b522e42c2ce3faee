"""A vector field v(x, t) that carries tangents along: a product of its Jacobian with a vector costs one more row.

Every layer is linear in x with a gate and a shift that depend on the time and the condition (the concat-squash layer of
Grathwohl et al., 2019, arXiv 1810.01367, appendix B.1); few inputs are seen through waves too (`nets.waves`). Forward
differentiation needs no second backward pass, so that a trace is trained through at the price of its rows.
"""

import math
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.nets.vector.fourier import waves
from pofx.nets.vector.linear import Linear

_TIMES = 4  # octaves in which the time is seen, the slowest of period 2


class Gated(nn.Module):
    """h → gate · (W h + b) + shift, where gate and shift come from what is known of time and condition."""

    def __init__(self, inputs: int, outputs: int, known: int) -> None:
        super().__init__()
        self.linear, self.modulation = Linear(inputs, outputs), Linear(known, 2 * outputs)

    def forward(
        self,
        h: Float[Tensor, "n inputs"],
        tangents: Float[Tensor, "k n inputs"] | None,
        known: Float[Tensor, "#n known"],
    ) -> tuple[Float[Tensor, "n outputs"], Float[Tensor, "k n outputs"] | None]:
        raw, shift = self.modulation(known).chunk(2, -1)
        gate = 2.0 * raw.sigmoid()
        out = gate * self.linear(h) + shift
        return out, None if tangents is None else gate * (tangents @ self.linear.weight.T)


class Field(nn.Module):
    """v(x, t, context) with k tangents: x (n, d) → v (n, d) and J u for each tangent u of x."""

    def __init__(self, features: int, width: int, depth: int, *, context: int = 0, octaves: int = 0) -> None:
        super().__init__()
        self.octaves = octaves
        known = max(16, width // 2)
        self.time = Linear(1 + 2 * _TIMES, known)
        self.given = Linear(context, known) if context else None
        sizes = [features * (1 + 2 * octaves), *[width] * depth]
        self.layers = nn.ModuleList(Gated(a, b, known) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        self.last = Gated(sizes[-1], features, known)
        for parameter in self.last.parameters():  # at rest at first
            nn.init.zeros_(parameter)

    @property
    def matrices(self) -> list[nn.Parameter]:
        """The weights between hidden layers; with a single one those that lead into it."""
        layers = [cast(Gated, layer) for layer in self.layers]
        return [layer.linear.weight for layer in layers[1:] or layers]

    def forward(
        self,
        x: Float[Tensor, "n d"],
        t: Float[Tensor, "#n"],
        context: Float[Tensor, "n context"] | None = None,
        tangents: Float[Tensor, "k n d"] | None = None,
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "k n d"] | None]:
        """The field at x (n, d) and times t (n,) or (1,) in [0, 1]; J u (k, n, d) for the tangents u (k, n, d)."""
        known = self.time(waves(4.0 * t, _TIMES))
        if self.given is not None and context is not None:
            known = known + self.given(context)
        known = torch.nn.functional.silu(known)
        h, moved = x, tangents
        if self.octaves:
            seen = waves(x, self.octaves)
            if moved is not None:
                moved = (moved[..., None] * self._slopes(seen)).flatten(2)
            h = seen.flatten(1)
        for layer in self.layers:
            h, moved = layer(h, moved, known)
            h = h.tanh()
            if moved is not None:
                moved = (1.0 - h * h) * moved
        v, turned = self.last(h, moved, known)
        return v, turned

    def _slopes(self, seen: Float[Tensor, "n d waves"]) -> Float[Tensor, "n d waves"]:
        """d waves / d x, from the waves themselves: 1, then w cos, then -w sin."""
        rate = (math.pi / 4) * 2.0 ** torch.arange(self.octaves, dtype=seen.dtype, device=seen.device)
        sin, cos = seen[..., 1 : 1 + self.octaves], seen[..., 1 + self.octaves :]
        return torch.cat((torch.ones_like(seen[..., :1]), rate * cos, -rate * sin), -1)
