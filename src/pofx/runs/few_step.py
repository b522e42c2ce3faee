"""Few-step maps for a density known up to its constant: a flow map whose end has an exact density.

Rehman et al., 2025, "FALCON", arXiv 2512.09914: a map of average velocities is trained to be a bijection too, by
leading items from one time to another and back; its density is then that of a few Jacobians (`maths.leading`). There it
learns from draws of a simulation. Here draws are walkers at first, and later its own ends, resampled by their
importance weights; and the reverse divergence E_q[log q - log f], whose gradient goes through the Jacobians, makes the
weights flat.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from pofx.core.generative import Leading
from pofx.core.model import Batch, OnePhase, Phase
from pofx.core.objective import Objective
from pofx.core.random import Streams
from pofx.maths.annealing import standard_normal
from pofx.maths.importance import effective_share, truncated
from pofx.maths.leading import led
from pofx.runs.walkers import Walkers
from pofx.train.options import Budget

REFRESHED, DRAWN = 50, 1024  # steps between two sets of own draws, and draws of each
TRUSTED = 0.05  # effective share of them from which on they replace scouts
FADED = 0.6  # share of the budget in which they do
REVERSED, EVERY = 64, 4  # draws for the reverse divergence, and steps between two of its descents
YOUNG = 0.3  # share of the budget before it: Jacobians of a map that leads nowhere yet are of no use
HOTTEST = 0.01  # as in `target`
CYCLE = 1.0  # weight of leading on and back


class FewStepMatching(Objective):
    """mix · the map's own losses on draws + leading on and back + (1 - mix) · the reverse divergence per number."""

    spent: Tensor
    taken: Tensor
    ends: Tensor
    weights: Tensor

    def __init__(
        self,
        model: Leading,
        log_density: Callable[[Tensor], Tensor],
        budget: Budget,
        *,
        mix: float,
        fading: bool,
        walkers: Walkers | None = None,
    ) -> None:
        super().__init__(model)
        self.walkers = walkers
        self.log_density, self.budget, self.mix, self.fading = log_density, budget, mix, fading
        self.register_buffer("spent", torch.zeros((), dtype=torch.float64))  # share of the budget; survives a resume
        self.last: float | None = None
        self.numbers: int = model.event.shape[0]  # type: ignore[union-attr]
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64))
        self.register_buffer("ends", torch.zeros(DRAWN, self.numbers))
        self.register_buffer("weights", torch.zeros(DRAWN))  # all zero where they are not to be trusted

    def train(self, mode: bool = True) -> "FewStepMatching":
        """Always as in use: a draw and its density must come from the same network, without dropout."""
        return super().train(False)

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("model", tuple(self.parameters()), self.loss),)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        model, n = self.model, len(batch)
        assert isinstance(model, Leading) and isinstance(model, OnePhase)
        self._spend()
        if self.fading and int(self.taken) % REFRESHED == 0:
            self._refresh(batch)
        self.taken += 1
        x = batch.x if self.walkers is None else self.walkers.moved(batch.x)
        if self.fading and bool(self.weights.any()):
            own = torch.rand(n, device=x.device) < float(self.spent) / FADED
            x = torch.where(own[:, None], self.ends[torch.multinomial(self.weights, n, replacement=True)], x)
        parts: dict[str, Tensor] = {}
        if self.mix > 0:
            named = model.loss(Batch(x))
            assert isinstance(named, dict)
            parts |= {name: self.mix * value for name, value in named.items()}
        parts["cycle"] = CYCLE * self._cycle(model, model.standardised(x))
        due = self.mix == 0 or (int(self.taken) % EVERY == 0 and float(self.spent) >= YOUNG)
        if self.mix < 1 and due:
            parts["reverse"] = (
                (1 - self.mix) * (EVERY if self.mix > 0 else 1) * self._reverse(model, min(n, REVERSED)) / self.numbers
            )
        return parts

    @staticmethod
    def _cycle(model: Leading, x: Tensor) -> Tensor:
        """The squared error of leading items on and back, between two times in either order."""
        n = len(x)
        times = torch.rand(2, n, device=x.device).to(x.dtype)
        z = (1 - times[0, :, None]) * x + times[0, :, None] * torch.randn_like(x)
        there = model.lead(z, times[0], times[1])
        return (model.lead(there, times[1], times[0]) - z).square().mean()

    def _reverse(self, model: Leading, n: int) -> Tensor:
        """E_q[log q - log f] through the map and its Jacobians; the target emerges as `spent` grows."""
        z = Streams(int(torch.randint(2**62, ())), n, device=self.ends.device).normal(self.numbers)
        y, log_q, folds = led(model.lead, z.requires_grad_(), model.steps, graph=True)
        x = model.restored(y)
        beta = 1.0 if self.mix > 0 else float(HOTTEST ** max(0.0, 1 - 2 * float(self.spent)))
        log_f = beta * self.log_density(x) + (1 - beta) * standard_normal(x)
        each = torch.where(folds, 0.0, log_q - log_f)
        worst = each.detach().median() + 20 * self.numbers  # one clash must not rule a step
        return torch.where(each > worst, worst + (each - worst).clamp(min=0).log1p(), each).mean()

    @torch.no_grad()
    def _refresh(self, batch: Batch) -> None:
        """New draws of the map's own, with their importance weights."""
        model = self.model
        assert isinstance(model, Leading)
        z = Streams(int(torch.randint(2**62, ())), DRAWN, device=batch.x.device).normal(self.numbers)
        y, log_q, folds = led(model.lead, z, model.steps)
        x = model.restored(y).detach()
        log_w = self.log_density(x).double() - log_q.double()
        log_w = torch.where(log_w.isfinite() & ~folds, log_w, -torch.inf)
        useful = bool(log_w.isfinite().any()) and effective_share(log_w) >= TRUSTED
        self.ends.copy_(x)
        self.weights.copy_(truncated(log_w) if useful else torch.zeros_like(log_w))

    def _spend(self) -> None:
        if self.budget.steps is not None:
            self.spent += 1 / self.budget.steps
            return
        assert self.budget.minutes is not None
        now = time.monotonic()
        self.spent += (now - (self.last or now)) / (60 * self.budget.minutes)
        self.last = now
