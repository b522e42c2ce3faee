"""Storage: an artifact as a folder of plain JSON and tensors. Nothing is pickled, nothing outside the folder is read.

`artifact.json` holds plain values (model, representations, card), the hash of the file of weights and its own hash. It
is written last, so that a reader finds the previous artifact whole or the new one whole. What is read is not trusted:
every value is checked, and what a model may take of memory and time is bounded by the weights that the folder holds.
"""

import fcntl
import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from pofx import __version__, hub
from pofx.core import config, files
from pofx.core.companion import beneath, companions, load_weights
from pofx.core.errors import CorruptError, PofxError, UsageError, WriteError
from pofx.core.event import Discrete, Event
from pofx.core.files import digest, read_json, read_shapes, read_tensors, sha256, write_json, write_tensors
from pofx.core.finite import broken
from pofx.core.limits import limited
from pofx.core.options import Range, check_value
from pofx.data.conditions import type_of
from pofx.parts import Parts
from pofx.represent.former import renamed

FORMAT = 2
FILE, FAILED, PREVIOUS = "artifact.json", "failed.json", "previous-artifact.json"
EVALUATION = "evaluation.json"  # of the last `pofx evaluate` on the data of the run
WEIGHTS = re.compile(r"weights-[0-9a-f]{12}\.safetensors")
INSIDE = ("run", "model")  # where uses put their run in their folder
PATIENCE = 60.0  # seconds to wait for another process that saves into the same folder
PARTS = {
    "format": Annotated[int, Range(1, 1_000_000)],
    "model": dict,
    "representation": dict,
    "weights": dict,
    "card": dict,
}


def save(path: str | Path, parts: Parts) -> Path:
    """Write the parts of an artifact into a folder; the previous artifact stays whole until the new one is.

    Raises:
        WriteError: the disk is full or the folder cannot be written.
    """
    folder = Path(path).expanduser()
    aside = folder / f"weights.new.{os.getpid()}.safetensors"
    with _alone(folder):
        try:
            write_tensors(aside, parts.tensors())
            found = sha256(aside)
            weights = folder / f"weights-{found[:12]}.safetensors"
            before = list(folder.glob("weights-*.safetensors"))
            aside.replace(weights)
            files.flush(folder)
        except OSError as error:
            raise WriteError(f"could not write {folder}: {error.strerror}", str(error.strerror)) from error
        finally:
            aside.unlink(missing_ok=True)
        plain: dict[str, Any] = {
            "format": FORMAT,
            "pofx": __version__,
            "model": config.model_to_json(parts.name, parts.model),
            "representation": config.representation_to_json(parts.representation),
            "conditioning": None if parts.conditioning is None else config.representation_to_json(parts.conditioning),
            "weights": {"file": weights.name, "sha256": found},
            "card": config.plain(dict(parts.card)),
        }
        try:
            write_json(folder / FILE, _sealed(plain))
        except WriteError:
            if weights not in before and not _names(folder / FILE, weights):
                weights.unlink(missing_ok=True)
            raise
        (folder / PREVIOUS).unlink(missing_ok=True)
        if weights not in before:  # the last evaluation was one of other weights
            (folder / EVALUATION).unlink(missing_ok=True)
        for other in folder.glob("weights-*.safetensors"):
            if other != weights:
                other.unlink(missing_ok=True)
    return folder


def _names(file: Path, weights: Path) -> bool:
    return file.exists() and weights.name in file.read_text(encoding="utf-8", errors="replace")


def load(path: str | Path) -> Parts:
    """The parts of the artifact in a folder, on the CPU, in evaluation mode. An unfinished run gives a warning.

    Raises:
        UsageError: there is no such folder.
        CorruptError: a file is missing, damaged, changed, of a newer format, or holds what cannot be.
    """
    folder = locate(path)
    plain = _described(folder)
    for _ in range(3):
        try:
            stored = _read(folder, plain)
            break
        except CorruptError:  # another process may have saved meanwhile, and removed these weights
            before, plain = plain, _described(folder)
            if plain == before:
                raise
    else:
        raise CorruptError(f"{folder} changes while it is read: wait until it is written")
    training = stored.card.get("training")
    if isinstance(training, dict) and training.get("finished") is False and not training.get("failed"):
        steps = training.get("steps")
        warnings.warn(
            f"{folder} is an unfinished run ({steps} steps): finish it with `pofx train --resume --out {folder}`",
            stacklevel=3,
        )
    return stored


def _described(folder: Path) -> dict[str, Any]:
    """The content of artifact.json, its hash and the types of its parts checked, in the newest format."""
    if not (folder / FILE).exists() and (folder / "request.json").exists():
        why = failure(folder)
        why = f" (its training failed: {why})" if why else ""
        older = f"; rename {PREVIOUS} to {FILE} to have the run before it" if (folder / PREVIOUS).exists() else ""
        raise CorruptError(
            f"the run at {folder} has no weights yet{why}: finish it with `pofx train --resume --out {folder}`{older}"
        )
    path = _inside(folder, FILE)
    plain = read_json(path)
    if not isinstance(plain, dict):
        raise CorruptError(f"{path} must hold an artifact (got {type(plain).__name__}): restore it or train again")
    with _checking(folder):
        for key, kind in PARTS.items():
            check_value(f"{FILE}: {key}", plain.get(key), kind)
        _check_card(plain["card"])
    if plain["format"] > FORMAT:
        raise CorruptError(f"{folder} has format {plain['format']}, this pofx reads {FORMAT}: upgrade pofx")
    if plain["format"] > 1 and plain.get("hash") != digest({k: v for k, v in plain.items() if k != "hash"}):
        raise CorruptError(f"{path} was changed after it was saved (its hash differs): restore it or train again")
    return plain


def _check_card(card: Mapping[str, Any]) -> None:
    """The parts of a card that are read again have their types; what else is in it is shown as it is."""
    check_value(f"{FILE}: card label_names", card.get("label_names"), list[str] | None)
    for key in ("data", "training"):
        check_value(f"{FILE}: card {key}", card.get(key, {}), dict)
    kinds: dict[str, type] = {"facts": dict, "name": str, "kind": str, "hash": str}
    for key, kind in kinds.items():
        if key in card.get("data", {}):
            check_value(f"{FILE}: card data {key}", card["data"][key], kind)


def _sealed(plain: dict[str, Any]) -> dict[str, Any]:
    """The content of artifact.json with the hash of all else in it."""
    return {**plain, "hash": digest(plain)}


def _read(folder: Path, plain: Mapping[str, Any]) -> Parts:
    with _checking(folder):
        check_value(f"{FILE}: weights", plain["weights"], dict[str, str])
        name = plain["weights"].get("file", "")
        if not WEIGHTS.fullmatch(name):
            raise CorruptError(f"{folder}: the file of weights must be called weights-….safetensors (got {name!r})")
        weights = _inside(folder, name)
        shapes, described, seen, tensors = read_shapes(weights), plain["model"], plain["representation"], None
        if plain["format"] == 1:
            tensors = _verified(weights, plain)
            described, tensors = _upgraded(described, tensors)
            check_value(f"{FILE}: representation options", seen.get("options"), dict)
            seen = dict(
                zip(("kind", "name", "options"), renamed(seen["kind"], seen["name"], seen["options"]), strict=True)
            )
            shapes = {key: (tuple(value.shape), TYPES.get(value.dtype)) for key, value in tensors.items()}
        else:
            described = _recognised(described, {key: tuple(shape) for key, (shape, _) in shapes.items()})
        room = 8 * weights.stat().st_size + (1 << 26)
        with limited(room, 4 * len(shapes) + 1000, CorruptError), torch.random.fork_rng(devices=[]):
            model = config.model_from_json(described)
            view = config.representation_from_json(seen)
            given = plain.get("conditioning")
            if plain["format"] == 1 and given is None:
                given = former_conditioning(plain["card"], model.condition)
            conditioning = None if given is None else config.representation_from_json(given)
        if view.event != model.event:
            raise CorruptError(f"{folder}: its representation makes {view.event}, its model takes {model.event}")
        if conditioning is not None and conditioning.event != model.condition:
            raise CorruptError(f"{folder}: its conditions are {conditioning.event}, its model takes {model.condition}")
        stored = Parts(view, model.eval(), described["name"], plain["card"], conditioning)
        _compare(folder, stored.tensors(), shapes, former=plain["format"] == 1)
        _fill(stored, _verified(weights, plain) if tensors is None else tensors, weights)
        return stored


def _verified(weights: Path, plain: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a file of weights that is the one that was saved."""
    if sha256(weights) != plain["weights"].get("sha256"):
        raise CorruptError(f"{weights} is not what was saved (its hash differs): restore it or train again")
    return read_tensors(weights)


def _upgraded(given: dict[str, Any], tensors: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description and weights of a model of format 1, which had the weights of the model alone, as today's."""
    for key, kind in (("name", str), ("options", dict)):
        check_value(f"{FILE}: model {key}", given.get(key), kind)
    name, options, weights = config.entry(given["name"]).model.upgraded(given["name"], given["options"], tensors)
    model = {**given, "name": name, "options": dict(options)}
    return model, {f"model.{key}": value for key, value in weights.items()}


def _recognised(given: dict[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The description with the options under which weights of these shapes arose."""
    for key, kind in (("name", str), ("options", dict)):
        check_value(f"{FILE}: model {key}", given.get(key), kind)
    own = {key.removeprefix("model."): shape for key, shape in shapes.items()}
    return {**given, "options": dict(config.entry(given["name"]).model.recognised(given["options"], own))}


def former_conditioning(card: Mapping[str, Any], condition: Event | None) -> dict[str, Any] | None:
    """The conditioning of an artifact that was saved without one: labels by the names of the card, or signals."""
    if condition is None or isinstance(condition, dict):
        return None
    if not isinstance(condition, Discrete):
        return {"kind": "signal", "name": "plain", "options": {"shape": list(condition.shape)}}
    names = [str(name) for name in card.get("label_names") or range(condition.largest)]
    counts = list(card.get("label_frequencies") or [0] * len(names))
    column = str(card.get("training", {}).get("condition") or "label")
    options = {"names": names, "counts": (counts + [0] * len(names))[: len(names)], "dtype": type_of(names)}
    return {"kind": "label", "name": "classes", "options": options | {"column": "" if column == "label" else column}}


TYPES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}
TYPES |= {torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"}


def _compare(folder: Path, made: Mapping[str, Tensor], shapes: Mapping[str, Any], former: bool) -> None:
    """Refuse weights of other names, shapes or types than the parts have, before they are read. Models of a former
    format may be completed as they take the weights, and have become more precise."""
    expected = {key: (tuple(value.shape), TYPES.get(value.dtype)) for key, value in made.items()}
    for key in sorted({*expected, *shapes}):
        need, found = expected.get(key), shapes.get(key)
        if former and (
            need is None or found is None or (need[0] == found[0] and {need[1], found[1]} == {"F32", "F64"})
        ):
            continue
        if need != found:
            wanted, got = (f"{v[1]} of shape {v[0]}" if v else "nothing" for v in (need, found))
            raise CorruptError(f"{folder}: the weights '{key}' must be {wanted} (got {got}): restore it or train again")


def _fill(stored: Parts, tensors: Mapping[str, Tensor], weights: Path) -> None:
    """Give the parts their weights, all of them sound."""
    load_weights(stored.model, tensors)
    fault = broken(stored.model)
    for companion in companions(stored.model).values():
        fault = fault or broken(companion.module)
    for part, view in (("representation", stored.representation), ("conditioning", stored.conditioning)):
        own = beneath(tensors, part)
        if view is not None and own:
            view.load_state(own)
            bad = [k for k, v in own.items() if v.is_floating_point() and bool(torch.isnan(v).any())]
            fault = fault or (f"{bad[0]} holds values that are not finite" if bad else None)
    if fault is not None:
        raise CorruptError(f"{weights}: {fault}: train again")


UNFIT = (ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)


@contextmanager
def _checking(folder: Path) -> Iterator[None]:
    """What is wrong with values that were read is a damage of the folder, whoever notices it."""
    try:
        yield
    except CorruptError:
        raise
    except PofxError as error:
        own = "unknown model" in str(error)
        mend = "a model of your own is found once its file is run, by `pofx --use FILE` or an import" if own else ""
        raise CorruptError(f"{folder} cannot be read ({error}): {mend or 'restore it or train again'}") from error
    except UNFIT as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        raise CorruptError(
            f"{folder} cannot be read ({type(error).__name__}: {reason[:200]}): restore it or train again"
        ) from error


def _inside(folder: Path, name: str) -> Path:
    """A file in the folder, which is no link that leads out of it; in the cache of the Hub, out of the repository."""
    path = folder / name
    if path.is_symlink() and not path.resolve().is_relative_to(hub.cached_in(folder.resolve())):
        raise CorruptError(f"{path} must be a file in its folder (it is a link out of it): copy the file there")
    return path


def annotate(path: str | Path, card: Mapping[str, Any]) -> None:
    """Give the artifact in a folder another card; its weights are not written again.

    Raises:
        WriteError: the folder cannot be written.
    """
    folder = Path(path)
    with _alone(folder):
        plain = _described(folder)
        plain = {k: v for k, v in plain.items() if k != "hash"} | {"card": config.plain(dict(card))}
        write_json(folder / FILE, _sealed(plain))


def retire(path: str | Path) -> None:
    """Set the artifact in a folder aside, under a name that `load` does not read, until another is saved there."""
    folder = Path(path)
    if (folder / FILE).exists():
        (folder / FILE).replace(folder / PREVIOUS)
        files.flush(folder)


def failure(path: str | Path) -> str | None:
    """Why the training in a folder failed, where it left no weights."""
    try:
        plain = read_json(Path(path) / FAILED)
    except CorruptError:
        return None
    return str(plain["error"]) if isinstance(plain, dict) and "error" in plain else None


def tidy(path: str | Path) -> None:
    """Remove what interrupted writers left in the folder of a run, which the caller has locked."""
    folder = Path(path)
    files.tidy(folder, alone=True)
    files.tidy(folder / "checkpoints", alone=True)
    for left in folder.glob("weights.new.*"):
        left.unlink(missing_ok=True)


def locate(path: str | Path) -> Path:
    """The local folder of a run, or of the one inside a folder of a use; one on the Hub (hf://user/name) is fetched.

    Raises:
        UsageError: there is no such folder.
    """
    check_value("path", path, str | Path)
    elsewhere = hub.address(path)
    if elsewhere is not None:
        return hub.fetched(elsewhere)
    if "://" in str(path):
        raise UsageError(f"a run is a folder or hf://user/name (got {path}): give one of these")
    folder = Path(path).expanduser()
    if not folder.is_dir():
        what = "is a file, not the folder of a run" if folder.exists() else "does not exist"
        raise UsageError(f"{folder} {what}: train one with `pofx train DATA --model NAME --out FOLDER`")
    return inside(folder)


def inside(folder: Path) -> Path:
    """The folder of the run in the folder of a use, or the folder itself."""
    found = [folder / name for name in INSIDE if (folder / name / "artifact.json").is_file()]
    return found[0] if len(found) == 1 and not (folder / "artifact.json").exists() else folder


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One writer of artifacts in a folder at a time; the kernel's lock on the folder itself leaves no file.

    Raises:
        WriteError: the folder cannot be made, or another process writes there for longer than `PATIENCE`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        reason = "it is a file, not a folder" if folder.is_file() else str(error.strerror)
        raise WriteError(f"could not write {folder}: {reason}; choose another --out", reason) from error
    try:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    raise WriteError(f"could not write {folder}: another process is writing there", "in use") from None
                time.sleep(0.05)
            except OSError:  # a file system without locks
                break
            else:
                break
        yield
    finally:
        os.close(descriptor)
