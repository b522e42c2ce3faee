"""Proteins: alignments read as they are meant, floors with closed forms, scores with shared draws."""

import itertools

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import pofx
import pofx.data.files
from pofx.apps import indels
from pofx.apps import proteins as app_of
from pofx.apps.couplings import mean_field, one_hot, pseudo_likelihood
from pofx.apps.sequence_family import resampled
from pofx.apps.tolerance import Tolerance, blosum
from pofx.cli.main import app
from pofx.core.errors import DataError, Unsupported, UsageError
from pofx.data.alignments import LETTERS, RESIDUES, Alignment, clusters, codes, fasta, read_alignment, shared, weights

A2M = ">focus/24-30\nhpACD.EF\n>other\n..AC-.EF\n>third\n..ACDwEY\n>gaps\n..A--.--\n>again\n..AC-.EF\n"
FOCUS = "ACDEFGHIKL"


def family(n=300, seed=0):
    """Relatives of the focus in groups; columns 1 and 2 change together."""
    g = np.random.default_rng(seed)
    found = [FOCUS]
    for _ in range(n):
        s = list(FOCUS)
        for i in range(3, 10):
            if g.random() < 0.4:
                s[i] = "".join(g.choice(list("LIVAM"), 1))
        s[1], s[2] = ("C", "D") if g.random() < 0.5 else ("S", "E")
        found.append("".join(s))
    return found


@pytest.fixture(scope="module")
def alignment(tmp_path_factory):
    path = tmp_path_factory.mktemp("msa") / "some.a3m"
    path.write_text("".join(f">{i}\n{s}\n" for i, s in enumerate(family())))
    return read_alignment(path, identity=0.95)


def test_columns_are_those_of_the_focus_and_keep_their_numbers(tmp_path):
    (tmp_path / "few.a2m").write_text(A2M)
    found = read_alignment(tmp_path / "few.a2m")
    assert found.focus == "ACDEF" and found.numbers.tolist() == [26, 27, 28, 29, 30]
    assert found.sequences[1:] == ["AC-EF", "ACDEY"] and found.dropped == 2
    assert app_of.mutated(found, ["D28A", "A26V:F30W", "P25A"])[0][:2] == ["ACAEF", "VCDEW"]
    assert app_of.mutated(found, ["D28A", "P25A"])[1].tolist() == [True, False]
    with pytest.raises(DataError, match="has D at 28, not W"):
        app_of.mutated(found, ["W28A"])
    (tmp_path / "bad.a3m").write_text(">a\nACD\n>b\nAC\n")
    with pytest.raises(DataError, match="align them"):
        read_alignment(tmp_path / "bad.a3m")
    assert fasta(">a x\nAC\nDE*\n") == (["a x"], ["ACDE"])
    assert fasta(";c\n>a\n  1 AC DE\n;d\n 11 F\n") == (["a"], ["ACDEF"])
    (tmp_path / "low.fasta").write_text(">a\nacdef\n>b\nacdeg\n")
    assert read_alignment(tmp_path / "low.fasta").sequences == ["ACDEF", "ACDEG"]
    (tmp_path / "stop.a2m").write_text(">a\nAC*EF\n>b\nACDEG\n")
    assert read_alignment(tmp_path / "stop.a2m").sequences == ["ACEF", "ACEG"]  # columns stay in place


def test_weights_are_one_over_the_number_of_relatives():
    some = ["AAAAA", "AAAAC", "CDEFG", "AAA--"]
    assert weights(some, 0.8).tolist() == pytest.approx([1 / 2, 1 / 2, 1, 1 / 3])
    assert shared(codes(some[3:]), codes(some[:1])).item() == 1
    assert clusters(some, 0.8).tolist() == [0, 0, 1, 0]
    assert weights(some, 1.0).tolist() == [1, 1, 1, 1]


def test_splits_share_no_cluster_and_draw_by_weight(alignment):
    data = app_of.resampled(alignment, seed=1)
    of = dict(zip(alignment.sequences, clusters(alignment.sequences), strict=True))
    kept = [{of[s] for s in part.values} for part in data.splits().values()]
    assert not kept[0] & kept[1] and not kept[0] & kept[2] and not kept[1] & kept[2]


def test_scores_that_are_all_equal_rank_nothing(recwarn):
    found = app_of.spearman({"length": np.full(9, 3.0), "score": np.arange(9.0)}, np.arange(9.0))
    assert np.isnan(found.loc["length", "Spearman"]) and found.loc["score", "Spearman"] == 1 and not recwarn.list


def test_an_assay_that_ranks_nothing_is_refused(tmp_path):
    (tmp_path / "x.csv").write_text("mutant,score\nV29A,1\nV29C,1.0\n")
    with pytest.raises(DataError, match="nothing to rank"):
        app_of.read_assay(tmp_path / "x.csv")


def test_a_family_of_near_relatives_is_split_by_nearer_clusters():
    g = np.random.default_rng(0)
    focus = "".join(g.choice(list("ACDEFGHIKLMNPQRSTVWY"), 40))
    rows = [focus]
    for _ in range(60):
        other = list(focus)
        for place in g.integers(0, 40, 8):
            other[place] = g.choice(list("ACDEFGHIKLMNPQRSTVWY"))
        rows.append("".join(other))
    family = Alignment(rows, np.arange(1, 41), weights(rows), 0, rows)
    with pytest.warns(UserWarning, match="near relatives"):
        data = resampled(family, size=100)
    assert len(data.validation) and len(data.test) and not set(data.train.values) & set(data.test.values)
    with pytest.warns(UserWarning), pytest.raises(DataError, match="too few to hold some out"):
        resampled(Alignment(rows[:2], np.arange(1, 41), np.ones(2), 0, rows[:2]))


def test_mutants_and_assays_are_read_in_both_forms(tmp_path):
    assert app_of.changes("V29A:K30R") == [("V", 29, "A"), ("K", 30, "R")]
    assert app_of.changes("V29V") == app_of.changes("WT") == app_of.changes("V29*") == []
    frame = pd.DataFrame(
        {"wildtype": ["A", "A", "A"], "site": [1, 2, 3], "mutant": ["C", "*", "D"], "score": [1, 2, ""]}
    )
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.warns(UserWarning, match=r"2 of 3 rows of .* are left out: no score, a stop.*\(the first: 'A2\*'\)"):
        names, values = app_of.read_assay(tmp_path / "a.csv")
    assert names == ["A1C"] and values.tolist() == [1.0]
    with pytest.raises(UsageError, match="no column 'fitness': pass score=NAME with one of its columns, wildtype"):
        app_of.read_assay(tmp_path / "a.csv", score="fitness")


@pytest.mark.parametrize(
    "mutant", ["V29A:K30R", "V29A,K30R", "v29a k30r", "p.[Val29Ala;Lys30Arg]", "p.(Val29Ala);p.(Lys30Arg)"]
)
def test_mutants_are_written_in_many_forms(mutant):
    assert app_of.changes(mutant) == [("V", 29, "A"), ("K", 30, "R")]


@pytest.mark.parametrize("mutant", ["WT", "_wt", "", "V29V", "V29*", "V29del", "p.Val29=", "p.Val29Ter", "29A"])
def test_what_is_no_substitution_is_none(mutant):
    assert app_of.changes(mutant) == []


def test_sequences_with_unknown_letters_are_left_out(tmp_path):
    (tmp_path / "x.fasta").write_text(">a\nACDEF\n>b\nACXEF\n>c\nACUEG\n>d\n>e\nACDEG*\n")
    with pytest.warns(UserWarning, match="3 of 5 sequences"):
        assert list(pofx.data.files.contents(tmp_path / "x.fasta").values) == ["ACDEF", "ACDEG"]
    (tmp_path / "y.fasta").write_text(">b\nACXEF\n")
    with pytest.raises(DataError, match="no residue"):
        pofx.data.files.contents(tmp_path / "y.fasta")


def test_floors_know_columns_and_pairs(alignment):
    tries = ["ASDEFGHIKL", "ASEEFGHIKL", "AWDEFGHIKL"]  # half of a pair, the whole of it, what never occurs
    found = app_of.floors(alignment, tries)
    profile = found["profile"]
    assert profile[2] < profile[0] and abs(profile[0]) < 0.6
    for potts in (found["Potts, mean field"], found["Potts, pseudo-likelihood"]):
        assert potts[1] > potts[0] and potts[0] < -0.5  # the profile cannot see that the pair changes together
    assert "Potts, pseudo-likelihood" not in app_of.floors(alignment, tries, potts_steps=0)
    x = app_of.Profile(alignment)
    assert np.exp(x.log_p).sum(1) == pytest.approx(np.ones(10))


def test_the_mean_field_is_left_out_of_families_that_are_too_small(alignment):
    assert "Potts, mean field" in app_of.floor_models(alignment, 0)
    few = Alignment(alignment.sequences[:6], alignment.numbers, weights(alignment.sequences[:6], 0.9), 0)
    assert list(app_of.floor_models(few, 0)) == ["profile", "profile, similar residues", "tolerance"]


def test_tolerance_knows_what_residues_are_and_where_they_are_buried(alignment):
    table = blosum()
    assert (table == table.T).all() and table[RESIDUES.index("W"), RESIDUES.index("W")] == 11
    assert table[RESIDUES.index("I"), RESIDUES.index("V")] == 3 and table.diagonal().min() == 4
    score = Tolerance(alignment, app_of.Profile(alignment, pseudo=0.05, similar=10.0).log_p)
    focus = alignment.focus

    def of(place, residue):
        return float(score([focus[:place] + residue + focus[place + 1 :]])[0])

    assert score([focus])[0] == 0 and of(3, "I") > of(3, "P")  # seen there, and no proline
    assert of(0, "G") < of(5, "L")  # a column that never varies
    two = focus[:3] + "I" + focus[4:5] + "L" + focus[6:]
    assert float(score([two])[0]) == pytest.approx(of(3, "I") + of(5, "L"))


def test_similar_residues_are_those_that_replace_each_other_elsewhere():
    g = np.random.default_rng(0)
    rows = ["".join((*g.choice(list("LIV"), 6), *g.choice(list("DE"), 6), "L")) for _ in range(40)]
    known = Alignment(rows, np.arange(1, 14), np.ones(len(rows)), 0)
    plain, near = app_of.Profile(known), app_of.Profile(known, similar=10.0)
    last = {
        name: model.log_p[12, [LETTERS.index(c) for c in "LIDW"]]
        for name, model in zip("pn", (plain, near), strict=True)
    }
    assert last["p"][1] == pytest.approx(last["p"][2])  # a column of L alone knows no more of I than of D
    assert last["n"][0] > last["n"][1] > last["n"][2] + 1 and last["n"][2] == pytest.approx(last["n"][3], abs=1e-6)
    assert np.exp(near.log_p).sum(1) == pytest.approx(np.ones(13))


def test_pseudo_likelihood_finds_the_energies_of_a_known_potts_model():
    g = np.random.default_rng(0)
    letters, columns = "ACD", 4
    states = ["".join(s) for s in itertools.product(letters, repeat=columns)]
    at = np.array([[letters.index(c) for c in s] for s in states])
    fields, pairs = 0.5 * g.normal(size=(columns, 3)), 0.7 * g.normal(size=(columns, columns, 3, 3))
    energy = fields[np.arange(columns), at].sum(1)
    for i, j in itertools.combinations(range(columns), 2):
        energy = energy + pairs[i, j, at[:, i], at[:, j]]
    p = np.exp(energy) / np.exp(energy).sum()
    drawn = [states[i] for i in g.choice(len(states), 4000, p=p)]
    known = Alignment(drawn, np.arange(1, columns + 1), np.ones(len(drawn)), 0)
    model = pseudo_likelihood(known, steps=250, batch=1000, rate=0.05, ridge=1e-3)
    assert np.allclose(model.couplings, model.couplings.T) and not model.couplings[:20, :20].any()
    gap = model(states) - energy
    assert np.sqrt(np.average((gap - np.average(gap, weights=p)) ** 2, weights=p)) < 0.15
    alone = app_of.Profile(known)(states) - energy
    assert np.sqrt(np.average((alone - np.average(alone, weights=p)) ** 2, weights=p)) > 0.4


def test_energies_by_what_differs_are_those_of_all_pairs():
    g = np.random.default_rng(0)
    rows = ["".join(row) for row in g.choice(list("ACDEFG-"), (40, 7))]
    model = mean_field(Alignment(rows, np.arange(1, 8), np.ones(40), 0))
    hot = one_hot(rows).astype(float)
    dense = hot @ model.fields + 0.5 * ((hot @ model.couplings) * hot).sum(1)
    assert np.allclose(model(rows), dense) and np.allclose(model.couplings, model.couplings.T)
    assert np.allclose(model(rows[3:5]), dense[3:5])


def test_potts_models_refuse_what_they_cannot_fit_or_score(tmp_path):
    letters = np.random.default_rng(0).choice(list("ACDEFG"), (30, 6))
    (tmp_path / "x.a3m").write_text("".join(f">s{i}\n{''.join(row)}\n" for i, row in enumerate(letters)))
    known = read_alignment(tmp_path / "x.a3m")
    for wrong in ({"steps": 0}, {"batch": 0}, {"rate": -1}, {"ridge": -1}, {"seed": -1}, {"steps": 2.5}):
        with pytest.raises(UsageError, match="must be"):
            pseudo_likelihood(known, **{"steps": 1, **wrong})
    for pseudo in (0, -1, 2, float("nan"), "half"):
        with pytest.raises(UsageError, match="must be"):
            mean_field(known, pseudo)
    for fitted in (mean_field(known), pseudo_likelihood(known, steps=1)):
        assert np.isfinite(fitted(["ACDEFG", "A-DEFG"])).all()
        for sequences in ([], ["ACD"], ["ACDEFG", "ACDEFGA"], "ACDEFG", [""]):
            with pytest.raises(DataError, match="6 columns"):
                fitted(sequences)


def test_couplings_of_too_many_columns_are_refused():
    long = Alignment(["A" * 701, "C" * 701], np.arange(701), np.ones(2), 0)
    with pytest.raises(DataError, match="--potts-steps 0"):
        pseudo_likelihood(long, steps=1)


def test_elbos_have_the_same_draws_for_all_sequences(alignment):
    data = app_of.resampled(alignment)
    run = app_of.learn(data, "vae", steps=30, width=32, latent=4, progress=False)
    a = app_of.elbo(run, [FOCUS, "ASDEFGHIKL"], draws=8)
    b = app_of.elbo(run, ["ASDEFGHIKL"], draws=8)
    assert a[1] == pytest.approx(b[0], abs=1e-4)
    assert app_of.score_of(run, alignment, [FOCUS])[0] == pytest.approx(0, abs=1e-6)


def test_motifs_stay_and_single_columns_are_filled(alignment):
    data = app_of.resampled(alignment)
    run = app_of.learn(data, "masked-diffusion", steps=20, width=32, layers=1, progress=False)
    drawn = app_of.fill(run, "??DE???I??", 12)
    assert all(s[2:4] == "DE" and s[7] == "I" and len(s) == 10 for s in drawn)
    table = app_of.masked_marginals(run, FOCUS)
    assert np.exp(table).sum(1) == pytest.approx(np.ones(10), abs=1e-5)
    scores = app_of.score_of(run, alignment, ["AWDEFGHIKL", FOCUS])
    at, old, new = 1, LETTERS.index("C"), LETTERS.index("W")
    assert scores.tolist() == pytest.approx([table[at, new] - table[at, old], 0.0])
    with pytest.raises(Unsupported, match="no evidence lower bound"):
        app_of.elbo(run, [FOCUS])


def test_insertions_are_scored_by_a_model_of_unaligned_sequences():
    items = pofx.proteins([s[: 8 + i % 3] for i, s in enumerate(family(60))])
    run = pofx.fit(items, "gpt", represent="characters", steps=5, width=24, layers=1, heads=2, progress=False)
    assert np.isfinite(run.log_prob(["ACDEFGHI", "ACDEFGHIK"])).all()
    with pytest.raises(DataError, match="represent=characters"):
        pofx.fit(items, "gpt", steps=1, progress=False)
    with pytest.raises(DataError, match="no residue"):
        pofx.proteins(["ACXZ"])


def test_mutants_of_any_length_are_scored_whole(tmp_path):
    rows = [s[:4] + "lv" * (i % 2) + s[4:9] + ("-" if i % 3 == 0 else s[9]) for i, s in enumerate(family(80))]
    rows[0] = FOCUS
    (tmp_path / "f.a3m").write_text("".join(f">{i}\n{s}\n" for i, s in enumerate(rows)))
    alignment = app_of.read_alignment(tmp_path / "f.a3m")
    assert alignment.whole[0] == FOCUS and {len(s) for s in alignment.whole} > {10}
    assert all(
        s.replace("-", "") in (w, w[:4] + w[6:]) for s, w in zip(alignment.sequences, alignment.whole, strict=True)
    )
    run = indels.learn(alignment, steps=20, width=24, layers=1, heads=2, length=16, progress=False)
    found = indels.scores([run], alignment, [FOCUS, FOCUS[:6], FOCUS[:4] + "LV" + FOCUS[4:]])
    assert set(found) == {"length", "3-grams", "gpt x 1"} and all(v[0] == pytest.approx(0) for v in found.values())
    assert found["length"].tolist() == [0, -4, -2] and found["3-grams"][2] > found["3-grams"][1] - 50
    with pytest.raises(DataError, match="17 residues"):
        indels.scores([run], alignment, ["A" * 17])
    pd.DataFrame({"mutant": ["acde", "A1V"], "score": [1.0, 2]}).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match="no whole sequence"):
        indels.read_whole(tmp_path / "a.csv")
    pd.DataFrame({"mutant": ["acde", None], "score": [1.0, 2]}).to_csv(tmp_path / "a.csv", index=False)
    assert indels.read_whole(tmp_path / "a.csv")[0] == ["ACDE"]


def test_the_verb_prints_floors_beside(tmp_path, monkeypatch):
    (tmp_path / "some.a3m").write_text("".join(f">{i}\n{s}\n" for i, s in enumerate(family(200))))
    g = np.random.default_rng(0)
    rows = [{"mutant": f"{FOCUS[i]}{i + 1}{c}", "score": g.normal()} for i in range(10) for c in "AVW" if c != FOCUS[i]]
    pd.DataFrame(rows).to_csv(tmp_path / "assay.csv", index=False)
    monkeypatch.setitem(app_of.RECIPES, "vae", {"width": 32, "latent": 2})
    words = ["proteins", str(tmp_path / "some.a3m"), "--assay", str(tmp_path / "assay.csv"), "--members", "1"]
    done = CliRunner().invoke(app, [*words, "--minutes", "0.02", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "profile" in done.output and "Potts" in done.output and "mean rank of all" in done.output
    assert len(pd.read_csv(tmp_path / "out" / "scores.csv")) == len(rows)
    again = ["--run", str(tmp_path / "out"), "--potts-steps", "0", "--out", str(tmp_path / "more")]
    done = CliRunner().invoke(app, [*words[:4], *again])
    assert done.exit_code == 0, done.output
    first, second = (pd.read_csv(tmp_path / name / "scores.csv")["vae x 1"] for name in ("out", "more"))
    assert np.allclose(first, second)
    (tmp_path / "other.a3m").write_text("".join(f">{i}\n{s[1:]}\n" for i, s in enumerate(family(200))))
    wrong = CliRunner().invoke(app, ["proteins", str(tmp_path / "other.a3m"), *again[:-1], str(tmp_path / "no")])
    assert "runs of this family" in str(wrong.exception)


def test_designs_find_what_an_assay_rewards_and_change_few_columns(alignment):
    from pofx.apps import protein_design as of

    g = np.random.default_rng(0)
    names = app_of.every_mutant(alignment)
    sequences, _ = app_of.mutated(alignment, names)
    each = [app_of.changes(mutant)[0] for mutant in names]  # column 4 may change, and V is good; column 1 may not
    truth = np.array([(at == 4) + 0.8 * (new == "V") - (at == 1) for _, at, new in each]) + 0.05 * g.normal(
        size=len(each)
    )
    density = app_of.Profile(alignment, pseudo=0.05, similar=10.0)
    fitness = of.fitted(alignment.focus, sequences, truth, density)
    assert fitness.checks.loc["fitness model", "held-out mutants"] > 0.5
    found = of.designs(fitness, alignment, density.log_p, 10, most=3)
    changed = [app_of.changes(mutant) for mutant in found["mutant"]]
    assert max(map(len, changed)) <= 3 and not any(at == 1 for change in changed for _, at, _ in change)
    assert any(at == 4 for _, at, _ in changed[0]) and found["predicted"].min() > truth.mean() + 0.5
    again, inside = app_of.mutated(alignment, list(found["mutant"]))
    assert inside.all() and again == list(found["sequence"])
    where = [tuple(n for _, n, _ in app_of.changes(m)) for m in found["mutant"]]
    assert max(where.count(w) for w in where) <= 2  # a fifth
    assert of.stacked(alignment, sequences, truth, 1)[3] == "V"
    with pytest.raises(DataError, match="50 measured"):
        of.fitted(alignment.focus, sequences[:10], truth[:10], density)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (">a\nMKTAYIAKQR\n", "has 1 sequence and no relatives to learn from: give an alignment of its family"),
        (">a\nMKTA\n>b\nMKTA\n", "has 2 sequences, all of them alike, and no relatives"),
        (">a\nMKTA\n>b\nM---\n>c\n---A\n", "of 3 different sequences .* all but the first have more than 50% gaps"),
        (">a\n----\n>b\nMKTA\n", "the first sequence of .* has no residues"),
    ],
)
def test_what_an_alignment_lacks_is_named_without_an_option_that_the_verb_has_not(tmp_path, text, fault):
    (tmp_path / "f.a2m").write_text(text)
    with pytest.raises(DataError, match=fault) as error:
        read_alignment(tmp_path / "f.a2m")
    assert "gaps=" not in str(error.value)
