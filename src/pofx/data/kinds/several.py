"""Several parts of one condition: a label and a picture, a text and numbers. Each part is of a kind of its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.items import Items
from pofx.data.kind import Kind, Shown, joined, kind_of, named, npz, take
from pofx.data.several import Several


class SeveralParts(Kind):
    name = "several"
    summary = "parts of different kinds, as conditions"
    outputs = (".npz",)

    def take(self, values: Several, at: np.ndarray) -> Several:
        return _each(values, lambda items: take(items, at))

    def join(self, parts: Sequence[Several]) -> Several:
        return Several({name: joined([p.parts[name] for p in parts]) for name in parts[0].parts})

    def update(self, hash: Any, values: Several) -> None:
        for name, items in values.parts.items():
            hash.update(f"{name}:{items.kind}".encode())
            kind_of(items).update(hash, items.values)

    def exact_keys(self, values: Several) -> list[Any]:
        return list(zip(*(kind_of(i).exact_keys(i.values) for i in values.parts.values()), strict=True))

    def same(self, a: Several, b: Several) -> np.ndarray:
        found = [kind_of(i).same(i.values, b[name]) for name, i in a.parts.items()]
        return np.asarray(np.logical_and.reduce(found))

    def noised(self, values: Several, known: Several, level: float, generator: np.random.Generator) -> Several:
        moved = {n: kind_of(i).noised(i.values, known[n], level, generator) for n, i in values.parts.items()}
        return _with(values, moved)

    def shuffled(self, values: Several, n: int, generator: np.random.Generator) -> Several:
        return _with(values, {k: kind_of(i).shuffled(i.values, n, generator) for k, i in values.parts.items()})

    def plan(self, items: Items) -> dict[str, Any]:
        plans = {name: [i.kind, kind_of(i).plan(i)] for name, i in items.values.parts.items()}
        return {"scaling": "standard", "parts": plans}

    def raw(self, values: Several, plan: Mapping[str, Any]) -> np.ndarray:
        parts = [named(kind).raw(values[name], of) for name, (kind, of) in plan["parts"].items()]
        return np.concatenate([part.reshape(len(part), -1) for part in parts], 1)

    def columns(self, values: Several) -> pd.DataFrame | None:
        """Parts that were columns of a table, under their names; None where one was none."""
        frames = []
        for items in values.parts.values():
            names = items.facts.get("columns")
            frame = kind_of(items).columns(items.values) if names else None
            if names and len(names) == 1 and frame is None:
                frame = pd.DataFrame({names[0]: list(items.values)})
            if frame is None or not names:
                return None
            frames.append(frame.set_axis(list(names), axis=1))
        return pd.concat(frames, axis=1)

    def shown(self, values: Several, facts: Mapping[str, Any]) -> Shown:
        columns, rows = [], []
        for name, items in values.parts.items():
            of = kind_of(items).shown(items.values, items.facts)
            if of.pictures is not None:
                columns.append(name)
                rows.append([[f"picture {' x '.join(map(str, np.shape(p)))}"] for p in of.pictures])
            else:
                columns += [name] if len(of.columns) == 1 else list(of.columns)
                rows.append([list(line) for line in of.lines])
        return Shown(columns=columns, lines=[sum(line, []) for line in zip(*rows, strict=True)])

    def describe(self, items: Items) -> str:
        return f"{len(items):,} items of {', '.join(items.values.parts)}"

    def content(self, items: Items, ending: str, columns: int | None = None) -> bytes:
        return npz(self.pack(items.values))

    def to_json(self, values: Several) -> Any:
        return {
            name: {"kind": i.kind, "facts": dict(i.facts), "values": kind_of(i).to_json(i.values)}
            for name, i in values.parts.items()
        }

    def from_json(self, plain: Any, facts: Mapping[str, Any]) -> Several:
        return Several(
            {
                name: Items(of["kind"], named(of["kind"]).from_json(of["values"], of["facts"]), facts=of["facts"])
                for name, of in plain.items()
            }
        )

    def pack(self, values: Several) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for name, items in values.parts.items():
            found |= {f"{items.kind}/{name}/{k}": v for k, v in kind_of(items).pack(items.values).items()}
        return found

    def unpack(self, arrays: Mapping[str, np.ndarray]) -> Several:
        parts: dict[tuple[str, str], dict[str, np.ndarray]] = {}
        for key, array in arrays.items():
            kind, name, of = key.split("/", 2)
            parts.setdefault((kind, name), {})[of] = array
        return Several({name: Items(kind, named(kind).unpack(of)) for (kind, name), of in parts.items()})


def _each(values: Several, change: Callable[[Items], Items]) -> Several:
    return Several({name: change(items) for name, items in values.parts.items()})


def _with(values: Several, found: Mapping[str, Any]) -> Several:
    return Several({name: replace(items, values=found[name]) for name, items in values.parts.items()})
