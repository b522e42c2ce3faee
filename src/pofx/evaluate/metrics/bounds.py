"""How far a bound may be from the truth: from below by more importance samples, from above on the model's own draws.

`bound_gap` is what K importance samples gain over K/8 on held-out items, for models that take importance samples and
for representations that dequantise: a gain near 0 shows that the bound is nearly tight, or that no sample met
the rest. `sandwich` is the difference between an upper and a lower bound on log p(x), where both can be had: on draws
of the model itself, whose codes are known (Wu et al., 2016, arXiv 1611.04273). The truth lies between them there; that
test items are bounded as tightly is what the K-curve is to confirm.
"""

import time
from typing import Any, ClassVar

import numpy as np
import torch

from pofx.core.errors import Unsupported
from pofx.core.model import Density, Weighted
from pofx.core.random import Streams
from pofx.data.dataset import Dataset, take
from pofx.evaluate.metric import ArtifactMetric, Reading, ScoreInfo
from pofx.maths.sandwich import effective_samples, lower_bound, upper_bound

LADDER = (1, 8, 64)  # importance samples, or noises of a dequantised item
ITEMS = 100
PARTICLES = 256
AT_ONCE = 32  # particles per call


def curve(artifact: Any, values: Any, ladder: tuple[int, ...] = LADDER) -> dict[int, np.ndarray]:
    """The bound on every item at growing numbers of importance samples; empty where nothing can be raised."""
    if isinstance(artifact.model, Weighted):
        return {k: artifact.score(values, importance=k).value for k in ladder}
    if artifact.representation.volume is Density.BOUND and artifact.representation.noisy:
        return {k: artifact.score(values, draws=k).value for k in ladder}
    return {}


@torch.inference_mode()
def sandwich(artifact: Any, n: int = ITEMS, particles: int = PARTICLES, seed: int = 0) -> dict[str, np.ndarray]:
    """{"lower", "upper", "effective"}: bounds in nats on log p of n draws of the model, as events, and the effective
    number of importance samples of each: (n,).

    Raises:
        Unsupported: the model has no importance weights, or none at a given code.
    """
    model = artifact.model
    if not isinstance(model, Weighted) or model.condition is not None:
        raise Unsupported(f"{artifact.name} has no importance weights to bound its log p from above")
    x, own = model.simulate(n, generator=Streams(seed, n, device=artifact.device))
    streams = Streams(seed + 1, n, device=artifact.device)
    parts = [
        model.importance_weights(x, particles=min(AT_ONCE, particles - i), generator=streams)
        for i in range(0, particles, AT_ONCE)
    ]
    logs = torch.cat(parts, 1).double()
    found = {
        "lower": lower_bound(logs),
        "upper": upper_bound(logs, own.double()),
        "effective": effective_samples(logs),
    }
    return {name: value.cpu().numpy() for name, value in found.items()}


class Bounds(ArtifactMetric):
    """`bound_gap` with the curve over K, and `sandwich` with both bounds and the effective samples."""

    scores: ClassVar = {
        "bound_gap": ScoreInfo(
            "lower", "Bound gap", "nats that K importance samples gain over K/8 on held-out items", "likelihood"
        ),
        "sandwich": ScoreInfo(
            "lower",
            "Sandwich",
            "nats between an upper and a lower bound on log p of the model's own samples",
            "likelihood",
        ),
    }
    source: ClassVar = "Wu et al., 2016, arXiv 1611.04273"

    def read(self, artifact: Any, dataset: Dataset, *, seconds: float | int = 20.0, seed: int = 0) -> Reading:
        if artifact.density is not Density.BOUND or artifact.model.condition is not None:
            return Reading({})
        order = np.random.default_rng(seed).permutation(len(dataset.test))
        start = time.perf_counter()
        curve(artifact, take(dataset.test, order[:2]).values)
        each = (time.perf_counter() - start) / 2
        n = int(min(ITEMS, len(dataset.test), max(seconds / max(each, 1e-9), 4)))
        values: dict[str, float] = {}
        extra: dict[str, dict[str, Any]] = {}
        found = curve(artifact, take(dataset.test, order[:n]).values)
        if found:
            low, high = found[LADDER[-2]], found[LADDER[-1]]
            gain = high - low
            values["bound_gap"] = float(gain.mean())
            extra["bound_gap"] = {
                "stderr": float(gain.std(ddof=1) / np.sqrt(n)),
                "curve": [[k, float(bound.mean())] for k, bound in found.items()],
                "items": n,
            }
        try:
            both = sandwich(artifact, seed=seed)
        except Unsupported:
            return Reading(values, extra)
        width = both["upper"] - both["lower"]
        values["sandwich"] = float(width.mean())
        extra["sandwich"] = {
            "stderr": float(width.std(ddof=1) / np.sqrt(len(width))),
            "lower": float(both["lower"].mean()),
            "upper": float(both["upper"].mean()),
            "effective": float(np.median(both["effective"])),
            "importance": PARTICLES,
            "items": len(width),
        }
        return Reading(values, extra)
