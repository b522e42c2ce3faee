"""Texts as characters, each a class. Class 0 ends a text and fills the rest; class 1 is any character not seen in
training."""

import re
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any, Self

import numpy as np
from torch import Tensor

from pofx.core.errors import LISTED, DataError
from pofx.core.model import Density
from pofx.core.options import short
from pofx.core.representation import Items
from pofx.data.passages import PASSAGE, Passages
from pofx.represent.texts import END, WINDOW, Texts, lengths

UNKNOWN, MARK = 1, "\ufffd"
WORDS, OFTEN = 200, 20  # words of texts that use few of them, and how often they use each in the mean
WORD = re.compile(rf"{MARK}*[^\W_](?:[^\W_]|{MARK})*")


class Characters(Texts):
    """Strings ↔ int64 (n, length); the log-mass is that of the text with its end."""

    name = "characters"
    summary = "characters as classes, to a fixed length"
    volume = Density.EXACT
    options = ("length",)

    def __init__(self, classes: int, characters: str, length: int = 0, passage: int = 0, words: str = "") -> None:
        super().__init__(classes, length, passage)
        self.words = words  # all that training texts use, with blanks between, where these are few
        if classes != len(characters) + 2 or len(set(characters)) != len(characters):
            raise DataError(f"characters must be {classes - 2} different ones (got {short(characters)})")
        self.characters = characters
        self._alphabet = ["", MARK, *characters]
        points = np.array([ord(c) for c in characters], dtype=np.int64)
        self._index = np.full(
            int(points.max(initial=0)) + 2, UNKNOWN, dtype=np.int64
        )  # by code point; the last: others
        self._index[points] = np.arange(2, len(points) + 2)

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        """The alphabet of the training texts; by default their greatest length and a little more, for longer ones."""
        values = items.values
        if isinstance(values, Passages):
            characters, length, passage, words = "".join(sorted(set(values.text))), WINDOW, PASSAGE, ""
        else:
            characters = "".join(sorted(set().union(*values)))
            length, passage, words = lengths(np.asarray([len(v) for v in values])), 0, vocabulary(values)
        return cls(len(characters) + 2, characters, int(options.get("length", length)), passage, words)

    def codes(self, text: str) -> np.ndarray:
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        return self._index[np.minimum(points, len(self._index) - 1)]

    def prefix(self, values: Any) -> Tensor:
        """Strings of known characters: the beginnings of texts, at most `length` long; or tuples of strings and of how
        many unknown characters lie between them, such as ("To be, ", 6, " not to be"). What follows is unknown.

        Raises:
            DataError: characters that training did not have; a model cannot continue what it has never seen.
        """
        given = [values] if isinstance(values, str | tuple) else list(values) if isinstance(values, Collection) else []
        parts = [part for text in given for part in (text if isinstance(text, tuple) else (text,))]
        other = sorted({c for text in parts if isinstance(text, str) for c in text} - set(self.characters))
        if other:
            shown = ", ".join(repr(c) for c in other[:8])
            raise DataError(f"prefix has characters that training did not have ({shown}): write it without them")
        if not any(isinstance(text, tuple) for text in given):
            return super().prefix(values)
        filled = [text if isinstance(text, tuple) else (text,) for text in given]
        for part in parts:
            if isinstance(part, bool) or not isinstance(part, str | int | np.integer) or part == "" or part == 0:
                raise DataError(f"a prefix with gaps has strings and numbers of characters (got {short(repr(part))})")
            if not isinstance(part, str) and not 1 <= part <= self.length:
                raise DataError(f"a gap must have 1 to {self.length} characters (got {part})")
        some = self.characters[0]
        known = super().prefix(["".join(p if isinstance(p, str) else some * int(p) for p in text) for text in filled])
        for row, text in zip(known, filled, strict=True):
            at = 0
            for part in text:
                size = len(part) if isinstance(part, str) else int(part)
                if not isinstance(part, str):
                    row[at : at + size] = -1
                at += size
        return known

    def unfamiliar(self, raw: Tensor) -> str:
        known = set(self.words.split())
        used = dict.fromkeys(word for text in self.items(raw) for word in WORD.findall(text)) if known else {}
        other = [word.replace(MARK, "?") for word in used if word not in known]
        if other:
            return (
                f"no text of training has the word{'s' * (len(other) > 1)} {_some(other)}, of which the model knows "
                f"nothing: its words are {_some(sorted(known))}"
            )
        strange, every = int((raw == UNKNOWN).sum()), int((raw != END).sum())
        if not strange:
            return ""
        return (
            f"{strange} of {every} characters were never seen in training: log p is that of any unknown character there"
        )

    def text(self, codes: np.ndarray) -> str:
        return "".join(self._alphabet[k] for k in codes)

    @property
    def dims(self) -> int:
        return self.passage or self.length


def vocabulary(texts: Iterable[str]) -> str:
    """The words of texts that use a few again and again, such as captions, with blanks between; else nothing."""
    counts: Counter[str] = Counter()
    for n, text in enumerate(texts, 1):
        counts.update(WORD.findall(text))
        if len(counts) > WORDS or (n > OFTEN and counts.total() < 2 * n):  # sequences of letters are no sentences
            return ""
    return " ".join(sorted(counts)) if counts.total() >= OFTEN * len(counts) else ""


def _some(words: list[str]) -> str:
    return ", ".join(words[:LISTED]) + (" …" if len(words) > LISTED else "")
