"""Importance sampling by a map of few steps, whose draws have an exact density (`maths.leading`)."""

import warnings
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from pofx.core.entry import public
from pofx.core.errors import Unsupported
from pofx.core.generative import Leading
from pofx.core.options import Many, Range, Seed
from pofx.core.random import Streams
from pofx.maths.leading import led, led_back
from pofx.parts import BATCH
from pofx.represent.table import Columns
from pofx.runs.weighing import Proposal, WeightedDraws, event_density

PUBLIC = ("MapSampler",)

FOLDED = 1e-3  # share of draws at folds from which a warning is due
MapSteps = Annotated[int, Range(0, 1024)]


@dataclass(frozen=True)
class MapSampler(Proposal):
    """A few-step map fitted to `log_target`; `map_steps` is 0 for as many steps as it was fitted with."""

    def __post_init__(self) -> None:
        if not isinstance(self.artifact.model, Leading) or self.artifact.model.condition is not None:
            raise Unsupported(f"{self.artifact.name} has no map from noise to data: fit split-mean-flow")
        if not isinstance(self.artifact.representation, Columns):
            raise Unsupported(f"{self.artifact.representation.kind} items have no density to compare with: give points")

    @public
    def sample(self, n: Many, *, seed: Seed = 0, map_steps: MapSteps = 0) -> np.ndarray:
        """n ends of the map, without weights."""
        x = self._ends(n, seed, map_steps)[0]
        return self._view.items(self._view.decode(x).cpu())  # type: ignore[no-any-return]

    @public
    def weigh(self, n: Many = 10_000, *, seed: Seed = 0, map_steps: MapSteps = 0) -> WeightedDraws:
        """n ends with their weights; warns where these should not be trusted, or where the map folds."""
        x, log_q, folds = self._ends(n, seed, map_steps)
        share = float(folds.double().mean())
        if share > FOLDED:
            warnings.warn(
                f"the map folds at {share:.1%} of the draws, which the weights do not see: fit longer, or pass more "
                "map_steps",
                RuntimeWarning,
                stacklevel=3,
            )
        density = event_density(self.log_target, self._view)
        with torch.no_grad():
            log_w = torch.cat([density(part).double() for part in x.split(BATCH)]) - log_q
        return self._returned(x, log_w)

    @torch.no_grad()
    def log_prob(self, x: Any, *, map_steps: int = 0) -> np.ndarray:
        """log q at x (n, d) in nats, by leading x back; -inf where its noise is not found."""
        model, raw = self._model, self._view.tensor(x)
        events, ladj = self._view.encode(raw, Streams(0, len(raw)))
        y = model.standardised(events.to(self.artifact.device).float())
        _, log_q, found = led_back(model.lead, y, map_steps or model.steps)
        value = log_q.double() - self._volume + ladj.to(log_q.device)
        return value.masked_fill(~found, -torch.inf).cpu().numpy()

    @property
    def _model(self) -> Leading:
        assert isinstance(self.artifact.model, Leading)
        return self.artifact.model

    @property
    def _volume(self) -> Tensor:
        shape = tuple(self._model.event.shape)  # type: ignore[union-attr]
        return self._model.spread.log().expand(shape).sum().double()

    @torch.no_grad()
    def _ends(self, n: int, seed: int, steps: int) -> tuple[Tensor, Tensor, Tensor]:
        model, streams = self._model, self._streams(n, seed)
        shape = tuple(model.event.shape)  # type: ignore[union-attr]
        ends, densities, folds = [], [], []
        for i in range(0, n, BATCH):
            z = streams[i : i + BATCH].normal(*shape)
            y, log_q, folded = led(model.lead, z, steps or model.steps)
            ends.append(model.restored(y))
            densities.append(log_q.double() - self._volume)
            folds.append(folded)
        return torch.cat(ends), torch.cat(densities), torch.cat(folds)
