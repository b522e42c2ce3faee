"""Who is held against whom: one arrangement of real items, the same for every row of a table.

Every row, model or control, is n items against n real ones; a score at another n would be another number. Two
arrangements, by the size of the test split:

- `held-out` (2,000 test items or more): the reference is one half of the test split; the control "real-test" is the
  other half. No row has seen the reference, so a memoriser scores like real data; the near-copy test tells them apart.
- `train-blocks` (smaller): halves of so small a split would leave every score within its own noise. The reference is
  training items in up to three blocks of n, the control is the test and validation items together (n of them), and a
  score is the mean over blocks. A model gets n samples per block. Being close to training items pays here, and the
  memoriser beats real data (it holds part of the reference itself): read coverage and distance beside near_copy, which
  compares with held-out items in both arrangements, and read a model that beats "real-test" as overfitted. Features
  that learned the training items treat all fresh items, real and generated, alike.

Near-copy tests hold samples against test items (with validation items in `train-blocks`); the control's are
validation items against test items.
"""

from dataclasses import dataclass

import numpy as np

from pofx.core.errors import UsageError
from pofx.core.representation import Items
from pofx.data.dataset import Dataset, joined, take

LARGE = 2000  # test items from which halves are large enough
MOST = 5000  # items on each side
BLOCKS, ENOUGH = 3, 3000  # blocks at most, and items in all of them from which further blocks add little
NOISE = (0.1, 0.3)  # of the controls "noised-real"


@dataclass(frozen=True)
class Arrangement:
    """Indices into the splits; `pool` is train or test, whichever the reference is taken from."""

    name: str
    n: int  # items on each side of a comparison
    reference: tuple[np.ndarray, ...]  # blocks of n indices: into test (held-out) or train (train-blocks)
    samples: int  # that a model draws: n per block
    seed: int

    @property
    def from_train(self) -> bool:
        return self.name == "train-blocks"


def arrange(dataset: Dataset, n: int | None = None, seed: int = 0) -> Arrangement:
    """The arrangement of a data set, with at most n items on each side.

    Raises:
        UsageError: fewer than 20 items could stand on each side.
    """
    train, held = len(dataset.train), len(dataset.test)
    generator = np.random.default_rng(seed)
    if held >= LARGE:
        most = min(held // 2, MOST)
        name, size = "held-out", most if n is None else min(n, most)
        blocks: tuple[np.ndarray, ...] = (generator.permutation(held)[:size],)
    else:
        most = min(held + len(dataset.validation), train, MOST)
        name, size = "train-blocks", most if n is None else min(n, most)
        order = generator.permutation(train)
        blocks = tuple(
            order[i * size : (i + 1) * size]
            for i in range(min(BLOCKS, train // max(size, 1), max(ENOUGH // max(size, 1), 1)))
        )
    if size < 20:
        raise UsageError(f"evaluation needs at least 20 items on each side (got {size}): give more data or a larger n")
    return Arrangement(name, size, blocks, size * len(blocks), seed)


def control_items(dataset: Dataset, plan: Arrangement) -> dict[str, Items]:
    """The items of the control rows: real-test, memoriser, marginals, and noised-real at every level of NOISE."""
    generator = np.random.default_rng(plan.seed + 1)
    if plan.from_train:
        real = joined([dataset.test, dataset.validation])
        real = take(real, generator.permutation(len(real))[: plan.n])
    else:
        used = np.zeros(len(dataset.test), bool)
        used[plan.reference[0]] = True
        real = take(dataset.test, generator.permutation(np.flatnonzero(~used))[: plan.n])
    train = dataset.train
    copies = take(train, generator.permutation(len(train))[: min(plan.samples, len(train))])
    worse = {f"noised-real-{level:g}": noised(real, train, level, plan.seed + 3) for level in NOISE}
    return {"real-test": real, "memoriser": copies, "marginals": shuffled(train, plan.samples, plan.seed + 2), **worse}


def noised(items: Items, train: Items, level: float, seed: int) -> Items:
    """Items with noise: numbers move by `level` standard deviations of the training items (of all pixels together, for
    images and sound), everything else is drawn anew from the training items with probability `level`.

    Numbers that are whole stay whole, and all stay within the range of the training items.
    """
    import pandas as pd

    generator = np.random.default_rng(seed)
    values, known = items.values, train.values
    if isinstance(values, pd.DataFrame):
        columns = {c: _noised(values[c].to_numpy(), known[c].to_numpy(), level, generator) for c in values.columns}
        return Items(items.kind, pd.DataFrame(columns), None, items.facts)
    if items.kind == "audio":
        spread = float(np.std(np.concatenate([np.ravel(v) for v in known[:200]])))
        loud = [v + level * spread * generator.standard_normal(np.shape(v)).astype(np.float32) for v in values]
        return Items(items.kind, [np.clip(v, -1, 1) for v in loud], None, items.facts)
    if isinstance(values, list) or values.dtype == object:
        pool = [c for v in known[:1000] for c in v]
        drawn = [[pool[generator.integers(len(pool))] if generator.random() < level else c for c in v] for v in values]
        return Items(items.kind, ["".join(d) if isinstance(values[0], str) else d for d in drawn], None, items.facts)
    if items.kind == "image":
        moved = np.asarray(values) + level * float(np.std(known)) * generator.standard_normal(values.shape)
        return Items(items.kind, _as(moved, known), None, items.facts)
    flat, every = values.reshape(len(values), -1), known.reshape(len(known), -1)
    if values.dtype.kind == "f":
        moved = flat + level * every.std(0) * generator.standard_normal(flat.shape)
        return Items(items.kind, _as(moved, every).reshape(values.shape), None, items.facts)
    mixed = np.where(generator.random(flat.shape) < level, every[generator.integers(len(every), size=len(flat))], flat)
    return Items(items.kind, mixed.reshape(values.shape).astype(values.dtype), None, items.facts)


def _noised(column: np.ndarray, known: np.ndarray, level: float, generator: np.random.Generator) -> np.ndarray:
    """A column of a table with noise; categories, and numbers that take few values, are drawn anew."""
    few = known.dtype.kind not in "fiu" or len(np.unique(known)) <= 20
    if few:
        drawn = known[generator.integers(len(known), size=len(column))]
        return np.where(generator.random(len(column)) < level, drawn, column)
    return _as(column + level * np.nanstd(known) * generator.standard_normal(len(column)), known)


def _as(moved: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Numbers in the range and of the type of known ones."""
    kept = np.clip(moved, np.nanmin(known), np.nanmax(known))
    return (np.round(kept) if known.dtype.kind in "iu" else kept).astype(known.dtype)


def shuffled(items: Items, n: int, seed: int) -> Items:
    """n items whose every dimension is drawn from that dimension of the items, independently of the others.

    Strings are shuffled by position; each keeps the length of one of them.
    """
    import pandas as pd

    generator = np.random.default_rng(seed)
    values = items.values
    if isinstance(values, pd.DataFrame):
        columns = {c: values[c].to_numpy()[generator.integers(len(values), size=n)] for c in values.columns}
        return Items(items.kind, pd.DataFrame(columns), None, items.facts)
    if isinstance(values, list) or values.dtype == object:
        lengths = [len(values[i]) for i in generator.integers(len(values), size=n)]
        at = [[v[p] for v in values if len(v) > p] for p in range(max(map(len, values)))]
        drawn = [[at[p][generator.integers(len(at[p]))] for p in range(length)] for length in lengths]
        return Items(items.kind, ["".join(d) if isinstance(values[0], str) else d for d in drawn], None, items.facts)
    flat = values.reshape(len(values), -1)
    mixed = np.take_along_axis(flat, generator.integers(len(flat), size=(n, flat.shape[1])), 0)
    return Items(items.kind, mixed.reshape(n, *values.shape[1:]), None, items.facts)
