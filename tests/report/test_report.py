"""The report: the verdict's logic, what a cell says, and one self-contained page that holds every row."""

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from pofx.core.errors import CorruptError, UsageError
from pofx.evaluate.metric import catalogue
from pofx.evaluate.metrics.frechet import FrechetDistance
from pofx.evaluate.metrics.two_sample import ClassifierTwoSample
from pofx.evaluate.selftest import self_test
from pofx.report import terminal
from pofx.report.columns import cell, frame
from pofx.report.figures.pictures import grid, groups
from pofx.report.figures.style import GREY, PALETTE, colours
from pofx.report.merge import merge
from pofx.report.metrics import Axis, infos
from pofx.report.numbers import plain, written
from pofx.report.page import write
from pofx.report.results import Results
from pofx.report.rows import Number, Row, copies, join, read
from pofx.report.section import Section, sections
from pofx.report.sections.limits import limits
from pofx.report.sections.tradeoffs import tradeoffs
from pofx.report.seed_variance import prior
from pofx.report.self_test import Sight, sights
from pofx.report.standing import difference, holm, stand, standings
from pofx.report.verdict import decide as decide_
from report_fixture import MODELS, comparison

AXIS = Axis("quality", "Sample quality")
METRICS = infos({"metrics": catalogue()})


def decide(table, **more):
    return decide_(table, METRICS, **more)


def results_of(path):
    return Results(read(path), path.parent)


def densities(table):
    return [s for s in standings(table, METRICS) if s.axis.kind]


def row(name, role="model", traits=None, **numbers):
    listed = {metric: {number.space: number} for metric, number in numbers.items()}
    return Row(name, name, role, "done", "", traits or {}, ({"status": "done"},), listed)


def fd(value, stderr=0.1):
    return Number(value, stderr, "lower", space="pca-1")


def test_holm_is_a_step_down_and_keeps_the_order():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    assert max(holm([0.9, 0.8, 0.7])) == 1.0


def test_holm_keeps_the_family_wise_error():
    rng = np.random.default_rng(0)
    false = 0
    for _ in range(400):
        numbers = {str(i): fd(rng.normal(), 1.0) for i in range(5)}
        false += bool(stand(AXIS, numbers).beats)
    assert false / 400 < 0.07


def test_rows_that_no_test_separates_share_the_lead():
    standing = stand(AXIS, {"a": fd(1.0), "b": fd(1.2), "c": fd(3.0)})
    assert standing.leaders == ("a", "b") and standing.winner is None
    assert standing.groups == [["a", "b"], ["c"]]
    assert standing.ranks == {"a": (1, 2), "b": (1, 2), "c": (3, 3)}
    assert stand(AXIS, {"a": fd(1.0), "b": fd(2.0)}).winner == "a"


def test_higher_is_better_where_the_number_says_so():
    numbers = {"a": Number(0.9, 0.01, "higher"), "b": Number(0.5, 0.01, "higher")}
    assert stand(AXIS, numbers).order == ("a", "b")


def test_nothing_is_claimed_without_a_standard_error_and_timings_have_a_resolution():
    assert difference(Number(1.0), Number(9.0, 0.1)) == 1.0
    speed = Axis("speed", "Speed", resolution=0.1)
    one, close, far = (Number(v, None, "higher") for v in (100.0, 110.0, 200.0))
    assert not stand(speed, {"a": one, "b": close}).beats and stand(speed, {"a": one, "b": far}).winner == "b"


def trained(rng, means, spreads, seeds, within=1.0):
    """Rows whose trainings vary by `spreads`, in units of the error of a measurement that a row's trainings share."""
    found = {}
    for i, (mean, spread) in enumerate(zip(means, spreads, strict=True)):
        shared = mean + within * rng.normal()
        found[str(i)] = join([fd(shared + within * spread * rng.normal(), within) for _ in range(seeds)])
    return found


def claims(spreads, seeds, repeats=300):
    """How often something is told apart where all rows are equal but for the spread of their trainings."""
    rng = np.random.default_rng(0)
    found = (stand(AXIS, trained(rng, [0.0] * 7, spreads, seeds)).beats for _ in range(repeats))
    return np.mean([bool(beats) for beats in found])


@pytest.mark.parametrize("spread", [0.0, 0.5, 3.0, 10.0])
def test_the_spread_of_three_trainings_is_no_difference(spread):
    assert claims([spread] * 7, 3) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


@pytest.mark.slow
def test_few_trainings_or_rows_of_very_unlike_spread_seldom_make_a_difference():
    """A normal test of the same errors claims one in 0.34, 0.22 and 0.10 of the cases."""
    assert claims([3.0] * 7, 2) < 0.13
    assert claims([0.1, 0.1, 0.5, 1.0, 3.0, 6.0, 6.0], 3) < 0.16
    assert claims([0.0, 0.2, 0.5, 0.5, 1.0, 1.0, 6.0], 3) < 0.10


def test_the_rows_of_an_axis_lend_each_other_degrees_of_freedom():
    """Alone, two trainings against two would leave the test two degrees of freedom, and see 0.38 of the differences."""
    rng = np.random.default_rng(0)
    means = [0.0, 25.0, 0.0, 25.0, 0.0, 25.0, 0.0]
    told = [len(stand(AXIS, trained(rng, means, [3.0] * 7, 2)).beats) / 12 for _ in range(50)]
    assert np.mean(told) > 0.8


def test_numbers_without_an_error_of_their_own_are_held_by_their_trainings():
    def row(*values):
        return join([Number(v, None, "higher") for v in values])

    near = {"a": row(1.0, 2.0, 3.0), "b": row(2.0, 3.1, 4.0)}
    assert not stand(AXIS, near).beats
    assert stand(AXIS, {"a": row(1.0, 1.1, 1.2), "b": row(9.0, 9.1, 9.2)}).winner == "b"


def test_verdicts_do_not_depend_on_the_unit():
    numbers = trained(np.random.default_rng(0), [0.0, 3.0, 6.0, 20.0], [1.0, 2.0, 0.5, 1.0], 3)
    scaled = {
        k: replace(n, value=1e3 * n.value, stderr=1e3 * n.stderr, between=1e3 * n.between) for k, n in numbers.items()
    }
    assert stand(AXIS, numbers).beats == stand(AXIS, scaled).beats


def test_the_prior_of_variances_finds_what_they_were_drawn_from():
    rng = np.random.default_rng(0)
    same = rng.chisquare(2, 4000) / 2 * 3.0
    common, freedom = prior(same, [2] * 4000)
    assert common == pytest.approx(3.0, rel=0.05) and freedom > 30
    variances = 4 * 3.0 / rng.chisquare(4, 4000)
    common, freedom = prior(variances * rng.chisquare(2, 4000) / 2, [2] * 4000)
    assert common == pytest.approx(3.0, rel=0.1) and freedom == pytest.approx(4.0, rel=0.15)


def test_densities_of_unlike_kinds_are_never_on_one_axis():
    kinds = {"exact": ("a", "b"), "bound": ("c", "d"), "estimate": ("e",), "relative": ("f",), "none": ("g",)}
    table = [
        row(name, bits_per_dim=Number(1.0 + i, 0.01, "lower", kind))
        for kind, names in kinds.items()
        for i, name in enumerate(names)
    ]
    found = densities(table)
    assert [(s.axis.kind, s.order) for s in found] == [
        ("exact", ("a", "b")),
        ("bound", ("c", "d")),
        ("estimate", ("e",)),
    ]
    for standing in decide(table).standings:
        assert len({standing.numbers[name].kind for name in standing.order}) == 1


def test_no_separable_winner_is_an_answer():
    table = [row("a", frechet_distance=fd(1.0, 1.0)), row("b", frechet_distance=fd(1.5, 1.0))]
    verdict = decide(table)
    assert "no separable winner (a and b)" in verdict.headline


def test_an_auc_below_chance_is_no_better_than_chance():
    auc = [row(name, c2st=Number(value, 0.01, "lower")) for name, value in (("a", 0.3), ("b", 0.5), ("c", 0.9))]
    standing = next(s for s in decide(auc).standings if s.axis.key == "detect")
    assert set(standing.leaders) == {"a", "b"}


def test_a_bound_below_the_exact_number_is_mentioned_but_not_ranked():
    table = [
        row("exact", bits_per_dim=Number(2.4, 0.01, "lower", "exact")),
        row("bounded", bits_per_dim=Number(2.0, 0.01, "lower", "bound")),
    ]
    verdict = decide(table)
    assert all(len(s.order) == 1 for s in verdict.standings)
    advice = next(a for a in verdict.advice if a.need == "probabilities to rely on")
    assert advice.names == ("exact",) and "the number of bounded, 2.000, is lower, and an upper bound" in advice.reason


def test_a_row_that_copies_is_not_recommended():
    copier = row("copier", frechet_distance=fd(0.1), near_copy=Number(1e-5))
    honest = row("honest", frechet_distance=fd(0.15), near_copy=Number(0.4))
    assert copies(copier, METRICS) and not copies(honest, METRICS)
    assert not copies(copier, METRICS, replace(copier, name="real-test"))  # real items score the same
    verdict = decide([copier, honest])
    advice = next(a for a in verdict.advice if a.need == "samples most like the data")
    assert advice.names == ("honest",) and "copier" in advice.reason
    assert any("near-copies" in warning for warning in verdict.warnings)


def test_controls_take_no_part_and_a_row_below_the_floor_is_pointed_at():
    table = [
        row("model", frechet_distance=fd(0.2)),
        row("other", frechet_distance=fd(3.0)),
        row("real-test", "control", frechet_distance=fd(1.0)),
    ]
    verdict = decide(table)
    assert verdict.standings[0].order == ("model", "other")
    assert any("model" in w and "overfitting" in w for w in verdict.warnings)


def test_the_best_of_bad_models_is_beside_the_number_of_real_data():
    table = [
        row("first", coverage=Number(0.07, 0.004, "higher", space="pca-1")),
        row("second", coverage=Number(0.05, 0.004, "higher", space="pca-1")),
        row("real-test", "control", coverage=Number(0.968, 0.004, "higher", space="pca-1")),
    ]
    advice = next(a for a in decide(table).advice if a.need == "nothing in the data left out")
    assert "0.070, real held-out data 0.968" in advice.reason
    table[0] = row("first", coverage=Number(0.966, 0.004, "higher", space="pca-1"))
    assert "held-out" not in next(a for a in decide(table).advice if a.names == ("first",)).reason


def test_numbers_of_different_spaces_are_not_ranked():
    table = [row("a", frechet_distance=fd(1.0)), row("b", frechet_distance=Number(2.0, 0.1, "lower", space="other"))]
    assert not decide(table).standings


def test_seeds_are_joined_with_the_spread_between_them():
    joined = join([Number(1.0, 0.3), Number(2.0, 0.3), Number(3.0, 0.3)])
    assert joined.value == pytest.approx(2.0) and joined.seeds == 3
    assert joined.stderr == pytest.approx(math.sqrt(1 / 3 + 0.09))


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [
        (1.8342, 0.0213, ("1.834", "0.021")),
        (12.34, 0.6, ("12.3", "0.6")),
        (1234.5, 40.0, ("1,234", "40")),
        (0.5, None, ("0.5", "")),
        (0.0, 0.0, ("0", "")),
    ],
)
def test_a_value_is_written_to_the_decimals_of_its_error(value, stderr, text):
    assert written(value, stderr) == text


def test_a_missing_number_is_a_dash_and_a_copying_row_is_flagged():
    column = METRICS["near_copy"]
    assert cell(column, None).text == "–"
    assert cell(column, Number(1e-6)).flag and not cell(column, Number(0.5)).flag


def test_sorting_by_likelihood_keeps_unlike_kinds_apart():
    column = METRICS["bits_per_dim"]
    cells = [cell(column, Number(value, 0.1, "lower", kind)) for kind, value in (("bound", 1.0), ("exact", 2.0))]
    assert cells[1].sort < cells[0].sort and [c.symbol for c in cells] == ["≤", "="]


def test_colours_follow_from_the_name_of_the_family_and_are_never_shared_by_models():
    families = ["autoregressive", "flow", "vae", "gan", "diffusion", "energy", "mixture"]
    ink = colours([(family, family, "model") for family in families] + [("made", "autoregressive", "model")])
    assert len(set(ink.values())) == len(ink) and set(ink.values()) <= set(PALETTE)
    assert colours([("a", "flow", "model")])["a"] == colours([("b", "flow", "model"), ("c", "vae", "model")])["b"]
    assert colours([("real-test", "", "control")]) == {"real-test": GREY}
    assert len(colours([(str(i), "flow", "model") for i in range(30)])) == 30


@pytest.mark.parametrize("shape", [(5, 8, 8), (5, 6, 4, 1), (5, 8, 8, 3)])
def test_grids_take_grey_and_colour(shape):
    images = np.zeros(shape, np.uint8)
    assert grid(images, 2).startswith("data:image/png;base64,")
    assert groups([images, images], 3).startswith("data:image/png;base64,")


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.rows, self.links, self.images, self.ids = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "tr" and "data-text" in given:
            self.rows.append(given["data-text"].split()[0])
        if tag == "img":
            self.images.append(given)
        if given.get("id"):
            self.ids.append(given["id"])
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href", "data", "action", "srcset") and v]


@pytest.mark.parametrize("kind", ["image", "points", "table"])
def test_the_page_holds_every_row_and_needs_no_network(tmp_path, kind):
    text = write(comparison(tmp_path, kind, failed="rbm")).read_text()
    page = Page(text)
    assert page.rows == [*MODELS, "real-test", "memoriser", "marginals"]
    assert "the loss is not finite" in text
    assert "principal components of the training items, variance 0.99, 41 dimensions" in text
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert not re.search(r"https?:|@import|//cdn|url\((?!#|data:)", text)
    assert all(image.get("alt") for image in page.images)
    assert len(page.ids) == len(set(page.ids))
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids
    for name in ("verdict", "table", "samples", "neighbours", "speed", "learning", "abilities", "protocol", "limits"):
        assert name in page.ids


def test_the_page_escapes_what_it_shows(tmp_path):
    path = comparison(tmp_path)
    results = json.loads(path.read_text())
    results["data"]["name"] = "<script>alert(1)</script>"
    results["rows"][0]["runs"] = [{"seed": 0, "status": "failed", "reason": "<img src=x>"}]
    path.write_text(json.dumps(results))
    text = write(path).read_text()
    assert "<script>alert" not in text and "<img src=x>" not in text


def test_a_report_is_written_without_arrays_models_or_likelihoods(tmp_path):
    path = comparison(tmp_path)
    results = json.loads(path.read_text())
    for entry in results["rows"]:
        for run in entry["runs"]:
            run.pop("files", None)
            run["measurements"] = [m for m in run["measurements"] if m["metric"] == "coverage"]
    results["files"] = {}
    path.write_text(json.dumps(results))
    assert "coverage" in write(path).read_text().lower()
    results["rows"] = []
    path.write_text(json.dumps(results))
    assert "Nothing can be distinguished" in write(path).read_text()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 99}'])
def test_a_damaged_file_is_a_clear_error(tmp_path, content):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(CorruptError, match="run the comparison again"):
        read(path)


def test_limits_come_from_the_numbers(tmp_path):
    text = " ".join(limits(results_of(comparison(tmp_path))))
    assert "One training seed" in text and "memoriser" in text and "Kendall" in text and "exact for pixelcnn" in text
    assert "2 test items" in text


def test_the_table_is_a_frame_with_errors_and_kinds(tmp_path):
    results = results_of(comparison(tmp_path, failed="rbm", seeds=2))
    table = frame(results.rows, results.metrics)
    assert list(table.index) == [*MODELS, "real-test", "memoriser", "marginals"]
    assert table.loc["pixelcnn", "kind"] == "exact" and table.loc["rbm", "status"] == "failed"
    assert math.isnan(table.loc["gan", "bits/dim"]) and table.loc["nsf", "bits/dim ±"] > 0


def test_the_report_imports_no_torch():
    code = "import pofx.report.page, pofx.report.columns, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_tradeoffs_lead_where_nothing_separates_and_keep_densities_apart():
    a = row("a", frechet_distance=fd(1.0), bits_per_dim=Number(2.0, 0.01, "lower", kind="exact"))
    b = row("b", frechet_distance=fd(1.1), bits_per_dim=Number(1.5, 0.01, "lower", kind="bound"))
    c = row("c", frechet_distance=fd(9.0), bits_per_dim=Number(3.0, 0.01, "lower", kind="exact"))
    table = [a, b, c, row("real", role="control", frechet_distance=fd(0.1))]
    made = Results({"metrics": catalogue(), "data": {}, "protocol": {}, "rows": []}, None)
    made.__dict__["rows"] = table
    titles, marks = tradeoffs(made)
    assert titles == ["Sample quality (FD)", "Likelihood (bits/dim)", "Training"]
    assert [marks[n][0].place for n in "abc"] == [0, 0, 1]
    assert [marks[n][1].place for n in "abc"] == [0, None, 1]  # a bound is compared with bounds only
    assert set(marks) == {"a", "b", "c"}


def test_comparisons_of_the_same_data_become_one(tmp_path):
    a, b = comparison(tmp_path / "a"), comparison(tmp_path / "b")
    plain = json.loads(b.read_text())
    for entry in plain["rows"]:
        for run in entry["runs"]:
            run["seed"] += 1
    plain["rows"] = [entry for entry in plain["rows"] if entry["name"] != "vae"]
    b.write_text(json.dumps(plain))
    merged = read(merge([a.parent, b.parent], tmp_path / "c"))
    runs = {entry["name"]: [run["seed"] for run in entry["runs"]] for entry in merged["rows"]}
    assert runs["nsf"] == [0, 1] and runs["vae"] == [0] and runs["real-test"] == [0]
    assert all(
        row.number("frechet_distance").seeds == 2
        for row in Results(merged, tmp_path).rows
        if row.name in ("nsf", "gan")
    )
    page = write(tmp_path / "c" / "results.json").read_text()
    assert "data:image/png" in page
    again = read(merge([a.parent, a.parent], tmp_path / "d"))  # the same run twice counts once
    assert [len(entry["runs"]) for entry in again["rows"]] == [len(e["runs"]) for e in read(a)["rows"]]
    plain["data"]["hash"] = "other"
    b.write_text(json.dumps(plain))
    with pytest.raises(UsageError, match="differ in their data"):
        merge([a.parent, b.parent], tmp_path / "e")
    with pytest.raises(UsageError, match="holds no results"):
        merge([tmp_path], tmp_path / "e")


def test_of_the_measures_for_one_need_the_one_that_sees_most_planted_faults_decides():
    def auc(value):
        return Number(value, 0.01, "lower", space="pca-1")

    table = [
        row("near", frechet_distance=fd(1.0, 0.01), c2st=auc(0.8)),
        row("alike", frechet_distance=fd(1.2, 0.01), c2st=auc(0.55)),
    ]
    seen = {"frechet_distance": Sight(("a",), ("b", "c")), "c2st": Sight(("a", "b"), ("c",))}
    need = "samples most like the data"
    assert next(a for a in decide(table, sights=seen).advice if a.need == need).names == ("alike",)
    assert next(a for a in decide(table).advice if a.need == need).names == ("near",)
    swapped = {"frechet_distance": seen["c2st"], "c2st": seen["frechet_distance"]}
    assert next(a for a in decide(table, sights=swapped).advice if a.need == need).names == ("near",)


def test_collapsed_samples_with_the_right_covariance_are_not_the_most_like_the_data():
    random = np.random.default_rng(0)
    grid25 = np.stack(np.meshgrid(*[np.arange(-4.0, 5, 2)] * 2), -1).reshape(-1, 2)
    draw = lambda n, centres: centres[random.integers(len(centres), size=n)] + 0.05 * random.normal(size=(n, 2))  # noqa: E731
    real, reference, train, good = (draw(250, grid25) for _ in range(4))
    good[:12] *= 1.1  # not quite the data: whatever sees moments alone prefers the other
    few = draw(250, grid25[[1, 3, 5, 9, 15, 19, 21, 23]])
    scale = [np.linalg.cholesky(np.cov(x.T)) for x in (few, reference)]
    collapsed = (few - few.mean(0)) @ np.linalg.inv(scale[0]).T @ scale[1].T + reference.mean(0)
    table = []
    for name, x in (("good", good), ("collapsed", collapsed)):
        numbers = {}
        for metric in (FrechetDistance(), ClassifierTwoSample()):
            (metric_name, value), error = *metric.values(x, reference).items(), metric.errors(x, reference)
            numbers[metric_name] = Number(value, error[metric_name], "lower", space="pca-1")
        table.append(row(name, **numbers))
    assert table[1].number("frechet_distance").value < table[0].number("frechet_distance").value
    tested = self_test(real, reference, train, space="pca")
    verdict = decide(table, sights=sights({"self_test": tested}))
    advice = next(a for a in verdict.advice if a.need == "samples most like the data")
    assert advice.names == ("good",) and "AUC" in advice.reason
    assert "Sample quality" not in verdict.headline and "Hard to detect: good leads." in verdict.headline


def test_a_verdict_without_a_winner_says_why_and_what_to_do():
    table = [row("a", frechet_distance=fd(1.0, 1.0)), row("b", frechet_distance=fd(1.5, 1.0))]
    said = " ".join(decide(table, results={"data": {"sizes": {"test": 37}}}).next)
    assert "37 test items and 1 training seed" in said and "--seeds 3" in said


@pytest.mark.parametrize("kind", ["image", "table"])
def test_the_text_of_a_comparison_fits_a_terminal(tmp_path, kind):
    results = results_of(comparison(tmp_path, kind, failed="rbm", seeds=2))
    for width in (60, 80, 120):
        said = terminal.text(results, width)
        assert max(map(len, said.splitlines())) <= width
    for part in ("C2ST", "What to use", "the loss is not finite", "--seeds 3", "real-test"):
        assert part in said


def test_numbers_are_written_without_exponents():
    assert plain(22960.4) == "22,960" and plain(0.0123456) == "0.01235" and plain(-1.5) == "-1.5"
    assert plain(1e-9) == "1.00·10⁻⁹" and plain(math.nan) == "not finite" and plain(0) == "0"
    for value in np.geomspace(1e-5, 1e11, 80):
        assert "e" not in plain(float(value)) and "e" not in written(float(value), None)[0]


def test_a_section_is_one_class(tmp_path):
    class Own(Section):
        order, id, title = 15, "own", "A section of my own"

        def html(self, results):
            return f"<p>{len(results.rows)} rows</p>" if results.rows else None

    try:
        text = write(comparison(tmp_path)).read_text()
        assert '<h2 id="own">A section of my own</h2>\n<p>10 rows</p>' in text
        assert text.index('id="verdict"') < text.index('id="own"') < text.index('id="table"')
    finally:
        Own.html = lambda self, results: None  # subclasses alive are found, too


def test_every_section_has_an_own_anchor_and_place():
    found = sections()
    assert len({s.id for s in found}) == len(found) > 15 and len({s.order for s in found}) == len(found)
