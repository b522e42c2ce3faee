"""Cells of .h5ad files, as anndata lays them out, and of counts beside a table of labels."""

import numpy as np
import pandas as pd
import pytest

from pofx.core.errors import DataError, UsageError
from pofx.data.annotated import read_annotated

h5py = pytest.importorskip("h5py", reason="h5py is not installed")
COUNTS = np.array([[0, 3, 1], [2, 0, 0], [0, 0, 5], [1, 1, 1]])


def frame(group, index, **columns):
    group.attrs["_index"] = "_index"
    group.attrs["column-order"] = np.array(list(columns), dtype="S")
    group["_index"] = np.array(list(index), dtype="S")
    for name, values in columns.items():
        if isinstance(values[0], str):
            found = pd.Categorical(values)
            one = group.create_group(name)
            one["categories"], one["codes"] = np.array(list(found.categories), dtype="S"), found.codes
        else:
            group[name] = np.array(values)


def write(path, layout):
    from scipy.sparse import csc_matrix, csr_matrix

    with h5py.File(path, "w") as file:
        if layout == "dense":
            file["X"] = COUNTS.astype(np.float32)
        else:
            x, of = (csr_matrix if layout == "csr" else csc_matrix)(COUNTS.astype(np.float32)), file.create_group("X")
            of.attrs["encoding-type"], of.attrs["shape"] = f"{layout}_matrix", COUNTS.shape
            of["data"], of["indices"], of["indptr"] = x.data, x.indices, x.indptr
        frame(file.create_group("obs"), "abcd", drug=["A", "B", "A", "none"], dose=[1.0, 2.0, 1.5, 0.0])
        frame(file.create_group("var"), ["g1", "g2", "g3"])


@pytest.mark.parametrize("layout", ["dense", "csr", "csc"])
def test_cells_come_with_their_annotation(tmp_path, layout):
    write(tmp_path / "x.h5ad", layout)
    found = read_annotated(tmp_path / "x.h5ad")
    assert list(found.columns) == ["drug", "dose", "g1", "g2", "g3"] and list(found["drug"]) == ["A", "B", "A", "none"]
    assert np.array_equal(found[["g1", "g2", "g3"]], COUNTS) and found["g1"].dtype.kind == "i"  # counts stay counts


def test_a_layer_may_take_the_place_of_x_and_columns_may_lack_values(tmp_path):
    write(tmp_path / "x.h5ad", "dense")
    with h5py.File(tmp_path / "x.h5ad", "a") as file:
        file["layers/logs"] = np.log1p(COUNTS)
        one = file["obs"].create_group("age")
        one["values"], one["mask"] = np.array([1, 2, 3, 4]), np.array([False, True, False, False])
    found = read_annotated(tmp_path / "x.h5ad", layer="logs")
    assert np.allclose(found[["g1", "g2", "g3"]], np.log1p(COUNTS)) and found["age"].isna().tolist() == [0, 1, 0, 0]
    with pytest.raises(UsageError, match="layer"):
        read_annotated(tmp_path / "x.h5ad", layer="counts")


def test_counts_are_joined_to_a_table_of_labels(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:  # genes first
        file["x"], file["genes"], file["cells"] = (
            COUNTS.T,
            np.array(["g1", "g2", "g3"], "S"),
            np.array(list("abcd"), "S"),
        )
    (tmp_path / "of.txt").write_text("c\tthird\na\tfirst\n")
    found = read_annotated(tmp_path / "x.h5", tmp_path / "of.txt")
    assert list(found["label"]) == ["third", "first"] and np.array_equal(found[["g1", "g2", "g3"]], COUNTS[[2, 0]])
    (tmp_path / "of.txt").write_text("c\n")
    with pytest.raises(DataError, match="two columns"):
        read_annotated(tmp_path / "x.h5", tmp_path / "of.txt")
    with pytest.raises(DataError, match="give --labels"):
        read_annotated(tmp_path / "x.h5")


def test_what_is_no_hdf5_file_is_refused(tmp_path):
    (tmp_path / "x.h5ad").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no HDF5 file"):
        read_annotated(tmp_path / "x.h5ad")
