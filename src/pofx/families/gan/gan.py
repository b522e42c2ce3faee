"""Generative adversarial network: a critic learns to tell data from samples, a generator learns to make it fail.

Goodfellow et al., 2014 (arXiv 1406.2661), in the form R3GAN of Huang et al., 2024 (arXiv 2501.05441): the loss compares
pairs of a data item and a sample (Jolicoeur-Martineau, 2018, arXiv 1807.00734), and the squared gradient of the critic
is penalised on both (R1 and R2; Mescheder et al., 2018, arXiv 1801.04406), which makes training converge locally. The
penalty is lazy (every few steps, times as much; Karras et al., 2020, arXiv 1912.04958). A condition enters the critic
by projection (Miyato and Koyama, 2018, arXiv 1802.05637).
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, softplus

from pofx.core.event import Bounded, Condition, Continuous, Event, concatenated, dims
from pofx.core.model import Batch, Model, Phase
from pofx.core.options import Depth, NonNegative, Width
from pofx.core.random import Streams
from pofx.nets.image.synthesis import SLOPE, ImageFeatures, Synthesis
from pofx.nets.vector.conditioner import CONDITIONS, Conditioner
from pofx.nets.vector.mlp import MLP


def gradient_penalty(critic: Callable[[Tensor], Tensor], x: Float[Tensor, "n *event"]) -> Float[Tensor, ""]:
    """Mean over items of |∂D(x)/∂x|², differentiable in the critic's parameters: x (n, …) → scalar."""
    x = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return slope.float().square().flatten(1).sum(1).mean()


class Generator(nn.Module):
    """Noise (n, inputs) → events; linear at the end, for a tanh dies where most of the data lies at a bound."""

    def __init__(self, event: Continuous, condition: Event | None, latent: int, width: int, blocks: int) -> None:
        super().__init__()
        self.conditioner = Conditioner(condition, latent)
        context = self.conditioner.width
        self.net: Synthesis | MLP
        if len(event.shape) == 3:
            self.net = Synthesis(event.shape, latent, width, blocks, context=context)
            self.inputs = self.net.inputs
        else:
            self.inputs = min(latent, 2 * dims(event))  # more noise than that only slows small events down
            self.net = MLP(self.inputs, dims(event), (width,) * (blocks + 2), context=context)

    def forward(self, z: Float[Tensor, "n inputs"], condition: Condition | None = None) -> Float[Tensor, "n *event"]:
        """z (n, inputs), condition (n, …) → (n, *event.shape), float32."""
        x: Tensor = self.net(z, self.conditioner(condition))
        return x.float()


class Critic(nn.Module):
    """D(x | y) = ψ·φ(x) + ⟨e(y), φ(x)⟩; each logit depends on its own item only."""

    def __init__(self, event: Continuous, condition: Event | None, width: int, blocks: int) -> None:
        super().__init__()
        spatial = len(event.shape) == 3
        self.features = (
            ImageFeatures(event.shape, width, blocks) if spatial else MLP(dims(event), width, (width,) * (blocks + 1))
        )
        self.score = nn.Linear(width, 1, bias=False)  # a bias would cancel in the pairs
        self.embed = Conditioner(condition, width)
        for p in self.embed.parameters():
            nn.init.zeros_(p)

    def forward(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        """x (n, *event.shape), condition (n, …) → logits (n,), float32."""
        phi = leaky_relu(self.features(x), SLOPE)
        logit = self.score(phi)[:, 0].float()
        embedded = self.embed(condition)
        return logit if embedded is None else logit + (embedded * phi).float().sum(1)


class GAN(Model):
    """GAN with the relativistic pairing loss and gradient penalties: one-step sampling, no density.

    latent: dimensions of z ~ N(0, I), beside one per pixel and resolution for events (C, H, W); width: channels at 8×8
    and below, or units of the nets for vectors; blocks: residual blocks per resolution, or hidden layers less two;
    gamma: weight of the gradient penalties (None: 1 for events (C, H, W), 0.1 for vectors); every: steps between them.
    """

    name = "gan"
    source = "Huang et al., 2024, arXiv 2501.05441"
    events = (Bounded, Continuous)
    conditions = CONDITIONS
    small: ClassVar[dict[str, Any]] = {"latent": 4, "width": 32, "every": 1}
    trains_with: ClassVar[dict[str, Any]] = {
        "batch_size": 64,
        "lr": 1e-3,
        "betas": [0.0, 0.99],
        "clip": 0.0,
        "precision": "auto",
    }

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        latent: Width = 64,
        width: Width = 64,
        blocks: Depth = 1,
        gamma: NonNegative | None = None,
        every: Depth = 8,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous)
        self.latent, self.width, self.blocks = latent, width, blocks
        self.gamma, self.every = gamma, every
        self.penalty = gamma if gamma is not None else (1.0 if len(event.shape) == 3 else 0.1)
        self.generator = Generator(event, condition, latent, width, blocks)
        self.critic = Critic(event, condition, width, blocks)

    def phases(self) -> tuple[Phase, ...]:
        generator, critic = tuple(self.generator.parameters()), tuple(self.critic.parameters())
        return (
            Phase("generator", generator, self.generator_loss),
            Phase("critic", critic, self.critic_loss),
            Phase("regulariser", critic, self.regulariser_loss, every=self.every),
        )

    def draw(self, batch: Batch) -> Float[Tensor, "n *event"]:
        """As many samples as the batch has items, under its condition."""
        z = torch.randn(len(batch), self.generator.inputs, device=batch.x.device)
        return self.generator(z, batch.condition)

    def generator_loss(self, batch: Batch) -> Float[Tensor, ""]:
        """E softplus(D(x) - D(G(z)))."""
        fake = self.critic(self.draw(batch), batch.condition)
        with torch.no_grad():
            real = self.critic(batch.x, batch.condition)
        return softplus(real - fake).mean()

    def critic_loss(self, batch: Batch) -> Float[Tensor, ""]:
        """E softplus(D(G(z)) - D(x))."""
        with torch.no_grad():
            fake = self.draw(batch)
        x = torch.cat((batch.x, fake))
        condition = None if batch.condition is None else concatenated((batch.condition, batch.condition))
        real, fake = self.critic(x, condition).chunk(2)
        return softplus(fake - real).mean()

    def regulariser_loss(self, batch: Batch) -> dict[str, Tensor]:
        """every · γ/2 · (R1 + R2): the penalty on data and on samples."""
        with torch.no_grad():
            fake = self.draw(batch)

        def critic(x: Tensor) -> Tensor:
            return self.critic(x, batch.condition)

        weight = self.every * self.penalty / 2
        return {
            "r1": weight * gradient_penalty(critic, batch.x),
            "r2": weight * gradient_penalty(critic, fake),
        }

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Float[Tensor, "{n} *event"]:
        """One pass, cut to the bounds of a bounded event: float32 (n, *event.shape)."""
        self.check_condition(n, condition)
        x: Tensor = self.generator(generator.normal(self.generator.inputs), condition)
        return x.clamp(-1, 1) if isinstance(self.event, Bounded) else x
