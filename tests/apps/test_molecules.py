"""Molecules: symbols round trip, unknown ones are named, measures know known answers, floors stand beside."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import pofx
from pofx.apps import molecules as app_of
from pofx.apps.conditioned_molecules import predictor
from pofx.apps.ngram import NGram, floor_nats
from pofx.apps.steered import limited, steer
from pofx.cli.main import app
from pofx.core import config
from pofx.core.errors import DataError, Unsupported, UsageError
from pofx.core.items import Items
from pofx.data import chemistry
from pofx.represent.smiles import Selfies, Smiles
from pofx.represent.smiles_kekule import SmilesKekule, aromatised, kekulised
from pofx.represent.smiles_pieces import Cutter, SmilesPieces, closed
from pofx.represent.smiles_rings import SmilesRings, numbered
from pofx.represent.smiles_sizes import SmilesSizes, ringed, sized

pytest.importorskip("rdkit", reason="rdkit is not installed")
ENDS = ["", "C", "CC", "CCC", "O", "CO", "Cl", "Br", "N", "CN", "C(=O)O", "F", "C#N", "OC", "NC", "S"]
SPELLED = (f"{a}c1cc{ring}cc1{b}" for a in ENDS for b in ENDS[:8] for ring in ("c", "n"))
SMALL = sorted({s for s in chemistry.canonical(list(SPELLED)) if s is not None})


@pytest.fixture(scope="module")
def data():
    return app_of.read(SMALL, ("logP", "weight"))


@pytest.fixture(scope="module")
def run(data):
    options = {"width": 32, "layers": 2, "heads": 2, "steps": 60, "progress": False}
    return app_of.learn(app_of.read(SMALL), respellings=1, **options)


def test_symbols_of_smiles_are_atoms_bonds_rings_and_branches():
    assert Smiles.parts("CC(Cl)c1c[nH]c%10Br") == [*"CC(", "Cl", *")c1c", "[nH]", "c", "%10", "Br"]
    view = Smiles.fit(pofx.molecules(SMALL))
    assert view.items(view.tensor(SMALL)) == SMALL
    with pytest.raises(DataError, match="'x' at place 2"):
        Smiles.parts("CCxO")
    assert "x" in view.impossible(["C", "CxC", "C" * 900])[1]
    assert set(view.impossible(["C", "CxC", "C" * 900])) == {1, 2}
    assert "never seen" in view.unfamiliar(view.tensor(["CC[Si]"]))
    with pytest.raises(DataError, match=r"did not have \(\[Si\]\)"):
        view.prefix(["C[Si]"])
    with pytest.raises(DataError, match="cannot be learned"):
        view.training(["C", "Cx"])


def test_frequent_closed_runs_are_one_code_and_spell_the_same_molecules():
    view, plain = SmilesPieces.fit(pofx.molecules(SMALL)), Smiles.fit(pofx.molecules(SMALL))
    assert view.items(view.tensor(SMALL)) == SMALL and view.items(view.training(SMALL)) == SMALL
    sizes = [np.mean([len(one.codes(s)) for s in SMALL]) for one in (view, plain)]
    assert sizes[0] < 0.7 * sizes[1] and view.dims == plain.dims and len(view.pieces) > 10
    again = SmilesPieces(**json.loads(json.dumps(config.plain(config.config(view)))))
    assert again.event == view.event and np.array_equal(again.tensor(SMALL), view.tensor(SMALL))
    for piece in view.pieces:
        assert piece.count("(") == piece.count(")") and all(piece.count(d) % 2 == 0 for d in "12"), piece
    assert view.text(view.codes("CC[Si]CC")) == "CC\ufffdCC" and "never seen" in view.unfamiliar(view.tensor(["C[Si]"]))
    assert set(view.impossible(["C", "CxC", "OF" * 900])) == {1, 2}
    few = SmilesPieces.fit(pofx.molecules(SMALL), vocabulary=len(view.symbols) + 5)
    assert len(few.pieces) == 3 and few.items(few.tensor(SMALL)) == SMALL
    with pytest.raises(UsageError, match="vocabulary must be above"):
        SmilesPieces.fit(pofx.molecules(SMALL), vocabulary=5)
    with pytest.raises(DataError, match="cannot be learned"):
        view.training(["C", "Cx"])


def test_rings_open_and_close_without_numbers():
    parts = SmilesRings.parts("C12CC1C2")
    assert "".join(parts) == "C%+%+CC%-2C%-1" and numbered(parts) == "C12CC1C2"
    tied = "CN1C(=O)C[C@@H](C(=O)[O-])C12CCN(C)CC2"  # a number that closes on an atom opens no ring there
    wide = "C1C%10C2CC1C2C%10"
    for text in [tied, "C1CC=1C", "c1ccc2c(c1)CC2", "C[C@H]1CCCC[C@@]12NC2", *SMALL]:
        assert numbered(SmilesRings.parts(text)) == text
    assert numbered(SmilesRings.parts(wide)) == "C1C2C3CC1C3C2"  # the same event, by the lowest free numbers
    assert chemistry.canonical(["C1C2C3CC1C3C2"]) == chemistry.canonical([wide])
    assert numbered(["C", "%-1", "C"]) == "C1C" and numbered(["C", "%-3", "C", "%-1"]) == "C1C1"
    many = "".join(f"C{k if k < 10 else f'%{k}'}" for k in range(1, 13)) + "C"
    assert numbered(SmilesRings.parts(many)) == many  # none is closed: no molecule, but the same string
    view = SmilesRings.fit(pofx.molecules(SMALL))
    assert view.items(view.tensor(SMALL)) == SMALL and view.volume == pofx.Density.BOUND
    again = SmilesRings(**json.loads(json.dumps(config.plain(config.config(view)))))
    assert again.items(again.tensor(SMALL)) == SMALL
    assert view.text(view.codes("CC[Si]CC")) == "CC\ufffdCC"
    assert any("%+" in piece for piece in view.pieces)
    runs = {"".join(run) for run in closed(tuple(SmilesRings.parts("C1CC1(F)C2CC2")))}
    assert {"C%+CC%-1", "C%+CC%-1(F)", "C%+CC%-1(F)C%+CC%-1"} <= runs and not runs & {"C%+CC", "CC%-1", "C%-1"}


AROMATIC = [
    "c1ccccc1",
    "c1ccc2ccccc2c1",
    "Cc1c[nH]c2ccccc12",
    "c1ccc(-c2ccccc2)cc1",
    "O=c1[nH]cnc2[nH]cnc12",
    "C[n+]1ccccc1",
    "c1ccsc1",
    "c1cc2cccc3c2c(c1)C=C3",
    "CSc1ccc(/C=c2\\sc3ncnn3c2=O)cc1",
    "CCCn1/c(=N/C(=O)[C@@H](CCSC)NC(N)=O)[nH]c2ccccc21",
    "c1cc[se]c1",
    "[2H]c1ccccc1",
    "C[C@H](F)/C=C/Cl",
    "c1ccc2c(c1)-c1ccccc1-2",
    "[Na+].[O-]c1ccccc1",
]


def test_kekule_structures_are_the_same_molecules_and_their_strings_come_back():
    assert "".join(kekulised("c1ccccc1")) == "C1=CC=CC=C1" and "".join(kekulised("c1ccsc1")) == "C1C=CSC=1"
    for text in [*AROMATIC, *SMALL]:
        written = "".join(kekulised(text))
        assert chemistry.canonical([written]) == chemistry.canonical([text])
        assert not set(re.sub(r"\[[^\]]*\]|Cl|Br", "", written)) & set("bcnops") and aromatised(written) == text
    assert aromatised("C1=CC(") == "C1=CC(" and aromatised("CC") == "CC"  # none, and none aromatic
    with pytest.raises(DataError, match="is no molecule"):
        SmilesKekule.parts("c1cccc1")
    view = SmilesKekule.fit(pofx.molecules([*AROMATIC, *SMALL]))
    assert view.items(view.tensor(SMALL)) == SMALL and view.volume == pofx.Density.BOUND
    assert "no molecule" in view.impossible(["C", "c1cccc1"])[1] and view.items(view.tensor(["", "C"])) == ["", "C"]
    assert view.items(view.prefix(["c1ccccc1"]).clamp(min=0)) == ["c1ccccc1"] and len(view.prefix("")) == 1
    with pytest.raises(DataError, match="close its rings"):
        view.prefix("c1ccc")
    again = SmilesKekule(**json.loads(json.dumps(config.plain(config.config(view)))))
    assert again.items(again.tensor(AROMATIC)) == AROMATIC


def test_rings_as_sizes_are_the_same_molecules_and_nothing_is_left_open():
    assert "".join(sized("c1ccccc1")) == "C=CC=CC=C%~6" and "".join(sized("C1CC1O")) == "CCC%~3O"
    assert "".join(sized("c1ccc2ccccc2c1")) == "C=CC=CC=CC=CC%~6=C%~10"
    stereo = [
        "[C@]12(F)CCC[C@@H]1CCC2",
        "F/C1=C/CCCCCC1",
        "C[C@H]1CCCC[C@@]12NC2",
        "C12C3C4C1C5C2C3C45",
        "C1CC2(C1)CC2",
    ]
    for text in [*AROMATIC, *SMALL, *stereo, "C(C1)CC1", "CC1.C1C"]:
        assert chemistry.canonical([aromatised(ringed(sized(text)))]) == chemistry.canonical([text]), text
    for text in [*SMALL[::5], *stereo]:
        for other in chemistry.respelled([text] * 3, 1):
            assert chemistry.canonical([ringed(sized(other))]) == chemistry.canonical([text]), other
    none = [ringed(symbols) for symbols in (["C", "C", "%~6"], ["C", "%~1"], ["%~3", "C"], ["C", ")", "C", "%~3"])]
    assert chemistry.canonical(none) == [None] * 4
    view = SmilesSizes.fit(pofx.molecules([*AROMATIC, *SMALL]))
    assert view.items(view.tensor(SMALL)) == SMALL and view.volume == pofx.Density.BOUND
    assert any("%~6" in piece for piece in view.pieces)
    assert view.items(view.prefix(["c1ccccc1"]).clamp(min=0)) == ["c1ccccc1"]
    again = SmilesSizes(**json.loads(json.dumps(config.plain(config.config(view)))))
    assert chemistry.canonical(again.items(again.tensor(AROMATIC))) == chemistry.canonical(AROMATIC)


def test_double_bonds_of_large_ring_systems_are_placed():
    fullerene = (
        "c12c3c4c5c1c1c6c7c2c2c8c3c3c9c4c4c%10c5c5c1c1c6c6c%11c7c2c2c7c8c3c3c8c9c4c4c9c%10c5c5c1c1c6c6c%11c2c2c7c3c3c8c4"
        "c4c9c5c1c1c6c2c3c41"
    )
    for text in ("c1cc2ccc3ccc4ccc5ccc6ccc1c1c2c3c4c5c61", fullerene):
        assert chemistry.canonical(["".join(kekulised(text))]) == chemistry.canonical([text]) != [None]


def test_a_run_is_closed_where_its_branches_and_rings_are():
    runs = {"".join(run) for run in closed(tuple(Smiles.parts("C1CC1(F)N%10O%10")))}
    assert {"C1CC1", "C1CC1(F)", "(F)N", "(F)", "N%10O%10", "CC"} <= runs
    assert not runs & {"C1CC", "1CC1", "1(F)", "F)", ")N", "(F", "N%10", "C1"}
    cut = Cutter([("C", "C"), ("C", "C", "C", "O"), ("C", "O")])
    assert ["".join(r) for r in cut("CCCCO")] == ["CC", "CC", "O"]  # from the left: not the shortest of all
    assert ["".join(r) for r in cut("CCCON")] == ["CCCO", "N"] and cut("") == []


def test_every_sequence_of_selfies_is_a_molecule():
    view = Selfies.fit(pofx.molecules(SMALL))
    again = view.items(view.tensor(SMALL))
    assert chemistry.canonical(again) == chemistry.canonical(SMALL)
    drawn = app_of.random_selfies(SMALL, 50, 0)
    assert np.mean([s is not None for s in chemistry.canonical([d for d in drawn if d])]) == 1
    assert view.volume == pofx.Density.BOUND


def test_nitro_groups_of_five_bonds_have_selfies_and_what_has_none_is_no_obstacle():
    assert Selfies.parts("CN(=O)=O") == Selfies.parts(chemistry.canonical(["CN(=O)=O"])[0])
    with pytest.raises(DataError, match="no SELFIES"):
        Selfies.parts("C1CC")
    assert len(app_of.random_selfies(["CN(=O)=O", "C1CC", "CCO"], 5, 0)) == 5
    assert app_of.random_selfies(["C1CC"], 5, 0) == []


def test_spellings_are_other_strings_of_the_same_molecules():
    again = chemistry.respelled(SMALL, 3)
    assert chemistry.canonical(again) == SMALL and np.mean([a != b for a, b in zip(again, SMALL, strict=True)]) > 0.5
    assert chemistry.respelled(["x"], 0) == ["x"]


def test_properties_are_those_of_rdkit_and_nan_where_there_is_no_molecule():
    found = chemistry.properties(["CCO", "x", ""])
    assert found.loc[0, "weight"] == pytest.approx(46.07, abs=0.01) and found.loc[1:].isna().all(axis=None)
    assert found.loc[0, "SA"] == pytest.approx(1.98, abs=0.02)
    assert found.loc[0, "QED"] == pytest.approx(0.407, abs=0.005)
    with pytest.raises(UsageError, match="property must be one of"):
        chemistry.properties(["C"], ["magic"])


def test_distances_of_properties_are_wasserstein_over_the_spread():
    from pofx.evaluate.metrics.molecule_properties import MoleculeProperties, shift

    x = np.random.default_rng(0).normal(size=4000)
    assert shift(2 * x + 1, 2 * x) == pytest.approx(0.5, abs=0.01) and shift(x, x) == 0
    items = pofx.molecules(SMALL[:40])
    same = MoleculeProperties().read(items, items, items).values
    assert set(same) == {"w1_logp", "w1_qed", "w1_weight", "w1_sa"} and max(same.values()) < 1e-9
    heavy = pofx.molecules([s + "CCCCCCCC" for s in SMALL[:40] if not s.endswith(")")])
    assert MoleculeProperties().read(heavy, items, items).values["w1_weight"] > 1


def test_ngrams_are_distributions_and_draw_what_they_score():
    table = NGram(["ab", "abb", "b", "ba"] * 5, 3)
    for history in ("", "a", "ab", "bb"):
        total = sum(table.probability(s, history) for s in table.vocabulary)
        assert 0.9 < total < 1 and total + table.probability("z", history) == pytest.approx(1)
    drawn = table.sample(2000, 1)
    share = np.mean(["".join(s) == "ab" for s in drawn])
    assert share == pytest.approx(np.exp(table.log_prob("ab")), abs=0.04)
    order, nats = floor_nats(table, ["ab", "ba"])
    assert 2 <= order <= 3 and nats <= -np.mean([table.log_prob(s) for s in ("ab", "ba")]) + 1e-9


def test_each_molecule_is_read_once_and_properties_may_be_measured(tmp_path):
    frame = pd.DataFrame({"smiles": ["CCO", "OCC", "C", "CC", "N", "bad("], "solubility": [1.0, 1, 2, 3, 4, 5]})
    frame.to_csv(tmp_path / "few.csv", index=False)
    found = app_of.read(tmp_path / "few.csv", ("solubility", "logP"))
    assert sum(found.card.sizes.values()) == 4 and list(found.train.condition.values.columns) == ["solubility", "logP"]
    with pytest.raises(UsageError, match="column of SMILES"):
        app_of.read(tmp_path / "few.csv", smiles="structure")
    with pytest.raises(UsageError, match="property or column"):
        app_of.read(tmp_path / "few.csv", ("toxicity",))
    frame.rename(columns={"smiles": "Structure"}).to_csv(tmp_path / "other.tsv", sep="\t", index=False)
    assert len(app_of.read(tmp_path / "other.tsv").train) == len(found.train)
    assert len(app_of.read(["CCO", None, "CC", float("nan"), "C"]).train) == 1
    (tmp_path / "few.smi").write_text("CCO\nCC\nC1CC\nC\n")
    with pytest.warns(UserWarning) as noted:
        app_of.read(tmp_path / "few.smi")
    assert [str(one.message) for one in noted] == ["1 of 4 strings are no molecules (the first: C1CC): left out"]
    frame["solubility"] = ["1.0", "1", "n.d.", "3", "4", "5"]
    with pytest.warns(UserWarning, match="no number in column solubility"):
        assert sum(app_of.read(frame, ("solubility",)).card.sizes.values()) == 3


def test_what_was_measured_several_times_is_averaged_and_texts_hold_a_molecule_a_line(tmp_path):
    frame = pd.DataFrame({"smiles": ["CCO", "OCC", "C", "CC", "N"], "y": [1.0, 4, 2, 3, 4]})
    with pytest.warns(UserWarning, match="1 molecules have several values of y"):
        found = app_of.read(frame, ("y",))
    every = [(s, y) for part in found.splits().values()
             for s, y in zip(part.values, part.condition.values["y"], strict=True)]  # fmt: skip
    assert dict(every) == {"CCO": 2.5, "C": 2, "CC": 3, "N": 4}
    (tmp_path / "few.txt").write_text("\n".join([f"{s} name{i}" for i, s in enumerate(SMALL[:30])]))
    assert sum(app_of.read(tmp_path / "few.txt").card.sizes.values()) == 30


def test_the_report_names_floors_and_what_selfies_mean(run, data):
    found = app_of.report(run, data, n=60)
    assert {"held-out molecules", "10-grams", "random SELFIES (valid by construction)"} <= set(found.index)
    assert found.loc["random SELFIES (valid by construction)", "valid"] > 0.9
    assert found.loc["held-out molecules", "valid"] == 1
    assert {"W1 logP", "FD", "nats/char", "novel", "diversity"} <= set(found.columns)
    selfies = app_of.learn(data=app_of.read(SMALL[:40]), tokens="selfies", width=16, layers=1, heads=2, steps=1,
                           progress=False)  # fmt: skip
    named = app_of.report(selfies, app_of.read(SMALL[:40]), samples=["CCO", "CCO", "OCC", "CN", "C1C"])
    assert "gpt (selfies, valid by construction)" in named.index
    row = named.iloc[1]  # uniqueness and novelty are those of canonical strings
    assert row["valid"] == 0.8 and row["unique"] == 0.5


def test_what_is_no_molecule_is_drawn_again():
    class Half:
        def sample(self, n, *, seed, with_condition):
            return ["OCC" if i % 2 else "C1C" for i in range(n)]

    found, drawn = app_of.valid_draws(Half(), 10)
    assert found == ["CCO"] * 10 and drawn == 20
    never = Half()
    never.sample = lambda n, **how: ["C("] * n
    assert app_of.valid_draws(never, 3) == ([], 3 * app_of.TRIES)


@pytest.mark.slow
def test_completions_contain_the_scaffold(run):
    assert all(s.endswith(("1", "c", "C", "n", "O")) for s in chemistry.beginnings("c1ccccc1", 8, 0))
    found = app_of.complete(run, "c1ccccc1", 40)
    assert chemistry.contains(found, "c1ccccc1").all() and len(found) == len(set(found))
    with pytest.raises(DataError, match="must be a molecule"):
        app_of.complete(run, "c1ccc", 3)
    with pytest.raises(DataError, match="no free place"):
        chemistry.beginnings("FC(F)(F)F", 2, 0)


def test_a_scaffold_with_what_no_training_molecule_had_is_refused_by_name():
    def prefix(values):
        raise DataError("prefix has symbols that training did not have (%+): leave them out")

    lacking = SimpleNamespace(name="gpt", representation=SimpleNamespace(prefix=prefix))
    with pytest.raises(DataError, match="gpt cannot begin with the scaffold c1ccccc1: its training molecules have not"):
        app_of.complete(lacking, "c1ccccc1", 2)
    with pytest.raises(UsageError, match="unknown property of molecules 'qed': did you mean QED"):
        chemistry.oracle_of("qed")


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["cbas", "reinforce"])
def test_steering_raises_what_the_oracle_scores(run, rule):
    rings = lambda strings: np.array([float(s.count("O")) for s in strings])  # noqa: E731
    steered = steer(run, rings, rounds=3, calls=40, rule=rule, clean=chemistry.canonical, steps=12, sigma=5.0)
    mean = steered.found.groupby("round")["score"].mean()
    assert mean.iloc[-1] > mean.iloc[0]
    assert steered.found["item"].is_unique and steered.best(3)["score"].is_monotonic_decreasing
    assert run.log_prob(SMALL[:3]) == pytest.approx(run.log_prob(SMALL[:3]))


def test_diversity_is_a_limit_on_a_group():
    assert limited(["aa", "ab", "ba", "ac"], lambda s: s[0], 2).tolist() == [1, 1, 1, 0]


def test_given_properties_are_held_against_ignored_ones(data):
    one = app_of.learn(data, width=32, layers=2, heads=2, steps=20, progress=False)
    found = app_of.obedience(one, data, n=80)
    assert list(found.index) == ["logP", "weight"] and (found["ignored"] > 0).all()
    measured = predictor(data, "logP")[1]
    assert 0 < measured < 2


def test_the_verb_writes_molecules_pictures_and_a_report(tmp_path, monkeypatch):
    (tmp_path / "some.smi").write_text("\n".join(SMALL))
    monkeypatch.setattr(app_of, "RECIPES", {"gpt": {"width": 24, "layers": 1, "heads": 2}})
    arguments = [str(tmp_path / "some.smi"), "--minutes", "0.06", "-n", "60", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, ["molecules", *arguments])
    assert done.exit_code == 0, done.output
    assert "valid by construction" in done.output
    assert (tmp_path / "out" / "molecules.png").read_bytes()[:4] == b"\x89PNG"
    assert len(pd.read_csv(tmp_path / "out" / "report.csv")) >= 4
    strings = (tmp_path / "out" / "molecules.smi").read_text().split()
    assert strings and None not in chemistry.canonical(strings)
    again = [*arguments[:1], "--run", str(tmp_path / "out"), "-n", "20", "--out", str(tmp_path / "more")]
    done = CliRunner().invoke(app, ["molecules", *again])  # the run inside the folder of the use
    assert done.exit_code == 0, done.output


def test_values_of_properties_are_stated_for_all_or_none(data):
    assert app_of.stated(["logP=2", "QED=.5"]) == (["logP", "QED"], {"logP": 2.0, "QED": 0.5})
    assert app_of.stated(["logP", "QED"]) == (["logP", "QED"], {})
    for wrong in (["logP=2", "QED"], ["logP=high"]):
        with pytest.raises(UsageError):
            app_of.stated(wrong)
    about = app_of.read([s for s in SMALL if "." not in s], ("logP",))
    found = app_of.reached(["CCO", "CCC", "no"], {"logP": 1.0}, about)
    assert found.loc["logP", "stated"] == 1 and found.loc["logP", "mean"] == pytest.approx(
        chemistry.properties(["CCO", "CCC"], ["logP"])["logP"].mean()
    )


def test_scores_without_a_bound_are_named(recwarn):
    chemistry.oracle_of("QED")
    chemistry.oracle_of("-SA")
    assert not recwarn.list
    for name in ("logP", "-logP", "weight"):
        with pytest.warns(UserWarning, match="long chains of carbon"):
            scores = chemistry.oracle_of(name)(["C" * 8, "C" * 30])
        assert (scores[1] > scores[0]) == (name[0] != "-")


def test_an_oracle_may_be_a_function_of_ones_own(tmp_path):
    (tmp_path / "mine.py").write_text("def short(strings):\n    return [-len(s) for s in strings]\n")
    assert list(app_of.function(f"{tmp_path / 'mine.py'}:short")(["CC", "C"])) == [-2, -1]
    assert app_of.function("-weight")(["C"])[0] < 0
    (tmp_path / "bad.py").write_text("def one(strings):\n    return [1.0]\ndef no(strings):\n    raise KeyError(3)\n")
    for name, why in (("one", "a number for each of 2"), ("no", "KeyError")):
        with pytest.raises(UsageError, match=why):
            app_of.function(f"{tmp_path / 'bad.py'}:{name}")(["CC", "C"])
    for wrong in (f"{tmp_path / 'mine.py'}:none", f"{tmp_path / 'other.py'}:short", "docking"):
        with pytest.raises(UsageError):
            app_of.function(wrong)


def test_the_kind_draws_structures():
    assert Items("molecules", ["CCO", "no"]) and chemistry.drawn(["CCO", "no"])[:4] == b"\x89PNG"


@pytest.mark.slow
def test_a_search_in_code_space_beats_random_draws_at_equal_calls_and_stays_diverse():
    known = app_of.read(SMALL)
    run = app_of.learn(known, "vae", tokens="selfies", steps=100, width=64, latent=8, progress=False, batch_size=64)
    loop, table = app_of.explore(run, "weight", rounds=4, calls=15)
    random, found = table.iloc[0], table.iloc[1]
    assert found["ten best"] > random["ten best"] and found["best"] > random["best"]
    assert len(loop.trials) == len(set(loop.trials["item"])) and table["diversity"].between(0, 1).all()
    assert loop.trials.groupby("round").size().max() <= 15
    with pytest.raises(Unsupported, match="no real codes"):
        app_of.explore(app_of.learn(known, steps=1, width=24, layers=1, heads=2, progress=False), "QED")


@pytest.mark.parametrize("words", [["--by", "codes"], ["--by", "codes", "--optimise", "QED"], ["--by", "code"]])
def test_a_search_in_codes_that_cannot_be_is_refused_before_training(words, tmp_path):
    (tmp_path / "m.smi").write_text("CCO\nCCN\nCCC\n" * 10)
    done = CliRunner().invoke(app, ["molecules", str(tmp_path / "m.smi"), *words, "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, UsageError) and "--by" in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_constrained_draws_are_molecules_and_each_its_own(run):
    from pofx.apps.constrained_molecules import constrained

    drawn = constrained(run, 12, seed=3)
    assert None not in chemistry.canonical(drawn)
    assert constrained(run, 5, seed=3) == drawn[:5]  # item i depends on the seed and i alone
    begun = (
        constrained(run, 6, prefix="Clc1cc", temperature=1.5, seed=1) if "kekule" not in run.representation.name else []
    )
    assert all(text.startswith("Clc1cc") for text in begun)
    assert None not in chemistry.canonical(constrained(run, 6, temperature=3.0, seed=1))
    with pytest.raises(Unsupported, match="valid anyway"):
        constrained(app_of.learn(app_of.read(SMALL[:40]), tokens="selfies", width=16, layers=1, heads=2, steps=1,
                                 progress=False), 2)  # fmt: skip


def test_the_nearest_of_several_draws_has_the_value_that_was_stated():
    class Run:
        calls = 0

        def sample(self, n, condition, *, seed, with_condition):
            Run.calls += 1
            return ["C" * Run.calls, "not one"][:n] if Run.calls < 3 else ["CCC", "O"]

    data = app_of.read(["C" * k for k in range(1, 9)], ("weight",))
    wanted = pd.DataFrame({"weight": chemistry.properties(["CC", "O"], ["weight"])["weight"]})
    assert app_of.nearest(Run(), wanted, data, 3) == ["CC", "O"]
    with pytest.raises(UsageError, match="tries"):
        app_of.nearest(Run(), wanted, data, 0)


def test_a_folder_is_no_file_of_molecules(tmp_path):
    with pytest.raises(DataError, match=r"give a \.smi"):
        app_of.read(tmp_path)
