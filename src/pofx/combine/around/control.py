"""A branch beside a frozen denoiser that learns to follow a condition which the run was trained without.

After ControlNet (Zhang, Rao and Agrawala, 2023, arXiv 2302.05543): the trained network is never changed, and the branch
starts at zero, so that training starts from the run as it is. The small branch sees x_t, the estimate of the run, and
the condition at every place (a sketch, a small or a grey picture) or as a vector (a label, a text, a row); what it
gives is added to the velocity of the run, so that any denoiser can be controlled, whatever its network. The branch
"encoder" is the copy of a U-Net's contracting path that the paper has (`encoder_branch`).
"""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.combine.around.denoiser import WALKED, WALKS, Beside, Steps, drawn_times, fixed_times, wide
from pofx.combine.around.encoder_branch import EncoderBranch, copied_denoiser
from pofx.core.companion import Foundation
from pofx.core.event import Condition, Continuous, Event, dims
from pofx.core.model import Batch, OnePhase
from pofx.core.options import Depth, NonNegative, OneOf, Positive, Range, Real, Unit
from pofx.families.diffusion.diffusion import GRID, SPACINGS, THRESHOLDS, Diffusion
from pofx.maths.paths import PATHS
from pofx.nets.attention.dit import DiT
from pofx.nets.image.placed import placed
from pofx.nets.image.unet import UNet
from pofx.nets.vector.conditioner import CONDITIONS, Conditioner
from pofx.nets.vector.mlp import ResidualMLP
from pofx.nets.vector.time import TimeEmbedding

CONTEXT = 128
NETWORKS = ("auto", "mlp", "unet", "dit")
FORMS = ("small", "encoder")


class Branch(nn.Module):
    """x, what the run makes of it, and the condition, all of unit size → a change of the velocity; zero at first."""

    def __init__(self, event: Continuous, condition: Event | None, network: str, width: int, depth: int) -> None:
        super().__init__()
        shape, count = event.shape, dims(event)
        self.event, self.condition, self.network = event, condition, network
        self.placed = placed(condition) if len(shape) == 3 else None
        self.time = TimeEmbedding(CONTEXT)
        self.conditioner = Conditioner(condition if self.placed is None else self.placed.rest, CONTEXT)
        seen = (0,) if self.placed is None else self.placed.event.shape
        self.net: nn.Module
        if network == "mlp":
            inputs = 2 * count + (0 if self.placed is None else dims(self.placed.event))
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
        beside = condition
        if self.placed is not None:
            assert condition is not None
            parts.append(self.placed.grid(condition, None if self.network == "mlp" else tuple(x.shape[2:])))
            beside = self.placed.beside(condition)
        if beside is not None:
            context = context + self.conditioner(beside)
        if self.network == "mlp":
            flat = torch.cat([p.flatten(1) for p in parts], 1)
            return self.net(flat, F.silu(context)).reshape(x.shape)  # type: ignore[no-any-return]
        return self.net(torch.cat(parts, 1), context)  # type: ignore[no-any-return]


class Control(OnePhase, Beside):
    """A condition for a trained run, by a branch beside it.

    Args:
        run: a denoiser, which stays as it is; one trained with another condition is used without it.
        guidance: factor of what the branch adds; 0 is the run alone.
        form: of the branch: "small", a network of its own beside any run, or "encoder", a copy of the contracting path
            of the run's U-Net with maps that start at zero.
        network: of the small branch: "mlp", "unet", "dit" or "auto", as in `flow-matching`.
        width: of its network; 0 takes 32 channels (unet), 128 features (dit) or 512 units (mlp).
        depth: its residual blocks, or layers.
        sampler: of the walk; "auto" is that of the run.
        sampler_steps: of the walk; 0 takes those of the run.
        spacing: of the times of the walk; "auto" is that of the run.
        eta: random share of "ddim".
        churn: noise that "heun" adds.
        tolerance: of the steps of "adaptive", per number.
        threshold: estimates of bounded events are cut off at 1 ("static"), or scaled to it ("dynamic").
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
        form: Annotated[str, OneOf(*FORMS)] = "small",
        network: Annotated[str, OneOf(*NETWORKS)] = "auto",
        width: Annotated[int, Range(0, 8192)] = 0,
        depth: Depth = 2,
        sampler: Annotated[str, OneOf(*WALKS)] = "auto",
        sampler_steps: Steps = 0,
        spacing: Annotated[str, OneOf("auto", *SPACINGS)] = "auto",
        eta: Unit = 0.0,
        churn: NonNegative = 0.0,
        tolerance: Positive = 1e-3,
        threshold: Annotated[str, OneOf(*THRESHOLDS)] = "static",
    ) -> None:
        super().__init__(
            event, condition, run, sampler=sampler, sampler_steps=sampler_steps, spacing=spacing, eta=eta, churn=churn,
            tolerance=tolerance, threshold=threshold,
        )  # fmt: skip
        assert isinstance(event, Continuous)
        rank, count = len(event.shape), dims(event)
        taken = network
        if network == "auto":
            taken = "unet" if rank > 1 and count >= GRID and min(event.shape[1:]) > 1 else "mlp"
        self.guidance, self.network, self.width, self.depth = guidance, network, width, depth
        size = width or {"unet": 32, "dit": 128, "mlp": 512}[taken]
        self.form = form
        self.branch: Branch | EncoderBranch = (
            EncoderBranch(self.base, condition) if form == "encoder" else Branch(event, condition, taken, size, depth)
        )
        self.measured()

    def matrices(self) -> Iterable[nn.Parameter]:
        return self.branch.net.matrices if isinstance(self.branch.net, DiT | UNet) else ()

    def change(self, x_t: Tensor, plain: Tensor, t: Tensor, condition: Condition | None) -> tuple[Tensor, Tensor]:
        """What the branch adds to the velocity, of unit size, and the sine of the angle."""
        x, phi = self.unit(x_t, t)
        if isinstance(self.branch, EncoderBranch):
            sin = wide(phi.sin(), x_t)
            return (plain - self._copied(x_t, t, condition, 1.0)) / (sin * self.spread), sin
        data = (plain - self.center) / self.spread
        return self.branch(x, data, phi, condition), wide(phi.sin(), x_t)

    def _copied(self, x_t: Tensor, t: Tensor, condition: Condition | None, guidance: float) -> Tensor:
        """The estimate of the run whose expanding path receives what the copy of its contracting path gives."""
        branch, (denoiser, _) = self.branch, copied_denoiser(self.base)
        assert isinstance(branch, EncoderBranch) and isinstance(self.base, Diffusion)

        def added(seen: Tensor, context: Tensor) -> list[Tensor]:
            parts = branch(seen, context, condition)
            return parts if guidance == 1.0 else [guidance * part for part in parts]

        same = self.base.condition is not None and self.base.condition == self.condition
        context = denoiser.embed(condition) if same else denoiser.free(len(x_t))
        found: Tensor = denoiser(x_t, t, PATHS[self.base.path], context, added)
        return found

    def denoise(self, x_t: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        """E[x | x_t, condition]; without a condition that of the run: (n, *event)."""
        plain = self.plain(x_t, t, condition)
        if condition is None and self.condition is not None:
            return plain
        if isinstance(self.branch, EncoderBranch):
            return self._copied(x_t, t, condition, float(self.guidance))
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
