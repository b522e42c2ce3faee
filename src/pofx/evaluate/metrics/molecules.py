"""Molecules: are strings valid SMILES, all different, new and diverse, and are their parts those of real molecules?

`validity` is the share that RDKit parses and sanitises; `uniqueness` that of different molecules among the valid ones;
`novelty` that of the different ones which no training molecule is: both sides are canonicalised, for one molecule has
many strings. `internal_diversity` is 1 - the mean Tanimoto similarity of pairs (Polykovskiy et al., 2020, arXiv
1811.12823). `fingerprint_distance` is the Fréchet distance of counted Morgan fingerprints (radius 2, 2,048 places;
Rogers and Hahn, 2010) on the 64 principal components of training molecules (the idea of Preuer et al., 2018, arXiv
1803.09518, without its network), over all valid samples. Needs the extra `molecules` (RDKit); without it nothing is
measured.
"""

from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from pofx.core.errors import UsageError
from pofx.core.representation import Items
from pofx.data.chemistry import canonical, chemistry, fingerprints
from pofx.evaluate.measurement import half_sampling
from pofx.evaluate.metric import ItemMetric, Reading, ScoreInfo
from pofx.maths.frechet import frechet_distance, frechet_floor

DIMS = 64
MOST = 5000  # molecules a side whose fingerprints are taken
PAIRED = 1000  # molecules whose pairs are compared


def internal_diversity(bits: Float[np.ndarray, "n places"]) -> float:
    """1 - the mean Tanimoto similarity of all pairs of different rows of 0 and 1; 0 for fewer than two rows."""
    if len(bits) < 2:
        return 0.0
    shared = bits @ bits.T
    size = bits.sum(1)
    either = size[:, None] + size - shared
    similar = np.where(either > 0, shared / np.maximum(either, 1), 1.0)
    n = len(bits)
    return float(1 - (similar.sum() - np.trace(similar)) / (n * (n - 1)))


def components(base: Float[np.ndarray, "n places"]) -> Float[np.ndarray, "places k"]:
    """At most DIMS principal directions of fingerprints, over the places that some molecule has."""
    used = np.flatnonzero(base.any(0))
    directions = np.linalg.eigh(np.atleast_2d(np.cov(base[:, used], rowvar=False)))[1][:, ::-1][:, :DIMS]
    axes = np.zeros((base.shape[1], directions.shape[1]))
    axes[used] = directions
    return axes


def share(hits: int, n: int) -> tuple[float, float]:
    """A share and its standard error, that of (hits + 1) / (n + 2), which is not 0 at the ends."""
    p = (hits + 1) / (n + 2)
    return hits / n, float(np.sqrt(p * (1 - p) / n))


class Molecules(ItemMetric):
    """Validity, uniqueness, novelty, internal diversity and Fréchet distance on fingerprints of SMILES strings."""

    scores: ClassVar = {
        "validity": ScoreInfo(
            "higher", "Valid", "share of strings that are molecules", "molecules", headline=True, writes="share"
        ),
        "uniqueness": ScoreInfo(
            "higher",
            "Unique",
            "share of distinct molecules among the valid ones",
            "molecules",
            headline=True,
            writes="share",
        ),
        "novelty": ScoreInfo(
            "higher",
            "Novel",
            "share of the distinct molecules that are not in the training split",
            "molecules",
            headline=True,
            writes="share",
        ),
        "internal_diversity": ScoreInfo(
            "none", "Internal diversity", "1 - mean Tanimoto similarity; compare with real molecules", "molecules"
        ),
        "fingerprint_distance": ScoreInfo(
            "lower", "FD Morgan", "Fréchet distance of Morgan count fingerprints of valid samples", "molecules"
        ),
    }
    source: ClassVar = "Polykovskiy et al., 2020, arXiv 1811.12823"
    kinds: ClassVar = ("molecules",)

    def read(self, samples: Items, real: Items, train: Items, seed: int = 0) -> Reading:
        if not train.facts.get("molecules"):
            return Reading({})
        try:
            chemistry()
        except UsageError:
            return Reading({})
        generator = np.random.default_rng(seed)
        found = canonical([str(v) for v in samples.values])
        valid = [s for s in found if s is not None]
        reference = [s for s in canonical(real.values) if s is not None]
        different = sorted(set(valid))
        known = {s for s in canonical(train.values) if s is not None}
        new = [s for s in different if s not in known]
        values: dict[str, float] = {}
        extra: dict[str, dict[str, Any]] = {}
        counted = {"validity": (len(valid), len(found)), "uniqueness": (len(different), len(valid))}
        for name, (hits, n) in {**counted, "novelty": (len(new), len(different))}.items():
            if n:
                values[name], error = share(hits, n)
                extra[name] = {"stderr": error, "items": n}
        if len(valid) < 4 or len(reference) < 4:
            return Reading(values, extra)
        x, y = (fingerprints(side[:MOST]) for side in (valid, reference))
        some, other = (side[generator.permutation(len(side))[:PAIRED]] > 0 for side in (x, y))
        values["internal_diversity"] = internal_diversity(some.astype(np.float64))
        thirds = [internal_diversity(some[i::3].astype(np.float64)) for i in range(3)]
        extra["internal_diversity"] = {
            "real": internal_diversity(other.astype(np.float64)),
            "stderr": float(np.std(thirds, ddof=1) / np.sqrt(3)),
        }
        shown = sorted(known)
        axes = components(fingerprints([shown[i] for i in generator.permutation(len(shown))[:MOST]]))
        a, b = x @ axes, y @ axes
        values["fingerprint_distance"] = frechet_distance(a, b)
        extra["fingerprint_distance"] = {
            "stderr": half_sampling(frechet_distance, a, b, 8, seed),
            "floor": frechet_floor(b, len(a), len(b)),
            "valid": len(valid),
            "dims": int(axes.shape[1]),
        }
        return Reading(values, extra)
