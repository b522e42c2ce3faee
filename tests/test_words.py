"""Plain technical English: the dialect that CONTRIBUTING lists may only become rarer."""

import json

import pytest

import words

# uses of old that are left, by file; `python tests/words.py FILE…` lists them
LEFT = json.loads((words.ROOT / "tests" / "words_left.json").read_text())
FOUND = {str(path.relative_to(words.ROOT)): words.found(path, words.dialect()) for path in words.files()}


def test_the_list_is_read():
    assert words.dialect().findall("It TOLD us what stands `told` there, always") == ["TOLD", "stands", "told"]
    assert len(FOUND) > 250


@pytest.mark.parametrize("path", sorted(path for path in FOUND if FOUND[path]))
def test_text_is_in_plain_technical_english(path):
    uses = FOUND[path]
    assert len(uses) <= LEFT.get(path, 0), "\n".join(["see the list in CONTRIBUTING.md:", *uses])
