"""Plain technical English: the dialect that CONTRIBUTING lists is used nowhere."""

import pytest

import words

FOUND = {str(path.relative_to(words.ROOT)): words.found(path, words.dialect()) for path in words.files()}


def test_the_list_is_read():
    assert words.dialect().findall("It TOLD us what stands `told` there, always") == ["TOLD", "stands", "told"]
    assert len(FOUND) > 250


@pytest.mark.parametrize("path", sorted(FOUND))
def test_text_is_in_plain_technical_english(path):
    assert not FOUND[path], "\n".join(["see the list in CONTRIBUTING.md:", *FOUND[path]])
