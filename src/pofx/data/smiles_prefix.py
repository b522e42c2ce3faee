"""Beginnings of SMILES strings: what may come next so that the whole can still become a molecule.

A beginning holds the free valence of its atoms, its open branches and its open rings. A symbol is admitted where the
grammar of SMILES and the valences of both ends allow it, and where an atom with a free valence remains on which open
rings can be closed, so that some ending always exists. The capacity of an atom is the number of single bonds that RDKit
accepts for it, its hydrogens left to fill the rest. In Kekulé structures the valences are the whole truth; of aromatic
small letters only their number of neighbours is known here, not whether double bonds can be placed in a ring.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from pofx.data.chemistry import chemistry

OPENS, CLOSES = "%+", "%-"  # of rings without numbers
SIZED = "%~"  # of rings that close by the number of their atoms
ORDERS = {"-": 1, "=": 2, "#": 3, "$": 4, ":": 1, "/": 1, "\\": 1}
MOST = 6  # bonds of an atom
AROMATIC = re.compile(r"\[?\d*(c|n|o|s|p|b|se|te|as)@{0,2}(H\d*)?([+-]*\d*)\]?")
EACH = 3  # symbols that closing a ring takes, at most: two atoms and its number


@lru_cache(maxsize=4096)
def capacity(symbol: str) -> int:
    """Bonds that an atom can have, double ones counted twice; small letters: neighbours in their ring and beside it."""
    ring = AROMATIC.fullmatch(symbol)
    if ring is not None:
        element, hydrogens, charge = ring.groups(default="")
        number = hydrogens[1:] or "1" if hydrogens else "0"
        more = charge.startswith("+") and element not in ("c", "n", "p", "b")
        fewer = charge.startswith("-") and element in ("n", "p")
        return max(0, (3 if element in ("c", "n", "p", "b") else 2) + more - fewer - int(number))
    chem = chemistry()
    found = 0
    for k in range(1, MOST + 1):
        if chem.MolFromSmiles("C" + symbol + "(C)" * (k - 1)) is None:
            if found:
                break
            continue
        found = k
    return found


@dataclass(frozen=True)
class Beginning:
    """The state behind a beginning of a string.

    Attributes:
        free: free valences of the atoms so far.
        before: the atom before each of them on its path; -1: none.
        at: the atom on which the string goes on; -1: none.
        branches: atoms to which open branches belong.
        rings: of open rings their atom, the order of the bond or 0 where it is not stated, and their number.
        bonds: pairs of atoms that are bonded.
        flat: atoms in small letters, of which bonds are counted and not their orders.
        pending: the order of a bond that has no end yet; 0: none.
        last: what the last symbol was: start, atom, bond, ring, opens, closes.
    """

    free: tuple[int, ...] = ()
    before: tuple[int, ...] = ()
    at: int = -1
    branches: tuple[int, ...] = ()
    rings: tuple[tuple[int, int, str], ...] = ()
    bonds: frozenset[tuple[int, int]] = field(default=frozenset())
    flat: frozenset[int] = field(default=frozenset())
    pending: int = 0
    last: str = "start"
    ringed: bool = True  # whether a ring may open or close here: not behind a branch

    def after(self, symbol: str) -> "Beginning | None":
        """The state behind a further symbol; None where it cannot follow."""
        if symbol in ORDERS:
            order = ORDERS[symbol]
            room = self.at >= 0 and not self.pending and self.free[self.at] >= self._cost(self.at, order)
            return replace(self, pending=order, last="bond") if room else None
        if symbol == "(":
            inside = self.at >= 0 and not self.pending and self.last != "opens" and self.free[self.at] >= 1
            return replace(self, branches=(*self.branches, self.at), last="opens", ringed=False) if inside else None
        if symbol == ")":
            if not self.branches or self.pending or self.last == "opens":
                return None
            return replace(self, at=self.branches[-1], branches=self.branches[:-1], last="closes", ringed=False)
        if symbol == ".":
            whole = self.ends and not self.rings
            return replace(self, at=-1, last="start") if whole else None
        if symbol[0] == "%" or symbol.isdigit():
            return self._ring(symbol)
        return self._atom(symbol)

    def _atom(self, symbol: str) -> "Beginning | None":
        most, new = capacity(symbol), len(self.free)
        small = AROMATIC.fullmatch(symbol) is not None
        flat = self.flat | {new} if small else self.flat
        if self.at < 0:
            free, before = (*self.free, most), (*self.before, -1)
            return replace(self, free=free, before=before, at=new, flat=flat, last="atom", ringed=True)
        order = self.pending or 1
        here, there = self._cost(self.at, order), 1 if small else order
        if self.free[self.at] < here or most < there:
            return None
        free, bonds = (*self._less(self.at, here), most - there), self.bonds | {(self.at, new)}
        before = (*self.before, self.at)
        return replace(
            self, free=free, before=before, at=new, bonds=bonds, flat=flat, pending=0, last="atom", ringed=True
        )

    def _cost(self, atom: int, order: int) -> int:
        """What a bond takes of an atom's capacity."""
        return 1 if atom in self.flat else order

    def _ring(self, symbol: str) -> "Beginning | None":
        if self.at < 0 or not self.ringed:
            return None
        if symbol.startswith(SIZED):
            return self._sized(int(symbol[len(SIZED) :]))
        back = self._of(symbol)
        if back is None:
            order = self._cost(self.at, self.pending or 1)
            if symbol.startswith(CLOSES) or self.free[self.at] < order:
                return None
            rings = (*self.rings, (self.at, self.pending, symbol))
            return replace(self, free=self._less(self.at, order), rings=rings, pending=0, last="ring")
        other, stated, _ = self.rings[back]
        order = self.pending or stated or 1
        pair = (min(other, self.at), max(other, self.at))
        if other == self.at or pair in self.bonds or (self.pending and stated and self.pending != stated):
            return None
        here = self._cost(self.at, order)
        more = self._cost(other, order) - self._cost(other, stated or 1)  # the opening atom gave up its part before
        if self.free[self.at] < here or self.free[other] < more:
            return None
        free = replace(self, free=self._less(self.at, here))._less(other, more)
        rings = (*self.rings[:back], *self.rings[back + 1 :])
        return replace(self, free=free, rings=rings, bonds=self.bonds | {pair}, pending=0, last="ring")

    def _sized(self, size: int) -> "Beginning | None":
        """The state behind a ring of so many atoms, which closes here."""
        other, order = self.at, self.pending or 1
        for _ in range(size - 1):
            other = self.before[other] if other >= 0 else -1
        pair = (other, self.at)
        if other < 0 or other == self.at or pair in self.bonds:
            return None
        costs = [self._cost(atom, order) for atom in pair]
        if any(self.free[atom] < cost for atom, cost in zip(pair, costs, strict=True)):
            return None
        free = replace(self, free=self._less(other, costs[0]))._less(self.at, costs[1])
        return replace(self, free=free, bonds=self.bonds | {pair}, pending=0, last="ring")

    def _of(self, symbol: str) -> int | None:
        """The place of the open ring that a symbol closes."""
        if symbol == OPENS:
            return None
        if symbol.startswith(CLOSES):
            back = int(symbol[len(CLOSES) :])
            return len(self.rings) - back if 0 < back <= len(self.rings) else None
        return next((k for k, (_, _, number) in enumerate(self.rings) if number == symbol), None)

    def _less(self, atom: int, order: int) -> tuple[int, ...]:
        return (*self.free[:atom], self.free[atom] - order, *self.free[atom + 1 :])

    @property
    def ends(self) -> bool:
        """Whether the string may end here."""
        return not (self.pending or self.branches or self.rings) and self.last not in ("start", "opens")

    @property
    def closable(self) -> bool:
        """Whether an atom of the chain, or of an open branch, has a free valence for what closes the open rings."""
        if not self.rings:
            return True
        return self.at >= 0 and any(self.free[a] >= 1 for a in (self.at, *self.branches))

    @property
    def needed(self) -> int:
        """Symbols that an ending takes, at most."""
        return len(self.branches) + EACH * len(self.rings) + (self.pending > 0 or self.last in ("start", "opens"))


def followed(state: Beginning, symbols: Sequence[str]) -> Beginning | None:
    """The state behind several symbols; None where they cannot follow, or leave rings that no atom can close."""
    for symbol in symbols:
        found = state.after(symbol)
        if found is None:
            return None
        state = found
    return state if state.closable else None
