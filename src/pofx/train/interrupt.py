"""Ctrl-C between steps: an interruption waits until the step under way is whole, for a state that was saved amid a step
would not resume as the uninterrupted run goes on. A second Ctrl-C strikes at once, and then nothing new is saved."""

import signal
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class WholeSteps:
    """Delays KeyboardInterrupt from `begin` to `end`; only for signals that would raise it (in the main thread)."""

    def __init__(self) -> None:
        self.busy = self.asked = False
        self.before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in SIGNALS:
            if signal.getsignal(number) is signal.default_int_handler:
                try:
                    self.before[number] = signal.signal(number, self._hear)
                except ValueError:  # not the main thread, which alone hears signals
                    break
        return self

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if not self.busy or self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def begin(self) -> None:
        """A step begins."""
        self.busy = True

    def end(self) -> None:
        """The step is whole: an interruption that came meanwhile strikes now."""
        self.busy = False
        if self.asked:
            raise KeyboardInterrupt

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
