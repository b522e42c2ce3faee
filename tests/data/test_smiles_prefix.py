"""Beginnings of SMILES: every molecule is admitted symbol by symbol, and what is admitted to the end is a molecule."""

import numpy as np
import pytest

from pofx.data.smiles_prefix import Beginning, capacity, followed

chemistry = pytest.importorskip("rdkit.Chem", reason="rdkit is not installed")
MOLECULES = [
    "CC(=O)Oc1ccccc1C(=O)O", "C[C@@H]1CN(C(=O)N2CCC[NH+](C)CC2)C[C@H]1C", "O=S(=O)(c1ccc(F)cc1)N1CCCC1",
    "N#Cc1ccc2nc(/C=C/C3CC3)sc2c1", "CN1C(=O)C[C@@H](C(=O)[O-])C12CCN(C)CC2", "C[N+](C)(C)CC(O)CP(=O)(O)O",
    "FC(F)(F)c1nn[nH]n1", "O=c1cc[nH]c(=S)n1C", "BrC1=C(Cl)C=CC=C1I",
]  # fmt: skip


def spelled(text, way):
    from pofx.represent.smiles import Smiles
    from pofx.represent.smiles_kekule import SmilesKekule
    from pofx.represent.smiles_rings import SmilesRings
    from pofx.represent.smiles_sizes import SmilesSizes

    return {"plain": Smiles, "rings": SmilesRings, "kekule": SmilesKekule, "sizes": SmilesSizes}[way].parts(text)


@pytest.mark.parametrize("how", ["plain", "rings", "kekule", "sizes"])
@pytest.mark.parametrize("text", MOLECULES)
def test_every_molecule_is_admitted(text, how):
    state = followed(Beginning(), spelled(text, how))
    assert state is not None and state.ends and state.needed == 0


@pytest.mark.parametrize("rings", [("%+", "%-1", "%-2"), ("%~3", "%~5", "%~6")])
def test_what_is_admitted_to_its_end_is_a_molecule(rings):
    from pofx.represent.smiles_rings import numbered
    from pofx.represent.smiles_sizes import ringed

    g, symbols = np.random.default_rng(0), ["C", "N", "O", "S", "F", "[N+]", "[O-]", "=", "#", "(", ")", *rings]
    written = numbered if "%+" in rings else ringed
    made = 0
    for _ in range(150):
        state, text = Beginning(), []
        for _ in range(25):
            symbol = symbols[g.integers(len(symbols))]
            new = followed(state, [symbol])
            if new is not None:
                state, text = new, [*text, symbol]
                if state.ends:
                    made += 1
                    assert chemistry.MolFromSmiles(written(text)) is not None, written(text)
    assert made > 300


def test_symbols_that_cannot_follow_are_refused():
    for text in ("C(", "F", "CC=", "C%+C"):
        assert not followed(Beginning(), spelled_raw(text)).ends or text == "F"
    for text in (
        "()",
        "C((",
        "C)",
        "=C",
        "C(=)",
        "FC(F)C=F",
        "C#C=C",
        "C%-1",
        "C%+%-1",
        "C%+C%-1",
        "C==C",
        "FF%+",
        "C()",
    ):
        assert followed(Beginning(), spelled_raw(text)) is None, text
    assert capacity("[NH3+]") == 1 and capacity("[C@@H]") == 3 and capacity("S") == 6 and capacity("Br") == 1
    small = {"c": 3, "n": 3, "o": 2, "[nH]": 2, "[n+]": 3, "[nH+]": 2, "[n-]": 2, "[o+]": 3, "[se]": 2, "[13cH]": 2}
    assert {symbol: capacity(symbol) for symbol in small} == small


def spelled_raw(text):
    from pofx.represent.smiles_rings import RINGS

    return RINGS.findall(text)
