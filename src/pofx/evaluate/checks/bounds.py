"""Bounds: how loose they are by more importance samples, and by an upper bound on the model's own draws."""

from collections.abc import Iterator

import numpy as np

from pofx.artifact import Artifact
from pofx.core.model import Density
from pofx.data.dataset import Dataset
from pofx.evaluate.checks.finding import Finding, finding, some
from pofx.evaluate.metrics.bounds import LADDER, curve, sandwich

FEW = 50  # items, and draws
LOOSE = 0.1  # share of log p that more importance samples may gain
WIDE = 0.05  # share of log p that may lie between the bounds; a nat always may


def _calibration(artifact: Artifact, dataset: Dataset, seed: int) -> Iterator[Finding]:
    """More importance samples tighten a bound; how far is how loose it was."""
    if artifact.density is not Density.BOUND or artifact.model.condition is not None:
        return
    found = curve(artifact, some(dataset.test, FEW, seed).values)
    if not found:
        return
    loose, tight = found[LADDER[0]], found[LADDER[-1]]
    gain, error = float((tight - loose).mean()), float((tight - loose).std() / len(tight) ** 0.5)
    result = "failed" if gain < -4 * error else "warning" if gain > LOOSE * abs(float(tight.mean())) else "ok"
    seen = f"{LADDER[-1]} importance samples gain {gain:.2f} ± {error:.2f} nats over one"
    mend = "the bound is loose: report it with more importance samples" if gain > 0 else "the bound is no bound"
    yield finding("calibration of the bound", result, seen, mend)


def _sandwich(artifact: Artifact, dataset: Dataset, seed: int) -> Iterator[Finding]:
    """On its own draws log p lies between two bounds; an upper one below the lower one betrays wrong weights."""
    both = sandwich(artifact, FEW, seed=seed)
    width = both["upper"] - both["lower"]
    gap, error = float(width.mean()), float(width.std() / len(width) ** 0.5)
    low, high = float(both["lower"].mean()), float(both["upper"].mean())
    result = "failed" if gap < -4 * error - 1e-3 else "warning" if gap > max(1.0, WIDE * abs(low)) else "ok"
    seen = f"log p of own draws lies between {low:.2f} and {high:.2f} nats; "
    seen += f"{float(np.median(both['effective'])):.0f} importance samples count"
    mend = "q(z | x) misses the posterior: a richer posterior, or more importance samples"
    yield finding("sandwich", result, seen, mend if gap > 0 else "the weights are wrong: the bounds cross")


CHECKS = (_calibration, _sandwich)
