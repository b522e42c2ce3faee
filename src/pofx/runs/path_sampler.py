"""Importance sampling of whole paths: a denoiser as the proposal for a density known up to its constant.

The weights of `maths.follmer` are exact for any denoiser and any number of steps: their mean estimates log Z without
bias in Z, more steps make them flatter.
"""

from dataclasses import dataclass

import numpy as np
import torch

from pofx.core.entry import public
from pofx.core.errors import Unsupported
from pofx.core.model import Denoising
from pofx.core.options import Count, Many, Seed
from pofx.maths.follmer import paths
from pofx.parts import BATCH
from pofx.represent.table import Columns
from pofx.runs.weighing import Proposal, WeightedDraws, event_density

PUBLIC = ("PathSampler",)


@dataclass(frozen=True)
class PathSampler(Proposal):
    """A denoiser fitted to `log_target`, whose stochastic paths are its draws."""

    def __post_init__(self) -> None:
        if not isinstance(self.artifact.model, Denoising) or self.artifact.model.condition is not None:
            raise Unsupported(f"{self.artifact.name} has no paths from noise to data: fit flow-matching")
        if not isinstance(self.artifact.representation, Columns):
            raise Unsupported(f"{self.artifact.representation.kind} items have no density to compare with: give points")

    @public
    def sample(self, n: Many, *, seed: Seed = 0, path_steps: Count = 128) -> np.ndarray:
        """n ends of paths, without weights."""
        return self._ends(n, seed, path_steps)[0]

    @public
    def weigh(self, n: Many = 10_000, *, seed: Seed = 0, path_steps: Count = 128) -> WeightedDraws:
        """n ends of paths with the weights of the paths; warns where these should not be trusted.

        Args:
            path_steps: of each path; more of them make the weights flatter.
        """
        return self._ends(n, seed, path_steps)[1]

    @torch.no_grad()
    def _ends(self, n: int, seed: int, steps: int) -> tuple[np.ndarray, WeightedDraws]:
        model = self.artifact.model
        assert isinstance(model, Denoising)
        streams, density = self._streams(n, seed), event_density(self.log_target, self._view)
        shape = tuple(model.event.shape)  # type: ignore[union-attr]
        ends, log_w = [], []
        for i in range(0, n, 4 * BATCH):
            x, log_q = paths(model.denoise, model.schedule, model.spread, shape, steps, streams[i : i + 4 * BATCH])
            ends.append(x)
            log_w.append(density(x).double() - log_q)
        found = self._returned(torch.cat(ends), torch.cat(log_w))
        return found.x, found
