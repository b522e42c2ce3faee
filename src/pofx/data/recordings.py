"""Recordings as audio items: files, folders and zips of sound, mixed down to one channel, of one sample rate.

Names state labels: the folder that holds a recording, or else what stands before the first underscore of its name.
Plain .wav files are read by scipy; everything else, and what it refuses, needs the extra `audio`.
"""

import io
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from pofx.core.errors import DataError, UsageError
from pofx.core.representation import Items
from pofx.data.items import encode_labels
from pofx.data.members import folder_labels, members

PUBLIC = ("audio",)

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff")
PIECE = 1 << 16  # samples: longer recordings are cut into pieces of this length


def audio(x: Any, rate: int, labels: Any = None, name: str = "audio") -> Items:
    """Clips of sound: arrays (samples,), or (samples, channels), which are averaged; they may differ in length.

    x holds floats in [-1, 1] or integers, whose full range is [-1, 1]; rate is in samples per second. Labels are class
    numbers or names, one per clip, or signals that a model is to be led by, float (n, channels, frames).

    Raises:
        DataError: no clips, an empty one, values that are not finite or out of range.
        UsageError: a sample rate that is not a positive whole number.
    """
    if isinstance(rate, bool) or not isinstance(rate, int | np.integer) or rate < 1:
        raise UsageError(f"rate must be a positive whole number of samples per second (got {rate!r}): pass rate=16000")
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


def check_clips(x: Any, name: str) -> list[np.ndarray]:
    """Clips as float32 (samples,) in [-1, 1], checked."""
    clips = [_clip(value, f"{name}: clip {i}") for i, value in enumerate(x)]
    if not clips:
        raise DataError(f"{name} holds no clips: give at least one")
    return clips


def _clip(value: Any, name: str) -> np.ndarray:
    array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    if array.ndim not in (1, 2) or array.size == 0:
        raise DataError(f"{name} must have shape (samples,) or (samples, channels), not empty (got {array.shape})")
    if array.dtype == np.uint8:  # as in .wav files: 128 is silence
        array = (array.astype(np.float32) - 128) / 128
    elif np.issubdtype(array.dtype, np.signedinteger):
        array = array.astype(np.float64) / -float(np.iinfo(array.dtype).min)
    elif not np.issubdtype(array.dtype, np.floating):
        raise DataError(f"{name} must be floats in [-1, 1] or signed integers (got {array.dtype})")
    if array.ndim == 2:
        if array.shape[1] > array.shape[0]:
            raise DataError(f"{name} has shape {array.shape}, more channels than samples: move the channels last")
        array = array.mean(1)
    if not np.isfinite(array).all():
        raise DataError(f"{name} has {int((~np.isfinite(array)).sum())} samples that are not finite: remove them")
    if np.abs(array).max() > 1:
        raise DataError(f"{name} must lie in [-1, 1] (got {array.min():.3g} to {array.max():.3g}): scale it down")
    return array.astype(np.float32)


def read_recordings(path: Path) -> Items:
    """The recordings of a file, folder or zip, in the order of their names.

    Raises:
        DataError: no recordings, a damaged one, or several sample rates.
    """
    if path.suffix.lower() in SUFFIXES and path.is_file():
        return _items([path.name], [read_recording(path.read_bytes(), path.name)], str(path))
    with members(path, SUFFIXES) as (names, fetch):
        if not names:
            raise DataError(f"{path} holds no recordings: give files ending in {', '.join(SUFFIXES)}")
        return _items(names, [read_recording(fetch(name), f"{path}/{name}") for name in names], str(path))


def _items(names: Sequence[str], found: Sequence[tuple[np.ndarray, int]], where: str) -> Items:
    rates = {rate: name for name, (_, rate) in zip(names, found, strict=True)}
    if len(rates) > 1:
        (a, first), (b, second) = list(rates.items())[:2]
        raise DataError(f"{where}: sample rates differ: {first} has {a}, {second} has {b}: resample them to one rate")
    labels = labels_of(names)
    pieces = [
        (clip[i : i + PIECE], None if labels is None else labels[k])
        for k, (clip, _) in enumerate(found)
        for i in range(0, len(clip), PIECE)
    ]
    given = None if labels is None else [label for _, label in pieces]
    return audio([clip for clip, _ in pieces], next(iter(rates)), given, where)


def labels_of(names: Sequence[str]) -> list[str] | None:
    """What the names of files say of them: folders, or the parts before the first underscore, where these are few."""
    folders = folder_labels(names)
    if folders is not None:
        return folders
    stems = [PurePosixPath(name).stem for name in names]
    parts = [stem.split("_")[0] for stem in stems]
    few = 2 <= len(set(parts)) <= len(names) // 2
    return parts if few and all("_" in stem for stem in stems) else None


def read_recording(content: bytes, name: str) -> tuple[np.ndarray, int]:
    """The samples of a file, float32 (samples,), and its sample rate.

    Raises:
        DataError: damaged, or a format that needs the extra `audio`.
    """
    try:
        if PurePosixPath(name).suffix.lower() == ".wav":
            from scipy.io import wavfile

            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks that say nothing of the sound
                    rate, samples = wavfile.read(io.BytesIO(content))
            except (ValueError, struct.error):  # damaged, or a coding that scipy does not know
                rate, samples = 0, np.zeros(0)
            if len(samples):
                return _clip(_bounded(samples), name), int(rate)
        import soundfile

        samples, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
        return _clip(_bounded(samples), name), int(rate)
    except ImportError as error:
        raise DataError(f"{name} needs the extra audio: pip install 'pofx[audio]', or give plain .wav files") from error
    except (RuntimeError, EOFError, OSError, TypeError) as error:
        raise DataError(f"{name} is not a whole recording ({error}): remove it or write it again") from error


def _bounded(samples: np.ndarray) -> np.ndarray:
    """Lossy codings overshoot a little: what lies outside [-1, 1] by decoding alone is clipped."""
    return samples.clip(-1, 1) if np.issubdtype(samples.dtype, np.floating) else samples
