"""Points of d real coordinates: a float array (n, d)."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.errors import UsageError
from pofx.core.items import Items
from pofx.core.printed import number
from pofx.data.kind import Kind, Shown, in_range, lines_of
from pofx.data.labels import with_labels
from pofx.data.numbers import check_points
from pofx.data.support import supported

PUBLIC = ("points",)


def points(x: Any, labels: Any = None, name: str = "points", support: Any = None) -> Items:
    """Points of d real coordinates: a float array (n, d); support as in `table`, its columns called x0, x1, ….

    Raises:
        DataError: empty, not finite, outside the support or of another shape.
    """
    values = check_points(x, name)
    facts = supported(values, [f"x{i}" for i in range(values.shape[1])], support)
    return Items("points", values, *with_labels(labels, len(values), name, facts))


class Points(Kind):
    name = "points"
    summary = "points of real coordinates"
    columnar = True
    outputs = (".csv", ".npz", ".npy", ".json", ".png")

    def of_values(self, array: np.ndarray, labels: Any, name: str, facts: Mapping[str, Any]) -> Items | None:
        return points(array, labels=labels, name=name) if array.ndim == 2 else None

    def of_object(self, value: Any, name: str) -> Items | None:
        """Reals in rows: a float array (n, d)."""
        reals = isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.ndim == 2
        return points(value, name=name) if reals else None

    def flat(self, values: Any) -> np.ndarray | None:
        return np.asarray(values, np.float64)

    def noised(self, values: Any, known: Any, level: float, generator: np.random.Generator) -> Any:
        moved = values + level * known.std(0) * generator.standard_normal(values.shape)
        inside = moved.clip(known.min(0), known.max(0))
        return in_range(inside, known)

    def plan(self, items: Items) -> dict[str, Any]:
        return {"scaling": "standard"}

    def raw(self, values: Any, plan: Mapping[str, Any]) -> np.ndarray:
        return np.asarray(values, np.float64).reshape(len(values), -1)

    def columns(self, values: Any) -> pd.DataFrame | None:
        array = np.asarray(values)
        return pd.DataFrame(array, columns=[f"x{i}" for i in range(array.shape[1])])

    def plane(self, values: Any) -> np.ndarray | None:
        array = np.asarray(values)
        return array if array.shape[1] == 2 else None

    def shown(self, values: Any, facts: Mapping[str, Any]) -> Shown:
        array = np.asarray(values)
        return Shown(columns=[f"x{i}" for i in range(array.shape[1])], lines=array.tolist())

    def preview(self, items: Items, width: int = 80, n: int = 5) -> str:
        frame = self.columns(items.values[:n])
        assert frame is not None
        return frame.to_string(index=False, line_width=width, float_format=number)

    def describe(self, items: Items) -> str:
        return f"{len(items):,} points of {items.values.shape[1]} coordinates"

    def content(self, items: Items, ending: str, columns: int | None = None) -> bytes:
        if ending in (".csv", ".json"):
            frame = self.columns(items.values)
            assert frame is not None
            if items.labels is not None:
                frame = frame.assign(label=items.labels)
            return lines_of(frame.to_dict("records"), ending)
        if ending == ".png":
            if items.values.shape[1] != 2:
                raise UsageError(f"points of {items.values.shape[1]} coordinates make no picture: write a .csv")
            return scatter(np.asarray(items.values))
        return super().content(items, ending, columns)

    def from_json(self, plain: Any, facts: Mapping[str, Any]) -> Any:
        return check_points(np.asarray(plain, dtype=np.float64), "points")


def scatter(values: np.ndarray) -> bytes:
    """A scatter plot of points in the plane as the content of a .png file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6))
    axes = figure.add_subplot()
    size = float(np.clip(4000 / len(values), 4, 40))
    axes.scatter(values[:, 0], values[:, 1], s=size, alpha=0.6, linewidths=0)
    axes.set_aspect("equal")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()
