"""What the benchmark scripts share: bars by name on the command line, one JSON line per result, printed and kept."""

import argparse
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

Bar = Callable[[argparse.Namespace], Iterable[Mapping[str, Any]]]


def listed(text: str) -> list[str]:
    """The parts of a,b,c."""
    return text.split(",")


def parser(about: str | None, bars: Mapping[str, Bar]) -> argparse.ArgumentParser:
    """A command line that takes names of bars (all by default), a folder and whether to show progress."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("bars", nargs="*", default=list(bars), help=f"of {', '.join(bars)}")
    made.add_argument("--out", type=Path, default=Path("runs/bench"))
    made.add_argument("--shown", action="store_true", help="show progress bars")
    return made


def measure(name: str, bars: Mapping[str, Bar], args: argparse.Namespace) -> None:
    """Measure the bars that were asked for; every result is added to OUT/<name>.jsonl as soon as it is known."""
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
