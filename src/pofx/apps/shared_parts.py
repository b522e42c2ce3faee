"""Several parts of one event through a class that they share: p(parts) = Σ p(c) Π p(part | c), a model for each part.

The class is found without labels (`shared_code`). Each part has a conditional model of its own, whichever suits it, and
Bayes' rule makes p(c | any of the parts) exact, so that every part given the others, and all from nothing, are draws of
one model. What parts share beyond the class is lost; what a single transformer of all places learns last is learned
first. A part of few values, such as a caption of three words, is that class itself and needs no model.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import logsumexp

from pofx.apps.folders import folder_of
from pofx.artifact import Artifact, load
from pofx.core.errors import DataError, Unsupported, UsageError, unknown
from pofx.core.event import Discrete
from pofx.core.files import read_json, whole, write_json
from pofx.core.items import Items
from pofx.data.dataset import split
from pofx.runs.fitting import fit

PUBLIC = ("SharedParts",)


class SharedParts:
    """p(parts), a mixture over a class that all of them share."""

    def __init__(
        self,
        models: Mapping[str, str],
        *,
        options: Mapping[str, Mapping[str, Any]] | None = None,
        minutes: float | None = None,
        steps: int | None = None,
        progress: Any = False,
        seed: int = 0,
    ) -> None:
        """Args:
        models: of each part a conditional model with a density, by name.
        options: of each model, the trainer and the view, by part; minutes or steps of its own too.
        minutes: of training, divided evenly where parts have none of their own; one by default.
        progress: of training, as of `pofx.fit`.
        """
        self.models, self.options, self.minutes, self.steps = dict(models), dict(options or {}), minutes, steps
        self.progress, self.seed = progress, seed
        self.runs: dict[str, Artifact] = {}
        self.values: dict[str, np.ndarray] = {}
        self.log_p: Float[np.ndarray, "classes"] = np.zeros(0)

    def fit(
        self, parts: Mapping[str, Items], code: Int[np.ndarray, "n"], values: Mapping[str, Any] | None = None
    ) -> "SharedParts":
        """Learn from parts by name, item i of each belonging together, and the class of each event.

        Args:
            values: parts that are the class: by name the whole numbers of every class, (classes, …).

        Raises:
            DataError: parts of other numbers, or without a model.
        """
        if set(parts) != set(self.models) or any(len(of) != len(code) for of in parts.values()):
            found = ", ".join(f"{name}: {len(of)}" for name, of in parts.items())
            raise DataError(f"parts must be those of the models, {len(code)} of each (got {found})")
        self.values = {name: np.asarray(of, np.int64) for name, of in (values or {}).items()}
        counts = np.bincount(code, minlength=max([0, *map(len, self.values.values())])) + 1e-9
        self.log_p = np.log(counts / counts.sum())
        names = np.array([label(c) for c in range(len(counts))])
        budget: dict[str, Any] = {"steps": self.steps}
        if not self.steps:
            budget = {"minutes": (self.minutes or 1.0) / len(parts)}
        for name, items in parts.items():
            known = replace(items, labels=np.asarray(code), facts={**items.facts, "label_names": names.tolist()})
            self.runs[name] = fit(
                split(known, name, seed=self.seed), self.models[name], condition="label", seed=self.seed,
                progress=self.progress, **{**budget, **self.options.get(name, {})},
            )  # fmt: skip
        return self

    def _check(self, given: Mapping[str, Any]) -> None:
        if not self.runs:
            raise UsageError("the parts are not fitted: call fit first")
        for name in given:
            if name not in self.runs and name not in self.values:
                raise unknown("part", name, [*self.values, *self.runs])

    def log_joint(self, given: Mapping[str, Any]) -> Float[np.ndarray, "n classes"]:
        """log p(c) + Σ log p(part | c) of the parts that are given."""
        self._check(given)
        found: Any = self.log_p[None]
        for name, values in given.items():
            if name in self.values:
                found = found + np.where(self._fits(name, values), 0.0, -np.inf)
                continue
            values = _one_or_more(values, self.runs[name], name)
            each = [
                np.asarray(self.runs[name].log_prob(values, condition=[label(c)] * len(values)))
                for c in range(len(self.log_p))
            ]
            found = found + np.stack(each, 1)
        return np.asarray(found)

    def _fits(self, name: str, given: Any) -> np.ndarray:
        """Which classes have these values of a part, -1 where they are not known: bool (n, classes).

        Raises:
            DataError: another shape, or no whole numbers.
        """
        of, array = self.values[name], np.asarray(given)
        array = array[None] if array.shape == of.shape[1:] else array
        if array.shape[1:] != of.shape[1:] or array.dtype.kind not in "iu":
            size = ", ".join(map(str, ("n", *of.shape[1:])))
            raise DataError(
                f"{name} must be whole numbers ({size}), -1 where unknown (got {array.dtype} {array.shape})"
            )
        known = array.reshape(len(array), 1, -1)
        return np.asarray(((known == of.reshape(1, len(of), -1)) | (known == -1)).all(-1))

    def log_prob(self, given: Mapping[str, Any]) -> Float[np.ndarray, "n"]:
        """log p of the parts that are given, in nats."""
        return np.asarray(logsumexp(self.log_joint(given), axis=1))

    def sample(self, n: int, given: Mapping[str, Any] | None = None, *, seed: int = 0) -> dict[str, Any]:
        """n events as parts by name.

        Args:
            given: known parts, one for all or one each.

        Raises:
            DataError: another number of known parts.
        """
        self._check(given or {})
        log_p, g = self.log_joint(given or {}), np.random.default_rng(seed)
        if len(log_p) not in (1, n):
            raise DataError(f"known parts must be one for all or {n} (got {len(log_p)}): give one for each")
        impossible = np.flatnonzero(np.isneginf(log_p).all(1))
        if len(impossible):
            names = ", ".join(given or {})
            raise DataError(f"{names} of event {impossible[0]} never occurred in training: give what did")
        log_p = np.broadcast_to(log_p, (n, log_p.shape[1]))
        chosen = (log_p + g.gumbel(size=log_p.shape)).argmax(1)
        condition = [label(c) for c in chosen]
        found = {name: of[chosen] for name, of in self.values.items()}
        for k, (name, run) in enumerate(self.runs.items()):
            if given and name in given:
                known = _one_or_more(given[name], run, name)
                found[name] = known if len(known) == n else _repeated(known, n)
            else:
                found[name] = run.sample(n, condition=condition, seed=seed + k, with_condition=False)
        return found

    def save(self, folder: str | Path) -> Path:
        """Write the model into a folder."""
        self._check({})
        with whole(Path(folder)) as aside:
            for name, run in self.runs.items():
                run.save(aside / name)
            plain = {"parts": list(self.runs), "log_p": self.log_p.tolist()}
            write_json(aside / "shared.json", {**plain, "values": {k: v.tolist() for k, v in self.values.items()}})
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> "SharedParts":
        """The model that `save` wrote."""
        path = folder_of(folder, "shared.json", "a model of parts that share a class")
        plain = read_json(path / "shared.json")
        made = cls({})
        made.runs = {name: load(path / name) for name in plain["parts"]}
        made.models = {name: run.name for name, run in made.runs.items()}
        made.log_p = np.array(plain["log_p"])
        made.values = {name: np.array(of) for name, of in plain.get("values", {}).items()}
        return made


def label(c: int) -> str:
    """The name of a class."""
    return f"class {c}"


def _one_or_more(values: Any, run: Artifact, name: str) -> Any:
    """The values of a part, one event or more of them.

    Raises:
        Unsupported: classes that are known in some places alone.
    """
    event = run.model.event
    if not isinstance(event, Discrete) or hasattr(values, "columns"):
        return values
    array = np.asarray(values)
    if array.dtype.kind in "iu" and (array == -1).any():
        raise Unsupported(f"{name} is known in some places alone, and this model takes whole parts: learn a Joint")
    return array[None] if array.shape == event.shape else values


def _repeated(values: Any, n: int) -> Any:
    return values.iloc[[0] * n].reset_index(drop=True) if hasattr(values, "iloc") else np.repeat(values, n, 0)
