"""What people see of a run: a progress bar with rate, remaining time and losses; log.jsonl and TensorBoard beside."""

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pofx.core.errors import UsageError


class Log:
    """Lines of numbers in `<folder>/log.jsonl`; those of steps after a resumed checkpoint are cut off first."""

    def __init__(self, folder: Path | None, *, after_step: int = 0, track: str = "") -> None:
        self.path = folder / "log.jsonl" if folder else None
        self.board: Any = None
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            kept = [line for line in read_log(self.path) if line.get("step", 0) <= after_step] if after_step else []
            self.path.write_text("".join(json.dumps(line) + "\n" for line in kept))
        if folder and track == "tensorboard":
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise UsageError("track=tensorboard needs TensorBoard: pip install 'pofx[track]'") from error
            self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=after_step)

    def write(self, line: dict[str, Any]) -> None:
        """Keep one line of plain numbers; it must have a `step`."""
        if self.path:
            with self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")
        if self.board is not None:
            for key, value in line.items():
                if key != "step" and isinstance(value, int | float):
                    self.board.add_scalar(key, value, line["step"])

    def close(self) -> None:
        if self.board is not None:
            self.board.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log.jsonl; a last line cut short by a kill is left out."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text().splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


class Bar:
    """A progress bar over a budget; silent when `shown` is false."""

    def __init__(self, title: str, shown: bool) -> None:
        self.title, self.shown, self.last = title, shown, 0.0
        self.progress: Any = None

    def __enter__(self) -> Self:
        if self.shown:
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            self.progress = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.percentage:3.0f}%"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[numbers]}"),
                transient=False,
            )
            self.progress.start()
            self.task = self.progress.add_task(self.title, total=1.0, numbers="")
        return self

    def update(self, share: float, step: int, rate: float, losses: dict[str, float]) -> None:
        """Show the share of the budget spent, the step, steps/s and the losses; at most ten times a second."""
        now = time.monotonic()
        if self.progress is not None and (now - self.last > 0.1 or share >= 1):
            self.last = now
            shown = "  ".join(f"{k} {v:.4g}" for k, v in losses.items())
            self.progress.update(self.task, completed=share, numbers=f"step {step}  {rate:.1f}/s  {shown}")

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.progress is not None:
            self.progress.stop()
