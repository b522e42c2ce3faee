"""A client of `pofx serve`: the verbs of a run on another machine, with values in the form of the data."""

import json
import time
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Self

import httpx
import numpy as np

from pofx.core.config import plain
from pofx.core.errors import PofxError, UsageError
from pofx.core.model import Density
from pofx.data.kind import named
from pofx.scoring import Score

PUBLIC = ("Client",)


class Client:
    """A run behind HTTP.

    Args:
        url: of the server, "http://127.0.0.1:8700".
        token: that the server printed, where it needs one.
        timeout: seconds of a request; a server that is busy is tried again meanwhile.
        transport: of httpx, for tests.

    Raises:
        PofxError: what the server answers where it refuses a request, or that there is none.
    """

    def __init__(self, url: str, token: str | None = None, *, timeout: float = 60.0, transport: Any = None) -> None:
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise UsageError(f"url must begin with http:// or https:// (got {url!r}): pass 'http://127.0.0.1:8700'")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.timeout = float(timeout)
        self.http = httpx.Client(base_url=url, headers=headers, timeout=self.timeout, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *stop: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.http.close()

    @cached_property
    def info(self) -> dict[str, Any]:
        """What is served, what it can do, and the limits of a request."""
        return self._send("GET", "/info").json()  # type: ignore[no-any-return]

    def sample(
        self,
        n: int = 1,
        condition: Any = None,
        *,
        seed: int = 0,
        prefix: Any = None,
        given: Any = None,
        **options: Any,
    ) -> Any:
        """As `Artifact.sample`; options are those of the model, such as temperature or sampler_steps."""
        body = {"n": n, "condition": condition, "seed": seed, "prefix": prefix, "given": given, "options": options}
        return self._values(self._send("POST", "/sample", body).json()["items"])

    def stream(self, n: int = 1, condition: Any = None, *, seed: int = 0, **options: Any) -> Iterator[dict[str, Any]]:
        """The lines of a sampling while it goes on: progress, parts of texts, chunks of items."""
        body = json.dumps(_plain({"n": n, "condition": condition, "seed": seed, "options": options}))
        kind = {"Content-Type": "application/json"}
        try:
            with self.http.stream("POST", "/sample/stream", content=body, headers=kind) as answer:
                if answer.status_code != 200:
                    answer.read()
                    _refuse(answer)
                for text in answer.iter_lines():
                    line = json.loads(text)
                    if "error" in line:
                        raise PofxError(line["error"])
                    yield line
        except httpx.HTTPError as error:
            raise self._unreached(error) from error

    def score(self, values: Any, condition: Any = None, *, draws: int = 8) -> Score:
        """As `Artifact.score`."""
        found = self._send("POST", "/score", self._items(values, condition) | {"draws": draws}).json()
        error = found["stderr"]
        return Score(
            value=np.array([-np.inf if v is None else v for v in found["value"]], np.float64),
            density=Density[found["density"].upper()],
            unit=found["unit"],
            measure=found["measure"],
            stderr=None if error is None else np.array([np.nan if e is None else e for e in error]),
            evaluations=draws,
            reasons={int(k): why for k, why in found["reasons"].items()},
        )

    def log_prob(self, values: Any, condition: Any = None, *, draws: int = 8) -> np.ndarray:
        """The value of `score`."""
        return self.score(values, condition, draws=draws).value

    def encode(self, values: Any, condition: Any = None) -> np.ndarray:
        """As `Artifact.encode`."""
        return np.asarray(self._send("POST", "/encode", self._items(values, condition)).json()["codes"])

    def decode(self, codes: Any, condition: Any = None) -> Any:
        """As `Artifact.decode`."""
        body = {"codes": np.asarray(codes).tolist(), "condition": condition}
        return self._values(self._send("POST", "/decode", body).json()["items"])

    def edit(self, values: Any, condition: Any = None, **options: Any) -> Any:
        """As `pofx.edit`."""
        return self._values(self._send("POST", "/edit", self._items(values, condition) | options).json()["items"])

    def _values(self, plain: Any) -> Any:
        return named(self.info["kind"]).from_json(plain, self.info["facts"])

    def _items(self, values: Any, condition: Any) -> dict[str, Any]:
        return {"items": named(self.info["kind"]).to_json(values), "condition": condition}

    def _send(self, method: str, path: str, body: Any = None) -> httpx.Response:
        end = time.monotonic() + self.timeout
        content = None if body is None else json.dumps(_plain(body))
        while True:
            try:
                kind = {"Content-Type": "application/json"} if content is not None else {}
                answer = self.http.request(method, path, content=content, headers=kind)
            except httpx.HTTPError as error:
                raise self._unreached(error) from error
            if answer.status_code != 503 or time.monotonic() > end:
                break
            time.sleep(float(answer.headers.get("Retry-After", 1)))
        if answer.status_code != 200:
            _refuse(answer)
        return answer

    def _unreached(self, error: httpx.HTTPError) -> UsageError:
        return UsageError(f"no server answers at {self.http.base_url} ({error}): start one with `pofx serve RUN`")


def _plain(body: dict[str, Any]) -> dict[str, Any]:
    """Plain values of arrays, tensors and tables."""

    def made(value: Any) -> Any:
        if hasattr(value, "to_dict"):
            return value.to_dict("records")
        if hasattr(value, "tolist"):
            return value.tolist()
        return {k: made(v) for k, v in value.items()} if isinstance(value, dict) else plain(value)

    return {key: made(value) for key, value in body.items()}


def _refuse(answer: httpx.Response) -> None:
    try:
        reason = str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        reason = f"the server answered {answer.status_code}"
    raise PofxError(reason)
