"""Texts as byte pairs: frequent runs of bytes become one code, so that sequences are shorter and never unknown.

The pairs are merged in the order in which training found them (Sennrich, Haddow and Birch, 2016, arXiv 1508.07909),
over bytes as in Radford et al., 2019. A text has many segmentations and the model scores one of them, so the
log-mass of its codes is a lower bound on that of the text. Needs the extra `text` (🤗 tokenizers).
"""

import json
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from pofx.core.errors import UsageError
from pofx.core.model import Density
from pofx.core.representation import Items
from pofx.data.passages import PASSAGE, Passages
from pofx.represent.texts import WINDOW, Texts, lengths

VOCABULARY = 1024


class BPE(Texts):
    """Strings ↔ int64 (n, length) of byte-pair codes; class 0 ends a text. `merges` are pairs of codes, in order.

    `characters` is the number of characters that one item counts for per-dimension numbers, as those of `characters`.
    """

    name = "bpe"
    summary = "byte pairs as classes: a bound, by one segmentation of many"
    volume = Density.BOUND
    noisy = False
    on_request = True
    codes_are = "byte pairs"
    options = ("length", "vocabulary")

    def __init__(
        self,
        merges: Sequence[Sequence[int]],
        length: int = 0,
        passage: int = 0,
        characters: int = 1,
        vocabulary: int = VOCABULARY,
    ) -> None:
        super().__init__(257 + len(merges), length, passage)
        self.merges = [[int(a), int(b)] for a, b in merges]
        self.characters, self.vocabulary = characters, vocabulary
        self._pieces = [b"", *(bytes([i]) for i in range(256))]  # the bytes of each code
        for a, b in self.merges:
            self._pieces.append(self._pieces[a] + self._pieces[b])
        self._tokenizer: Any = None

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        """The merges of the training texts, and their length in codes as `characters` has it in characters.

        Raises:
            UsageError: a vocabulary below 258, or 🤗 tokenizers is not installed.
        """
        values = items.values
        vocabulary = int(options.get("vocabulary", VOCABULARY))
        if vocabulary < 258:
            raise UsageError(f"vocabulary must be at least 258, the bytes, an end and a pair (got {vocabulary})")
        running = isinstance(values, Passages)
        texts = values.text.splitlines(keepends=True) if isinstance(values, Passages) else values
        merges = learn(texts, vocabulary - 257)
        if running:
            length, size = WINDOW, PASSAGE
        else:
            probe = cls(merges, length=1)
            length = lengths(np.asarray([len(probe.codes(v)) for v in values]))
            size = lengths(np.asarray([len(v) for v in values]))
        length = int(options.get("length", length))
        return cls(merges, length, PASSAGE if running else 0, size, vocabulary)

    def codes(self, text: str) -> np.ndarray:
        return self._encoding(text)[0]

    def edges(self, text: str, places: np.ndarray) -> np.ndarray:
        begins = self._encoding(text)[1]
        return np.searchsorted(begins, places, side="left")

    def text(self, codes: np.ndarray) -> str:
        return b"".join(self._pieces[k] for k in codes).decode("utf-8", "replace")

    @property
    def dims(self) -> int:
        return self.characters

    def _encoding(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """The codes of a text, and the character in which each begins."""
        if self._tokenizer is None:
            symbols = _symbols()
            names = ["", *symbols]
            for a, b in self.merges:
                names.append(names[a] + names[b])
            known = {name: i for i, name in reversed(list(enumerate(names)))}
            pairs = [(names[a], names[b]) for a, b in self.merges]
            self._tokenizer = _tokenizer(known, pairs)
        found = self._tokenizer.encode(text)
        codes = np.asarray(found.ids, dtype=np.int64)
        begins = np.asarray([a for a, _ in found.offsets], dtype=np.int64)
        return codes, begins


def learn(texts: Sequence[str], merges: int) -> list[list[int]]:
    """At most so many merges, the most frequent pair first: pairs of codes, where code 1 + b is the byte b."""
    library = _library()
    tokenizer = _tokenizer({symbol: i + 1 for i, symbol in enumerate(_symbols())}, [])
    trainer = library.trainers.BpeTrainer(
        vocab_size=256 + merges,
        initial_alphabet=_symbols(),
        show_progress=False,
        special_tokens=[],
    )
    tokenizer.train_from_iterator(texts, trainer)
    found = json.loads(tokenizer.to_str())["model"]["merges"]
    codes = {symbol: i + 1 for i, symbol in enumerate(_symbols())}
    pairs = []
    for a, b in found:
        pairs.append([codes[a], codes[b]])
        codes.setdefault(a + b, 256 + len(pairs))
    return pairs


def _tokenizer(known: dict[str, int], pairs: list[tuple[str, str]]) -> Any:
    library = _library()
    tokenizer = library.Tokenizer(library.models.BPE(vocab=known, merges=pairs))
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def _symbols() -> list[str]:
    """The printable symbols for the bytes 0 to 255 that 🤗 tokenizers works with: printable bytes represent
    themselves, the others for the characters from 256 on."""
    plain = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(b if b in plain else next(others)) for b in range(256)]


def _library() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise UsageError("byte pairs need 🤗 tokenizers: pip install 'pofx[text]'") from error
    return tokenizers
