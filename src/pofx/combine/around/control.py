"""A branch beside a frozen denoiser that learns to follow a condition which the run was trained without.

After ControlNet (Zhang, Rao and Agrawala, 2023, arXiv 2302.05543): the trained network is never changed, and the branch
starts at zero, so that training starts from the run as it is. The branch sees x_t, the estimate of the run, and the
condition at every place (a sketch, a small or a grey picture) or as a vector (a label, a text, a row); what it gives is
added to the velocity of the run, so that any denoiser can be controlled, whatever its network.
"""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.combine.around.denoiser import WALKED, WALKS, Beside, Steps, drawn_times, fixed_times, wide
from pofx.core.companion import Foundation
from pofx.core.event import Condition, Continuous, Discrete, Event, dims
from pofx.core.model import Batch, OnePhase
from pofx.core.options import Depth, NonNegative, OneOf, Range, Real, Unit
from pofx.families.diffusion.diffusion import GRID, SPACINGS
from pofx.nets.attention.dit import DiT
from pofx.nets.image.unet import UNet
from pofx.nets.vector.conditioner import CONDITIONS, Conditioner
from pofx.nets.vector.mlp import ResidualMLP
from pofx.nets.vector.time import TimeEmbedding

CONTEXT = 128
NETWORKS = ("auto", "mlp", "unet", "dit")


class Branch(nn.Module):
    """x, what the run makes of it, and the condition, all of unit size → a change of the velocity; zero at first."""

    def __init__(self, event: Continuous, condition: Event | None, network: str, width: int, depth: int) -> None:
        super().__init__()
        shape, count = event.shape, dims(event)
        self.event, self.condition, self.network = event, condition, network
        grid = isinstance(condition, Continuous | Discrete) and len(condition.shape) == 3
        self.grid = grid and len(shape) == 3
        self.time = TimeEmbedding(CONTEXT)
        self.conditioner = Conditioner(None if self.grid else condition, CONTEXT)
        seen = condition.shape if self.grid and isinstance(condition, Continuous | Discrete) else (0,)
        self.net: nn.Module
        if network == "mlp":
            inputs = 2 * count + (dims(condition) if self.grid and condition is not None else 0)
            self.net = ResidualMLP(inputs, count, width, depth, context=CONTEXT, zero=True)
        else:
            channels = (2 * shape[0] + seen[0], *shape[1:])
            patch = max(1, -(-max(shape[1:]) // 7))
            self.net = (
                UNet(channels, shape[0], CONTEXT, width=width, blocks=depth)
                if network == "unet"
                else DiT(channels, shape[0], CONTEXT, width=width, layers=depth, patch=patch)
            )

    def forward(self, x: Tensor, data: Tensor, phi: Tensor, condition: Condition | None) -> Tensor:
        context, parts = self.time(phi * (2 / torch.pi)), [x, data]
        if self.grid:
            parts.append(self._placed(condition, x))
        elif condition is not None:
            context = context + self.conditioner(condition)
        if self.network == "mlp":
            flat = torch.cat([p.flatten(1) for p in parts], 1)
            return self.net(flat, F.silu(context)).reshape(x.shape)  # type: ignore[no-any-return]
        return self.net(torch.cat(parts, 1), context)  # type: ignore[no-any-return]

    def _placed(self, condition: Condition | None, x: Tensor) -> Tensor:
        """The grid of the condition at the places of the event."""
        assert isinstance(condition, Tensor)
        seen = condition.float()
        if isinstance(self.condition, Discrete):
            seen = seen * (2.0 / max(self.condition.largest - 1, 1)) - 1.0
        if self.network == "mlp" or seen.shape[2:] == x.shape[2:]:
            return seen
        return F.interpolate(seen, size=x.shape[2:], mode="bilinear", align_corners=False)


class Control(OnePhase, Beside):
    """A condition for a trained run, by a branch beside it.

    Args:
        run: a denoiser, which stays as it is; one trained with another condition is used without it.
        guidance: factor of what the branch adds; 0 is the run alone.
        network: of the branch: "mlp", "unet", "dit" or "auto", as in `flow-matching`.
        width: of the network; 0 takes 32 channels (unet), 128 features (dit) or 512 units (mlp).
        depth: residual blocks, or layers.
        sampler: of the walk; "auto" is that of the run.
        sampler_steps: of the walk; 0 takes those of the run.
        spacing: of the times of the walk; "auto" is that of the run.
        eta: random share of "ddim".
        churn: noise that "heun" adds.
    """

    name: ClassVar[str] = "control"
    source: ClassVar[str] = "Zhang, Rao and Agrawala, 2023, arXiv 2302.05543"
    conditions: ClassVar = CONDITIONS
    adjustable: ClassVar = ("guidance", *WALKED)
    trains_with: ClassVar = {"ema_images": 50_000, "validations": 8, "validation_items": 500}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        run: Foundation | None = None,
        guidance: Annotated[Real, Range(-100, 100)] = 1.0,
        network: Annotated[str, OneOf(*NETWORKS)] = "auto",
        width: Annotated[int, Range(0, 8192)] = 0,
        depth: Depth = 2,
        sampler: Annotated[str, OneOf(*WALKS)] = "auto",
        sampler_steps: Steps = 0,
        spacing: Annotated[str, OneOf("auto", *SPACINGS)] = "auto",
        eta: Unit = 0.0,
        churn: NonNegative = 0.0,
    ) -> None:
        super().__init__(
            event, condition, run, sampler=sampler, sampler_steps=sampler_steps, spacing=spacing, eta=eta, churn=churn
        )
        assert isinstance(event, Continuous)
        rank, count = len(event.shape), dims(event)
        taken = network
        if network == "auto":
            taken = "unet" if rank > 1 and count >= GRID and min(event.shape[1:]) > 1 else "mlp"
        self.guidance, self.network, self.width, self.depth = guidance, network, width, depth
        self.branch = Branch(event, condition, taken, width or {"unet": 32, "dit": 128, "mlp": 512}[taken], depth)
        self.measured()

    def matrices(self) -> Iterable[nn.Parameter]:
        return self.branch.net.matrices if isinstance(self.branch.net, DiT) else ()

    def change(self, x_t: Tensor, plain: Tensor, t: Tensor, condition: Condition | None) -> tuple[Tensor, Tensor]:
        """What the branch adds to the velocity, of unit size, and the sine of the angle."""
        x, phi = self.unit(x_t, t)
        data = (plain - self.center) / self.spread
        return self.branch(x, data, phi, condition), wide(phi.sin(), x_t)

    def denoise(self, x_t: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        """E[x | x_t, condition]; without a condition that of the run: (n, *event)."""
        plain = self.plain(x_t, t, condition)
        if condition is None and self.condition is not None:
            return plain
        added, sin = self.change(x_t, plain, t, condition)
        return plain - float(self.guidance) * sin * self.spread * added

    def loss(self, batch: Batch) -> Tensor:
        """The squared error of the velocity of unit variance."""
        noise = torch.randn_like(batch.x, dtype=torch.float32)
        return self._loss(batch, drawn_times(noise), noise)

    def validation(self, batch: Batch) -> Tensor:
        """The loss at fixed times and noises."""
        return self._loss(batch, *fixed_times(batch.x))

    def _loss(self, batch: Batch, t: Tensor, noise: Tensor) -> Tensor:
        x = batch.x.float()
        x_t = self.noised(x, t, noise)
        with torch.no_grad():
            plain = self.plain(x_t, t, batch.condition)
        added, sin = self.change(x_t, plain, t, batch.condition)
        wanted = (plain - x) / (sin * self.spread)  # the error of the run's velocity
        return (added.float() - wanted).square().mean()
