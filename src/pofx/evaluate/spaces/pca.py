"""Principal components of the vectors: the directions of 99 % of the variance, at most 64 (Pearson, 1901)."""

from typing import Any, ClassVar

import numpy as np

from pofx.core.representation import Items
from pofx.data.vectors import Vectors
from pofx.evaluate.networks import DIMS
from pofx.evaluate.space import FittedSpace

WIDEST = 4096  # dimensions up to which the covariance is decomposed as a whole
MOST = 50_000  # items of which it is computed


class Components(FittedSpace):
    """`pca`: principal components of 99 % of the variance, at most 64."""

    name: ClassVar = "pca"
    summary: ClassVar = "principal components, at most 64"
    source: ClassVar = "Pearson, 1901"
    order: ClassVar = 0

    @classmethod
    def default_for(cls, train: Items) -> bool:
        return True

    @classmethod
    def learn(
        cls, x: np.ndarray, train: Items, vectors: Vectors, seed: int
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Components signed so that the largest entry of each is positive."""
        mean = x.mean(0, dtype=np.float64)
        if x.shape[1] <= WIDEST:
            some = x if len(x) <= MOST else x[np.random.default_rng(seed).permutation(len(x))[:MOST]]
            centred = some - mean.astype(np.float32)
            values, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64) / len(centred))
            values, axes = values[::-1], axes[:, ::-1]
        else:
            from sklearn.decomposition import TruncatedSVD

            svd = TruncatedSVD(DIMS, random_state=seed).fit(x - mean.astype(np.float32))
            values, axes = svd.explained_variance_, svd.components_.T
            values = np.append(values, max(float(x.var(0).sum()) - values.sum(), 0))
        shares = np.cumsum(np.maximum(values, 0)) / max(float(np.maximum(values, 0).sum()), 1e-30)
        dims = int(min(np.searchsorted(shares, 0.99) + 1, DIMS, axes.shape[1]))
        components = axes[:, :dims].T
        peak = components[np.arange(dims), np.abs(components).argmax(1)]
        components = components * np.where(peak < 0, -1, 1)[:, None]
        arrays = {"mean": mean.astype(np.float32), "components": components.astype(np.float32)}
        return arrays, {"dims": dims, "variance": float(shares[dims - 1])}

    def embed(self, x: np.ndarray) -> np.ndarray:
        return np.asarray((x - self.arrays["mean"]) @ self.arrays["components"].T)
