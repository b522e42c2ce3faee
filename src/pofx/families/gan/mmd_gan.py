"""MMD GAN: a kernel on learned features compares samples with data, all with all; the critic learns the features.

Li et al., 2017, arXiv 1705.08584; with rational quadratic kernels, no decoder and a penalty on the slope of the witness
function it is that of Bińkowski et al., 2018, arXiv 1801.01401 (equation 8).
"""

from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from pofx.core.event import Bounded, Condition, Continuous, Event
from pofx.core.model import Batch, Phase
from pofx.core.options import Depth, NonNegative, OneOf, Width
from pofx.families.gan.health import symptoms
from pofx.families.gan.inversion import KINDS, Steps
from pofx.families.gan.one_pass import OnePass
from pofx.families.gan.players import Build, Critic, Generator
from pofx.maths.adversarial import gradient_penalty
from pofx.maths.mmd import mmd_square, witness
from pofx.nets.vector.conditioner import CONDITIONS, Conditioner

ARCHITECTURES = ("residual", "transposed", "mlp")
MENDS = {
    "collapse": "Pass a larger batch_size, more features, or a larger gamma",
    "divergence": "Lower lr, or pass a larger gamma",
    "critic": "Pass fewer critic_steps, or a larger gamma",
}


class MMDGAN(OnePass):
    """GAN whose critic is a kernel on learned features.

    Args:
        architecture: networks for grids; vectors get perceptrons whatever it is.
        latent: dimensions of the noise.
        width: channels of the networks for grids.
        units: of each layer of perceptrons.
        blocks: residual blocks per resolution, or hidden layers less two.
        features: of the critic, on which the kernel acts.
        gamma: weight of the slope penalty on the witness function.
        critic_steps: steps of the critic for one of the generator.
        inversion: how items get codes: a learned encoder, or optimisation from the middle of the noise.
        inversion_steps: steps of optimisation per item, after the encoder where there is one; None is 0 with an
            encoder and 100 without.
    """

    name, source = "mmd-gan", "Li et al., 2017, arXiv 1705.08584"
    events = (Bounded, Continuous)
    conditions = CONDITIONS
    adjustable = ("inversion_steps",)
    small: ClassVar[dict[str, Any]] = {"latent": 4, "width": 32, "units": 32, "critic_steps": 1}
    trains_with: ClassVar[dict[str, Any]] = {"batch_size": 64, "lr": 5e-4, "betas": [0.5, 0.9], "clip": 0.0}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        architecture: Annotated[str, OneOf(*ARCHITECTURES)] = "residual",
        latent: Width = 64,
        width: Width = 64,
        units: Width = 128,
        blocks: Depth = 1,
        features: Width = 16,
        gamma: NonNegative = 1.0,
        critic_steps: Depth = 2,
        inversion: Annotated[str, OneOf(*KINDS)] = "encoder",
        inversion_steps: Steps | None = None,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous)
        self.architecture, self.latent, self.width, self.units, self.blocks = architecture, latent, width, units, blocks
        self.features, self.gamma, self.critic_steps = features, gamma, critic_steps
        build = Build(architecture, latent, width, units, blocks)
        self.generator = Generator(event, condition, build)
        body = Critic(event, None, build)
        self.critic = nn.ModuleDict({"body": body.features})
        hidden = body.score.in_features
        assert isinstance(hidden, int)
        self.critic["given"] = Conditioner(condition, hidden)
        self.critic["last"] = nn.Linear(hidden, features)
        self.give_codes(inversion, inversion_steps, latent, width if len(event.shape) == 3 else units)
        self.latest = {}

    def phases(self) -> tuple[Phase, ...]:
        generator, critic = tuple(self.generator.parameters()), tuple(self.critic.parameters())
        return (
            Phase("generator", generator, self.generator_loss, every=self.critic_steps),
            Phase("critic", critic, self.critic_loss),
            *self.inversion_phases(),
        )

    def phi(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n features"]:
        """The features of items, those of a condition added before the last layer."""
        grid = len(x.shape) == 4 and self.architecture != "mlp"
        h = self.critic["body"](x if grid else x.flatten(1))
        given = self.critic["given"](condition)
        z: Tensor = self.critic["last"](leaky_relu(h if given is None else h + given, 0.2))
        return z.float()

    def draw(self, batch: Batch) -> Float[Tensor, "n *event"]:
        """As many samples as the batch has items, under its condition."""
        z = torch.randn(len(batch), self.generator.inputs, device=batch.x.device)
        x: Tensor = self.generator(z, batch.condition)
        return x

    def generator_loss(self, batch: Batch) -> Float[Tensor, ""]:
        with torch.no_grad():
            real = self.phi(batch.x, batch.condition)
        return mmd_square(self.phi(self.draw(batch), batch.condition), real)

    def critic_loss(self, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            fake = self.draw(batch)
        real_phi, fake_phi = self.phi(batch.x, batch.condition), self.phi(fake, batch.condition)
        distance = mmd_square(fake_phi, real_phi)
        self.latest = {"MMD²": distance.detach()}
        parts = {"critic": -distance}
        if self.gamma:

            def slope(x: Tensor) -> Tensor:
                return witness(self.phi(x, batch.condition), real_phi, fake_phi)

            parts["gradient"] = self.gamma * gradient_penalty(slope, batch.x, fake)
        return parts

    def health(self, numbers: Any) -> dict[str, str]:
        return symptoms(numbers, MENDS)
