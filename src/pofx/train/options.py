"""Trainer options and budgets: plain values with defaults, checked before a single step is made."""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pofx.core.errors import UsageError, unknown

CHOICES = {
    "optimizer": ("adamw", "muon"),
    "schedule": ("cosine", "linear", "constant"),
    "precision": ("fp32", "bf16", "auto"),
    "track": ("", "tensorboard"),
}
RANGES: dict[str, tuple[float, float]] = {
    "batch_size": (1, 1 << 20),
    "accumulate": (1, 1 << 20),
    "lr": (0.0, 10.0),
    "weight_decay": (0.0, 10.0),
    "warmup": (0, 1e9),
    "clip": (0.0, 1e9),
    "ema_images": (0.0, 1e12),
    "ema_ramp": (0.0, 1e3),
    "validations": (0, 1e6),
    "validation_items": (1, 1e9),
    "checkpoint_seconds": (0.0, 1e9),
}


@dataclass(frozen=True)
class TrainOptions:
    """How to descend. A model class may state its own defaults in `trains_with`; the user's values win."""

    batch_size: int = 128  # items per step over all processes
    accumulate: int = 1  # parts of a batch whose gradients are added up: less memory, the same step
    optimizer: str = "adamw"  # muon: hidden matrices take orthogonal steps, everything else AdamW's
    lr: float = 1e-3  # after warm-up
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0  # decoupled (Loshchilov and Hutter, 2019, arXiv 1711.05101)
    warmup: int = 100  # steps of linear warm-up
    schedule: str = "cosine"  # cosine or linear to zero at the end of the budget, or constant
    clip: float = 1.0  # largest gradient norm per phase; 0 turns clipping off
    ema_images: float = 20_000  # half-life of the averaged weights, in items seen; 0 turns averaging off
    ema_ramp: float = 0.05  # half-life is at most this share of the items seen so far
    precision: str = "fp32"  # bf16: autocast; auto: bf16 where the device multiplies it faster
    compile: bool = False  # torch.compile the losses
    validations: int = 24  # times that the weights are judged, evenly over the root of the budget
    validation_items: int = 2_000  # items of the validation split used each time
    checkpoint_seconds: float = 60.0  # between checkpoints
    track: str = ""  # "tensorboard" writes event files beside log.jsonl

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Options from plain values, checked.

        Raises:
            UsageError: an unknown key (the nearest is named), or a value out of its range.
        """
        known = {f.name: f for f in dataclasses.fields(cls)}
        checked: dict[str, Any] = {}
        for key, value in values.items():
            if key not in known:
                raise unknown("trainer option", key, known)
            default = known[key].default
            if key == "betas":
                if not (isinstance(value, list | tuple) and len(value) == 2 and all(0 <= b < 1 for b in value)):
                    raise UsageError(f"betas must be two numbers in [0, 1) (got {value!r}): pass betas=[0.9,0.99]")
                value = (float(value[0]), float(value[1]))
            elif key in CHOICES and value not in CHOICES[key]:
                raise UsageError(f"{key} must be one of {', '.join(filter(None, CHOICES[key]))} (got {value!r})")
            elif isinstance(default, bool):
                if not isinstance(value, bool):
                    raise UsageError(f"{key} must be true or false (got {value!r})")
            elif isinstance(default, int | float):
                if isinstance(value, bool) or not isinstance(value, int | float):
                    raise UsageError(f"{key} must be a number (got {value!r})")
                if not math.isfinite(value):
                    raise UsageError(f"{key} must be finite (got {value!r})")
                if isinstance(default, int) and value != int(value):
                    raise UsageError(f"{key} must be a whole number (got {value!r})")
                value = type(default)(value)
            if key in RANGES:
                low, high = RANGES[key]
                if not low <= value <= high:
                    raise UsageError(f"{key} must lie in {low:g} to {high:g} (got {value:g})")
            checked[key] = value
        return cls(**checked)


SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
PREFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}


@dataclass(frozen=True)
class Budget:
    """When training ends: after steps, minutes of training time, epochs or FLOPs; exactly one is given."""

    steps: int | None = None
    minutes: float | None = None
    epochs: float | None = None
    flops: float | None = None  # as `pofx.train.flops` counts them

    def __post_init__(self) -> None:
        given = self.request
        if len(given) != 1:
            raise UsageError(f"give one of steps, minutes, epochs or flops (got {', '.join(given) or 'none'})")
        key, value = next(iter(given.items()))
        if not 0 < value < math.inf:
            raise UsageError(f"{key} must be greater than 0 and finite (got {value})")

    @classmethod
    def of(cls, text: str | float) -> Self:
        """A budget from "30s", "2m", "1.5h", "500 steps", "3 epochs", "2e12 flops", "2 Tflops", or seconds.

        Raises:
            UsageError: the text says none of these, or nothing above 0.
        """
        units = r"s|m|min|h|steps?|epochs?|[kMGTP]?(?:flops?|FLOPs?)"
        found = re.fullmatch(rf"\s*(\d+\.?\d*(?:e[+-]?\d+)?|\.\d+)\s*({units})?\s*", str(text))
        value, unit = (float(found[1]), found[2] or "s") if found else (0.0, "s")
        if not 0 < value < math.inf or (unit.startswith("step") and value != int(value)):
            raise UsageError(f"budget is a time such as 30s, 2m or 1h, or 500steps, 3epochs, 2e12flops (got '{text}')")
        if unit in SECONDS:
            return cls(minutes=value * SECONDS[unit] / 60)
        if unit.lower().endswith(("flop", "flops")):
            return cls(flops=value * PREFIXES[unit.lower().removesuffix("s").removesuffix("flop") and unit[0]])
        return cls(steps=int(value)) if unit.startswith("step") else cls(epochs=value)

    @property
    def request(self) -> dict[str, Any]:
        """The one value by its name, as `pofx.fit` takes it."""
        return {k: v for k, v in vars(self).items() if v is not None}

    @property
    def seconds(self) -> float | None:
        """The training time, where the budget is one."""
        return None if self.minutes is None else self.minutes * 60

    def progress(self, step: int, seconds: float, images: int, items: int, flops: float = 0.0) -> float:
        """The share of the budget that is spent, from 0 to 1."""
        if self.steps is not None:
            return min(step / self.steps, 1.0)
        if self.minutes is not None:
            return min(seconds / (60 * self.minutes), 1.0)
        if self.flops is not None:
            return min(flops / self.flops, 1.0)
        assert self.epochs is not None
        return min(images / (self.epochs * items), 1.0)

    def __str__(self) -> str:
        """What `of` reads: "90 s", "2 min", "500 steps"."""
        if self.seconds is not None:
            return spoken(self.seconds)
        key, value = next(iter(self.request.items()))
        return f"{value:g} {key}" if key == "flops" or value != 1 else f"1 {key.removesuffix('s')}"


def spoken(seconds: float) -> str:
    """The shortest way to write a duration: 90 → "90 s", 120 → "2 min"."""
    seconds = round(seconds, 9)
    for unit, long in ((3600.0, "h"), (60.0, "min")):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds / unit:g} {long}"
    return f"{seconds:g} s"
