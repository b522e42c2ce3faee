"""Two tables with one key, customers and their orders: parents with the number of their children, children given them.

    p(parent, n, children) = p(parent, n) ∏_k p(child_k | parent, n, child_(k - 1))

The number of children is a column of the parent's table, so that parents without any are drawn as well. A child is
drawn given its parent and the child before it, in the order of the table; the first has none before it (a chain, as in
Gueye, Attabi and Dumas, 2022, "Row conditional-TGAN", arXiv 2211.07588, whose children are independent given their
parent). Keys are new: whole numbers, that refer from one table to the other by construction.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pofx.apps.synthesizer import Synthesizer, modelled
from pofx.core.errors import DataError, UsageError
from pofx.data.arrays import write_frame
from pofx.data.dated import Dated, days, in_days
from pofx.data.kinds.table import numeric
from pofx.evaluate.metrics.pair_dependence import pair_error

PUBLIC = ("RelatedSynthesizer",)

STEPS = 500
BEFORE, FIRST = "before: ", "first of its parent"
HELD = 0.2  # share of the parents that measure the result
MOST = 10_000  # children of one parent


class RelatedSynthesizer:
    """Learns a parent table and a child table that share a key, and draws both."""

    def __init__(
        self,
        key: str,
        *,
        child_key: str | None = None,
        model: str = "made",
        chain: bool = True,
        steps: int | None = None,
        options: Mapping[str, Any] | None = None,
        parent: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        """Args:
        key: the column that both tables have, in the parent table once for each row.
        child_key: its name in the child table, where that is another (`id` of customers, `customer_id` of orders).
        model: of the children; one that takes rows as its condition.
        chain: whether a child depends on the one before it; else children are independent given their parent.
        steps: of the training of each table.
        options: of the child's model.
        parent: options of the `Synthesizer` of the parent table.
        seed: of the training and the draws.
        """
        if (parent or {}).get("epsilon") is not None:
            raise UsageError("ε of several tables would count a parent with all of its children: leave epsilon out")
        self.key, self.child_key = key, child_key or key
        self.model, self.chain, self.steps = model, chain, steps or STEPS
        self.options, self.seed = dict(options or {}), seed
        self.parent = Synthesizer(**{"steps": steps, "seed": seed, **(parent or {})})

    def fit(self, parents: pd.DataFrame, children: pd.DataFrame) -> "RelatedSynthesizer":
        """Learn from both tables.

        Raises:
            DataError: a key that is missing, twice among the parents, or of no parent.
        """
        from pofx.runs.fitting import fit

        parents, children = (frame.rename(columns=str).reset_index(drop=True) for frame in (parents, children))
        check_keys(parents, children, self.key, self.child_key)
        self.count = free_name("children", [*parents.columns, *children.columns])
        counts = parents[self.key].map(children[self.child_key].value_counts()).fillna(0).astype("int64")
        self.columns = list(parents.columns), list(children.columns)
        self.parent.fit(parents.drop(columns=self.key).assign(**{self.count: counts}))
        rows, self.left_out = modelled(children.drop(columns=self.child_key))
        self.dated, self.child_dated = Dated(parents.drop(columns=self.key)), Dated(rows)
        rows = self.child_dated.forward(rows)
        self.most = int(min(counts.max(), MOST))
        given = self.dated.forward(parents).assign(**{self.count: counts}).set_index(self.key)[self.parent.columns]
        of = children[self.child_key].to_numpy()
        condition = given.loc[of].reset_index(drop=True)
        if self.chain:
            condition = pd.concat((condition, before(rows, of)), axis=1)
        self.own, self.dates = list(rows.columns), {c: t for c, t in condition.dtypes.items() if t.kind in "mM"}
        options = {**({"represent": "bins"} if self.model == "made" else {}), **self.options}
        shared: dict[str, Any] = {"condition": plain(condition, self.dates), "steps": self.steps, "seed": self.seed}
        self.run = fit(rows, self.model, progress=False, **shared, **options)
        return self

    def sample(self, n: int, *, seed: int | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
        """n parents, and their children."""
        seed = self.seed if seed is None else seed
        parents = self.parent.sample(n, seed=seed)
        counts = parents[self.count].to_numpy().clip(0, self.most).astype(int)
        given = self.dated.forward(parents[self.parent.columns]).assign(**{self.count: counts})
        parts, previous = [], pd.DataFrame(index=range(n), columns=self.own, dtype=object)
        for k in range(int(counts.max(initial=0))):
            at = np.flatnonzero(counts > k)
            condition = given.iloc[at].reset_index(drop=True)
            if self.chain:
                condition = pd.concat((condition, marked(previous.iloc[at].reset_index(drop=True), k == 0)), axis=1)
            rows = self.run.sample(len(at), condition=plain(condition, self.dates), seed=seed + 1 + k)
            previous.iloc[at] = rows[self.own].astype(object).to_numpy()
            parts.append(rows[self.own].assign(**{self.child_key: at, FIRST: k}))
        parents = parents.drop(columns=self.count).assign(**{self.key: np.arange(n)})
        made = (
            pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*self.own, self.child_key, FIRST])
        )
        made = self.child_dated.backward(made.sort_values([self.child_key, FIRST], kind="stable", ignore_index=True))
        first, second = self.columns
        return parents[[c for c in first if c in parents]], made[[c for c in second if c in made]]


def check_keys(parents: pd.DataFrame, children: pd.DataFrame, key: str, child_key: str) -> None:
    """Refuse tables that the key does not join."""
    for name, frame, of in (("parent", parents, key), ("child", children, child_key)):
        if of not in frame.columns:
            raise DataError(f"the {name} table must have the key '{of}' (got {', '.join(frame.columns)})")
        if frame[of].isna().any():
            raise DataError(f"the key '{of}' of the {name} table is missing in {int(frame[of].isna().sum())} rows")
    if parents[key].duplicated().any():
        raise DataError(f"the key '{key}' must be that of one parent (got {parents[key].duplicated().sum()} twice)")
    orphans = ~children[child_key].isin(parents[key])
    if orphans.any():
        raise DataError(f"{int(orphans.sum())} children have no parent: add parents, or drop these rows")
    if not len(children):
        raise DataError("the child table has no rows: give some")


def before(rows: pd.DataFrame, keys: np.ndarray) -> pd.DataFrame:
    """The child before each, of the same parent, in the order of the table."""
    shifted = rows.groupby(keys, sort=False).shift()
    first = ~pd.Series(keys).duplicated()
    found = shifted.rename(columns=lambda c: BEFORE + c)
    return found.assign(**{FIRST: first.to_numpy()})


def marked(previous: pd.DataFrame, first: bool) -> pd.DataFrame:
    return previous.rename(columns=lambda c: BEFORE + c).assign(**{FIRST: first})


def plain(frame: pd.DataFrame, dates: Mapping[Any, Any]) -> pd.DataFrame:
    """Conditions of numbers and words: missing numbers stay, dates and spans of time become days."""
    found = {}
    for name, column in frame.items():
        if name in dates:
            found[name] = days(column.astype(dates[name]))
        elif numeric(column) or pd.to_numeric(column, errors="coerce").notna().sum() == column.notna().sum() > 0:
            found[name] = pd.to_numeric(column, errors="coerce").astype("float64")
        else:
            found[name] = column
    return pd.DataFrame(found)


def free_name(name: str, taken: list[str]) -> str:
    while name in taken:
        name = f"{name}_"
    return name


def joined(parents: pd.DataFrame, children: pd.DataFrame, key: str, child_key: str) -> pd.DataFrame:
    """Every child beside its parent, without the key."""
    other = children.drop(columns=child_key).rename(columns=lambda c: f"child: {c}")
    return (
        parents.set_index(key)
        .loc[children[child_key].to_numpy()]
        .reset_index(drop=True)
        .join(other.reset_index(drop=True))
    )


def related_quality(
    made: tuple[pd.DataFrame, pd.DataFrame],
    real: tuple[pd.DataFrame, pd.DataFrame],
    key: str,
    seed: int = 0,
    *,
    child_key: str | None = None,
) -> dict[str, float]:
    """How well two tables belong together: errors of the dependence between parents and children, and of how many
    children there are (total variation), each beside the simple floor of children given to parents at random."""
    generator, of = np.random.default_rng(seed), child_key or key
    alone = real[1].assign(**{of: generator.permutation(real[1][of].to_numpy())})
    sides = [joined(*both, key, of) for both in (real, made, (real[0], alone))]
    truth, drawn, apart = in_days(sides, sides[0])
    counts = [f[0][key].map(f[1][of].value_counts()).fillna(0).value_counts(normalize=True) for f in (made, real)]
    return {
        "pairs": pair_error(drawn, truth)[0],
        "pairs, children at random": pair_error(apart, truth)[0],
        "counts": float(counts[0].sub(counts[1], fill_value=0).abs().sum() / 2),
    }


def synthesize_related(
    maker: RelatedSynthesizer, parents: pd.DataFrame, children: pd.DataFrame, n: int, out: Path, child_out: Path
) -> str:
    """Learn both tables but for a fifth of the parents, write as many of both, and report on them."""
    order = np.random.default_rng(maker.seed).permutation(len(parents))
    held, rest = np.split(order, [int(HELD * len(parents))])
    sides = []
    for at in (rest, held):
        some = parents.iloc[np.sort(at)].reset_index(drop=True)
        sides.append((some, children[children[maker.child_key].isin(some[maker.key])].reset_index(drop=True)))
    made = maker.fit(*sides[0]).sample(n or len(parents))
    for frame, path in zip(made, (out, child_out), strict=True):
        write_frame(frame, path)
    numbers = related_quality(made, sides[1], maker.key, child_key=maker.child_key)
    lines = [f"{name}: {value:.3f}" for name, value in numbers.items()]
    return "\n".join([*lines, f"{len(made[1]):,} children → {child_out}", f"{len(made[0]):,} parents"])
