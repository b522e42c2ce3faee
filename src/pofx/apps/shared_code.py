"""What two parts of an event share, as one class found without labels: canonical correlations, then k-means.

Where parts depend on one another through little (which digit is seen and spoken: 2.3 nats among hundreds), a model of
both learns that last. Directions of both parts that are correlated most (Hotelling, 1936), of random features of them
(Lopez-Paz et al., 2014, arXiv 1402.0119), carry it alone; clusters of them are a class beside the parts.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

FEATURES = 600  # random ones of each part
RIDGE = 1e-2  # of covariances, in units of their mean variance
LEAST = 0.3  # correlation on held-out items from which on a direction counts


def shared_code(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "n e"], classes: int, seed: int = 0
) -> Int[np.ndarray, "n"]:
    """A class of 0 to classes - 1 for each pair of vectors; all 0 where nothing is shared."""
    from sklearn.cluster import KMeans

    parts = [features(np.asarray(v, np.float64), seed + k) for k, v in enumerate((a, b))]
    half = np.random.default_rng(seed).permutation(len(a)) < len(a) // 2
    roots, maps = [], []
    for x in parts:
        covariance = np.cov(x[half].T)
        ridge = RIDGE * np.trace(covariance) / len(covariance)
        values, vectors = np.linalg.eigh(covariance + ridge * np.eye(len(covariance)))
        roots.append(vectors / np.sqrt(values) @ vectors.T)
        maps.append(x - x[half].mean(0))
    cross = roots[0] @ (maps[0][half].T @ maps[1][half] / half.sum()) @ roots[1]
    left, _, right = np.linalg.svd(cross)
    u, v = maps[0] @ roots[0] @ left[:, : 2 * classes], maps[1] @ roots[1] @ right[: 2 * classes].T
    correlations = np.array([np.corrcoef(p, q)[0, 1] for p, q in zip(u[~half].T, v[~half].T, strict=True)])
    good = correlations > LEAST
    if not good.any():
        return np.zeros(len(a), np.int64)
    shared: Any = (u / u.std(0) + v / v.std(0))[:, good] * correlations[good]
    return np.asarray(KMeans(classes, n_init=10, random_state=seed).fit_predict(shared), np.int64)


def features(x: Float[np.ndarray, "n d"], seed: int) -> Float[np.ndarray, "n features"]:
    """Cosines of random directions of standardised vectors (Rahimi and Recht, 2007)."""
    x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-9)
    g = np.random.default_rng(seed)
    width = np.sqrt(2 * x.shape[1])
    return np.cos(x @ g.normal(size=(x.shape[1], FEATURES)) / width + 2 * np.pi * g.random(FEATURES))
