"""Recordings as audio items: files, folders and zips of sound, mixed down to one channel, of one sample rate.

Names state labels: the folder that holds a recording, or else what precedes the first underscore of its name.
Plain .wav files are read by scipy; everything else, and what it refuses, needs the extra `audio`.
"""

import io
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from pofx.core.errors import DataError
from pofx.data.clips import check_clip
from pofx.data.members import folder_labels, members

PIECE = 1 << 16  # samples: longer recordings are cut into pieces of this length


def read_recordings(path: Path, endings: Sequence[str]) -> tuple[list[np.ndarray], int, list[str] | None]:
    """The recordings of a file, folder or zip, in the order of their names: clips, their sample rate, their labels.

    Raises:
        DataError: no recordings, a damaged one, or several sample rates.
    """
    if path.suffix.lower() in endings and path.is_file():
        return _clips([path.name], [read_recording(path.read_bytes(), path.name)], str(path))
    with members(path, endings) as (names, fetch):
        if not names:
            raise DataError(f"{path} holds no recordings: give files ending in {', '.join(endings)}")
        return _clips(names, [read_recording(fetch(name), f"{path}/{name}") for name in names], str(path))


def _clips(
    names: Sequence[str], found: Sequence[tuple[np.ndarray, int]], where: str
) -> tuple[list[np.ndarray], int, list[str] | None]:
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
    given = None if labels is None else [str(label) for _, label in pieces]
    return [clip for clip, _ in pieces], next(iter(rates)), given


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
        DataError: damaged, or a format that needs the extra `audio`.
    """
    try:
        if PurePosixPath(name).suffix.lower() == ".wav":
            from scipy.io import wavfile

            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks without sound
                    rate, samples = wavfile.read(io.BytesIO(content))
            except (ValueError, struct.error):  # damaged, or a coding that scipy does not know
                rate, samples = 0, np.zeros(0)
            if len(samples):
                return check_clip(_bounded(samples), name), int(rate)
        import soundfile

        samples, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
        return check_clip(_bounded(samples), name), int(rate)
    except ImportError as error:
        raise DataError(f"{name} needs the extra audio: pip install 'pofx[audio]', or give plain .wav files") from error
    except (RuntimeError, EOFError, OSError, TypeError) as error:
        raise DataError(f"{name} is not a whole recording ({error}): remove it or write it again") from error


def _bounded(samples: np.ndarray) -> np.ndarray:
    """Lossy codings overshoot a little: what lies outside [-1, 1] by decoding alone is clipped."""
    return samples.clip(-1, 1) if np.issubdtype(samples.dtype, np.floating) else samples
