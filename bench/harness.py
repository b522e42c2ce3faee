"""What the benchmark scripts share: bars by name on the command line, one JSON line per result, printed and
stored; and contestants that take turns."""

import argparse
import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pofx.train.memory import reuse_freed_memory

IN_A_ROW, TURN = 5, 0.3  # calls of a contestant in its turn, and the seconds after which it begins none

Bar = Callable[[argparse.Namespace], Iterable[Mapping[str, Any]]]


def listed(text: str) -> list[str]:
    """The parts of a,b,c."""
    return text.split(",")


def option(text: str) -> tuple[str, Any]:
    """KEY=VALUE of the command line."""
    from pofx.core.config import parse

    return parse(text)


def sheet(images: Any, path: Path, columns: int = 12, zoom: int = 2) -> None:
    """Images uint8 (n, H, W[, C]) side by side in a PNG."""
    from PIL import Image

    rows = len(images) // columns
    shown = np.stack(list(images[: rows * columns]))
    if shown.ndim == 3:
        shown = shown[..., None]
    _, h, w, c = shown.shape
    grid = shown.reshape(rows, columns, h, w, c).transpose(0, 2, 1, 3, 4).reshape(rows * h, columns * w, c)
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = Image.fromarray(grid.squeeze(-1) if c == 1 else grid)
    whole.resize((columns * w * zoom, rows * h * zoom), Image.Resampling.NEAREST).save(path)


def parser(about: str | None, bars: Mapping[str, Bar]) -> argparse.ArgumentParser:
    """A command line that takes names of bars (all by default), a folder and whether to show progress."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("bars", nargs="*", default=list(bars), help=f"of {', '.join(bars)}")
    made.add_argument("--out", type=Path, default=Path("runs/bench"))
    made.add_argument("--shown", action="store_true", help="show progress bars")
    return made


def measure(name: str, bars: Mapping[str, Bar], args: argparse.Namespace) -> None:
    """Measure the requested bars; every result is added to OUT/<name>.jsonl as soon as it is known."""
    for bar in args.bars:
        if bar not in bars:
            raise SystemExit(f"there is no bar '{bar}': choose from {', '.join(bars)}")
    args.out.mkdir(parents=True, exist_ok=True)
    for bar in args.bars:
        for row in bars[bar](args):
            line = json.dumps({"benchmark": bar, **row, "threads": torch.get_num_threads()}, ensure_ascii=False)
            print(line, flush=True)
            with (args.out / f"{name}.jsonl").open("a") as file:
                file.write(line + "\n")


def in_turn(contestants: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of every contestant's calls, of the processor and by the clock: (rounds, 2) each.

    In its turn each is called a few times in a row, as in a loop of its own; two rounds go before. The process keeps
    the memory that is freed, as our trainings do; all profit.
    """
    reuse_freed_memory()
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for i in range(rounds + 2):
        for name, run in contestants.items():
            calls, wall, cpu = 0, time.perf_counter(), time.process_time()
            while calls < IN_A_ROW and (not calls or time.perf_counter() - wall < TURN):
                run()
                calls += 1
            if i > 1:
                seconds[name].append(((time.process_time() - cpu) / calls, (time.perf_counter() - wall) / calls))
    return {name: np.array(rows) for name, rows in seconds.items()}
