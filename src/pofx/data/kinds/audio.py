"""Audio: a list of clips float32 (samples,) in [-1, 1], of any lengths; the fact `rate` is in samples per second."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from pofx.core.errors import DataError, UsageError
from pofx.core.items import Items
from pofx.core.options import Range
from pofx.data.clips import check_clips
from pofx.data.kind import FOLDER, Facts, Kind, Shown, npz, parted
from pofx.data.labels import encode_labels
from pofx.data.reading_options import ReadingOption
from pofx.data.recordings import FASTEST, read_recordings

PUBLIC = ("audio",)

PAUSE = 0.25  # seconds of silence between the clips of one .wav


def audio(x: Any, rate: int, labels: Any = None, name: str = "audio") -> Items:
    """Clips of sound: arrays (samples,), or (samples, channels), which are averaged; they may differ in length.

    x holds floats in [-1, 1] or integers, whose full range is [-1, 1]; rate is in samples per second. Labels are class
    numbers or names, one per clip, or signals that a model is to be led by, float (n, channels, frames).

    Raises:
        DataError: no clips, an empty one, values that are not finite or out of range.
        UsageError: a sample rate that is not a positive whole number.
    """
    if isinstance(rate, bool) or not isinstance(rate, int | np.integer) or not 1 <= rate <= FASTEST:
        raise UsageError(
            f"rate must be a whole number of samples per second, 1 to {FASTEST:,} (got {rate!r}): pass rate=16000"
        )
    clips = check_clips(x, name)
    facts: dict[str, Any] = {"rate": int(rate)}
    if labels is None:
        return Items("audio", clips, None, facts)
    signals = np.asarray(labels)
    if signals.ndim == 3 and np.issubdtype(signals.dtype, np.floating):
        if len(signals) != len(clips) or not np.isfinite(signals).all():
            raise DataError(f"{name}: signals must be finite, one per clip, {len(clips)} (got shape {signals.shape})")
        return Items("audio", clips, signals.astype(np.float32), facts)
    codes, names = encode_labels(labels, len(clips), name)
    return Items("audio", clips, codes, {**facts, "label_names": names})


@dataclass(frozen=True)
class AudioFacts(Facts):
    rate: int = 16000  # samples per second


class Audio(Kind):
    name = "audio"
    summary = "clips of sound"
    members = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff")
    outputs = (FOLDER, ".wav", ".npz")
    facts_type: ClassVar = AudioFacts

    reading: ClassVar = {
        "rate": ReadingOption(Annotated[int, Range(1, FASTEST)], "of recordings: samples per second to resample to")
    }

    def read(self, path: Path, **options: Any) -> Items | tuple[Items, ...]:
        clips, rate, labels, splits = read_recordings(path, self.members, **options)
        items = audio(clips, rate, labels, str(path))
        return items if splits is None else parted(items, splits)

    def take(self, values: Any, at: np.ndarray) -> Any:
        return [values[i] for i in at]

    def join(self, parts: Sequence[Any]) -> Any:
        return [clip for part in parts for clip in part]

    def update(self, hash: Any, values: Any) -> None:
        for clip in values:
            hash.update(f"{clip.dtype.str}{clip.shape}".encode())
            hash.update(np.ascontiguousarray(clip).data)

    def exact_keys(self, values: Any) -> list[Any]:
        return [clip.tobytes() for clip in values]

    def same(self, a: Any, b: Any) -> np.ndarray:
        return np.array([len(x) == len(y) and np.allclose(x, y, atol=1e-3) for x, y in zip(a, b, strict=True)], bool)

    def noised(self, values: Any, known: Any, level: float, generator: np.random.Generator) -> Any:
        spread = float(np.std(np.concatenate([np.ravel(v) for v in known[:200]])))
        loud = [v + level * spread * generator.standard_normal(np.shape(v)).astype(np.float32) for v in values]
        return [np.clip(v, -1, 1) for v in loud]

    def shuffled(self, values: Any, n: int, generator: np.random.Generator) -> Any:
        """Samples are shuffled by position; each clip keeps the length of one of the clips."""
        sizes = np.array([len(v) for v in values])
        order = np.argsort(-sizes, kind="stable")
        flat, starts = np.concatenate([values[i] for i in order]), np.cumsum(sizes[order]) - sizes[order]
        reaching = np.cumsum(np.bincount(sizes)[::-1])[::-1]  # [k]: clips of at least k samples
        drawn = []
        for length in sizes[generator.integers(len(values), size=n)]:
            clip = (generator.random(length) * reaching[1 : length + 1]).astype(int)
            drawn.append(flat[starts[clip] + np.arange(length)])
        return drawn

    def plan(self, items: Items) -> dict[str, Any]:
        """Decibels in a few bands over equal stretches of time, and the length."""
        return {"scaling": "standard"}

    def raw(self, values: Any, plan: Mapping[str, Any]) -> np.ndarray:
        return np.stack([bands(clip) for clip in values])

    def shown(self, values: Any, facts: Mapping[str, Any]) -> Shown:
        """How long and how loud."""
        rate = self.facts(facts).rate
        power = [float(np.square(c, dtype=np.float64).mean()) if len(c) else 0.0 for c in values]
        lines = [
            [round(len(c) / rate, 3), round(10 * float(np.log10(max(p, 1e-10))), 1)]
            for c, p in zip(values, power, strict=True)
        ]
        return Shown(columns=["seconds", "decibels of full scale"], lines=lines)

    def describe(self, items: Items) -> str:
        rate = self.facts(items).rate
        return f"{len(items):,} clips of {sum(map(len, items.values)) / rate:,.0f} seconds in all, {rate} Hz"

    def content(self, items: Items, ending: str, columns: int | None = None) -> bytes:
        rate = self.facts(items).rate
        if ending == ".npz":
            return npz({**self.pack(items.values), "rate": rate})
        pause = np.zeros(round(PAUSE * rate), np.float32)
        return wav(np.concatenate([part for clip in items.values for part in (clip, pause)][:-1]), rate)

    def files(self, items: Items) -> Iterator[tuple[str, bytes]]:
        digits = len(str(len(items) - 1))
        for i, clip in enumerate(items.values):
            yield f"{i:0{digits}d}.wav", wav(clip, self.facts(items).rate)

    def to_json(self, values: Any) -> Any:
        return [clip.tolist() for clip in values]

    def from_json(self, plain: Any, facts: Mapping[str, Any]) -> Any:
        return [np.asarray(clip, np.float32) for clip in plain]

    def pack(self, values: Any) -> dict[str, np.ndarray]:
        return {"samples": np.concatenate(values), "sizes": np.array([len(clip) for clip in values], np.int64)}

    def unpack(self, arrays: Mapping[str, np.ndarray]) -> Any:
        return np.split(arrays["samples"], np.cumsum(arrays["sizes"])[:-1])


def wav(clip: np.ndarray, rate: int) -> bytes:
    """A clip as the content of a 16-bit .wav file."""
    from scipy.io import wavfile

    whole = np.round(np.asarray(clip, np.float64) * 32767).clip(-32768, 32767).astype(np.int16)
    buffer = io.BytesIO()
    wavfile.write(buffer, rate, whole)
    return buffer.getvalue()


def bands(clip: np.ndarray, count: int = 32, stretches: int = 16, window: int = 256) -> np.ndarray:
    """A clip (samples,) → decibels in bands over equal stretches of its time, and the log of its length.

    Bands are narrow below and wide above, as on the mel scale; levels are cut 80 dB below full scale.
    """
    samples = np.asarray(clip, np.float64)
    padded = np.pad(samples, (0, max(window * 2 - len(samples), 0)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[:: window // 2]
    power = np.abs(np.fft.rfft(frames * np.hanning(window), axis=1)) ** 2 / (window / 4) ** 2
    edges = np.geomspace(3, power.shape[1] + 2, count + 1) - 3  # in bins of the spectrum
    running = np.concatenate((np.zeros((len(power), 1)), power.cumsum(1)), 1)
    mixed = np.stack([np.interp(edges, np.arange(power.shape[1] + 1), total) for total in running])
    energy = np.diff(mixed, axis=1)
    at = (np.arange(stretches + 1) * len(energy) / stretches).round().astype(int)
    starts = np.minimum(at[:-1], len(energy) - 1)
    parts = [energy[a : max(b, a + 1)].mean(0) for a, b in zip(starts, at[1:], strict=True)]
    decibels = 10 * np.log10(np.stack(parts) + 1e-8)
    return np.append(decibels.ravel(), np.log1p(len(samples))).astype(np.float32)
