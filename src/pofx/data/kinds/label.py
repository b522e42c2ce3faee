"""Labels: names of classes, which models can be conditioned on."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.items import Items
from pofx.data.kind import Kind, Shown


class Label(Kind):
    name = "label"
    summary = "names of classes"
    labels = True

    def update(self, hash: Any, values: Any) -> None:
        hash.update("\x1e".join(map(str, values)).encode("utf-8", "surrogatepass"))

    def exact_keys(self, values: Any) -> list[Any]:
        return [str(v) for v in values]

    def noised(self, values: Any, known: Any, level: float, generator: np.random.Generator) -> Any:
        drawn = known[generator.integers(len(known), size=len(values))]
        return np.where(generator.random(len(values)) < level, drawn, values)

    def plan(self, items: Items) -> dict[str, Any]:
        return {"scaling": "none", "names": sorted(set(map(str, items.values)))}

    def raw(self, values: Any, plan: Mapping[str, Any]) -> np.ndarray:
        names = np.array(plan["names"], dtype=object)
        return np.asarray(np.array([str(v) for v in values], dtype=object)[:, None] == names, dtype=np.float64)

    def columns(self, values: Any) -> pd.DataFrame | None:
        return pd.DataFrame({"label": np.asarray(values)})

    def shown(self, values: Any, facts: Mapping[str, Any]) -> Shown:
        return Shown(columns=["label"], lines=[[str(v)] for v in values])

    def pack(self, values: Any) -> dict[str, np.ndarray]:
        return {"values": np.array([str(v) for v in values], dtype=np.str_)}
