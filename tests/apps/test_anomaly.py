"""Detectors: PyOD's verbs, any row, thresholds that hold, and numbers of simple detectors beside."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from pofx.apps.anomaly import AnomalyDetector, floors, larger_half
from pofx.apps.anomaly_members import OPTIONS, Tail
from pofx.cli.main import app
from pofx.core.errors import Unsupported

QUICK = ("knn", "gmm")
pytestmark = pytest.mark.filterwarnings("ignore")


def rows(n=600, seed=0):
    g = np.random.default_rng(seed)
    a = g.normal(size=(n, 3))
    a[:, 1] = a[:, 0] + 0.1 * a[:, 1]
    return a


def odd(n=60, seed=1):
    x = rows(n, seed)
    x[:, 1] = -x[:, 0] + 0.1  # usual in every column, unusual together
    return x


def test_the_verbs_of_pyod():
    detector = AnomalyDetector(QUICK, contamination=0.05).fit(rows())
    scores = detector.decision_function(odd())
    assert scores.mean() > detector.decision_scores_.mean()
    assert detector.labels_.mean() == pytest.approx(0.05, abs=0.01)
    assert set(detector.predict(odd())) <= {0, 1}
    p = detector.predict_proba(odd())
    assert p.shape == (60, 2) and np.allclose(p.sum(1), 1)
    assert np.array_equal(detector.score_samples(odd()), -scores)
    labels, sure = detector.predict(odd(), return_confidence=True)
    assert np.array_equal(labels, detector.predict(odd())) and sure.min() >= 0 and sure.max() <= 1
    border = np.abs(scores - detector.threshold_)
    assert sure[border.argmax()] > 0.95 and sure[border.argmax()] > sure[border.argmin()]
    unified = detector.predict_proba(odd(), method="unify")[:, 1]
    assert (np.diff(unified[np.argsort(scores)]) >= 0).all()
    assert np.array_equal(AnomalyDetector(QUICK, contamination=0.05).fit_predict(rows()), detector.labels_)
    truth = np.repeat([0, 1], [600, 60])
    both = np.concatenate((rows(600, 5), odd()))
    assert roc_auc_score(truth, detector.decision_function(both)) > 0.85  # some odd rows are near the origin


def test_each_score_finds_what_is_odd():
    both, truth = np.concatenate((rows(300, 5), odd())), np.repeat([0, 1], [300, 60])
    for score in ("density", "typicality", "ratio"):
        detector = AnomalyDetector(("gmm",), score=score).fit(rows())
        assert roc_auc_score(truth, detector.decision_function(both)) > 0.85, score
    with pytest.raises(ValueError, match="score must be"):
        AnomalyDetector(score="other").fit(rows())


@pytest.mark.parametrize("level", [0.01, 0.05, 0.1])
def test_conformal_false_alarms_are_as_rare_as_stated(level):
    detector = AnomalyDetector(("knn",), threshold="conformal", contamination=level).fit(rows(2000))
    assert detector.predict(rows(5000, 7)).mean() == pytest.approx(level, abs=0.02)


def test_false_discoveries_are_as_rare_as_stated():
    detector = AnomalyDetector(("knn",), threshold="fdr", contamination=0.1).fit(rows(4000))
    far = rows(100, 3) + 20
    flagged = detector.predict(np.concatenate((rows(900, 8), far)))
    assert flagged[900:].mean() > 0.9
    assert flagged[:900].sum() / max(flagged.sum(), 1) < 0.2


def test_contaminated_rows_do_not_teach_that_they_are_normal():
    x = np.concatenate((rows(), rows(40, 2) * 0.02 + [6, -6, 0]))
    truth = np.repeat([0, 1], [600, 40])
    plain, trimmed = (
        roc_auc_score(truth, AnomalyDetector(("knn",), protocol=p).fit(x).decision_scores_)
        for p in ("one-class", "contaminated")
    )
    assert trimmed >= plain


def test_no_row_is_refused():
    g = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "a": g.normal(size=200),
            "plan": g.choice(["free", "pro"], 200),
            "constant": 1.0,
            "missing": np.nan,
            "gaps": np.where(g.random(200) < 0.2, np.nan, g.normal(size=200)),
        }
    )
    frame["copy"] = frame["a"]
    detector = AnomalyDetector(QUICK).fit(frame)
    new = frame.iloc[:6].reset_index(drop=True)
    new.loc[0, "a"], new.loc[1, "a"], new.loc[2, "plan"] = np.inf, np.nan, "new"
    new.loc[3, "constant"], new.loc[4, "missing"] = 5.0, 3.0
    usual, scores = detector.decision_function(frame.iloc[:6]), detector.decision_function(new)
    assert np.isfinite(scores).all()
    assert (scores[:4] > usual[:4]).all()
    why = detector.attribution(new)
    assert list(why.columns) == list(frame.columns)
    assert why.iloc[2].idxmax() == "plan" and why.iloc[3].idxmax() == "constant"
    AnomalyDetector(("knn",)).fit(frame.iloc[:2])


def test_tails_keep_the_order_and_never_meet_a_ceiling():
    tail = Tail(np.random.default_rng(0).normal(size=500))
    scores = tail(np.array([-2.0, 0.0, 1.0, 5.0, 50.0, 1e9, np.inf]))
    assert (np.diff(scores)[:-1] > 0).all() and np.isfinite(scores).all()


def test_the_verb_reports_simple_detectors_beside(tmp_path):
    frame = pd.DataFrame(np.concatenate((rows(200), odd(10))), columns=["a", "b", "c"])
    frame["fraud"] = np.repeat([0, 1], [200, 10])
    frame.to_csv(tmp_path / "rows.csv", index=False)
    out = tmp_path / "scores.csv"
    done = CliRunner().invoke(app, ["anomaly", str(tmp_path / "rows.csv"), "--label", "fraud", "--out", str(out)])
    assert done.exit_code == 0, done.output
    for name in ("ensemble", "kNN", "GMM-10", "IForest", "flagged"):
        assert name in done.output
    assert set(pd.read_csv(out).columns) == {"index", "score", "anomaly", "p_value"}


def test_floors_are_the_usual_simple_detectors():
    assert set(floors(rows(100), odd(5))) == {"kNN", "GMM-10", "IForest"}


@pytest.mark.parametrize("threshold", ["quantile", "conformal"])
def test_a_stream_is_followed_and_a_burst_does_not_become_normal(threshold):
    """Under a slow drift false alarms stay near their level; a burst of anomalies is flagged to its end."""
    options = {"threshold": threshold, "contamination": 0.05}
    g = np.random.default_rng(0)
    detector, still = (AnomalyDetector(("knn",), **options).fit(g.normal(size=(1000, 2))) for _ in range(2))
    alarms, ignored = [], []
    for step in range(60):
        x = g.normal(size=(100, 2)) * (1 + 0.005 * step)  # spreads slowly
        alarms.append(detector.partial(x).anomaly.mean())
        ignored.append(still.predict(x).mean())
    assert np.mean(alarms[30:]) < 0.75 * np.mean(ignored[30:])
    same = AnomalyDetector(("knn",), **options).fit(g.normal(size=(1000, 2)))
    rates = [same.partial(g.normal(size=(50, 2))).anomaly.mean() for _ in range(60)]
    assert np.mean(rates[40:]) == pytest.approx(0.05, abs=0.04), "thresholds neither sink nor rise"
    for _ in range(5):
        assert same.partial(g.normal(size=(50, 2)) + 9).anomaly.mean() == 1
    assert list(same.partial(g.normal(size=(1, 2))).columns) == ["score", "p_value", "anomaly"]


def test_words_of_large_vocabularies_and_missing_words_are_usual_where_they_always_were():
    """Two rows of each of 300 words are alike, and so are gaps; a new word in a column of few words is not."""
    g = np.random.default_rng(0)
    frame = pd.DataFrame({"a": g.normal(size=600), "city": [f"c{i % 300}" for i in range(600)]})
    frame["plan"] = np.where(g.random(600) < 0.3, None, "pro")
    frame["void"] = pd.Series([None] * 600, dtype=object)
    detector = AnomalyDetector(("knn",)).fit(frame)
    scores = detector.decision_scores_
    assert abs(scores[:30].mean() - scores[30:].mean()) < 0.5
    gaps = frame["plan"].isna()
    assert abs(scores[gaps].mean() - scores[~gaps].mean()) < 1
    new = frame.iloc[:2].assign(plan=["gold", "pro"])
    assert detector.predict(new)[0] == 1 and detector.decision_function(new)[0] > 3 * scores.mean()


def test_the_score_is_the_mean_of_the_larger_half():
    five = [np.array([float(k), 1.0]) for k in (3, 0, 9, 1, 5)]
    assert larger_half(five).tolist() == [7, 1] and larger_half(five[:2]).tolist() == [1.5, 1]
    assert larger_half(five[:1]).tolist() == [3, 1]


def test_a_cluster_of_anomalies_is_not_its_own_neighbourhood():
    """Thirty copies of a fault among 1,000 rows have each other as neighbours: wide ones see that they are few."""
    x = np.concatenate((rows(1000), rows(30, 2) * 0.02 + [6, -6, 0]))
    truth = np.repeat([0, 1], [1000, 30])
    found = [
        roc_auc_score(truth, AnomalyDetector(contamination=0.1, **options).fit(x).decision_scores_)
        for options in ({"protocol": "contaminated"}, {"members": ("knn",)})
    ]
    assert found[0] > 0.99 > 0.9 > found[1]
    few = AnomalyDetector(("knn", "lof"), protocol="contaminated").fit(np.concatenate([x] * 3))  # sought among 2,000
    assert roc_auc_score(np.tile(truth, 3), few.decision_scores_) > 0.99


def test_ranks_find_what_a_heavy_tail_hides():
    """A column of Cauchy's law in standard deviations is all zeros; in normal ranks it is as wide as any."""
    g = np.random.default_rng(0)
    tail = g.standard_cauchy(1200)
    x = np.stack((tail[:1000], tail[:1000] * np.exp(0.05 * g.normal(size=1000))), 1)
    apart = np.stack((tail[1000:], g.permutation(tail[1000:])), 1)
    fresh = np.stack((tail[1000:], tail[1000:] * np.exp(0.05 * g.normal(size=200))), 1)
    truth, new = np.repeat([0, 1], 200), np.concatenate((fresh, apart))
    found = {m: roc_auc_score(truth, AnomalyDetector((m,)).fit(x).decision_function(new)) for m in ("knn", "ranks")}
    assert found["ranks"] > 0.9 and found["ranks"] > found["knn"] + 0.03


@pytest.mark.filterwarnings("error:.*so (it has|they have) no density")
def test_indicators_of_words_are_not_called_columns_without_a_density():
    frame = pd.DataFrame({"zip": np.repeat(["01", "02"], 20), "a": np.round(rows(40)[:, 0], 1)})
    for score in ("density", "ratio"):
        AnomalyDetector(("gmm",), score=score).fit(frame)


def test_constant_and_very_few_rows_are_scored():
    for frame in (pd.DataFrame({"a": [1] * 4, "b": ["x"] * 4}), pd.DataFrame({"a": [1.0, 2.0]})):
        for protocol in ("contaminated", "one-class"):
            detector = AnomalyDetector(protocol=protocol).fit(frame)
            assert np.isfinite(detector.decision_function(frame)).all() and len(detector.labels_) == len(frame)


def test_columns_are_left_out_by_the_verb(tmp_path):
    g = np.random.default_rng(0)
    odd = [0] * 57 + [1] * 3
    frame = pd.DataFrame({"id": range(60), "a": g.normal(size=60), "w": g.choice(["u", "v"], 60), "odd": odd})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame[["a", "w"]].head(9).to_csv(tmp_path / "new.csv", index=False)
    call = ["anomaly", str(tmp_path / "t.csv"), "--new", str(tmp_path / "new.csv"), "--out", str(tmp_path / "o.csv")]
    done = CliRunner().invoke(app, [*call, "--drop", "id", "--label", "odd", "--members", "knn,gmm"])
    assert done.exit_code == 0 and "of 9 rows flagged" in done.output, done.output
    assert "no density" not in done.output
    wrong = CliRunner().invoke(app, call)
    assert "--drop" in str(wrong.exception)
    named = CliRunner().invoke(app, [*call[:2], *call[4:], "--label", "w=u", "--members", "knn"])
    assert named.exit_code == 0 and "AUROC" in named.output


def test_attribution_of_many_columns_is_that_of_each(monkeypatch):
    g = np.random.default_rng(0)
    frame = pd.DataFrame({"a": g.normal(size=80), "b": g.choice(["u", "v"], 80), "c": g.integers(0, 9, 80)})
    detector = AnomalyDetector("knn").fit(frame)
    together = detector.attribution(frame.head(6))
    monkeypatch.setattr("pofx.apps.anomaly.CELLS", 1)
    pd.testing.assert_frame_equal(detector.attribution(frame.head(6)), together)
    assert together.shape == (6, 3) and (together["a"] != 0).any()


def test_a_model_that_tells_noise_scores_by_it_and_others_refuse(monkeypatch):
    monkeypatch.setitem(OPTIONS, "noise-classifier", {"steps": 60, "levels": 8, "width": 64, "depth": 2})
    detector = AnomalyDetector(("noise-classifier",), score="noise").fit(rows())
    y = np.r_[np.zeros(60), np.ones(60)]
    scores = detector.decision_function(np.concatenate((rows(60, 5), 5 * odd())))
    assert roc_auc_score(y, scores) > 0.7
    with pytest.raises(Unsupported, match="noise-classifier"):
        AnomalyDetector(("gmm",), score="noise").fit(rows())
