"""SMILES pieces of Kekulé structures whose rings are closed by their size: `C=CC=CC=C%~6` is benzene.

A ring that is opened has to be closed, dozens of symbols later, on an atom that fits: of the draws of a short training
half of those that are no molecules end with an open ring. Here nothing opens. `%~6` behind an atom bonds it to the atom
five places before it on the path from the first atom, so that the ring has six atoms, as in DeepSMILES (O'Boyle and
Dalby, 2018, ChemRxiv 7097960), whose branches are left as they are. What remains to go wrong is a valence. Numbers of
rings are given anew; where that exchanges the neighbours of a stereo centre its mark is turned. Needs the extra
`molecules`.
"""

import itertools
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import numpy as np

from pofx.core.errors import DataError
from pofx.data.chemistry import canonical
from pofx.represent.smiles_kekule import SmilesKekule, aromatised, kekulised
from pofx.represent.smiles_pieces import SIZED, ring
from pofx.represent.smiles_rings import BONDS

SIZES = re.compile(r"%~\d+|" + r"\[[^\[\]]+\]|Br|Cl|[BCNOPSFIbcnops*]|[-=#$:/\\().~]")
MIRRORED = str.maketrans("/\\", "\\/")  # the direction of a bond seen from its other end


class SmilesSizes(SmilesKekule):
    """Molecules ↔ int64 (n, length) of symbols and pieces of Kekulé structures, rings as sizes where they close."""

    name = "smiles-sizes"
    summary = "SMILES pieces with the double bonds of aromatic rings written, rings as sizes: a bound"
    pattern: ClassVar[re.Pattern[str]] = SIZES

    @classmethod
    def parts(cls, text: str) -> list[str]:
        """
        Raises:
            DataError: the string is no molecule.
        """
        return list(sized(text))

    def text(self, codes: np.ndarray) -> str:
        first = len(self.symbols) + 2  # code of the first piece
        of = [self.pattern.findall(self._alphabet[k]) if k >= first else [self._alphabet[k]] for k in map(int, codes)]
        return aromatised(ringed([symbol for symbols in of for symbol in symbols if symbol]))


@lru_cache(maxsize=1 << 17)  # a molecule is read to learn pieces, to check it, and to code it
def sized(text: str) -> tuple[str, ...]:
    """The symbols of a molecule, each ring as its size behind the atom that closes it.

    Raises:
        DataError: the string is no molecule.
    """
    found = _sized(kekulised(text))
    if found is None:  # a ring between two branches: in the order of the canonical string there is none
        plain = canonical([text])[0]
        found = None if plain is None else _sized(kekulised(plain))
    if found is None:
        raise DataError(f"{text!r} has rings that do not close along one path: write it in another order")
    return tuple(found)


def _sized(symbols: Sequence[str]) -> list[str] | None:
    """Symbols with rings as sizes; None: a ring joins two branches."""
    found, atoms = list[str](), list[int]()  # the place of every atom in what is found
    before, branches = list[int](), list[int]()
    opened, numbers = dict[str, tuple[int, str, int]](), itertools.count()
    of: list[list[tuple[int, bool]]] = []  # the rings of an atom in the order of the string, and whether they close
    closed = dict[int, int]()  # which ring closes when
    last, pending = -1, ""
    for symbol in symbols:
        if symbol in BONDS:
            pending = symbol
            continue
        if ring(symbol) and symbol not in opened:
            opened[symbol] = (last, pending, which := next(numbers))
            of[last].append((which, False))
        elif ring(symbol):
            other, bond, which = opened.pop(symbol)
            size = _size(before, last, other)
            if not size:
                return None
            closed[which] = len(closed)
            of[last].append((which, True))
            found += [*filter(None, [pending or bond.translate(MIRRORED)]), f"{SIZED}{size}"]
        else:
            found += [*filter(None, [pending]), symbol]
            if symbol == "(":
                branches.append(last)
            elif symbol == ")":
                last = branches.pop()
            elif symbol == ".":
                last = -1
            else:
                before.append(last)
                atoms.append(len(found) - 1)
                of.append([])
                last = len(atoms) - 1
        pending = ""
    for place, rings in zip(atoms, of, strict=True):
        if "@" in found[place] and _odd([(not closes, closed[which]) for which, closes in rings]):
            found[place] = found[place].replace("@@", "@") if "@@" in found[place] else found[place].replace("@", "@@")
    return found


def _size(before: Sequence[int], at: int, to: int) -> int:
    """The number of atoms from one back to another, each on the path of the next; 0 where it is not on it."""
    count = 1
    while at not in (to, -1):
        at, count = before[at], count + 1
    return count if at == to else 0


def _odd(keys: Sequence[tuple[bool, int]]) -> bool:
    """Whether sorting exchanges an odd number of pairs."""
    return sum(a > b for a, b in itertools.combinations(keys, 2)) % 2 == 1


def ringed(symbols: Sequence[str]) -> str:
    """The string of symbols whose rings are sizes, numbered by the lowest number that is free; a size that reaches
    beyond the first atom closes a ring that nothing opened, so that the string is no molecule."""
    found, before, branches = list[str](), list[int](), list[int]()
    of: list[tuple[list[tuple[int, str]], list[tuple[int, str]]]] = []  # rings that close on an atom, and that open
    atoms, last, pending, rings = list[int](), -1, "", 0
    for symbol in symbols:
        if symbol in BONDS:
            pending += symbol
            continue
        if symbol.startswith(SIZED):
            at, left = last, int(symbol[len(SIZED) :]) - 1
            while at >= 0 and left > 0:
                at, left = before[at], left - 1
            if last < 0:
                return "".join(symbols)
            of[last][0].append((rings, pending))
            if at >= 0:
                of[at][1].append((rings, ""))
            rings, pending = rings + 1, ""
            continue
        found += [*filter(None, [pending]), symbol]
        pending = ""
        if symbol == "(":
            branches.append(last)
        elif symbol == ")":
            last = branches.pop() if branches else -1
        elif symbol == ".":
            last = -1
        else:
            before.append(last)
            atoms.append(len(found) - 1)
            of.append(([], []))
            last = len(atoms) - 1
    numbers, used = dict[int, int](), set[int]()
    for place, (closes, opens) in zip(atoms, of, strict=True):
        free = set[int]()
        for which, bond in [*closes, *opens]:
            if which in numbers:
                free.add(numbers[which])
            else:
                numbers[which] = next(k for k in itertools.count(1) if k not in used)
                used.add(numbers[which])
            number = numbers[which]
            found[place] += bond + (str(number) if number < 10 else f"%{number}" if number < 100 else f"%({number})")
        used -= free
    return "".join([*found, pending])
