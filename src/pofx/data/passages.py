"""Running text as items: consecutive passages, each of which knows what precedes it.

A list of short strings like any other, so that every metric can read it; whoever can use the context finds the whole
text beside it. Passages never overlap and leave nothing out, so what is counted per passage is counted once.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np

PASSAGE = 64  # characters


class Passages(list[str]):
    """The passages text[starts[i]:ends[i]] of one text; by default all of it, 64 characters each."""

    def __init__(
        self,
        text: str,
        starts: Sequence[int] | np.ndarray | None = None,
        ends: Sequence[int] | np.ndarray | None = None,
        size: int = PASSAGE,
    ) -> None:
        self.text = text
        if starts is None or ends is None:
            starts = np.arange(0, len(text), size)
            ends = np.minimum(starts + size, len(text))
        self.starts, self.ends = np.asarray(starts, dtype=np.int64), np.asarray(ends, dtype=np.int64)
        super().__init__(text[a:b] for a, b in zip(self.starts.tolist(), self.ends.tolist(), strict=True))

    def taken(self, indices: Iterable[int]) -> Self:
        """Some of the passages, in this order, with the same text around them."""
        at = np.asarray(list(indices), dtype=np.int64)
        return type(self)(self.text, self.starts[at], self.ends[at])

    def divided(self, validation: float, test: float) -> tuple["Passages", "Passages", "Passages"]:
        """Three texts in their order, the last two with these shares of the characters: training, validation, test."""
        n = len(self.text)
        a, b = int(n * (1 - validation - test)), int(n * (1 - test))
        return Passages(self.text[:a]), Passages(self.text[a:b]), Passages(self.text[b:])

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"text": self.text, "starts": self.starts.tolist(), "ends": self.ends.tolist()}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Passages":
        """The passages that `to_json` wrote."""
        return cls(plain["text"], plain["starts"], plain["ends"])
