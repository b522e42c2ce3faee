"""A trained model behind HTTP: sample, score, encode, decode, edit, info; health and metrics.

Loopback is open to this machine; anywhere else a token is needed. Every request is bounded in bytes, items and time,
and what waits at the same time is computed together (`batches`). OpenAPI pages with examples are at /docs.
"""

import asyncio
import hmac
import json
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from pofx.artifact import Artifact
from pofx.core.errors import PofxError, UsageError
from pofx.evaluate.measurement import finite
from pofx.serve.batches import Batches, Busy, Late
from pofx.serve.ports import listening
from pofx.serve.work import Limits, Work

try:
    import fastapi
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse, Response, StreamingResponse
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from pofx.serve import bodies
    from pofx.serve.heap import Heap
    from pofx.serve.meters import Meters
except ImportError as error:
    raise UsageError("the server needs the extra `serve`: pip install pofx[serve]") from error

LOOPBACK = ("127.0.0.1", "localhost", "::1")
KNOWN = ("/sample", "/sample/stream", "/score", "/encode", "/decode", "/edit", "/info", "/health", "/metrics")


def encoded(content: Any) -> bytes:
    """JSON in ASCII, which half a surrogate pair in a text cannot break; numbers that are not finite become null."""
    try:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError):  # rare, and to look at every number first takes most of the time of a request
        return json.dumps(finite(content), allow_nan=False, separators=(",", ":")).encode()


class Plain(JSONResponse):
    """As `encoded`."""

    def render(self, content: Any) -> bytes:
        return encoded(content)


def app(run: Artifact, *, token: str | None = None, limits: Limits | None = None, hosts: tuple[str, ...] = ()) -> Any:
    """The FastAPI application of a run.

    Args:
        token: without it every request is refused, but for /health; None: no token is needed.
        limits: of a request.
        hosts: names under which the server may be addressed; empty: any. Of a server without a token, those of this
            machine, so that no web page can reach it under a name of its own.
    """
    bounds = limits or Limits()
    work, meters, heap = Work(run, bounds), Meters(), Heap()

    def begun(requests: int, items: int, deadline: float) -> None:
        work.deadline = deadline
        heap.tidy()
        meters.batch(requests, items)

    batches = Batches(bounds.batch, bounds.waiting, bounds.seconds, begun)

    @asynccontextmanager
    async def life(_: Any) -> AsyncIterator[None]:
        yield
        batches.close()

    async def allowed(authorization: Annotated[str | None, fastapi.Header()] = None) -> None:
        if token is not None and not hmac.compare_digest((authorization or "").encode(), f"Bearer {token}".encode()):
            raise fastapi.HTTPException(401, "a token is needed: send the header Authorization: Bearer TOKEN")

    failures: dict[int | str, dict[str, Any]] = {
        code: {"model": bodies.Error, "description": what}
        for code, what in {
            400: "what is wrong with the request, in one sentence",
            401: "no token, or a wrong one",
            413: "more bytes than a request may have",
            422: "a field of another type or out of its range",
            503: "too many requests wait, or this one took too long",
        }.items()
    }
    made = fastapi.FastAPI(
        title=f"pofx: {run.name}", description=__doc__, lifespan=life, default_response_class=Plain, responses=failures
    )
    if hosts:
        made.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    made.add_middleware(Guard, most=bounds.bytes, meters=meters)
    made.state.batches, made.state.work = batches, work
    guarded = [fastapi.Depends(allowed)]

    @made.exception_handler(PofxError)
    async def refused(_: fastapi.Request, error: PofxError) -> Any:
        late = isinstance(error, Busy | Late)
        return Plain({"error": str(error)}, 503 if late else 400, {"Retry-After": "1"} if late else None)

    @made.exception_handler(RequestValidationError)
    async def unfit(_: fastapi.Request, error: RequestValidationError) -> Any:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "the body"
        return Plain({"error": f"{where}: {first['msg']}: see /docs"}, 422)

    @made.exception_handler(fastapi.HTTPException)
    async def other(_: fastapi.Request, error: fastapi.HTTPException) -> Any:
        return Plain({"error": str(error.detail)}, error.status_code, error.headers)

    async def computed(kind: str, body: Any, size: int, together: Any, key: Any) -> Any:
        """The answer of the thread that computes, with the requests of the same kind and key."""
        work.check_count(size)
        future = batches.submit(None if key is None else (kind, key), body, size, together)
        return await asyncio.wrap_future(future)

    @made.get("/health")
    async def health() -> dict[str, Any]:
        """Whether the server answers, and how many requests wait."""
        return {"status": "ok", "waiting": len(batches.jobs)}

    @made.get("/metrics", dependencies=guarded, response_class=Response)
    async def metrics() -> Any:
        """Counts and times for Prometheus."""
        return Response(meters.text(len(batches.jobs)), media_type=meters.media)

    @made.get("/info", dependencies=guarded, response_model=bodies.Info)
    async def info() -> Any:
        """What is served, what it can do, and the limits of a request."""
        return Plain(work.info())

    @made.post("/sample", dependencies=guarded, response_model=bodies.Drawn)
    async def sample(body: bodies.Sample) -> Any:
        """Draw items; item i depends on the seed and i alone, whatever else is computed with it."""
        alone = body.prefix is not None or body.given is not None
        key = None if alone else (json.dumps(body.options, sort_keys=True), body.condition is None)
        items = await computed("sample", body, body.n, work.sampled, key)
        meters.items(body.n)
        if body.format == "json":
            return Plain(work.drawn(items))
        content, media = work.file(items, body.format, seed=body.seed)
        return Response(content, media_type=media)

    @made.post("/sample/stream", dependencies=guarded, response_class=StreamingResponse)
    async def stream(body: bodies.Stream) -> Any:
        """Draw items, answered line by line as JSON: {"progress": share}, {"text": part, "number": i} of texts while
        they are drawn, {"first": i, "items": […]} when a chunk is whole, {"done": n} at the end or {"error": why}."""
        work.check_count(body.n)
        return StreamingResponse(_lines(work, batches, body), media_type="application/x-ndjson")

    @made.post("/score", dependencies=guarded, response_model=bodies.Scored)
    async def score(body: bodies.Score) -> Any:
        """log p of items with its kind, unit, measure and error."""
        key = body.draws if body.condition is None else None
        return Plain(await computed("score", body, _size(body.items), work.scored, key))

    @made.post("/encode", dependencies=guarded, response_model=bodies.Encoded)
    async def encode(body: bodies.Encode) -> Any:
        """The codes of items."""
        key = 0 if body.condition is None else None
        return Plain(await computed("encode", body, _size(body.items), work.encoded, key))

    @made.post("/decode", dependencies=guarded, response_model=bodies.Drawn)
    async def decode(body: bodies.Decode) -> Any:
        """The items of codes."""
        return Plain(await computed("decode", body, len(body.codes), work.decoded, None))

    @made.post("/edit", dependencies=guarded, response_model=bodies.Drawn)
    async def edit(body: bodies.Edit) -> Any:
        """Draw a part of items anew, make rough items probable, or enlarge small ones: runs that denoise."""
        return Plain(await computed("edit", body, _size(body.items), work.edited, None))

    return made


def _size(items: Any) -> int:
    """How many items a request has; what is none is refused where it is read."""
    rows = items.get("rows") if isinstance(items, dict) else items
    return max(len(rows), 1) if isinstance(rows, list) else 1


async def _lines(work: Work, batches: Batches, body: Any) -> AsyncIterator[bytes]:
    """The answer to a stream, chunk after chunk; other requests are computed in between."""
    from pofx.serve.streaming import chunk

    loop, queue = asyncio.get_running_loop(), asyncio.Queue[dict[str, Any] | None]()

    def put(line: dict[str, Any] | None) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, line)

    for first in range(0, body.n, body.chunk):
        n = min(body.chunk, body.n - first)

        def together(payloads: Any, first: int = first, n: int = n) -> list[None]:
            chunk(work, body, first, n, put)
            return [None]

        try:
            future = batches.submit(None, None, n, together)
        except PofxError as error:
            yield _line({"error": str(error)})
            return
        future.add_done_callback(lambda _: put(None))
        while (line := await queue.get()) is not None:
            yield _line(line)
        failed = future.exception()
        if failed is not None:
            reason = str(failed) if isinstance(failed, PofxError) else "the server failed: see its log"
            yield _line({"error": reason})
            return
    yield _line({"done": body.n})


def _line(plain: dict[str, Any]) -> bytes:
    return encoded(plain) + b"\n"


class Guard:
    """Refuse bodies that are too long before they are read, and count and time every request."""

    def __init__(self, app: Any, most: int, meters: Meters) -> None:
        self.app, self.most, self.meters = app, most, meters

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status, seen = time.perf_counter(), 500, 0
        path = scope["path"] if scope["path"] in KNOWN else "other"

        async def counted() -> Any:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.most:
                raise _TooLong
            return message

        async def answered(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        stated = dict(scope["headers"]).get(b"content-length", b"0")
        too_long = Plain({"error": f"a request has at most {self.most:,} bytes: request items in parts"}, 413)
        try:
            if not stated.isdigit() or int(stated[:20]) > self.most:
                raise _TooLong
            await self.app(scope, counted, answered)
        except _TooLong:
            await too_long(scope, receive, answered)
        finally:
            self.meters.request(path, status, time.perf_counter() - began)


class _TooLong(BaseException):
    """Passes the handlers of errors, which would make it another answer."""


def serve(
    run: Artifact,
    host: str,
    port: int,
    token: str | None,
    limits: Limits,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve a run until Ctrl-C; away from loopback with a token, which is made and printed where none is given."""
    import uvicorn

    port, local = listening(host, port), host in LOOPBACK
    if token is None and not local:
        token = secrets.token_urlsafe(24)
        print(f"token: {token}", file=sys.stderr, flush=True)
    names = (*LOOPBACK, "[::1]") if token is None else ()
    at = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    print(f"{run.name} at {at}, pages at {at}/docs\nCtrl-C ends", file=sys.stderr, flush=True)
    made = app(run, token=token, limits=limits, hosts=names)
    if ready is not None:
        ready(at)
    uvicorn.run(made, host=host, port=port, log_level="warning", timeout_keep_alive=30)
