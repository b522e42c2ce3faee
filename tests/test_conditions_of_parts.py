"""A condition of several parts, from `fit` to the command line: each part is read, saved, given by name, matters."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import pofx
from pofx.cli.main import app
from pofx.core.errors import DataError, UsageError
from pofx.data.conditions import as_items, conditioned
from pofx.data.several import Several
from pofx.data.sources import load

RNG = np.random.default_rng(0)
N = 120
LABELS = np.resize([0, 1, 2], N)
PICTURES = RNG.integers(0, 17, (N, 8, 8)).astype(np.uint8)
NUMBERS = RNG.normal(size=(N, 2)).astype(np.float32)
TEXTS = [f"a {['red', 'green', 'blue'][k]} thing, number {i}" for i, k in enumerate(LABELS)]
QUIET = {"steps": 2, "progress": False, "batch_size": 16}


def items(values=PICTURES):
    return pofx.images(values, levels=17, labels=LABELS)


CASES = {
    "label and picture": (["label", pofx.images(PICTURES, levels=17)], {"label": 1, "image": PICTURES[0]}),
    "label and numbers": ({"kind": "label", "place": NUMBERS}, {"kind": "2", "place": [0.5, -1.0]}),
    "text and label": ([pofx.texts(TEXTS), "label"], {"text": "a red thing", "label": 0}),
    "two pictures": ({"a": PICTURES, "b": pofx.images(PICTURES, levels=17)}, {"a": PICTURES[3], "b": PICTURES[4]}),
}


@pytest.mark.parametrize("name", CASES)
def test_parts_go_from_fit_to_samples_and_back(name, tmp_path):
    condition, one = CASES[name]
    run = pofx.fit(items(), "cvae", condition=condition, **QUIET)
    assert set(run.model.condition) == set(one)
    run.save(tmp_path)
    again = pofx.load(tmp_path)
    drawn = run.sample(4, condition=one)
    assert np.array_equal(again.sample(4, condition=one), drawn) and drawn.shape == (4, 8, 8)
    every = [one] * 4
    assert np.array_equal(run.sample(4, condition=every), drawn)
    used = run.draw(4, one).condition.values
    assert isinstance(used, Several) and len(used) == 4
    assert np.array_equal(run.sample(4, condition=used), drawn)
    with pytest.raises(DataError, match="lacks the part"):
        run.sample(2, condition={k: v for k, v in list(one.items())[1:]})
    assert np.isfinite(run.log_prob(PICTURES[:3], condition=[one] * 3)).all()


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("vae", {}),
        ("flow-matching", {"network": "unet", "width": 16, "depth": 1}),
        ("jit", {"width": 32, "depth": 1}),
        ("r3gan", {"width": 16}),
        ("pix2pix", {"width": 16}),
        ("glow", {"width": 16}),
        ("gpt", {"width": 16, "layers": 1, "heads": 2}),
    ],
)
def test_every_part_matters_in_every_family(model, options):
    """Weights moved off their start: each part alone changes what the model draws."""
    import torch

    parts = ["label", pofx.images(PICTURES, levels=17), pofx.texts(TEXTS)]
    run = pofx.fit(items(), model, condition=parts, options=options, **QUIET)
    torch.manual_seed(0)
    with torch.no_grad():
        for p in run.model.parameters():
            p.add_(0.03 * torch.randn_like(p))
    first = {"label": 0, "image": PICTURES[0], "text": TEXTS[0]}
    other = {"label": 2, "image": PICTURES[1], "text": TEXTS[50]}
    drawn = run.sample(6, condition=first)
    for part in first:
        assert not np.array_equal(run.sample(6, condition={**first, part: other[part]}), drawn), part


@pytest.mark.parametrize("model", ["pix2pix", "cyclegan"])
def test_a_picture_is_translated_place_by_place(model):
    """A picture that is a condition is one of numbers, which translating networks read where it is."""
    run = pofx.fit(items(), model, condition=pofx.images(PICTURES, levels=17), width=16, **QUIET)
    net = run.model.generator.net if model == "pix2pix" else run.model.forth
    assert net.given == 1


def test_columns_with_texts_are_rows_and_texts(tmp_path):
    frame = pd.DataFrame({"x": RNG.normal(size=N), "age": RNG.integers(18, 90, N), "note": TEXTS, "plan": LABELS > 0})
    run = pofx.fit(frame, "nsf", condition=["age", "note", "plan"], layers=1, bins=4, width=16, **QUIET)
    assert set(run.model.condition) == {"note", "table"}
    drawn = run.sample(5, condition=frame[["age", "note", "plan"]].tail(5))
    assert list(drawn.columns) == list(frame.columns)
    assert drawn.note.tolist() == TEXTS[-5:] and drawn.age.tolist() == frame.age.tolist()[-5:]
    assert np.array_equal(run.log_prob(frame), run.log_prob(frame[["x"]], condition=frame))
    one = run.sample(2, condition={"age": 30, "note": "a red thing", "plan": True})
    assert one.note.tolist() == ["a red thing"] * 2
    run.save(tmp_path / "run")
    found = CliRunner().invoke(
        app, ["sample", str(tmp_path / "run"), "-n", "2", "--condition", "age=30,note=red, in blue,plan=True", "--out",
              str(tmp_path / "x.csv")]
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    assert pd.read_csv(tmp_path / "x.csv").note.tolist() == ["red, in blue"] * 2


def test_names_of_parts_on_the_command_line(tmp_path):
    from PIL import Image

    np.savez(tmp_path / "d.npz", x=PICTURES, y=LABELS, sketch=PICTURES[:, ::2, ::2], levels=17)
    called = ["train", str(tmp_path / "d.npz"), "--model", "cvae", "--condition", "label,sketch", "--steps", "2"]
    found = CliRunner().invoke(app, [*called, "--out", str(tmp_path / "run")])
    assert found.exit_code == 0, found.output
    run = pofx.load(tmp_path / "run")
    assert set(run.model.condition) == {"label", "sketch"} and run.condition_source == ["label", "sketch"]
    Image.fromarray(PICTURES[0, ::2, ::2]).save(tmp_path / "s.png")
    drawn = ["sample", str(tmp_path / "run"), "-n", "2", "--out", str(tmp_path / "x.npz"), "--condition"]
    found = CliRunner().invoke(app, [*drawn, f"label=1,sketch={tmp_path / 's.png'}"])
    assert found.exit_code == 0, found.output
    with np.load(tmp_path / "x.npz") as file:
        assert np.array_equal(file["x"], run.sample(2, condition={"label": 1, "sketch": PICTURES[0, ::2, ::2]}))
    wrong = CliRunner().invoke(app, [*drawn, "colour=1"])
    assert isinstance(wrong.exception, UsageError)
    missing = CliRunner().invoke(app, [*called[:5], "label,drawing", "--out", str(tmp_path / "y")])
    assert isinstance(missing.exception, UsageError)
    for names, why in {
        "label,label": "'label' twice", "label,": "an empty name", " ,": "an empty name", "label,x": "what is modelled",
        "x": "what is modelled", "": "no column without a name",
    }.items():  # fmt: skip
        found = CliRunner().invoke(app, [*called[:5], names, "--out", str(tmp_path / "y")])
        assert isinstance(found.exception, UsageError) and why in str(found.exception), (names, found.exception)
    for text, why in {
        "label=1,sketch=none.png": "sketch must be a file, sketch=FILE", "label=1,sketch=": "sketch must be a file",
        "label=1,label=2,sketch=x": "two values", f"label=1,sketch={tmp_path / 's.png'},age=2": "sketch must be a file",
    }.items():  # fmt: skip
        found = CliRunner().invoke(app, [*drawn, text])
        assert isinstance(found.exception, UsageError) and why in str(found.exception), (text, found.exception)
    shown = CliRunner().invoke(app, ["info", str(tmp_path / "run")])
    assert "condition   label, sketch\n" in shown.output


def test_a_part_is_called_by_its_name_where_it_is_wrong(tmp_path):
    np.savez(tmp_path / "d.npz", x=PICTURES, y=LABELS, age=np.arange(N) / 7, levels=17)
    run = pofx.fit(str(tmp_path / "d.npz"), "cvae", condition=["label", "age"], **QUIET)
    with pytest.raises(DataError, match="column age of the condition"):
        run.sample(2, condition={"label": 1, "age": "forty"})


@pytest.mark.slow
def test_the_label_and_caption_of_a_data_set():
    data = load("captioned-shapes", condition=["label", "text"])
    assert set(data.train.condition.values) == {"label", "text"} and len(data.train.condition) == len(data.train)
    again = load("captioned-shapes", condition=["text", "label"])
    assert again.train.condition.values["text"][:3] == data.train.condition.values["text"][:3]


def test_what_comes_with_items_is_a_condition_by_its_name():
    train = load(items()).train
    captioned = dataclasses.replace(train, condition=as_items(TEXTS[: len(train)]))
    data = conditioned(captioned, "text")
    assert data.condition.kind == "text" and len(data.condition) == len(data)
    with pytest.raises(UsageError, match="pass condition='label' or condition='text', or the conditions"):
        conditioned(captioned, "caption")


def test_parts_of_other_lengths_or_equal_names_are_refused():
    with pytest.raises(DataError, match="must have one item for each"):
        pofx.fit(items(), "cvae", condition=["label", NUMBERS[:5]], **QUIET)
    with pytest.raises(UsageError, match="called"):
        pofx.fit(items(), "cvae", condition=[NUMBERS, NUMBERS + 1, "label"], **QUIET)
    with pytest.raises(UsageError, match="unknown part"):
        pofx.fit(items(), "cvae", condition={"a": NUMBERS, "b": "labels"}, **QUIET)
    with pytest.raises(UsageError, match="several"):
        pofx.fit(items(), "drifting", condition=["label", NUMBERS], **QUIET)
