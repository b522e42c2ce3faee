"""Drifting models: one pass from noise, no critic; samples move where data attracts them and other samples repel them.

Deng et al., 2026, arXiv 2602.04770. The loss |x - sg(x + V(x))|² moves the generator along the drift V of
`maths.drift`, in the space of events themselves. Narrow kernels see only what is near, wide ones blur: the temperature
falls from a wide kernel to a narrow one while the first items are seen.
"""

from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from pofx.core.errors import Unsupported
from pofx.core.event import Bounded, Continuous, Discrete, Event
from pofx.core.model import Batch, Phase
from pofx.core.options import Depth, OneOf, Positive, Range, Width
from pofx.families.gan.inversion import KINDS, Steps
from pofx.families.gan.one_pass import OnePass
from pofx.families.gan.players import Build, Generator
from pofx.maths.drift import drift

ARCHITECTURES = ("residual", "mlp")


class Drifting(OnePass):
    """Samples drift to data in one pass: no critic, no density.

    Args:
        architecture: network for grids; vectors get perceptrons whatever it is.
        latent: dimensions of the noise.
        width: channels of the network for grids.
        units: of each layer of perceptrons.
        blocks: residual blocks per resolution, or hidden layers less two.
        wide: temperature of the kernel at the start, in distance per root of the dimensions.
        narrow: temperature at the end.
        anneal_items: items in which the one becomes the other.
        inversion: how items get codes: a learned encoder, or optimisation from the middle of the noise.
        inversion_steps: steps of optimisation per item, after the encoder where there is one; None is 0 with an
            encoder and 100 without.
    """

    name, source = "drifting", "Deng et al., 2026, arXiv 2602.04770"
    events = (Bounded, Continuous)
    conditions = (Discrete,)
    adjustable = ("inversion_steps",)
    small: ClassVar[dict[str, Any]] = {"latent": 4, "width": 32, "units": 64, "anneal_items": 4000}
    trains_with: ClassVar[dict[str, Any]] = {"batch_size": 256, "lr": 1e-3, "betas": [0.9, 0.99], "precision": "auto"}
    seen: Tensor

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        architecture: Annotated[str, OneOf(*ARCHITECTURES)] = "residual",
        latent: Width = 32,
        width: Width = 64,
        units: Width = 128,
        blocks: Depth = 1,
        wide: Positive = 0.5,
        narrow: Positive = 0.05,
        anneal_items: Annotated[int, Range(0, 1_000_000_000)] = 150_000,
        inversion: Annotated[str, OneOf(*KINDS)] = "encoder",
        inversion_steps: Steps | None = None,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous)
        if condition is not None and not (isinstance(condition, Discrete) and condition.shape == ()):
            raise Unsupported("drifting compares items of one class: give one class per item as its condition")
        self.architecture, self.latent, self.width, self.units, self.blocks = architecture, latent, width, units, blocks
        self.wide, self.narrow, self.anneal_items = wide, narrow, anneal_items
        self.generator = Generator(event, condition, Build(architecture, latent, width, units, blocks))
        self.give_codes(inversion, inversion_steps, latent, width if len(event.shape) == 3 else units)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.latest = {}

    @property
    def temperature(self) -> float:
        """The present temperature: from wide to narrow, geometrically in the items seen."""
        share = min(float(self.seen) / self.anneal_items, 1.0) if self.anneal_items else 1.0
        return float(self.wide * (self.narrow / self.wide) ** share)

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("generator", tuple(self.generator.parameters()), self.drift_loss), *self.inversion_phases())

    def drift_loss(self, batch: Batch) -> Float[Tensor, ""]:
        """The squared drift of samples, a mean over dimensions."""
        n = len(batch)
        z = torch.randn(n, self.generator.inputs, device=batch.x.device)
        x = self.generator(z, batch.condition)
        with torch.no_grad():
            same = None
            if batch.condition is not None:
                equal = batch.condition[:, None] == batch.condition[None]
                same = torch.cat((equal, equal), 1)
            flat = x.float().flatten(1)
            v = drift(flat, batch.x.float().flatten(1), self.temperature, same).reshape(x.shape)
            self.latest = {"drift": v.square().mean().sqrt(), "temperature": torch.tensor(self.temperature)}
            goal = x + v
            if self.training:
                self.seen += n
        return (x - goal).square().mean()
