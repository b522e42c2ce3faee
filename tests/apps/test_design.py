"""Discovery: a record that a person can fill in, the same loop from it, floors at equal calls."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import pofx
from pofx.apps.design_floors import Random, compared
from pofx.apps.design_loop import Design, Sequences, Vectors, bounds_of, space_of
from pofx.apps.surrogate import Forest, Gaussian, improvement, latin, parzen, tpe
from pofx.cli.main import app
from pofx.core.errors import DataError, UsageError

BOUNDS = {"a": (-1.0, 3.0), "b": (0.0, 10.0)}


def bowl(designs):
    x = np.stack(designs)
    return -((x[:, 0] - 1.2) ** 2) - 0.1 * (x[:, 1] - 7) ** 2


def test_designs_lie_within_their_bounds_and_approach_the_best():
    loop = Design(Vectors(BOUNDS), batch=6, seed=1).run(bowl, 4)
    x = loop.trials[["a", "b"]].to_numpy(float)
    assert len(x) == 24 and (x >= [-1, 0]).all() and (x <= [3, 10]).all()
    progress = loop.progress()
    assert progress["so far"].is_monotonic_increasing and progress["so far"].iloc[-1] > -0.1
    assert progress["mean"].iloc[-1] > progress["mean"].iloc[0]
    assert len(np.unique(x.round(9), axis=0)) == 24
    least = Design(Vectors(BOUNDS), batch=6, minimise=True, seed=1).run(lambda d: -bowl(d), 4)
    assert least.progress()["so far"].iloc[-1] == pytest.approx(-progress["so far"].iloc[-1])


def test_a_loop_goes_on_from_its_record(tmp_path):
    whole = Design(Random(BOUNDS), batch=3, record=tmp_path / "a.csv").run(bowl, 3)
    part = Design(Random(BOUNDS), batch=3, record=tmp_path / "b.csv").run(bowl, 2)
    waiting = part.propose()
    again = Design(Random(BOUNDS), batch=3, record=tmp_path / "b.csv")
    assert again.propose()["a"].to_numpy(float) == pytest.approx(waiting["a"].to_numpy(float))
    again.run(bowl, 1)
    assert again.trials["a"].to_numpy(float) == pytest.approx(whole.trials["a"].to_numpy(float))
    with pytest.raises(DataError, match="another loop"):
        Design(Random({"z": (0, 1)}), record=tmp_path / "a.csv")


def test_a_person_fills_in_the_record(tmp_path):
    record, words = tmp_path / "trials.csv", ["-p", "a=-1..3", "-p", "b=0..10", "--batch", "4"]
    done = CliRunner().invoke(app, ["design", str(record), *words])
    assert done.exit_code == 0 and "4 designs wait" in done.output, done.output
    frame = pd.read_csv(record)
    frame["score"] = bowl(list(frame[["a", "b"]].to_numpy()))
    frame["score"] = frame["score"].astype(object)
    frame.loc[1, "score"] = "failed"
    frame.to_csv(record, index=False)
    done = CliRunner().invoke(app, ["design", str(record), *words])
    assert done.exit_code == 0 and "so far" in done.output, done.output
    frame = pd.read_csv(record)
    assert len(frame) == 8 and frame["score"].isna().sum() == 4 and record.with_suffix(".png").exists()
    frame["score"] = frame["score"].astype(object)
    frame.loc[4, "score"] = "good"
    frame.to_csv(record, index=False)
    assert CliRunner().invoke(app, ["design", str(record), *words]).exit_code != 0
    with pytest.raises(DataError, match="must be a number or 'failed'"):
        Design(Vectors(BOUNDS), record=record).scores()


def test_fewer_designs_than_a_batch_are_counted():
    class Few(Random):
        def first(self, n, seed):
            return super().first(n, seed)[:2]

    with pytest.warns(UserWarning, match="2 of 5 designs were found"):
        Design(Few(BOUNDS), batch=5).propose()


def test_the_budget_ends_the_loop():
    loop = Design(Random(BOUNDS), batch=4, budget=6).run(bowl, 5)
    assert len(loop.trials) == 6
    with pytest.raises(UsageError, match="is spent"):
        loop.propose()
    with pytest.raises(UsageError, match="NAME=LOW..HIGH"):
        bounds_of(["a=1"])
    with pytest.raises(UsageError, match="low below high"):
        Vectors({"a": (1, 1)})


def test_a_test_that_fails_is_named_and_its_designs_still_wait(tmp_path):
    def broken(designs):
        raise ZeroDivisionError("no reagent")

    record = tmp_path / "r.csv"
    with pytest.raises(UsageError, match=r"3 designs failed \(ZeroDivisionError: no reagent\)"):
        Design(Random(BOUNDS), batch=3, record=record).run(broken, 2)
    assert len(Design(Random(BOUNDS), record=record).pending()) == 3
    for wrong in (lambda d: ["good"] * len(d), lambda d: None, lambda d: [1.0]):
        with pytest.raises(UsageError):
            Design(Random(BOUNDS), batch=3, record=record).run(wrong, 1)
    loop = Design(Random(BOUNDS), batch=3, record=record).run(lambda d: [1.0, np.nan, np.inf], 1)
    assert np.array_equal(loop.scores(), [1, np.nan, np.nan], equal_nan=True) and not len(loop.pending())


def test_methods_have_equal_calls():
    calls = []
    found = compared(lambda d: calls.append(len(d)) or bowl(d), BOUNDS, rounds=2, batch=4, seeds=2)
    assert list(found.index) == ["pofx", "random", "GP", "TPE"] and sum(calls) == 4 * 2 * 8
    assert found.loc["GP", "best"] >= found.loc["random", "best"] - 1


def test_surrogates_know_simple_functions():
    x = latin(30, 2, 0)
    y = bowl(list(x * [4, 10] + [-1, 0]))
    mean, spread = Gaussian().fit(x, y).predict(x[:5])
    assert mean == pytest.approx(y[:5], abs=0.3) and (spread < 0.5).all()
    picked = improvement(Gaussian(), x, y, latin(100, 2, 1), 3)
    assert bowl(list(picked * [4, 10] + [-1, 0])).mean() > y.mean()
    grid = np.linspace(-1, 2, 3001)
    assert np.trapezoid(parzen(grid, np.array([0.4, 0.6]), 0.05), grid) == pytest.approx(
        1 + 2 / 3, abs=0.02
    )  # beyond [0, 1] too
    assert tpe(x, y, 5, 0).shape == (5, 2)
    forest = Forest().fit(x, y)
    assert forest.predict(x)[0] == pytest.approx(forest.model.predict(x), abs=1e-6)


@pytest.mark.slow
def test_sequences_are_proposed_by_a_run():
    run = pofx.fit(
        ["ab", "abb", "ba", "bba", "aab", "abab"] * 8,
        "gpt",
        steps=30,
        width=24,
        layers=1,
        heads=2,
        lr=4e-3,
        progress=False,
    )
    space = space_of(run, steps=3)
    assert isinstance(space, Sequences)
    count = lambda items: [float(s.count("a")) for s in items]  # noqa: E731
    loop = Design(space, batch=5, seed=0).run(count, 2)
    items = loop.trials["item"]
    assert items.is_unique and len(items) >= 6
    with pytest.raises(UsageError, match="has no sequences"):
        space_of(pofx.fit("moons", "gmm", steps=2, progress=False))
    found = compared(count, run, rounds=2, batch=4, seeds=1)
    assert list(found.index) == ["pofx", "random", "GP"] and np.isfinite(found["best"]).all()


def test_proposals_have_as_many_digits_as_a_person_can_set(tmp_path):
    space = Vectors({"temperature": (20, 90), "rate": (0.001, 0.002)})
    for design in space.first(20, 0):
        assert all(len(repr(float(v)).split(".")[1]) <= k for v, k in zip(design, (3, 8), strict=True)), design
        assert 20 <= design[0] <= 90 and 0.001 <= design[1] <= 0.002


def test_what_was_measured_before_the_loop_is_its_first_round(tmp_path):
    (tmp_path / "old.csv").write_text("x,score\n0.1,1\n0.4,3\n0.9,2\n")
    loop = Design(Vectors({"x": (0, 1)}), batch=2, record=tmp_path / "old.csv")
    assert set(loop.propose()["round"]) == {1} and loop.best(1)["x"].tolist() == [0.4]


@pytest.mark.parametrize("cell", ["abc", "", "inf", "1;2"])
def test_a_design_that_is_no_number_is_named(cell, tmp_path):
    (tmp_path / "x.csv").write_text(f"round,x,y,score\n0,1,2,3\n0,3,{cell},2\n")
    with pytest.raises(DataError, match="y of row 1 must be a number"):
        Design(Vectors({"x": (0, 5), "y": (0, 5)}), record=tmp_path / "x.csv").propose()


def test_rows_without_a_round_are_of_the_first(tmp_path):
    (tmp_path / "r.csv").write_text("round,a,b,score\n,0,1,2\n,1,2,1.5\n2,1,1,3\n")
    loop = Design(Vectors(BOUNDS), batch=2, record=tmp_path / "r.csv")
    assert loop.trials["round"].tolist() == [0, 0, 2] and loop.progress()["tests"].tolist() == [2, 1]
    assert loop.propose()["round"].tolist() == [3, 3]


def test_a_record_stays_as_its_person_writes_it(tmp_path):
    record = tmp_path / "r.csv"
    for content in ("", "a;b;score\n", "a;b;score\n0,5;3;1,5\n2;4;failed\n"):  # empty; a header alone; a spreadsheet's
        record.write_text(content)
        assert len(Design(Vectors(BOUNDS), batch=2, record=record).propose()) == 2
        if content:
            lines = record.read_text().splitlines()
            assert lines[0] == "round;a;b;score" and ("." in "".join(lines)) == ("1,5" not in content), lines
    assert Design(Vectors(BOUNDS), record=record).scores().tolist()[:1] == [1.5]
    record.write_text("a,b\n0,1\n")
    with pytest.raises(DataError, match=r"lacks score \(its columns are a, b\): add it, empty"):
        Design(Vectors(BOUNDS), record=record)
    record.write_text('a,b,score\n0,1,"1,5"\n1,1,abc\n')
    with pytest.raises(DataError, match="score of row 1 must be a number or 'failed' .got 'abc'"):
        Design(Vectors(BOUNDS), record=record).scores()


def test_what_a_record_has_beside_its_space_is_named(tmp_path):
    record = tmp_path / "r.csv"
    record.write_text("a,b,score,minutes\n0,1,2,5\n7,1,3,6\n")
    with pytest.warns(UserWarning, match=r"a of 1 of 2 designs lies outside of -1..3 \(row 1: 7\)"):
        Design(Vectors(BOUNDS), batch=2, record=record).propose()
    with pytest.warns(UserWarning, match="b of .*r.csv is no parameter of this loop"):
        Design(Vectors({"a": (-1, 8)}), record=record)


def test_a_test_may_have_an_argument_for_each_parameter():
    loop = Design(Vectors(BOUNDS), batch=3).run(lambda b, a: a - 2 * b, 1)
    assert np.allclose(loop.scores(), loop.trials["a"] - 2 * loop.trials["b"])
    with pytest.raises(UsageError, match=r"list of designs \(a, b\)"):
        loop.run(lambda design: design["a"], 1)


def test_a_test_of_one_design_at_a_time_that_breaks_off_loses_no_score(tmp_path):
    record, seen = tmp_path / "r.csv", []

    def slow(a, b):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append((a, b))
        return a + b

    def broken(a, b):
        raise ZeroDivisionError("no reagent")

    with pytest.raises(UsageError, match=r"one design \(a=.*, b=.*\) failed .*must return a number, NaN"):
        Design(Random(BOUNDS), batch=4).run(broken, 1)
    with pytest.raises(KeyboardInterrupt):
        Design(Random(BOUNDS), batch=4, record=record).run(slow, 1)
    again = Design(Random(BOUNDS), batch=4, record=record)
    assert len(again.pending()) == 2 and again.trials["score"][:2].tolist() == pytest.approx([a + b for a, b in seen])


def test_a_parameter_is_not_called_as_a_column_of_the_record():
    for name in ("score", "round"):
        with pytest.raises(UsageError, match=f"{name} is a column of the record itself"):
            Vectors({name: (0, 1)})
