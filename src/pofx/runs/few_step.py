"""Few-step maps for a density known up to its constant: a flow map whose end has an exact density.

Rehman et al., 2025, "FALCON", arXiv 2512.09914: a map of average velocities is trained to be a bijection too, by
leading items from one time to another and back; its density is then that of a few Jacobians (`maths.leading`). There it
learns from draws of a simulation. Here draws are walkers at first, and later its own ends, resampled by their
importance weights; and the reverse divergence E_q[log q - log f], whose gradient goes through the Jacobians, makes the
weights flat.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pofx.core.generative import Leading
from pofx.core.model import Batch, OnePhase
from pofx.core.random import Streams
from pofx.maths.annealing import standard_normal
from pofx.maths.leading import led
from pofx.runs.own_draws import REFRESHED, OwnDraws
from pofx.runs.walkers import Walkers
from pofx.train.options import Budget

DRAWN = 1024  # own draws of each set
REVERSED, EVERY = 64, 4  # draws for the reverse divergence, and steps between two of its descents
YOUNG = 0.3  # share of the budget before it: Jacobians of a map that leads nowhere yet are of no use
HOTTEST = 0.01  # as in `target`
CYCLE = 1.0  # weight of leading on and back


class FewStepMatching(OwnDraws):
    """mix · the map's own losses on draws + leading on and back + (1 - mix) · the reverse divergence per number."""

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
        super().__init__(model, log_density, budget, drawn=DRAWN, mix=mix, fading=fading)
        self.walkers = walkers
        self.numbers: int = model.event.shape[0]  # type: ignore[union-attr]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        model, n = self.model, len(batch)
        assert isinstance(model, Leading) and isinstance(model, OnePhase)
        self._spend()
        if self.fading and int(self.taken) % REFRESHED == 0:
            self._refresh(batch)
        self.taken += 1
        x = self._mixed(batch.x if self.walkers is None else self.walkers.moved(batch.x))
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
        self._take(x, torch.where(folds, -torch.inf, log_w))
