"""Running text is compared at one length, so that longer samples do not look like copies; other items are untouched."""

import numpy as np

import pofx
from pofx.data.sources import load
from pofx.evaluate.arrangement import arrange, of_one_length
from pofx.evaluate.features import fit_spaces
from pofx.evaluate.suite import compare_samples


def text(seed, n):
    """A random walk over words: fresh samples are as new as held-out text."""
    words = ["alpha", "beta", "gamma", "delta", "omega", "kappa", "sigma", "theta"]
    return " ".join(np.random.default_rng(seed).choice(words, n))


def test_samples_twice_as_long_as_passages_are_no_copies():
    data = load(pofx.tokens(text(0, 12_000)))
    whole = text(1, 6000)
    long = [whole[i : i + 128] for i in range(0, len(whole) - 128, 128)][:240]
    plan, spaces = arrange(data, 60), fit_spaces(data.train, ("pca",))
    samples, cut, said = of_one_length(long, data)
    assert {len(v) for v in samples} == {64} and "64 characters" in said and cut.train.values is data.train.values
    read = {m.metric: m for m in compare_samples(samples, cut, plan, spaces)}
    assert read["near_copy"].value > 0.01 and "length_ratio" not in read


def test_shorter_samples_shorten_the_passages_and_other_items_stay():
    data = load(pofx.tokens(text(0, 3000)))
    samples, cut, _ = of_one_length(["alpha beta"] * 30, data)
    assert {len(v) for v in samples} == {10} and {len(v) for v in cut.test.values} <= set(range(11))
    assert len(cut.test) == len(data.test)
    lines = load(pofx.tokens(["anna", "bob", "eve"] * 20))
    kept, same, said = of_one_length(["a", "bb"], lines)
    assert kept == ["a", "bb"] and same is lines and said == ""
