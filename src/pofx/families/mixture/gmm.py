"""The mixture of Gaussians, fitted by expectation maximisation: a classical density with exact values.

Dempster, Laird and Rubin, 1977. There is nothing to descend: `prepare` fits it once. The number of components, the
covariance and the ridge are chosen by the likelihood of a held-out fifth of the training items, which a few outliers
cannot rule (`maths.robust`). A fit chooses its ridge anew every few iterations, down to a billionth of a column's
variance: real data have thin clusters and manifolds. Ridges are in units of each dimension's own variance. A chosen one
is at least that of rounding to the column's resolution, where its values repeat themselves.
"""

import itertools
import math
from collections.abc import Callable
from typing import Annotated, Any

import torch
from jaxtyping import Bool, Float, Float64, Shaped
from torch import Tensor

from pofx.core.event import Condition, Continuous, Discrete, Event
from pofx.core.generative import NormalComponents, Within
from pofx.core.model import Batch, Denoising, Density, Marginal, Phase
from pofx.core.options import NonNegative, OneOf, Range
from pofx.core.random import Streams
from pofx.families.mixture.expectation import Mixture, clustered, improved, maximised, tolerance
from pofx.maths.distributions import categorical_draw, zero_when_far
from pofx.maths.normal_parts import PARTICLES, Components, drawn_within, log_marginal
from pofx.maths.normals import Spectra
from pofx.maths.robust import FarItems, centre_and_scale, held_out_fifth, resolution
from pofx.nets.vector.groups import group_count, groups, patterns

MOST = 16  # components tried
LARGEST = 1024  # dimensions with a full covariance
PRODUCTS = 2**23  # held at once by sample
RIDGES = (0.3, 0.1, 1e-2, 1e-3, 1e-5, 1e-7, 1e-9)
USUAL = 1e-3  # the first ridge, and the only one where there are too few items to choose
AT_MOST = 30.0  # a column's unit in multiples of its inner spread: the standard deviation may be that of an outlier
FEWEST = 10  # items, and items per component, from which on there is a choice
RUNG, ROUNDS = 8, 4  # iterations between two choices of the ridge, and such choices per number of components


def unit(x: Float[Tensor, "n size"]) -> Float[Tensor, "size"]:
    """The standard deviation of each dimension, of its inner items where few are far away; 1 of constants."""
    centre, inner = centre_and_scale(x)
    spread = x.std(0, correction=0).minimum(AT_MOST * inner)
    return torch.where(spread > 1e-8 * (1.0 + centre.abs()), spread, torch.ones_like(spread))


class GMM(NormalComponents, Denoising, Marginal, Within):
    """Mixture of Gaussians by expectation maximisation, one per class of a condition.

    Args:
        components: of the mixture; 0 chooses among 1, 2, 4, 8, 16, fewer in many dimensions.
        covariance: "full", "diag", or "auto" (the better of the two; diag above 1,024 dimensions).
        ridge: added to the variances, in units of each dimension's own over all classes; 0 chooses, class by class,
            among 0.3, 0.1, 0.01, 1e-3, 1e-5, 1e-7 and 1e-9.
        items: training items looked at, at most.
    """

    name = "gmm"
    baseline = True
    source = "Dempster, Laird and Rubin, 1977"
    events = (Continuous,)
    ranks = (1, 2, 3)
    conditions = (Discrete,)
    best_density = Density.EXACT
    small = {"components": 2, "covariance": "full", "ridge": 1e-3}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        components: Annotated[int, Range(0, 4096)] = 0,
        covariance: Annotated[str, OneOf("auto", "full", "diag")] = "auto",
        ridge: NonNegative = 0.0,
        items: Annotated[int, Range(1, 100_000_000)] = 20_000,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous)
        self.components, self.covariance, self.ridge, self.items = components, covariance, ridge, items
        self.groups = group_count(condition, self.name)
        self.size = math.prod(event.shape)
        self.full = covariance == "full" or (covariance == "auto" and self.size <= LARGEST)
        self.capacity = components or (max(1, min(MOST, 2_000_000 // self.size**2)) if self.full else MOST)
        unit = (torch.eye if self.full else torch.ones)(self.size, dtype=torch.float64)
        self.log_weights: Tensor
        self.means: Tensor
        self.factors: Tensor  # Cholesky factors of the covariances, or standard deviations
        log_weights = torch.full((self.groups, self.capacity), -math.inf, dtype=torch.float64)
        log_weights[:, 0] = 0.0
        self.register_buffer("log_weights", log_weights)
        self.register_buffer("means", torch.zeros(self.groups, self.capacity, self.size, dtype=torch.float64))
        self.register_buffer("factors", unit.repeat(self.groups, self.capacity, *(1,) * unit.ndim))
        self._spectra: list[Spectra] | None = None  # of the components, once they are needed
        self._spread: Tensor | None = None

    def phases(self) -> tuple[Phase, ...]:
        return ()

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Fit each class of the condition; a class without items is given the mixture of all."""
        batch = take(self.items)
        x = batch.x.detach().flatten(1).double().cpu()
        every = groups(batch.condition, len(x), x.device).cpu()
        spread = unit(x) if self.groups > 1 and self.ridge else None  # a column may never have varied in a class
        for group in range(self.groups):
            mine = x[every == group]
            self.store(group, self.fit(mine if len(mine) else x, spread))

    def fit(self, x: Float[Tensor, "n size"], spread: Float[Tensor, "size"] | None = None) -> Mixture:
        """The mixture of items x (n, size), float64; the ridge in its covariances is in units of `spread` or theirs."""
        centre, spread = centre_and_scale(x)[0], unit(x) if spread is None else spread
        x = (x - centre) / spread
        self._rounding = x.new_zeros(self.size) if self.ridge else resolution(x).square() / 12
        options = self.choices(len(x))
        if len(x) < 2:
            found, ridge = maximised(x, x.new_ones(1, 1), full=self.full), x.new_ones(self.size)
        elif len(x) < FEWEST or (self.ridge and len(options) == 1):
            m, full = options[0]
            ridge = self.ridges(self.ridge or USUAL)
            found = improved(x, clustered(x, m, full=full), ridge)
        else:
            found, ridge = self.selected(x)
            found = improved(x, found, ridge)
        covariances = found.with_ridge(ridge)
        if self.full and not found.full:
            covariances = torch.diag_embed(covariances)
        scale = spread[:, None] * spread if self.full else spread.square()
        return Mixture(found.log_weights, found.means * spread + centre, covariances * scale)

    def ridges(self, ridge: float) -> Float[Tensor, "size"]:
        """The ridge of each dimension: at least the variance of rounding to its resolution."""
        return self._rounding.clamp(min=ridge)

    def selected(self, x: Float[Tensor, "n size"]) -> tuple[Mixture, Float[Tensor, "size"]]:
        """The mixture of four fifths of the items (n, size) that fits the others best, and its ridges."""
        held, rest = held_out_fifth(x)
        far = FarItems(held, rest)
        best, found = -math.inf, (clustered(rest, 1, full=self.full), USUAL)
        gains: dict[bool, int] = {True: 0, False: 0}  # sizes without a gain over smaller ones, by kind of covariance
        for m, full in self.choices(len(rest)):
            if gains[full] == 2:
                continue
            mixture, ridge, value = clustered(rest, m, full=full), self.ridge or USUAL, -math.inf
            for _ in range(ROUNDS if m > 1 else 1):
                mixture, before = improved(rest, mixture, self.ridges(ridge), RUNG), value
                values = {r: self.rated(mixture, r, held, far) for r in ((ridge,) if self.ridge else RIDGES)}
                ridge = max(values, key=values.__getitem__)
                value = values[ridge]
                if value > best:
                    best, found, gains[full] = value, (mixture, ridge), -1
                if value < before + tolerance(x):
                    break
            gains[full] += 1
        return found[0], self.ridges(found[1])

    def rated(self, mixture: Mixture, ridge: float, held: Float[Tensor, "n size"], far: FarItems) -> float:
        """The mean log-likelihood of held-out items, in which a few outliers are bounded; -inf where it is singular."""
        try:
            return far.bounded_mean(mixture.log_prob(held, self.ridges(ridge)))
        except RuntimeError:  # torch.linalg's error for a covariance that is singular in float64
            return -math.inf

    def choices(self, n: int) -> list[tuple[int, bool]]:
        """Numbers of components and whether covariances are full, as tried on n items."""
        counts = [self.components] if self.components else [m for m in (1, 2, 4, 8, 16) if m <= self.capacity]
        kinds = [self.covariance == "full"] if self.covariance != "auto" else [True, False] if self.full else [False]
        least = {True: max(FEWEST, 2 * self.size), False: FEWEST}  # items per component
        found = [(m, full) for m, full in itertools.product(counts, kinds) if m == 1 or n >= m * least[full]]
        return found or [(1, kinds[0])]

    def store(self, group: int, found: Mixture) -> None:
        """Keep the mixture of a class of the condition."""
        self.forget()
        factors = torch.linalg.cholesky(found.covariances) if self.full else found.covariances.sqrt()
        self.log_weights[group].fill_(-math.inf)
        values = ((self.log_weights, found.log_weights), (self.means, found.means), (self.factors, factors))
        for buffer, value in values:
            buffer[group, : len(value)] = value

    def validation(self, batch: Batch) -> Float[Tensor, ""]:
        return -self.log_prob(batch.x, batch.condition).mean()

    def log_prob(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        """log p(x | condition) in nats, computed in float64: (n,)."""
        self.check_condition(len(x), condition)
        flat = x.flatten(1).double()
        g = groups(condition, len(x), x.device)
        found = flat.new_empty(len(x))
        for group in sorted(set(g.tolist())):
            mine = g == group
            found[mine] = zero_when_far(lambda x, group=group: self.group_log_prob(x, group), flat[mine])
        return found.to(x.dtype)

    def group_log_prob(self, x: Float[Tensor, "n size"], group: int) -> Float[Tensor, "n"]:
        parts = []
        for m in range(self.capacity):
            factor = self.factors[group, m].double()
            if math.isinf(float(self.log_weights[group, m])):
                continue
            centred = x - self.means[group, m].double()
            if self.full:
                z = torch.linalg.solve_triangular(factor, centred.T, upper=False).T
                log_det = factor.diagonal().log().sum()
            else:
                z, log_det = centred / factor, factor.log().sum()
            log_normal = -0.5 * z.square().sum(1) - log_det - 0.5 * self.size * math.log(2 * math.pi)
            parts.append(self.log_weights[group, m].double() + log_normal)
        return torch.stack(parts).logsumexp(0)

    def log_marginal(
        self, x: Float[Tensor, "n *event"], known: Bool[Tensor, "n *event"], condition: Condition | None = None
    ) -> Float[Tensor, "n"]:
        """log p of the known dimensions in nats, computed in float64: (n,)."""
        self.check_condition(len(x), condition)
        flat, there = x.flatten(1).double(), known.expand_as(x).flatten(1)
        g, found = groups(condition, len(x), x.device), flat.new_zeros(len(x))
        for group, of, rows in patterns(g, there):
            parts = self._covariances(group)
            found[rows] = zero_when_far(lambda a, parts=parts, of=of: log_marginal(parts, a, of), flat[rows][:, of])
        return found.to(x.dtype)

    def _covariances(self, group: int) -> Components:
        log_weights, means, factors = self._group(group)
        return log_weights, means, factors @ factors.mT

    def sample(
        self,
        n: int,
        condition: Condition | None = None,
        *,
        generator: Streams,
        low: Float[Tensor, "n *event"] | None = None,
        high: Float[Tensor, "n *event"] | None = None,
    ) -> Float[Tensor, "{n} *event"]:
        self.check_condition(n, condition)
        device = self.means.device
        g = groups(condition, n, device)
        if low is not None and high is not None:
            return self._inside(g, low.flatten(1).double(), high.flatten(1).double(), generator)
        pick = categorical_draw(self.log_weights[g], generator.uniform())
        z = generator.normal(self.size).double()
        x = torch.empty_like(z)
        for group, m in {(int(a), int(b)) for a, b in zip(g, pick, strict=True)}:
            mine = (g == group) & (pick == m)
            factor = self.factors[group, m]
            if self.full:  # row by row, so that sample i is the same bits in any batch
                parts = torch.split(z[mine], max(1, PRODUCTS // self.size**2))
                move = torch.cat([(factor * part[:, None, :]).sum(-1) for part in parts])
            else:
                move = factor * z[mine]
            x[mine] = self.means[group, m] + move
        return x.float().reshape(n, *self.event.shape)  # type: ignore[union-attr]

    def _inside(
        self, g: Tensor, low: Float[Tensor, "n size"], high: Float[Tensor, "n size"], generator: Streams
    ) -> Float[Tensor, "n *event"]:
        """Draws given that some dimensions lie in intervals."""
        noise, pick = generator.normal(self.size).double(), generator.uniform(2).double()
        spread, plain = generator.uniform(self.size, PARTICLES).double(), generator.uniform().double()
        x = torch.empty_like(noise)
        for group, of, rows in patterns(g, low.isfinite() | high.isfinite()):
            parts = self._covariances(group)
            if bool(of.any()):
                x[rows] = drawn_within(parts, of, low[rows], high[rows], noise[rows], spread[rows], pick[rows])
                continue
            component = categorical_draw(parts[0].expand(len(rows), -1), plain[rows])
            factors = torch.linalg.cholesky(parts[2])[component]
            x[rows] = parts[1][component] + (factors * noise[rows][:, None, :]).sum(-1)
        return x.float().reshape(len(g), *self.event.shape)  # type: ignore[union-attr]

    # ── a prior of inverse problems: exact posteriors, an exact denoiser ──

    def normals(
        self, condition: Shaped[Tensor, "1 *condition"] | None = None
    ) -> tuple[Float64[Tensor, "m"], Float64[Tensor, "m d"], Float64[Tensor, "m d d"]]:
        return self._group(int(groups(condition, 1, self.means.device)[0]))

    def _group(self, group: int) -> tuple[Tensor, Tensor, Tensor]:
        here = self.log_weights[group].isfinite()
        factors = self.factors[group, here].double()
        factors = factors if self.full else torch.diag_embed(factors)
        return self.log_weights[group, here].double(), self.means[group, here].double(), factors

    @property
    def spread(self) -> Float[Tensor, "..."]:
        """The root of the mean variance of a dimension."""
        if self._spread is None:
            with torch.inference_mode(False):
                weights = (self.log_weights.softmax(1) / self.groups)[..., None]
                inner = self.factors.square().sum(-1) if self.full else self.factors.square()
                centre = (weights * self.means).sum((0, 1))
                self._spread = (weights * (inner + (self.means - centre).square())).sum((0, 1)).mean().sqrt().float()
        return self._spread

    def forget(self) -> None:
        """Nothing that follows from the components is stored beside them any more."""
        self._spectra = self._spread = None

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self.forget()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        self.forget()
        return super()._apply(fn, recurse)

    def schedule(self, t: Float[Tensor, "*n"]) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
        """Straight lines to noise as wide as the data."""
        t = t.reshape(*t.shape, *[1] * len(self.event.shape))  # type: ignore[union-attr]
        return 1 - t, t * self.spread

    def denoise(
        self, x_t: Float[Tensor, "n *event"], t: Float[Tensor, "*n"], condition: Condition | None = None
    ) -> Float[Tensor, "n *event"]:
        """E[x | x_t] in closed form; without a condition of all classes alike."""
        if self._spectra is None:
            with torch.inference_mode(False):  # stored beyond this call, and met by gradients with respect to x_t
                self._spectra = [Spectra.of(*self._group(g)) for g in range(self.groups)]
        spectra = self._spectra
        t = t.expand(len(x_t))
        flat, (alpha, sigma) = x_t.flatten(1), (v.flatten() for v in self.schedule(t))
        if condition is None and self.groups > 1:
            parts = [torch.cat([getattr(s, name) for s in spectra]) for name in Spectra.__dataclass_fields__]
            return Spectra(*parts).denoised(flat, alpha, sigma).reshape(x_t.shape)
        g, found = groups(condition, len(x_t), x_t.device), torch.zeros_like(flat)
        for group in sorted(set(g.tolist())):
            mine = (g == group).nonzero()[:, 0]
            found = found.index_copy(0, mine, spectra[group].denoised(flat[mine], alpha[mine], sigma[mine]))
        return found.reshape(x_t.shape)
