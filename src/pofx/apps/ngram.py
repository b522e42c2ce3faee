"""The table of n-grams: the floor of every model of sequences (Shannon, 1948), smoothed by Witten and Bell, 1991.

p(w | h) = (c(h w) + T(h) p(w | h')) / (c(h) + T(h)), where T(h) is the number of different symbols seen after h and h'
is h without its first symbol; below the empty context every symbol is equally probable.
"""

import copy
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from pofx.core.errors import UsageError

END: Hashable = None  # after the last symbol of a sequence
Symbols = Sequence[Hashable]


class NGram:
    """Counts of 1- to n-grams of sequences."""

    def __init__(self, sequences: Iterable[Symbols], order: int = 5, ends: bool = True) -> None:
        """Args:
        order: symbols of the longest counted sequence.
        ends: whether sequences end, which is then a symbol too.
        """
        self.order, self.ends = order, ends
        self.counts: list[dict[tuple[Hashable, ...], Counter[Hashable]]] = [defaultdict(Counter) for _ in range(order)]
        for sequence in sequences:
            symbols = self._closed(sequence)
            for i, symbol in enumerate(symbols):
                for n in range(min(i, order - 1) + 1):
                    self.counts[n][tuple(symbols[i - n : i])][symbol] += 1
        self.vocabulary = sorted(self.counts[0][()], key=repr)
        self.totals = [{h: sum(c.values()) for h, c in table.items()} for table in self.counts]
        self._cumulative: dict[tuple[Hashable, ...], tuple[list[Hashable], np.ndarray]] = {}

    def of(self, order: int) -> "NGram":
        """The same counts up to a smaller order."""
        if not 1 <= order <= len(self.counts):
            raise UsageError(f"order must be 1 to {len(self.counts)} (got {order})")
        smaller = copy.copy(self)
        smaller.order = order
        return smaller

    def _closed(self, sequence: Symbols) -> list[Hashable]:
        return [*sequence, END] if self.ends else list(sequence)

    def probability(self, symbol: Hashable, history: Symbols) -> float:
        """p(symbol | history); a symbol that was never seen has the share of one more symbol."""
        p = 1.0 / (len(self.vocabulary) + 1)
        for n in range(min(len(history), self.order - 1) + 1):
            h = tuple(history[len(history) - n :])
            table = self.counts[n].get(h)
            if table is None:
                break
            kinds = len(table)
            p = (table.get(symbol, 0) + kinds * p) / (self.totals[n][h] + kinds)
        return p

    def log_prob(self, sequence: Symbols) -> float:
        """log p of a sequence, with its end where sequences end, in nats."""
        symbols, most = self._closed(sequence), self.order - 1
        return float(sum(np.log(self.probability(s, symbols[max(0, i - most) : i])) for i, s in enumerate(symbols)))

    def sample(self, n: int, seed: int = 0, longest: int = 1000) -> list[list[Any]]:
        """n sequences, cut at `longest` symbols."""
        generator = np.random.default_rng(seed)
        return [self._one(generator, longest) for _ in range(n)]

    def _one(self, generator: np.random.Generator, longest: int) -> list[Any]:
        drawn: list[Any] = []
        while len(drawn) < longest:
            symbol = self._next(drawn, generator)
            if self.ends and symbol is END:
                break
            drawn.append(symbol)
        return drawn

    def _next(self, history: Symbols, generator: np.random.Generator) -> Hashable:
        """A draw of p(· | history): from the longest context, or with the probability of a new symbol a shorter one."""
        for n in range(min(len(history), self.order - 1), -1, -1):
            h = tuple(history[len(history) - n :])
            table = self.counts[n].get(h)
            if table is None:
                continue
            total, kinds = self.totals[n][h], len(table)
            u = generator.random() * (total + kinds)
            if u < total:
                if h not in self._cumulative:
                    self._cumulative[h] = list(table), np.cumsum(list(table.values()))
                symbols, ends = self._cumulative[h]
                return symbols[int(np.searchsorted(ends, u, side="right"))]
        return self.vocabulary[int(generator.integers(len(self.vocabulary)))]


def floor_nats(table: NGram, test: Sequence[Symbols]) -> tuple[int, float]:
    """The order whose table gives test sequences the fewest nats on average, and these: the strongest floor."""
    found = {
        order: -float(np.mean([table.of(order).log_prob(s) for s in test]))
        for order in {2, 3, 4, 5, 6, table.order}
        if order <= table.order
    }
    best = min(found, key=lambda order: found[order])
    return best, found[best]
