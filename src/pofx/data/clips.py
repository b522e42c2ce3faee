"""Clips of sound from arrays, checked."""

from typing import Any

import numpy as np

from pofx.core.errors import DataError


def check_clips(x: Any, name: str) -> list[np.ndarray]:
    """Clips as float32 (samples,) in [-1, 1], checked."""
    clips = [check_clip(value, f"{name}: clip {i}") for i, value in enumerate(x)]
    if not clips:
        raise DataError(f"{name} holds no clips: give at least one")
    return clips


def check_clip(value: Any, name: str) -> np.ndarray:
    """A clip as float32 (samples,) in [-1, 1], checked; channels are averaged."""
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
