"""Who is held against whom: one arrangement of real items, the same for every row of a table.

Every row, model or control, is n items against n real ones; a score at another n would be another number. Two
arrangements, by the size of the test split:

- `held-out` (2,000 test items or more): the reference is one half of the test split; the control "real-test" is the
  other half. No row has seen the reference, so a memoriser scores like real data; the near-copy test separates them.
- `train-blocks` (smaller): halves of so small a split would leave every score within its own noise. The reference is
  training items in up to three blocks of n, the control is the test and validation items together (n of them), and a
  score is the mean over blocks. A model gets n samples per block. Being close to training items pays here, and the
  memoriser beats real data (it holds part of the reference itself): read coverage and distance beside near_copy, which
  compares with held-out items in both arrangements, and read a model that beats "real-test" as overfitted. Features
  that learned the training items treat all fresh items, real and generated, alike.

Near-copy tests hold samples against test items (with validation items in `train-blocks`); the control's are
validation items against test items.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pofx.core.errors import UsageError
from pofx.core.representation import Items
from pofx.data.dataset import Dataset, joined, take
from pofx.data.kind import kind_of

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
        UsageError: fewer than 20 items on each side.
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
    """Items with noise of `level` standard deviations of the training items; see `Kind.noised`."""
    values = kind_of(items).noised(items.values, train.values, level, np.random.default_rng(seed))
    return Items(items.kind, values, None, items.facts)


def shuffled(items: Items, n: int, seed: int) -> Items:
    """n items whose every dimension is drawn from that of the items, independently; see `Kind.shuffled`."""
    values = kind_of(items).shuffled(items.values, n, np.random.default_rng(seed))
    return Items(items.kind, values, None, items.facts)


def of_one_length(samples: Any, dataset: Dataset) -> tuple[Any, Dataset, str]:
    """Samples and real items cut to one length where items are passages of running text, whose length means nothing.

    A longer text lies nearer to a training passage, whatever its words. Other items are left as they are. The third
    value describes what was cut.
    """
    real = dataset.train.values
    if not kind_of(dataset.train).sequential(real):
        return samples, dataset, ""
    length = min(int(np.median([len(v) for v in values])) for values in (samples, real))
    parts = {
        name: items
        if int(np.median([len(v) for v in items.values])) <= length
        else replace(items, values=[v[:length] for v in items.values])
        for name, items in dataset.splits().items()
    }
    cut = Dataset(parts["train"], parts["validation"], parts["test"], dataset.card)
    return [v[:length] for v in samples], cut, f"samples and passages of running text are cut to {length} characters"
