"""Hooks for `progress=`: losses and further numbers of a training to TensorBoard or Weights & Biases.

Each is a function of a `Progress`, as `fit`, `compare` and `evaluate` call it; `together` calls several.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pofx.core.errors import UsageError
from pofx.core.options import check_value, short
from pofx.core.progress import Progress, Sink

PUBLIC = ("to_tensorboard", "to_wandb", "together")


def numbers(now: Progress) -> dict[str, float]:
    """The numbers of a progress by name, under the phase that they belong to."""
    found = {f"{now.phase}/{name}": float(value) for name, value in {**now.losses, **now.telemetry}.items()}
    if now.rate:
        found["steps per second"] = float(now.rate)
    return found


def to_tensorboard(folder: str | Path) -> Sink:
    """Write the numbers of a training into a folder of TensorBoard.

    Raises:
        UsageError: TensorBoard is not installed.
    """
    check_value("folder", folder, str | Path)
    if Path(folder).is_file():
        raise UsageError(f"{folder} is a file: give a folder for TensorBoard")
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("TensorBoard is not installed: pip install pofx[track]") from error
    board: Any = SummaryWriter(str(folder))

    def sink(now: Progress) -> None:
        for name, value in numbers(now).items():
            board.add_scalar(name, value, now.step)
        if now.note:
            board.add_text("note", now.note, now.step)
        board.flush()

    return sink


def to_wandb(run: Any) -> Sink:
    """Log the numbers of a training to a run of Weights & Biases: what `wandb.init(…)` returned, or a project by name.

    Raises:
        UsageError: it has no `log`, or wandb is not installed.
    """
    if isinstance(run, str) and run.strip():
        try:
            import wandb
        except ImportError as error:
            raise UsageError("Weights & Biases is not installed: pip install wandb") from error
        run = wandb.init(project=run)
    if not callable(getattr(run, "log", None)):
        raise UsageError(f"run must be what wandb.init returned (got {type(run).__name__}): pass wandb.init(project=…)")

    def sink(now: Progress) -> None:
        found = numbers(now)
        if found:
            run.log(found, step=now.step)

    return sink


def together(*sinks: Callable[[Progress], None]) -> Sink:
    """One hook that calls several, in their order.

    Raises:
        UsageError: one of them is no function.
    """
    for one in sinks:
        if not callable(one):
            raise UsageError(f"a hook must be a function of a Progress (got {short(one)}): pass to_tensorboard(…)")

    def sink(now: Progress) -> None:
        for one in sinks:
            one(now)

    return sink
