"""Where one walks to the posterior of a measurement: through the codes of a model, or through its items.

Both have the same posterior where codes and items are one to one. Codes have a simple prior, whatever the items are
like; but an autoregressive flow decodes number by number, where its density of an item costs one pass. There the walk
goes through items, in coordinates in which those of the prior are uncorrelated and of one size (Ledoit and Wolf, 2004,
for the covariance of few draws), as their codes would be if they were normal.
"""

from typing import Any, Protocol

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from pofx.core.event import Continuous, dims, select
from pofx.core.generative import Decoding
from pofx.core.model import Density, Explicit
from pofx.core.random import Streams

PILOTS = 1_024  # draws of the prior behind the coordinates of items, at most; two for each number are enough


class Space(Protocol):
    """Coordinates z (n, d) of items, and their prior."""

    d: int

    def start(self, streams: Streams) -> Tensor:
        """Draws of the prior: (n, d), one of each stream."""

    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z) without a constant: (n,), differentiable."""

    def event(self, z: Tensor) -> Tensor:
        """The events of z: (n, *event), differentiable."""


class Codes:
    """The codes of a model, flat."""

    def __init__(self, model: Decoding, condition: Any) -> None:
        assert not isinstance(model.code, dict)
        self.model, self.condition, self.shape = model, condition, model.code.shape
        self.d = dims(model.code)

    def start(self, streams: Streams) -> Tensor:
        return self.model.prior_codes(streams.n, generator=streams).flatten(1)

    def log_prior(self, z: Tensor) -> Tensor:
        return self.model.log_prior(z)

    def event(self, z: Tensor) -> Tensor:
        found = self.model.expected(z.reshape(len(z), *self.shape), _repeated(self.condition, z))
        assert not isinstance(found, dict)
        return found


class Whitened:
    """Events of a model with a density: z = root⁻¹ (x - centre), flat."""

    def __init__(self, model: Explicit, condition: Any, seed: int, device: torch.device) -> None:
        assert isinstance(model.event, Continuous)
        self.model, self.condition, self.shape = model, condition, model.event.shape
        self.d = dims(model.event)
        x = self._drawn(Streams(seed, min(max(2 * self.d, 128), PILOTS), first=1 << 40, device=device)).double().cpu()
        self.centre = x.mean(0).float().to(device)
        root = np.linalg.cholesky(np.atleast_2d(ledoit_wolf(x.numpy())[0]) + 1e-9 * np.eye(self.d))
        self.root = torch.from_numpy(root).float().to(device)

    def _drawn(self, streams: Streams) -> Tensor:
        with torch.no_grad():
            x = self.model.sample(
                streams.n, _repeated(self.condition, range(streams.n), streams.device), generator=streams
            )
        assert not isinstance(x, dict)
        return x.flatten(1)

    def start(self, streams: Streams) -> Tensor:
        centred = (self._drawn(streams) - self.centre).T
        return torch.linalg.solve_triangular(self.root, centred, upper=False).T.contiguous()

    def log_prior(self, z: Tensor) -> Tensor:
        return self.model.log_prob(self.event(z), _repeated(self.condition, z))

    def event(self, z: Tensor) -> Tensor:
        return (z @ self.root.T + self.centre).reshape(len(z), *self.shape)


def dear_codes(model: Any) -> bool:
    """Whether items are the cheaper place to walk through: codes take many passes to decode, and the density of an
    item, exact and over all real numbers, takes one."""
    return (
        isinstance(model, Decoding)
        and isinstance(model, Explicit)
        and isinstance(model.event, Continuous)
        and model.slow_decoding
        and model.density == Density.EXACT
    )


def _repeated(condition: Any, rows: Any, device: Any = None) -> Any:
    """One condition for each of the rows."""
    if condition is None:
        return None
    where = rows.device if isinstance(rows, Tensor) else device
    return select(condition, torch.zeros(len(rows), dtype=torch.int64, device=where))
