"""Values of several parts: for every item one of each, a label beside a picture, a text beside numbers."""

from collections.abc import Iterator, Mapping
from typing import Any

from pofx.core.errors import DataError
from pofx.core.items import Items


class Several(Mapping[str, Any]):
    """Part by name: `several["label"]` are the values of one, `several.parts["label"]` its items; `several.count` is
    the number of items.

    Raises:
        DataError: no parts, or parts of different numbers of items.
    """

    def __init__(self, parts: Mapping[str, Items]) -> None:
        sizes = {name: len(items) for name, items in parts.items()}
        if not sizes or len(set(sizes.values())) > 1:
            found = ", ".join(f"{name}: {n}" for name, n in sizes.items())
            raise DataError(f"parts must be one of each for every item (got {found or 'none'})")
        self.parts, self.count = dict(parts), next(iter(sizes.values()))

    def __getitem__(self, name: str) -> Any:
        return self.parts[name].values

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)

    def __len__(self) -> int:
        """The number of items, as of other values."""
        return self.count

    def __repr__(self) -> str:
        return f"<{self.count} items of parts: {', '.join(f'{k} ({v.kind})' for k, v in self.parts.items())}>"
