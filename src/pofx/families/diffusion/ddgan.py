"""Denoising diffusion GAN: few large steps from noise to data, each drawn by a generator against a critic.

Xiao, Kreis and Vahdat, 2022, arXiv 2112.07804. Over a large step p(x_s | x_t) has many modes, which no Gaussian has: a
generator draws the data given x_t and a code of its own, x_s follows from q(x_s | x_t, data), and a critic compares
pairs (x_s, x_t) at each t with those of the noised data. Losses and penalties are those of `maths.adversarial`.
"""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pofx.core.event import Bounded, Condition, Continuous, Event, concatenated, dims
from pofx.core.model import Batch, Model, Phase
from pofx.core.options import Depth, Dropout, NonNegative, OneOf, Positive, Range, Width
from pofx.core.random import Streams
from pofx.families.diffusion.denoiser import CONTEXT, Context, Denoiser, steered
from pofx.maths import adversarial
from pofx.maths.paths import PATHS, angle
from pofx.nets.image.grid_input import GridCondition, GridInput, grid_condition_of
from pofx.nets.image.steered_features import SteeredFeatures
from pofx.nets.vector.conditioner import CONDITIONS, Conditioner
from pofx.nets.vector.fourier import waves
from pofx.nets.vector.mlp import MLP
from pofx.nets.vector.time import TimeEmbedding

FEW, GRID, OCTAVES = 3, 256, 3  # numbers of an event, and waves of few, as in `diffusion`


class Judge(nn.Module):
    """D(x, t, condition): `parts` standardised noisy items side by side → logits (n,), the condition by projection, but
    for grids that are concatenated."""

    def __init__(
        self,
        event: Continuous,
        condition: Event | None,
        network: str,
        width: int,
        blocks: int,
        parts: int = 2,
        grid_condition: str = "embed",
    ) -> None:
        super().__init__()
        self.octaves = OCTAVES if dims(event) <= FEW else 0
        self.grids = GridInput(event, condition) if grid_condition == "concatenate" else None
        self.time = TimeEmbedding(CONTEXT)
        self.embed = Conditioner(condition if self.grids is None else self.grids.rest, width)
        self.net: nn.Module
        beside = 0 if self.grids is None else self.grids.channels
        if network == "mlp":
            inputs = parts * dims(event) * (1 + 2 * self.octaves) + beside * math.prod(event.shape[1:])
            self.net = MLP(inputs, width, (width,) * (blocks + 1), context=CONTEXT)
        else:
            shape = (parts * event.shape[0] + beside, *event.shape[1:])
            self.net = SteeredFeatures(shape, width, CONTEXT, width=width)
        self.score = nn.Linear(width, 1, bias=False)
        self.embed.silence()

    def forward(
        self,
        x: Float[Tensor, "n *parts"],
        t: Float[Tensor, "n"],
        condition: Condition | None = None,
    ) -> Float[Tensor, "n"]:
        if isinstance(self.net, MLP):
            x = waves(x.flatten(1), self.octaves).flatten(1)
        if self.grids is not None and condition is not None:
            grid = self.grids(condition).to(x.dtype)
            x = torch.cat((x, grid.flatten(1) if x.ndim == 2 else grid), 1)
            condition = self.grids.beside(condition)
        phi = self.net(x, self.time(t))
        phi = nn.functional.leaky_relu(phi, 0.2)
        logit: Tensor = self.score(phi)[:, 0].float()
        embedded = self.embed(condition)
        return logit if embedded is None else logit + (embedded * phi).float().sum(1)


class DenoisingGAN(Model):
    """Few denoising steps, each drawn by a GAN: no density.

    Args:
        denoising_steps: steps from noise to data, at even times of the noise rate that rises linearly.
        network: of the generator and the critic: "mlp", "unet", or "auto", unet for grids of 256 numbers and more.
        width: of the generator; 0 takes 64 channels (unet) or 256 units (mlp).
        depth: residual blocks of the generator, at each resolution of the U-Net.
        critic_width: channels or units of the critic; 0 takes the generator's.
        latent: numbers of the code that each step draws.
        dropout: share of hidden channels dropped in training (unet).
        loss: a name of `maths.adversarial.LOSSES`.
        penalty: of the critic: its squared slope in x_s, of the data (r1), of both sides (r1+r2), or none.
        gamma: weight of the penalty, half of which counts.
        every: steps between penalties, which count as many times.
        critic_rate: factor on the critic's learning rate.
        grid_condition: how grids in the condition enter both networks: "concatenate" or "embed", as in `flow-matching`;
            None is chosen by their sides, and saved as chosen.
    """

    name: ClassVar[str] = "ddgan"
    source: ClassVar[str] = "Xiao et al., 2022, arXiv 2112.07804"
    events: ClassVar = (Bounded, Continuous)
    ranks: ClassVar = (1, 2, 3, 4)
    conditions: ClassVar = CONDITIONS
    trains_with: ClassVar = {
        "batch_size": 64, "lr": 1e-3, "betas": [0.0, 0.99], "clip": 0.0, "precision": "auto", "ema_images": 20_000,
    }  # fmt: skip
    small: ClassVar = {"network": "mlp", "width": 64, "every": 1}
    unstated: ClassVar = {"grid_condition": "embed"}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        denoising_steps: Annotated[int, Range(1, 1000)] = 4,
        network: Annotated[str, OneOf("auto", "mlp", "unet")] = "auto",
        width: Annotated[int, Range(0, 8192)] = 0,
        depth: Depth = 2,
        critic_width: Annotated[int, Range(0, 8192)] = 0,
        latent: Width = 32,
        dropout: Dropout = 0.0,
        loss: Annotated[str, OneOf.keys(adversarial.LOSSES)] = "relativistic",
        penalty: Annotated[str, OneOf("none", "r1", "r1+r2")] = "r1+r2",
        gamma: NonNegative = 0.02,
        every: Depth = 4,
        critic_rate: Positive = 1.0,
        grid_condition: GridCondition | None = None,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous)
        taken, grid = network, len(event.shape) > 1 and dims(event) >= GRID and min(event.shape[1:]) > 1
        if network == "auto":
            taken = "unet" if grid else "mlp"
        self.denoising_steps, self.network, self.width, self.depth = denoising_steps, network, width, depth
        self.critic_width, self.latent, self.dropout = critic_width, latent, dropout
        self.loss, self.penalty, self.gamma, self.every, self.critic_rate = loss, penalty, gamma, every, critic_rate
        self.duel, self.shape = adversarial.LOSSES[loss], event.shape
        self.grid_condition = grid_condition_of(grid_condition, event, condition)
        size = width or {"unet": 64, "mlp": 256}[taken]
        self.critic = Judge(event, condition, taken, critic_width or size, depth, grid_condition=self.grid_condition)
        self.denoiser = Denoiser(
            event,
            condition,
            network=taken,
            width=size,
            depth=depth,
            dropout=dropout,
            octaves=self.critic.octaves,
            grid_condition=self.grid_condition,
        )
        self.denoiser.conditioner.null = None  # every step has its condition
        self.mapping = MLP(latent, CONTEXT, (CONTEXT, CONTEXT))
        self.latest: dict[str, Tensor] = {}

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Measure the mean and standard deviation of the data along its first axis."""
        batch = take(10_000)
        self.denoiser.measure(batch)
        if self.critic.grids is not None:
            self.critic.grids.measure(batch.condition)

    def phases(self) -> tuple[Phase, ...]:
        generator = (*self.denoiser.parameters(), *self.mapping.parameters())
        critic, rate = tuple(self.critic.parameters()), self.critic_rate
        found = [
            Phase("generator", generator, self.generator_loss),
            Phase("critic", critic, self.critic_loss, rate=rate),
        ]
        if self.penalty != "none":
            found.append(Phase("regulariser", critic, self.regulariser_loss, every=self.every, rate=rate))
        return tuple(found)

    # the process

    def levels(self, k: Int[Tensor, "n"]) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        """alpha and sigma after k of `denoising_steps` steps of noising: 1 and 0 at k = 0."""
        point = PATHS["vp-linear"](k.float() / self.denoising_steps)
        return point.alpha, point.sigma

    def guessed(
        self,
        far: Float[Tensor, "n *event"],
        k: Int[Tensor, "n"],
        z: Float[Tensor, "n latent"],
        context: Context | None,
    ) -> Float[Tensor, "n *event"]:
        """Standardised data that a generator draws given x_t after k steps, and the code z."""
        phi, code = angle(PATHS["vp-linear"](k.float() / self.denoising_steps)), self.mapping(z)
        wide = (-1, *[1] * len(self.shape))
        out = self.denoiser.velocity(far, phi, steered(context, code))
        return (phi.cos().reshape(wide) * far - phi.sin().reshape(wide) * out).float()

    def nearer(
        self,
        far: Float[Tensor, "n *event"],
        data: Float[Tensor, "n *event"],
        k: Int[Tensor, "n"],
        noise: Float[Tensor, "n *event"],
    ) -> Float[Tensor, "n *event"]:
        """A draw from q(x_s | x_t, data), one step nearer to the data (Ho et al., 2020, arXiv 2006.11239, eq. 7)."""
        wide = (-1, *[1] * len(self.shape))
        (alpha, sigma), (before, less) = self.levels(k), self.levels(k - 1)
        ratio = alpha / before
        added = sigma**2 - (ratio * less) ** 2
        keep, mix, random = ratio * less**2 / sigma**2, before * added / sigma**2, added.sqrt() * less / sigma
        return keep.reshape(wide) * far + mix.reshape(wide) * data + random.reshape(wide) * noise

    def _real(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Pairs (x_s, x_t) of noised data, and after how many steps t is, even over the batch."""
        x, n, device = self.denoiser.standardised(batch.x.float()), len(batch), batch.x.device
        u = (torch.randperm(n, device=device) + torch.rand(n, device=device)) / n
        k = 1 + (u * self.denoising_steps).long().clamp(max=self.denoising_steps - 1)
        wide = (-1, *[1] * len(self.shape))
        (alpha, sigma), (before, less) = self.levels(k), self.levels(k - 1)
        near = before.reshape(wide) * x + less.reshape(wide) * torch.randn_like(x)
        ratio = alpha / before
        added = (sigma**2 - (ratio * less) ** 2).sqrt()
        return near, ratio.reshape(wide) * near + added.reshape(wide) * torch.randn_like(x), k

    def _drawn(self, batch: Batch, far: Tensor, k: Tensor) -> Tensor:
        """A generated x_s for each x_t."""
        z = torch.randn(len(far), self.latent, dtype=torch.float32, device=far.device)
        data = self.guessed(far, k, z, self.denoiser.embed(batch.condition))
        return self.nearer(far, data, k, torch.randn_like(far))

    # losses

    def _logits(self, near: Tensor, far: Tensor, k: Tensor, condition: Condition | None) -> Tensor:
        logits: Tensor = self.critic(torch.cat((near, far), 1), k.float() / self.denoising_steps, condition)
        return logits

    def generator_loss(self, batch: Batch) -> dict[str, Tensor]:
        near, far, k = self._real(batch)
        fake = self._logits(self._drawn(batch, far, k), far, k, batch.condition)
        real = fake.detach()
        if self.duel.paired:
            with torch.no_grad():
                real = self._logits(near, far, k, batch.condition)
        return {"generator": self.duel.generator(real, fake)}

    def critic_loss(self, batch: Batch) -> dict[str, Tensor]:
        near, far, k = self._real(batch)
        with torch.no_grad():
            drawn = self._drawn(batch, far, k)
        c = batch.condition
        twice = None if c is None else concatenated((c, c))
        real, fake = self._logits(
            torch.cat((near, drawn)), far.repeat(2, *[1] * (far.ndim - 1)), k.repeat(2), twice
        ).chunk(2)
        if self.training:
            accuracy = (real.detach() > fake.detach()).float().mean()
            before = self.latest.get("critic accuracy", accuracy)
            self.latest = {"D(real)": real.detach().mean(), "D(fake)": fake.detach().mean()}
            self.latest["critic accuracy"] = before.lerp(accuracy, 0.02)
        return {"critic": self.duel.critic(real, fake)}

    def regulariser_loss(self, batch: Batch) -> dict[str, Tensor]:
        """every · γ/2 · the squared slope of the critic in x_s."""
        near, far, k = self._real(batch)

        def critic(x: Tensor) -> Tensor:
            return self._logits(x, far, k, batch.condition)

        weight = self.every * self.gamma / 2
        parts = {"r1": weight * adversarial.squared_gradient(critic, near)}
        if self.penalty == "r1+r2":
            with torch.no_grad():
                drawn = self._drawn(batch, far, k)
            parts["r2"] = weight * adversarial.squared_gradient(critic, drawn)
        return parts

    def telemetry(self) -> Mapping[str, Tensor]:
        return self.latest

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Float[Tensor, "{n} *event"]:
        """n events in `denoising_steps` steps, from noise of `generator` alone: float32 (n, *event.shape)."""
        self.check_condition(n, condition)
        context, x = self.denoiser.embed(condition), generator.normal(*self.shape)
        for step in range(self.denoising_steps, 0, -1):
            k = torch.full((n,), step, device=x.device)
            data = self.guessed(x, k, generator.normal(self.latent), context)
            x = self.nearer(x, data, k, generator.normal(*self.shape))
        x = self.denoiser.restored(x)
        return x.clamp(-1, 1) if isinstance(self.event, Bounded) else x
