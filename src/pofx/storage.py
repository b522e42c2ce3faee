"""Storage: an artifact as a folder of plain JSON and tensors; nothing is pickled, nothing outside the folder is read.

`artifact.json` holds plain values (model, representations, card) and names the file of weights, safetensors, by its
hash. It is written last, so that a reader finds the previous artifact whole or the new one whole. Format 1
held the weights of the model only, under their own names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from pofx import __version__
from pofx.core import config
from pofx.core.errors import CorruptError, UsageError
from pofx.core.event import event_from_json, event_to_json
from pofx.core.files import read_json, read_tensors, sha256, write_json, write_tensors
from pofx.core.model import Model
from pofx.core.representation import Representation
from pofx.represent.former import renamed

FORMAT = 1


@dataclass(frozen=True)
class Stored:
    """What a folder holds: the parts of an artifact."""

    representation: Representation
    model: Model
    name: str  # the model's name in `pofx models`
    card: Mapping[str, Any] = field(default_factory=dict)


def save(path: str | Path, parts: Stored) -> Path:
    """Write the parts of an artifact into a folder; the previous artifact stays whole until the new one is.

    Raises:
        PofxError: the disk is full or the folder cannot be written.
    """
    folder = Path(path)
    aside = folder / "weights.new.safetensors"
    write_tensors(aside, parts.model.state_dict())
    digest = sha256(aside)
    weights = folder / f"weights-{digest[:12]}.safetensors"
    aside.replace(weights)
    write_json(
        folder / "artifact.json",
        {
            "format": FORMAT,
            "pofx": __version__,
            "model": {
                "name": parts.name,
                "options": config.config(parts.model),
                "event": event_to_json(parts.model.event),
                "condition": event_to_json(parts.model.condition),
            },
            "representation": {
                "kind": parts.representation.kind,
                "name": parts.representation.name,
                "options": config.config(parts.representation),
            },
            "weights": {"file": weights.name, "sha256": digest},
            "card": dict(parts.card),
        },
    )
    for other in folder.glob("weights-*.safetensors"):
        if other != weights:
            other.unlink(missing_ok=True)
    return folder


def load(path: str | Path) -> Stored:
    """The parts of the artifact in a folder, on the CPU, in evaluation mode.

    Raises:
        UsageError: there is no such folder.
        CorruptError: a file is missing, damaged, changed, or of a newer format.
    """
    folder = locate(path)
    if not (folder / "artifact.json").exists() and (folder / "request.json").exists():
        raise CorruptError(
            f"the run at {folder} has no weights yet: finish it with `pofx train … --out {folder} --resume`"
        )
    plain = read_json(folder / "artifact.json")
    try:
        if plain["format"] > FORMAT:
            raise CorruptError(f"{folder} has format {plain['format']}, this pofx reads {FORMAT}: upgrade pofx")
        weights = folder / plain["weights"]["file"]
        tensors: Mapping[str, Tensor] = read_tensors(weights)
        if sha256(weights) != plain["weights"]["sha256"]:
            raise CorruptError(
                f"{weights} is not the file that was saved (its hash differs): restore it or train again"
            )
        spec = plain["representation"]
        known = config.representations()
        kind, view, view_options = renamed(spec["kind"], spec["name"], spec["options"])
        if (kind, view) not in known:
            raise CorruptError(f"{folder} needs the representation {kind}/{view}, which is not installed")
        model_plain = plain["model"]
        event = event_from_json(model_plain["event"])
        assert event is not None
        condition = event_from_json(model_plain["condition"])
        name, options, tensors = config.entry(model_plain["name"]).model.upgraded(
            model_plain["name"], model_plain["options"], tensors
        )
        model = config.build(name, event, condition, **options)
        model.load_state_dict(tensors)
        representation = known[kind, view](**view_options)
    except (KeyError, TypeError, RuntimeError, AssertionError) as error:
        raise CorruptError(f"{folder} cannot be read ({error}): restore it or train again") from error
    return Stored(representation, model.eval(), name, plain["card"])


def locate(path: str | Path) -> Path:
    """The local folder of a run; the one place that an address of another kind would have to pass.

    Raises:
        UsageError: there is no such folder.
    """
    folder = Path(path)
    if not folder.exists():
        raise UsageError(f"there is no run at {folder}: train one with `pofx train DATA --model NAME --out {folder}`")
    return folder
