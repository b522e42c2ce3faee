"""The mixture of Gaussians, fitted by expectation maximisation: a classical density with exact values.

Dempster, Laird and Rubin, 1977. scikit-learn's `GaussianMixture` does the fitting, once, in `prepare`; there is nothing
to descend. The number of components, the covariance and the ridge are chosen by the likelihood of a held-out fifth of
the training items. Fitting happens in units of each dimension's own spread, so that one ridge suits all.
"""

import itertools
import math
import warnings
from collections.abc import Callable
from operator import itemgetter
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pofx.core.event import Condition, Continuous, Discrete, Event
from pofx.core.model import Batch, Density, Explicit, Phase
from pofx.core.options import NonNegative, OneOf, Range
from pofx.core.random import Streams
from pofx.maths.distributions import categorical_draw
from pofx.nets.vector.groups import group_count, groups

MOST = 16  # components tried
LARGEST = 1024  # dimensions with a full covariance
PRODUCTS = 2**23  # held at once by sample


class GMM(Explicit):
    """Mixture of Gaussians by expectation maximisation, one per class of a condition.

    Args:
        components: of the mixture; 0 chooses among 1, 2, 4, 8, 16, fewer in many dimensions.
        covariance: "full", "diag", or "auto" (the better of the two; diag above 1,024 dimensions).
        ridge: added to the variances, in units of each dimension's own; 0 chooses among 0.001, 0.01, 0.1, 0.3.
        items: training items looked at, at most.
    """

    name = "gmm"
    role = "baseline"
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
        unit = torch.eye(self.size) if self.full else torch.ones(self.size)
        self.log_weights: Tensor
        self.means: Tensor
        self.factors: Tensor  # Cholesky factors of the covariances, or standard deviations
        log_weights = torch.full((self.groups, self.capacity), -math.inf)
        log_weights[:, 0] = 0.0
        self.register_buffer("log_weights", log_weights)
        self.register_buffer("means", torch.zeros(self.groups, self.capacity, self.size))
        self.register_buffer("factors", unit.repeat(self.groups, self.capacity, *(1,) * unit.ndim))

    def phases(self) -> tuple[Phase, ...]:
        return ()

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Fit each class of the condition; a class without items is given the mixture of all."""
        batch = take(self.items)
        x = batch.x.detach().flatten(1).double().cpu().numpy()
        every = np.zeros(len(x), dtype=int) if batch.condition is None else batch.condition.cpu().numpy()
        for group in range(self.groups):
            mine = x[every == group]
            self.store(group, *self.fit(mine if len(mine) else x))

    def fit(
        self, x: Float[np.ndarray, "n size"]
    ) -> tuple[Float[np.ndarray, "m"], Float[np.ndarray, "m size"], Float[np.ndarray, "m size ..."]]:
        """Weights (m,), means (m, size) and covariances (m, size, size) or variances (m, size) of items (n, size)."""
        centre, spread = x.mean(0), x.std(0)
        spread[spread < 1e-8 * (1.0 + np.abs(centre))] = 1.0  # a constant column is left in its own unit
        if len(x) < 2:
            return np.ones(1), centre[None], (np.diag(spread**2) if self.full else spread**2)[None]
        x = (x - centre) / spread
        rows = np.random.default_rng(0).permutation(len(x))
        held, rest = x[rows[: len(x) // 5]], x[rows[len(x) // 5 :]]
        best: tuple[float, dict[str, Any]] = (-math.inf, {})
        choices = self.choices(len(rest))
        for choice in choices if len(choices) > 1 and len(x) >= 10 else []:
            value = float(fitted(choice, rest).score(held))
            best = max(best, (value, choice), key=itemgetter(0))
        choice = best[1] or choices[0]
        found = fitted(choice, x)
        covariances = found.covariances_
        if self.full and choice["covariance_type"] == "diag":
            covariances = np.stack([np.diag(v) for v in covariances])
        scale = spread[:, None] * spread[None] if self.full else spread**2
        return found.weights_, found.means_ * spread + centre, covariances * scale

    def choices(self, n: int) -> list[dict[str, Any]]:
        """What is tried on n items."""
        counts = [self.components] if self.components else [m for m in (1, 2, 4, 8, 16) if m <= self.capacity]
        counts = [m for m in counts if m == 1 or n >= 10 * m] or [1]
        kinds = [self.covariance] if self.covariance != "auto" else ["full", "diag"] if self.full else ["diag"]
        ridges = [self.ridge] if self.ridge else [1e-3, 1e-2, 1e-1, 3e-1]
        return [
            {"n_components": m, "covariance_type": kind, "reg_covar": ridge}
            for m, kind, ridge in itertools.product(counts, kinds, ridges)
        ]

    def store(
        self,
        group: int,
        weights: Float[np.ndarray, "m"],
        means: Float[np.ndarray, "m size"],
        covariances: Float[np.ndarray, "m size ..."],
    ) -> None:
        factors = np.linalg.cholesky(covariances) if self.full else np.sqrt(covariances)
        self.log_weights[group].fill_(-math.inf)
        for buffer, values in ((self.log_weights, np.log(weights)), (self.means, means), (self.factors, factors)):
            buffer[group, : len(weights)] = torch.as_tensor(values, dtype=buffer.dtype, device=buffer.device)

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
            found[mine] = self.group_log_prob(flat[mine], group)
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

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Float[Tensor, "{n} *event"]:
        self.check_condition(n, condition)
        device = self.means.device
        g = groups(condition, n, device)
        pick = categorical_draw(self.log_weights[g], generator.uniform())
        z = generator.normal(self.size)
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
        return x.reshape(n, *self.event.shape)  # type: ignore[union-attr]


def fitted(choice: dict[str, Any], x: Float[np.ndarray, "n size"]) -> Any:
    """scikit-learn's estimator for a choice; one that stops early is as good as its held-out likelihood says."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianMixture(**choice, max_iter=100, random_state=0).fit(x)
