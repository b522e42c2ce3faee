"""Checkpoints: everything a run needs to go on as if it had never stopped.

A checkpoint is a folder `step-<number>` of safetensors and one JSON file, written aside and renamed; the one before it
is removed only when the new one stands. Random streams need no state: they are functions of the step.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pofx.core.errors import CorruptError
from pofx.core.files import read_json, read_tensors, write, write_json, write_tensors


def _flatten(optimisers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    return {
        f"{i}/{k}/{name}": torch.as_tensor(value)
        for i, optimiser in enumerate(optimisers)
        for k, entries in optimiser.state_dict()["state"].items()
        for name, value in entries.items()
    }


def _restore(optimisers: list[torch.optim.Optimizer], flat: dict[str, Tensor]) -> None:
    """Give the optimisers their state again, each tensor laid out in memory as its parameter is: fused optimisers pair
    the two by place, so that moments of another layout would be those of other weights."""
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
    """The checkpoints of one run, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def latest(self) -> Path | None:
        """The newest complete checkpoint, or None."""
        found = [p for p in self.folder.glob("step-*") if (p / "state.json").exists()]
        return max(found, key=lambda p: int(p.name.removeprefix("step-")), default=None)

    def save(
        self,
        state: dict[str, Any],
        model: nn.Module,
        average: nn.Module,
        best: dict[str, Tensor] | None,
        optimisers: list[torch.optim.Optimizer],
    ) -> None:
        """Write the state after `state["step"]` steps, then remove older checkpoints."""

        def fill(aside: Path) -> None:
            aside.mkdir(parents=True, exist_ok=True)
            write_tensors(aside / "model.safetensors", model.state_dict())
            write_tensors(aside / "average.safetensors", average.state_dict())
            write_tensors(aside / "optimisers.safetensors", _flatten(optimisers))
            if best is not None:
                write_tensors(aside / "best.safetensors", best)
            write_json(aside / "state.json", state)

        target = self.folder / f"step-{state['step']:09d}"
        write(target, fill)
        for other in self.folder.glob("step-*"):
            if other != target:
                shutil.rmtree(other, ignore_errors=True)

    def load(
        self, path: Path, model: nn.Module, average: nn.Module, optimisers: list[torch.optim.Optimizer]
    ) -> tuple[dict[str, Any], dict[str, Tensor] | None]:
        """Restore model, average and optimisers; returns the state and the best weights so far.

        Raises:
            CorruptError: a file is damaged, or belongs to a model of another shape.
        """
        state = read_json(path / "state.json")
        try:
            model.load_state_dict(read_tensors(path / "model.safetensors"))
            average.load_state_dict(read_tensors(path / "average.safetensors"))
            _restore(optimisers, read_tensors(path / "optimisers.safetensors"))
        except (RuntimeError, KeyError, ValueError) as error:
            raise CorruptError(f"{path} does not fit this model ({error}): start again in a new --out") from error
        best = path / "best.safetensors"
        return state, read_tensors(best) if best.exists() else None
