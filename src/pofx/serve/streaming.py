"""Items that are sent while they are drawn: progress, the texts so far, then the whole items of a chunk."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pofx.artifact import Artifact
from pofx.conditioned import condition_events, raw_condition
from pofx.core.entry import float32
from pofx.core.event import select
from pofx.core.items import Items
from pofx.core.random import Streams
from pofx.drawing import INSIDE, drawn
from pofx.partial import Partial
from pofx.represent.texts import Texts
from pofx.serve.work import Work, condition_of

GAP = 0.05  # seconds between two lines of progress
Put = Callable[[dict[str, Any]], None]


@torch.inference_mode()
def chunk(work: Work, body: Any, first: int, n: int, put: Put) -> None:
    """Draw the items first, …, first + n - 1 of a request; lines go to `put` meanwhile."""
    with float32():
        artifact, tempering = work.variant(body.options)
        watch = Watch(artifact, first, body.n, n, put)
        events = Streams(body.seed, n, first=first, device=artifact.device)
        inside = Streams(body.seed + INSIDE, n, first=first, device=artifact.device)
        events.watch = watch
        given = condition_of(body.condition)
        raw = raw_condition(artifact, given, body.n, body.seed)
        stated = None if raw is None else select(raw, slice(first, first + n))
        under = condition_events(artifact, stated)
        items = drawn(artifact, Partial(artifact.model), stated, under, events, inside, n, tempering)
    watch.end(items)
    put({"first": first, **work.drawn(items)})
    put({"progress": (first + n) / body.n})


class Watch:
    """What has been drawn so far, as lines: the share, and the new part of every text."""

    def __init__(self, artifact: Artifact, first: int, of: int, n: int, put: Put) -> None:
        self.artifact, self.first, self.of, self.n, self.put = artifact, first, of, n, put
        self.texts, self.last = [""] * n, 0.0

    def __call__(self, x: Tensor, share: float) -> None:
        now = time.monotonic()
        if now - self.last < GAP:
            return
        self.last = now
        self.put({"progress": (self.first + share * self.n) / self.of})
        if isinstance(self.artifact.representation, Texts) and len(x) == self.n:
            self._sent(self.artifact.representation.items(x))

    def end(self, items: Items) -> None:
        """Send the rest of the texts."""
        if isinstance(self.artifact.representation, Texts):
            self._sent(items.values)

    def _sent(self, texts: Any) -> None:
        for i, text in enumerate(texts):
            if text.startswith(self.texts[i]) and len(text) > len(self.texts[i]):
                self.put({"text": text[len(self.texts[i]) :], "number": self.first + i})
                self.texts[i] = text
