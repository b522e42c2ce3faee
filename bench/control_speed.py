"""CPU seconds of the controls and the self-test of a comparison on a table, and how they grow with its rows.

The bar: 20 s on one core at 7,200 × 6; growth of at most n log n beyond the sub-samples that the protocol states. Data:
random rows of ADBench's mammography (6 columns) from $POFX_DATA. To compare with another version of the code, run the
script under its PYTHONPATH: PYTHONPATH=OTHER/src python bench/control_speed.py 7200.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pofx.data.sources import load
from pofx.evaluate.suite import controls, self_tests


def rows(n: int) -> pd.DataFrame:
    """n rows of mammography; beyond its 11,183 they are drawn again, with a little noise."""
    values = np.load(Path(os.environ["POFX_DATA"]) / "tables" / "mammography.npz")["X"]
    generator = np.random.default_rng(0)
    if n > len(values):
        values = values[generator.integers(len(values), size=n)] + 0.01 * generator.normal(size=(n, values.shape[1]))
    return pd.DataFrame(values[generator.permutation(len(values))[:n]], columns=list("abcdef"))


def main(sizes: list[int]) -> None:
    torch.set_num_threads(1)
    for n in sizes:
        dataset = load(rows(n))
        began = time.process_time()
        controls(dataset, seed=0)
        middle = time.process_time()
        self_tests(dataset, seed=0)
        ended = time.process_time()
        print(f"{n:>7} rows  controls {middle - began:6.1f} s  self-test {ended - middle:5.1f} s", flush=True)


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [1800, 3600, 7200, 14400, 28800])
