"""One-step models from scratch: a network of the average velocity between two times, not of the velocity at one.

On the straight path z_t = (1 - t) x + t noise, u(z_t, r, t) = (z_t - z_r) / (t - r) along the probability flow: one
evaluation leads from noise to data, z_0 = z_1 - u(z_1, 0, 1), and several follow the flow in as many steps. At r = t it
is the velocity of flow matching, which anchors it; over longer gaps it is held to itself, by one of three identities.
"""

from collections.abc import Callable, Iterable
from typing import Annotated, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from pofx.core.event import Bounded, Condition, Continuous, Event, dims
from pofx.core.generative import Leading
from pofx.core.model import Batch, OnePhase, Recipe
from pofx.core.options import Count, Depth, Dropout, OneOf, OpenUnit, Range, Real, Unit
from pofx.core.random import Streams
from pofx.families.diffusion.denoiser import CONTEXT, OUTPUTS, Context, Denoiser, steered, width_of
from pofx.maths.paths import PATHS
from pofx.nets.image.grid_input import GridCondition, grid_condition_of
from pofx.nets.vector.conditioner import CONDITIONS
from pofx.nets.vector.time import TimeEmbedding

IDENTITIES = ("split", "mean-flow", "consistency")
FEW, GRID = 3, 256  # numbers of an event, as in `diffusion`
NEAR = 5e-3  # of the times between which the change of u is taken
LEVELS = 32  # steps of a consistency model


class FlowMap(OnePhase, Leading):
    """Average velocities of a flow: samples in one step or a few.

    Args:
        identity: "split", u over a gap from its two parts (Guo et al., 2025, arXiv 2507.16884); "mean-flow", u from the
            velocity and its own change in time, here a central difference (Geng et al., 2025, arXiv 2505.13447); or
            "consistency", steps of a thirty-second from the items' own lines to the data (Song et al., 2023, arXiv
            2303.01469).
        anchored: share of the items that learn the velocity at one time, r = t.
        network: "mlp", "unet", "dit" or "auto", as in `flow-matching`.
        width: of the network; None takes 64 channels (unet; 32 up to 2,048 numbers), 128 features (dit) or 512 units
            (mlp; 256 up to 16 numbers, 128 up to 3), and is saved as chosen.
        depth: residual blocks, or layers.
        patch: side of the transformer's patches; 0 takes a seventh of the longest side.
        octaves: waves of each number that the perceptron sees beside it; None is 3 up to 3 numbers, else 0.
        output: "velocity" or "data", as in `flow-matching`.
        dropout: share of hidden channels dropped in training (not in the perceptron).
        condition_dropout: share of conditions dropped in training.
        grid_condition: how grids in the condition enter: "concatenate" or "embed", as in `flow-matching`; None is
            chosen by their sides, and saved as chosen.
        time_rate: the fastest oscillation of what the network sees of a time, in radians; small where the identity is
            differentiated in time ("mean-flow").
        sampler_steps: evaluations of the network for a sample.
    """

    name: ClassVar[str] = "split-mean-flow"
    source: ClassVar[str] = "Guo et al., 2025, arXiv 2507.16884"
    events: ClassVar = (Bounded, Continuous)
    ranks: ClassVar = (1, 2, 3, 4)
    conditions: ClassVar = CONDITIONS
    adjustable: ClassVar = ("sampler_steps",)
    trains_with: ClassVar = {"precision": "auto", "ema_images": 50_000, "validations": 8, "validation_items": 500}
    small: ClassVar = {"network": "mlp", "width": 64, "depth": 2}
    unstated: ClassVar = {"grid_condition": "embed"}
    recipes: ClassVar = (
        Recipe(
            "mean-flow",
            "Geng et al., 2025, arXiv 2505.13447",
            {"identity": "mean-flow", "time_rate": 16.0},
            summary="Average velocity, by its change in time: one step.",
        ),
        Recipe(
            "consistency",
            "Song et al., 2023, arXiv 2303.01469; Song and Dhariwal, 2024, arXiv 2310.14189",
            {"identity": "consistency"},
            summary="Every point of a path leads to its end: one step.",
        ),
    )

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        identity: Annotated[str, OneOf(*IDENTITIES)] = "split",
        anchored: OpenUnit = 0.5,
        network: Annotated[str, OneOf("auto", "mlp", "unet", "dit")] = "auto",
        width: Annotated[int, Range(0, 8192)] | None = None,
        depth: Depth = 2,
        patch: Annotated[int, Range(0, 1024)] = 0,
        octaves: Annotated[int, Range(0, 16)] | None = None,
        output: Annotated[str, OneOf(*OUTPUTS)] = "velocity",
        dropout: Dropout = 0.0,
        condition_dropout: Unit = 0.1,
        grid_condition: GridCondition | None = None,
        time_rate: Annotated[Real, Range(1, 1000)] = 1000.0,
        sampler_steps: Count = 1,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous)
        rank, count = len(event.shape), dims(event)
        taken = network
        if network == "auto":
            taken = "unet" if rank > 1 and count >= GRID and min(event.shape[1:]) > 1 else "mlp"
        self.identity, self.anchored, self.network, self.depth = identity, anchored, network, depth
        self.width = width_of(taken, count, None) if width is None else width
        self.dropout, self.condition_dropout, self.sampler_steps = dropout, condition_dropout, sampler_steps
        self.patch, self.output = patch, output
        self.grid_condition = grid_condition_of(grid_condition, event, condition)
        self.octaves = (3 if count <= FEW else 0) if octaves is None else octaves
        self.shape = event.shape
        self.time_rate = time_rate
        self.gap = TimeEmbedding(CONTEXT, rate=time_rate)
        last = self.gap.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)  # gaps make no difference at first
        nn.init.zeros_(last.bias)
        self.denoiser = Denoiser(
            event,
            condition,
            network=taken,
            width=width_of(taken, count, self.width),
            depth=depth,
            dropout=dropout,
            octaves=self.octaves,
            patch=patch or max(1, -(-max(event.shape[1:], default=1) // 7)),
            output=output,
            grid_condition=self.grid_condition,
            time_rate=time_rate,
        )

    def matrices(self) -> Iterable[nn.Parameter]:
        return self.denoiser.matrices

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Measure the mean and standard deviation of the data along its first axis."""
        self.denoiser.measure(take(10_000))

    def average(
        self,
        z: Float[Tensor, "n *event"],
        r: Float[Tensor, "n"],
        t: Float[Tensor, "n"],
        context: Context | None,
    ) -> Float[Tensor, "n *event"]:
        """u(z_t, r, t) of standardised z. The network's output has unit variance at every time, as in `denoiser`."""
        phi, wide = torch.atan2(t, 1 - t), (-1, *[1] * len(self.shape))
        cos, sin = phi.cos().reshape(wide), phi.sin().reshape(wide)
        x = z / (t**2 + (1 - t) ** 2).sqrt().reshape(wide)
        with torch.autocast(z.device.type, enabled=False):  # differences of u are taken over small gaps
            known = self.gap((t - r).float())
        out = self.denoiser.velocity(x, phi, steered(context, known))
        return (sin - cos) * x + (sin + cos) * out

    # training

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The squared error of the velocity, and of the identity over gaps, in units of the velocity's variance."""
        n, device = len(batch), batch.x.device
        u = (torch.randperm(n, device=device) + torch.rand(n, dtype=torch.float32, device=device)) / n
        drop = None
        if batch.condition is not None:
            drop = torch.rand(n, device=device) < self.condition_dropout
        noise = torch.randn_like(batch.x, dtype=torch.float32)
        return self._losses(batch, u, torch.rand(3, n, dtype=torch.float32, device=device), noise, drop)

    def validation(self, batch: Batch) -> Float[Tensor, ""] | None:
        """None, so that draws are judged: the identity is held against targets of its own, whose error grows as gaps
        come to differ."""
        return None

    def _losses(
        self,
        batch: Batch,
        u: Float[Tensor, "n"],
        rest: Float[Tensor, "3 n"],
        noise: Float[Tensor, "n *event"],
        drop: Bool[Tensor, "n"] | None,
    ) -> dict[str, Tensor]:
        x, wide = self.denoiser.standardised(batch.x.float()), (-1, *[1] * len(self.shape))
        context = self.denoiser.embed(batch.condition, drop)
        t = u.clamp(1e-3, 1.0)
        v = noise - x
        z = x + t.reshape(wide) * v
        apart = rest[0] >= self.anchored
        r = torch.where(apart, t * rest[1] * (0.0 if self.identity == "consistency" else 1.0), t)
        wanted = v.clone()
        rows = apart.nonzero()[:, 0]
        if len(rows):
            given = None if context is None else context.copied()[rows]
            with torch.no_grad():
                wanted[rows] = self._over(z[rows], v[rows], r[rows], t[rows], rest[2][rows], given).to(v.dtype)
        scale = 1 / (1 + 2 * t * (1 - t) / (t**2 + (1 - t) ** 2))  # (sin + cos)^-2: the error of the output itself
        each = scale * (self.average(z, r, t, context).float() - wanted).square().flatten(1).mean(1)
        return {"velocity": (each * ~apart).mean(), "identity": (each * apart).mean()}

    def _over(
        self,
        z: Float[Tensor, "n *event"],
        v: Float[Tensor, "n *event"],
        r: Float[Tensor, "n"],
        t: Float[Tensor, "n"],
        share: Float[Tensor, "n"],
        context: Context | None,
    ) -> Float[Tensor, "n *event"]:
        """What u(z_t, r, t) must be by the identity, from the network as it is."""
        wide = (-1, *[1] * len(self.shape))
        if self.identity == "mean-flow":
            near = torch.minimum(torch.minimum(torch.full_like(t, NEAR), t - r), 1 - t).clamp(min=1e-4)
            with torch.autocast(z.device.type, enabled=False):  # the rounding of bf16 would be as large as the change
                after, before = (
                    self.average(z + (sign * near).reshape(wide) * v, r, t + sign * near, context) for sign in (1, -1)
                )
            return v - ((t - r) / (2 * near)).reshape(wide) * (after - before)
        if self.identity == "split":
            s = r + (t - r) * share
            first = self.average(z, s, t, context)
        else:
            s, first = (t - 1 / LEVELS).clamp(min=0.0), v
        part = ((t - s) / (t - r).clamp(min=1e-6)).reshape(wide)
        second = self.average(z - (t - s).reshape(wide) * first, r, s, context)
        return part * first + (1 - part) * second

    # use

    def lead(
        self,
        z: Float[Tensor, "n *event"],
        start: Float[Tensor, "n"],
        stop: Float[Tensor, "n"],
        condition: Condition | None = None,
    ) -> Float[Tensor, "n *event"]:
        """One step of the map between two times: (n, *event)."""
        gap = (start - stop).reshape(-1, *[1] * len(self.shape))
        return z - gap * self.average(z, stop, start, self.denoiser.embed(condition))

    def standardised(self, x: Float[Tensor, "n *event"]) -> Float[Tensor, "n *event"]:
        return self.denoiser.standardised(x)

    def restored(self, x: Float[Tensor, "n *event"]) -> Float[Tensor, "n *event"]:
        return self.denoiser.restored(x)

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Float[Tensor, "{n} *event"]:
        """n events in `sampler_steps` steps, from noise of `generator` alone: (n, *event)."""
        self.check_condition(n, condition)
        z = self.walked(generator.normal(*self.shape), self.denoiser.embed(condition))
        x = self.denoiser.restored(z)
        return x.clamp(-1, 1) if isinstance(self.event, Bounded) else x

    def walked(self, z: Float[Tensor, "n *event"], context: Context | None) -> Float[Tensor, "n *event"]:
        """Where the map leads noises in `sampler_steps` steps: standardised events, differentiable."""
        times = torch.linspace(1.0, 0.0, self.sampler_steps + 1, device=z.device)
        for t, r in zip(times[:-1], times[1:], strict=True):
            z = z - (t - r) * self.average(z, r.expand(len(z)), t.expand(len(z)), context)
        return z

    def schedule(self, t: Float[Tensor, "*n"]) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
        """alpha = 1 - t, and sigma = t in units of the event: the noise is as wide as the data along its first axis."""
        point, axes = PATHS["linear"](t), [1] * len(self.shape)
        return point.alpha.reshape(*t.shape, *axes), point.sigma.reshape(*t.shape, *axes) * self.denoiser.scale

    @property
    def spread(self) -> Float[Tensor, "..."]:
        return self.denoiser.scale

    def denoise(
        self, x_t: Float[Tensor, "n *event"], t: Float[Tensor, "*n"], condition: Condition | None = None
    ) -> Float[Tensor, "n *event"]:
        """E[x | x_t, condition], by the velocity at one time: (n, *event)."""
        net, wide = self.denoiser, (-1, *[1] * len(self.shape))
        context = net.free(len(x_t)) if condition is None else net.embed(condition)
        t = t.expand(len(x_t))
        z = (x_t - (1 - t).reshape(wide) * net.center) / net.scale
        return net.restored(z - t.reshape(wide) * self.average(z, t, t, context))
