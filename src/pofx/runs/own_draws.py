"""What objectives for a density without data share: they learn from scouts at first, and later from their own draws.

The draws of the model, resampled by their importance weights, know the shares of the modes, which scouts do not.
"""

import time
from abc import abstractmethod
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor

from pofx.core.model import Batch, Model, Phase
from pofx.core.objective import Objective
from pofx.maths.importance import effective_share, truncated
from pofx.train.options import Budget

REFRESHED = 50  # steps between two sets of own draws
TRUSTED = 0.05  # effective share of them from which on they replace scouts
FADED = 0.6  # share of the budget in which they do


class OwnDraws(Objective):
    """An objective with a set of weighted draws of its model; a subclass draws them, by `_refresh`, and has a `loss`.

    Args:
        drawn: draws of each set.
        mix: weight of what learns from draws, against what learns from the density itself.
        fading: whether own draws replace scouts.
    """

    spent: Tensor
    taken: Tensor
    ends: Tensor
    weights: Tensor

    def __init__(
        self,
        model: Model,
        log_density: Callable[[Tensor], Tensor],
        budget: Budget,
        *,
        drawn: int,
        mix: float,
        fading: bool,
    ) -> None:
        super().__init__(model)
        self.log_density, self.budget, self.mix, self.fading = log_density, budget, mix, fading
        self.register_buffer("spent", torch.zeros((), dtype=torch.float64))  # share of the budget; survives a resume
        self.last: float | None = None
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64))
        self.register_buffer("ends", torch.zeros(drawn, *model.event.shape))  # type: ignore[union-attr]
        self.register_buffer("weights", torch.zeros(drawn))  # all zero where they are not to be trusted

    def train(self, mode: bool = True) -> Self:
        """Always as in use: draws and their densities come from the network that is trained, without dropout."""
        return super().train(False)

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("model", tuple(self.parameters()), self.loss),)

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """What a step descends, by name, given a batch of scouts."""

    @abstractmethod
    def _refresh(self, batch: Batch) -> None:
        """Draw a new set, on the device of a batch."""

    def _mixed(self, x: Tensor) -> Tensor:
        """Scouts x (n, *event), more and more of them replaced by own draws."""
        if not self.fading or not bool(self.weights.any()):
            return x
        own = torch.rand(len(x), device=x.device) < float(self.spent) / FADED
        chosen = torch.multinomial(self.weights, len(x), replacement=True)
        return torch.where(own.reshape(-1, *[1] * (x.ndim - 1)), self.ends[chosen], x)

    def _take(self, ends: Tensor, log_w: Tensor) -> None:
        """Store draws (drawn, *event) with the logs of their weights (drawn,), if these are to be trusted."""
        log_w = torch.where(log_w.isfinite(), log_w, -torch.inf)
        useful = bool(log_w.isfinite().any()) and effective_share(log_w) >= TRUSTED
        self.ends.copy_(ends)
        self.weights.copy_(truncated(log_w) if useful else torch.zeros_like(log_w))

    def _spend(self) -> None:
        if self.budget.steps is not None:
            self.spent += 1 / self.budget.steps
            return
        assert self.budget.minutes is not None
        now = time.monotonic()
        self.spent += (now - (self.last or now)) / (60 * self.budget.minutes)
        self.last = now
