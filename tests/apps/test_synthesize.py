"""Synthetic tables: constraints hold in every row, types and known values stay, floors are beside."""

import pickle

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from pofx.apps.constraint_texts import constraints_of
from pofx.apps.constraints import Inequality, Rule, Sum, Together
from pofx.apps.synthesize import domain_of
from pofx.apps.synthesizer import Synthesizer, floors, merged, modelled
from pofx.apps.synthetic_quality import coverage, distances, quality, singling_out, usefulness
from pofx.cli.main import app
from pofx.core.errors import DataError, UsageError

pytestmark = pytest.mark.filterwarnings("ignore")
FAST = {"model": "circuit", "steps": 12, "options": {"states": 4, "validations": 1}}


def people(n=400, seed=0):
    g = np.random.default_rng(seed)
    start = g.integers(0, 100, n)
    net, tax = g.integers(10, 60, n), g.integers(1, 20, n)
    city = g.choice(["Oslo", "Bergen", "Rome"], n)
    plan = np.where(g.random(n) < 0.2 + 0.6 * (net > 35), "pro", "free")
    frame = pd.DataFrame({"start": start, "end": start + g.integers(0, 30, n), "net": net, "tax": tax})
    frame["total"] = net + tax
    frame["city"], frame["country"] = city, np.where(city == "Rome", "Italy", "Norway")
    frame["age"] = np.where(g.random(n) < 0.1, np.nan, g.integers(18, 90, n))
    frame["plan"] = plan
    return frame


RULES = ["end >= start", "total = net + tax", "city, country", "18 <= age <= 90"]


@pytest.fixture(scope="module")
def maker():
    return Synthesizer(constraints=RULES, target="plan", **{**FAST, "steps": 30}).fit(people())


def test_every_constraint_holds_in_every_row(maker):
    rows = maker.sample(600)
    assert len(rows) == 600 and list(rows.columns) == list(people().columns)
    assert (rows["end"] >= rows["start"]).all()
    assert (rows["total"] == rows["net"] + rows["tax"]).all()
    assert ((rows["city"] == "Rome") == (rows["country"] == "Italy")).all()
    assert rows["age"].dropna().between(18, 90).all() and 0.02 < rows["age"].isna().mean() < 0.25
    assert maker.accepted == 1.0, "ranges that were seen are not left"
    assert set(rows["plan"]) == {"free", "pro"} and (rows["net"] % 1 == 0).all()


def test_a_narrower_range_is_drawn_by_rejection_with_its_share():
    frame = people().query("age < 60 or age != age")
    made = Synthesizer(constraints=["age < 60"], **FAST).fit(frame)
    made.rules = constraints_of(["age < 40"], frame.query("age < 40"))
    rows = made.sample(200)
    assert (rows["age"].dropna() < 40).all() and 0.2 < made.accepted < 0.9
    made.rules = constraints_of(["age < 0", "plan = x"], frame.head(3).assign(age=-1, plan="x"))
    with pytest.raises(DataError, match="relax"):
        made.sample(30)


def test_known_values_stay(maker):
    rows = maker.sample(100, given={"plan": "pro"})
    assert (rows["plan"] == "pro").all()
    assert rows["net"].mean() > people()["net"].mean(), "what depends on it moves"
    with pytest.raises((DataError, UsageError), match="gold"):
        maker.sample(5, given={"plan": "gold"})


def test_the_same_seed_gives_the_same_rows(maker):
    assert maker.sample(50, seed=3).equals(maker.sample(50, seed=3))
    assert not maker.sample(50, seed=3).equals(maker.sample(50, seed=4))


def test_constraints_are_read_and_checked():
    frame = people()
    kinds = [type(c) for c in constraints_of([*RULES, "net > 1", "plan != gold"], frame)]
    assert sorted(k.__name__ for k in kinds) == sorted(k.__name__ for k in [Inequality, Sum, Together, *[Rule] * 4])
    dates = pd.DataFrame({"a": pd.to_datetime(["2020-01-01"] * 3), "b": pd.to_datetime(["2020-01-03"] * 3)})
    (rule,) = constraints_of(["a <= b"], dates)
    assert rule.backward(rule.forward(dates))[["a", "b"]].equals(dates)
    for text, words, error in (
        ("end < start", "broken by", DataError),
        ("total = net + start", "broken by", DataError),
        ("height > 3", "height", UsageError),
        ("age about 3", "forms", UsageError),
        ("plan > 3", "words by", UsageError),
        ("net > much", "number", UsageError),
    ):
        with pytest.raises(error, match=words):
            constraints_of([text], frame)
    with pytest.raises(UsageError, match="two constraints"):
        constraints_of(["city, country", "city, plan"], frame)


@pytest.mark.parametrize(
    ("texts", "kinds"),
    [
        (["net + tax = total"], [Sum]),
        (["total - tax = net"], [Sum]),
        (["total == tax + net"], [Sum]),
        (["a-b = net + 3"], [Sum]),
        (["half = 0.5 * net"], [Sum]),
        (["start <= mid <= end"], [Inequality, Inequality]),
        (["end ≥ start", "end >= mid"], [Inequality, Rule]),
        (["total = net + tax", "total >= net"], [Sum, Rule]),
        (["net <= total", "total <= far"], [Inequality, Inequality]),
        (["0.1 * total <= net"], [Rule]),
        (["plan in free | pro"], [Rule]),
        (["age in 18..90"], [Rule]),
        (["net in 1|2|3|4|5|6|7|8|9"], None),
        (["day >= 2020-01-01"], [Rule]),
        (["day in 2020-01-01..2021-12-31"], [Rule]),
        (["2020-01-01 <= day <= 2021-12-31"], [Rule, Rule]),
        (["a-b > 2", "plan != gold", "city = city"], [Rule, Rule, Rule]),
    ],
)
def test_constraints_as_people_write_them(texts, kinds):
    frame = people()
    more = {"mid": frame["start"], "far": frame["total"] + 5, "a-b": frame["net"] + 3, "half": frame["net"] / 2}
    day = pd.Timestamp("2020-02-01") + pd.to_timedelta(frame["start"], unit="D")
    frame = frame.assign(**more, day=day)
    if kinds is None:
        with pytest.raises(DataError, match="broken by"):
            constraints_of(texts, frame)
        return
    found = pickle.loads(pickle.dumps(constraints_of(texts, frame)))
    assert sorted(type(c).__name__ for c in found) == sorted(k.__name__ for k in kinds)
    rows = frame
    for constraint in found:
        rows = constraint.forward(rows)
    for constraint in reversed(found):
        rows = constraint.backward(rows)
    pd.testing.assert_frame_equal(rows[frame.columns], frame, check_dtype=False)


def test_dates_in_words_are_compared_and_come_back_in_their_words():
    g = np.random.default_rng(0)
    start = pd.Timestamp("2020-01-01") + pd.to_timedelta(g.integers(0, 300, 300), unit="D")
    end = start + pd.to_timedelta(g.integers(0, 60, 300), unit="D")
    frame = pd.DataFrame(
        {"start": start.strftime("%d.%m.%Y"), "end": end.strftime("%d.%m.%Y"), "n": g.integers(0, 9, 300)}
    )
    frame.loc[4, "end"] = None
    made = Synthesizer(constraints=["start <= end", "start >= 2020-01-01"], k=3, **FAST).fit(frame)
    rows = made.sample(100)
    both = [pd.to_datetime(rows[c], format="%d.%m.%Y") for c in ("start", "end")]
    assert (both[0] <= both[1]).where(both[1].notna(), True).all() and made.merged == {}
    known = made.sample(20, given={"start": rows["start"][0]})
    assert set(known["start"]) == {rows["start"][0]}
    private = Synthesizer(epsilon=5.0, constraints=["start <= end"], domain={"start": ("01.01.2020", "31.12.2020")})
    drawn = private.fit(frame).sample(100)
    assert pd.to_datetime(drawn["start"], format="%d.%m.%Y").dt.year.eq(2020).all()
    assert private.unstated == ["n", "end"], "a gap has the name of its column"
    with pytest.raises(UsageError, match="two dates"):
        Synthesizer(epsilon=5.0, domain={"start": ("1", "x")}).fit(frame)


def test_known_values_of_columns_that_constraints_build(maker):
    rows = maker.sample(40, given={"city": "Rome"})
    assert set(rows["city"]) == {"Rome"} and set(rows["country"]) == {"Italy"} and 0.1 < maker.accepted < 0.7
    rows = maker.sample(30, given={"city": "Rome", "country": "Italy", "start": "5", "end": 9})
    assert maker.accepted == 1.0 and set(rows["end"]) == {9} and set(rows["start"]) == {5}
    each = maker.sample(30, given=pd.DataFrame({"city": ["Rome", "Oslo", "Bergen"] * 10}))
    assert list(each["city"]) == ["Rome", "Oslo", "Bergen"] * 10
    with pytest.raises(DataError, match="break the constraint"):
        maker.sample(5, given={"city": "Rome", "country": "Norway"})
    with pytest.raises(UsageError, match="one row, or one for each of 5"):
        maker.sample(5, given=pd.DataFrame({"city": ["Rome"] * 3}))
    with pytest.raises(UsageError, match="known column"):
        maker.sample(5, given={"town": "Rome"})


def test_rows_of_a_private_table_given_values_are_chosen():
    made = Synthesizer(epsilon=50.0, delta=1e-4).fit(people())
    assert set(made.sample(20, given={"plan": "pro"})["plan"]) == {"pro"}


def test_rare_categories_are_merged():
    frame = pd.DataFrame({"a": ["x"] * 20 + ["y"] * 3 + ["z"], "b": range(24)})
    rows, count = merged(frame, 5)
    assert set(rows["a"]) == {"x", "other"} and count == {"a": 2}
    made = Synthesizer(k=5, **FAST).fit(pd.concat([frame] * 3, ignore_index=True).assign(a=["x"] * 70 + ["y", "z"]))
    assert set(made.sample(200)["a"]) <= {"x", "other"}


def test_a_private_table_stays_in_its_domain_and_states_what_was_read():
    frame, public = people(), {"age": (0, 120), "plan": ["free", "pro", "gold"]}
    made = Synthesizer(epsilon=3.0, target="plan", domain=public, constraints=RULES[:2]).fit(frame)
    rows = made.sample(500)
    assert (rows["end"] >= rows["start"]).all() and (rows["total"] == rows["net"] + rows["tax"]).all()
    assert rows["age"].dropna().between(0, 120).all() and set(rows["plan"]) <= set(public["plan"])
    assert "net" in made.unstated and "age" not in made.unstated
    assert (rows["net"] % 1 == 0).all() and rows["net"].between(10, 60).all()
    other = Synthesizer(epsilon=3.0, target="plan", domain=public, constraints=RULES[:2]).fit(frame).sample(500)
    assert not rows.equals(other), "a seed would repeat the noise"
    loose = Synthesizer(epsilon=100.0, delta=1e-4, target="plan", domain=public).fit(people(4000))
    share = loose.sample(4000).groupby("plan")["net"].mean()
    assert share["pro"] - share["free"] > 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epsilon": 1.0, "model": "copula"}, "not private"),
        ({"epsilon": 1.0, "k": 3}, "leave k out"),
        ({"epsilon": 1.0, "balance": "plan"}, "counts each row once"),
        ({"k": 0}, "k must be"),
    ],
)
def test_wrong_options_are_refused(options, words):
    with pytest.raises(UsageError, match=words):
        Synthesizer(**options)


def test_bad_privacy_is_refused():
    with pytest.raises(UsageError, match="delta"):
        Synthesizer(epsilon=1.0, delta=0.1).fit(people())
    with pytest.raises(DataError, match="stated domain"):
        Synthesizer(epsilon=1.0, domain={"plan": ["free"]}).fit(people())
    with pytest.raises(UsageError, match="no such column"):
        from pofx.apps.private_table import domains

        domains(people(), {"height": (0, 1)})


def test_numbers_tell_copies_from_new_rows_and_columns_apart():
    train, held, new = people(500, 0), people(500, 1), people(500, 2)
    alone = floors(train, 500)["independent"]
    copies, fresh, apart = (quality(x, train, held, target="plan") for x in (train, new, alone))
    assert copies["closer"] > 0.8 > 0.62 > fresh["closer"] > 0.38
    assert copies["ratio"] < 0.05 < fresh["ratio"]
    assert copies["membership"] > 0.9 > 0.6 > fresh["membership"] > 0.4
    assert apart["pairs"] > 0.8 > 0.4 > fresh["pairs"]
    assert apart["detection"] > 0.9 and fresh["detection"] < 0.6
    assert fresh["tstr"] > apart["tstr"] + 0.1
    assert fresh["coverage"] == 1.0 and copies["shapes"] > 0.9
    assert coverage(train[train["plan"] == "pro"], train) < 1.0


def test_rare_values_that_name_a_training_row_are_counted():
    g = np.random.default_rng(0)
    train, held = (
        pd.DataFrame({"z": g.permutation(3000)[:400] // 2 * 2, "w": g.integers(0, 3, 400)}) for _ in range(2)
    )
    train, held = (
        frame.assign(z=frame["z"].astype(str).where(frame.index % 3 > 0, "common")) for frame in (train, held)
    )
    assert singling_out(train, train, held) > 0.5
    assert singling_out(held, train, held) < -0.5
    assert abs(singling_out(pd.DataFrame({"z": ["common"] * 9, "w": [0] * 9}), train, held)) < 1e-9
    assert set(distances(train, train, held)) == {"closer", "ratio", "membership"}


def test_prediction_of_words_numbers_and_classes():
    train, test = people(600, 0), people(600, 1)
    assert usefulness(train, test, train, "plan") > 0.7
    assert usefulness(train, test, train, "total") > 0.9
    assert usefulness(train, test, train, "country") > 0.95
    assert usefulness(train.assign(plan="free"), test, train, "plan") == 0.5


@pytest.mark.slow
def test_the_verb_writes_rows_and_a_report_with_floors(tmp_path):
    people(300).to_csv(tmp_path / "in.csv", index=False)
    where = [str(tmp_path / name) for name in ("in.csv", "out.csv", "report.html")]
    call = ["synthesize", where[0], "--out", where[1], "--report", where[2], "--steps", "8", "-n", "150"]
    done = CliRunner().invoke(app, [*call, "--constraint", "end >= start", "--target", "plan"])
    assert done.exit_code == 0, done.output
    for word in ("independent", "copula", "real", "TSTR", "TRTR", "detection", "closer", "accepted draws: 100.0%"):
        assert word in done.output
    assert len(pd.read_csv(where[1])) == 150
    page = (tmp_path / "report.html").read_text()
    assert "independent" in page and "<script" not in page and "not covered by ε" in page
    private = CliRunner().invoke(app, [*call[:4], "--epsilon", "1", "--domain", "age=0..120"])
    assert private.exit_code == 0, private.output
    assert "ε = 1" in private.output and "not private" in private.output
    wrong = CliRunner().invoke(app, [*call[:4], "--domain", "age"])
    assert wrong.exit_code != 0 and "LOW..HIGH" in str(wrong.exception)


def test_domains_are_read_from_texts():
    assert domain_of(["age=17..90", "plan=free|pro"]) == {"age": (17.0, 90.0), "plan": ["free", "pro"]}


def test_bad_tables_are_refused_or_mended():
    frame = people(60)
    with pytest.raises(DataError, match="rows"):
        modelled(frame.head(1))
    with pytest.raises(DataError, match="called 'city'"):
        modelled(pd.concat([frame, frame[["city"]]], axis=1))
    with pytest.raises(DataError, match="infinite"):
        modelled(frame.assign(net=np.where(frame.index == 3, np.inf, frame["net"])))
    kept, reasons = modelled(frame.assign(empty=np.nan, name=[f"person {i}" for i in range(60)]))
    assert set(reasons) == {"empty", "name"} and "empty" not in kept
    assert len(Synthesizer(**FAST).fit(frame.assign(empty=np.nan)).sample(20)) == 20
    twins = people(80).assign(again=lambda f: f["net"])
    assert len(Synthesizer(**FAST).fit(twins).sample(10)) == 10
    with pytest.raises(UsageError, match="target"):
        Synthesizer(target="height", **FAST).fit(frame)


@pytest.mark.slow
def test_a_single_column_is_measured_without_a_prediction(tmp_path):
    g = np.random.default_rng(0)
    pd.DataFrame({"id": [f"w{i}" for i in range(400)], "v": g.normal(size=400)}).to_csv(tmp_path / "t.csv", index=False)
    call = ["synthesize", str(tmp_path / "t.csv"), "--out", str(tmp_path / "s.csv"), "--steps", "5"]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.exception
    assert "detection AUC" in done.output and "TSTR predicts" not in done.output


def test_many_categories_and_many_rows():
    g = np.random.default_rng(0)
    many = pd.DataFrame({"word": [f"w{i}" for i in g.integers(0, 10_000, 200_000)], "x": g.normal(size=200_000)})
    rows = Synthesizer("circuit", steps=3, options={"states": 4}).fit(many).sample(50)
    assert set(rows["word"]) <= set(many["word"])
    private = Synthesizer(epsilon=1.0).fit(many).sample(50)
    assert set(private["word"]) <= set(many["word"])


def test_trees_draw_the_target_given_the_other_columns():
    """What depends on several columns at once, in a way that a model of two steps cannot know."""
    g = np.random.default_rng(0)
    frame = pd.DataFrame({"a": g.normal(size=600), "b": g.normal(size=600), "c": g.choice(["u", "v"], 600)})
    frame["y"] = np.where((frame.a * frame.b > 0) == (frame.c == "u"), "yes", "no")
    maker = Synthesizer(target="y", steps=2, options={"batch_size": 32}).fit(frame)
    drawn = maker.sample(400)
    right = np.where((drawn.a * drawn.b > 0) == (drawn.c == "u"), "yes", "no") == drawn.y
    assert right.mean() > 0.85 and maker.sample(400).equals(drawn)
    plain = Synthesizer(target="y", target_trees=False, steps=2, options={"batch_size": 32}).fit(frame)
    assert plain.trees is None and list(plain.sample(5).columns) == list(drawn.columns)
    circuit = Synthesizer("circuit", target="y", steps=2, options={"states": 4}).fit(frame)
    assert set(circuit.sample(20, given={"y": "no"}).y) == {"no"}, "a target that is given stays"
    whole = frame.assign(y=(frame.y == "yes").astype(int).where(frame.a < 1))
    numbers = Synthesizer(target="a", steps=2, options={"batch_size": 32}).fit(whole)
    assert numbers.trees is None, "numbers are no classes"
    gaps = Synthesizer(target="y", steps=2, options={"batch_size": 32}).fit(whole.astype({"y": "Int64"}))
    assert gaps.sample(50).y.dtype == "Int64"
