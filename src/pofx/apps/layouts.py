"""Solids in two stages: a short code that lays them out, and voxels drawn one by one given it.

The code is the solid's first principal components, each in one of a few classes, so that the code of a solid is certain
and p(solid) ≥ p(code) p(solid | code): a bound that both stages have exactly. The code is modelled by a circuit, the
voxels by `context-mlp`, which sees a window of the voxels before, the place, and the code: coarse to fine, as in Menick
and Kalchbrenner, 2019, arXiv 1812.01608, with principal components for the coarse part.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import norm

from pofx.artifact import Artifact, load
from pofx.core.errors import DataError, UsageError
from pofx.core.files import whole
from pofx.core.items import Items
from pofx.data.arrays import write_arrays
from pofx.data.components import Components
from pofx.data.dataset import dataset
from pofx.data.kinds.tokens import tokens
from pofx.data.kinds.voxels import voxels
from pofx.runs.fitting import fit

PUBLIC = ("Solids",)

PARTS, CLASSES = 16, 8  # components of a code, and the classes of each
LEAST = 10  # solids
SHARE = 0.1  # of the time, for the codes
EDGES = norm.ppf(np.arange(1, CLASSES) / CLASSES)
MIDDLES = norm.ppf((np.arange(CLASSES) + 0.5) / CLASSES)
OF_CODES: Mapping[str, Any] = {"states": 16, "batch_size": 200}

Voxels = Int[np.ndarray, "n k k k"]


class Solids:
    """p(solid): its layout, then its voxels."""

    def __init__(
        self,
        *,
        options: Mapping[str, Any] | None = None,
        minutes: float | None = None,
        steps: int | None = None,
        progress: Any = False,
        seed: int = 0,
    ) -> None:
        """Args:
        options: of `context-mlp`, the trainer and the view.
        minutes: of training; one by default.
        progress: of training, as of `pofx.fit`.
        """
        self.options, self.minutes, self.steps, self.seed = options, minutes, steps, seed
        self.progress = progress
        self.run: Artifact | None = None
        self.layout: Artifact | None = None

    def fit(self, train: Voxels, validation: Voxels) -> "Solids":
        """Learn from solids of zeros and ones (n, k, k, k), with others to stop by."""
        if len(train) < LEAST or not len(validation):
            raise DataError(f"there are {len(train)} and {len(validation)} solids, at least {LEAST} and 1 are needed")
        self.side = train.shape[1]
        self.parts = Components.fit(train.reshape(len(train), -1).astype(np.float64), PARTS)
        about: dict[str, Any] = {"source": "given", "licence": "unknown", "count_overlaps": False}
        codes = [self.codes(part) for part in (train, validation)]
        short = [tokens(code, classes=CLASSES) for code in codes]
        given = [
            replace(voxels(part), condition=Items("signal", _signal(code)))
            for part, code in zip((train, validation), codes, strict=True)
        ]
        minutes = self.minutes or 1.0
        budgets: list[dict[str, Any]] = [{"minutes": SHARE * minutes}, {"minutes": (1 - SHARE) * minutes}]
        if self.steps:
            budgets = [{"steps": self.steps}] * 2
        own: dict[str, Any] = {"seed": self.seed, "progress": self.progress}
        codes_data, data = (dataset(a, b, b, "solids", **about) for a, b in (short, given))
        self.layout = fit(codes_data, "circuit", **own, **OF_CODES, **budgets[0])
        self.run = fit(data, "context-mlp", **own, **budgets[1], **dict(self.options or {}))
        return self

    def codes(self, solids: Voxels) -> Int[np.ndarray, "n parts"]:
        """The classes of the components of solids."""
        return np.searchsorted(EDGES, self.parts.encode(np.asarray(solids).reshape(len(solids), -1).astype(np.float64)))

    @property
    def _fitted(self) -> tuple[Artifact, Artifact]:
        if self.run is None or self.layout is None:
            raise UsageError("the solids are not fitted: call fit first")
        return self.layout, self.run

    def sample(self, n: int, *, seed: int = 0) -> Voxels:
        """n solids uint8 (n, k, k, k)."""
        layout, run = self._fitted
        codes = np.asarray(layout.sample(n, seed=seed))
        drawn = run.sample(n, _signal(codes), seed=seed, with_condition=False, batch_size=n)
        return np.asarray(drawn).reshape(n, *[self.side] * 3).astype(np.uint8)

    def log_prob(self, solids: Voxels) -> Float[np.ndarray, "n"]:
        """A bound on log p of solids, in nats."""
        layout, run = self._fitted
        codes = self.codes(solids)
        return np.asarray(layout.log_prob(codes) + run.log_prob(voxels(solids), _signal(codes)))

    def save(self, folder: str | Path) -> Path:
        """Write both stages into a folder."""
        layout, run = self._fitted
        with whole(Path(folder)) as aside:
            run.save(aside)
            layout.save(aside / "layout")
            own = {"mean": self.parts.mean.astype(np.float32), "directions": self.parts.directions.astype(np.float32)}
            write_arrays(aside / "components.npz", own)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> "Solids":
        """The solids that `save` wrote."""
        made = cls()
        made.run, made.layout = load(folder), load(Path(folder) / "layout")
        with np.load(Path(folder) / "components.npz", allow_pickle=False) as arrays:
            made.parts = Components(arrays["mean"], arrays["directions"])
        made.side = round(len(made.parts.mean) ** (1 / 3))
        return made


def _signal(codes: Int[np.ndarray, "n parts"]) -> Float[np.ndarray, "n 1 parts"]:
    """The middles of the classes of codes."""
    return MIDDLES[codes][:, None].astype(np.float32)
