"""Cells with what is known of them, from one file: an AnnData .h5ad, or counts beside a table of labels.

An .h5ad holds X (dense, or rows compressed as data, indices and indptr), and columns of `obs` as arrays or as
categories with codes (Virshup et al., 2021; the layout is that of anndata 0.7 and later). Read by h5py alone.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.errors import DataError, unknown

ENDINGS = (".h5ad", ".h5", ".hdf5")


def read_annotated(path: Path, labels: Path | None = None, layer: str | None = None) -> pd.DataFrame:
    """A row per cell: its columns of annotation, then its measurements by name.

    Args:
        layer: measurements in place of X, such as the raw counts beside normalised values.
        labels: a table without a header, the name of a cell and its label in each row; only of .h5 without `obs`.

    Raises:
        UsageError: there is no such layer.
        DataError: h5py is not installed, or the file has no cells, no annotation, or another layout.
    """
    try:
        import h5py
    except ImportError:
        raise DataError(f"{path} needs h5py: pip install pofx[cells], or write a .csv") from None
    if labels is not None:
        return _labelled(path, labels)
    try:
        with h5py.File(path) as file:
            if "X" not in file or "obs" not in file:
                raise DataError(f"{path} has no obs beside X: give --labels, a table of cells and their labels")
            layers = list(file.get("layers", ()))
            if layer is not None and layer not in layers:
                raise unknown(f"layer of {path}", layer, layers)
            x = _matrix(file["X"] if layer is None else file["layers"][layer])
            obs = _frame(file["obs"])
            names = _frame(file["var"]).index if "var" in file else None
    except OSError as error:
        raise DataError(f"{path} is no HDF5 file: give an .h5ad, or a .csv") from error
    if len(obs) != len(x) or (names is not None and len(names) != x.shape[1]):
        raise DataError(f"{path} has {len(x)} cells of {x.shape[1]} columns, and obs of {len(obs)}: write it again")
    columns = [f"x{i}" for i in range(x.shape[1])] if names is None else [str(name) for name in names]
    twice = set(columns) & set(obs.columns)
    cells = pd.DataFrame(_integers(x), columns=[f"{c} (X)" if c in twice else c for c in columns])
    return pd.concat((obs.reset_index(drop=True), cells), axis=1)


def _labelled(path: Path, labels: Path) -> pd.DataFrame:
    from pofx.data.cells import read_counts

    try:
        rows = [line.split("\t" if "\t" in line else ",") for line in labels.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{labels} cannot be read: give a text, the name of a cell and its label a line") from error
    if not rows or any(len(row) != 2 for row in rows):
        raise DataError(f"{labels} must have two columns, the name of a cell and its label: without a header")
    x, genes = read_counts(path, [row[0].strip() for row in rows])
    return pd.concat(
        (pd.DataFrame({"label": [row[1].strip() for row in rows]}), pd.DataFrame(x, columns=genes)), axis=1
    )


def _matrix(node: Any) -> np.ndarray:
    """X as a table, whichever layout it has."""
    if hasattr(node, "shape"):
        return np.asarray(node[()])
    shape = tuple(int(k) for k in node.attrs.get("shape", node.attrs.get("h5sparse_shape", ())))
    kind = str(node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", "csr")))
    if len(shape) != 2 or "data" not in node:
        raise DataError("X must be a table, or rows or columns compressed (got another layout): write it densely")
    from scipy.sparse import csc_matrix, csr_matrix

    parts = tuple(np.asarray(node[name][()]) for name in ("data", "indices", "indptr"))
    return np.asarray((csc_matrix if "csc" in kind else csr_matrix)(parts, shape=shape).todense())


def _frame(node: Any) -> pd.DataFrame:
    """The columns of a group, indexed by its names."""
    if hasattr(node, "shape"):
        raise DataError("the annotation is a table of an older layout: write the file with anndata 0.7 or later")
    index = str(node.attrs.get("_index", "_index"))
    legacy = node.get("__categories", {})
    found: dict[str, Any] = {}
    stated = [str(_text(name)) for name in node.attrs.get("column-order", ()) if str(_text(name)) in node]
    for name in dict.fromkeys((*stated, *node)):  # HDF5 itself lists names by the alphabet
        if name == "__categories":
            continue
        one = node[name]
        if hasattr(one, "shape"):
            values = _texts(np.asarray(one[()]))
            found[name] = _texts(np.asarray(legacy[name][()]))[values.astype(int)] if name in legacy else values
        elif "values" in one and "mask" in one:  # numbers and truth values of which some are missing
            values, gone = np.asarray(one["values"][()]), np.asarray(one["mask"][()], bool)
            found[name] = pd.Series(values).astype(object).where(~gone, None).to_numpy() if gone.any() else values
        elif "categories" in one:
            categories, codes = _texts(np.asarray(one["categories"][()])), np.asarray(one["codes"][()])
            found[name] = np.where(codes >= 0, categories[codes], None) if (codes < 0).any() else categories[codes]
    names = found.pop(index, None)
    size = len(names) if names is not None else len(next(iter(found.values()), ()))
    return pd.DataFrame(found, index=None if names is None else [str(n) for n in names]) if size else pd.DataFrame()


def _texts(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "SO":
        return values
    return np.array([_text(v) for v in values], object)


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _integers(x: np.ndarray) -> np.ndarray:
    """Counts as whole numbers, other measurements as they are."""
    whole = x.dtype.kind == "f" and bool(np.isfinite(x).all() and (x == np.round(x)).all() and (x >= 0).all())
    return x.astype(np.int64) if whole else x
