"""Where a run was made: versions, platform, threads, commit."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from pofx import __version__


def environment() -> dict[str, Any]:
    """Plain values for the card of a run."""
    return {
        "pofx": __version__,
        "commit": _commit(),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
    }


def _commit() -> str | None:
    """The commit of this checkout of pofx; None where it is not one, or there is no git."""
    root = Path(__file__).parents[3]
    if shutil.which("git") is None or not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or None
