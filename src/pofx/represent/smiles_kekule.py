"""SMILES pieces of Kekulé structures: rings are written with single and double bonds, `C1=CC=CC=C1`, without numbers.

Small letters state that a ring is aromatic, and whether bonds can be placed so follows from the whole ring system: a
tenth of the draws of a short training have one that cannot be kekulised. Here the bonds are written, the earliest
double first, so that what is left to go wrong is the valence of an atom, which its neighbours show. Decoding writes
aromatic rings with small letters again, in the order of the string. The rule of aromaticity is RDKit's; double bonds
are placed by Kekulé's condition, each atom in one (a perfect matching). Needs the extra `molecules`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from torch import Tensor

from pofx.core.errors import DataError
from pofx.data.chemistry import chemistry
from pofx.represent.smiles import Smiles
from pofx.represent.smiles_pieces import ring
from pofx.represent.smiles_rings import BONDS, SmilesRings

TRIED = 2_000  # placements of double bonds that are tried before RDKit's is taken
INSIDE = re.compile(r"\[(\d*)([A-Za-z][a-z]?)(.*)\]")
LETTERS = {"B", "C", "N", "O", "P", "S"}  # that are written without brackets


class SmilesKekule(SmilesRings):
    """Molecules ↔ int64 (n, length) of symbols and pieces of Kekulé structures, and of rings that open and close."""

    name = "smiles-kekule"
    summary = "SMILES pieces with the double bonds of aromatic rings written, rings without numbers: a bound"

    @classmethod
    def parts(cls, text: str) -> list[str]:
        """
        Raises:
            DataError: the string is no molecule.
        """
        return super().parts("".join(kekulised(text)))

    def prefix(self, values: Any) -> Tensor:
        given = [values] if isinstance(values, str) else list(values)
        for text in given:
            if text and _parsed(text) is None:
                raise DataError(
                    f"prefix must be a molecule, which the draws continue (got {text!r}): the double bonds of a part "
                    "of a ring are not known; close its rings, or train with tokens='smiles-pieces'"
                )
        return super().prefix(given)

    def text(self, codes: np.ndarray) -> str:
        return aromatised(super().text(codes))


@lru_cache(maxsize=1 << 17)  # a molecule is read to learn pieces, to check it, and to code it
def kekulised(text: str) -> tuple[str, ...]:
    """The symbols of a molecule, in the order of its string, with the double bonds of aromatic rings.

    Raises:
        DataError: the string is no molecule.
    """
    symbols = Smiles.parts(text)
    if not text:
        return ()
    molecule = _parsed(text)
    if molecule is None:
        raise DataError(f"{text!r} is no molecule: check its rings, brackets and valences")
    flat = {b.GetIdx() for b in molecule.GetBonds() if b.GetIsAromatic()}
    if not flat:
        return tuple(symbols)
    double = _doubles(molecule)

    def atom(at: int, symbol: str) -> str:
        if not molecule.GetAtomWithIdx(at).GetIsAromatic():
            return symbol
        if symbol == "[nH]":
            return "N"
        found = INSIDE.fullmatch(symbol)
        return symbol.upper() if found is None else f"[{found[1]}{found[2].capitalize()}{found[3]}]"

    def bond(index: int, symbol: str) -> str:
        if index in flat:
            return "=" if index in double else symbol.strip("-:")  # "/" and "\\" stay
        return "" if symbol == "-" else symbol

    return tuple(_rewritten(symbols, molecule, atom, bond))


def aromatised(text: str) -> str:
    """The string with aromatic atoms in small letters, in the same order; what is no molecule as it is."""
    molecule = _parsed(text)
    if molecule is None or not any(b.GetIsAromatic() for b in molecule.GetBonds()):
        return text

    def atom(at: int, symbol: str) -> str:
        of = molecule.GetAtomWithIdx(at)
        if not of.GetIsAromatic():
            return symbol
        if symbol in LETTERS:
            return f"[{symbol.lower()}H]" if symbol in ("N", "P") and of.GetTotalNumHs() else symbol.lower()
        found = INSIDE.fullmatch(symbol)
        return symbol.lower() if found is None else f"[{found[1]}{found[2].lower()}{found[3]}]"

    def bond(index: int, symbol: str) -> str:
        of = molecule.GetBondWithIdx(index)
        if of.GetIsAromatic():
            return symbol.strip("-=")
        ends = of.GetBeginAtom().GetIsAromatic() and of.GetEndAtom().GetIsAromatic()
        return "-" if ends and symbol == "" else symbol

    written = "".join(_rewritten(Smiles.parts(text), molecule, atom, bond))
    return written if _parsed(written) is not None else text


def _parsed(text: str) -> Any:
    """The molecule of a string, its atoms in the order of the string; None where it is none."""
    chem = chemistry()
    how = chem.SmilesParserParams()
    how.removeHs = False
    molecule = chem.MolFromSmiles(text, how)
    return molecule if molecule is not None and molecule.GetNumAtoms() else None


@dataclass
class _Place:
    """One symbol: the bond before it, as an index of the molecule, and the symbols of that bond."""

    symbol: str
    kind: str  # atom, opens, closes, other
    bond: int = -1
    written: str = ""


def _rewritten(symbols: Sequence[str], molecule: Any, atom: Any, bond: Any) -> Iterator[str]:
    """Symbols with atoms and bonds replaced: atom(index, symbol), bond(index, symbol) → symbol."""
    places, branches, rings = list[_Place](), list[int](), dict[str, tuple[int, _Place]]()
    last, count, pending = -1, 0, ""
    for symbol in symbols:
        if symbol in BONDS:
            pending = symbol
            continue
        place = _Place(symbol, "other", written=pending)
        if symbol == "(":
            branches.append(last)
        elif symbol == ")":
            last = branches.pop()
        elif symbol == ".":
            last = -1
        elif not ring(symbol):
            place.kind = "atom"
            if last >= 0:
                place.bond = molecule.GetBondBetweenAtoms(last, count).GetIdx()
            last, count = count, count + 1
        elif symbol in rings:
            other, opened = rings.pop(symbol)
            place.kind, place.bond = "closes", molecule.GetBondBetweenAtoms(other, last).GetIdx()
            place.written = place.written or opened.written
            opened.written, opened.bond = "", -1  # the bond of a ring is written where it closes
        else:
            place.kind = "opens"
            rings[symbol] = (last, place)
        pending = ""
        places.append(place)
    at = 0
    for place in places:
        if place.bond >= 0:
            place.written = bond(place.bond, place.written)
        if place.written:
            yield place.written
        if place.kind == "atom":
            yield atom(at, place.symbol)
            at += 1
        else:
            yield place.symbol


def _doubles(molecule: Any) -> set[int]:
    """Indices of the aromatic bonds that are double: each atom that has one has exactly one, early ones first."""
    chem = chemistry()
    placed = chem.Mol(molecule)
    chem.Kekulize(placed, clearAromaticFlags=True)
    aromatic = [b for b in molecule.GetBonds() if b.GetIsAromatic()]
    theirs = {b.GetIdx() for b in aromatic if placed.GetBondWithIdx(b.GetIdx()).GetBondTypeAsDouble() == 2}
    ends = {b.GetIdx(): tuple(sorted((b.GetBeginAtomIdx(), b.GetEndAtomIdx()))) for b in aromatic}
    inside = {a for index in theirs for a in ends[index]}
    to: dict[int, dict[int, int]] = {a: {} for a in inside}
    for index, (a, b) in ends.items():
        if a in inside and b in inside:
            to[a][b] = to[b][a] = index
    return _matched(to) or theirs


def _matched(to: Mapping[int, Mapping[int, int]]) -> set[int]:
    """The first perfect matching: in order, each atom takes the first neighbour with which the rest has one.

    Empty where none is found in TRIED attempts.
    """
    order, tries = sorted(to), 0
    taken: dict[int, int] = {}
    stack: list[tuple[int, Iterator[int]]] = []

    def options(a: int) -> tuple[int, Iterator[int]]:
        return a, iter(sorted(b for b in to[a] if b not in taken))

    while len(taken) < len(order):
        if not stack or stack[-1][0] in taken:
            stack.append(options(next(a for a in order if a not in taken)))
        atom, others = stack[-1]
        tries += 1
        partner = next(others, None)
        if partner is not None and tries < TRIED:
            taken[atom], taken[partner] = partner, atom
            continue
        stack.pop()
        if not stack or tries >= TRIED:
            return set()
        before = stack[-1][0]
        del taken[taken[before]], taken[before]
    return {to[a][b] for a, b in taken.items()}
