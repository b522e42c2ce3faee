"""Discrete flow matching: places turn into noise one by one, at a time of their own; a network predicts what they were.

Gat et al., 2024, arXiv 2407.15595; Campbell et al., 2024, arXiv 2402.04997. The network gives p(x_i | z_t) for every
place; jump rates follow from it (`maths.discrete_paths`), and it descends the bound on log p that belongs to them
(Shaul et al., 2024, arXiv 2412.03487). Under uniform noise a place may change again and again, so that the sampler can
mend what it drew; what a place states of itself is known in closed form, and the network learns what the others state.
At exact predictions the bound is tight for masked noise and for "diffusion", whose paths are Markov; those of "flow"
under uniform noise are not, and its bound stays below log p.
"""

import math
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pofx.core.errors import UsageError
from pofx.core.event import Condition, Discrete, Event, dims
from pofx.core.model import Batch, Recipe
from pofx.core.options import Count, Depth, Dropout, NonNegative, OneOf, Width
from pofx.core.random import Streams
from pofx.families.diffusion.places import Draws, Network, Places
from pofx.maths.discrete_paths import diffusion_gap, evidence, flow_gap, reversed_logits
from pofx.maths.distributions import categorical_draw
from pofx.maths.sharpening import sharpen
from pofx.nets.attention.masked_transformer import CONTEXT
from pofx.nets.vector.conditioner import Conditioner
from pofx.nets.vector.time import TimeEmbedding


class DiscreteFlow(Places):
    """Jumps from noise to classes, all places at once: a bound.

    Args:
        noise: "masked" hides places, "uniform" replaces them by any class.
        rates: "flow", jumps to the predicted class alone, or "diffusion", the reversal of uniform noising.
        network: "transformer"; "unet", convolutions that see what lies beside a place from the start; "auto" takes the
            U-Net for images, grids and sequences, and the transformer for columns.
        width: features of each place, a multiple of 32; None takes 128, or 64 of a U-Net at its full resolution.
        layers: blocks of attention and a two-layer net, or of a U-Net on each of its paths at each resolution; None
            takes 4; of a U-Net 2, or 1 where it has several resolutions.
        dropout: share of hidden features dropped in training.
        sampler_steps: evaluations of the network for a sample.
        stochasticity: rate at which places are noised again and predicted anew, which mends errors of early steps and
            keeps the marginals (of "flow").
        bound_draws: times and noises from which the bound of an item is estimated.
        shared_tables: whether long runs of places with as many classes each share a table, where others differ.
    """

    name: ClassVar[str] = "discrete-flow-matching"
    source: ClassVar[str] = "Gat et al., 2024, arXiv 2407.15595; Campbell et al., 2024, arXiv 2402.04997"
    adjustable: ClassVar = ("sampler_steps", "stochasticity", "bound_draws")
    small: ClassVar = {"width": 32, "layers": 2, "sampler_steps": 16}
    unstated: ClassVar = {"shared_tables": False, "network": "transformer"}
    recipes: ClassVar = (
        Recipe(
            "d3pm-uniform",
            "Austin et al., 2021, arXiv 2107.03006; Campbell et al., 2022, arXiv 2205.14987",
            {"noise": "uniform", "rates": "diffusion"},
            summary="Discrete diffusion whose noise is any class.",
        ),
    )
    allowed: Tensor

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        noise: Annotated[str, OneOf("masked", "uniform")] = "masked",
        rates: Annotated[str, OneOf("flow", "diffusion")] = "flow",
        network: Network = "auto",
        width: Width | None = None,
        layers: Depth | None = None,
        dropout: Dropout = 0.0,
        sampler_steps: Count = 64,
        stochasticity: NonNegative = 0.0,
        bound_draws: Draws = 32,
        shared_tables: bool = True,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Discrete)
        if rates == "diffusion" and noise == "masked":
            raise UsageError("rates 'diffusion' are those of uniform noise (got noise 'masked'): pass noise='uniform'")
        self.noise, self.rates, self.dropout = noise, rates, dropout
        self.network, self.width, self.layers = self.chosen(network, width, layers)
        self.sampler_steps, self.stochasticity, self.bound_draws = sampler_steps, stochasticity, bound_draws
        self.length = dims(event)
        self.time, self.conditioner = TimeEmbedding(CONTEXT), Conditioner(condition, CONTEXT)
        self.shared_tables = shared_tables
        self.net = self.network_of(context=True, dropout=dropout, shared=shared_tables)
        counts = torch.tensor(event.counts) if event.uneven else torch.full((self.length,), event.largest)
        self.register_buffer("allowed", torch.arange(event.largest) < counts[:, None], persistent=False)

    @property
    def counts(self) -> Int[Tensor, "dims"]:
        """The classes of each place."""
        return self.allowed.sum(1)

    def predicted(
        self, z: Int[Tensor, "n dims"], t: Float[Tensor, "n"], context: Float[Tensor, "n context"] | None
    ) -> Float[Tensor, "n dims classes"]:
        """log p(x_i | z_t) of every place; a hidden place is -1 in z, another one under masked noise certain."""
        hidden, seen = z < 0, z.clamp(min=0)
        embedded = self.time(hidden.float().mean(1) if self.noise == "masked" else t)
        embedded = embedded if context is None else embedded + context
        wanted = hidden if self.noise == "masked" else torch.ones_like(hidden)
        logits = self.net(seen, hidden, embedded, wanted).float()
        own = nn.functional.one_hot(seen, self.allowed.shape[1])
        if self.noise == "uniform":
            logits = logits.reshape(*z.shape, -1).double() + own * evidence(seen, t, self.counts)[..., None]
            return logits.masked_fill(~self.allowed, -torch.inf).log_softmax(-1)
        known = own.to(logits.dtype).log()  # 0 at the class, -inf elsewhere
        return known.masked_scatter(hidden[..., None].expand_as(known), logits.log_softmax(-1))

    def _terms(
        self,
        x: Int[Tensor, "n dims"],
        share: Float[Tensor, "n"],
        u: Float[Tensor, "n 2 places"],
        context: Float[Tensor, "n context"] | None,
    ) -> Float[Tensor, "n"]:
        """An unbiased estimate of minus the bound, whose variance is finite, by two times dims + 1 uniform numbers.

        The integral over time is a sum over the number k of places with noise: the integrand, a multiple of 1 / t,
        times the chance of k is t · integrand / k under Beta(k, dims - k + 1), the distribution of the k-th least of as
        many uniform numbers. `share` chooses k; the integrand of k = 0, none under masked noise, is drawn at the least
        of dims + 1 numbers.
        """
        least = int(self.noise == "masked")
        numbers = self.length + 1 - least
        k = (least + (share * numbers).long()).clamp(max=self.length)
        keys, order = u[:, 0, :-1], u[:, 0, :-1].sort(1).values
        t = torch.where(k > 0, order.gather(1, (k - 1).clamp(min=0)[:, None])[:, 0], u[:, 0].amin(1)).clamp(min=1e-7)
        z = torch.where((keys <= t[:, None]) & (k > 0)[:, None], self._noise(u[:, 1, :-1]), x)
        log_p = self.predicted(z, t, context)
        if self.rates == "diffusion":
            gap = diffusion_gap(log_p, z, x, t, self.allowed)
        elif self.noise == "uniform":
            gap = flow_gap(log_p, z, x, t)
        else:
            gap = torch.where(z < 0, -log_p.gather(-1, x[..., None])[..., 0], 0.0) / t[:, None]
        return torch.where(k > 0, numbers * t / k.clamp(min=1), 1.0) * gap.sum(1)

    def _noise(self, u: Float[Tensor, "n dims"]) -> Int[Tensor, "n dims"]:
        """What places with noise hold."""
        return torch.full_like(u, -1, dtype=torch.int64) if self.noise == "masked" else (u * self.counts).long()

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """The bound in nats per dimension, at one time and noise per item, times stratified over the batch."""
        x, n, device = self.seen(batch.x), len(batch), batch.x.device
        share = (torch.randperm(n, device=device) + torch.rand(n, device=device)) / n
        u = torch.rand(n, 2, self.length + 1, device=device)
        return self._terms(x, share, u, self.conditioner(batch.condition)).mean().float() / self.length

    def drawn_term(
        self,
        x: Int[Tensor, "n dims"],
        share: Float[Tensor, "n"],
        streams: Streams,
        context: Float[Tensor, "n context"] | None,
    ) -> Float[Tensor, "n"]:
        """The term of one time and noise per item."""
        return -self._terms(x, share, streams.uniform(2, self.length + 1), context).float()

    def sample(
        self,
        n: int,
        condition: Condition | None = None,
        *,
        generator: Streams,
        temperature: float = 1.0,
        top_k: float = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
    ) -> Int[Tensor, "{n} *event"]:
        """n events in `sampler_steps` steps, from noise of `generator` alone: int64 (n, *event.shape).

        Args:
            temperature, top_k, top_p, min_p: sharpen every prediction; at other values than these the draws are no
                longer from p(x).
        """
        self.check_condition(n, condition)
        context, device = self.conditioner(condition), generator.device
        z = self._noise(generator.uniform(self.length))
        times = torch.linspace(1.0, 0.0, self.steps + 1, device=device)
        for t, s in zip(times[:-1], times[1:], strict=True):
            log_p = self.predicted(z, t.expand(n), context)
            x = categorical_draw(sharpen(log_p, temperature, top_k, top_p, min_p), generator.uniform64(self.length))
            u = generator.uniform(4, self.length)
            if self.rates == "diffusion":
                z = categorical_draw(reversed_logits(z, x, t, s, self.allowed), u[:, 0])
                continue
            again = u[:, 1] < -math.expm1(-self.stochasticity * float(t - s))
            redrawn = torch.where(again, torch.where(u[:, 2] < s, self._noise(u[:, 3]), x), z)
            z = torch.where(u[:, 0] < (t - s) / t, x, redrawn)
        return z.reshape(n, *self.event.shape)  # type: ignore[union-attr]
