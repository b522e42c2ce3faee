"""The text of one evaluation: headline measures one line each in 80 columns, everything on request."""

from pofx.evaluate.metric import catalogue
from pofx.report.summary import TITLE, headline, text


def row(metric, value, stderr=0.01, space=None, **extra):
    about = catalogue()[metric]
    return {"metric": metric, "value": value, "stderr": stderr, "better": about["better"], "space": space, "n": 360,
            "note": "", "extra": extra}  # fmt: skip


RESULT = {
    "measurements": [
        row("frechet_distance", 0.5, space="random-12", floor=0.1),
        row("frechet_distance", 0.25, space="pca-34", floor=0.1),
        row("mmd", 0.2, space="pca-34", p=0.02),
        row("near_copy", 0.4, None, "pca-34", ratio=1.0),
        row("nats", 80.0, density="exact"),
        row("bits_per_dim", 1.23, density="bound"),
        row("samples_per_second", 1234.0, None),
        row("coverage", None, None, "pca-34"),
    ],
    "metrics": catalogue(),
    "protocol": {"primary_space": "pca-34"},
}


def test_headline_measures_stand_in_the_primary_space_in_the_order_of_their_groups():
    assert [(m["metric"], m["space"]) for m in headline(RESULT)] == [
        ("bits_per_dim", None),
        ("frechet_distance", "pca-34"),
        ("coverage", "pca-34"),
        ("near_copy", "pca-34"),
        ("samples_per_second", None),
    ]


def test_each_is_one_line_of_at_most_80_columns():
    lines = text(RESULT).splitlines()
    assert len(lines) == 6 and all(len(line) <= 80 for line in lines), lines
    assert "1.230 ± 0.010" in lines[0] and "upper bound" in lines[0]
    assert "floor 0.1" in lines[1] and "not finite" in lines[2] and "1.23 k" in lines[4] and "3 more" in lines[5]


def test_all_measures_show_their_space_and_note_within_the_width():
    for width in (60, 80):
        shown = text(RESULT, width=width, every=True)
        assert all(len(line) <= width for line in shown.splitlines())
        assert "random-12" in shown and "Gaussian kernel distance" in shown and "p 0.02" in shown
        assert "samples_per_second " in shown


def test_names_of_headline_measures_fit_their_column():
    names = [about.get("short") or about["title"] for about in catalogue().values() if about["headline"]]
    assert all(len(name) < TITLE for name in names), names
