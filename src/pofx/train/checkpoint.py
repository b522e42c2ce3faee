"""Checkpoints: everything that a stopped run needs to continue bit by bit as if it had not been stopped.

A checkpoint is a folder `step-<number>` of safetensors and one JSON file with their hashes, written aside and renamed.
Random streams need no state: they are functions of the step.
"""

import shutil
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pofx.core.errors import CorruptError, WriteError
from pofx.core.files import read_json, read_shapes, read_tensors, sha256, write, write_json, write_tensors

STORED = 2  # checkpoints of a run on disk


def _flatten(optimisers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    return {
        f"{i}/{k}/{name}": torch.as_tensor(value)
        for i, optimiser in enumerate(optimisers)
        for k, entries in optimiser.state_dict()["state"].items()
        for name, value in entries.items()
    }


def _restore(optimisers: list[torch.optim.Optimizer], flat: dict[str, Tensor]) -> None:
    """Restore the state of optimisers, each tensor with the memory layout of its parameter: fused optimisers pair the
    two by memory position, so that moments of another layout would belong to other weights."""
    for i, optimiser in enumerate(optimisers):
        plain = optimiser.state_dict()
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in flat.items():
            owner, k, name = key.split("/", 2)
            if int(owner) == i:
                state.setdefault(int(k), {})[name] = value
        optimiser.load_state_dict({"state": state, "param_groups": plain["param_groups"]})
        for p, entries in optimiser.state.items():
            for name, value in entries.items():
                if value.shape == p.shape and value.stride() != p.stride():
                    entries[name] = torch.empty_like(p, dtype=value.dtype).copy_(value)


class Checkpoints:
    """The checkpoints of one run, in a folder; the last `STORED` are there, so that a damaged one costs little."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def latest(self) -> Path | None:
        """The newest checkpoint that is whole, or None. A damaged newer one gives a warning."""
        found = sorted(self.folder.glob("step-*"), key=_step, reverse=True)
        for path in found:
            if _whole(path):
                return path
            warnings.warn(f"{path} is damaged or incomplete: resuming from an earlier state", stacklevel=2)
        return None

    def save(
        self,
        state: dict[str, Any],
        model: nn.Module,
        average: nn.Module,
        best: dict[str, Tensor] | None,
        optimisers: list[torch.optim.Optimizer],
    ) -> None:
        """Write the state after `state["step"]` steps, then remove all but the last `STORED` checkpoints.

        Where the disk is full even without the older of them, training goes on, with a warning: the next may be stored.
        """
        parts = {"model": model.state_dict(), "average": average.state_dict(), "optimisers": _flatten(optimisers)}
        parts |= {"best": best} if best is not None else {}

        def fill(aside: Path) -> None:
            aside.mkdir(parents=True, exist_ok=True)
            hashes = {}
            for name, tensors in parts.items():
                file = aside / f"{name}.safetensors"
                write_tensors(file, tensors)
                hashes[file.name] = sha256(file)
            write_json(aside / "state.json", {**state, "files": hashes})

        target = self.folder / f"step-{state['step']:09d}"
        others = sorted((p for p in self.folder.glob("step-*") if p != target), key=_step)
        earlier = [p for p in others if _step(p) < state["step"]]  # later ones are damaged, or we would not be here
        try:
            write(target, fill)
        except WriteError:
            _remove(p for p in others if p not in earlier[-1:])
            try:
                write(target, fill)
            except WriteError as error:
                left = f"the last one is of step {_step(earlier[-1])}" if earlier else "there is none"
                warnings.warn(f"{error}. Training goes on without this checkpoint; {left}", stacklevel=2)
                return
        _remove(p for p in others if p not in earlier[-(STORED - 1) :])

    def load(
        self, path: Path, model: nn.Module, average: nn.Module, optimisers: list[torch.optim.Optimizer]
    ) -> tuple[dict[str, Any], dict[str, Tensor] | None]:
        """Restore model, average and optimisers; returns the state and the best weights so far.

        Raises:
            CorruptError: a file is damaged, or belongs to a model of another shape.
        """
        state = read_json(path / "state.json")
        state.pop("files", None)
        try:
            model.load_state_dict(read_tensors(path / "model.safetensors"))
            average.load_state_dict(read_tensors(path / "average.safetensors"))
            _restore(optimisers, read_tensors(path / "optimisers.safetensors"))
        except (RuntimeError, KeyError, ValueError) as error:
            raise CorruptError(f"{path} does not fit this model ({error}): start again in a new --out") from error
        best = path / "best.safetensors"
        return state, read_tensors(best) if best.exists() else None


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)


def _step(path: Path) -> int:
    digits = path.name.removeprefix("step-")
    return int(digits) if digits.isdigit() else -1


def _whole(path: Path) -> bool:
    """Whether a checkpoint holds what was written. Those of version 0.1 list no hashes."""
    try:
        state = read_json(path / "state.json")
        files = state.get("files") or dict.fromkeys(f"{n}.safetensors" for n in ("model", "average", "optimisers"))
        for name, expected in files.items():
            if expected is None:
                read_shapes(path / name)
            elif sha256(path / name) != expected:
                return False
        return isinstance(state["step"], int)
    except (CorruptError, KeyError, TypeError, AttributeError):
        return False
