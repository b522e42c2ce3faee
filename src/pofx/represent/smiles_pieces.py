"""SMILES in which frequent closed runs of symbols are one code each: `C(=O)N`, `ccc(F)cc`, `c1ccccc1`.

A run is closed where its branches and rings open and close within it, so that what is left as single symbols is the
structure that a model must close itself. The longest piece is taken from the left; a molecule of 39 symbols becomes one
of 18 codes, and a step of training costs half. Pairs of symbols merged without that rule, SMILES pair encoding (Li and
Fourches, 2021), are shorter still, 13 codes, but hide brackets in many codes. A string has many segmentations and the
model scores one of them, so its log-mass is a lower bound.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from pofx.core.errors import UsageError
from pofx.core.model import Density
from pofx.core.representation import Items
from pofx.represent.smiles import SMILES, Smiles
from pofx.represent.texts import lengths

VOCABULARY = 256
LONGEST = 14  # symbols of a piece, at most
LEARNED_FROM = 4_000  # molecules in which pieces are counted, at most
LEAST = 2  # times that a piece is used, to be one

OPENS, CLOSES = "%+", "%-"  # a ring, and with a number the ring that was opened so many rings ago (`smiles_rings`)
SIZED = "%~"  # a ring that closes, with the number of its atoms (`smiles_sizes`)

Run = tuple[str, ...]


class SmilesPieces(Smiles):
    """SMILES ↔ int64 (n, length) of symbols and of `pieces`, closed runs of them. `symbols_long` counts the symbols of
    an item for per-dimension numbers, as those of `smiles`."""

    name = "smiles-pieces"
    summary = "frequent closed runs of SMILES symbols as classes: a bound, by one segmentation of many"
    volume = Density.BOUND
    noisy: bool = False
    on_request: ClassVar[bool] = True
    codes_are = "pieces"
    options: ClassVar[tuple[str, ...]] = ("length", "vocabulary")
    pattern: ClassVar[re.Pattern[str]] = SMILES

    def __init__(
        self,
        symbols: Sequence[str],
        length: int = 0,
        pieces: Sequence[str] = (),
        symbols_long: int = 1,
        vocabulary: int = VOCABULARY,
    ) -> None:
        super(Smiles, self).__init__([*symbols, *pieces], length)
        self.symbols, self.pieces = list(symbols), list(pieces)
        self.symbols_long, self.vocabulary = symbols_long, vocabulary
        self._cut = Cutter([tuple(self.pattern.findall(piece)) for piece in self.pieces])

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        """The pieces of the training molecules.

        Raises:
            UsageError: a vocabulary that the symbols alone exceed.
        """
        found = [cls.parts(text) for text in items.values]
        symbols = sorted({symbol for parts in found for symbol in parts})
        vocabulary = int(options.get("vocabulary", VOCABULARY))
        most = vocabulary - len(symbols) - 2
        if most < 1:
            raise UsageError(f"vocabulary must be above {len(symbols) + 2}, the symbols (got {vocabulary})")
        pieces = learn(found[:: max(1, len(found) // LEARNED_FROM)], most)
        cut = Cutter(pieces)
        length = int(options.get("length", lengths(np.asarray([len(cut(parts)) for parts in found]))))
        longest = lengths(np.asarray([len(parts) for parts in found]))
        return cls(symbols, length, ["".join(piece) for piece in pieces], longest, vocabulary)

    def coded(self, parts: Sequence[Sequence[str]]) -> list[np.ndarray]:
        return super().coded([["".join(run) for run in self._cut(of)] for of in parts])

    @property
    def dims(self) -> int:
        return self.symbols_long


class Cutter:
    """Symbols → runs: the longest piece from the left, else the symbol alone."""

    def __init__(self, pieces: Sequence[Run]) -> None:
        self.pieces = frozenset(pieces)
        sizes: dict[str, set[int]] = {}
        for piece in pieces:
            sizes.setdefault(piece[0], set()).add(len(piece))
        self.sizes = {first: sorted(found, reverse=True) for first, found in sizes.items()}

    def __call__(self, parts: Sequence[str]) -> list[Run]:
        symbols, found, i = tuple(parts), list[Run](), 0
        while i < len(symbols):
            runs = (symbols[i : i + size] for size in self.sizes.get(symbols[i], ()))
            found.append(next((run for run in runs if run in self.pieces), symbols[i : i + 1]))
            i += len(found[-1])
        return found


def learn(molecules: Sequence[Sequence[str]], most: int) -> list[Run]:
    """At most so many pieces, those that shorten the molecules most; candidates that longer ones replace drop out."""
    counts = Counter(run for parts in molecules for run in closed(tuple(parts)))
    for share in (4, 3, 2, 1):  # overlapping candidates compete: count again what is used of ever fewer
        best = sorted(counts.items(), key=lambda item: (-item[1] * (len(item[0]) - 1), item[0]))
        cut = Cutter([run for run, n in best[: share * most] if n >= LEAST])
        counts = Counter(run for parts in molecules for run in cut(parts) if len(run) > 1)
    return sorted(cut.pieces)


def closed(symbols: Run) -> Iterator[Run]:
    """Every run of two symbols or more whose branches and rings open and close within it, and that begins with no digit
    of a ring."""
    for i, first in enumerate(symbols):
        if first == ")" or ring(first):
            continue
        depth, opened, rings = 0, 0, set[str]()
        for j in range(i, min(len(symbols), i + LONGEST)):
            symbol = symbols[j]
            depth += (symbol == "(") - (symbol == ")")
            if depth < 0:
                break
            if symbol.startswith(SIZED):
                pass  # it opens nothing
            elif symbol == OPENS:
                opened += 1
            elif symbol.startswith(CLOSES):
                if int(symbol[len(CLOSES) :]) > opened:
                    break
                opened -= 1
            elif ring(symbol):
                rings ^= {symbol}
            if j > i and depth == 0 and not opened and not rings:
                yield symbols[i : j + 1]


def ring(symbol: str) -> bool:
    """Whether a symbol opens or closes a ring."""
    return symbol[0] == "%" or symbol.isdigit()
