"""One thread that works for all requests: what waits together is computed together.

torch uses all cores within one call, so calls of several threads would only be in each other's path. While one batch is
computed further requests wait; those of the same kind and options then share the next call of the model, and each gets
what it would have got alone (`pofx.drawing`). Clients that have just been answered request again at once: a part of the
time of a batch is waited for as many as were there before, so that halves do not take turns. A batch that fails is
repeated request by request, so that one bad request spoils no other.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from pofx.core.errors import PofxError

PATIENCE, LONGEST = 0.2, 0.05  # share of the time of the last batch that is waited for requests, at most seconds

Together = Callable[[Sequence[Any]], Sequence[Any]]


class Busy(PofxError):
    """Too many requests wait."""


class Late(PofxError):
    """A request waited longer than its limit."""


@dataclass
class Job:
    """A request: `together` computes the results of several payloads whose jobs have the same key."""

    key: Hashable  # None: never with others
    payload: Any
    size: int  # items
    together: Together
    deadline: float
    future: "Future[Any]" = field(default_factory=Future)


class Batches:
    """The queue and its thread.

    Args:
        most: items of a batch.
        waiting: requests that may wait.
        seconds: that a request may wait before it is refused.
        noted: called before each batch with its requests, its items and the time of `monotonic` when it is late.
    """

    def __init__(self, most: int, waiting: int, seconds: float, noted: Callable[[int, int, float], None]) -> None:
        self.most, self.waiting, self.seconds, self.noted = most, waiting, seconds, noted
        self.jobs: deque[Job] = deque()
        self.changed = threading.Condition()
        self.open = True
        self.last: Hashable = None  # the key of the last batch, how many requests of it there were, and its time
        self.expected, self.took = 0, 0.0
        self.thread = threading.Thread(target=self._work, name="pofx-batches", daemon=True)
        self.thread.start()

    def submit(self, key: Hashable, payload: Any, size: int, together: Together) -> "Future[Any]":
        """The future result of a request.

        Raises:
            Busy: too many requests wait.
        """
        job = Job(key, payload, size, together, time.monotonic() + self.seconds)
        with self.changed:
            if len(self.jobs) >= self.waiting or not self.open:
                raise Busy(f"at most {self.waiting} requests may wait: try again in a second")
            self.jobs.append(job)
            self.changed.notify()
        return job.future

    def close(self) -> None:
        """End after the present batch; what waits is refused."""
        with self.changed:
            self.open = False
            self.changed.notify()
        self.thread.join(timeout=10)
        for job in self.jobs:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(Busy("the server ends: try again later"))

    def _work(self) -> None:
        while True:
            with self.changed:
                while not self.jobs and self.open:
                    self.changed.wait()
                self._gather()
                if not self.open:
                    return
                batch = self._next()
            began = time.monotonic()
            self._run(batch)
            with self.changed:
                self.last, self.took = batch[0].key, time.monotonic() - began
                self.expected = len(batch) + sum(job.key == self.last for job in self.jobs)

    def _gather(self) -> None:
        """Wait a little for the requests of those who were there before."""
        end = time.monotonic() + min(PATIENCE * self.took, LONGEST)
        while self.open and self.jobs and self.last is not None and self.jobs[0].key == self.last:
            alike = [job.size for job in self.jobs if job.key == self.last]
            left = end - time.monotonic()
            if len(alike) >= self.expected or sum(alike) >= self.most or left <= 0:
                return
            self.changed.wait(left)

    def _next(self) -> list[Job]:
        """The oldest job with those that may be computed with it, in their order; the others stay."""
        first = self.jobs.popleft()
        batch, size, rest = [first], first.size, deque[Job]()
        for job in self.jobs:
            if first.key is not None and job.key == first.key and size + job.size <= self.most:
                batch.append(job)
                size += job.size
            else:
                rest.append(job)
        self.jobs = rest
        return batch

    def _run(self, batch: list[Job]) -> None:
        now, ready = time.monotonic(), []
        for job in batch:
            if not job.future.set_running_or_notify_cancel():  # nobody waits for it any more
                continue
            if now > job.deadline:
                job.future.set_exception(Late(f"the request waited for more than {self.seconds:g} seconds: try again"))
            else:
                ready.append(job)
        if not ready:
            return
        self.noted(len(ready), sum(job.size for job in ready), max(job.deadline for job in ready))
        try:
            results = ready[0].together([job.payload for job in ready])
        except Exception as error:
            if len(ready) == 1 or isinstance(error, Late):
                for job in ready:
                    job.future.set_exception(error)
                return
            for job in ready:
                try:
                    job.future.set_result(job.together([job.payload])[0])
                except Exception as own:
                    job.future.set_exception(own)
            return
        for job, result in zip(ready, results, strict=True):
            job.future.set_result(result)
