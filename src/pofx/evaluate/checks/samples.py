"""Samples against items: as wide, as diverse, no copies, and for images as much power at the finest frequency."""

from collections.abc import Iterator
from dataclasses import replace

from pofx.artifact import Artifact
from pofx.data.dataset import Dataset
from pofx.data.kind import kind_of
from pofx.evaluate.checks.finding import Finding, N, finding, some
from pofx.evaluate.conditions import drawn
from pofx.evaluate.features import main_space
from pofx.evaluate.metrics.near_copy import near_copies
from pofx.evaluate.metrics.spectrum import Spectrum
from pofx.evaluate.metrics.vendi import VendiRatio

COLLAPSED = 0.5  # effective modes over those of test items
DECIBELS = 3.0  # at the finest frequency: twice, or half, the power


def _spread_and_copies(artifact: Artifact, dataset: Dataset, seed: int) -> Iterator[Finding]:
    space = main_space(dataset.train, seed=seed)
    n = min(500, max(len(dataset.test), 50))
    samples, real = space(drawn(artifact, dataset.test, n, seed=seed).values), space(some(dataset.test, n, seed).values)
    ratio = float(samples.std(0).mean() / max(real.std(0).mean(), 1e-12))
    result = "ok" if 0.7 < ratio < 1.4 else "warning"
    yield finding("spread", result, f"samples spread {ratio:.2f} × as wide as test items", "collapse, or noise")
    modes = VendiRatio().values(samples, real, seed)["vendi"]
    result = "warning" if modes < COLLAPSED else "ok"
    mend = "few kinds of items are drawn: more diverse batches, a penalty on collapse, or another loss"
    yield finding("collapse", result, f"{modes:.2f} × as many effective modes as test items", mend)
    copied = near_copies(samples, space.of(dataset.test), space.of(dataset.train))
    result = "warning" if copied["p"] < 0.01 else "ok"
    seen = f"near-copy p {copied['p']:.3g}, {copied['exact']} exact copies of training items"
    yield finding("memorisation", result, seen, "the model copies training items: train it less, or on more data")


def _finest(artifact: Artifact, dataset: Dataset, seed: int) -> Iterator[Finding]:
    """Up-sampling by transposed convolutions leaves checkerboards, losses that average leave blur."""
    if not Spectrum.takes(kind_of(dataset.test)):
        return
    n = min(N, len(dataset.test))
    samples = replace(drawn(artifact, dataset.test, n, seed=seed), kind=dataset.test.kind, facts=dataset.test.facts)
    read = Spectrum().read(samples, some(dataset.test, n, seed), dataset.train).extra["spectrum"]
    over = read["samples"][-1] - read["real"][-1]
    seen = f"{over:+.1f} decibels of power at the finest frequency, against test images"
    mend = "a checkerboard or noise: resize before convolving" if over > 0 else "blur: the loss averages"
    yield finding("checkerboard and blur", "warning" if abs(over) > DECIBELS else "ok", seen, mend)


CHECKS = (_spread_and_copies, _finest)
