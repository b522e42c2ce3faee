"""Molecules as tokens of their strings: atoms, bonds, rings and branches of SMILES, or the symbols of SELFIES.

A character is too small a part: `Cl`, `[nH]` and `%10` are one thing each (the expression follows the grammar of
Weininger, 1988). SELFIES (Krenn et al., 2020, arXiv 1905.13741) gives every sequence of its symbols a molecule, so
that validity is by construction and measures nothing; it needs the extra `molecules`.
"""

import importlib.util
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Self

import numpy as np
from torch import Tensor

from pofx.core.errors import DataError, UsageError
from pofx.core.model import Density
from pofx.core.representation import Items
from pofx.represent.characters import MARK, UNKNOWN
from pofx.represent.texts import END, Texts, lengths

SMILES = re.compile(r"\[[^\[\]]+\]|Br|Cl|%\d\d|%\(\d+\)|[BCNOPSFIbcnops*]|[-=#$:/\\().~]|\d")
SYMBOL = re.compile(r"\[[^\[\]]*\]|\.")


class Symbols(Texts):
    """Molecules ↔ int64 (n, length) of symbols; class 0 ends a string, class 1 is any symbol not seen in training."""

    kind = "molecules"
    codes_are = "symbols"
    options: ClassVar[tuple[str, ...]] = ("length",)

    def __init__(self, symbols: Sequence[str], length: int = 0) -> None:
        super().__init__(len(symbols) + 2, length, 0)
        self.symbols = list(symbols)
        self._index = {symbol: i + 2 for i, symbol in enumerate(self.symbols)}
        self._alphabet = ["", MARK, *self.symbols]

    @classmethod
    @abstractmethod
    def parts(cls, text: str) -> list[str]:
        """The symbols of a molecule.

        Raises:
            DataError: the string has a part that is none; the message names it.
        """

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        found = [cls.parts(text) for text in items.values]
        symbols = sorted({symbol for parts in found for symbol in parts})
        length = lengths(np.asarray([len(parts) for parts in found]))
        return cls(symbols, int(options.get("length", length)))

    def codes(self, text: str) -> np.ndarray:
        return self.coded([self.parts(text)])[0]

    def coded(self, parts: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """The codes of molecules that are given as symbols: int64 (k,) each."""
        return [np.array([self._index.get(symbol, UNKNOWN) for symbol in of], dtype=np.int64) for of in parts]

    def every(self, texts: Sequence[str]) -> list[np.ndarray]:
        return self.coded([self.parts(text) for text in texts])

    def impossible(self, values: Any) -> Mapping[int, str]:
        reasons, read = {}, dict[int, list[str]]()
        for i, text in enumerate(values):
            try:
                read[i] = self.parts(text)
            except DataError as error:
                reasons[i] = str(error)
        for i, codes in zip(read, self.coded(list(read.values())), strict=True):
            if len(codes) > self.length:
                reasons[i] = f"it has {len(codes)} {self.codes_are}, the limit is {self.length}"
        return reasons

    def tensor(self, values: Any) -> Tensor:
        values = list(self.as_batch(values))
        if not all(isinstance(v, str) for v in values):
            return super().tensor(values)  # which refuses them
        reasons = self.impossible(values)
        return super().tensor(["" if i in reasons else text for i, text in enumerate(values)])

    def training(self, values: Any) -> Tensor:
        reasons = self.impossible(values)
        if reasons:
            row, reason = next(iter(reasons.items()))
            raise DataError(f"molecule {row} cannot be learned: {reason}; leave it out")
        return super().training(values)

    def prefix(self, values: Any) -> Tensor:
        given = [values] if isinstance(values, str) else list(values)
        other = sorted({symbol for text in given for symbol in self.parts(text)} - set(self.symbols))
        if other:
            raise DataError(f"prefix has symbols that training did not have ({', '.join(other[:8])}): leave them out")
        return super().prefix(given)

    def unfamiliar(self, raw: Tensor) -> str:
        strange = int((raw == UNKNOWN).sum())
        if not strange:
            return ""
        return (
            f"{strange} of {int((raw != END).sum())} symbols were never seen in training: log p is that of any unknown "
            "symbol there"
        )

    @property
    def dims(self) -> int:
        return self.length


class Smiles(Symbols):
    """SMILES strings; every string has one sequence of symbols and back, so the log-mass is that of the string."""

    name = "smiles"
    summary = "atoms, bonds, rings and branches of SMILES as classes"
    volume = Density.EXACT

    @classmethod
    def parts(cls, text: str) -> list[str]:
        found = SMILES.findall(text)
        if sum(map(len, found)) != len(text):
            covered = {i for m in SMILES.finditer(text) for i in range(m.start(), m.end())}
            at = next(i for i in range(len(text)) if i not in covered)
            raise DataError(f"{text!r} has {text[at]!r} at place {at}, which no symbol of SMILES begins with: mend it")
        return found

    def text(self, codes: np.ndarray) -> str:
        return "".join(self._alphabet[k] for k in codes)


class Selfies(Symbols):
    """SELFIES of molecules: every sequence is valid by construction. The log-mass is that of one of many spellings."""

    name = "selfies"
    summary = "symbols of SELFIES as classes: valid by construction; a bound, by one spelling of many"
    volume = Density.BOUND
    noisy: bool = False
    on_request: ClassVar[bool] = True

    @classmethod
    def parts(cls, text: str) -> list[str]:
        library = _library()
        wrong = (library.EncoderError, library.exceptions.SMILESParserError)
        try:
            return SYMBOL.findall(library.encoder(text))
        except wrong as error:
            plain = _canonical(text)  # nitro groups of five bonds are written with charges there
            if plain is not None and plain != text:
                with suppress(*wrong):
                    return SYMBOL.findall(library.encoder(plain))
            raise DataError(f"{text!r} has no SELFIES ({type(error).__name__}): leave it out") from error

    def text(self, codes: np.ndarray) -> str:
        known = "".join(self._alphabet[k] for k in codes if k > UNKNOWN)
        return str(_library().decoder(known))


def _canonical(text: str) -> str | None:
    """The canonical spelling, where RDKit is installed and it is a molecule."""
    if importlib.util.find_spec("rdkit") is None:
        return None
    from pofx.data.chemistry import canonical  # here: it needs RDKit

    return canonical([text])[0]


def _library() -> Any:
    try:
        import selfies
    except ImportError as error:
        raise UsageError("SELFIES need the library of that name: pip install 'pofx[molecules]'") from error
    import selfies.exceptions

    return selfies
