"""Captions use a few words again and again: another word is named where it is given."""

from types import SimpleNamespace

import pytest
import torch

import pofx
from pofx.conditioned import raw_condition
from pofx.represent.characters import Characters, vocabulary

CAPTIONS = [f"{n} {c} squares" for n in ("two", "three") for c in ("red", "blue")] * 20


def test_a_word_that_no_caption_has_is_named_beside_those_that_are_known():
    view = Characters.fit(pofx.tokens(CAPTIONS))
    assert view.words.split() == ["blue", "red", "squares", "three", "two"]
    assert view.unfamiliar(view.tensor(["two red squares", "three blue squares"])) == ""
    note = view.unfamiliar(view.tensor(["two squared reds"]))
    assert note.startswith("no text of training has the words squared, reds, of which the model knows nothing")
    assert note.endswith("its words are blue, red, squares, three, two")
    assert "has the word ???ee?, of which" in view.unfamiliar(view.tensor(["two GREeeN squares"]))
    assert view.unfamiliar(view.tensor(["two ; red squares"])).startswith("1 of 17 characters were never seen")


def test_texts_of_many_words_and_runs_from_before_have_no_list_of_words():
    assert vocabulary(f"{i} a" for i in range(100)) == "" and vocabulary(["anna", "otto"]) == ""
    assert vocabulary(["ACDE", "ACDF"] * 99) == ""  # sequences, not sentences
    assert Characters(4, "ab", 3).unfamiliar(torch.tensor([[2, 3, 0]])) == ""


def test_a_caption_of_other_words_warns_where_it_is_a_condition():
    run = SimpleNamespace(conditioning=Characters.fit(pofx.tokens(CAPTIONS)), name="run")
    with pytest.warns(UserWarning, match=r"no text of training has the word dra\?o\?s"):
        raw_condition(run, "two red dragons", 2, 0)
