"""pofx.cite: BibTeX of every model's sources."""

import pytest

import pofx
from pofx.core.config import entries
from pofx.core.errors import UsageError


@pytest.mark.parametrize("name", entries())
def test_every_model_has_a_citation_with_every_arxiv_number(name):
    found, source = pofx.cite(name), entries()[name].traits.source
    assert found.startswith("@misc{") and found.count("{") == found.count("}")
    numbers = [word.strip(",;)") for word in source.split() if word[:1].isdigit() and "." in word]
    assert all(f"eprint = {{{number}}}" in found for number in numbers), source


def test_two_sources_are_two_entries():
    found = pofx.cite("vae")
    assert found.count("@misc") == 2 and "author = {Kingma and Welling}" in found and "@misc{burda2016," in found


def test_an_unknown_model_is_refused():
    with pytest.raises(UsageError, match="nsf"):
        pofx.cite("nfs")
