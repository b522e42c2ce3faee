"""Masked models of real tokens: tokens are hidden in random order, and drawn back each from a mixture or a diffusion.

Li, Tian, Li, Deng and He, 2024, arXiv 2406.11838, with their small diffusion for each token, or with the mixture head
of Tschannen et al., 2024, arXiv 2312.02116. As for classes (`masked`), log p(x) is at least the mean over random orders
(`places`), here of densities or of bounds on them. A token is a column of a row, a frame of a signal, a place of a grid
of codes or a patch.
"""

from collections.abc import Callable
from typing import Annotated, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pofx.core.errors import DataError
from pofx.core.event import Condition, Continuous, Event
from pofx.core.model import Batch, Recipe
from pofx.core.options import Count, Depth, Dropout, OneOf, Range, Temperature, Width
from pofx.core.random import Streams
from pofx.families.diffusion.places import STARTS, Block, Draws, Hidden, Steps
from pofx.maths.distributions import near_items
from pofx.maths.mixture_head import MixtureHead
from pofx.nets.attention.masked_tokens import MaskedTokens
from pofx.nets.attention.token_transformer import gathered_tokens, spread_tokens, tokens
from pofx.nets.vector.conditioner import Conditioner
from pofx.nets.vector.diffusion_head import HEADS, DiffusionHead, token_head


class MaskedReal(Hidden):
    """Hidden tokens of numbers are drawn back in random order: a bound.

    Args:
        width: features of a token, a multiple of 32.
        layers: blocks of attention and a two-layer net.
        head: "mixture" of normals or "diffusion".
        components: of the mixture of each token.
        denoiser_width, denoiser_depth: of the perceptron of the diffusion.
        denoiser_steps: of Heun's method for a token.
        noises: draws of noise for each token in training, and in every estimate of its bound.
        patch: side of the squares of positions that become one token, or numbers of a vector; 0 is 1 for a vector and a
            seventh of the longest side of a grid.
        dropout: share of hidden features dropped in training.
        context: width of the condition's embedding.
        sampler_steps: evaluations of the network for a sample, each of which draws an equal share of the tokens; 0
            draws every token by itself, up to 256 tokens.
        block: tokens that are drawn, in random order, before the next ones: 1 goes from the first to the last, and log
            p of a mixture is exact where `bound_draws` is at least the number of tokens; 0 takes all at once.
        remasking: evaluations after the last token, each of which hides a step's share of the tokens again and draws
            them given the others.
        bound_draws: random sets of hidden tokens from which the bound of an item is estimated.
    """

    name: ClassVar[str] = "masked-real"
    source: ClassVar[str] = "Li et al., 2024, arXiv 2406.11838; Tschannen et al., 2024, arXiv 2312.02116"
    events: ClassVar = (Continuous,)
    adjustable: ClassVar = ("sampler_steps", "block", "remasking", "bound_draws", "denoiser_steps")
    trains_with: ClassVar = {"batch_size": 64, "optimizer": "muon", "lr": 4e-3, "weight_decay": 0.05, "validations": 16}
    small: ClassVar = {"width": 32, "layers": 1, "components": 4, "denoiser_width": 32, "denoiser_depth": 1}
    recipes: ClassVar = (
        Recipe(
            "mar",
            "Li et al., 2024, arXiv 2406.11838",
            {"head": "diffusion"},
            {"optimizer": "adamw", "lr": 2e-3, "weight_decay": 0.0},
            summary="Masked tokens of numbers, each drawn back by a small diffusion: a bound.",
        ),
    )

    center: Tensor
    scale: Tensor
    slots: Tensor

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        width: Width = 128,
        layers: Depth = 4,
        head: Annotated[str, OneOf(*HEADS)] = "mixture",
        components: Annotated[int, Range(1, 1024)] = 8,
        denoiser_width: Width = 128,
        denoiser_depth: Depth = 2,
        denoiser_steps: Count = 12,
        noises: Count = 4,
        patch: Annotated[int, Range(0, 1024)] = 0,
        dropout: Dropout = 0.0,
        context: Width = 64,
        sampler_steps: Steps = 0,
        block: Block = 0,
        remasking: Steps = 0,
        bound_draws: Draws = 32,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous)
        self.width, self.layers, self.components, self.patch = width, layers, components, patch
        self.dropout, self.context = dropout, context
        self.sampler_steps, self.block, self.remasking, self.bound_draws = sampler_steps, block, remasking, bound_draws
        self.shape = event.shape
        table, counts = tokens(event.shape, patch)
        self.register_buffer("slots", table, persistent=False)
        self.length, numbers = table.shape
        self.denoiser_width, self.denoiser_depth, self.denoiser_steps = denoiser_width, denoiser_depth, denoiser_steps
        self.noises, self.head = noises, head
        self.token_head = token_head(head, numbers, components, denoiser_width, denoiser_depth, noises)
        self.conditioner = Conditioner(condition, context)
        given = self.conditioner.width
        self.net = MaskedTokens(counts, numbers, self.token_head.size, width, layers, context=given, dropout=dropout)
        self.register_buffer("center", torch.zeros(self.size))
        self.register_buffer("scale", torch.ones(self.size))

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Measure the mean and standard deviation of every number."""
        x = take(STARTS).x.flatten(1).float()
        deviation = x.std(0, correction=0)
        self.center.copy_(x.mean(0))
        self.scale.copy_(torch.where(deviation > 1e-6, deviation, 1.0))

    def seen(self, x: Float[Tensor, "n *event"]) -> Float[Tensor, "n tokens numbers"]:
        """Standardised numbers as tokens."""
        return gathered_tokens((x.flatten(1).float() - self.center) / self.scale, self.slots)

    @property
    def in_turn(self) -> bool:
        """As of all hidden places, where the head has an exact density."""
        return super().in_turn and isinstance(self.token_head, MixtureHead)

    @property
    def log_volume(self) -> Float[Tensor, ""]:
        return -self.scale.log().sum()

    def log_each(
        self,
        y: Float[Tensor, "n places numbers"],
        hidden: Bool[Tensor, "n places"],
        context: Float[Tensor, "n context"] | None,
        wanted: Bool[Tensor, "n places"],
        streams: Streams,
    ) -> Float[Tensor, "some"]:
        there, raw = (self.slots >= 0).expand(len(y), -1, -1)[wanted], self.net(y, hidden, context, wanted)
        if isinstance(self.token_head, MixtureHead):
            return self.token_head.log_prob(y[wanted], raw, there)
        start, total = streams.uniform(self.length)[wanted], torch.zeros(len(raw), device=y.device)
        for k in range(self.noises):
            noise = streams.normal(self.length, self.token_head.numbers)[wanted]
            total = total + self.token_head.bound(y[wanted], raw, there, (start + k) / self.noises, noise)
        return total / self.noises

    def loss_each(
        self,
        y: Float[Tensor, "n places numbers"],
        hidden: Bool[Tensor, "n places"],
        context: Float[Tensor, "n context"] | None,
    ) -> Float[Tensor, "some"]:
        there = (self.slots >= 0).expand(len(y), -1, -1)[hidden]
        return self.token_head.losses(y[hidden], self.net(y, hidden, context, hidden), there)

    def log_prob_estimate(
        self, x: Float[Tensor, "n *event"], condition: Condition | None = None
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"] | None]:
        x, far = near_items(x)
        value, error = super().log_prob_estimate(x, condition)
        return value.masked_fill(far, -torch.inf), None if error is None else error.masked_fill(far, 0.0)

    # draws

    @torch.no_grad()
    def sample(
        self,
        n: int,
        condition: Condition | None = None,
        *,
        generator: Streams,
        temperature: Temperature = 1.0,
    ) -> Float[Tensor, "{n} *event"]:
        """n events, token by token in an order of its own for each; the temperature scales the noise within the
        components, or of the diffusion."""
        self.check_condition(n, condition)
        blank = torch.zeros(n, self.length, self.token_head.numbers, device=self.center.device)
        return self._drawn(blank, torch.zeros_like(blank, dtype=torch.bool), condition, generator, float(temperature))

    @torch.no_grad()
    def complete(
        self,
        x: Float[Tensor, "n *event"],
        known: Bool[Tensor, "n *event"],
        condition: Condition | None = None,
        *,
        generator: Streams,
    ) -> Float[Tensor, "n *event"]:
        """x where `known`, and draws given that elsewhere. Tokens that are known in part are drawn first, from their
        mixture given that part.

        Raises:
            DataError: `known` has another shape than x.
        """
        self.check_condition(len(x), condition)
        if known.shape != x.shape:
            raise DataError(f"known must have the shape of x, {tuple(x.shape)} (got {tuple(known.shape)})")
        there = gathered_tokens(known.flatten(1), self.slots)
        x = torch.where(known, x, torch.zeros_like(x)).float()
        made = self._drawn(self.seen(x) * there, there, condition, generator, 1.0)
        return torch.where(known, x, made)

    def _drawn(
        self,
        y: Float[Tensor, "n tokens numbers"],
        there: Bool[Tensor, "n tokens numbers"],
        condition: Condition | None,
        generator: Streams,
        temperature: float,
    ) -> Float[Tensor, "n *event"]:
        if isinstance(self.token_head, DiffusionHead):
            self.token_head.steps = self.denoiser_steps
        n, context = len(y), self.conditioner(condition)
        keys, u = generator.uniform(self.length), generator.uniform(self.length)
        noise = generator.normal(self.length, self.token_head.numbers)
        real = (self.slots >= 0).expand(n, -1, -1)
        hidden = (real & ~there).any(2)
        partly = hidden & there.any(2)
        for now in self.turns(hidden, self.by_block(keys) - partly.float(), generator):
            if not bool((hidden & now).any()):  # drawn before
                u, noise = generator.uniform(self.length), generator.normal(self.length, self.token_head.numbers)
            raw = self.net(y, hidden | now, context, now)
            drawn = self.token_head.draw_given(raw, u[now], noise[now], y[now], there[now], temperature)
            y = y.masked_scatter(now[..., None], drawn * real[now])
            hidden = hidden & ~now
        x = spread_tokens(y, self.slots) * self.scale + self.center
        return x.reshape(n, *self.shape)
