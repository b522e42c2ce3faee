"""Studies with human raters: what a browser gets, what is stored, and what simulated raters of known ability yield."""

import json

import numpy as np
import pandas as pd
import pytest

import pofx
from pofx.core.errors import UsageError
from pofx.serve.stimuli import REAL, SPOILT, Stimulus, spoilt, stimuli
from pofx.serve.study import CHOICES, Plan, Study
from pofx.serve.study_results import results


def things(name, n=6):
    return [Stimulus("application/json", json.dumps({"columns": ["x"], "line": [f"{name}{i}"]}).encode())
            for i in range(n)]  # fmt: skip


SOURCES = {"good": things("good"), "bad": things("bad"), REAL: things("real"), SPOILT: things("spoilt")}
CHANCE = {"good": 0.5, "bad": 0.1}  # of taking such an item for a real one


def simulate(study, raters, rng, careless=0):
    """Answers of people: strengths good 1, bad 0, real 1.5; the last ones answer by chance."""
    strength = {"good": 1.0, "bad": 0.0, REAL: 1.5, SPOILT: -9.0}
    names = {"good": "good", "bad": "bad", "real": REAL, "spoilt": SPOILT}

    def source(token, trial, side):
        text = json.loads(study.shown(token, trial, side)[1])["line"][0]
        return names[text.rstrip("0123456789")]

    for person in range(raters):
        token, alert = study.join(), person < raters - careless
        while (now := study.next(token)) is not None:
            left = source(token, now["trial"], "left")
            if not alert:
                choice = rng.choice(CHOICES[study.plan.protocol][:2])
            elif now["sides"] == 1:
                p = {**CHANCE, REAL: 0.8, SPOILT: 0.0}[left]
                choice = "real" if rng.random() < p else "generated"
            else:
                gap = strength[left] - strength[source(token, now["trial"], "right")]
                choice = "left" if rng.random() < 1 / (1 + np.exp(-gap)) else "right"
            study.answer(token, now["trial"], str(choice), 900)


@pytest.fixture
def make(tmp_path):
    made = []

    def create(protocol, **values):
        made.append(Study.create(tmp_path / f"{len(made)}.db", Plan(protocol, **values), SOURCES))
        return made[-1]

    yield create
    for study in made:
        study.close()


@pytest.mark.slow
def test_rates_of_simulated_raters_are_found_and_careless_ones_left_out(make):
    study = make("real", trials=30, checks=0.2)
    simulate(study, 12, np.random.default_rng(0), careless=3)
    found = results(study)
    assert found["raters"] == 12
    assert 1 <= len(found["left_out"]) <= 3
    for run, share in CHANCE.items():
        low, high = found["analysis"]["runs"][run]["interval"]
        assert low - 0.08 <= share <= high + 0.08
    low, high = found["analysis"]["real_called_generated"]["interval"]
    assert low - 0.05 <= 0.2 <= high + 0.05
    assert found["analysis"]["runs"]["bad"]["d_prime"][0] > found["analysis"]["runs"]["good"]["d_prime"][0]
    assert found["with_all_raters"]["n"] > found["analysis"]["n"]
    assert found["stop"]["decided"]
    json.dumps(found)


def test_preferences_of_simulated_raters_order_the_sources(make):
    study = make("preference", trials=24)
    simulate(study, 8, np.random.default_rng(1))
    runs = results(study)["analysis"]["runs"]
    assert runs[REAL]["strength"] > runs["good"]["strength"] > runs["bad"]["strength"]
    assert runs["bad"]["rank"] == 3


def test_sides_and_sources_are_balanced_and_checks_spread(make):
    study = make("pair", trials=40, checks=0.1)
    simulate(study, 4, np.random.default_rng(2))
    answers = study.answers()
    main = answers[answers["role"] == "main"]
    runs = main["left"].where(main["left"] != REAL, main["right"])
    assert runs.value_counts().max() - runs.value_counts().min() <= 8
    assert 0.35 <= (main["left"] == REAL).mean() <= 0.65
    checks = answers[answers["role"] == "check"].groupby("rater")["number"].agg(["size", "min", "max"])
    assert (checks["size"] == 4).all()
    assert ((checks["min"] < 15) & (checks["max"] > 25)).all()
    assert (answers.groupby("rater").size() == 40).all()


def test_exposures_follow_a_staircase(make):
    study = make("timed", trials=30, checks=0, repeats=0)
    token, seen = study.join(), []
    while (now := study.next(token)) is not None:
        seen.append(now["exposure"])
        text = json.loads(study.shown(token, now["trial"], "left")[1])["line"][0]
        study.answer(token, now["trial"], "real" if text.startswith("real") else "generated", 800)
    assert seen[:7] == [600, 600, 600, 400, 400, 400, 250]  # always right: shorter and shorter
    assert min(seen) == 100


def test_a_study_is_never_replaced_and_continues_where_a_rater_stopped(make, tmp_path):
    study = make("real", trials=10)
    token = study.join()
    first = study.next(token)
    study.answer(token, first["trial"], "real", 500)
    with pytest.raises(UsageError, match="not the next"):
        study.answer(token, first["trial"], "generated", 500)
    again = Study(tmp_path / "0.db")
    assert again.next(token)["number"] == 2
    assert again.hash == study.hash
    again.close()
    with pytest.raises(UsageError, match="already"):
        Study.create(tmp_path / "0.db", Plan("real"), SOURCES)
    with pytest.raises(UsageError, match="no study"):
        Study(tmp_path / "none.db")


@pytest.mark.parametrize(
    ("plan", "sources", "message"),
    [
        (lambda: Plan("reel"), SOURCES, "unknown protocol 'reel'"),
        (lambda: Plan("real", trials=1), SOURCES, "got 1"),
        (lambda: Plan("real", checks=0.9), SOURCES, "got 0.9"),
        (lambda: Plan("real"), {"a": SOURCES["good"]}, "needs real items"),
        (lambda: Plan("preference", checks=0), {"a": SOURCES["good"]}, "two sources"),
        (lambda: Plan("real"), {"a": SOURCES["good"], REAL: SOURCES[REAL]}, "spoilt"),
    ],
)
def test_plans_that_cannot_be_are_refused(plan, sources, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        Study.create(tmp_path / "x.db", plan(), sources)


@pytest.mark.parametrize("url", ["junk.db", "none.db", "folder", "postgresql://x@127.0.0.1:1/y", "nosuch://x"])
def test_what_is_no_study_is_refused_in_words_and_nothing_is_made(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "junk.db").write_text("no database " * 100)
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UsageError, match="no study at|cannot be opened"):
        Study(url)
    if url != "none.db":
        with pytest.raises(UsageError, match="cannot be opened"):
            Study.create(url, Plan("pair", checks=0), SOURCES)
    assert sorted(tmp_path.iterdir()) == before


def test_the_page_gives_items_without_their_source_and_refuses_everything_else(make):
    from fastapi.testclient import TestClient

    from pofx.serve.study_page import app

    study = make("pair", trials=6, checks=0)
    client = TestClient(app(study, "secret"))
    assert study.plan.text in client.get("/").text
    page = client.post("/join", follow_redirects=False)
    assert page.status_code == 303
    base = page.headers["location"]
    assert "choice" in client.get(base).text
    for _ in range(6):
        now = client.get(f"{base}/next").json()
        assert set(now) == {"trial", "number", "total", "sides", "exposure"}
        item = client.get(f"{base}/{now['trial']}/left")
        assert item.status_code == 200
        assert not {REAL, "good", "bad"} & set(item.headers.values())
        body = {"trial": now["trial"], "choice": "left", "milliseconds": 700}
        assert client.post(f"{base}/answer", json={**body, "choice": "both"}).status_code == 400
        assert client.post(f"{base}/answer", json=body).status_code == 200
        assert client.post(f"{base}/answer", json=body).status_code == 400
    assert client.get(f"{base}/next").json() == {"trial": None}
    assert client.get("/r/nobody").status_code == 400
    assert client.get("/results").status_code == 403
    assert client.get("/results?key=secret").json()["answers"] == 6
    rows = client.get("/answers.csv?key=secret").text.splitlines()
    assert len(rows) == 7


def test_items_of_every_kind_are_shown_in_one_size_without_metadata():
    import io

    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 17, (4, 8, 8)).astype(np.uint8)
    image = stimuli(pofx.images(pixels, levels=17))
    assert {Image.open(io.BytesIO(s.content)).size for s in image} == {(320, 320)}
    assert all(not Image.open(io.BytesIO(s.content)).info for s in image)
    sound = stimuli(pofx.audio([np.zeros(80, np.float32)] * 2, rate=8000))
    assert [s.media for s in sound] == ["audio/wav"] * 2
    rows = stimuli(pofx.table(pd.DataFrame({"a": [1.5, 2.5], "b": [1, 2]})))
    assert json.loads(rows[0].content)["columns"] == ["a", "b"]
    assert json.loads(stimuli(pofx.texts(["ab", "cd"]))[1].content)["line"] == ["cd"]


def test_spoilt_items_differ_from_real_ones():
    pixels = np.zeros((10, 8, 8), np.uint8)
    pixels[:, 2:6, 2:6] = 16
    found = spoilt(pofx.images(pixels, levels=17), seed=0)
    assert found.values.shape == pixels.shape
    assert (found.values != pixels).mean() > 0.1


def test_results_are_printed_exported_and_shown_in_a_report(make, tmp_path):
    from types import SimpleNamespace

    from typer.testing import CliRunner

    from pofx.cli.main import app
    from pofx.report.sections.human import Human

    study = make("pair", trials=12)
    simulate(study, 4, np.random.default_rng(3))
    file = str(tmp_path / "0.db")
    done = CliRunner().invoke(app, ["judge", "--out", file, "--results", "--export", str(tmp_path / "a.csv")])
    assert done.exit_code == 0, done.output
    assert "good: deceived" in done.output
    assert max(map(len, done.output.splitlines())) <= 80 + len(str(tmp_path))
    assert len(pd.read_csv(tmp_path / "a.csv")) == 48
    assert CliRunner().invoke(app, ["judge", "--out", file, "--into", str(tmp_path)]).exit_code == 0
    page = Human().html(SimpleNamespace(folder=tmp_path, data={}, protocol={}, ink={}))
    assert "48 answers of 4 people" in page
    assert "Taken for real" in page
    assert Human().html(SimpleNamespace(folder=tmp_path / "none", data={}, protocol={}, ink={})) is None


def test_a_study_is_opened_by_the_address_of_its_database(make, tmp_path):
    from typer.testing import CliRunner

    from pofx.cli.main import app

    make("pair", trials=6)
    done = CliRunner().invoke(app, ["judge", "--out", f"sqlite:///{tmp_path / '0.db'}", "--results"])
    assert done.exit_code == 0 and "0 answers of 0 raters" in done.output, done.output
