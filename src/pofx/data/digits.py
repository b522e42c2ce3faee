"""Handwritten digits, 8 x 8, grey levels 0 to 16: the data set that needs no network.

Alpaydin and Kaynak (1998), "Optical recognition of handwritten digits", UCI; the 1,797 images that scikit-learn ships.
"""

import importlib.util
from pathlib import Path

import numpy as np

from pofx.data.dataset import Dataset, Source, split
from pofx.data.kinds.image import images


def load(seed: int = 0) -> Dataset:
    """The digits, split 80 / 10 / 10 by class."""
    flat, labels = handwritten()
    items = images(flat.reshape(-1, 8, 8).astype(np.uint8), levels=17, labels=labels, name="digits")
    return split(
        items,
        "digits",
        seed=seed,
        source="UCI optical recognition of handwritten digits (test part), by scikit-learn",
        licence="CC BY 4.0",
        summary=SOURCES[0].summary,
    )


def handwritten() -> tuple[np.ndarray, np.ndarray]:
    """Pixels (1797, 64) and labels, from the file that scikit-learn ships; its import alone would take a second."""
    spec = importlib.util.find_spec("sklearn")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if path.exists():
            rows = np.loadtxt(path, delimiter=",")
            return rows[:, :64], rows[:, 64].astype(np.int64)
    from sklearn.datasets import load_digits

    found = load_digits()
    return found.data, found.target


SOURCES = (Source("digits", "image", 1797, "handwritten digits, 8 x 8, 17 grey levels, 10 classes", load),)
