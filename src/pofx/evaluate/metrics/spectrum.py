"""Spectrum of images: is there as much power at every spatial frequency as in real images?

The power of the two-dimensional Fourier transform, averaged over rings of equal frequency and over images, in decibels;
`spectrum` is the root mean square difference over rings (Durall, Keuper and Keuper, 2020, arXiv 2003.01826, show that
up-convolutions fail there). The highest ring alone shows checkerboards and blur.
"""

from typing import ClassVar

import numpy as np
from jaxtyping import Float

from pofx.core.representation import Items
from pofx.data.kind import Kind, kind_of
from pofx.evaluate.metric import ItemMetric, Reading, ScoreInfo


def power(images: Float[np.ndarray, "n c h w"]) -> Float[np.ndarray, "n rings"]:
    """The mean power per ring of frequency of each image (n, c, h, w): (n, rings), the constant part left out."""
    h, w = images.shape[-2:]
    spectrum = np.square(np.abs(np.fft.fft2(images))).mean(1)
    high, wide = np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)[None, :]
    rings = max(min(h, w) // 2, 1)
    ring = np.minimum((np.sqrt(high**2 + wide**2) * 2 * rings).round().astype(int), rings)
    sums = np.stack([spectrum[:, ring == r].mean(1) for r in range(1, rings + 1)], 1)
    return np.asarray(sums)


class Spectrum(ItemMetric):
    """`spectrum` in decibels, with the curves of samples and of real images."""

    scores: ClassVar = {
        "spectrum": ScoreInfo(
            "lower", "Spectrum dB", "difference of power over spatial frequencies, decibels", "images"
        ),
    }
    source: ClassVar = "Durall et al., 2020, arXiv 2003.01826"

    @classmethod
    def takes(cls, kind: Kind) -> bool:
        return kind.pictorial

    def read(self, samples: Items, real: Items, train: Items, seed: int = 0) -> Reading:
        kind, plan = kind_of(real), kind_of(real).plan(train)
        sides = (kind.raw(items.values, plan).reshape(-1, *plan["shape"]) for items in (samples, real))
        of = [power(pixels.astype(np.float64)) for pixels in sides]
        generator = np.random.default_rng(seed)
        drawn = []
        for _ in range(20):
            halves = [side[generator.permutation(len(side))[: len(side) // 2]] for side in of]
            drawn.append(_distance(*halves))
        curves = [_decibels(side).tolist() for side in of]
        extra = {"stderr": float(np.std(drawn, ddof=1)), "samples": curves[0], "real": curves[1]}
        return Reading({"spectrum": _distance(*of)}, {"spectrum": extra})


def _decibels(power: np.ndarray) -> np.ndarray:
    return np.asarray(10 * np.log10(np.maximum(power.mean(0), 1e-12)))


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.square(_decibels(a) - _decibels(b)).mean()))
