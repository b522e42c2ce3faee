"""Class balance: are the classes drawn as often as they occur? Total variation between two class histograms.

The classes of samples are those a classifier predicts; it errs, so its accuracy on held-out items is told beside the
number, and so is what the distance reads on average for n perfect draws (it is biased upwards for small n).
"""

import numpy as np


def histogram(labels: np.ndarray, classes: int) -> np.ndarray:
    """Shares of the classes 0, …, classes - 1, empty ones included: (classes,)."""
    return np.bincount(np.asarray(labels, np.int64), minlength=classes)[:classes] / max(len(labels), 1)


def total_variation(p: np.ndarray, q: np.ndarray) -> float:
    """Half the L1 distance of two histograms, in [0, 1]."""
    return float(np.abs(p - q).sum() / 2)


def total_variation_floor(reference: np.ndarray, n: int) -> float:
    """What the distance reads on average for n draws from the reference itself (normal approximation)."""
    return float(np.sqrt(2 / np.pi) * np.sqrt(reference * (1 - reference) / max(n, 1)).sum() / 2)
