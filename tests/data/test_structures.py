"""Molecules as chemists store them: structures with data fields, tables under any name of a column, names beside."""

import pandas as pd
import pytest

pytest.importorskip("rdkit")
from rdkit import Chem

from pofx.core.errors import DataError, UsageError
from pofx.data.files import contents
from pofx.data.structures import are_smiles, column_of_smiles, read_sdf

SOME = ["CCO", "c1ccccc1", "CC(=O)O", "CCN", "[13CH4]", "CC(=O)[O-].[Na+]"]


def sdf(path):
    writer = Chem.SDWriter(str(path))
    for i, smiles in enumerate(SOME):
        molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
        molecule.SetProp("activity", str(i / 2))
        writer.write(molecule)
    writer.close()
    return path


def test_structures_have_their_fields_and_no_hydrogens(tmp_path):
    found = read_sdf(sdf(tmp_path / "x.sdf"))
    assert found["smiles"].tolist()[:2] == ["CCO", "c1ccccc1"] and found["activity"].tolist()[3] == 1.5
    windows = (tmp_path / "x.sdf").read_text().replace("\n", "\r\n")
    (tmp_path / "y.sdf").write_text(windows, newline="")
    assert read_sdf(tmp_path / "y.sdf").equals(found)
    assert list(contents(tmp_path / "x.sdf").values)[:2] == SOME[:2]
    (tmp_path / "z.sdf").write_text("")
    with pytest.raises(DataError, match="no structures"):
        read_sdf(tmp_path / "z.sdf")


def test_the_column_of_smiles_is_found_by_its_name_or_by_what_it_holds():
    rest = {"id": range(len(SOME)), "note": ["a b"] * len(SOME)}
    for name in ("SMILES", "Canonical Smiles", "smi", "rdkit_smiles"):
        assert column_of_smiles(pd.DataFrame({**rest, name: SOME})) == name
    with pytest.warns(UserWarning, match="taken for the molecules"):
        assert column_of_smiles(pd.DataFrame({**rest, "x": SOME})) == "x"
    assert not are_smiles(pd.Series([1, 2])) and not are_smiles(pd.Series(["blue", "red"]))
    with pytest.raises(DataError, match="no column holds SMILES"):
        column_of_smiles(pd.DataFrame(rest))
    with pytest.raises(UsageError, match="column of SMILES"):
        column_of_smiles(pd.DataFrame({**rest, "x": SOME}), "y")


@pytest.mark.parametrize(
    "text",
    ["smiles id\nCCO 1\nCCN 2\nCCC 3", "# mine\nCCO\nCCN\n\nCCC", "a1 CCO\na2 CCN\na3 CCC", "CCO é\nCCN\nCCC"],
    ids=["heading", "comment", "names first", "latin"],
)
def test_what_is_beside_the_molecules_is_no_molecule(text, tmp_path):
    (tmp_path / "x.smi").write_bytes(text.encode("latin-1"))
    assert list(contents(tmp_path / "x.smi").values) == ["CCO", "CCN", "CCC"]
