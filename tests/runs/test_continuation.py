"""Running text beyond the window: window after window, each text a function of the seed and its number."""

import pytest

import pofx
from pofx.core.errors import Unsupported, UsageError
from pofx.runs.continuation import long_texts

TEXT = "".join(f"line {i % 7}: {'abc' * (i % 5)} and so on.\n" for i in range(300))


@pytest.fixture(scope="module")
def run():
    return pofx.fit(pofx.tokens(TEXT), "gpt", steps=2, progress=False, width=16, heads=2, layers=1)


def test_texts_have_the_length_and_begin_with_the_prefix(run):
    for length, prefix in ((20, ""), (300, "line 3: "), (260, "a" * 200)):
        texts = long_texts(run, 3, length, prefix=prefix, seed=1)
        assert all(len(t) == length and t.startswith(prefix) for t in texts) and len(set(texts)) == 3


@pytest.mark.slow
def test_text_i_depends_on_the_seed_and_i_alone(run):
    five = long_texts(run, 5, 300, seed=2)
    assert long_texts(run, 2, 300, seed=2) == five[:2]
    assert long_texts(run, 2, 300, seed=3) != five[:2]
    assert [t[:250] for t in five] == long_texts(run, 5, 250, seed=2)


def test_within_the_window_they_are_the_samples(run):
    assert [t[:50] for t in run.sample(4, seed=5)] == long_texts(run, 4, 50, seed=5)


@pytest.mark.parametrize("length", [0, -1, 3, 2.5, "long", True, 10**9])
def test_impossible_lengths_are_refused(run, length):
    with pytest.raises(UsageError, match="length must be"):
        long_texts(run, 1, length, prefix="abc")


def test_texts_that_end_and_other_items_are_refused():
    names = pofx.fit(pofx.tokens(["anna", "bob"] * 20), "gpt", steps=1, progress=False, width=16, heads=2, layers=1)
    with pytest.raises(Unsupported, match="end by themselves"):
        long_texts(names, 1, 400)
    with pytest.raises(Unsupported, match="models of texts"):
        long_texts(pofx.fit("moons", "gmm", steps=1, progress=False), 1, 400)
