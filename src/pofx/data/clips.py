"""Clips of sound from arrays, checked."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from pofx.core.errors import DataError
from pofx.data.numbers import as_array

CANCEL, AVERAGED, CLIPPED = "cancel each other", "channels, which are averaged", "are clipped"  # of warnings
CANCELLED = 0.01  # of the power of the channels, below which their mean has lost them


def check_clips(x: Any, name: str) -> list[np.ndarray]:
    """Clips as float32 (samples,) in [-1, 1], checked."""
    with stated_once():
        clips = [check_clip(value, f"{name}: clip {i}") for i, value in enumerate(x)]
    if not clips:
        raise DataError(f"{name} holds no clips: give at least one")
    return clips


@contextmanager
def stated_once() -> Iterator[None]:
    """A warning about channels or clipped samples is given once for all clips, with their number."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    alike: dict[str, list[str]] = {}
    for one in caught:
        mark = next((mark for mark in (CANCEL, AVERAGED, CLIPPED) if mark in str(one.message)), None)
        if mark is None:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        else:
            alike.setdefault(mark, []).append(str(one.message))
    if len(alike.get(CANCEL, ())) >= len(alike.get(AVERAGED, ())):
        alike.pop(AVERAGED, None)  # stated already
    for found in alike.values():
        more = f" ({len(found) - 1} more are such)" if len(found) > 1 else ""
        warnings.warn(f"{found[0]}{more}", UserWarning, stacklevel=4)


def check_clip(value: Any, name: str) -> np.ndarray:
    """A clip as float32 (samples,) in [-1, 1], checked; channels are averaged."""
    if isinstance(value, dict) or (isinstance(value, tuple) and len(value) == 2 and np.ndim(value[1]) == 0):
        raise DataError(f"{name} is samples with their rate (got {type(value).__name__}): give the samples, and rate=")
    array = as_array(value, name)
    if array.ndim not in (1, 2) or array.size == 0:
        raise DataError(f"{name} must have shape (samples,) or (samples, channels), not empty (got {array.shape})")
    if array.dtype == np.uint8:  # as in .wav files: 128 is silence
        array = (array.astype(np.float32) - 128) / 128
    elif array.dtype == np.int64:  # of Python's whole numbers: nothing states how loud 1 is
        got = int(np.abs(array).max())
        raise DataError(f"{name} holds int64, without a loudest value (got up to {got}): pass int16 or floats")
    elif np.issubdtype(array.dtype, np.signedinteger):
        if array.dtype == np.int32 and 0 < np.abs(array.astype(np.int64)).max() < 1 << 23:
            warnings.warn(
                f"{name} holds int32 that use less than 1/256 of their range, nearly silence: multiply samples of 24 "
                "bits by 256, pass those of 16 bits as int16",
                UserWarning,
            )
        array = array.astype(np.float64) / -float(np.iinfo(array.dtype).min)
    elif not np.issubdtype(array.dtype, np.floating):
        raise DataError(f"{name} must be floats in [-1, 1] or signed integers (got {array.dtype})")
    if array.ndim == 2:
        if array.shape[1] > array.shape[0]:
            raise DataError(f"{name} has shape {array.shape}, more channels than samples: move the channels last")
        array = _mixed(array, name)
    if not np.isfinite(array).all():
        raise DataError(f"{name} has {int((~np.isfinite(array)).sum())} samples that are not finite: remove them")
    if np.abs(array).max() > 1:
        raise DataError(f"{name} must lie in [-1, 1] (got {array.min():.3g} to {array.max():.3g}): scale it down")
    return array.astype(np.float32)


def _mixed(array: np.ndarray, name: str) -> np.ndarray:
    """The mean of channels; a warning where they cancel, as a channel and its inverse do."""
    if not np.isfinite(array).all():
        return array.mean(1)
    mixed, of_channels = array.mean(1), float(np.square(array, dtype=np.float64).mean())
    if array.shape[1] > 1 and np.square(mixed, dtype=np.float64).mean() < CANCELLED * of_channels:
        warnings.warn(
            f"{name}: the {array.shape[1]} channels {CANCEL}, so that their mean is nearly silent: pass one "
            "of them, or turn one over",
            UserWarning,
        )
    return mixed
