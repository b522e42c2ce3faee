"""Forecasts: every form of a series, gaps, covariates, the exact answer of a linear-Gaussian series, and the floors."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from pofx.apps.forecaster import Forecast, Forecaster, told_by_calendar, unbroken
from pofx.apps.futures import backtest, floors, scores, season_of
from pofx.apps.linear_forecast import LinearForecast
from pofx.cli.main import app
from pofx.core.errors import DataError, UsageError
from pofx.data.dynamics import SYSTEMS
from pofx.data.series import by_name, series, several

QUICK = {"steps": 20, "options": {"width": 16, "layers": 1, "bins": 4, "blocks": 1, "validations": 2}}
pytestmark = pytest.mark.filterwarnings("ignore")


def walk(n=800, seed=0, keep=0.9):
    """An autoregression of order 1, two channels with correlated noise."""
    g = np.random.default_rng(seed)
    e = g.normal(size=(n, 2)) @ np.array([[1, 0.6], [0, 0.8]])
    x = np.zeros((n, 2))
    for t in range(1, n):
        x[t] = keep * x[t - 1] + e[t]
    return x


@pytest.fixture(scope="module")
def fitted():
    return Forecaster(6, context=8, **QUICK).fit(walk(1500))


def test_a_linear_gaussian_series_is_forecast_as_the_formula_has_it(fitted):
    past = walk(300, 5)
    drawn = fitted.simulate(past, 2000, seed=1)
    assert drawn.samples.shape == (2000, 6, 2)
    steps = np.arange(1, 7)
    spread = np.sqrt((1 - 0.9 ** (2 * steps)) / (1 - 0.81))
    assert np.allclose(drawn.mean[:, 0], 0.9**steps * past[-1, 0], atol=0.9)
    assert np.allclose(drawn.samples[:, :, 0].std(0), spread, rtol=0.2)
    assert np.corrcoef(drawn.samples[:, 0].T)[0, 1] == pytest.approx(0.6, abs=0.15)


def test_the_seed_decides_and_any_horizon_is_possible(fitted):
    past = walk(60, 5)
    a, b = fitted.simulate(past, 10, seed=3), fitted.simulate(past, 10, seed=3)
    assert np.array_equal(a.samples, b.samples)
    assert fitted.simulate(past, 4, 15).samples.shape == (4, 15, 2)
    assert not np.array_equal(a.samples, fitted.simulate(past, 10, seed=4).samples)
    assert a.probability(lambda path: path[:, 0].max() > -100) == 1.0
    assert list(a.frame().columns[:2]) == ["x0 mean", "x0 0.05"]


def test_a_saved_forecaster_draws_the_same(fitted, tmp_path):
    fitted.save(tmp_path / "run")
    again = Forecaster.load(tmp_path / "run")
    past = walk(60, 5)
    assert np.array_equal(again.simulate(past, 5).samples, fitted.simulate(past, 5).samples)


def test_scores_stand_beside_floors_that_never_see_the_future(fitted):
    one = series(walk(1800))
    found = backtest(fitted, one, 1500, season=12, draws=50)
    assert {"nsf", "climatology", "seasonal naive", "random walk", "linear-Gaussian"} == set(found.index)
    assert found.loc["nsf", "CRPS"] < 1.1 * found.loc["linear-Gaussian", "CRPS"] < found.loc["climatology", "CRPS"]
    assert 0.8 < found.loc["nsf", "covered 90%"] < 0.97
    changed = one.values.copy()
    changed[1500:] += 1000  # what comes later
    before, after = (floors(series(v), 1500, [1500], 6, 12, seed=1) for v in (one.values, changed))
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_forecast_with_a_nan_scores_infinitely():
    x, y = np.zeros((2, 9, 3, 2)), np.ones((2, 3, 2))
    x[0, 0, 0, 0] = np.nan
    found = scores(x, y, np.ones(2))
    assert {found[k] for k in ("CRPS", "CRPS-sum", "energy", "variogram")} == {np.inf}


def test_every_form_of_a_series(tmp_path):
    times = pd.date_range("2024-01-01", periods=60, freq="h")
    frame = pd.DataFrame({"when": times.astype(str), "a": np.arange(60.0), "b": 1.0})
    one = series(frame, known=["b"])
    assert one.names == ("a",) and one.times[1] == times[1] and one.covariates.shape == (60, 7)
    frame.to_csv(tmp_path / "x.csv", index=False)
    assert np.array_equal(series(tmp_path / "x.csv").values, frame[["a", "b"]])
    holes = series(frame.drop(index=[5, 6]))
    assert len(holes) == 60 and np.isnan(holes.values[5:7]).all()
    entry = {"target": np.ones((2, 50)), "start": pd.Period("2024-01-01", "D"), "feat_dynamic_real": np.ones((1, 50))}
    found = several([entry, entry])
    assert len(found) == 2 and found[0].values.shape == (50, 2) and found[0].covariates.shape == (50, 7)
    assert found[0].following(3, np.ones((3, 1))).shape == (3, 7)
    with pytest.raises(UsageError, match="known covariates"):
        found[0].following(3)
    longer = series({**entry, "feat_dynamic_real": np.arange(53.0)[None]})  # known beyond the target, as GluonTS has it
    assert longer.following(3)[:, 0].tolist() == [50, 51, 52] and longer[10:].ahead is longer.ahead
    for part in (longer[:49].following, longer.following):
        with pytest.raises(UsageError, match="known covariates"):
            part(4)
    with pytest.warns(UserWarning, match='no "freq"'):
        assert series({**entry, "start": "2024-01-01"}).times is None
    with pytest.raises(DataError, match="infinite"):
        series(np.full(50, np.inf))
    with pytest.raises(DataError, match="at least 16"):
        series(np.ones(3))
    with pytest.warns(UserWarning, match="fall"):
        assert series(frame.iloc[::-1]).times[0] == times[0]
    with pytest.raises(DataError, match="rise"):
        series(frame.iloc[[*range(30), *range(20, 60)]])
    assert series({"a": np.ones(20), "b": np.zeros(20)}).names == ("a", "b")
    with pytest.raises(DataError, match="transpose"):
        series(np.ones((3, 50)))
    with pytest.raises(DataError, match=r"a, '\?' in row 7"):
        series(frame.assign(a=[*range(7), "?", *range(52)]))
    stacked = pd.concat([frame.assign(shop=k)[["shop", "when", "a"]] for k in (4, 7)])
    with pytest.raises(DataError, match="names: shop"):
        series(stacked)
    with pytest.warns(UserWarning, match="2 steps without a row"):
        gap = series(frame.assign(b=np.arange(60.0)).drop(index=[5, 6]), known=["b"])
    assert gap.known[4:8, 0].tolist() == [4, 4, 4, 7]
    with pytest.raises(DataError, match="not so in step 9"):
        series(frame.assign(b=[*range(9), np.nan, *range(50)]), known=["b"])
    index = pd.MultiIndex.from_product([["north", "south"], times[:30]])
    with pytest.raises(DataError, match="several series"):  # two series, not one of 60 steps
        series(pd.DataFrame({"a": np.arange(60.0)}, index=index))


class Entries:
    """A data set as GluonTS has it: it is iterated, and has a length."""

    def __len__(self):
        return 2

    def __iter__(self):
        return iter([{"target": np.ones(50), "start": pd.Period("2024", "D"), "item_id": k} for k in "ab"])


def test_words_in_a_table_of_one_series():
    frame = pd.DataFrame({"shop": "north", "kind": ["a", "b"] * 30, "sold": np.arange(60.0)})
    with pytest.warns(UserWarning, match="shop .* same word in all rows"):
        assert series(frame.drop(columns="kind")).names == ("sold",)
    with pytest.warns(UserWarning), pytest.raises(DataError, match="--columns sold .* --by kind"):
        series(frame)
    assert series(frame, columns=["sold"]).names == ("sold",)


def test_several_series_in_one_table_or_data_set(tmp_path):
    times = pd.date_range("2024-01-01", periods=30)
    frame = pd.concat(
        [pd.DataFrame({"shop": k, "day": times, "sold": np.arange(30.0) + i}) for i, k in enumerate("ab")]
    )
    found = by_name(frame, by="shop")
    assert list(found) == ["a", "b"] and found["b"].values[0] == 1 and found["b"].names == ("sold",)
    with pytest.raises(DataError, match="name the column of their names: shop"):
        series(frame)
    with pytest.raises(UsageError, match="column of names"):
        by_name(frame, by="store")
    with pytest.raises(DataError, match="fewer than 16"):
        by_name(frame.iloc[:40], by="shop")
    assert list(by_name(Entries())) == ["a", "b"] and len(several(Entries())) == 2
    lines = [f'{{"start": "2024-01-01", "target": {[float(i)] * 20}, "item_id": "{i}"}}' for i in range(3)]
    (tmp_path / "x.jsonl").write_text("\n".join(lines).replace("2.0]", "null]"))
    found = several(tmp_path / "x.jsonl")
    assert [one.values[0, 0] for one in found] == [0, 1, 2] and np.isnan(found[2].values[-1, 0])
    (tmp_path / "y.jsonl").write_text('{"start": "2024-01-01", "values": [1, 2]}')
    with pytest.raises(DataError, match='without a list "target"'):
        several(tmp_path / "y.jsonl")
    words = frame[frame["shop"] == "a"].assign(note="x")
    assert series(words, columns=["sold"]).names == ("sold",)
    with pytest.warns(UserWarning, match="shop, note"):
        assert series(words).names == ("sold",)


def test_the_verb_forecasts_several_series_and_again_without_training(tmp_path, monkeypatch):
    monkeypatch.setattr("pofx.apps.forecaster.SMALL", QUICK["options"])
    parts = [pd.DataFrame(walk(200, k), columns=["a", "b"]).assign(shop=f"no {k}", sale=1.0) for k in range(2)]
    pd.concat(parts).to_csv(tmp_path / "x.csv", index=False)
    pd.DataFrame({"sale": np.ones(4)}).to_csv(tmp_path / "plan.csv", index=False)
    words = ["forecast", str(tmp_path / "x.csv"), "--by", "shop", "--columns", "a", "--known", "sale", "--future",
             str(tmp_path / "plan.csv"), "-n", "20", "--event", "a>0"]  # fmt: skip
    new = [*words, "--horizon", "4", "--minutes", "0.008", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, new)
    assert done.exit_code == 0, done.output
    assert "no 1: a>0" in done.output and (tmp_path / "out" / "futures no_0.png").exists()
    table = pd.read_csv(tmp_path / "out" / "futures.csv")
    assert table["shop"].tolist() == ["no 0"] * 4 + ["no 1"] * 4
    words = [word for word in words if word not in ("--known", "sale")]  # the run knows them
    again = CliRunner().invoke(app, [*words, "--run", str(tmp_path / "out"), "--out", str(tmp_path / "two")])
    assert again.exit_code == 0, again.output
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "two" / "futures.csv"), table)
    assert not (tmp_path / "two" / "artifact.json").exists()


def test_a_year_of_months_is_forecast_from_ten_years_and_from_five(monkeypatch, tmp_path):
    monkeypatch.setattr("pofx.apps.forecaster.SMALL", QUICK["options"])
    for years in (10, 5):
        months = pd.date_range("2015-01-31", periods=12 * years, freq="ME")
        sold = 100 + np.arange(12 * years) + 20 * np.sin(np.arange(12 * years) * np.pi / 6)
        pd.DataFrame({"month": months, "sold": sold}).to_csv(tmp_path / "x.csv", index=False)
        words = ["forecast", str(tmp_path / "x.csv"), "--horizon", "12", "--minutes", "0.008", "-n", "9", "--out"]
        done = CliRunner().invoke(app, [*words, str(tmp_path / f"{years}")])
        assert done.exit_code == 0, done.output
    assert "are not scored" in " ".join(done.output.split())
    with pytest.raises(DataError, match="windows"):  # a past that was stated stays
        Forecaster(12, context=48, **QUICK).fit(sold)


def test_a_series_that_always_has_a_gap_in_its_future_is_refused():
    values = walk(200)[:, 0]
    values[np.arange(200) % 3 != 0] = np.nan
    with pytest.raises(DataError, match="0 windows"):
        Forecaster(2, context=4, block=2, **QUICK).fit(values)


def test_gaps_everywhere_leave_shorter_blocks():
    values = walk(300)[:, 0]
    values[np.random.default_rng(0).random(300) < 0.3] = np.nan
    with pytest.warns(UserWarning, match="are drawn at a time"):
        made = Forecaster(12, **QUICK).fit(values)
    assert made.block < 12 and made.simulate(values, 5).samples.shape == (5, 12, 1)
    assert unbroken([np.ones((200, 1))], 12) == 12 and unbroken([values[:, None]], 1) == 1


def test_the_calendar_counts_where_its_cycles_were_seen(tmp_path):
    def of(step, n):
        return told_by_calendar(
            [series(pd.DataFrame({"y": walk(n)[:, 0]}, pd.date_range("2023", periods=n, freq=step)))]
        )

    assert of("h", 200) == [1, 1, 0, 0, 0, 0] and of("D", 200) == [1, 1, 1, 1, 0, 0] and of("D", 800) == [1] * 6
    assert told_by_calendar([series(walk(50))]) == [0] * 6
    times = pd.date_range("2023-01-01", periods=240, freq="h")  # ten days, whose level does not follow the year
    frame = pd.DataFrame({"y": np.sin(np.arange(240) / 3)}, times)
    made = Forecaster(6, steps=3, options={"width": 8, "layers": 1}).fit(frame)
    given = made.given(series(frame), [100, 200])
    assert np.array_equal(given[:, 2:], np.zeros((2, 4))) and given[:, :2].any()
    again = Forecaster.load(made.save(tmp_path / "f"))
    assert again.calendar == made.calendar


def test_floors_of_a_series_shorter_than_its_season():
    one = series(walk(60))
    assert floors(one, 20, [49], 12, 30, draws=5)["climatology"].shape == (1, 5, 12, 2)


def test_windows_of_training_and_validation_share_no_future():
    made = Forecaster(12, **QUICK)
    made.block = 12
    for n in (40, 62, 100, 5000):
        cut, start = made._cut(n)
        assert 0 < cut < start < n and start - cut == 12
    assert made._cut(5000)[0] == 4250 and made._cut(20) == (20, 20)


def test_gaps_and_what_is_known_in_advance():
    g = np.random.default_rng(0)
    sale = (g.random(600) < 0.3).astype(float)
    frame = pd.DataFrame({"sold": 5 * sale + 0.3 * g.normal(size=600), "sale": sale})
    frame.loc[g.random(600) < 0.1, "sold"] = np.nan
    made = Forecaster(2, context=4, **QUICK).fit(frame, known=["sale"])
    past = series(frame[:400], known=["sale"])
    drawn = made.simulate(past, 200, known=[1, 0])
    assert np.allclose(drawn.mean[:, 0], [5, 0], atol=0.8)
    with pytest.raises(UsageError, match="known covariates"):
        made.simulate(past)
    assert np.allclose(made.simulate(frame[:400], 200, known=[1, 0]).samples, drawn.samples)  # a table as for `fit`
    with pytest.raises(DataError, match="1 covariates"):
        made.simulate(frame[["sold"]][:400])
    with pytest.raises(DataError, match="windows"):
        Forecaster(20, context=20, **QUICK).fit(frame[:30])


def test_the_simplest_regression_that_does_is_taken():
    g = np.random.default_rng(0)
    x = g.normal(size=(500, 1)).cumsum(0)
    view = np.lib.stride_tricks.sliding_window_view(x[:, 0], 11)
    past, future, none = view[:, :10, None], view[:, 10:, None], np.zeros((len(view), 0))
    found = LinearForecast.fit(past[:300], none[:300], future[:300], (past[300:], none[300:], future[300:]))
    assert np.abs(found(past, none) - past[:, -1:]).std() < 0.5  # a random walk
    assert found.degree == 1 and found(past, none).shape == future.shape
    z = found.standard(future, found(past, none))
    assert np.allclose(found.inverse(z, found(past, none)), future)


def test_seasons_are_found():
    t = np.arange(600)
    noise = np.random.default_rng(0).normal(size=600)
    assert season_of((np.sin(2 * np.pi * t / 24) + 0.1 * noise)[:, None]) % 24 == 0
    assert season_of(noise.cumsum()[:, None]) == 1


def test_exact_ensembles_continue_the_state():
    system = SYSTEMS["lorenz"]
    paths = system.futures(np.array([[1.0, 1.0, 20.0]]), 50, 3)
    assert paths.shape == (1, 50, 3, 3) and paths[0, :, 0].std(0).max() < 1.5
    assert np.isfinite(system.series(300)).all() and np.isfinite(SYSTEMS["lotka-volterra"].series(300)).all()


def test_the_verb_writes_futures_scores_and_a_picture(tmp_path, monkeypatch):
    monkeypatch.setattr("pofx.apps.forecaster.SMALL", QUICK["options"])
    file = tmp_path / "x.csv"
    pd.DataFrame(walk(400), columns=["a", "b"]).to_csv(file, index=False)
    words = ["forecast", str(file), "--horizon", "4", "--out", str(tmp_path / "out"), "--minutes", "0.02", "-n", "20"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "linear-Gaussian" in done.output and "CRPS" in done.output
    assert {"futures.csv", "scores.csv", "futures.png", "forecast.json"} <= {
        p.name for p in (tmp_path / "out").iterdir()
    }


def test_the_probability_of_an_event_is_printed_beside_how_often_it_happened(tmp_path, monkeypatch):
    monkeypatch.setattr("pofx.apps.forecaster.SMALL", QUICK["options"])
    file = tmp_path / "x.csv"
    pd.DataFrame(walk(400), columns=["a", "b"]).to_csv(file, index=False)
    words = ["forecast", str(file), "--horizon", "4", "--out", str(tmp_path / "out"), "--minutes", "0.02", "-n", "20"]
    done = CliRunner().invoke(app, [*words, "--event", "a>-1e9", "--event", "b<-1e9"])
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    assert "a>-1e9 at some of 4 steps: 1.000 ± 0.000; of stretches of the past 1.000" in text
    assert "b<-1e9 at some of 4 steps: 0.000 ± 0.000; of stretches of the past 0.000" in text
    for wrong, why in (("a=1", "NAME>NUMBER"), ("c>1", "column of the series"), ("a>x", "NAME>NUMBER")):
        found = CliRunner().invoke(app, [*words[:4], "--out", str(tmp_path / "no"), "--event", wrong])
        assert why in str(found.exception)


def test_known_columns_without_a_number_are_counted(tmp_path):
    from pofx.apps.forecast import coming

    (tmp_path / "f.csv").write_text('promo\n1\n""\n0\n')
    with pytest.raises(DataError, match="3 rows of numbers.*1 have no number"):
        coming(tmp_path / "f.csv", ["promo"], 3, None, [""])


def test_futures_are_drawn_along_dates_where_there_are_some(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    from pofx.apps.forecaster import Forecast

    seen = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: seen.append(figure.axes[0].get_lines()[-1]))
    times = pd.date_range("2024-01-01", periods=20, freq="D")
    past = series(pd.DataFrame({"when": times, "a": np.arange(20.0)}))
    for one in (Forecast(np.ones((6, 3, 1)), ("a",), pd.date_range("2024-01-21", periods=3)),
                Forecast(np.ones((6, 3, 1)), ("a",))):  # fmt: skip
        one.plot(tmp_path / "p.png", past)
    assert seen[0].get_xdata()[0] == np.datetime64("2024-01-21") and list(seen[1].get_xdata()) == [0, 1, 2]


def test_an_event_is_a_text_or_a_function_of_one_future_or_of_all():
    rises = np.arange(10)[:, None, None] + np.arange(3)[None, :, None] * [[[1.0, 0.0]]]  # (10, 3, 2)
    drawn = Forecast(rises, ("load", "cost"))
    events = ("load >= 9", "load>8", lambda x: x[:, 0].max() >= 9, lambda x: x[:, -1, 0] >= 9, lambda x: x[-1, :1] >= 9)
    assert [drawn.probability(event) for event in events] == [0.3] * len(events)
    assert drawn.probability("cost<=2") == 0.3 and drawn.probability("cost<2") == 0.2
    for event in (lambda x: x.max(0) > 2, lambda x: None, lambda x: x["load"], "load=3", "load", "load>a"):
        with pytest.raises(UsageError, match="event must be"):
            drawn.probability(event)
    with pytest.raises(UsageError, match="unknown column of the series 'lod': did you mean load"):
        drawn.probability("lod>3")


def test_known_columns_of_the_future_are_taken_by_name_and_impossible_counts_are_refused():
    made = Forecaster(2)
    made.known = ["price", "promo"]
    table = pd.DataFrame({"promo": [0.0, 1.0], "other": 9.0, "price": [5.0, 6.0]})
    for known in (table, table.to_dict("list"), {"price": [5, 6], "promo": (0, 1)}):
        assert made._by_name(known).tolist() == [[5.0, 0.0], [6.0, 1.0]]
    with pytest.raises(UsageError, match="known has no column promo: give price, promo of the coming steps"):
        made._by_name({"price": [1, 2]})
    with pytest.raises(UsageError, match="no columns were named as known in fit"):
        Forecaster(2)._by_name(table)
    for wrong in ({"n": 0}, {"horizon": 0}, {"horizon": -3}, {"n": True}):
        with pytest.raises(UsageError, match="must be a whole number of at least 1"):
            made.simulate(walk(60), **wrong)
    assert repr(Forecast(np.zeros((4, 3, 1)), ("load",))) == "4 futures of 3 steps: load"
