"""Counts of genes in cells, from files: .h5 (genes or cells first), .csv and .npz."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pofx.core.errors import DataError


def read_counts(path: Path, cells: Sequence[str] | None = None) -> tuple[np.ndarray, list[str]]:
    """Counts int64 (cells, genes) and the names of the genes.

    Args:
        cells: names of cells, in whose order the counts are returned; a file with its genes first needs them.

    Raises:
        DataError: h5py is not installed, or there are no counts in the file.
    """
    if path.suffix in (".h5", ".hdf5", ".h5ad"):
        return _hdf5(path, cells)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            counts = file["counts" if "counts" in file.files else file.files[0]]
        return _whole(counts, path), [f"gene {i}" for i in range(counts.shape[1])]
    frame = pd.read_csv(path, index_col=0)
    return _whole(frame.to_numpy(), path), [str(c) for c in frame.columns]


def _hdf5(path: Path, cells: Sequence[str] | None) -> tuple[np.ndarray, list[str]]:
    try:
        import h5py
    except ImportError:
        raise DataError(f"{path} needs h5py: pip install pofx[cells], or write a .csv") from None
    frames: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, node: frames.__setitem__(name, node[()]) if hasattr(node, "shape") else None)
    tables = {name: a for name, a in frames.items() if a.ndim == 2 and a.dtype.kind in "iuf"}
    if not tables:
        raise DataError(f"{path} has no table of counts: write a .csv of cells by genes")
    name = max(tables, key=lambda key: tables[key].size)
    counts = tables[name]
    texts = [[_text(v) for v in a] for a in frames.values() if a.ndim == 1 and a.dtype.kind in "SO"]
    for transposed in (False, True):
        rows = counts.T if transposed else counts
        index = next((t for t in texts if len(t) == rows.shape[0] and (cells is None or set(cells) <= set(t))), None)
        genes = next((t for t in texts if len(t) == rows.shape[1] and t is not index), None)
        if cells is None or index is not None:
            names = genes or [f"gene {i}" for i in range(rows.shape[1])]
            if cells is not None and index is not None:
                at = {cell: i for i, cell in enumerate(index)}
                rows = rows[[at[cell] for cell in cells]]
            return _whole(rows, path), names
    raise DataError(f"{path} does not have the cells that are named: check the labels")


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _whole(counts: np.ndarray, path: Path) -> np.ndarray:
    values = np.asarray(counts, np.float64)
    if not np.isfinite(values).all() or (values < 0).any() or (values != np.round(values)).any():
        raise DataError(f"{path} must hold whole numbers from 0 (raw counts): give them before normalisation")
    return values.astype(np.int64)
