"""Checkerboards: the overlap of every transposed convolution, and the peak of period 2 in the spectrum of samples."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from pofx.artifact import Artifact
from pofx.core.representation import Items
from pofx.data.dataset import Dataset, take
from pofx.data.kind import kind_of
from pofx.evaluate.checks.finding import Finding, N, finding
from pofx.evaluate.conditions import drawn
from pofx.maths.checkerboard import overlap_imbalance, periodic_peak

UNEVEN = 0.1  # relative size of the pattern of a constant input (root of the imbalance) above which layers are named
PEAK = 3.0  # times the neighbouring frequencies, relative to test items
MEND = "pass upsampling=resize, or overlap=1 (a GAN of transposed convolutions); kernels must be multiples of strides"


@torch.no_grad()
def _overlap(artifact: Artifact, dataset: Dataset, seed: int) -> Iterator[Finding]:
    uneven, most, count = [], 0.0, 0
    for name, layer in artifact.model.named_modules():
        if not isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            continue
        if max(layer.stride) == 1 or name.startswith("critic"):
            continue
        size = float(overlap_imbalance(layer.weight.float(), layer.stride)) ** 0.5
        count, most = count + 1, max(most, size)
        if size > UNEVEN:
            uneven.append(name)
    if not count:
        return
    seen = f"a constant input leaves patterns of at most {most:.0%} in {count} transposed convolutions"
    seen += f"; above {UNEVEN:.0%} in {', '.join(uneven[:4])}" if uneven else ""
    yield finding("overlap", "warning" if uneven else "ok", seen, MEND)


def _peak(artifact: Artifact, dataset: Dataset, seed: int) -> Iterator[Finding]:
    kind = kind_of(dataset.train)
    if not kind.pictorial:
        return
    n = min(N, len(dataset.test))
    samples = Items(kind.name, drawn(artifact, dataset.test, n, seed=seed).values, None, dataset.test.facts)
    plan = kind.plan(dataset.train)
    peaks = []
    for items in (samples, take(dataset.test, np.arange(n))):
        pixels = kind.raw(items.values, plan).reshape(-1, *plan["shape"])
        peaks.append(periodic_peak(torch.from_numpy(np.ascontiguousarray(pixels))))
    ratio = peaks[0] / max(peaks[1], 1e-9)
    seen = f"power at period 2 is {peaks[0]:.1f} × that beside it; {peaks[1]:.1f} × in test items"
    yield finding("periodic peak", "warning" if ratio > PEAK else "ok", seen, MEND)


CHECKS = (_overlap, _peak)
