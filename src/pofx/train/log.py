"""The log of a run: lines of numbers in log.jsonl, and TensorBoard beside.

Every line has `step` and `seconds`. Lines of training hold the losses by name, lines of validation `validation`; both
may hold `telemetry`, further numbers by name. A line with `warning` is a sentence about the health of the training.
"""

import json
from pathlib import Path
from typing import Any

from pofx.core.errors import UsageError
from pofx.core.files import write_bytes

BESIDE = ("step", "seconds", "images", "lr", "steps_per_second")  # of a line, beside what is minimised and measured


class Log:
    """Lines of numbers in `<folder>/log.jsonl`; those of steps after a resumed checkpoint are cut off first."""

    def __init__(self, folder: Path | None, *, after_step: int = 0, track: str = "") -> None:
        self.path = folder / "log.jsonl" if folder else None
        self.board: Any = None
        if self.path:
            lines = [line for line in read_log(self.path) if line.get("step", 0) <= after_step] if after_step else []
            write_bytes(self.path, "".join(json.dumps(line) + "\n" for line in lines).encode())
        if folder and track == "tensorboard":
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise UsageError("track=tensorboard needs TensorBoard: pip install 'pofx[track]'") from error
            self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=after_step)

    def write(self, line: dict[str, Any]) -> None:
        """Append one line of plain numbers; it must have a `step`."""
        if self.path:
            with self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")
        if self.board is not None:
            for key, value in {**line, **line.get("telemetry", {})}.items():
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
