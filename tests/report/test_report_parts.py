"""The parts of the report: agreement of spaces, extrapolation, likelihoods, neighbours, columns, budget, novelty."""

import base64
import csv
import io
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import kstest, spearmanr

from pofx.comparison.column_shapes import pairs, shapes
from pofx.comparison.exhibits import SHOWN, WORST, keep, likelihoods
from pofx.core.errors import UsageError
from pofx.core.event import Continuous, Discrete
from pofx.core.model import Density
from pofx.core.representation import Items
from pofx.data.dataset import split
from pofx.data.sources import load
from pofx.evaluate.metric import catalogue
from pofx.report.cards import FIT, cards, telling
from pofx.report.figures.likelihood import likelihoods as drawn
from pofx.report.figures.likelihood import typical
from pofx.report.figures.pictures import groups
from pofx.report.figures.speed import front
from pofx.report.metrics import infos
from pofx.report.page import write
from pofx.report.results import Results
from pofx.report.rows import Number, read
from pofx.report.rows import rows as rows_
from pofx.report.sections.agreement import ranks, taus, words
from pofx.report.sections.budget import TITLES, best, budget
from pofx.report.sections.columns import shape_plots
from pofx.report.sections.extrapolation import extrapolated
from pofx.report.sections.likelihood import scored
from pofx.report.sections.limits import limits
from pofx.report.sections.novelty import finding, novelty
from pofx.report.self_test import sentences, sights
from report_fixture import MODELS, comparison, measurement

METRICS = infos({"metrics": catalogue()})


def rows(results):
    return rows_(results, METRICS)


SPACES = ("pca-0a1b2c3d", "classifier-4e5f6a7b")


@pytest.fixture
def results(tmp_path):
    return read(comparison(tmp_path, seeds=2))


def saved(results, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results))
    return path


def measured(results, name, *added):
    """Give every run of a row more measurements."""
    for entry in results["rows"]:
        if entry["name"] == name:
            for run in entry["runs"]:
                run["measurements"] = [*run["measurements"], *added]


def test_spaces_that_give_one_order_agree_and_a_reversed_one_does_not(results):
    listed = [t for t in taus(ranks(rows(results))) if t.metric == "frechet_distance"]
    assert [(t.first, t.second, t.n) for t in listed] == [(*SPACES, len(MODELS))]
    assert listed[0].tau == pytest.approx(1) and "the same order" in words(listed, "frechet_distance", "FD")[0]
    for entry in results["rows"]:
        for run in entry["runs"]:
            for m in run["measurements"]:
                if m["metric"] == "frechet_distance" and m["space"] == SPACES[1]:
                    m["value"] = -m["value"]
    listed = taus(ranks(rows(results)))
    distance = next(t for t in listed if t.metric == "frechet_distance")
    assert distance.tau == pytest.approx(-1) and "they do not agree" in words(listed, "frechet_distance", "FD")[0]


def test_ranks_follow_the_direction_and_leave_out_measures_without_one(results):
    found = {(r.metric, r.space): r for r in ranks(rows(results))}
    assert found["frechet_distance", SPACES[0]].ranks["flow-matching"] == 1
    assert found["recall", SPACES[0]].ranks["rbm"] == len(MODELS)
    assert not any(metric in ("density", "near_copy") for metric, _ in found)
    assert "real-test" not in found["recall", SPACES[0]].ranks
    for entry in results["rows"]:
        for run in entry["runs"]:
            run["measurements"] = [{**m, "value": 1.0} if m["metric"] == "recall" else m for m in run["measurements"]]
    assert "recall" not in {r.metric for r in ranks(rows(results))}  # all rows share each place


def test_few_models_that_agree_may_do_so_by_chance(results):
    results["rows"] = [e for e in results["rows"] if e["name"] in ("nsf", "vae", "gan")]
    assert "by chance" in words(taus(ranks(rows(results))), "frechet_distance", "Fréchet distance")[0]


def test_the_extrapolated_line_is_the_mean_over_the_seeds(results):
    for seed, value in ((0, 1.0), (1, 3.0)):
        run = results["rows"][0]["runs"][seed]
        extra = {"points": [[0.01, value + 1], [0.005, value]], "infinity": value - 1, "slope": 200.0}
        next(m for m in run["measurements"] if m["metric"] == "frechet_distance")["extra"] = extra
    _, lines = extrapolated(Results(results, None))
    assert list(lines) == ["pixelcnn"]
    assert lines["pixelcnn"].intercept == pytest.approx(1.0) and lines["pixelcnn"].points[1] == (0.005, 2.0)


def test_the_front_holds_what_nothing_beats_in_both():
    points = {"slow good": (1.0, 1.0), "fast poor": (9.0, 9.0), "beaten": (1.0, 2.0), "middle": (5.0, 5.0)}
    assert front({**points, "poor": (4.0, 6.0)}) == ["fast poor", "middle", "slow good"]


def test_items_of_the_model_itself_are_typical_and_others_are_not():
    rng = np.random.default_rng(0)
    own, same, wide = rng.normal(size=4000), rng.normal(size=400), rng.normal(-2, 1, size=400)
    assert kstest(typical(same, own), "uniform").pvalue > 0.01
    assert typical(wide, own).mean() < 0.2
    assert typical(np.array([1.0]), np.array([1.0, 1.0])).tolist() == [0.5]


def test_the_worst_samples_are_the_copies_and_stand_beside_both_neighbours(tmp_path):
    dataset = load("digits")
    rng = np.random.default_rng(0)
    mixed = np.concatenate((dataset.test.values[:100], dataset.train.values[[7, 70]]))
    noisy = np.clip(mixed.astype(int) + rng.integers(0, 2, mixed.shape) * (np.arange(102) < 100)[:, None, None], 0, 16)
    name = keep(noisy.astype(np.uint8), dataset.train, tmp_path, "samples", dataset.test)
    with np.load(tmp_path / name) as arrays:
        assert set(arrays["worst_index"][:2]) == {100, 101} and len(arrays["worst_index"]) == WORST
        assert np.array_equal(arrays["worst_samples"][:2], arrays["worst_neighbours"][:2])
        assert arrays["worst_ratios"][1] == 0 < arrays["worst_ratios"][2]
        assert arrays["samples"].shape == arrays["test_neighbours"].shape == (SHOWN, 8, 8)
        assert (np.diff(arrays["worst_ratios"]) >= 0).all()


@pytest.mark.parametrize("kind", ["table", "points"])
def test_lines_are_kept_beside_both_neighbours(tmp_path, kind):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(300, 3))
    table = pd.DataFrame({"a": values[:, 0], "b": np.where(values[:, 1] > 0, "x", "y")})
    dataset = split(Items(kind, table if kind == "table" else values), kind)
    own = dataset.train.values[:80]
    kept = json.loads((tmp_path / keep(own, dataset.train, tmp_path, "samples", dataset.test)).read_text())
    assert kept["samples"] == kept["neighbours"] and len(kept["test_neighbours"]) == SHOWN
    assert kept["worst_ratios"] == [0.0] * WORST
    assert [c["name"] for c in kept["shapes"]["columns"]] == (["a", "b"] if kind == "table" else ["x0", "x1", "x2"])


def test_pairs_are_the_known_coefficients():
    rng = np.random.default_rng(0)
    x = rng.normal(size=500)
    table = pd.DataFrame({"x": x, "y": x + rng.normal(size=500), "sign": np.where(x > 0, "p", "n"), "c": 1.0})
    table["same"] = table["sign"].map({"p": "1", "n": "2"})
    table["free"] = rng.permutation(table["sign"].to_numpy())
    found = pd.DataFrame(pairs(table), table.columns, table.columns)
    assert found.loc["x", "y"] == pytest.approx(spearmanr(x, table["y"]).statistic)
    assert found.loc["sign", "same"] == pytest.approx(1) and found.loc["sign", "free"] < 0.15
    assert found.loc["x", "sign"] == pytest.approx(math.sqrt(3) / 2, abs=0.01)  # ranks above and below the median
    assert (found.loc["c", ["x", "sign"]] == 0).all() and np.allclose(found, found.T)


def test_shapes_share_their_bins_and_sum_to_one():
    rng = np.random.default_rng(0)
    known = pd.DataFrame({"a": rng.normal(size=400), "n": rng.integers(0, 4, 400), "b": list("xyzw") * 100})
    other = known.assign(a=known["a"] + 50, b="x")
    first, second = shapes(known, known), shapes(other, known)
    for one, two in zip(first["columns"], second["columns"], strict=True):
        assert one.get("edges") == two.get("edges") and one.get("categories") == two.get("categories")
        assert sum(one["shares"]) == pytest.approx(1) and sum(two["shares"]) == pytest.approx(1)
    assert second["columns"][0]["shares"][-1] == 1  # beyond the range: the last bin
    assert len(first["columns"][1]["shares"]) == 4
    assert second["columns"][2]["shares"][second["columns"][2]["categories"].index("x")] == 1


class Scores:
    """An artifact whose log p is minus the first coordinate."""

    def __init__(self, density=Density.EXACT, condition=None):
        self.density, self.card, self.conditioning = density, {}, None
        self.model = type("Model", (), {"condition": condition})()
        self.representation = type("Representation", (), {"dims": 2, "event": Continuous((2,))})()

    def score(self, values, condition=None):
        rows = values.values if isinstance(values, Items) else values
        record = {"value": -np.asarray(rows)[:, 0].astype(float), "stderr": None, "density": self.density}
        return type("Score", (), {**record, "unit": "nats"})()


def test_likelihoods_of_items_are_kept_for_densities_alone(tmp_path):
    dataset = split(Items("points", np.random.default_rng(0).normal(size=(3000, 2)).astype(np.float32)), "points")
    own = np.ones((5, 2), np.float32)
    kept = json.loads((tmp_path / likelihoods(Scores(), dataset, own, tmp_path, 0)).read_text())
    assert kept["samples"] == [-1.0] * 5 and len(kept["train"]) == 400 and kept["density"] == "exact"
    first = {float(f"{-v:.6g}") for v in dataset.test.values[:, 0]}
    assert set(kept["test"]) <= first
    assert likelihoods(Scores(Density.RELATIVE), dataset, own, tmp_path, 0) is None
    assert likelihoods(Scores(condition=Discrete((), 2)), dataset, own, tmp_path, 0) is None


def test_the_overfit_gap_is_that_of_the_kept_items(results, tmp_path):
    rng = np.random.default_rng(0)
    place = tmp_path / "nsf-seed0"
    sets = {"train": rng.normal(3, 1, 400), "validation": rng.normal(size=50), "test": rng.normal(size=400)}
    (place / "likelihood.json").write_text(json.dumps({k: [*v.tolist(), None] for k, v in sets.items()}))
    next(e for e in results["rows"] if e["name"] == "nsf")["runs"][0]["files"]["likelihood"] = (
        "nsf-seed0/likelihood.json"
    )
    found, gaps = scored(Results(results, tmp_path))
    figure = drawn(found, gaps, {"nsf": "#123456"})
    gap, error = re.fullmatch(r"gap (.+) ± (.+)", gaps["nsf"]).groups()
    assert abs(float(gap) - 3) < 0.2 and float(error) == pytest.approx(0.07, abs=0.011)
    assert "gap" in figure and "not measured" in figure  # no samples of its own were scored


def test_every_run_has_a_line_of_the_budget_and_a_failed_one_stays(tmp_path):
    found = read(comparison(tmp_path, failed="rbm", seeds=2))
    nsf = next(e for e in found["rows"] if e["name"] == "nsf")
    nsf["runs"][1]["cost"] |= {"trials": 12, "examples": 52345, "flops": 3.2e12}
    lines = budget(rows(found), found["protocol"])
    assert len(lines) == 2 * len(MODELS)
    assert [line["status"] for line in lines if line["row"].name == "rbm"] == ["failed"] * 2
    first, second = [dict(zip(TITLES, line["cells"], strict=True)) for line in lines if line["row"].name == "nsf"]
    assert first["Tuning trials"] == "1" and first["FLOPs"] == "not measured"
    assert second["Tuning trials"] == "12" and second["Examples seen"] == "52,345" and second["FLOPs"] == "3.2 T"
    nsf["options"] = {"width": 64, "rate": 0.002}
    assert "nsf, tuned: width = 64, rate = 0.002" in write(saved(found, tmp_path)).read_text()
    assert "up to 12 trials" in " ".join(limits(Results(found, tmp_path)))


def test_the_best_validation_says_where_an_early_stop_would_end():
    history = [{"seconds": t, "step": 10 * t, "validation": abs(t - 5)} for t in range(1, 11)]
    assert best({"history": history}) == "step 50 (5 s, 50%)"
    assert best({"history": [{"seconds": 1.0, "loss": 2.0}]}) == "no validation" == best({})


def test_attacks_and_gaps_have_errors_and_raise_alarms_beyond_chance(results):
    measured(results, "nsf", measurement("mia_loss", 0.8, 0.02), measurement("likelihood_gap", 1.5, 0.1))
    measured(results, "vae", measurement("mia_loss", 0.52, 0.02), measurement("likelihood_gap", 0.1, 0.1))
    infos_, listed = novelty(Results(results, None))
    lines = {row.name: dict(zip([i.name for i in infos_], cells, strict=True)) for row, cells in listed}
    assert lines["memoriser"]["near_copy"].alarm and not lines["real-test"]["near_copy"].alarm
    assert lines["nsf"]["likelihood_gap"].text == "1.50 ± 0.10" and lines["nsf"]["likelihood_gap"].alarm
    assert lines["nsf"]["mia_loss"].alarm
    assert not lines["vae"]["mia_loss"].alarm and not lines["vae"]["likelihood_gap"].alarm
    assert lines["gan"]["mia_loss"].text == "–"


def test_a_model_is_no_worse_than_real_items_and_a_blind_measure_accuses_nobody():
    """The case of a newcomer: TPR 16 % and 8 % in red while real items read 22 %, by a measure that sees no fault."""
    info = METRICS["mia_samples_tpr"]
    real = Number(0.222, 0.1, "lower")
    for value in (0.162, 0.081):
        assert not finding(info, Number(value, 0.03, "lower"), real, blind=False).alarm
    assert finding(info, Number(0.9, 0.03, "lower"), real, blind=False).alarm
    assert not finding(info, Number(0.9, 0.03, "lower"), real, blind=True).alarm
    test = METRICS["near_copy"]
    assert finding(test, Number(1e-5), Number(0.6), blind=False).alarm
    assert not finding(test, Number(1e-5), Number(1e-4), blind=False).alarm  # real items themselves raise it


def test_suspicious_samples_show_the_columns_that_matter():
    rng = np.random.default_rng(0)
    train = rng.normal(size=(8, 30))
    samples = rng.normal(size=(8, 30))
    samples[:, [7, 21]] = train[:, [7, 21]]
    test = samples + rng.normal(size=samples.shape) * 0.01
    test[:, [7, 21]] += 5
    at = telling(samples.tolist(), train.tolist(), test.tolist(), 30)
    assert {7, 21} <= set(at) and len(at) == FIT and list(at) == sorted(at)
    assert telling([["a", 1.0]], [["a", 1.0]], [["b", 1.0]], 2).tolist() == [0, 1]


def test_a_measure_that_sees_nothing_is_greyed_and_named(results, tmp_path):
    def line(metric, space, **sees):
        return {"metric": metric, "space": space, "honest": 1.0,
                "faults": {k: {"value": 1.0, "z": 0.0, "sees": v} for k, v in sees.items()}}  # fmt: skip

    results["self_test"] = [
        line("frechet_distance", "a", junk=True, memoriser=False),
        line("coverage", "a", junk=False, memoriser=False),
        line("recall", "a", junk=False, memoriser=False),
        line("recall", "b", junk=True, memoriser=False),
    ]
    found = sights(results)
    assert found["coverage"].blind and not found["recall"].blind and found["recall"].misses == ("memoriser",)
    said = " ".join(sentences(found, {"coverage": "Coverage", "recall": "Recall"}))
    assert "Coverage: no planted fault" in said and "Recall (memoriser)" in said
    text = write(saved(results, tmp_path)).read_text()
    heads = re.findall(r'<th [^>]*class="blind"[^>]*>.*?</button>', text)
    assert len(heads) == 1 and "Coverage" in heads[0] and "sees 1/2" in text
    assert len(re.findall(r'<td [^>]*class="[^"]*blind', text)) == len(MODELS) + 3


def test_limits_name_the_floor_and_what_is_not_resolved(results):
    for entry in results["rows"]:
        if entry["name"] == "real-test":
            for m in entry["runs"][0]["measurements"]:
                if m["metric"] == "frechet_distance":
                    m["extra"] = {"dims": 41, "floor": 1.3}
    text = " ".join(limits(Results(results, None)))
    assert "pca-0a1b2c3d with d = 41, n = 360" in text and "would score 1.3" in text
    assert (
        "no test resolves pixelcnn and flow-matching" in text or "no test resolves flow-matching and pixelcnn" in text
    )


def test_a_model_that_hardly_trained_is_named(results):
    for entry in results["rows"]:
        if entry["name"] in ("nsf", "gmm"):
            entry["runs"][1]["cost"]["steps"] = 0
            entry["role"] = "baseline" if entry["name"] == "gmm" else "model"
    said = [s for s in limits(Results(results, None)) if "untrained" in s]
    assert len(said) == 1 and said[0].startswith("nsf made 0 optimiser steps in a run")


class Balanced(HTMLParser):
    """Every element is closed in the order it was opened; counts the cells of the tables."""

    def __init__(self, text):
        super().__init__()
        self.open, self.wrong, self.titles = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "link", "img", "input", "br", "hr"):
            self.open.append(tag)
        if tag == "td" and "data-sort" in dict(attrs):
            self.titles.append(dict(attrs).get("title", ""))

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append((tag, self.getpos()))


def test_the_page_is_well_formed_and_numbers_say_where_they_come_from(results, tmp_path):
    results["protocol"]["measures"] |= {"version": 2, "seed": 0}
    path = write(saved(results, tmp_path))
    text = path.read_text()
    page = Balanced(text)
    assert not page.open and not page.wrong
    numbers = [t for t in page.titles if t.startswith("2.9") and "frechet_distance" in t]
    for part in ("protocol 2", "training seeds 0, 1", "measuring seed 0", "n = 360", "sha 0a1b2c3d00000000"):
        assert part in numbers[0]
    listed = list(csv.DictReader(io.StringIO(path.with_suffix(".csv").read_text())))
    assert [line["model"] for line in listed] == [*MODELS, "real-test", "memoriser", "marginals"]
    inline = re.search(r'href="data:text/csv;charset=utf-8;base64,([^"]*)"', text)[1]
    assert list(csv.DictReader(io.StringIO(base64.b64decode(inline).decode()))) == listed
    for name in ("data-family", "data-group", "agreement", "plane", "novelty", "budget"):
        assert name in text


def test_what_an_older_comparison_did_not_keep_is_said_not_to_be_there(results, tmp_path):
    for entry in results["rows"]:
        for run in entry["runs"]:
            run.pop("cost", None)
            run.pop("history", None)
    text = write(saved(results, tmp_path)).read_text()
    assert "not measured in this comparison" in text and text.count("not measured") > 10
    assert 'id="extrapolation"' not in text and 'id="likelihood"' not in text and "no validation" in text


@pytest.mark.slow
def test_columns_are_drawn_where_they_were_kept(tmp_path):
    rng = np.random.default_rng(0)
    path = comparison(tmp_path, "table")
    table = pd.DataFrame({"height": rng.normal(size=300), "group": rng.choice(list("bcd"), 300)})
    for place in [tmp_path / "real.json", *(tmp_path / f"{name}-seed0" / "samples.json" for name in MODELS)]:
        place.write_text(json.dumps({**json.loads(place.read_text()), "shapes": shapes(table, table)}))
    results = read(path)
    first, second = shape_plots(Results(results, tmp_path))
    assert first.count("<svg") == 1 and ">height<" in first and ">nsf: 0.000<" in second
    assert 'id="columns"' in write(path).read_text()


def test_photographs_are_packed_and_drawings_are_not():
    rng = np.random.default_rng(0)
    small, large = (rng.integers(0, 256, (6, side, side, 3)).astype(np.uint8) for side in (32, 64))
    kinds = [groups([images, images, images], 3) for images in (small, large)]
    assert kinds[0].startswith("data:image/png") and kinds[1].startswith("data:image/webp")
    picture = Image.open(io.BytesIO(base64.b64decode(kinds[0].split(",")[1])))
    assert picture.width > 9 * 32 and picture.height > 2 * 32


def test_cards_show_three_sides_where_both_neighbours_were_kept(results, tmp_path):
    dataset = load("digits")
    for seed in (0, 1):
        keep(dataset.validation.values[:80], dataset.train, tmp_path / f"nsf-seed{seed}", "samples", dataset.test)
    made = {card["name"]: card for card in cards(Results(results, tmp_path))}
    assert made["nsf"]["sides"] == 3 and made["nsf"]["worst"].startswith("data:image/png") and made["nsf"]["ratios"]
    assert made["vae"]["sides"] == 2 and "worst" not in made["vae"]


def test_a_run_in_place_of_a_comparison_is_named(tmp_path):
    (tmp_path / "artifact.json").write_text("{}")
    with pytest.raises(UsageError, match="is a run: `pofx compare DATA --run"):
        read(tmp_path / "results.json")
