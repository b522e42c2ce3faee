"""The state of a training: plain numbers that a checkpoint stores and a resumed run continues from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

FORMER = {"judged": "rounds", "judging": "validating"}  # names in checkpoints of version 0.1


@dataclass
class State:
    """How far a training has come."""

    step: int = 0
    seconds: float = 0.0
    images: int = 0  # items seen
    batch_size: int = 0  # items per step, where a budget of time makes it smaller than that of the options
    flops: int = 0
    flops_of: dict[str, int] = field(default_factory=dict)  # of one descent of each phase, in each process
    rounds: int = 0  # of validation that were due so far
    validations: int = 0  # rounds that were made
    validating: float = 0.0  # seconds spent on them
    items: int = 0  # validation items per round; 0 until the first
    vain: int = 0  # rounds since the best
    best_step: int = 0
    best: float | None = None  # the lowest validation so far
    warnings: dict[str, str] = field(default_factory=dict)  # about the health of the training, by name
    typical: dict[str, float] = field(default_factory=dict)  # gradient norm of each phase, where large ones are skipped
    skipped: dict[str, int] = field(default_factory=dict)  # descents of each phase in a row that were
    failed: str | None = None  # why the training cannot go on

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """The state that `to_json` wrote, with a failure forgotten: the resumed run may do better."""
        named = {FORMER.get(key, key): value for key, value in plain.items()}
        return cls(**{f.name: named[f.name] for f in fields(cls) if f.name in named and f.name != "failed"})

    def numbers(self) -> dict[str, Any]:
        """What the card of an artifact states about its training."""
        return {
            "steps": self.step,
            "seconds": round(self.seconds, 3),
            "images": self.images,
            "flops": self.flops,
            "best_step": self.best_step,
            "best_validation": self.best,
            "warnings": list(self.warnings.values()),
            "failed": self.failed,
            **({"batch_size": self.batch_size} if self.batch_size else {}),
        }
