"""Designs found in the code space of a run that encodes: what scores high has neighbours there, and what lies between.

Gómez-Bombarelli et al., 2018, arXiv 1610.02415. Candidates are decoded from codes around the best designs, between two
of them, and from a normal fitted to theirs (the cross-entropy method, as in `design`), beside fresh draws of the run; a
forest on the decoded items ranks them, so that no oracle call is spent on what a call has answered already.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pofx.apps.design_loop import KEEP, Design, Sequences
from pofx.core.errors import PofxError, Unsupported
from pofx.core.event import Discrete
from pofx.core.model import Encoding

STRIDES = (0.25, 0.5, 1.0)  # of moves around a code, in standard deviations of the codes of all designs
MOST = 4  # candidates from codes for each wanted design, of every sort


class Codes(Sequences):
    """Strings of a run that encodes, such as a `vae` of SELFIES, proposed in its code space."""

    def __init__(
        self,
        run: Any,
        *,
        features: Callable[[Sequence[str]], np.ndarray],
        clean: Callable[[Sequence[str]], Sequence[str | None]] | None = None,
        group: Callable[[str], Hashable] | None = None,
    ) -> None:
        model = run.model
        if not isinstance(model, Encoding) or isinstance(model.code, dict | Discrete) or run.conditioning is not None:
            raise Unsupported(f"{run.name} has no real codes without a condition: train a vae or a flow")
        super().__init__(run, features=features, clean=clean, group=group)

    def pick(self, designs: list[Any], scores: np.ndarray, n: int, seed: int) -> list[Any]:
        from pofx.apps.steered import limited, new_items

        known = set(designs)
        pool = new_items(self.run, 2 * n, known, self.clean, seed)
        there = np.isfinite(scores)
        if there.sum() >= 5:
            order = [i for i in np.argsort(-np.where(there, scores, -np.inf), kind="stable") if there[i]]
            kept = limited([designs[i] for i in order], self.group, max(2, n // 5))
            best = [i for i, good in zip(order, kept, strict=True) if good][: max(5, round(KEEP * len(order)))]
            pool += self._around([designs[i] for i in best], designs, n, seed, {*known, *pool})
        return self.ranked(pool, designs, scores, n, seed)

    def _around(self, best: list[Any], designs: list[Any], n: int, seed: int, known: set[Any]) -> list[Any]:
        """New items decoded from codes around, between and among those of the best designs."""
        generator = np.random.default_rng(seed)
        codes = self.encoded(best)
        spread = self.encoded(designs[-500:]).std(0) + 1e-6
        size, (m, d) = MOST * n, codes.shape
        first, second = (codes[generator.integers(m, size=size)] for _ in range(2))
        stride = np.asarray(STRIDES)[generator.integers(len(STRIDES), size=size)][:, None]
        mean, own = codes.mean(0), codes.std(0) + 0.1 * spread
        candidates = np.concatenate(
            (
                first + stride * spread * generator.normal(size=(size, d)),
                first
                + generator.random((size, 1)) * (second - first)
                + 0.1 * spread * generator.normal(size=(size, d)),
                mean + own * generator.normal(size=(size, d)),
            )
        )
        shape = self.run.model.code.shape
        made = self.clean(self.run.decode(candidates.astype(np.float32).reshape(-1, *shape)))
        return list(dict.fromkeys(x for x in made if x is not None and x not in known))

    def encoded(self, items: Sequence[Any]) -> np.ndarray:
        """The flat codes of items; those that the run's view cannot hold have the mean code, 0."""
        try:
            codes = self.run.encode(list(items))
        except PofxError:  # one by one: the view has no symbol for some
            codes = np.stack([self._one(item) for item in items])
        return np.asarray(codes, np.float64).reshape(len(items), -1)

    def _one(self, item: Any) -> np.ndarray:
        try:
            return np.asarray(self.run.encode([item])[0])
        except PofxError:
            return np.zeros(self.run.model.code.shape)


def searched(
    space: Sequences, oracle: Callable[[list[Any]], Any], *, rounds: int = 5, batch: int = 100, seed: int = 0
) -> tuple[Design, pd.DataFrame]:
    """The loop after some rounds, and a table beside the floor at as many calls of the oracle: best, mean of the ten
    best and of all, and how many groups (scaffolds) the fifty best have."""
    loop = Design(space, batch=batch, seed=seed).run(oracle, rounds)
    calls = len(loop.trials)
    drawn = space.first(calls, seed + 1)
    rows = {
        f"{len(drawn)} random draws": top(drawn, np.asarray(oracle(drawn), float), space.group),
        f"{calls} calls, in code space": top(loop.trials["item"].tolist(), loop.scores(), space.group),
    }
    return loop, pd.DataFrame(rows).T


def top(items: list[Any], scores: np.ndarray, group: Callable[[Any], Hashable] | None) -> dict[str, float]:
    """The best score, the means of the ten best and of all, and the groups among the fifty best."""
    order = np.argsort(-np.where(np.isfinite(scores), scores, -np.inf), kind="stable")
    first = [items[i] for i in order[:50]]
    return {
        "best": float(np.nanmax(scores)),
        "ten best": float(np.nanmean(scores[order[:10]])),
        "mean": float(np.nanmean(scores)),
        "groups of fifty": float(len({x if group is None else group(x) for x in first})),
    }
