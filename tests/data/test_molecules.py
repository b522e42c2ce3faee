"""Laws of the measures of molecules: known strings read known shares, whatever their spelling."""

import numpy as np
import pandas as pd
import pytest

import pofx
from pofx.apps.molecules import read
from pofx.core.errors import DataError
from pofx.core.representation import Items
from pofx.data.files import contents
from pofx.data.sources import load
from pofx.evaluate.metric import ItemMetric, metrics
from pofx.evaluate.metrics.molecules import Molecules, canonical, fingerprints, internal_diversity
from pofx.maths.frechet import frechet_distance

pytest.importorskip("rdkit", reason="rdkit is not installed")
ALCOHOLS = ["C" * n + "O" for n in range(1, 41)]
RINGS = ["c1ccccc1" + "C" * n for n in range(40)]


def test_smi_files_hold_a_molecule_a_line(tmp_path):
    path = tmp_path / "few.smi"
    path.write_text("SMILES name\nCCO ethanol\n\nc1ccccc1\tbenzene\nC\n")
    found = contents(path)
    assert found.values == ["CCO", "c1ccccc1", "C"] and found.facts["molecules"] and found.kind == "molecules"
    path.write_text("\n".join(ALCOHOLS))
    data = load(str(path))
    assert data.train.facts["molecules"] == "SMILES" and sum(data.card.sizes.values()) == 40
    (tmp_path / "none.smi").write_text("SMILES\n")
    with pytest.raises(DataError, match="holds no molecules"):
        contents(tmp_path / "none.smi")
    with pytest.raises(DataError, match="has spaces"):
        pofx.molecules(["CC O"])
    with pytest.raises(DataError, match="list of SMILES"):
        pofx.molecules("CCO")


def test_strings_that_are_no_molecules_are_counted(tmp_path, recwarn):
    pofx.molecules(["CCO", "c1ccccc1"])
    assert not recwarn.list
    (tmp_path / "some.smi").write_text("CCO\nC1CC\nC\nhello\n")
    with pytest.warns(UserWarning, match=r"2 of 4 are no molecules .*C1CC"):
        assert len(contents(tmp_path / "some.smi")) == 4
    pd.DataFrame({"smiles": ["CCO", "OCC", "C1CC", "", "C", "CC"]}).to_csv(tmp_path / "some.csv", index=False)
    with pytest.warns(UserWarning, match=r"2 of 6 strings are no molecules .*C1CC\): left out"):
        data = read(tmp_path / "some.csv")
    assert data.card.facts["repeats_removed"] == 1 and sum(data.card.sizes.values()) == 3


def test_one_molecule_has_many_strings_on_both_sides():
    assert canonical(["OCC", "C(O)C", "C1CC", "", "x"]) == ["CCO", "CCO", None, None, None]
    train = pofx.molecules(["OCC", "C1=CC=CC=C1"])  # ethanol and benzene, written otherwise
    samples = Items("molecules", ["CCO", "C(C)O", "c1ccccc1", "CCN", "C1CC"], None, train.facts)
    read = Molecules().read(samples, train, train)
    assert read.values["validity"] == 4 / 5
    assert read.values["uniqueness"] == 3 / 4
    assert read.values["novelty"] == 1 / 3  # ethylamine alone
    assert 0 < read.extra["validity"]["stderr"] < 0.3


def test_diversity_of_equal_and_of_unlike_molecules():
    assert internal_diversity(np.eye(4)) == 1
    assert internal_diversity(np.ones((4, 3))) == 0
    assert internal_diversity(np.array([[1.0, 1, 0], [0, 1, 1]])) == pytest.approx(1 - 1 / 3)
    bits = (fingerprints(ALCOHOLS + RINGS) > 0).astype(float)
    from rdkit import Chem, DataStructs
    from rdkit.Chem import rdFingerprintGenerator

    maker = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    prints = [maker.GetFingerprint(Chem.MolFromSmiles(s)) for s in ALCOHOLS + RINGS]
    similar = [DataStructs.TanimotoSimilarity(a, b) for i, a in enumerate(prints) for b in prints[:i]]
    assert internal_diversity(bits) == pytest.approx(1 - np.mean(similar), rel=1e-10)


def test_the_distance_on_fingerprints_orders_samples_and_says_its_floor():
    items = lambda strings: Items("molecules", strings, None, {"molecules": "SMILES"})  # noqa: E731
    train = items(ALCOHOLS[::2] + RINGS[::2])
    real, same = items(ALCOHOLS[1::4] + RINGS[1::4]), items(ALCOHOLS[3::4] + RINGS[3::4])
    good, one, junk = (
        Molecules().read(s, real, train) for s in (same, items(RINGS), items(["N" * n for n in range(1, 21)]))
    )
    name = "fingerprint_distance"
    assert good.values[name] < one.values[name] < junk.values[name]
    assert good.extra[name]["floor"] > 0 and good.extra[name]["valid"] == 20
    # as many components as there are places: a rotation, under which the distance is the raw one
    a, b = fingerprints(same.values), fingerprints(real.values)
    used = fingerprints(train.values).any(0)
    assert used.sum() < 64
    assert good.values[name] == pytest.approx(frechet_distance(a[:, used], b[:, used]), rel=1e-6)


def test_other_texts_are_left_alone():
    assert "validity" not in {name for m in metrics(ItemMetric, items="text") for name in m.scores}
    assert "validity" in {name for m in metrics(ItemMetric, items="molecules") for name in m.scores}
    few = Items("molecules", ["x", "C"], None, {"molecules": "SMILES"})
    assert set(Molecules().read(few, few, few).values) == {"validity", "uniqueness", "novelty"}
