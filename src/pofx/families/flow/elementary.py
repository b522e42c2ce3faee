"""Flows of elementary steps: planar, radial and Sylvester maps from x to z, after a map that whitens x.

The steps were made to bend a simple posterior (see `maths.elementary` for the sources); as densities of x their forward
direction is the cheap one, and samples come from an inverse that solves for one number at a time. One linear map comes
first, so that without any step the density is a normal of full covariance. A condition moves every step's parameters.
"""

from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.core.event import Continuous, Event, dims
from pofx.core.model import Recipe
from pofx.core.options import Depth, OneOf, Range, Width
from pofx.families.flow.composition import ActNorm, Bijection, Composition, LinearMap
from pofx.families.flow.flow import Flow
from pofx.maths.elementary import STEPS, Step, step_of


class Elementary(Bijection):
    """A step whose free parameters are learned, and moved by the context."""

    def __init__(self, step: Step, features: int, context: int) -> None:
        super().__init__()
        self.step = step
        self.raw = nn.Parameter(torch.randn(step.size) / features**0.5)
        self.moved = nn.Linear(context, step.size, bias=False) if context else None

    def _raw(self, context: Float[Tensor, "n context"] | None) -> Float[Tensor, "#n size"]:
        raw = self.raw[None]
        return raw if self.moved is None or context is None else raw + self.moved(context)

    def forward(
        self, x: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        return self.step(x, self._raw(context))

    def inverse(
        self, y: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n d"]:
        return self.step.inverse(y, self._raw(context))


class ElementaryFlow(Flow):
    """Flow of planar, radial or Sylvester steps: exact density, exact codes, few parameters.

    Args:
        step: "planar", "radial" or "sylvester".
        layers: steps in the chain.
        rank: columns of Q in a Sylvester step; 0 takes every dimension, at most 32.
        reflections: Householder reflections that make up Q; 0 takes as many as the rank.
        context: width of the condition's embedding.
    """

    source = "Rezende and Mohamed, 2015, arXiv 1505.05770; van den Berg et al., 2018, arXiv 1803.05649"
    trains_with = {"lr": 5e-3}
    small = {"layers": 6}
    recipes = (
        Recipe(
            "planar",
            "Rezende and Mohamed, 2015, arXiv 1505.05770",
            {"step": "planar", "layers": 32},
            summary="Bends along planes; few parameters.",
        ),
        Recipe(
            "radial",
            "Rezende and Mohamed, 2015, arXiv 1505.05770",
            {"step": "radial", "layers": 32},
            summary="Draws together or apart around points.",
        ),
        Recipe(
            "sylvester",
            "van den Berg et al., 2018, arXiv 1803.05649",
            {"step": "sylvester", "layers": 16},
            summary="Several planar bends at once.",
        ),
    )

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        step: Annotated[str, OneOf(*STEPS)] = "planar",
        layers: Depth = 32,
        rank: Annotated[int, Range(0, 8192)] = 0,
        reflections: Annotated[int, Range(0, 8192)] = 0,
        context: Width = 64,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous)
        d, size = dims(event), context if condition is not None else 0
        self.step, self.layers, self.rank, self.reflections, self.context = step, layers, rank, reflections, context
        kind = step_of(step, d, rank=rank, reflections=reflections)
        parts: list[Bijection] = [ActNorm(d), LinearMap(d, torch.arange(d))]
        parts += [Elementary(kind, d, size) for _ in range(layers)]
        self.flow = Composition(event, condition, context, [*parts, ActNorm(d)])
