"""Counts and times of a server in the format of Prometheus."""

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Meters:
    """The meters of one server, in a registry of their own."""

    media = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own = self.registry
        self.requests = Counter("pofx_requests", "Requests by path and status.", ["path", "status"], registry=own)
        self.seconds = Histogram("pofx_request_seconds", "Time from arrival to answer.", ["path"], registry=own)
        self.drawn = Counter("pofx_items", "Items that were drawn.", registry=own)
        self.shared = Histogram("pofx_batch_requests", "Requests computed together.", buckets=SIZES, registry=own)
        self.sizes = Histogram("pofx_batch_items", "Items computed together.", buckets=SIZES, registry=own)
        self.waiting = Gauge("pofx_waiting", "Requests that wait.", registry=own)

    def request(self, path: str, status: int, seconds: float) -> None:
        self.requests.labels(path, str(status)).inc()
        self.seconds.labels(path).observe(seconds)

    def items(self, n: int) -> None:
        self.drawn.inc(n)

    def batch(self, requests: int, items: int) -> None:
        self.shared.observe(requests)
        self.sizes.observe(items)

    def text(self, waiting: int) -> bytes:
        self.waiting.set(waiting)
        return generate_latest(self.registry)
