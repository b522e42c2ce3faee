"""Adjoint matching: a denoiser for a density known up to its constant, from its slope at the ends of its own paths.

Havens et al., 2025, "Adjoint sampling", arXiv 2504.11713: for a path that ends at x_1 the steering is regressed on
∇log f(x_1) + x_1 / s², one slope for each path and many regressions for each slope. That target is noisy where modes
are narrow. So the same denoiser also learns x_1 itself from draws in place of the target's: scouts at first, and later
its own ends, resampled by the exact weights of their paths (`maths.follmer`), which know the shares of the modes.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pofx.core.model import Batch, Denoising, Model
from pofx.core.random import Streams
from pofx.maths.follmer import paths
from pofx.runs.own_draws import REFRESHED, OwnDraws
from pofx.train.options import Budget

PATHS, STEPS = 512, 64  # of each set
STEEPEST = 10.0  # standard deviations of the base from which on a target of the adjoint loss is cut off


class AdjointMatching(OwnDraws):
    """(1 - mix) · the adjoint loss + mix · that of denoising draws of the target, in units of the data's spread."""

    model: Model
    slopes: Tensor

    def __init__(
        self, model: Model, log_density: Callable[[Tensor], Tensor], budget: Budget, *, mix: float, fading: bool
    ) -> None:
        super().__init__(model, log_density, budget, drawn=PATHS, mix=mix, fading=fading)
        assert isinstance(model, Denoising)
        self.register_buffer("slopes", torch.zeros_like(self.ends))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        model, n = self.model, len(batch)
        assert isinstance(model, Denoising)
        self._spend()
        if int(self.taken) % REFRESHED == 0:
            self._refresh(batch)
        self.taken += 1
        drawn = self._mixed(batch.x)
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
        self.slopes.copy_(target)
        self._take(x.detach(), value.detach().double() - log_q)
