"""What a metric is: a file in `evaluate/metrics/` with a class; the evaluation, its self-test and the report find it.

A `FeatureMetric` holds features of samples against features of real items, in any space; a `NoveltyMetric` tests if
samples lie nearer to the training items than held-out items do. Both are pure functions of arrays and a seed, state the
scores they give and which direction is better, and are therefore tested on planted faults by one function for all. An
`ItemMetric` looks at the items themselves, a `DatasetMetric` at what they are good for, a `ClassMetric` at the classes
that a classifier predicts, an `ArtifactMetric` uses the model.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from jaxtyping import Float, Int

from pofx.core.discovery import classes, modules
from pofx.core.errors import UsageError
from pofx.core.representation import Items
from pofx.data.dataset import Dataset
from pofx.data.kind import Kind, named
from pofx.evaluate.measurement import Better, halved

GROUPS = (  # sections of a report, in their order
    "likelihood",
    "samples",
    "novelty",
    "classes",
    "columns",
    "texts",
    "molecules",
    "images",
    "codes",
    "sampling",
    "cost",
)


@dataclass(frozen=True)
class Axis:
    """An axis of the verdict of a comparison, which one score decides.

    `need` and `why` are the words of a recommendation ("samples most like the data", "smallest Fréchet distance");
    `resolution` is the least standard error, as a share of the value; `chance` the value that nothing can be better
    than (an AUC of 0.5); `order` the place among the axes.
    """

    key: str
    title: str
    unit: str
    need: str = ""
    why: str = ""
    resolution: float = 0.0
    chance: float | None = None
    order: int = 9


@dataclass(frozen=True)
class ScoreInfo:
    """One number of a metric: its direction, its title and help in a report, and where it appears there.

    `group` is the section it belongs to (GROUPS); `headline` puts it among the few that a terminal and the first table
    show; `axis` is the axis of the verdict that it decides, if any; `writes` is its format; `plane` names a
    figure of fidelity against diversity, and which of the two this is.
    """

    better: Better
    title: str
    help: str
    group: str
    headline: bool = False
    axis: Axis | None = None
    writes: Literal["number", "p-value", "share", "speed", "seconds", "count", "bytes"] = "number"
    short: str = ""  # the head of a table's column; empty: the title
    plane: tuple[str, Literal["fidelity", "diversity"]] | None = None
    null: float | None = None  # the score of a model that copies nothing
    suspect: Literal["", "low", "high"] = ""  # the direction that means copies, where `better` does not state it

    def __post_init__(self) -> None:
        if self.group not in GROUPS:
            raise UsageError(f"group must be one of {', '.join(GROUPS)} (got '{self.group}')")


Pairs = Sequence[tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "m d"]]]


@dataclass(frozen=True)
class Reading:
    """What a metric found: a value per score, and more about some of them (a floor, a p-value, a note)."""

    values: Mapping[str, float]
    extra: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Metric(ABC):
    """The scores of a metric by name, and where it is measured."""

    scores: ClassVar[Mapping[str, ScoreInfo]]
    source: ClassVar[str] = ""
    once: ClassVar[bool] = False  # in the main feature space only, instead of in every one
    kinds: ClassVar[tuple[str, ...]] = ()  # of items; empty: all

    @classmethod
    def takes(cls, kind: Kind) -> bool:
        """Whether it is made for such items: by default of `kinds`, or what is viewed as one of them."""
        return not cls.kinds or bool(set(kind.names) & set(cls.kinds))


class FeatureMetric(Metric):
    """Samples against real items, as features in one space."""

    halves: ClassVar[int] = 12  # splits of the half-sampling error; 0 where `errors` is better

    @abstractmethod
    def values(self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0) -> dict[str, float]:
        """The scores of samples x (n, d) against real items y (m, d)."""

    def errors(self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0) -> dict[str, float]:
        """Standard errors. Default: half-sampling."""
        return halved(lambda a, b: self.values(a, b, seed), [(x, y)], max(self.halves, 2), seed)

    def details(
        self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0
    ) -> dict[str, dict[str, Any]]:
        """More about scores, numbers that are averaged over pairs of blocks: floors, limits. Default: nothing."""
        return {}

    def tests(
        self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], seed: int = 0
    ) -> dict[str, dict[str, Any]]:
        """Tests of equality, {score: {"p": …}}, made on one pair of blocks. Default: none."""
        return {}

    def read(self, pairs: Pairs, seed: int = 0) -> Reading:
        """The scores, each the mean over pairs of blocks (samples, real items), with standard errors and details.

        Half-sampling errors are those of the mean. Others are taken for that of one pair, for the pairs share one side;
        they and the p-values are measured on the first pair.
        """
        x, y = pairs[0]
        values = [self.values(a, b, seed) for a, b in pairs]
        details = [self.details(a, b, seed) for a, b in pairs]
        if self.halves:
            errors = halved(lambda a, b: self.values(a, b, seed), pairs, self.halves, seed)
        else:
            errors = self.errors(x, y, seed)
        found = {name: float(np.mean([v[name] for v in values])) for name in values[0]}
        extra: dict[str, dict[str, Any]] = {name: {"stderr": errors[name]} for name in found if name in errors}
        for name, of in details[0].items():
            means = {key: np.mean([d[name][key] for d in details], axis=0).tolist() for key in of}
            extra.setdefault(name, {}).update(means)
        for name, of in self.tests(x, y, seed).items():
            extra.setdefault(name, {}).update(of)
        return Reading(found, extra)


class NoveltyMetric(Metric):
    """Samples and held-out items against the training items, as features in one space."""

    @abstractmethod
    def read(
        self,
        samples: Float[np.ndarray, "n d"],
        held: Float[np.ndarray, "m d"],
        train: Float[np.ndarray, "t d"],
        seed: int = 0,
    ) -> Reading:
        """The scores; under the null, samples are as new as held-out items."""


class ItemMetric(Metric):
    """Samples against real items in data space, for the kinds of items it knows."""

    @abstractmethod
    def read(self, samples: Items, real: Items, train: Items, seed: int = 0) -> Reading:
        """The scores; `extra[score]["stderr"]` where there is one."""


class DatasetMetric(Metric):
    """Samples against all splits of the data, in data space: what samples are good for."""

    @abstractmethod
    def read(self, samples: Items, dataset: Dataset, seed: int = 0) -> Reading:
        """The scores; `samples.labels` are the classes that conditional samples are conditioned on, or None."""


class ClassMetric(Metric):
    """What a classifier of the training labels makes of samples, in a space that predicts classes."""

    @abstractmethod
    def read(
        self,
        samples: Float[np.ndarray, "n classes"],
        real: Float[np.ndarray, "m classes"],
        labels: Int[np.ndarray, "m"],
        shares: Float[np.ndarray, "classes"],
        wanted: Int[np.ndarray, "n"] | None = None,
    ) -> Reading:
        """The scores.

        Args:
            samples: predicted probabilities of samples.
            real: those of held-out items, whose labels are `labels`.
            shares: of the classes in the data.
            wanted: the classes that conditional samples are conditioned on.
        """


class ArtifactMetric(Metric):
    """What needs the model itself: its codes, its densities."""

    @abstractmethod
    def read(self, artifact: Any, dataset: Dataset, *, seconds: float | int = 20.0, seed: int = 0) -> Reading:
        """The scores, from as many items as fit into about `seconds`; empty where the model cannot answer."""


M = TypeVar("M", bound=Metric)


@cache
def _all() -> tuple[Metric, ...]:
    found = [metric for module in modules("pofx.evaluate.metrics") for metric in classes(module, Metric)]
    return tuple(metric() for metric in found)


def metrics(kind: type[M], *, main: bool = True, items: str = "") -> list[M]:
    """One of every metric of a kind, in the order of their files.

    Args:
        main: of those for the main feature space; False: of those for further ones.
        items: the kind of items, which the metric takes.
    """
    found = [metric for metric in _all() if isinstance(metric, kind) and (main or not metric.once)]
    return [metric for metric in found if not items or metric.takes(named(items))]


def catalogue() -> dict[str, dict[str, Any]]:
    """Every score by name as plain JSON, which reports read: those of metrics and those in `SCORES` of a module."""
    own = {name: score for module in modules("pofx.evaluate") for name, score in vars(module).get("SCORES", {}).items()}
    return {name: asdict(score) for name, score in (own | of_metrics()).items()}


def of_metrics() -> dict[str, ScoreInfo]:
    """The scores of every metric by name."""
    return {name: score for metric in _all() for name, score in metric.scores.items()}
