"""The space of codes of a trained model: paths, arithmetic, directions, traversals, a map, and whether it is a good
one.

For every run with codes of numbers: VAE, flow, diffusion, GAN with an encoder. Codes are those of held-out items. Three
checks, each with a floor: smooth (path length over that of a straight line; 1 is the least), disentangled (MIG, DCI,
SAP of known factors; floor: random codes of the same size), complete (items decoded midway between two codes against
real items, by a two-sample test and by the confidence of a classifier; floors: reconstructions, means of two items).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from pofx.artifact import run_of
from pofx.core.errors import DataError, Unsupported, UsageError, unknown
from pofx.core.event import Discrete
from pofx.core.generative import Steerable
from pofx.core.items import Items
from pofx.core.model import Encoding
from pofx.data.dataset import take
from pofx.data.kind import kind_of
from pofx.data.vectors import Vectors
from pofx.evaluate.conditions import with_conditions
from pofx.evaluate.disentanglement import SCORES, VALUES, factor_table, scores
from pofx.evaluate.features import main_space
from pofx.evaluate.metrics.codes import CodeProbe
from pofx.evaluate.metrics.path_length import PathLength
from pofx.evaluate.metrics.two_sample import c2st
from pofx.evaluate.networks import Network
from pofx.evaluate.provenance import held_out_by, trained_on
from pofx.evaluate.space import FittedSpace
from pofx.evaluate.spaces.classifier import Classifier, labelled
from pofx.maths import directions
from pofx.maths.bent import Bent
from pofx.maths.interpolation import by_quantile, spherical, straight

PUBLIC = ("LatentSpace",)

MOST = 2000  # items that are encoded
LEAST = 20  # of known factors, from which on paths are bent
PROBED = 8  # codes at which the decoder's directions are found
OF_SEVERAL = ("disentanglement", "factor_vote")  # scores that mean nothing for a single factor
PATHS = {"straight": straight, "spherical": spherical, "quantile": by_quantile}


@dataclass(frozen=True)
class Check:
    """A number about a space of codes, and what it is read against."""

    name: str
    value: float
    floors: dict[str, float]
    better: str
    help: str


class LatentSpace:
    """The codes of a run, and what can be done with them.

    Args:
        artifact: a run whose model encodes, or its folder.
        dataset: that it was trained on, or what `fit` takes; None reads it again. Its test items are
            encoded, with validation items where these are few.
        seed: of every random choice.
        factors: a table of known factors, one row per test item in their order: what `checks` reads codes against, and
            attributes beside the labels.

    Raises:
        Unsupported: the model has no codes, or codes of classes, between which there is nothing.
        DataError: factors of another number of rows.
    """

    def __init__(self, artifact: Any, dataset: Any = None, seed: int = 0, factors: pd.DataFrame | None = None) -> None:
        artifact = run_of(artifact)
        model = artifact.model
        if not isinstance(model, Encoding):
            raise Unsupported(f"{artifact.name} has no codes: choose a VAE, a flow, or a diffusion model")
        if isinstance(model.code, dict | Discrete):
            raise Unsupported(
                f"{artifact.name} has discrete codes, between which there is nothing: choose a flow or a VAE"
            )
        data = held_out_by(artifact, trained_on(artifact, dataset))
        self.artifact, self.dataset, self.seed = artifact, with_conditions(artifact, data), seed
        order = np.random.default_rng(seed).permutation(len(self.dataset.test))[:MOST]
        self.items = take(self.dataset.test, order)
        self.factors = None if factors is None else self._of_items(factors)
        self.conditional = model.condition is not None

    # --- codes

    @cached_property
    def codes(self) -> Float[np.ndarray, "n d"]:
        """The codes of the items, flat."""
        return self.encode(self.items)

    def encode(self, items: Items) -> Float[np.ndarray, "n d"]:
        """The codes of other items, flat."""
        given = items.condition if self.conditional else None
        return np.asarray(self.artifact.encode(items.values, given), np.float32).reshape(len(items), -1)

    def decode(self, codes: Float[np.ndarray, "n d"], of: Any = 0) -> Items:
        """The items of flat codes; of conditional models under the conditions of the items at `of`."""
        shape = self.artifact.model.code.shape  # type: ignore[union-attr]
        given = None
        if self.conditional:
            assert self.items.condition is not None
            given = take(self.items.condition, np.resize(np.atleast_1d(np.asarray(of)), len(codes)))
        values = self.artifact.decode(np.asarray(codes, np.float32).reshape(len(codes), *shape), given)
        return Items(self.items.kind, values, facts=self.items.facts)

    # --- paths and arithmetic

    def path(self, a: int, b: int, steps: int = 10, kind: str = "spherical") -> Items:
        """The items on the path between the codes of items number a and b: straight, spherical or quantile."""
        if kind not in PATHS:
            raise unknown("path", kind, PATHS)
        between = PATHS[kind](self.codes[[a]], self.codes[[b]], steps)[0]
        return self.decode(between, a)

    @cached_property
    def means(self) -> dict[str, Float[np.ndarray, "d"]]:
        """The mean code of every label, by name."""
        labels = np.asarray(self._labels())
        names = self.items.facts.get("label_names") or ()
        found = {}
        for k in np.unique(labels):
            name = str(names[int(k)]) if int(k) < len(names) else str(int(k))
            found[name] = self.codes[labels == k].mean(0)
        return found

    def arithmetic(self, text: str) -> Items:
        """The item of a sum of mean codes, "king - man + woman": names of labels with + and - between them.

        Raises:
            UsageError: nothing, or no such label.
        """
        total = np.zeros(self.codes.shape[1], np.float32)
        for sign, name in terms(text, tuple(self.means)):
            total += sign * self.means[name]
        return self.decode(total[None])

    # --- directions

    @cached_property
    def attributes(self) -> dict[str, tuple[str, Bool[np.ndarray, "n"]]]:
        """By name of an attribute: the factor that it is a value of, and which items have it. Labels by their names; of
        a column of factors, or of a table's own, each value as "column=value", of numbers "column" for what lies above
        the median."""
        found = {}
        if labelled(self.items):
            labels, names = np.asarray(self.items.labels), self.items.facts.get("label_names") or ()
            for k in np.unique(labels):
                found[str(names[int(k)]) if int(k) < len(names) else str(int(k))] = ("", labels == k)
        for name, column in () if self._columns is None else self._columns.items():
            numbers = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
            if numbers and column.nunique() > 2:
                found[str(name)] = (str(name), (column > column.median()).to_numpy(bool, na_value=False))
            if column.nunique() <= (VALUES if numbers or self.factors is None else len(column)):
                every = sorted(column.dropna().unique(), key=str if not numbers else None)
                found |= {f"{name}={v}": (str(name), (column == v).to_numpy(bool, na_value=False)) for v in every}
        return found

    @property
    def _columns(self) -> pd.DataFrame | None:
        """Columns that describe the items: the known factors, or those of rows themselves."""
        if self.factors is not None or not kind_of(self.items).columnar:
            return self.factors
        return self.items.values  # type: ignore[no-any-return]

    def attribute(self, name: str, others: bool = False) -> Float[np.ndarray, "d"]:
        """From the mean code of all other items to that of the items with an attribute; with `others`, what of it other
        attributes do not explain: one of a factor of numbers, each value of other factors, or the other labels.

        Raises:
            UsageError: no such attribute, or all items have it.
        """
        if not self.attributes:
            self._labels()  # there are neither: the error names what to do
        if name not in self.attributes:
            raise unknown("attribute", name, self.attributes)
        factor, has = self.attributes[name]
        own = directions.attribute(self.codes, has)
        if not others:
            return own
        several = self._columns is not None
        rest = [
            mask
            for other, (of, mask) in self.attributes.items()
            if (of and of != factor and other in (of, *self._values(of)) if several else other != name)
            and mask.any()
            and not mask.all()
        ]
        return np.asarray(directions.jointly(self.codes, [has, *rest])[0])

    def _values(self, factor: str) -> list[str]:
        """The attributes of the values of a factor; none of one that is an attribute itself."""
        return [] if factor in self.attributes else [k for k, (of, _) in self.attributes.items() if of == factor]

    def other(self, name: str) -> int:
        """The number of the first item that does not have an attribute."""
        found = np.flatnonzero(~self.attributes[name][1])
        return int(found[0]) if len(found) else 0

    def components(self, k: int = 5) -> tuple[Float[np.ndarray, "k d"], Float[np.ndarray, "k"]]:
        """Principal components of the codes, and the deviation along each."""
        return directions.components(self.codes, k)

    def sensitive(self, k: int = 5) -> tuple[Float[np.ndarray, "k d"], Float[np.ndarray, "k"]]:
        """The directions to which the decoder reacts most, in the vectors of items, and how much."""
        at = np.random.default_rng(self.seed).permutation(len(self.codes))[:PROBED]
        scale = float(self.codes.std())
        decode = lambda z: self.vectors(self.decode(z, at[0]).values)  # noqa: E731
        return directions.sensitive(decode, self.codes[at], k, 0.25 * max(scale, 1e-6))

    def traverse(self, moves: Float[np.ndarray, "k d"], of: int = 0, steps: int = 9, reach: float = 2.5) -> Items:
        """Item number `of` moved along each direction, from -reach to reach times the codes' deviation along it: k ·
        steps items, a direction after the other."""
        units = moves / np.maximum(np.linalg.norm(moves, axis=1, keepdims=True), 1e-12)
        spread = (self.codes @ units.T).std(0)
        along = np.linspace(-reach, reach, steps)[None, :, None] * (spread[:, None] * units)[:, None]
        return self.decode((self.codes[of] + along).reshape(-1, self.codes.shape[1]), of)

    def towards(
        self, name: str, of: int | None = None, steps: int = 9, reach: float = 2.0, others: bool = False
    ) -> Items:
        """An item (the first without it) led along the direction of an attribute, from where it is to `reach` times
        the distance of the means; `others` as in `attribute`. Along a factor or column of numbers the path is bent as
        the codes are, so that the other factors of what is decoded stay, and ends where nearly all items do."""
        of = self.other(name) if of is None else of
        if not others and name in self.bent[1]:
            column = self._numbers[name].to_numpy(np.float64)
            above = self.attributes[name][1]
            far = np.nanmean(column[above]) - np.nanmean(column[~above])
            fitted, names = self.bent
            assert fitted is not None
            again = lambda z: self.encode(self.decode(z.astype(np.float32), of)).astype(np.float64)  # noqa: E731
            stops = np.linspace(0.0, reach, steps) * far
            path = fitted.path(self.codes[[of]], names.index(name), stops, again)[:, 0]
            return self.decode(path.astype(np.float32), of)
        along = np.linspace(0.0, reach, steps)[:, None] * self.attribute(name, others)
        return self.decode((self.codes[of] + along).astype(np.float32), of)

    @property
    def _numbers(self) -> pd.DataFrame:
        """The known factors, or a table's own columns, that are numbers of more than two values."""
        table = pd.DataFrame() if self._columns is None else self._columns
        kinds = pd.api.types
        own = [c for c in table if kinds.is_numeric_dtype(table[c]) and not kinds.is_bool_dtype(table[c])]
        return table[[c for c in own if table[c].nunique() > 2]].rename(columns=str)

    @cached_property
    def bent(self) -> tuple[Bent | None, list[str]]:
        """The known factors of numbers as a function of the codes, and their names; None without any."""
        numbers = self._numbers
        there = numbers.notna().all(axis=1).to_numpy()
        if not numbers.shape[1] or there.sum() < LEAST:
            return None, []
        return Bent.of(self.codes[there].astype(np.float64), numbers[there].to_numpy(np.float64)), list(
            map(str, numbers)
        )

    def steered(self, columns: int = 10) -> dict[str, list[tuple[str, Items]]]:
        """By name of a control: its lines, each a label and `columns` samples of the noise that all lines share."""
        model = self.artifact.model
        return {
            control.name: [
                (label, self.artifact.draw(columns, seed=self.seed, **options)) for label, options in control.lines
            ]
            for control in (model.controls() if isinstance(model, Steerable) else ())
        }

    # --- a map, and checks

    @cached_property
    def vectors(self) -> Vectors:
        return Vectors.fit(self.dataset.train)

    def map(self) -> Float[np.ndarray, "n 2"]:
        """The codes on their first two principal components."""
        if self.codes.shape[1] < 2:
            raise Unsupported(f"codes of one number make no map (got shape {self.codes.shape})")
        return np.asarray((self.codes - self.codes.mean(0)) @ self.components(2)[0].T)

    def checks(self, factors: Any = None) -> list[Check]:
        """Smooth, disentangled, complete, and the linear probe; those that the data does not allow are left out.

        Args:
            factors: a table of known factors, one row per test item in their order; by default that of the space, else
                the labels.
        """
        return [*self._smooth(), *self._disentangled(factors), *self._complete(), *self._probe()]

    def _smooth(self) -> list[Check]:
        found = PathLength().read(self.artifact, self.dataset, seconds=10.0, seed=self.seed).values
        text = "squared speed of decoded items between two codes; 1: linear in the data"
        return [Check("path length", value, {"straight line": 1.0}, "lower", text) for value in found.values()]

    def _disentangled(self, factors: Any) -> list[Check]:
        table = self.factors if factors is None else self._of_items(factors)
        if table is None and not labelled(self.items):
            return []
        known = np.asarray(self.items.labels, np.int64)[:, None] if table is None else factor_table(table)
        if self.codes.shape[1] < 2:
            return []
        codes = self.codes.astype(np.float64)
        codes = codes if codes.shape[1] <= directions.MOST else codes @ self.components(directions.MOST)[0].T
        chance = scores(np.random.default_rng(self.seed).normal(size=codes.shape), known, self.seed)
        found = scores(codes, known, self.seed)
        several = known.shape[1] > 1
        return [
            Check(name, value, {"random codes": chance[name]}, "higher", SCORES[name].help)
            for name, value in found.items()
            if several or name not in OF_SEVERAL
        ]

    def _complete(self) -> list[Check]:
        """Midpoints of codes, against real items; reconstructions and means of items are read the same."""
        n = min(len(self.items) // 2, 500)
        if n < 20:
            return []
        a, b = np.arange(n), np.arange(n, 2 * n)
        kind = kind_of(self.items)
        middle = PATHS["spherical"](self.codes[a], self.codes[b], 3)[:, 1]
        first, second = (self.vectors(kind.take(self.items.values, at)) for at in (a, b))
        sides = {
            "midpoints": self.vectors(self.decode(middle, a).values),
            "reconstructed": self.vectors(self.decode(self.codes[a], a).values),
            "means of two items": (first + second) / 2,
        }
        real = self.vectors(take(self.dataset.train, self._some(n)).values)
        space = main_space(self.dataset.train, seed=self.seed)
        embed = space.embed if isinstance(space, FittedSpace) else lambda x: x
        auc = {name: c2st(embed(x), embed(real), permutations=0, seed=self.seed)[0] for name, x in sides.items()}
        text = "AUC of a classifier between items decoded midway between two codes and real ones; chance: 0.5"
        found = [Check("two-sample AUC", auc.pop("midpoints"), {"chance": 0.5, **auc}, "lower", text)]
        if labelled(self.dataset.train):
            net: Network = Classifier.fit(self.dataset.train, seed=self.seed)
            sure = {name: float(confidence(net, x).mean()) for name, x in {**sides, "real": real}.items()}
            text = "mean probability of the likeliest class of items decoded midway between two codes"
            found.append(Check("confidence", sure.pop("midpoints"), sure, "higher", text))
        return found

    def _probe(self) -> list[Check]:
        read = CodeProbe().read(self.artifact, self.dataset, seconds=10.0, seed=self.seed)
        text = "accuracy of a linear classifier of the labels on the codes"
        beside = read.extra.get("code_linear", {})
        floors = {"PCA of the same size": beside.get("pca"), "untrained encoder": beside.get("untrained")}
        known = {name: float(v) for name, v in floors.items() if v is not None}
        return [Check("linear probe", read.values["code_linear"], known, "higher", text)] if read.values else []

    def _of_items(self, factors: pd.DataFrame) -> pd.DataFrame:
        """The rows of the items that are encoded."""
        if len(factors) != len(self.dataset.test):
            raise DataError(
                f"factors must have a row for each of {len(self.dataset.test)} test items (got {len(factors)})"
            )
        order = np.random.default_rng(self.seed).permutation(len(self.dataset.test))[:MOST]
        return factors.iloc[order].reset_index(drop=True)

    def _some(self, n: int) -> np.ndarray:
        return np.random.default_rng(self.seed + 1).permutation(len(self.dataset.train))[:n]

    def _labels(self) -> Any:
        if not labelled(self.items):
            raise UsageError("the data has no labels to take mean codes of: name a column of labels when you train")
        return self.items.labels


def terms(text: str, names: Sequence[str]) -> list[tuple[int, str]]:
    """The signs and names of a sum such as "a - b + c": names may hold blanks and signs, blanks between are free.

    Raises:
        UsageError: nothing, or what is no name.
    """
    known = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    term = re.compile(rf"\s*([+-])?\s*({known})\s*(?=[+-]|$)")
    plain = re.sub("[\u2212\u2013]", "-", text)  # the signs of typesetting
    found, at = list[tuple[int, str]](), 0
    while at < len(plain) or not found:
        match = term.match(plain, at)
        if match is None or (found and match[1] is None):
            rest = re.split(r"\s+[+-]\s+", plain[at:].strip(" +-"))[0]
            raise unknown("label", rest, names)
        found.append((-1 if match[1] == "-" else 1, match[2]))
        at = match.end()
    return found


def confidence(net: Network, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n"]:
    """The probability of the likeliest class for vectors."""
    return np.asarray(net.classify(net.embed(x.astype(np.float32))).max(1))
