"""Magnitudes of short stretches of a sound, and a sound that has given magnitudes (Griffin and Lim, 1984).

The phase is found by turns: the sound of the magnitudes with the present phase, and the phase of that sound; with the
momentum of Perraudin, Balazs and Søndergaard (2013).
"""

import numpy as np
from jaxtyping import Float

MOMENTUM = 0.99


def stft(x: Float[np.ndarray, "samples"], window: int, hop: int) -> np.ndarray:
    """Complex (frames, window // 2 + 1), the frames centred on 0, hop, 2 hop, …"""
    padded = np.pad(x, window // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    return np.asarray(np.fft.rfft(frames * np.hanning(window + 1)[:-1], axis=1))


def istft(spectrum: Float[np.ndarray, "frames bins"] | np.ndarray, window: int, hop: int) -> np.ndarray:
    """The sound whose `stft` is nearest, (frames - 1) · hop samples: overlapping frames weighted by their window."""
    taper = np.hanning(window + 1)[:-1]
    frames = np.fft.irfft(spectrum, window, axis=1) * taper
    size = (len(frames) - 1) * hop + window
    sound, weight = np.zeros(size), np.zeros(size)
    for i, frame in enumerate(frames):
        sound[i * hop : i * hop + window] += frame
        weight[i * hop : i * hop + window] += taper**2
    whole = sound / np.maximum(weight, 1e-3)
    return whole[window // 2 : size - window // 2]


def griffin_lim(
    magnitude: Float[np.ndarray, "frames bins"], window: int, hop: int, rounds: int = 40, seed: int = 0
) -> np.ndarray:
    """A sound of (frames - 1) · hop samples with these magnitudes."""
    g = np.random.default_rng(seed)
    phase = np.exp(2j * np.pi * g.uniform(size=magnitude.shape))
    before = np.zeros_like(phase)
    for _ in range(rounds):
        now = stft(istft(magnitude * phase, window, hop), window, hop)[: len(magnitude)]
        moved = now + MOMENTUM * (now - before)
        phase, before = moved / np.maximum(np.abs(moved), 1e-12), now
    return istft(magnitude * phase, window, hop)
