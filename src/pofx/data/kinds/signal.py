"""Signals of real numbers in frames: a float array (n, channels, frames), which sound can be conditioned on."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pofx.core.items import Items
from pofx.data.kind import Kind, Shown


class Signal(Kind):
    name = "signal"
    summary = "signals in frames"

    def flat(self, values: Any) -> np.ndarray | None:
        return np.asarray(values, np.float64).reshape(len(values), -1)

    def noised(self, values: Any, known: Any, level: float, generator: np.random.Generator) -> Any:
        noise = level * known.std(0) * generator.standard_normal(values.shape)
        return (values + noise).clip(known.min(0), known.max(0)).astype(values.dtype)

    def plan(self, items: Items) -> dict[str, Any]:
        return {"scaling": "standard"}

    def raw(self, values: Any, plan: Mapping[str, Any]) -> np.ndarray:
        return np.asarray(values, np.float64).reshape(len(values), -1)

    def shown(self, values: Any, facts: Mapping[str, Any]) -> Shown:
        return Shown(
            columns=["signal"], lines=[[f"{np.shape(v)[0]} channels, {np.shape(v)[1]} frames"] for v in values]
        )
