"""Items: raw values in data space with what belongs to them, as sources yield them. No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Items:
    """Raw typed items as a source yields them.

    kind names the data type ("image", "table", "points", "tokens", …; see `pofx.data.kind`); values are in data space
    (a numpy array, a DataFrame, a list of strings); labels are int64 class numbers, one per item, or None; facts are
    what the data type must know beside the values (levels of an image) and `label_names`, all plain JSON values;
    condition holds what a model is given with each item, items of a kind of their own; weight is one number per item.
    """

    kind: str
    values: Any
    labels: Any = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    condition: "Items | None" = None
    weight: Any = None

    def __len__(self) -> int:
        return len(self.values)
