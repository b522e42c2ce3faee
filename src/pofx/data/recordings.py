"""Recordings as audio items: files, folders and zips of sound, mixed down to one channel, of one sample rate.

Names state labels: the folder that holds a recording, or else what precedes the first underscore of its name.
Plain .wav files are read by scipy; everything else, and what it refuses, needs the extra `audio`. A file that is cut,
or holds values far outside [-1, 1], is refused: a square wave or half a word is no recording.
"""

import io
import struct
import warnings
from collections.abc import Sequence
from math import gcd
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from pofx.core.errors import DataError, UsageError
from pofx.data.bounded import read_bytes, reading
from pofx.data.clips import AVERAGED, CLIPPED, check_clip, stated_once
from pofx.data.members import folder_labels, members, stated_splits

PIECE = 1 << 16  # samples: longer recordings are cut into pieces of this length
OVERSHOOT = 1.5  # the largest value that rounding and lossy coding explain
LONGEST = 1 << 28  # samples of one file, of all channels
BLOCK = 256  # samples of a block where a header does not state them
CHANNELS = 64
FASTEST = 1_000_000  # samples per second
CODINGS = ((b"fLaC", ".flac"), (b"OggS", ".ogg"), (b"ID3", ".mp3"), (b"\xff\xfb", ".mp3"), (b"FORM", ".aiff"))
PLAIN = (1, 3, 0xFFFE)  # integers, floats, and either by an extension
OPEN_END = (0, 0xFFFFFFFF)  # sizes that programs write which stream
EXTRA = "pip install 'pofx[audio]'"

Recorded = tuple[list[np.ndarray], int, list[str] | None, list[str] | None]


def read_recordings(path: Path, endings: Sequence[str], rate: Any = None) -> Recorded:
    """The recordings of a file, folder or zip, in the order of their names: clips, rate, labels, stated splits.

    Args:
        rate: resample all of them to so many samples per second.

    Raises:
        DataError: no recordings, a damaged or cut one, or several sample rates and no `rate`.
        UsageError: a rate that is no positive whole number.
    """
    check_rate(rate)
    if path.suffix.lower() in endings and path.is_file():
        return _clips([path.name], [_at(read_recording(read_bytes(path), path.name), rate)], str(path), None)
    with members(path, endings) as (names, fetch):
        if not names:
            raise DataError(f"{path} holds no recordings: give files ending in {', '.join(endings)}")
        with stated_once():
            found = [_at(read_recording(fetch(name), f"{path}/{name}"), rate) for name in names]
    splits = stated_splits(names)
    return _clips(names if splits is None else splits[1], found, str(path), None if splits is None else splits[0])


def recordings(
    names: Sequence[str], contents: Sequence[bytes], where: str, rate: Any = None
) -> tuple[list[np.ndarray], int]:
    """The clips in the contents of files, one each, and their sample rate.

    Raises:
        DataError, UsageError: as `read_recordings`.
    """
    check_rate(rate)
    with stated_once():
        found = [_at(read_recording(c, f"{where}, {name}"), rate) for name, c in zip(names, contents, strict=True)]
    check_rates(names, found, where)
    return [clip for clip, _ in found], found[0][1]


def check_rate(rate: Any) -> None:
    """Refuse a stated sample rate that is none."""
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int) or not 1 <= rate <= FASTEST):
        raise UsageError(f"rate must be a positive whole number of samples per second (got {rate!r}): pass rate=16000")


def _at(recording: tuple[np.ndarray, int], rate: int | None) -> tuple[np.ndarray, int]:
    """A recording at another sample rate, by a polyphase filter."""
    clip, own = recording
    return recording if rate is None or rate == own else (at_rate(clip, own, rate), rate)


def at_rate(clip: np.ndarray, own: int, rate: int) -> np.ndarray:
    """A clip of one sample rate at another, float32."""
    from scipy.signal import resample_poly

    common = gcd(rate, own)
    return np.asarray(resample_poly(clip, rate // common, own // common).clip(-1, 1), np.float32)


def _clips(
    names: Sequence[str], found: Sequence[tuple[np.ndarray, int]], where: str, splits: Sequence[str] | None
) -> Recorded:
    check_rates(names, found, where)
    labels = labels_of(names)
    pieces = [(clip[i : i + PIECE], k) for k, (clip, _) in enumerate(found) for i in range(0, len(clip), PIECE)]
    at = [k for _, k in pieces]
    given = None if labels is None else [labels[k] for k in at]
    stated = None if splits is None else [splits[k] for k in at]
    return [clip for clip, _ in pieces], found[0][1], given, stated


def check_rates(names: Sequence[str], found: Sequence[tuple[np.ndarray, int]], where: str) -> None:
    """Refuse recordings of several sample rates."""
    rates = {rate: name for name, (_, rate) in zip(names, found, strict=True)}
    if len(rates) > 1:
        (a, first), (b, second) = list(rates.items())[:2]
        raise DataError(
            f"{where}: sample rates differ: {first} has {a}, {second} has {b}: pass rate={min(rates)} to resample them"
        )


def labels_of(names: Sequence[str]) -> list[str] | None:
    """The labels in the names of files: folders, or the parts before the first underscore, where these are few."""
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
        DataError: damaged, cut, out of range, or a format that needs the extra `audio`.
    """
    with reading(name, "recording", "it is not a whole recording: remove it or write it again"):
        if PurePosixPath(name).suffix.lower() == ".wav":
            stated = _check_wav(content, name)
            found = _plain_wav(content)
            if found is not None:
                return check_clip(_bounded(_noted(found[1], name), name), name), found[0]
            clip, rate = _decoded(content, name)
            samples, block = stated
            filler = len(clip) - samples if samples else 0  # codings in blocks fill up the last one, and no more
            return clip[:samples] if 0 < filler < max(block, BLOCK) else clip, rate
        return _decoded(content, name)


def _check_wav(content: bytes, name: str) -> tuple[int, int]:
    """The samples that the header states, of all and of a block, 0 where it does not.

    Impossible channels, or more sound than there is, are refused.
    """
    if content[:4] not in (b"RIFF", b"RIFX") or content[8:12] != b"WAVE":
        other = next((ending for start, ending in CODINGS if content.startswith(start)), None)
        if other is not None:
            raise DataError(f"{name} is a {other} file under another name: rename it so that it ends in {other}")
        raise DataError(f"{name} is not a whole recording (no RIFF header): remove it or write it again")
    order, place = (">" if content[:4] == b"RIFX" else "<"), 12
    stated = of_block = 0
    while place + 8 <= len(content):
        tag, size = content[place : place + 4], struct.unpack(order + "I", content[place + 4 : place + 8])[0]
        there = len(content) - place - 8
        if tag == b"fmt " and there >= 16:
            channels, rate = struct.unpack(order + "HI", content[place + 10 : place + 16])
            if not 1 <= channels <= CHANNELS or not 1 <= rate:
                raise DataError(f"{name} states {channels} channels at {rate} Hz: it is damaged, write it again")
            (coding,) = struct.unpack(order + "H", content[place + 8 : place + 10])
            block, bits = struct.unpack(order + "2H", content[place + 20 : place + 24])
            if coding not in PLAIN and there >= 20 and size >= 20:
                (of_block,) = struct.unpack(order + "H", content[place + 26 : place + 28])
            if coding in PLAIN and not (bits >= 8 and block % channels == 0 and 8 * block >= channels * bits):
                raise DataError(f"{name} states {bits} bits in blocks of {block} bytes: it is damaged, write it again")
        if tag == b"fact" and there >= 4:
            (stated,) = struct.unpack(order + "I", content[place + 8 : place + 12])
        if tag == b"data":
            if size not in OPEN_END and size > there:
                raise DataError(
                    f"{name} is not a whole recording: its header states {size:,} bytes of sound, the file holds "
                    f"{there:,}: fetch or write it again"
                )
            if size == 0 and there == 0:
                raise DataError(f"{name} holds no sound: remove it")
            return stated, of_block
        place += 8 + size + size % 2
    raise DataError(f"{name} is not a whole recording (it holds no sound): remove it or write it again")


def _plain_wav(content: bytes) -> tuple[int, np.ndarray] | None:
    """Rate and samples of a plain .wav; None where scipy does not know its coding."""
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks without sound; cuts are found before
            rate, samples = wavfile.read(io.BytesIO(content))
    except (ValueError, struct.error):
        return None
    return (int(rate), samples) if len(samples) else None


def _decoded(content: bytes, name: str) -> tuple[np.ndarray, int]:
    """What libsndfile reads."""
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise DataError(f"{name} needs the extra audio: {EXTRA}, or give plain .wav files") from error
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        frames, channels = file.frames, file.channels
        if frames * channels > LONGEST:
            raise DataError(f"{name} holds {frames:,} samples of {channels} channels: cut it into shorter files")
        samples = file.read(frames, dtype="float32", always_2d=True)
        if len(samples) < frames:
            raise DataError(
                f"{name} is not a whole recording: {len(samples):,} of its {frames:,} samples are there: write it again"
            )
        return check_clip(_bounded(_noted(samples, name), name), name), int(file.samplerate)


def _noted(samples: np.ndarray, name: str) -> np.ndarray:
    """The same samples; a warning where they are of several channels."""
    if samples.ndim == 2 and samples.shape[1] > 1:
        warnings.warn(f"{name} has {samples.shape[1]} {AVERAGED}", UserWarning)
    return samples


def _bounded(samples: np.ndarray, name: str) -> np.ndarray:
    """Samples in [-1, 1]: what lies a little outside, as lossy codings and mixing leave it, is clipped with a warning.

    Raises:
        DataError: values that are not finite, or far outside: they are in another unit.
    """
    if not np.issubdtype(samples.dtype, np.floating):
        return samples
    if not np.isfinite(samples).all():
        count = int((~np.isfinite(samples)).sum())
        raise DataError(f"{name} has {count} samples that are not finite: remove the recording or write it again")
    most = float(np.abs(samples).max(initial=0.0))
    if most > OVERSHOOT:
        raise DataError(
            f"{name} must lie in [-1, 1] (got values up to {most:.4g}): divide by that, or write 16-bit integers"
        )
    if most > 1:
        count = int((np.abs(samples) > 1).sum())
        if count > 1e-3 * samples.size:
            warnings.warn(f"{name}: {count:,} samples beyond ±1 (up to {most:.3g}) {CLIPPED}", UserWarning)
    return samples.clip(-1, 1)
