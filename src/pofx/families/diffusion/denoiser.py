"""The denoiser: one network that estimates the clean item, whatever the path that noises it.

For x_t = alpha x + sigma noise the network learns what no linear map of x_t gives of x and the noise: with both at
unit variance its input and its target have unit variance at every time (Karras et al., 2022, arXiv 2206.00364). In the
angle of the quarter circle (see `maths.paths`) its output F is the velocity of the probability flow,
d x / d angle = F(x, angle), and E[x | x_t] = cos · x - sin · F. With output "data" the network gives E[x | x_t]
itself and F follows, which is what large patches want (Li and He, 2025, arXiv 2511.13720). Items are standardised along
their first axis.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from pofx.core.event import Condition, Continuous, Event, dims
from pofx.core.model import Batch
from pofx.maths.paths import Path, angle
from pofx.nets.attention.dit import DiT
from pofx.nets.image.grid_input import GridInput
from pofx.nets.image.unet import UNet
from pofx.nets.vector.conditioner import Conditioner
from pofx.nets.vector.fourier import waves
from pofx.nets.vector.mlp import ResidualMLP
from pofx.nets.vector.time import TimeEmbedding

CONTEXT = 128  # features of time and condition
SMALL_GRID = 2048  # numbers up to which a narrower U-Net draws better items in the same minutes
OUTPUTS = ("velocity", "data")
LEAST_SINE = 0.05  # by which an error of the data is divided to give one of the velocity
BOTTLENECK = 4  # a patch of so many times more numbers than places have features is embedded through a bottleneck
Branch = Callable[[Tensor, Tensor], Sequence[Tensor]]  # what a U-Net sees, its context → what is added in it


def width_of(network: str, count: int, given: int | None) -> int:
    """The width of a network for events of `count` numbers: what is given; where that is None, 32 or 64 channels
    (unet; 32 up to 2,048 numbers), 128 features (dit) or 512 units (mlp; 256 up to 16 numbers, 128 up to 3).

    Runs from before there were 32 channels give 0 for 64.
    """
    if given:
        return given
    mlp = 128 if count <= 3 else 256 if count <= 16 else 512
    return {"unet": 32 if count <= SMALL_GRID and given is None else 64, "dit": 128, "mlp": mlp}[network]


@dataclass(frozen=True)
class Context:
    """A condition as the network takes it: a vector that is added to that of the time, and channels beside x."""

    vector: Float[Tensor, "n context"] | None
    grid: Float[Tensor, "n channels *sides"] | None = None

    def __len__(self) -> int:
        known = self.grid if self.vector is None else self.vector
        assert known is not None
        return len(known)

    def __getitem__(self, rows: Int[Tensor, "k"]) -> "Context":
        return self._each(lambda part: part[rows])

    def copied(self) -> "Context":
        """Without gradients, and no tensors of inference."""
        return self._each(lambda part: part.detach().clone())

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Context":
        vector, grid = (None if part is None else change(part) for part in (self.vector, self.grid))
        return Context(vector, grid)


def steered(context: Context | None, by: Float[Tensor, "n context"]) -> Context:
    """A context whose vector has another one added."""
    if context is None:
        return Context(by)
    return Context(by if context.vector is None else by + context.vector, context.grid)


class Denoiser(nn.Module):
    """F(x, angle, context) on standardised items, with the mean and spread of the data that standardise them.

    network: "unet", "dit" or "mlp"; width: channels or units; depth: blocks; octaves: waves of each number that a
    perceptron or a U-Net sees beside it; patch: of the transformer; spreads: a second output, where the variance of a
    random step lies between the least and the largest one; grid_condition: "concatenate" puts grids in the condition
    beside x, "embed" makes a vector of them; time_rate: of `TimeEmbedding`.
    """

    center: Tensor
    scale: Tensor

    def __init__(
        self,
        event: Continuous,
        condition: Event | None,
        *,
        network: str,
        width: int,
        depth: int,
        dropout: float,
        octaves: int,
        patch: int = 0,
        output: str = "velocity",
        spreads: bool = False,
        grid_condition: str = "embed",
        time_rate: float = 1000.0,
    ) -> None:
        super().__init__()
        self.shape, self.octaves, self.output, self.spreads = event.shape, octaves, output, spreads
        self.time = TimeEmbedding(CONTEXT, rate=time_rate)
        self.grids = GridInput(event, condition) if grid_condition == "concatenate" else None
        self.conditioner = Conditioner(condition if self.grids is None else self.grids.rest, CONTEXT, null=True)
        self.net: nn.Module
        outs, beside = 2 if spreads else 1, 0 if self.grids is None else self.grids.channels
        if network == "unet":
            shape = (event.shape[0] * (1 + 2 * octaves) + beside, *event.shape[1:])
            self.net = UNet(shape, outs * event.shape[0], CONTEXT, width=width, blocks=depth, dropout=dropout)
        elif network == "dit":
            shape = (event.shape[0] + beside, *event.shape[1:])
            narrow = width if shape[0] * patch ** (len(shape) - 1) > BOTTLENECK * width else 0
            self.net = DiT(
                shape,
                outs * event.shape[0],
                CONTEXT,
                width=width,
                layers=depth,
                patch=patch,
                bottleneck=narrow,
                dropout=dropout,
            )
        else:
            count = dims(event)
            inputs = count * (1 + 2 * octaves) + beside * math.prod(event.shape[1:])
            self.net = ResidualMLP(inputs, outs * count, width, depth, context=CONTEXT, zero=True)
        self.waving = network == "unet"  # a transformer's patches are embedded as they are
        first = event.shape[0] if event.shape else 1
        self.register_buffer("center", torch.zeros(first, *[1] * (len(event.shape) - 1)))
        self.register_buffer("scale", torch.ones(first, *[1] * (len(event.shape) - 1)))

    @property
    def matrices(self) -> Sequence[nn.Parameter]:
        """The weights between hidden layers."""
        return self.net.matrices  # type: ignore[return-value]

    def measure(self, batch: Batch) -> None:
        """Take the mean and standard deviation of the data along its first axis, channels or columns, and those of the
        condition."""
        if self.grids is not None:
            self.grids.measure(batch.condition)
        if batch.condition is not None:
            given = batch.condition if self.grids is None else self.grids.beside(batch.condition)
            if given is not None:
                self.conditioner.standardise(given)
        rows = batch.x.float().transpose(0, 1).flatten(1)
        deviation = rows.std(1, correction=0)
        self.center.copy_(rows.mean(1).reshape(self.center.shape))
        self.scale.copy_(torch.where(deviation > 1e-6, deviation, 1.0).reshape(self.scale.shape))

    def standardised(self, x: Float[Tensor, "n *event"]) -> Float[Tensor, "n *event"]:
        """Items in units of the event → with mean 0 and variance 1 along the first axis."""
        return (x - self.center) / self.scale

    def restored(self, x: Float[Tensor, "n *event"]) -> Float[Tensor, "n *event"]:
        """The inverse of `standardised`."""
        return x * self.scale + self.center

    def velocity(
        self,
        x: Float[Tensor, "n *event"],
        angles: Float[Tensor, "n"],
        context: Context | None = None,
        branch: Branch | None = None,
    ) -> Float[Tensor, "n *event"]:
        """F: d x / d angle of the probability flow. x is standardised and divided by sqrt(alpha² + sigma²), angles (n,)
        lie in [0, π/2], context comes from `embed`."""
        return self.estimate(x, angles, context, branch)[0]

    def estimate(
        self,
        x: Float[Tensor, "n *event"],
        angles: Float[Tensor, "n"],
        context: Context | None = None,
        branch: Branch | None = None,
    ) -> tuple[Float[Tensor, "n *event"], Float[Tensor, "n *event"] | None]:
        """F, and with `spreads` the place of the variance between the least and the largest, in [0, 1]."""
        convolves = not isinstance(self.net, ResidualMLP)
        with nullcontext() if convolves else torch.autocast(x.device.type, enabled=False):
            embedded = self.time(angles * (2 / torch.pi))
            if context is not None and context.vector is not None:
                embedded = embedded + context.vector
            grid = None if context is None else context.grid
            if grid is None and self.grids is not None:
                grid = self.grids.absent(len(x))
            if convolves:
                seen = waves(x, self.octaves).movedim(-1, 1).flatten(1, 2) if self.octaves and self.waving else x
                seen = seen if grid is None else torch.cat((seen, grid.to(seen.dtype)), 1)
                out: Tensor = (
                    self.net(seen, embedded) if branch is None else self.net(seen, embedded, branch(seen, embedded))
                )
            else:  # hardly slower in float32, and densities need its digits
                seen = waves(x.float().flatten(1), self.octaves).flatten(1)
                seen = seen if grid is None else torch.cat((seen, grid.float().flatten(1)), 1)
                out = self.net(seen, nn.functional.silu(embedded.float()))
                out = out.reshape(len(x), -1, *self.shape[1:])
        out, spread = out.to(x.dtype), None
        if self.spreads:
            out, raw = out.chunk(2, 1)
            spread = raw.float().sigmoid()
        out = out.reshape(x.shape)
        if self.output == "data":
            cos, sin = (f(angles).reshape(-1, *[1] * (x.ndim - 1)).to(x.dtype) for f in (torch.cos, torch.sin))
            out = (cos * x - out) / sin.clamp(min=LEAST_SINE)
        return out, spread

    def embed(self, condition: Condition | None, drop: Bool[Tensor, "n"] | None = None) -> Context | None:
        """The context of a condition; where `drop` is true, that of no condition."""
        if condition is None or self.grids is None:
            vector = self.conditioner(condition, drop)
            return None if vector is None else Context(vector)
        return Context(self.conditioner(self.grids.beside(condition), drop), self.grids(condition, drop))

    def free(self, n: int) -> Context | None:
        """The context of no condition, which a conditional model met in training."""
        null = self.conditioner.null
        vector = None if null is None else null.expand(n, -1)
        if self.grids is not None:
            return Context(vector, self.grids.absent(n))
        return None if vector is None else Context(vector)

    def forward(
        self,
        x_t: Float[Tensor, "n *event"],
        t: Float[Tensor, "*n"],
        path: Path,
        context: Context | None = None,
        branch: Branch | None = None,
    ) -> Float[Tensor, "n *event"]:
        """E[x | x_t] in units of the event, for x_t = alpha x + sigma · scale · noise: (n, *event)."""
        point = path(t)
        phi = angle(point)
        alpha, size, cos, sin = (
            v.reshape(*t.shape, *[1] * len(self.shape))
            for v in (point.alpha, (point.alpha**2 + point.sigma**2).sqrt(), phi.cos(), phi.sin())
        )
        x = (x_t - alpha * self.center) / (self.scale * size)
        return self.restored(cos * x - sin * self.velocity(x, phi.expand(len(x)), context, branch))
