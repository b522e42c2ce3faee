"""Ctrl-C between steps: an interruption is delayed to the end of the current step, since a state that is saved within a
step would not resume bit by bit. A second Ctrl-C takes effect at once, and then nothing is saved."""

import signal
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class WholeSteps:
    """Delays KeyboardInterrupt from `begin` to `end`; only for signals that would raise it (in the main thread)."""

    def __init__(self) -> None:
        self.busy = self.requested = False
        self.before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in SIGNALS:
            if signal.getsignal(number) is signal.default_int_handler:
                try:
                    self.before[number] = signal.signal(number, self._received)
                except ValueError:  # not the main thread, which alone receives signals
                    break
        return self

    def _received(self, number: int, frame: FrameType | None) -> None:
        if not self.busy or self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def begin(self) -> None:
        """A step begins."""
        self.busy = True

    def end(self) -> None:
        """The step is complete: an interruption that arrived during it takes effect now."""
        self.busy = False
        if self.requested:
            raise KeyboardInterrupt

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
