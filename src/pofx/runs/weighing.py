"""Importance sampling with a fitted model as the proposal: expectations, log Z, and their diagnostics.

Weights are w = f(x) / q(x) with f unnormalised: their mean estimates Z, weighted means of draws estimate those of the
target. `refine` leads the draws on from q to f through a bridge by annealed importance sampling (Neal, 2001) with
Hamiltonian moves; its weights are exact as well, and flatter.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import torch
from torch import Tensor

from pofx.artifact import Artifact, load
from pofx.core.entry import public, theirs
from pofx.core.errors import DataError, Unsupported, UsageError
from pofx.core.event import dims
from pofx.core.model import Density, Reparameterised
from pofx.core.options import Count, Many, OneOf, Range, Seed, checked
from pofx.core.random import Streams
from pofx.maths.annealing import anneal, log_mean_weight, standard_normal
from pofx.maths.basins import basins
from pofx.maths.importance import RELIABLE, effective_share, pareto_shape
from pofx.parts import BATCH
from pofx.represent.table import Columns

PUBLIC = ("ImportanceSampler",)

CLIMBERS = 512  # starts that climb straight up in `missed`
LEAST_SHARE = 0.1  # effective draws as a share of all, below which a warning is due
TEMPERATURES = (40, 80, 160, 320)  # of `refine`, until enough weights count
SCOUTS, ENOUGH = 128, 0.5  # pilot chains, and the share of their weights that is to count
MARGIN = 1.5  # so many times the weights must count from the broad normal to begin there


@dataclass(frozen=True)
class WeightedDraws:
    """Draws x (n, …) in data space and the logarithms of their weights, float64 (n,)."""

    x: np.ndarray
    log_weights: np.ndarray

    def __len__(self) -> int:
        return len(self.log_weights)

    @property
    def weights(self) -> np.ndarray:
        """Weights that sum to 1."""
        w = np.exp(self.log_weights - self.log_weights.max())
        return np.asarray(w / w.sum())

    @property
    def ess(self) -> float:
        """Effective sample size as a share of n."""
        return effective_share(torch.from_numpy(self.log_weights))

    @property
    def log_z(self) -> tuple[float, float]:
        """log Z of the target in nats, and its standard error."""
        return log_mean_weight(torch.from_numpy(self.log_weights))

    @property
    def pareto_k(self) -> float:
        """The shape of the tail of the weights; above 0.7 neither log Z nor expectations are to be trusted."""
        return pareto_shape(torch.from_numpy(self.log_weights))

    @property
    def warning(self) -> str | None:
        """Why these weights should not be trusted, if so."""
        said = []
        if self.ess < LEAST_SHARE:
            said.append(f"the effective sample size is {self.ess:.2g} of the draws")
        if self.pareto_k > RELIABLE:
            said.append(f"the weights are heavy-tailed (Pareto k = {self.pareto_k:.2f}, reliable up to {RELIABLE})")
        if not said:
            return None
        return " and ".join(said) + ": train longer, widen `scale`, give samples, or refine with more temperatures"

    def expectation(self, function: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The mean of function(x) (n, …) under the target, self-normalised, and its standard error."""
        values = np.asarray(function(self.x), dtype=np.float64)
        w = self.weights.reshape(-1, *[1] * (values.ndim - 1))
        mean = (w * values).sum(0)
        return mean, np.sqrt((w**2 * (values - mean) ** 2).sum(0))

    @checked
    def resample(self, n: Count, *, seed: Annotated[int, Range(0, 1 << 62)] = 0) -> np.ndarray:
        """n draws of the target, nearly: x drawn anew by weight, systematically, in random order (with repeats)."""
        rng = np.random.default_rng(seed)
        at = np.searchsorted(np.cumsum(self.weights), (rng.random() + np.arange(n)) / n).clip(max=len(self) - 1)
        return np.asarray(self.x[rng.permutation(at)])

    def __str__(self) -> str:
        value, error = self.log_z
        said = f"log Z = {value:.4f} ± {error:.2g}, effective draws {self.ess:.1%} of {len(self)}"
        return f"{said}, Pareto k {self.pareto_k:.2f}" + (f"; beware: {self.warning}" if self.warning else "")


@dataclass(frozen=True)
class Proposal:
    """A fitted model that draws for an unnormalised density `log_target`: float (n, d) → (n,), in torch."""

    artifact: Artifact
    log_target: Callable[[Tensor], Tensor]

    @classmethod
    @public
    def load(cls, path: str | Path, log_target: Callable[[Tensor], Tensor]) -> Self:
        """A sampler from a folder that `fit_density(out=…)` or `save` wrote; the target itself is never saved."""
        return cls(load(path), log_target)

    def save(self, path: str | Path) -> Path:
        """Write the fitted model; see `Artifact.save`."""
        return self.artifact.save(path)

    @property
    def _view(self) -> Columns:
        assert isinstance(self.artifact.representation, Columns)
        return self.artifact.representation

    def _streams(self, n: int, seed: int) -> Streams:
        return Streams(seed, n, device=self.artifact.device)

    def _returned(self, x: Tensor, log_weights: Tensor) -> WeightedDraws:
        if bool(log_weights.isnan().any()):
            raise DataError("log_target is nan at a draw: make it finite, or -inf where f is 0")
        items = self._view.items(self._view.decode(x.detach()).cpu())
        found = WeightedDraws(items, log_weights.detach().cpu().double().numpy())
        if found.warning:
            warnings.warn(found.warning, RuntimeWarning, stacklevel=3)
        return found


@dataclass(frozen=True)
class ImportanceSampler(Proposal):
    """A fitted model with an exact density as the proposal for `log_target`."""

    def __post_init__(self) -> None:
        model, view = self.artifact.model, self.artifact.representation
        if not isinstance(model, Reparameterised) or self.artifact.density is not Density.EXACT:
            raise Unsupported(f"{self.artifact.name} has no exact density for importance weights: fit nsf")
        if not isinstance(view, Columns):
            raise Unsupported(f"{view.kind} items have no density that a target could be held against: give points")

    @public
    def sample(self, n: Many, *, seed: Seed = 0) -> np.ndarray:
        """n draws of the model, without weights."""
        return np.asarray(self.artifact.sample(n, seed=seed))

    def log_prob(self, x: Any) -> np.ndarray:
        """The model's normalised log density at x (n, d), nats."""
        return self.artifact.log_prob(x)

    @public
    @torch.no_grad()
    def weigh(self, n: Many = 10_000, *, seed: Seed = 0) -> WeightedDraws:
        """n draws of the model with their weights; warns where these should not be trusted."""
        streams, density = self._streams(n, seed), event_density(self.log_target, self._view)
        x, log_w = [], []
        for i in range(0, n, BATCH):
            part = self._model.sample(len(streams[i : i + BATCH]), generator=streams[i : i + BATCH])
            x.append(part)
            log_w.append(density(part).double() - self._model.log_prob(part).double())
        return self._returned(torch.cat(x), torch.cat(log_w))

    @public
    def refine(
        self,
        n: Count = 1_000,
        *,
        temperatures: Count | None = None,
        moves: Count = 1,
        leaps: Count = 5,
        start: Annotated[str, OneOf("auto", "model", "broad")] = "auto",
        seed: Seed = 0,
    ) -> WeightedDraws:
        """n draws led from the model to the target over `temperatures` bridges, with their weights.

        Args:
            temperatures: None takes 40, doubled up to 320 until half of the weights of pilot chains count.
            moves: Hamiltonian moves at each temperature.
            leaps: leapfrog steps in each move.
            start: "model", "broad": from the broad normal instead, as if there were no model, or "auto": that one under
                which more weights of pilot chains count; a model that misses parts of the target leaves heavy weights.
        """
        density = event_density(self.log_target, self._view)
        numbers, model = dims(self._model.event), self._model
        starts: dict[str, tuple[Callable[[Streams], Tensor], Callable[[Tensor], Tensor]]] = {
            "model": (lambda streams: model.sample(len(streams), generator=streams), model.log_prob),
            "broad": (lambda streams: streams.normal(numbers), standard_normal),
        }

        def led(kind: str, count: int, steps: int, own: int) -> tuple[Tensor, Tensor]:
            return anneal(
                *starts[kind], density, n=count, temperatures=steps, moves=moves, leaps=leaps, seed=own,
                device=self.artifact.device,
            )  # fmt: skip

        kinds = list(starts) if start == "auto" else [start]
        steps = TEMPERATURES[0] if temperatures is None else temperatures
        if len(kinds) > 1 or temperatures is None:
            for steps in TEMPERATURES if temperatures is None else (temperatures,):
                counts = {kind: effective_share(led(kind, SCOUTS, steps, seed + (1 << 42))[1]) for kind in kinds}
                best = max(kinds, key=lambda kind: counts[kind] * (MARGIN if kind == "model" else 1.0))
                if counts[best] >= ENOUGH:
                    break
            kinds = [best]
        return self._returned(*led(kinds[0], n, steps, seed))

    @public
    def missed(self, n: Count = 1_000, *, temperatures: Count = 200, seed: Seed = 0) -> tuple[float, float]:
        """Nats of log Z that the model may have missed, and the standard error; the sign that a mode was lost.

        The weights of a model's own draws cannot show what it never draws. Two searches begin at the broad normal
        instead: annealing, which finds modes that are wide from afar, and a climb straight up, which finds narrow
        ones; draws around the maxima join those of the model in one estimate. Both log Z are low on average: where
        one lies above the model's, by several errors, mass is missing, and that one is returned. The converse does not
        hold: a mode that no search reaches from the broad normal stays unseen.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            own = self.weigh(n, seed=seed).log_z
            searched = [self.refine(n, temperatures=temperatures, start="broad", seed=seed).log_z]
            searched += self._climbed(n, seed)
        gaps = [(z - own[0], math.hypot(own[1], error)) for z, error in searched]
        return max(gaps, key=lambda gap: gap[0] / gap[1] if gap[1] > 0 else gap[0])

    @torch.no_grad()
    def _climbed(self, n: int, seed: int) -> list[tuple[float, float]]:
        """log Z by the model's draws and as many around the maxima, each against the density of both; none without
        maxima."""
        model, density = self._model, event_density(self.log_target, self._view)
        streams = self._streams(n, seed + (1 << 43))
        found = basins(density, self._streams(CLIMBERS, seed + (1 << 43)).normal(dims(model.event)))
        if found is None:
            return []
        around = found.draw(streams).to(streams.device)
        x = torch.cat([model.sample(n, generator=streams).double(), around])
        log_q = torch.cat([model.log_prob(part.float()).double() for part in x.split(BATCH)])
        both = torch.logaddexp(log_q, found.mixture(x.cpu()).to(log_q.device)) - math.log(2)
        return [log_mean_weight(density(x.float()).double() - both)]

    @property
    def _model(self) -> Reparameterised:
        assert isinstance(self.artifact.model, Reparameterised)
        return self.artifact.model


def event_density(log_target: Callable[[Tensor], Tensor], view: Columns) -> Callable[[Tensor], Tensor]:
    """log f of events, with the change of volume to data space: float (n, e) → (n,)."""

    def log_density(x: Tensor) -> Tensor:
        raw, ladj = view.back(x)
        with theirs() as dtype:
            value = log_target(raw.to(dtype))
        if isinstance(value, Tensor) and x.requires_grad and torch.is_grad_enabled() and not value.requires_grad:
            raise UsageError("log_target has no slope: compute it with torch from the tensor that it is given")
        if not isinstance(value, Tensor) or value.shape != (len(x),) or not value.is_floating_point():
            raise UsageError(
                f"log_target must return a float tensor of shape (n,), here ({len(x)},) (got {_returned(value, len(x))}"
            )
        return value + ladj

    return log_density


def _returned(value: Any, n: int) -> str:
    """What a target gave in place of log f of every row, and what to do."""
    if not isinstance(value, Tensor):
        of = "compute it with torch functions of the tensor that it is given, through which slopes flow"
        return f"{type(value).__name__}): {of}, for all rows at once"
    got = f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)})"
    if not value.is_floating_point():
        return f"{got}: without rounding, since slopes flow through it"
    return f"{got}: take [:, 0] of it" if value.shape == (n, 1) else f"{got}: sum over the axes of a row"
