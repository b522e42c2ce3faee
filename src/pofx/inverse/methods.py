"""Guided samplers: how a denoiser and a measurement are brought together. One function and one record for each.

With x = z + s noise, all of them know E[z | x] alone. They differ in what they take for p(y | x): the gradient of the
likelihood at the estimate (DPS, ΠGDM), a proximal step (DiffPIR), the spectrum of the operator (DDRM), a descent with a
denoising regulariser (RED-diff), or draws of z by turns given the measurement and given a noisy copy (DAPS, split
Gibbs), or weights of particles (twisted). Only the last is exact in a limit that is reached in practice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Annotated, Any

import torch
from torch import Tensor

from pofx.core.errors import Unsupported, unknown
from pofx.core.options import Range, Real, check_value
from pofx.inverse.problem import Problem
from pofx.inverse.walk import BOTTOM, TOP, Walker, ancestral, levels

DECIDED, CORRECTION = (0.3, 10.0), 0.3  # levels of noise of corrections, their length in the square of the level


def dps(walk: Walker, steps: int = 100, weight: float = 1.0) -> Tensor:
    """Diffusion posterior sampling: x moves along the gradient of -|y - A E[z | x]|, its length `weight` in 1,000 steps
    of the path on which x has unit variance, and never beyond where a linear residual would vanish."""
    problem, places = walk.problem, levels(steps)
    x = walk.first(places[0])

    def fit(d: Tensor) -> Tensor:
        return -(problem.y - problem.seen(d)).square().sum(1).clamp(min=1e-12).sqrt()

    for s, u in zip(places[:-1], places[1:], strict=True):
        data, slope = walk.led(x, s, fit)
        square = slope.flatten(1).square().sum(1).clamp(min=1e-20)
        length = (-fit(data) / square).clamp(max=weight * 1000 / steps * (1 + s * s)).reshape(walk.wide)
        x = ancestral(x, data, s, u, walk.normal) + length * slope
    return x


def pigdm(walk: Walker, steps: int = 50, eta: float = 1.0) -> Tensor:
    """ΠGDM: p(z | x) is taken as a normal of variance s² / (1 + s²), for which p(y | x) is closed."""
    problem, places = walk.problem, levels(steps)
    x = walk.first(places[0])
    for s, u in zip(places[:-1], places[1:], strict=True):
        rho = 1 + 1 / s**2

        def toward(d: Tensor, rho: float = rho) -> Tensor:
            with torch.no_grad():  # Bᵀ (r² B Bᵀ + 1)⁻¹ (y - B d) is (pulled - d) / r²
                pull = (problem.pulled(d, rho) - d) * rho
            return (pull * d).flatten(1).sum(1)

        data, slope = walk.led(x, s, toward)
        x = ancestral(x, data + s * s * slope, s, u, walk.normal, eta)
    return x


def mmps(walk: Walker, steps: int = 40, inner: int = 2, eta: float = 1.0, corrections: int = 4) -> Tensor:
    """Moment matching: as ΠGDM with the covariance that p(z | x) has, s² dE[z | x] / dx, so that only what the prior
    allows changes; `inner` conjugate gradients, each with one product by that derivative. Where few numbers each see
    all places (random projections, other transforms) a variance that is the same in all directions is far too large.
    `corrections`: Langevin steps at each of the levels where it is decided what an item is."""
    places = levels(steps)
    x = walk.first(places[0])
    for s, u in zip(places[:-1], places[1:], strict=True):
        x = ancestral(x, matched(walk, x, s, inner), s, u, walk.normal, eta)
        for _ in range(corrections if DECIDED[0] < u < DECIDED[1] else 0):
            x = x + CORRECTION * (matched(walk, x, u, inner) - x) + (2 * CORRECTION) ** 0.5 * u * walk.normal()
    return x


def diffpir(walk: Walker, steps: int = 50, strength: float = 1.0, zeta: float = 1.0) -> Tensor:
    """DiffPIR: the estimate is drawn towards the measurement by a proximal step of weight `strength` / s², then put
    back to the next level with the noise it came from, a share `zeta` of it anew: all of it is best here, where the
    paper has less."""
    problem, places = walk.problem, levels(steps)
    x = walk.first(places[0])
    for s, u in zip(places[:-1], places[1:], strict=True):
        data = problem.pulled(walk.estimate(x, s), strength * (1 + 1 / s**2))
        noise = (x - data) / s
        x = data if u == 0 else data + u * ((1 - zeta) ** 0.5 * noise + zeta**0.5 * walk.normal())
    return x


def ddrm(walk: Walker, steps: int = 50, eta: float = 0.85, eta_b: float = 1.0) -> Tensor:
    """DDRM: each singular direction of the operator follows the measurement while that is less noisy than x."""
    problem, places = walk.problem, levels(steps)
    if not problem.decomposable:
        raise Unsupported(
            "ddrm needs an operator small enough to be decomposed, one for all rows: choose pigdm or daps"
        )
    left, singular, right = problem.decomposition
    own = (problem.level / singular).expand(len(problem.y), -1)  # deviation of what y states of each direction
    known = problem.target @ left / singular

    def stepped(data: Tensor, x: Tensor | None, s: float, u: float) -> Tensor:
        fresh, line = walk.normal().flatten(1), data.flatten(1)
        if x is None:
            outside, at = line + u * fresh, line @ right.T
            inside = torch.where(u > own, known, at) + (u**2 - own**2 * (u > own)).clamp(min=0).sqrt() * (
                fresh @ right.T
            )
        else:
            drift, still = x.flatten(1) - line, (1 - eta**2) ** 0.5
            outside = line + still * u / s * drift + eta * u * fresh
            at, new = line @ right.T, fresh @ right.T
            noisy = at + still * u * (known - at) / own + eta * u * new
            clear = (1 - eta_b) * at + eta_b * known + (u**2 - eta_b**2 * own**2).clamp(min=0).sqrt() * new
            inside = torch.where(u >= own, clear, noisy)
        return (outside + (inside - outside @ right.T) @ right).reshape(data.shape)

    x = stepped(walk.estimate(places[0] * walk.normal(), places[0]), None, 0.0, places[0])
    for s, u in zip(places[:-1], places[1:], strict=True):
        x = stepped(walk.estimate(x, s), x, s, u)
    return x


def red_diff(walk: Walker, steps: int = 200, weight: float = 0.25, rate: float = 0.1) -> Tensor:
    """RED-diff: Adam descends the data term and a denoising regulariser at falling levels. A mode, not a draw."""
    problem, places = walk.problem, levels(steps)[:-1]
    z = walk.estimate(places[0] * walk.normal(), places[0])
    first, second = torch.zeros_like(z), torch.zeros_like(z)
    for k, s in enumerate(places, 1):
        normal = walk.normal()
        pull = normal - (z + s * normal - walk.estimate(z + s * normal, s)) / s
        slope = -data_slope(problem, z) - weight * min(s, 1.0) / s * pull
        first, second = 0.9 * first + 0.1 * slope, 0.99 * second + 0.01 * slope.square()
        move = first / (1 - 0.9**k) / ((second / (1 - 0.99**k)).sqrt() + 1e-8)
        z = z - rate * min(1.0, 2 * (1 - (k - 1) / steps)) * move
    return z


def pnp_flow(walk: Walker, steps: int = 100, draws: int = 3, rate: float = 1.0, power: float = 1.0) -> Tensor:
    """PnP flow matching: descend the data term, put the result on the straight path at t, denoise it, and average.
    A point estimate."""
    problem = walk.problem
    z = walk.estimate(TOP * walk.normal(), TOP)
    width = lipschitz(problem)
    for k in range(steps):
        t = (k + 0.5) / steps  # 1 is the data
        z = z + rate * (1 - t) ** power / width * data_slope(problem, z)
        noisy = (z + (1 - t) / t * walk.normal() for _ in range(draws))
        z = torch.stack([walk.estimate(x, (1 - t) / t) for x in noisy]).mean(0)
    return z


def daps(walk: Walker, steps: int = 50, inner: int = 4, bottom: float = BOTTOM) -> Tensor:
    """Decoupled annealing: z is drawn from the measurement times a normal around the end of the probability flow, and
    noised to the next level; no step leads from level to level, so that a walk can change its mode."""
    places, x = levels(steps, bottom=bottom), walk.first(TOP)
    for s, u in zip(places[:-1], places[1:], strict=True):
        data = flowed(walk, x, s, inner)
        z = given_both(walk, data, s**2 / (1 + s**2))
        x = z if u == 0 else z + u * walk.normal()
    return x


def split_gibbs(
    walk: Walker, steps: int = 40, inner: int = 6, sweeps: int = 10, top: float = 10.0, last: float = 0.3
) -> Tensor:
    """Split Gibbs sampling: z given a noisy copy and the measurement, then the copy by a random walk of the denoiser
    from that level; levels fall to `last` times the finest thing that the measurement resolves, then stay for a
    number of sweeps. Exact as `last` falls and the other numbers grow."""
    problem = walk.problem
    bottom = last * float(finest(problem))
    ratio = (bottom / top) ** (1 / max(steps - 1, 1)) if bottom < top else 1.0
    rhos = [*(max(top, bottom) * ratio**k for k in range(steps)), *[bottom] * sweeps]
    return swept(walk, walk.estimate(TOP * walk.normal(), TOP), rhos, inner)


def twisted(walk: Walker, steps: int = 100, sweeps: int = 4, last: float = 0.3) -> Tensor:
    """Twisted particles: ΠGDM proposes, weights correct it, and the rows of a measurement are resampled together; then
    sweeps of split Gibbs part those that have one ancestor. Exact for many rows and steps; in many dimensions few
    ancestors are left."""
    problem, places = walk.problem, levels(steps)
    if not problem.decomposable:
        raise Unsupported("twisted needs an operator small enough to be decomposed: choose split-gibbs")
    x, log_w, before = walk.first(places[0]), torch.zeros(len(problem.y), device=problem.y.device), None
    for s, u in zip(places[:-1], places[1:], strict=True):
        variance = s**2 / (1 + s**2)

        def toward(d: Tensor, variance: float = variance) -> Tensor:
            return agreement(problem, d, variance)

        data, slope = walk.led(x, s, toward)
        here = agreement(problem, data, variance)
        log_w = log_w + here - (0.0 if before is None else before)
        chosen = resampled(walk, log_w)
        if chosen is not None:
            x, data, slope, here = x[chosen], data[chosen], slope[chosen], here[chosen]
            log_w = torch.zeros_like(log_w)
        if u == 0:
            x = data + s * s * slope
            break
        shift, normal = (1 - (u / s) ** 2) * s * s * slope, walk.normal()
        random = u * (1 - (u / s) ** 2) ** 0.5
        x = data + (u / s) ** 2 * (x - data) + shift + random * normal
        log_w = log_w - ((shift / random) * normal + 0.5 * (shift / random).square()).flatten(1).sum(1)
        before = here
    chosen = resampled(walk, log_w, always=True)
    assert chosen is not None
    rho = last * float(finest(problem))
    return swept(walk, x[chosen], [rho] * sweeps, 6)


# ── what they share ──


def matched(walk: Walker, x: Tensor, s: float, inner: int) -> Tensor:
    """E[z | x, y] where p(z | x) is normal with mean d and covariance V: d + V Bᵀ (B V Bᵀ + level²)⁻¹ (y - B d)."""
    problem = walk.problem
    square = problem.level.square()
    with torch.inference_mode(False), torch.enable_grad():
        at = x.detach().clone().requires_grad_()
        seen = walk.estimate(at, s, within=False)
        data = seen.detach()
        with torch.no_grad():
            r = problem.target - problem.applied(data)
        p, size = r, r.square().sum(1, keepdim=True)
        first = size.clamp(min=1e-30)
        for k in range(inner):
            with torch.no_grad():
                back = problem.transposed(p)
            (moved,) = torch.autograd.grad(seen, at, back, retain_graph=k + 1 < inner)
            walk.count += 1
            with torch.no_grad():
                moved = s * s * moved.nan_to_num(0.0)
                step = problem.applied(moved) + square * p
                across = (p * step).sum(1, keepdim=True)
                length = torch.where((across > 0) & (size > 1e-10 * first), size / across.clamp(min=1e-30), 0.0)
                data = data + length.reshape(walk.wide) * moved
                r = r - length * step
                size, before = r.square().sum(1, keepdim=True), size
                p = r + size / before.clamp(min=1e-30) * p
    return data


def agreement(problem: Problem, data: Tensor, variance: float) -> Tensor:
    """log N(y; B data, variance B Bᵀ + level²): per row."""
    left, singular, _ = problem.decomposition
    gap, square = problem.target - problem.applied(data), problem.level.square()
    inside = gap @ left
    spread = variance * singular.square() + square
    outside = gap.square().sum(1) - inside.square().sum(1)
    return -0.5 * ((inside.square() / spread + spread.log()).sum(1) + outside / square[:, 0])


def resampled(walk: Walker, log_w: Tensor, *, always: bool = False) -> Tensor | None:
    """Rows that go on, of each measurement as its weights require, where fewer than half of them count; or None."""
    weights = log_w.reshape(-1, walk.group).double().softmax(1)
    poor = 1 / weights.square().sum(1) < 0.5 * walk.group
    if not bool(poor.any()) and not always:
        return None
    u = walk.streams.uniform(1).reshape(-1, walk.group)[:, :1].double()
    at = (u + torch.arange(walk.group, device=u.device)) / walk.group
    chosen = torch.searchsorted(weights.cumsum(1).contiguous(), at.contiguous()).clamp(max=walk.group - 1)
    return (chosen + walk.group * torch.arange(len(weights), device=u.device)[:, None]).flatten()


def swept(walk: Walker, x: Tensor, rhos: Sequence[float], inner: int) -> Tensor:
    """Draws of z given a noisy copy and the measurement, and of the copy, by turns at these levels."""
    for rho in rhos:
        z = given_both(walk, x, rho**2)
        x, s = z, rho
        for k in range(1, inner + 1):
            u = 0.0 if k == inner else rho * (1 - k / inner) ** 2
            x = ancestral(x, walk.estimate(x, s), s, u, walk.normal)
            s = u
    return x


def data_slope(problem: Problem, z: Tensor) -> Tensor:
    """The gradient of log p(y | z)."""
    if problem.linear and problem.gaussian:
        return problem.transposed((problem.target - problem.applied(z)) / problem.level.square())
    with torch.inference_mode(False), torch.enable_grad():
        at = z.detach().clone().requires_grad_()
        (slope,) = torch.autograd.grad(problem.log_likelihood(at).sum(), at)
    return slope.nan_to_num(0.0)


def flowed(walk: Walker, x: Tensor, s: float, inner: int) -> Tensor:
    """The end of the probability flow from x, in so many steps."""
    for k in range(1, inner + 1):
        u = 0.0 if k == inner else s * (1 - k / inner) ** 2
        x = ancestral(x, walk.estimate(x, s), s, u, walk.normal, 0.0)
        s = u
    return x


LANGEVIN, GROWTH = 60, 0.3  # steps of a move that has no closed form, and their length in its own curvature


def given_both(walk: Walker, centre: Tensor, variance: float) -> Tensor:
    """A draw of z given the measurement and a normal around `centre`: exact where the operator is linear, by Langevin
    steps elsewhere. Where the level of the noise is unknown it is drawn first, given the centre."""
    problem = walk.problem
    if problem.noise.unknown:
        problem = problem.at_level(drawn_level(walk, centre))
        walk.problem = problem
    if problem.linear and len(problem.deviation) in (1, len(problem.y)):
        return problem.drawn(centre, 1 / variance, walk.normal(), walk.noise())
    z, length = centre, None
    for k in range(LANGEVIN):
        slope = data_slope(problem, z) + (centre - z) / variance
        if length is None or k % 20 == 0:
            length = GROWTH / (1 / variance + curvature(walk, z))
        z = z + length * slope + (2 * length).sqrt() * walk.normal()
    return z


def curvature(walk: Walker, z: Tensor) -> Tensor:
    """About the largest curvature of -log p(y | z), by its slope's change along a random direction, per row."""
    v = data_slope(walk.problem, z)
    for _ in range(3):
        v = v / v.flatten(1).norm(dim=1).clamp(min=1e-20).reshape(walk.wide)
        near = 1e-2
        v = (data_slope(walk.problem, z) - data_slope(walk.problem, z + near * v)) / near
    return v.flatten(1).norm(dim=1).reshape(walk.wide)


def drawn_level(walk: Walker, z: Tensor) -> Tensor:
    """The deviation of the noise given z under a flat prior of its logarithm: a draw (n, 1)."""
    problem = walk.problem
    gap = (problem.y - problem.seen(z)).square().sum(1, keepdim=True)
    m = problem.y.shape[1]
    u = walk.noise()[:, :1] if m > 1 else walk.streams.normal(1)
    chi = m * (1 - 2 / (9 * m) + u * (2 / (9 * m)) ** 0.5) ** 3  # Wilson and Hilferty, 1931
    return (gap / chi.clamp(min=0.1 * m)).sqrt().clamp(min=1e-4)


def lipschitz(problem: Problem) -> Tensor:
    """The largest eigenvalue of Bᵀ B / level² by power iterations: (n, 1, …); of gradients where there is no B."""
    v = torch.ones(len(problem.y), *problem.shape, device=problem.y.device)
    wide = (-1, *[1] * len(problem.shape))
    v = v + 0.1 * torch.linspace(-1, 1, v[0].numel(), device=v.device).reshape(problem.shape)
    size = torch.ones(len(v), device=v.device)
    zero = torch.zeros_like(v)
    for _ in range(10):
        v = v / v.flatten(1).norm(dim=1).clamp(min=1e-20).reshape(wide)
        if problem.linear and problem.gaussian:
            v = problem.transposed(problem.applied(v)) / problem.level.square().reshape(wide)
        else:
            v = data_slope(problem, zero) - data_slope(problem, zero + 1e-2 * v)
            v = v / 1e-2
        size = v.flatten(1).norm(dim=1)
    return size.clamp(min=1e-12).reshape(wide)


def finest(problem: Problem) -> Tensor:
    """The least deviation of z along any direction that the measurement alone leaves; at most 1."""
    return lipschitz(problem).max().rsqrt().clamp(max=1.0)


def check_options(method: str, options: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Refuse options that a method does not have, or of another kind than their defaults.

    Raises:
        UsageError: naming the option.
    """
    for key, value in options.items():
        if key not in known:
            raise unknown(f"option of the method {method}", key, known)
        whole = isinstance(known[key], int)
        least = 0 if key == "corrections" else 1
        check_value(key, value, Annotated[int, Range(least, 1_000_000)] if whole else Annotated[Real, Range(0, 1e6)])


@dataclass(frozen=True)
class Method:
    """A guided sampler.

    Attributes:
        linear: whether it needs a linear operator with Gaussian noise.
        draws: "exact" in a limit, "approximate", or a "point" estimate.
        decomposes: whether it takes the singular values of the operator, one for all rows.
    """

    function: Callable[..., Tensor]
    source: str
    linear: bool
    draws: str
    decomposes: bool = False

    @property
    def options(self) -> Mapping[str, Any]:
        """Its options and their defaults."""
        return {p.name: p.default for p in list(signature(self.function).parameters.values())[1:]}

    def run(self, walk: Walker, options: Mapping[str, Any]) -> Tensor:
        """Coordinates for every row.

        Raises:
            Unsupported: an operator that the method cannot use.
        """
        if self.linear and not walk.problem.linear:
            raise Unsupported(f"{self.function.__name__} needs a linear operator: choose daps, split-gibbs or dps")
        return self.function(walk, **options)


METHODS: Mapping[str, Method] = {
    "dps": Method(dps, "Chung et al., 2023, arXiv 2209.14687", False, "approximate"),
    "pigdm": Method(pigdm, "Song et al., 2023, Pseudoinverse-guided diffusion models, ICLR", True, "approximate"),
    "mmps": Method(mmps, "Rozet et al., 2024, arXiv 2405.13712", True, "approximate"),
    "ddrm": Method(ddrm, "Kawar et al., 2022, arXiv 2201.11793", True, "approximate", True),
    "diffpir": Method(diffpir, "Zhu et al., 2023, arXiv 2305.08995", True, "approximate"),
    "red-diff": Method(red_diff, "Mardani et al., 2023, arXiv 2305.04391", False, "point"),
    "daps": Method(daps, "Zhang et al., 2024, arXiv 2407.01521", False, "approximate"),
    "pnp-flow": Method(pnp_flow, "Martin et al., 2024, arXiv 2410.02423", False, "point"),
    "split-gibbs": Method(split_gibbs, "Wu et al., 2024, arXiv 2405.18782; Xu and Chi, 2024", False, "approximate"),
    "twisted": Method(
        twisted,
        "Wu et al., 2023, Practical and asymptotically exact conditional sampling, arXiv 2306.17775",
        True,
        "exact",
        True,
    ),
}
