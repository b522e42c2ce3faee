"""Texts: running text in order, windows that overlap without memory, every character counted once; byte pairs."""

import json

import numpy as np
import pytest
import torch

import pofx
from pofx.comparison.stored import freeze, thaw
from pofx.core import config
from pofx.core.errors import DataError, Unsupported, UsageError
from pofx.core.model import Density
from pofx.core.random import Streams
from pofx.data.dataset import split, take
from pofx.data.kinds.tokens import tokens
from pofx.data.passages import Passages
from pofx.data.sources import load, whole
from pofx.represent.characters import Characters
from pofx.represent.choose import choose
from pofx.represent.text_bpe import BPE, learn
from pofx.train.feed import Feed

RNG = np.random.default_rng(0)
WORDS = ["the", "king", "of", "naïve", "tears", "€9", "and", "so", "he", "went"]
LONG = " ".join(RNG.choice(WORDS, 3000)) + "\nthe end 😀"
GPT = {"width": 16, "layers": 1, "heads": 2, "precision": "fp32"}


@pytest.fixture(scope="module")
def run():
    """A small transformer of running text, trained for a moment."""
    return pofx.fit(split(tokens(LONG), "long"), "gpt", steps=60, progress=False, **GPT)


def test_running_text_is_split_in_its_order(tmp_path):
    (tmp_path / "book.txt").write_text(LONG, encoding="utf-8")
    data = load(tmp_path / "book.txt", seed=3)
    texts = [items.values.text for items in data.splits().values()]
    assert "".join(texts) == LONG
    assert len(texts[2]) == len(LONG) - int(len(LONG) * 0.9)  # exactly the last tenth of the characters
    for items in data.splits().values():
        assert "".join(items.values) == items.values.text and {len(v) for v in items.values[:-1]} == {64}
    assert data.card.facts["characters"] == len(LONG)
    assert data.card.hash == load(LONG_ITEMS := tokens(LONG), seed=0).card.hash and len(LONG_ITEMS) == len(
        Passages(LONG)
    )


def test_passages_keep_their_text_around_them(tmp_path):
    data = split(tokens(LONG), "long")
    some = take(data.test, [3, 1]).values
    assert isinstance(some, Passages) and list(some) == [data.test.values[3], data.test.values[1]]
    assert some.text[: some.starts[0]].endswith(data.test.values[2])
    freeze(data, tmp_path)
    again = thaw(tmp_path)
    assert isinstance(again.test.values, Passages) and again.test.values.text == data.test.values.text
    assert list(again.test.values) == list(data.test.values)


def test_windows_for_training_take_no_memory():
    view = Characters.fit(tokens(LONG), length=130)
    windows = view.training(Passages(LONG))
    assert windows.shape == (len(LONG) - 129, 130)
    assert windows.untyped_storage().nbytes() == len(LONG)  # a byte a character
    assert view.items(windows[[0, 77]].long()) == [LONG[:130], LONG[77:207]]
    feed = Feed(windows, None, view, seed=0, device=torch.device("cpu"))
    assert feed.raw.stride() == (1, 1) and torch.equal(feed.raw[5:9], windows[5:9])
    assert feed.batch(0, 4).x.shape == (4, 130)
    with pytest.raises(DataError, match="fewer than the length of 130"):
        view.training(Passages(LONG[:100]))
    with pytest.raises(UsageError, match="at least 128"):
        Characters.fit(tokens(LONG), length=100)


@pytest.mark.parametrize(
    "view", [Characters.fit(tokens(LONG), length=150), BPE.fit(tokens(LONG), vocabulary=300, length=150)]
)
@pytest.mark.parametrize("n", [len(LONG), 200, 90, 3])
def test_every_code_of_a_text_is_counted_once_with_what_stands_before_it(view, n):
    passages = Passages(LONG[-n:])
    rows, counted, codes = view.tensor(passages).numpy(), view.counted(passages).numpy(), view.codes(passages.text)
    at = 0
    for row, mask in zip(rows, counted, strict=True):
        k = int(mask.sum())
        first = int(mask.argmax())
        assert np.array_equal(row[: first + k], codes[at - first : at + k])  # the context, then the passage
        assert first >= min(at, 75)
        at += k
    assert at == len(codes)
    if isinstance(view, Characters):
        assert [view.text(row[mask]) for row, mask in zip(rows, counted, strict=True)] == list(passages)


def test_scores_of_passages_are_those_of_their_windows_in_any_order(run):
    text = LONG[-700:]
    passages = Passages(text)
    value = run.log_prob(passages)
    terms = run.model.log_prob_terms(run.representation.tensor([text[:128], text[128 - 64 : 192]])).detach()
    expected = [terms[0, :64].sum(), terms[0, 64:128].sum(), terms[1, 64:].sum()]
    assert np.allclose(value[:3], [float(v) for v in expected], atol=1e-3)
    order = RNG.permutation(len(passages))
    assert np.allclose(run.log_prob(passages.taken(order)), value[order], atol=1e-4)
    assert run.score(passages).density is Density.EXACT and run.representation.dims == 64
    assert np.allclose(run.log_prob_terms(passages).sum(1), value, atol=1e-3)
    assert not np.allclose(run.log_prob(list(passages))[1:], value[1:], atol=0.5)  # plain strings have no context


def test_beginnings_of_running_text_have_their_marginal_mass(run):
    alphabet = ["\ufffd", *run.representation.characters]
    longer = run.log_prob(["the" + c for c in alphabet])
    x = run.representation.tensor(["the"])
    x[0, 3] = 0
    rest = run.model.log_prob_terms(x)[0, :4].sum().item()  # the class that fills rows
    total = np.logaddexp.reduce([*longer, rest])
    assert total == pytest.approx(run.log_prob(["the"])[0], abs=1e-3)


def test_samples_are_windows_and_go_on_from_a_beginning(run):
    drawn = run.sample(3, seed=1, prefix="the king")
    assert all(text.startswith("the king") and len(text) == 128 for text in drawn)
    assert run.sample(1, seed=1, prefix="the king")[0] == drawn[0]
    assert len(run.sample(2, temperature=0.5, top_k=5)[0]) == 128


def test_parts_of_a_running_text_need_conditionals_in_order():
    data = split(tokens(LONG), "long")
    other = pofx.fit(data, "made", steps=2, progress=False, width=32, blocks=1, ordering="random")
    with pytest.raises(Unsupported, match="natural order"):
        other.log_prob(data.test.values)
    ordered = pofx.fit(data, "made", steps=2, progress=False, width=32, blocks=1)
    assert np.isfinite(ordered.log_prob(data.test.values)).all()


def test_lines_that_repeat_others_are_copies_only_where_they_are_few(tmp_path):
    lines = [f"name {i}" for i in range(95)]
    (tmp_path / "few.txt").write_text("\n".join(lines + lines[:5]))
    data = load(tmp_path / "few.txt")
    assert sum(data.card.sizes.values()) == 95 and data.card.facts["repeats_removed"] == 5
    assert sum(data.card.facts["exact_duplicates"].values()) == 0
    assert len(whole(tmp_path / "few.txt")) == 100  # what is scored is what was given
    (tmp_path / "many.txt").write_text("\n".join(["head", "tail"] * 50))
    data = load(tmp_path / "many.txt")
    assert sum(data.card.sizes.values()) == 100 and data.card.facts["repeats_removed"] == 0


def test_byte_pairs_hold_any_text():
    view = BPE.fit(tokens(LONG), vocabulary=400)
    other = "Zoë said: 日本 \t\n\n 😀 \x00 the the  end "
    for text in (LONG, other, "", " "):
        codes = view.codes(text)
        assert view.text(codes) == text and (codes >= 1).all() and (codes < view.classes).all()
    assert len(view.codes(LONG)) < 0.45 * len(LONG)
    assert view.items(view.tensor(["naïve €9", "he"])) == ["naïve €9", "he"]
    again = BPE(**json.loads(json.dumps(config.plain(config.config(view)))))
    assert np.array_equal(again.codes(other), view.codes(other)) and again.event == view.event


def test_merges_are_the_most_frequent_pairs_in_order():
    merges = learn(["ababab", "abab", "cab"], 2)
    a, b = (1 + ord(c) for c in "ab")
    assert merges == [[a, b], [257, 257]]


def test_byte_pairs_are_asked_for_and_are_a_bound():
    names = tokens([f"anna{i % 7}" + "na" * (i % 4) for i in range(60)])
    model = config.entry("gpt").model
    assert isinstance(choose(names, model), Characters)
    assert isinstance(choose(names, model, {"vocabulary": 280}), BPE)
    with pytest.raises(UsageError, match="at least 258"):
        choose(names, model, {"vocabulary": 100})
    with pytest.raises(UsageError, match="unknown view"):
        choose(tokens(RNG.integers(0, 4, (20, 5))), model, {"represent": "bpe"})
    artifact = pofx.fit(names, "gpt", steps=3, progress=False, represent="bpe", vocabulary=262, **GPT)
    score = artifact.score(["anna1na", "anna"])
    assert score.density is Density.BOUND and score.evaluations == 1 and score.stderr is None
    assert artifact.representation.dims == Characters.fit(names).dims  # numbers per character stand side by side
    assert all(text.startswith("anna") for text in artifact.sample(3, prefix="anna"))


def test_texts_of_one_segmentation_have_no_more_mass_than_texts():
    names = tokens(["aa", "a", "aaa", "b"] * 4)
    view = BPE.fit(names, vocabulary=258, length=3)
    torch.manual_seed(0)
    model = config.build("gpt", view.event, width=8, layers=1, heads=2).eval()
    artifact = pofx.artifact.Artifact(view, model, "gpt", {})
    drawn = artifact.sample(500, seed=0)
    assert len(set(drawn)) > 50  # many are not canonical: other codes, the same text
    total = np.exp(artifact.log_prob(sorted({t for t in drawn if len(view.codes(t)) <= 3}))).sum()
    assert total < 1.0


def test_unknown_characters_and_wrong_values():
    view = Characters.fit(tokens(["abc", "de"]))
    assert view.items(view.tensor(["a☃e"])) == ["a\ufffde"]
    with pytest.raises(DataError, match="9 characters, the limit is 8"):
        view.tensor(["abcdeabcd"])
    with pytest.raises(DataError, match="holds no text"):
        tokens(" \n")
    with pytest.raises(DataError, match="no texts"):
        view.tensor([])
    assert Streams(0, 2).n == 2 and view.encode(view.tensor(["a", "b"]), Streams(0, 2))[0].dtype == torch.int64
