"""What diffusions of discrete places share: a transformer of all places, and a bound by stratified random corruptions.

Masked diffusion (`masked`) and discrete flow matching (`discrete_flow`) differ in what a corruption is and in the term
of the bound that belongs to one; this file draws terms, averages them and gives their error.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from pofx.core.errors import UsageError
from pofx.core.event import Condition, Discrete
from pofx.core.model import Batch, Density, Explicit, OnePhase, Stepwise, Tempered
from pofx.core.random import Streams
from pofx.maths.estimates import standard_error
from pofx.nets.attention.masked_transformer import MaskedTransformer
from pofx.nets.vector.conditioner import CONDITIONS, Conditioner

STARTS = 10_000  # items from which the frequencies of the classes are taken
MOST_STEPS = 256  # up to so many places each is drawn by itself unless `sampler_steps` is given


class Places(OnePhase, Explicit, Tempered, Stepwise):
    """A diffusion of discrete places, whose subclass states the term of the bound of one random corruption."""

    events: ClassVar = (Discrete,)
    ranks: ClassVar = (1, 2, 3, 4)
    unequal: ClassVar = True
    conditions: ClassVar = CONDITIONS
    best_density: ClassVar = Density.BOUND
    trains_with: ClassVar[dict[str, Any]] = {
        "batch_size": 32,
        "optimizer": "muon",
        "lr": 8e-3,
        "weight_decay": 0.1,
        "precision": "auto",
        "validations": 16,
        "validation_items": 512,
    }
    length: int
    sampler_steps: int
    bound_draws: int
    net: MaskedTransformer
    conditioner: Conditioner

    @staticmethod
    def check_width(width: int) -> None:
        """Refuse what heads of 32 features do not divide.

        Raises:
            UsageError: width is no multiple of 32.
        """
        if width % 32:
            raise UsageError(f"width must be a multiple of 32 (got {width}): pass width={32 * max(1, width // 32)}")

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Start at the frequencies of the classes."""
        self.net.begin(take(STARTS).x.reshape(-1, self.length))

    def matrices(self) -> Iterable[nn.Parameter]:
        return self.net.matrices

    @abstractmethod
    def drawn_term(
        self,
        x: Int[Tensor, "n dims"],
        share: Float[Tensor, "n"],
        streams: Streams,
        context: Float[Tensor, "n context"] | None,
    ) -> Float[Tensor, "n"]:
        """An unbiased estimate of the bound in nats from one corruption per item, whose amount `share` in [0, 1)
        chooses: (n,)."""

    def validation(self, batch: Batch) -> Float[Tensor, ""]:
        """The bound in nats per dimension from two fixed corruptions per item, so that its changes are the weights'."""
        return -self._bounds(batch.x, batch.condition, 2).mean() / self.length

    def log_prob(self, x: Int[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        """The bound on log p(x | condition) in nats: (n,); an estimate of it, see `log_prob_estimate`."""
        return self.log_prob_estimate(x, condition)[0]

    def log_prob_estimate(
        self, x: Int[Tensor, "n *event"], condition: Condition | None = None
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        """The bound and its standard error over `bound_draws` corruptions, whose amounts are stratified: (n,) each."""
        self.check_condition(len(x), condition)
        each = self._bounds(x, condition, self.bound_draws)
        return each.mean(0), standard_error(each)

    def _bounds(self, x: Int[Tensor, "n *event"], condition: Condition | None, draws: int) -> Float[Tensor, "draws n"]:
        streams, flat, context = Streams.of_items(0, x), x.reshape(len(x), self.length), self.conditioner(condition)
        start = streams.uniform(1)[:, 0]
        return torch.stack([self.drawn_term(flat, (start + k) / draws, streams, context) for k in range(draws)])


def fewest(u: Float[Tensor, "n"], keys: Float[Tensor, "n places"]) -> Bool[Tensor, "n places"]:
    """ceil(u · places) places of each item, those with the least keys."""
    count = (u * keys.shape[1]).ceil().clamp(1, keys.shape[1])
    return keys.argsort(1).argsort(1) < count[:, None]
