"""compare: budgets, protocol, choice of models, resuming, crashes. The jobs are stand-ins, but for one real run."""

import json
import shlex
import sys
import time
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import pofx.report
from pofx.cli.main import app
from pofx.comparison import jobs, stored, tuning
from pofx.comparison.compare import compare
from pofx.comparison.job import history, keep
from pofx.comparison.jobs import Job, Orders, run_jobs
from pofx.comparison.process import Limits, launch, memory
from pofx.comparison.request import choose_models, default_folder, refusal, settle, sides_of
from pofx.core import config
from pofx.core.errors import DataError, UsageError
from pofx.core.model import Default
from pofx.core.representation import Items
from pofx.data.dataset import split
from pofx.data.sources import load
from pofx.evaluate.arrangement import noised
from pofx.report.rows import read
from pofx.runs.models import default_model
from pofx.train.options import Budget
from report_fixture import measurements


def points(n=120):
    return Items("points", np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32))


@pytest.fixture
def stand_in(monkeypatch):
    """Jobs that only say that they were run; names in `failing` crash."""
    ran, failing = [], set()

    def pretend(command, output, limits, tick=lambda: None, held=()):
        place = output.parent
        job = json.loads((place / "job.json").read_text())
        ran.append(place.name)
        tick()
        if job["model"] in failing:
            return "TrainingError: no"
        if job["model"] is None:
            rows = {name: {"measurements": measurements(1.0, 0.9)} for name in ("real-test", "memoriser", "marginals")}
            plain = {"status": "done", "rows": rows, "files": {}}
        elif job["trial"] is not None:
            plain = {"status": "done", "validation": abs(job["trial"] - 2) + 1.0, "seconds": 1.5}
        else:
            plain = {"status": "done", "measurements": measurements(2.0 + len(ran), 0.8, 2.0, "exact"), "cost": {}}
        (place / "result.json").write_text(json.dumps(plain))
        return None

    monkeypatch.setattr(jobs, "launch", pretend)
    return ran, failing


def test_the_same_request_has_the_same_folder():
    dataset = split(points(), "my data/1")
    half, one = Budget(minutes=0.5), Budget(minutes=1)
    assert default_folder(dataset, half, 0) == default_folder(dataset, half, 0)
    assert len({default_folder(dataset, *a) for a in ((half, 0), (one, 0), (half, 1))}) == 3
    assert default_folder(dataset, half, 0).parent.name == "runs"


def test_another_protocol_in_the_same_folder_is_refused_by_name(tmp_path):
    settle(tmp_path, {"budget": "30 s", "hash": "a"})
    settle(tmp_path, {"budget": "30 s", "hash": "a"})
    with pytest.raises(UsageError, match="budget was '30 s', now '60 s'.*another --out"):
        settle(tmp_path, {"budget": "60 s", "hash": "a"})


def test_one_model_per_family_by_preference_and_the_baseline_last():
    dataset = load("digits")
    chosen, skipped = choose_models(dataset, None, None)
    families = {row.traits.family for row in config.entries().values()}
    assert {config.entry(name).traits.family for name in chosen} | set(skipped) == families
    assert len(chosen) == len({config.entry(name).traits.family for name in chosen})
    rows = config.entries()
    preferred = [name for name, row in rows.items() if Default() in row.default_for or row.traits.baseline]
    assert len({rows[name].traits.family for name in preferred}) == len(preferred) == len(families)
    assert {name for name in preferred if refusal(name, dataset) is None} <= set(chosen)
    assert [name for name in chosen if rows[name].traits.baseline] == chosen[-1:]


def test_a_default_for_such_events_comes_before_the_default_of_its_family():
    data = pofx.tokens(np.random.default_rng(0).integers(0, 3, (200, 6)))
    chosen, _ = choose_models(split(data, "tokens"), None, ["autoregressive"])
    assert chosen == ["gpt"]


def test_a_default_for_a_family_alone_is_no_default_of_fit():
    large = pofx.images(np.random.default_rng(0).integers(0, 256, (60, 16, 16)).astype(np.uint8))
    assert choose_models(load(large), None, ["flow"])[0][0] == "dequantised-glow"
    assert default_model(large) == "flow-matching"


def test_a_family_gives_the_first_member_that_accepts_the_data():
    chosen, skipped = choose_models(split(points(), "points"), None, None)
    assert "pixelcnn" not in chosen and "nsf" in chosen
    assert all(refusal(name, split(points(), "points")) is None for name in chosen)
    assert all(reason for reason in skipped.values())


def test_short_budgets_draw_fewer_large_pictures():
    digits = load("digits")
    assert sides_of(digits, Budget(minutes=1)) is None  # small pictures are drawn at once
    large = pofx.images(np.zeros((60, 16, 16), np.uint8) + np.arange(60, dtype=np.uint8)[:, None, None])
    large = load(large)
    found = [sides_of(large, Budget(minutes=m)) for m in (0.1, 2, 5, 60)]
    assert found == [1000, 1200, 3000, None]
    assert sides_of(large, Budget(steps=5)) is None


def test_models_and_families_are_checked():
    dataset = split(points(), "points")
    assert choose_models(dataset, ["nsf"], None)[0] == ["nsf", "gmm"]
    assert choose_models(dataset, None, ["flow"])[0] == ["nsf", "gmm"]
    with pytest.raises(UsageError, match="did you mean nsf"):
        choose_models(dataset, ["nfs"], None)
    with pytest.raises(UsageError, match="did you mean flow"):
        choose_models(dataset, None, ["flows"])
    with pytest.raises(UsageError, match="pixelcnn cannot model"):
        choose_models(dataset, ["pixelcnn"], None)


def test_a_second_call_trains_nothing_and_a_killed_job_is_run_again(tmp_path, stand_in):
    ran, _ = stand_in
    first = compare(points(), models=["nsf"], budget="1s", out=tmp_path, seeds=2)
    assert ran == ["controls", "nsf-seed0", "gmm-seed0", "nsf-seed1", "gmm-seed1"]
    assert first.report.exists() and set(first.table().index) >= {"nsf", "gmm", "real-test", "memoriser", "marginals"}
    again = compare(points(), models=["nsf"], budget="1s", out=tmp_path, seeds=2)
    assert len(ran) == 5
    pd.testing.assert_frame_equal(first.table(), again.table())
    (tmp_path / "nsf-seed1" / "result.json").unlink()  # as a kill leaves it
    (tmp_path / "nsf-seed1" / "half.txt").write_text("left over")
    compare(points(), models=["nsf"], budget="1s", out=tmp_path, seeds=2)
    assert ran[5:] == ["nsf-seed1"] and not (tmp_path / "nsf-seed1" / "half.txt").exists()
    compare(points(), models=["nsf"], budget="1s", out=tmp_path, seeds=3)
    assert ran[6:] == ["nsf-seed2", "gmm-seed2"]


def test_a_crash_costs_one_row_which_stays_and_is_tried_again(tmp_path, stand_in):
    ran, failing = stand_in
    failing.add("nsf")
    found = compare(points(), models=["nsf", "realnvp"], budget="1s", out=tmp_path)
    assert found.table().loc["nsf", "status"] == "failed" and found.table().loc["realnvp", "status"] == "done"
    assert "TrainingError: no" in found.report.read_text() and "failed: TrainingError: no" in str(found)
    failing.clear()
    found = compare(points(), models=["nsf", "realnvp"], budget="1s", out=tmp_path)
    assert found.table().loc["nsf", "status"] == "done" and ran[-1] == "nsf-seed0" and len(ran) == 5


def test_an_interruption_loses_the_job_under_way_alone(tmp_path, stand_in, monkeypatch):
    ran, _ = stand_in
    pretend = jobs.launch

    def interrupted(command, output, limits, tick=lambda: None, held=()):
        if output.parent.name == "realnvp-seed0":
            raise KeyboardInterrupt
        return pretend(command, output, limits, tick, held)

    monkeypatch.setattr(jobs, "launch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compare(points(), models=["nsf", "realnvp"], budget="1s", out=tmp_path)
    rows = {row["name"]: row["runs"][0]["status"] for row in read(tmp_path / "results.json")["rows"]}
    assert rows["nsf"] == "done" and rows["realnvp"] == "missing" and (tmp_path / "report.html").exists()
    monkeypatch.setattr(jobs, "launch", pretend)
    compare(points(), models=["nsf", "realnvp"], budget="1s", out=tmp_path)
    assert ran == ["controls", "nsf-seed0", "realnvp-seed0", "gmm-seed0"]


def test_other_data_in_the_same_folder_is_refused(tmp_path, stand_in):
    compare(points(), models=["nsf"], budget="1s", out=tmp_path)
    with pytest.raises(UsageError, match="hash was"):
        compare(points(130), models=["nsf"], budget="1s", out=tmp_path)
    with pytest.raises(UsageError, match="seeds must be a whole number from 1"):
        compare(points(), models=["nsf"], budget="1s", out=tmp_path, seeds=0)


def python(code):
    return [sys.executable, "-c", code]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise ValueError('bad')", "ValueError: bad"),
        ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL"),
        ("import time; time.sleep(60)", "time limit"),
        ("import sys; sys.exit(3)", "no message"),
    ],
)
def test_every_end_of_a_job_has_a_reason(tmp_path, code, reason):
    began = time.monotonic()
    assert reason in str(launch(python(code), tmp_path / "output.txt", Limits(1.0, 1e12)))
    assert time.monotonic() - began < 20


def test_a_job_that_leaves_no_result_has_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "command", lambda place: python("pass"))
    orders = Orders(tmp_path, "digits", Budget(steps=1), 0, Limits(60.0, 1e12))
    run_jobs([Job("nsf", 0)], orders)
    assert not orders.done(Job("nsf", 0))
    assert "without a result" in (tmp_path / "nsf-seed0" / "result.json").read_text()


@pytest.mark.parametrize("kind", ["points", "table", "text", "image"])
def test_frozen_data_thaws_unchanged(tmp_path, kind):
    rng = np.random.default_rng(0)
    values = {
        "points": rng.normal(size=(40, 2)),
        "table": pd.DataFrame({"a": rng.normal(size=40), "b": list("xy") * 20}),
        "text": ["ab" + "c" * int(i % 5) for i in range(40)],
        "image": rng.integers(0, 17, (40, 8, 8)).astype(np.uint8),
    }[kind]
    facts = {"levels": 17} if kind == "image" else {}
    labels = np.arange(40) % 2 if kind == "image" else None
    dataset = split(Items(kind, values, labels, facts), kind)
    stored.freeze(dataset, tmp_path / "data")
    again = stored.thaw(tmp_path / "data")
    assert again.card == dataset.card
    for name, items in dataset.splits().items():
        back = again.splits()[name]
        if kind == "table":
            pd.testing.assert_frame_equal(back.values, items.values)
        else:
            assert np.array_equal(np.asarray(back.values), np.asarray(items.values))
        assert (back.labels is None) == (items.labels is None) and dict(back.facts) == dict(items.facts)


def test_samples_are_kept_beside_their_nearest_training_items(tmp_path):
    dataset = load("digits")
    name = keep(dataset.train.values[:70], dataset.train, tmp_path, "samples")
    with np.load(tmp_path / name) as arrays:
        assert arrays["samples"].shape == (64, *dataset.train.values.shape[1:3]) and arrays["samples"].max() == 255
        assert np.array_equal(arrays["samples"], arrays["neighbours"]) and not arrays["distances"].any()


def test_learning_curves_are_thinned_but_keep_every_validation(tmp_path):
    lines = [{"step": i, "seconds": i / 10, "images": 1, "lr": 0.1, "loss": 2.0} for i in range(1, 2000)]
    lines += [{"step": 1000, "seconds": 100.0, "validation": 1.5}]
    (tmp_path / "log.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + '\n{"step": 5, "sec')
    points_ = history(tmp_path / "log.jsonl")
    assert len(points_) <= 250 and sum("validation" in p for p in points_) == 1
    assert points_ == sorted(points_, key=lambda p: p["seconds"]) and points_[0]["loss"] == 2.0


@pytest.mark.slow
def test_a_real_comparison_of_unnamed_points(tmp_path):
    mine = pofx.fit(points(400), model="realnvp", steps=3, width=8, layers=2, progress=False)
    found = compare(points(400), models=["gmm"], budget="0.3s", out=tmp_path, runs={"mine": mine})
    table = found.table()
    assert list(table["status"]) == ["done"] * 7
    assert table.loc["mine", "FD"] > table.loc["gmm", "FD"]
    assert {row["name"]: row["role"] for row in found.results["rows"]}["mine"] == "control"  # not ranked
    assert {"noised-real-0.1", "noised-real-0.3"} <= set(table.index)
    assert table.loc["gmm", "FD"] > 0 and table.loc["gmm", "kind"] == "exact"
    assert table.loc["memoriser", "Near-copy p"] < table.loc["real-test", "Near-copy p"]
    assert "<svg" in found.report.read_text()
    schema = json.loads((Path(pofx.report.__file__).parent / "results.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(found.results, schema)
    assert {"kid", "mind", "vendi", "clipped_density"} <= set(found.results["metrics"])
    assert any(row["faults"]["shifted"]["sees"] for row in found.results["self_test"])


def test_the_command_of_a_report_asks_for_the_same_again(tmp_path, stand_in):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 2)), columns=["a", "b"])
    frame.assign(kind=["dry", "sweet", "red"] * 100).to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(DataError, match="pandas.cut"):
        compare(frame, models=["nsf"], out=tmp_path / "out", label="b")
    found = compare(tmp_path / "p.csv", models=["nsf"], budget="90s", out=tmp_path / "out", seeds=2, label="kind",
                    options={"nsf": {"width": 32, "represent": "standard"}})  # fmt: skip
    words = shlex.split(found.results["command"])
    assert words[3:] == [
        *("--models", "nsf", "--label", "kind", "--budget", "90s", "--seeds", "2", "--seed", "0"),
        *("--out", str(tmp_path / "out"), "-o", "nsf.width=32", "-o", 'nsf.represent="standard"'),
    ]
    kept = stored.thaw(tmp_path / "out" / "data")
    assert set(kept.train.labels) == {0, 1, 2} and list(kept.train.values.columns) == ["a", "b"]
    asked = CliRunner().invoke(app, words[1:])
    assert asked.exit_code == 0, asked.output


def test_a_job_that_takes_too_much_memory_is_stopped(tmp_path):
    code = "x = bytearray(400_000_000)\nfor i in range(0, len(x), 4096): x[i] = 1\nimport time; time.sleep(60)"
    began = time.monotonic()
    assert "its limit is 0.2 GB" in str(launch(python(code), tmp_path / "output.txt", Limits(60.0, 2e8)))
    assert time.monotonic() - began < 50 and memory(2**22 + 1) == 0


def test_limits_are_times_and_sizes():
    assert Limits.of(Budget.of("30s")).seconds == 4 * 30 + 900
    assert Limits.of(Budget.of("5 steps"), "30m", "8GB") == Limits(1800.0, 8e9)
    for time_limit, memory_limit in (("5 steps", None), ("soon", None), (None, "much"), (None, "0GB")):
        with pytest.raises(UsageError, match="limit must be a"):
            Limits.of(Budget.of("30s"), time_limit, memory_limit)


def test_other_options_are_another_job(tmp_path, stand_in):
    ran, _ = stand_in
    compare(points(), models=["nsf"], budget="1s", out=tmp_path)
    found = compare(points(), models=["nsf"], budget="1s", out=tmp_path, options={"nsf": {"width": 32}})
    assert ran == ["controls", "nsf-seed0", "gmm-seed0", "nsf-seed0"]
    assert found.results["rows"][0]["options"] == {"width": 32}
    with pytest.raises(UsageError, match="did you mean width"):
        compare(points(), models=["nsf"], budget="1s", out=tmp_path, options={"nsf": {"widht": 32}})
    with pytest.raises(UsageError, match="model of this comparison"):
        compare(points(), models=["nsf"], budget="1s", out=tmp_path, options={"vae": {"width": 32}})


def test_trials_are_run_judged_counted_and_not_run_again(tmp_path, stand_in):
    ran, failing = stand_in
    found = compare(points(), models=["nsf"], budget="1s", out=tmp_path, trials=3)
    assert ran == ["controls", *(f"{m}-trial{k}" for k in range(3) for m in ("nsf", "gmm")), "nsf-seed0", "gmm-seed0"]
    row = found.results["rows"][0]
    assert [t["validation"] for t in row["trials"]] == [3.0, 2.0, 1.0]
    assert row["options"] == row["trials"][2]["options"] != {} and row["trials"][0]["options"] == {}
    assert row["runs"][0]["cost"] == {"trials": 3, "tuning_seconds": 4.5}
    compare(points(), models=["nsf"], budget="1s", out=tmp_path, trials=3)
    assert len(ran) == 9
    failing.add("nsf")
    (tmp_path / "nsf-trial2" / "result.json").unlink()
    row = compare(points(), models=["nsf"], budget="1s", out=tmp_path, trials=3).results["rows"][0]
    assert [t["status"] for t in row["trials"]] == ["done", "done", "failed"]
    assert row["options"] == row["trials"][1]["options"]


def test_settings_differ_and_keep_what_was_given():
    drawn = tuning.settings("nsf", 6, 0, {"lr": 0.01})
    assert len({json.dumps(d, sort_keys=True) for d in drawn}) == 6 and all(d["lr"] == 0.01 for d in drawn)
    assert drawn[0] == {"lr": 0.01} and drawn == tuning.settings("nsf", 6, 0, {"lr": 0.01})
    assert drawn[1:] != tuning.settings("nsf", 6, 1, {"lr": 0.01})[1:]
    for options in drawn:
        pofx.fit(points(), "nsf", steps=1, progress=False, **{**options, "width": 8})


@pytest.mark.parametrize("kind", ["points", "table", "text", "image", "integers"])
def test_noised_items_are_farther_the_more_noise_and_stay_items(kind):
    rng = np.random.default_rng(0)
    values = {
        "points": rng.normal(size=(200, 3)).astype(np.float32),
        "table": pd.DataFrame({"a": rng.normal(size=200), "b": list("xy") * 100, "c": rng.integers(0, 90, 200)}),
        "text": ["ab" + "c" * int(i % 5) for i in range(200)],
        "image": rng.integers(0, 17, (200, 4, 4)).astype(np.uint8),
        "integers": rng.integers(0, 5, (200, 6)),
    }[kind]
    items = Items("tokens" if kind == "integers" else kind, values, None, {"levels": 17} if kind == "image" else {})

    def moved(level):
        got = noised(items, items, level, 3).values
        assert type(got) is type(values) and len(got) == len(values)
        if isinstance(values, pd.DataFrame):
            assert list(got.dtypes) == list(values.dtypes) and set(got["b"]) == {"x", "y"}
            return float((got.to_numpy() != values.to_numpy()).mean())
        if isinstance(values, list):
            assert all(len(a) == len(b) and set(a) <= set("abc") for a, b in zip(got, values, strict=True))
            return float(np.mean([a != b for a, b in zip(got, values, strict=True)]))
        assert got.dtype == values.dtype and got.min() >= values.min() and got.max() <= values.max()
        return float(np.square(got.astype(float) - values).mean())

    assert 0 < moved(0.1) < moved(0.3)
    assert moved(0.0) == 0


def test_models_are_compared_on_the_codes_of_one_run(tmp_path, stand_in):
    from pofx.comparison.job import _fit
    from pofx.data.dataset import split
    from pofx.represent.learned import Learned
    from pofx.runs.fitting import fit

    data, first = split(points(), "points", seed=0), tmp_path / "first"
    fit(data, "vae", steps=2, width=8, latent=3, importance=8, out=first, progress=False)
    compare(data, ["nsf"], budget="2 steps", out=tmp_path / "c", on=first, progress=False)
    job = json.loads((tmp_path / "c" / "nsf-seed0" / "job.json").read_text())
    assert job["on"] == str(first.resolve())
    assert "on" in json.loads((tmp_path / "c" / "protocol.json").read_text())
    run = _fit(data, job, None, tmp_path)
    assert isinstance(run.representation, Learned) and run.representation.event.shape == (3,)
    with pytest.raises(UsageError, match="another protocol"):
        compare(data, ["nsf"], budget="2 steps", out=tmp_path / "c", progress=False)
    with pytest.raises(UsageError, match="gpt cannot model"):
        compare(data, ["gpt"], budget="2 steps", out=tmp_path / "d", on=first, progress=False)
    with pytest.raises(UsageError, match="view of the data"):
        compare(data, ["nsf"], budget="2 steps", out=tmp_path / "e", on=first, progress=False,
                options={"nsf": {"support": None}})  # fmt: skip


def test_rows_of_mixed_types_have_a_default_of_their_own():
    g = np.random.default_rng(0)
    numbers = pd.DataFrame({"x": g.normal(size=80), "n": g.integers(0, 50, 80)})
    assert default_model(pofx.table(numbers)) == "nsf"
    assert default_model(pofx.table(numbers.assign(w=["u", "v"] * 40))) == "circuit"
    assert default_model(pofx.table(numbers.assign(x=numbers.x.where(numbers.x > -1)))) == "circuit"
