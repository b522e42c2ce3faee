"""The probability flow of a denoiser: invertible codes, and log p by the change of volume along it.

With F the velocity in the angle of the quarter circle (`denoiser`), from data at 0 to noise at π/2:
log p(x_0) = log N(x_1) + ∫ div F d angle (Chen et al., 2018, arXiv 1806.07366; Song et al., 2021, arXiv 2011.13456,
equation 39). The divergence is an exact trace in few dimensions, and estimated with random probes beyond (Hutchinson).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pofx.core.random import Streams
from pofx.families.diffusion.denoiser import Context, Denoiser
from pofx.maths.distributions import normal_log_prob, sum_event
from pofx.maths.divergence import deflated_divergences, divergence, probed_divergences
from pofx.maths.estimates import standard_error
from pofx.maths.solvers import Field, State, converged, rk4

SHARE = 0.1  # of the standard error over the probes: an integration is not made more exact than that
POWER = 3  # the angle is π/2 times this power of the time of integration: steps are short where data are, fields rough
NOISE = math.pi / 2  # the angle of pure noise; a path that ends a little earlier is led on to it


def along(field: Field, state: State, start: float, stop: float, steps: int) -> State:
    """Runge-Kutta steps of a field of (state, angle) from one angle to another, shorter near the data."""
    ends = [(angle / NOISE) ** (1 / POWER) for angle in (start, stop)]

    def slowed(state: State, u: Tensor) -> State:
        speed = NOISE * POWER * u ** (POWER - 1)
        return tuple(speed * slope for slope in field(state, NOISE * u**POWER))

    return rk4(slowed, state, ends[0], ends[1], steps)


@dataclass(frozen=True)
class FlowLikelihood:
    """log p of standardised items (n,), in nats.

    integration: how far the last doubling of the steps moved each value (n,); wanted: how far it may (n,);
    sampling: standard errors over the probes (n,), nan of one probe, which shows none, and None where the divergence is
    exact; evaluations: of the network, for the slowest item.
    """

    value: Float[Tensor, "n"]
    integration: Float[Tensor, "n"]
    wanted: Float[Tensor, "n"]
    sampling: Float[Tensor, "n"] | None
    evaluations: int


def carried(
    denoiser: Denoiser,
    x: Float[Tensor, "n *event"],
    context: Context | None,
    start: float,
    stop: float,
    steps: int,
) -> Float[Tensor, "n *event"]:
    """Where the probability flow leads standardised items from one angle to another, by `steps` Runge-Kutta steps."""

    def field(state: State, phi: Tensor) -> State:
        return (denoiser.velocity(state[0], phi.expand(len(x)), context),)

    return along(field, (x,), start, stop, steps)[0]


def likelihood(
    denoiser: Denoiser,
    x: Float[Tensor, "n *event"],
    context: Context | None,
    *,
    tolerance: float,
    exact: bool,
    probes: int,
    start: float = 0.0,
    deflated: bool = False,
    fixed: int = 0,
) -> FlowLikelihood:
    """log p of standardised items at the angle `start` by the flow.

    Steps are doubled item by item until the value moves less than `tolerance` or a tenth of the standard error over the
    probes, or they are `fixed` in number. Probes are functions of the item: the same item has the same value in every
    batch and call. `deflated` takes the trace by Hutch++.
    """
    with torch.inference_mode(False):  # inference tensors have no gradient, and the divergence is made of them
        x = x.detach().clone().float()
        context = None if context is None else context.copied()
        signs = None
        if not exact:
            streams = Streams.of_items(0, x)
            signs = torch.stack(
                [2.0 * streams.integers(2, *x.shape[1:]) - 1.0 for _ in range(2 * probes if deflated else probes)]
            )

        each = None if signs is None else torch.zeros(probes, len(x), device=x.device)

        def solve(items: Tensor, steps: int) -> Tensor:
            items = items.to(x.device)
            part = None if context is None else context[items]

            def velocity(y: Tensor, phi: Tensor) -> Tensor:
                return denoiser.velocity(y, phi.expand(len(items)), part)

            def traced(state: State, phi: Tensor) -> State:
                return divergence(lambda y: velocity(y, phi), state[0])

            def probed(state: State, phi: Tensor) -> State:
                assert signs is not None
                if deflated:
                    sketch, left = signs[:, items].chunk(2)
                    return deflated_divergences(lambda y: velocity(y, phi), state[0], sketch, left)
                return probed_divergences(lambda y: velocity(y, phi), state[0], signs[:, items])

            volume = torch.zeros(len(items), device=x.device)
            if signs is None or each is None:
                z, volume = along(traced, (x[items], volume), start, NOISE, steps)
            else:
                z, volumes = along(probed, (x[items], volume.repeat(probes, 1)), start, NOISE, steps)
                each[:, items], volume = volumes, volumes.mean(0)
            return sum_event(normal_log_prob(z)) + volume

        def enough(items: Tensor) -> Tensor:
            wanted = torch.full((len(items),), tolerance)
            if each is None or probes < 2:
                return wanted
            return torch.maximum(wanted, SHARE * standard_error(each)[items.to(x.device)].cpu())

        if fixed:
            values, errors, steps = converged(solve, len(x), 0.0, steps=fixed // 2, most=fixed)
        else:
            values, errors, steps = converged(solve, len(x), enough)
    sampling = None if each is None else standard_error(each)
    return FlowLikelihood(values, errors, enough(torch.arange(len(x))).to(values), sampling, 4 * steps)
