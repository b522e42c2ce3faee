"""What the server computes: requests in plain values to answers in plain values, several at once where they agree."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from pofx import summary
from pofx.apps.edit import edit
from pofx.apps.provenance import manifest, stamped
from pofx.artifact import Artifact
from pofx.core.config import plain
from pofx.core.entry import float32
from pofx.core.errors import DataError, UsageError, unknown
from pofx.core.items import Items
from pofx.core.model import Completing, Denoising, Density, Encoding, Infilling, Tempered
from pofx.data.kind import FOLDER, kind_of, named
from pofx.drawing import Request, draw_each
from pofx.evaluate.measurement import finite
from pofx.scoring import Score
from pofx.serve.batches import Late

MEDIA = {
    ".png": "image/png", ".jpg": "image/jpeg", ".csv": "text/csv", ".txt": "text/plain; charset=utf-8",
    ".json": "application/json", ".wav": "audio/wav", ".npz": "application/zip",
}  # fmt: skip
UNREADABLE = (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError)
PARTIAL = ("prefix", "given")


@dataclass(frozen=True)
class Limits:
    """What one request may take.

    Args:
        items: of one request.
        batch: items that are computed together.
        bytes: of a request's body.
        seconds: that a request may take, from its arrival.
        waiting: requests that may wait.
    """

    items: int = 1000
    batch: int = 512
    bytes: int = 16_000_000
    seconds: float = 60.0
    waiting: int = 256


class Work:
    """The computations for one artifact."""

    def __init__(self, run: Artifact, limits: Limits) -> None:
        self.run, self.limits = run, limits
        self.kind = named(run.representation.kind)
        self.facts = dict(run.card.get("data", {}).get("facts", {}))
        self.variants: dict[str, Artifact] = {}
        self.deadline = math.inf
        self._timed(run)

    def _timed(self, run: Artifact) -> Artifact:
        """The run, whose every network call ends the computation once the deadline is over."""

        def check(*_: Any) -> None:
            if time.monotonic() > self.deadline:
                raise Late(f"the request took more than {self.limits.seconds:g} seconds: request fewer items or steps")

        for module in run.model.modules():
            module.register_forward_pre_hook(check)
        return run

    def info(self) -> dict[str, Any]:
        model, given = self.run.model, self.run.conditioning
        can = ["sample"]
        can += ["score"] if self.run.density > Density.NONE else []
        can += ["encode", "decode"] if isinstance(model, Encoding) else []
        can += ["edit"] if isinstance(model, Denoising | Infilling) else []
        can += ["complete"] if isinstance(model, Completing | Infilling) else []
        tempers = model.tempers if isinstance(model, Tempered) else ()
        return {
            "model": self.run.name,
            "kind": self.kind.name,
            "facts": finite(plain(self.facts)),
            "about": summary.facts(self.run),
            "can": can,
            "options": [*tempers, *model.adjustable],
            "condition": None if given is None else given.kind,
            "formats": ["json", *(e[1:] for e in self.kind.outputs if e in MEDIA and e != ".json")],
            "limits": {k: float(v) for k, v in vars(self.limits).items()},
        }

    # --- sampling

    def variant(self, options: Mapping[str, Any]) -> tuple[Artifact, dict[str, Any]]:
        """The run under the options that are constructor values, and the others.

        Raises:
            UsageError: an unknown option, or an impossible value of one.
        """
        adjusted, others = self.run.sampling_options(options)
        key = json.dumps(adjusted, sort_keys=True)
        if key not in self.variants:
            if len(self.variants) >= 16:  # a copy of the weights each
                self.variants.clear()
            self.variants[key] = self._timed(self.run.using(**adjusted)) if adjusted else self.run
        return self.variants[key], others

    def sampled(self, bodies: Sequence[Any]) -> list[Items]:
        """The items of several requests with the same options."""
        artifact, tempering = self.variant(bodies[0].options)
        if len(bodies) == 1:
            one = bodies[0]
            with _reading("condition, prefix or given"):
                partial: dict[str, Any] = {
                    k: getattr(one, k, None) for k in PARTIAL if getattr(one, k, None) is not None
                }
                return [artifact.draw(one.n, condition_of(one.condition), seed=one.seed,
                                      batch_size=self.limits.batch, **partial, **tempering)]  # fmt: skip
        with float32(), _reading("condition"):
            requests = [Request(b.n, b.seed, condition_of(b.condition)) for b in bodies]
            return draw_each(artifact, requests, self.limits.batch, tempering)

    def drawn(self, items: Items) -> dict[str, Any]:
        """Drawn items in plain values, of which numbers may be infinite."""
        given = items.condition
        stated = None if given is None else kind_of(given).to_json(given.values)
        return {"kind": items.kind, "items": self.kind.to_json(items.values), "condition": stated}

    def file(self, items: Items, ending: str, **about: Any) -> tuple[bytes, str]:
        """Items as the content of a file, and its media type; a PNG carries its manifest.

        Raises:
            UsageError: not a format of these items.
        """
        ending = "." + ending.removeprefix(".")
        if ending == FOLDER or ending not in self.kind.outputs or ending not in MEDIA:
            raise unknown(f"format of {self.kind.name} items", ending[1:], self.info()["formats"])
        content = self.kind.content(items, ending)
        if ending == ".png":
            content = stamped(content, manifest(self.run, about))
        return content, MEDIA[ending]

    # --- items that are given

    def items(self, plain: Any) -> Items:
        """The items of a request.

        Raises:
            DataError: no items of the kind of the run, or more than one request may have.
        """
        if not isinstance(plain, list | dict) or not plain:
            raise DataError(f"items must be a list of {self.kind.name} items: see /docs")
        n = len(plain["rows"]) if isinstance(plain, dict) and isinstance(plain.get("rows"), list) else len(plain)
        self.check_count(n)
        with _reading("items"):
            if isinstance(plain, list) and all(isinstance(v, dict) for v in plain):
                values: Any = pd.DataFrame(plain)
            else:
                values = self.kind.from_json(plain, self.facts)
            self.check_count(len(values))
            return Items(self.kind.name, values, facts=self.facts)

    def check_count(self, n: int) -> None:
        if not 1 <= n <= self.limits.items:
            raise UsageError(f"a request has 1 to {self.limits.items:,} items (got {n:,}): request them in parts")

    def scored(self, bodies: Sequence[Any]) -> list[dict[str, Any]]:
        draws = bodies[0].draws

        def score(values: Any, condition: Any) -> Score:
            return self.run.score(values, condition, draws=draws, batch_size=self.limits.batch)

        return [_score(part) for part in self._joined(bodies, score, _parts_of_score)]

    def encoded(self, bodies: Sequence[Any]) -> list[dict[str, Any]]:
        def encode(values: Any, condition: Any) -> np.ndarray:
            return self.run.encode(values, condition, batch_size=self.limits.batch)

        return [{"codes": z.tolist()} for z in self._joined(bodies, encode, np.split)]

    def _joined(
        self, bodies: Sequence[Any], answer: Callable[[Any, Any], Any], apart: Callable[..., Any]
    ) -> Sequence[Any]:
        """The answers about the items of several requests, computed at once."""
        with _reading("items or condition"):
            parts = [self.items(body.items) for body in bodies]
            if len(parts) == 1:
                return [answer(parts[0].values, condition_of(bodies[0].condition))]
            found = answer(self.kind.join([part.values for part in parts]), None)
            return list(apart(found, np.cumsum([len(part) for part in parts])[:-1]))

    def decoded(self, bodies: Sequence[Any]) -> list[dict[str, Any]]:
        answers = []
        for body in bodies:
            self.check_count(len(body.codes))
            with _reading("codes or condition"):
                values = self.run.decode(body.codes, condition_of(body.condition), batch_size=self.limits.batch)
            answers.append(self.drawn(Items(self.kind.name, values, facts=self.facts)))
        return answers

    def edited(self, bodies: Sequence[Any]) -> list[dict[str, Any]]:
        answers = []
        for body in bodies:
            with float32(), _reading("items, mask or condition"):
                names = ("mask", "strength", "enlarge", "colour", "steps", "repeats", "eta", "seed")
                how = {name: getattr(body, name) for name in names}
                items = self.items(body.items)
                values = edit(self.run, items.values, condition=condition_of(body.condition), **how)
            answers.append(self.drawn(replace(items, values=values)))
        return answers


def condition_of(given: Any) -> Any:
    """A condition in plain values as `Artifact.sample` takes it: a list of rows is a table."""
    if isinstance(given, list) and given and all(isinstance(row, dict) for row in given):
        return pd.DataFrame(given)
    return given


class _reading:
    """What cannot be read in a request is an error of the request, whoever notices it."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if error is not None and isinstance(error, UNREADABLE):
            reason = (str(error).splitlines() or [""])[0][:200]
            raise DataError(f"{self.what} cannot be read ({type(error).__name__}: {reason}): see /docs") from error


def _parts_of_score(score: Score, ends: np.ndarray) -> list[Score]:
    edges = [0, *ends.tolist(), len(score.value)]
    return [
        replace(
            score,
            value=score.value[a:b],
            stderr=None if score.stderr is None else score.stderr[a:b],
            reasons={k - a: why for k, why in score.reasons.items() if a <= k < b},
        )
        for a, b in zip(edges, edges[1:], strict=False)
    ]


def _score(score: Score) -> dict[str, Any]:
    return {
        "value": finite(score.value.tolist()),
        "stderr": None if score.stderr is None else finite(score.stderr.tolist()),
        "density": score.density.name.lower(),
        "unit": score.unit,
        "measure": score.measure,
        "reasons": {str(k): why for k, why in score.reasons.items()},
    }
