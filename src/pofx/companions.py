"""Companions as users give them, run folders or artifacts, become what constructors take (`core.companion`).

A companion and its holder must see the data alike: same view, same conditions. Path and hash go into the card.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pofx import storage
from pofx.core import config
from pofx.core.companion import Companion, companion_arguments
from pofx.core.errors import Unsupported, UsageError
from pofx.core.model import Model
from pofx.core.representation import Representation
from pofx.parts import Parts


@dataclass(frozen=True)
class Given:
    """A trained run as a user gave it."""

    parts: Parts
    path: str  # empty for an artifact in memory
    hash: str

    @property
    def origin(self) -> dict[str, Any]:
        """Where it is from, for a card."""
        data = self.parts.card.get("data") or {}
        return {"model": self.parts.name, "data": data.get("name"), "path": self.path, "hash": self.hash}


def given(run: Any, what: str) -> Given:
    """A run by its folder or artifact; `what` names the argument in errors.

    Raises:
        UsageError: neither of the two, or there is no such folder.
    """
    if isinstance(run, Parts):
        return Given(run, "", fingerprint(run))
    if not isinstance(run, str | Path):
        raise UsageError(f"{what} must be the folder of a run or an artifact (got {type(run).__name__}): pass a path")
    parts = storage.load(run)
    return Given(parts, str(Path(run).resolve()), fingerprint(parts))


def fingerprint(parts: Parts) -> str:
    """The hash of the weights of all parts, by name, type, shape and value."""
    found = hashlib.sha256()
    for name, tensor in sorted(parts.tensors().items()):
        plain = tensor.detach().cpu().contiguous()
        found.update(json.dumps([name, str(plain.dtype), list(plain.shape)]).encode())
        found.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b"")
    return found.hexdigest()


def given_companions(model: type[Model], options: Mapping[str, Any]) -> dict[str, Given]:
    """The runs among the options of a model that are companions, by argument."""
    return {
        name: given(options[name], name)
        for name in companion_arguments(model)
        if options.get(name) is not None and not isinstance(options[name], Companion | Mapping)
    }


def made(model: type[Model], runs: Mapping[str, Given], like: Parts | None = None) -> dict[str, Companion]:
    """The companions that the constructor of a model takes; `like` has the views that theirs must equal.

    Raises:
        Unsupported: one sees other events or conditions than the model.
    """
    kinds = companion_arguments(model)
    if like is not None:
        for name, run in runs.items():
            agree(name, run.parts, like.representation, like.conditioning, kinds[name].bound)
    return {name: kinds[name](run.parts.model, run.parts.name, run.path, run.hash) for name, run in runs.items()}


def agree(
    name: str, parts: Parts, view: Representation, conditioning: Representation | None, bound: bool = True
) -> None:
    """Refuse a companion that sees other events than its holder, or is bound to conditions that it does not have."""
    if not same_view(parts.representation, view):
        raise Unsupported(
            f"{name} must see the data as the model does: train both on the same data with the same view "
            f"(got {_words(parts.representation)} and {_words(view)})"
        )
    if (
        bound
        and parts.conditioning is not None
        and (conditioning is None or not same_view(parts.conditioning, conditioning))
    ):
        raise Unsupported(f"{name} was trained with a condition that this model does not have: pass the same condition")


def same_view(a: Representation, b: Representation) -> bool:
    """Whether two representations turn equal items into equal events."""
    if config.representation_to_json(a) != config.representation_to_json(b):
        return False
    ours, theirs = a.state(), b.state()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k].cpu(), theirs[k].cpu()) for k in ours)


def _words(view: Representation) -> str:
    return f"{view.kind}/{type(view).name} {getattr(view.event, 'shape', '')}".strip()
