"""Adjoint matching: a denoiser for a density known up to its constant, from its slope at the ends of its own paths.

Havens et al., 2025, "Adjoint sampling", arXiv 2504.11713: for a path that ends at x_1 the steering is regressed on
∇log f(x_1) + x_1 / s², one slope for each path and many regressions for each slope. That target is noisy where modes
are narrow. So the same denoiser also learns x_1 itself from draws in place of the target's: scouts at first, and later
its own ends, resampled by the exact weights of their paths (`maths.follmer`), which know the shares of the modes.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from pofx.core.model import Batch, Denoising, Model, Phase
from pofx.core.objective import Objective
from pofx.core.random import Streams
from pofx.maths.follmer import paths
from pofx.maths.importance import effective_share, truncated
from pofx.train.options import Budget

REFRESHED = 50  # steps between two sets of paths
PATHS, STEPS = 512, 64  # of each set
STEEPEST = 10.0  # standard deviations of the base from which on a target of the adjoint loss is cut off
TRUSTED = 0.05  # effective share of the paths from which on their weighted ends replace scouts
FADED = 0.6  # share of the budget in which they do


class AdjointMatching(Objective):
    """(1 - mix) · the adjoint loss + mix · that of denoising draws of the target, in units of the data's spread."""

    model: Model
    spent: Tensor
    taken: Tensor
    ends: Tensor
    slopes: Tensor
    weights: Tensor

    def __init__(
        self, model: Model, log_density: Callable[[Tensor], Tensor], budget: Budget, *, mix: float, fading: bool
    ) -> None:
        super().__init__(model)
        assert isinstance(model, Denoising)
        self.log_density, self.budget, self.mix, self.fading = log_density, budget, mix, fading
        self.register_buffer("spent", torch.zeros((), dtype=torch.float64))  # share of the budget; survives a resume
        self.last: float | None = None
        shape = model.event.shape  # type: ignore[union-attr]
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64))
        self.register_buffer("ends", torch.zeros(PATHS, *shape))
        self.register_buffer("slopes", torch.zeros(PATHS, *shape))
        self.register_buffer("weights", torch.zeros(PATHS))  # all zero where they are not to be trusted

    def train(self, mode: bool = True) -> "AdjointMatching":
        """Always as in use: paths come from the network that is trained, without dropout."""
        return super().train(False)

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("model", tuple(self.parameters()), self.loss),)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        model, n = self.model, len(batch)
        assert isinstance(model, Denoising)
        self._spend()
        if int(self.taken) % REFRESHED == 0:
            self._refresh(batch)
        self.taken += 1
        drawn = batch.x
        if self.fading and bool(self.weights.any()):
            own = torch.rand(n, device=drawn.device) < float(self.spent) / FADED
            chosen = torch.multinomial(self.weights, n, replacement=True)
            drawn = torch.where(own.reshape(-1, *[1] * (drawn.ndim - 1)), self.ends[chosen], drawn)
        parts = {"denoising": self.mix * self._error(drawn, drawn)}
        if self.mix < 1:
            some = torch.randint(len(self.ends), (n,), device=drawn.device)
            parts["adjoint"] = (1 - self.mix) * self._error(self.ends[some], None, self.slopes[some])
        return parts

    def _error(self, ends: Tensor, data: Tensor | None, slopes: Tensor | None = None) -> Tensor:
        """The squared error of E[x_1 | x_t] against x_1, or what the slope at the end makes of it, over the spread of
        x_1 given x_t in a normal distribution."""
        model, n = self.model, len(ends)
        assert isinstance(model, Denoising)
        t = (torch.randperm(n, device=ends.device) + torch.rand(n, device=ends.device)) / n
        t = t.clamp(1e-4, 1 - 1e-4)
        alpha, sigma = model.schedule(t)
        noise = torch.randn_like(ends)
        x_t = alpha * ends + sigma * noise
        found = model.denoise(x_t, t)
        ratio = (sigma / model.spread) / (alpha**2 + (sigma / model.spread) ** 2).sqrt()  # sqrt(1 - t) of the path
        if data is None:
            assert slopes is not None
            base = x_t * alpha / (alpha**2 + (sigma / model.spread) ** 2)  # x_t of the path itself
            data = base + ratio**2 * slopes * model.spread
        gap = (found - data) / (model.spread * ratio.clamp(min=0.02))
        return gap.square().flatten(1).mean(1).mean()

    @torch.no_grad()
    def _refresh(self, batch: Batch) -> None:
        """New paths: their ends, the slopes there, and the weights of the paths."""
        model = self.model
        assert isinstance(model, Denoising)
        streams = Streams(int(torch.randint(2**62, ())), PATHS, device=batch.x.device)
        x, log_q = paths(model.denoise, model.schedule, model.spread, tuple(batch.x.shape[1:]), STEPS, streams)
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            value = self.log_density(x)
            (slope,) = torch.autograd.grad(value.sum(), x)
        target = (slope * model.spread + x.detach() / model.spread).clamp(-STEEPEST, STEEPEST)
        log_w = value.detach().double() - log_q
        log_w = torch.where(log_w.isfinite(), log_w, -torch.inf)
        useful = bool(log_w.isfinite().any()) and effective_share(log_w) >= TRUSTED
        self.ends.copy_(x.detach())
        self.slopes.copy_(target)
        self.weights.copy_(truncated(log_w) if useful else torch.zeros_like(log_w))

    def _spend(self) -> None:
        if self.budget.steps is not None:
            self.spent += 1 / self.budget.steps
            return
        assert self.budget.minutes is not None
        now = time.monotonic()
        self.spent += (now - (self.last or now)) / (60 * self.budget.minutes)
        self.last = now
