"""Voices: short clips of sound given who speaks and what, drawn as spectrograms that are heard by Griffin and Lim.

A clip becomes a log-mel spectrogram at a fixed number of equal stretches of its own time, in principal components, with
its length and its level. These vectors are what a conditional model learns: a spline flow by default, a diffusion with
`model="edm"` or "flow-matching". Nothing is drawn sample by sample, so that silence cannot feed on itself.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pofx.apps.folders import folder_of
from pofx.artifact import Artifact, load
from pofx.core.errors import DataError, UsageError, unknown
from pofx.core.files import read_json, whole, write_json
from pofx.core.items import Items
from pofx.data.arrays import write_arrays
from pofx.data.clips import check_clips
from pofx.data.components import Components
from pofx.data.conditions import rows
from pofx.data.dataset import split
from pofx.data.kinds.points import points
from pofx.data.vectors import Vectors
from pofx.evaluate.spaces.logmel import mel_bands
from pofx.maths.spectrogram import griffin_lim, stft
from pofx.runs.fitting import fit

PUBLIC = ("Voice",)

WINDOW, HOP = 0.032, 0.008  # seconds
BANDS, FRAMES, PARTS = 48, 36, 64  # bands, stretches of time, principal components
FLOOR = 1e-5  # of magnitudes
ROUNDS = 40  # of Griffin and Lim
SMALL: Mapping[str, Any] = {"layers": 2, "bins": 8, "width": 128, "blocks": 1}  # of the default model

SILENT = 1e-4  # of full scale
SLOWEST = 500  # samples per second: tones up to 250 Hz
REPEATS = ".*of the values repeat"  # a warning: lengths are whole numbers of samples


class Voice:
    """p(clip | speaker, word, …)."""

    def __init__(
        self,
        model: str = "nsf",
        *,
        options: Mapping[str, Any] | None = None,
        minutes: float | None = None,
        steps: int | None = None,
        components: int = PARTS,
        progress: Any = False,
        seed: int = 0,
    ) -> None:
        """Args:
        model: a conditional model of vectors of `pofx models`.
        options: of the model, the trainer and the view.
        minutes: of training; one by default.
        progress: of training, as of `pofx.fit`.
        components: of the spectrograms, at most.
        """
        self.components = components
        self.model, self.options, self.minutes, self.steps, self.seed = model, options, minutes, steps, seed
        self.progress = progress
        self.run: Artifact | None = None

    def fit(self, clips: Sequence[Any], rate: int, conditions: Any = None) -> "Voice":
        """Learn from clips in [-1, 1] and, if given, a row of conditions for each (speaker, word)."""
        sounds = check_clips(clips, "clips")
        self.rate = int(rate)
        if self.rate < SLOWEST:
            raise DataError(f"a voice needs at least {SLOWEST} samples per second (got {rate}): pass rate=8000")
        self.window, self.hop = 2 * round(WINDOW * rate / 2), max(1, round(HOP * rate))
        grids, others = zip(*(self._analysed(sound) for sound in sounds), strict=True)
        flat = np.stack(grids).reshape(len(grids), -1)
        if len(flat) < 20:
            raise DataError(f"at least 20 clips to learn from are needed (got {len(flat)}, beside those held out)")
        silent = sum(float(np.abs(sound).max()) < SILENT for sound in sounds)
        if silent == len(sounds):
            raise DataError(f"all {silent} clips are silence: check the recordings")
        if silent:
            warnings.warn(f"{silent} of {len(sounds)} clips are silence, and will be drawn as such: leave them out",
                          stacklevel=2)  # fmt: skip
        self.parts = Components.fit(flat, self.components)
        codes = np.concatenate((self.parts.encode(flat), np.array(others)), 1)
        items = points(codes)
        self.conditions = None
        if conditions is not None:
            frame = pd.DataFrame(conditions).reset_index(drop=True)
            if len(frame) != len(codes):
                raise DataError(f"conditions must be one row per clip, {len(codes)} (got {len(frame)})")
            items, self.conditions = replace(items, condition=rows(frame)), list(map(str, frame.columns))
        options = {**(SMALL if self.model == "nsf" else {}), **(self.options or {})}
        data = split(items, "clips", seed=self.seed)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=REPEATS)
            self.run = fit(
                data, self.model, seed=self.seed, progress=self.progress, minutes=self.minutes, steps=self.steps,
                **options,
            )  # fmt: skip
        return self

    def _analysed(self, sound: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
        """Log-mel magnitudes (frames, bands) relative to the level; the logarithms of length and level."""
        level = float(np.sqrt(np.square(sound, dtype=np.float64).mean()) + 1e-5)
        magnitude = np.abs(stft(sound / level, self.window, self.hop))
        mel = np.log(magnitude @ mel_bands(self.rate, self.window, BANDS).T + FLOOR * self.window)
        mel = np.maximum(mel, mel.max() - 8.0)  # 70 decibels
        return _stretched(mel, FRAMES), (float(np.log(len(sound))), float(np.log(level)))

    def _heard(self, grid: np.ndarray, length: float, level: float, seed: int) -> np.ndarray:
        """The clip (samples,) of log-mel magnitudes."""
        samples = int(np.clip(np.exp(length), 2 * self.window, 30 * self.rate))
        mel = np.exp(_stretched(grid, samples // self.hop + 2).clip(max=15))
        bands = mel_bands(self.rate, self.window, BANDS)
        magnitude = np.maximum(mel @ np.linalg.pinv(bands).T, 0.0)
        sound = griffin_lim(magnitude, self.window, self.hop, ROUNDS, seed)[:samples]
        sound = sound / (np.sqrt(np.square(sound).mean()) + 1e-9) * np.exp(level)
        return np.asarray(np.clip(sound, -1, 1), np.float32)

    def draw(self, n: int, condition: Any = None, *, seed: int = 0) -> list[np.ndarray]:
        """n clips: under one condition, such as {"word": "seven", "speaker": "theo"}, or one each.

        Raises:
            UsageError: a condition that training did not have.
        """
        if self.run is None:
            raise UsageError("the voice is not fitted: call fit first")
        given = None
        if condition is not None:
            given = pd.DataFrame([dict(condition)] * n if isinstance(condition, Mapping) else condition)
            for name in given.columns:
                if name not in (self.conditions or ()):
                    raise unknown("condition of the voice", str(name), self.conditions or [])
        codes = np.asarray(self.run.sample(n, given, seed=seed, with_condition=False), np.float64)
        return [self.decode(code, seed + i) for i, code in enumerate(codes)]

    def encode(self, clip: Any) -> np.ndarray:
        """A clip as the vector that the model sees."""
        grid, others = self._analysed(check_clips([clip], "clip")[0])
        return np.append(self.parts.encode(grid.reshape(1, -1))[0], others)

    def decode(self, code: np.ndarray, seed: int = 0) -> np.ndarray:
        """The clip of a vector."""
        grid = self.parts.decode(code[:-2]).reshape(FRAMES, BANDS)
        return self._heard(grid, float(code[-2]), float(code[-1]), seed)

    def save(self, folder: str | Path) -> Path:
        """Write the voice into a folder."""
        if self.run is None:
            raise UsageError("the voice is not fitted: call fit first")
        own = {"rate": self.rate, "window": self.window, "hop": self.hop, "conditions": self.conditions}
        with whole(Path(folder)) as aside:
            self.run.save(aside)
            write_arrays(aside / "voice.npz", {"mean": self.parts.mean, "directions": self.parts.directions})
            write_json(aside / "voice.json", {**own, "model": self.model, "seed": self.seed})
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> "Voice":
        """The voice that `save` wrote, or that of a folder of `pofx audio`."""
        folder = folder_of(folder, "voice.json", "a voice")
        plain = read_json(folder / "voice.json")
        made = cls(plain["model"], seed=plain["seed"])
        made.rate, made.window, made.hop = plain["rate"], plain["window"], plain["hop"]
        made.conditions, made.run = plain["conditions"], load(folder)
        with np.load(folder / "voice.npz", allow_pickle=False) as arrays:
            made.parts = Components(arrays["mean"], arrays["directions"])
        return made


def _stretched(grid: np.ndarray, frames: int) -> np.ndarray:
    """Frames at equal stretches of the time of a grid, interpolated: (frames, bands)."""
    at = np.linspace(0, len(grid) - 1, frames)
    low = np.floor(at).astype(int).clip(max=len(grid) - 1)
    high, share = np.minimum(low + 1, len(grid) - 1), (at - low)[:, None]
    return np.asarray((1 - share) * grid[low] + share * grid[high])


def decibels(clips: Sequence[np.ndarray]) -> float:
    """The mean level of clips, in decibels of full scale."""
    powers = [np.square(clip, dtype=np.float64).mean() + 1e-10 for clip in clips]
    return float(np.mean(10 * np.log10(powers)))


def judged(clips: Sequence[np.ndarray], wanted: Any, real: Items, words: Any) -> dict[str, float]:
    """How clips sound to a support vector machine that learned real ones, and how loud and long they are.

    Args:
        wanted: the word that each clip should be.
        real: clips, of which `words` are the words.
    """
    from scipy.stats import wasserstein_distance
    from sklearn.svm import SVC

    vectors = Vectors.fit(real)
    judge = SVC(C=10).fit(vectors(real.values), np.asarray(words).astype(str))
    found = judge.predict(vectors(list(clips)))
    lengths = [len(clip) for clip in clips], [len(clip) for clip in real.values]
    return {
        "recognised": float((found == np.asarray(wanted).astype(str)).mean()),
        "level, dB": decibels(clips),
        "level off by, dB": decibels(clips) - decibels(real.values),
        "mean length, s": float(np.mean(lengths[0])) / int(real.facts["rate"]),
        "lengths W1, share": float(wasserstein_distance(*lengths) / np.mean(lengths[1])),
    }
