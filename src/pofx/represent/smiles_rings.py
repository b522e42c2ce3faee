"""SMILES pieces whose rings have no numbers: a ring is opened, and closed by how many were opened since.

A number in SMILES both opens and closes, and which of the two follows from everything before it; a model that confuses
two open rings closes the wrong one, or none (a ninth of the draws of a short training). Here `%+` opens a ring and
`%-1` closes the one that was opened last, `%-2` the one before, so that a benzene ring is one piece whatever its number
is; DeepSMILES (O'Boyle and Dalby, 2018) counts atoms instead. Numbers are given anew, the lowest that is free, as
canonical strings have them: another numbering of a string is the same event.
"""

import itertools
import re
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from pofx.represent.smiles import Smiles
from pofx.represent.smiles_pieces import CLOSES, OPENS, SmilesPieces, ring

RINGS = re.compile(r"%\+|%-\d+|" + r"\[[^\[\]]+\]|Br|Cl|[BCNOPSFIbcnops*]|[-=#$:/\\().~]")

BONDS = "-=#$:/\\"  # between an atom and a number


class SmilesRings(SmilesPieces):
    """SMILES ↔ int64 (n, length) of symbols, of pieces, and of rings that open and close."""

    name = "smiles-rings"
    summary = "SMILES pieces whose rings open and close without numbers: a bound, by one segmentation of many"
    pattern: ClassVar[re.Pattern[str]] = RINGS

    @classmethod
    def parts(cls, text: str) -> list[str]:
        found, open_ = [], list[str]()
        for symbol in Smiles.parts(text):
            if not ring(symbol):
                found.append(symbol)
            elif symbol in open_:
                at = len(open_) - 1 - open_[::-1].index(symbol)
                found.append(f"{CLOSES}{len(open_) - at}")
                open_.pop(at)
            else:
                found.append(OPENS)
                open_.append(symbol)
        return found

    def text(self, codes: np.ndarray) -> str:
        first = len(self.symbols) + 2  # code of the first piece
        of = [self.pattern.findall(self._alphabet[k]) if k >= first else [self._alphabet[k]] for k in map(int, codes)]
        return numbered([symbol for symbols in of for symbol in symbols if symbol])


def numbered(symbols: Sequence[str]) -> str:
    """The string of symbols, rings numbered by the lowest number that is free, which one closed on the same atom is not
    yet; what closes no ring opens one."""
    found, open_, closed = [], list[int](), list[int]()
    for symbol in symbols:
        if not symbol.startswith((OPENS, CLOSES)):
            found.append(symbol)
            closed = closed if symbol in BONDS else []
            continue
        back = int(symbol[len(CLOSES) :]) if symbol.startswith(CLOSES) else 0
        if 0 < back <= len(open_):
            number = open_.pop(-back)
            closed.append(number)
        else:
            number = next(k for k in itertools.count(1) if k not in open_ and k not in closed)
            open_.append(number)
        found.append(str(number) if number < 10 else f"%{number}" if number < 100 else f"%({number})")
    return "".join(found)
