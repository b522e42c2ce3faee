"""Masked diffusion: places are hidden in random order, and drawn back one after the other, each given all known ones.

Sahoo et al., 2024, arXiv 2406.07524; Shi et al., 2024, arXiv 2406.04329. The bound and the order of draws are in
`places`. Classes are drawn in double precision: noise of single precision cuts tails off, which lowers the temperature
unseen (Zheng et al., 2025, arXiv 2409.02908).
"""

from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pofx.core.errors import DataError
from pofx.core.event import Condition, Discrete, Event, dims
from pofx.core.model import Completing, Recipe
from pofx.core.options import Depth, Dropout, Width
from pofx.core.random import Streams
from pofx.families.diffusion.places import Block, Draws, Hidden, Places, Steps
from pofx.maths.distributions import categorical_draw, categorical_log_prob
from pofx.maths.sharpening import sharpen
from pofx.nets.attention.masked_transformer import CONTEXT, MaskedTransformer
from pofx.nets.vector.conditioner import Conditioner


class MaskedDiffusion(Places, Hidden, Completing):
    """Hidden places are drawn back in random order: a bound.

    Args:
        width: features of each place, a multiple of 32.
        layers: blocks of attention and a two-layer net.
        dropout: share of hidden features dropped in training.
        sampler_steps: evaluations of the network for a sample, each of which draws an equal share of the places; 0
            draws every place by itself, up to 256 places.
        block: places that are drawn, in random order, before the next ones: 1 goes from the first to the last like an
            autoregressive model, 0 takes all at once.
        remasking: evaluations after the last place, each of which hides a step's share of the places again and draws
            them given the others; corrects what few steps draw apart from each other.
        bound_draws: random sets of hidden places from which the bound of an item is estimated.
    """

    name, source = "masked-diffusion", "Sahoo et al., 2024, arXiv 2406.07524; Shi et al., 2024, arXiv 2406.04329"
    adjustable: ClassVar = ("sampler_steps", "block", "remasking", "bound_draws")
    small: ClassVar = {"width": 32, "layers": 2}
    recipes: ClassVar = (
        Recipe(
            "d3pm",
            "Austin et al., 2021, arXiv 2107.03006",
            {"sampler_steps": 32, "layers": 3},
            summary="Absorbing-state diffusion, many places at a step.",
        ),
    )

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        width: Width = 128,
        layers: Depth = 4,
        dropout: Dropout = 0.0,
        sampler_steps: Steps = 0,
        block: Block = 0,
        remasking: Steps = 0,
        bound_draws: Draws = 32,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Discrete)
        self.check_width(width)
        self.width, self.layers, self.dropout = width, layers, dropout
        self.sampler_steps, self.block, self.remasking, self.bound_draws = sampler_steps, block, remasking, bound_draws
        self.length = dims(event)
        self.conditioner = Conditioner(condition, CONTEXT)
        self.net = MaskedTransformer(event, width, layers, context=condition is not None, dropout=dropout)

    def log_each(
        self,
        y: Int[Tensor, "n places"],
        hidden: Bool[Tensor, "n places"],
        context: Float[Tensor, "n context"] | None,
        wanted: Bool[Tensor, "n places"],
        streams: Streams,
    ) -> Float[Tensor, "some"]:
        return categorical_log_prob(self.net(y, hidden, context, wanted), y[wanted])

    def sample(
        self,
        n: int,
        condition: Condition | None = None,
        *,
        generator: Streams,
        prefix: Int[Tensor, "n *event"] | None = None,
        temperature: float = 1.0,
        top_k: float = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
    ) -> Int[Tensor, "{n} *event"]:
        """n events: int64 (n, *event.shape). Drawn place by place, in an order of its own for each, they follow p(x).

        Args:
            prefix: what is known of each event and -1 in the places to be drawn, wherever those are.
            temperature, top_k, top_p, min_p: sharpen every conditional; at other values than these the draws are no
                longer from p(x).

        Raises:
            DataError: a prefix of another shape, or with classes that the event does not have.
        """
        self.check_condition(n, condition)
        assert isinstance(self.event, Discrete)
        keys, u = generator.uniform(self.length), generator.uniform64(self.length)
        x, hidden = torch.zeros_like(keys, dtype=torch.int64), torch.ones_like(keys, dtype=torch.bool)
        if prefix is not None:
            if tuple(prefix.shape) != (n, *self.event.shape):
                raise DataError(f"prefix must have shape {(n, *self.event.shape)} (got {tuple(prefix.shape)})")
            if n and (prefix.min() < -1 or prefix.max() >= self.event.largest):
                raise DataError(f"prefix must lie in -1 to {self.event.largest - 1}")
            flat = prefix.reshape(n, self.length)
            x, hidden = flat.clamp(min=0), flat < 0
        context = self.conditioner(condition)
        for now in self.turns(hidden, keys, generator):
            if not bool((hidden & now).any()):  # drawn before
                u = generator.uniform64(self.length)
            rows = now.any(1).nonzero()[:, 0]
            given = None if context is None else context[rows]
            logits = self.net(x[rows], (hidden | now)[rows], given, now[rows])
            x = x.masked_scatter(now, categorical_draw(sharpen(logits, temperature, top_k, top_p, min_p), u[now]))
            hidden = hidden & ~now
        return x.reshape(n, *self.event.shape)

    def complete(
        self,
        x: Int[Tensor, "n *event"],
        known: Bool[Tensor, "n *event"],
        condition: Condition | None = None,
        *,
        generator: Streams,
    ) -> Int[Tensor, "n *event"]:
        """x where `known`, and draws given that elsewhere."""
        return self.sample(len(x), condition, generator=generator, prefix=torch.where(known, x, -1))
