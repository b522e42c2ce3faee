"""Plain technical English: the dialect that CONTRIBUTING lists is used nowhere."""

import pytest

import words

FILES = {str(path.relative_to(words.ROOT)): path for path in words.files()}


def test_the_list_is_read():
    assert words.dialect().findall("It TOLD us what stands `told` there, always") == ["TOLD", "stands", "told"]
    assert len(FILES) > 250


@pytest.mark.parametrize("path", sorted(FILES))
def test_text_is_in_plain_technical_english(path):
    found = words.found(FILES[path], words.dialect())
    assert not found, "\n".join(["see the list in CONTRIBUTING.md:", *found])
