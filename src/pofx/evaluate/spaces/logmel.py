"""Sound as log-mel statistics: a feature space with nothing to fit, in which a Fréchet distance is one of loudness and
timbre (the idea of Kilgour et al., 2019, arXiv 1812.08466, without a network, whose ports disagree).

Frames of 32 ms, every 16 ms, under a Hann window; their power in 32 triangular bands, evenly spaced on the mel scale,
mel(f) = 2595 log10(1 + f / 700), from 0 to half the sample rate; decibels, cut 80 below full scale. Features are each
band's mean and standard deviation over time: 64 numbers in units of 10 decibels, however long the clip.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from pofx.core.representation import Items
from pofx.data.kind import kind_of
from pofx.evaluate.space import Space

BANDS = 32
WINDOW, HOP = 0.032, 0.016  # seconds
FLOOR = 1e-8  # of power: 80 decibels


def mel_bands(rate: int, window: int, bands: int = BANDS) -> np.ndarray:
    """Triangular bands over the bins of a spectrum: (bands, window // 2 + 1), each with a sum of 1.

    A band narrower than the bins takes the nearest one.
    """
    top = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    at = np.fft.rfftfreq(window, 1 / rate)
    rise = (at - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - at) / (edges[2:] - edges[1:-1])[:, None]
    weights = np.maximum(np.minimum(rise, fall), 0)
    nearest = np.abs(at - edges[1:-1, None]).argmin(1)
    weights[np.arange(bands), nearest] += weights.sum(1) < 1e-9
    return np.asarray(weights / weights.sum(1, keepdims=True))


class LogMel(Space):
    """`logmel`: clips (samples,) → float32 (n, 64)."""

    name: ClassVar = "logmel"
    summary: ClassVar = "log-mel statistics of sound"
    source: ClassVar = "Kilgour et al., 2019, arXiv 1812.08466, for the idea"
    kinds: ClassVar = ("audio",)
    items: ClassVar = "sound"
    order: ClassVar = 30

    def __init__(self, rate: int, clips: int, seconds: float, folder: Path | None = None) -> None:
        """Args:
        rate: samples per second.
        clips: in the training split.
        seconds: of them together.
        """
        self.rate = rate
        frames = {"rate": rate, "window": self.window, "hop": max(8, round(HOP * rate)), "bands": BANDS}
        content = json.dumps({"dims": 2 * BANDS, **frames}, sort_keys=True)
        facts = {"dims": 2 * BANDS, **frames, "train_clips": clips, "train_seconds": seconds}
        super().__init__(facts, hashlib.sha256(content.encode()).hexdigest()[:16], folder)

    @classmethod
    def default_for(cls, train: Items) -> bool:
        return bool(set(kind_of(train).names) & set(cls.kinds))

    @classmethod
    def fit(cls, train: Items, *, given: str = "", seed: int = 0, folder: Path | None = None) -> Self:
        rate = int(kind_of(train).facts(train).rate)
        return cls(rate, len(train), round(sum(len(clip) for clip in train.values) / rate, 3), folder)

    @property
    def window(self) -> int:
        return max(16, round(WINDOW * self.rate))

    def features(self, values: Any) -> np.ndarray:
        weights, hop = mel_bands(self.rate, self.window), int(self.facts["hop"])
        return np.stack([self._clip(np.asarray(clip, np.float64), weights, hop) for clip in values])

    def _clip(self, clip: np.ndarray, weights: np.ndarray, hop: int) -> np.ndarray:
        padded = np.pad(clip, (0, max(self.window - len(clip), 0)))
        frames = np.lib.stride_tricks.sliding_window_view(padded, self.window)[::hop]
        power = np.abs(np.fft.rfft(frames * np.hanning(self.window), axis=1)) ** 2 / (self.window / 4) ** 2
        decibels = np.log10(power @ weights.T + FLOOR)  # a full-scale sine has power 1 in its bin
        return np.concatenate((decibels.mean(0), decibels.std(0))).astype(np.float32)
