"""Where a run was made: versions, platform, threads, commit."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import scipy
import torch

from pofx import __version__


def environment() -> dict[str, Any]:
    """Plain values for the card of a run and the protocol of a comparison."""
    return {
        "pofx": __version__,
        "commit": _commit(),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "scipy": scipy.__version__,
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU ({platform.machine()})",
    }


def _commit() -> str | None:
    """The commit of this checkout of pofx; None where it is not one, or there is no git."""
    root = Path(__file__).parents[3]
    if shutil.which("git") is None or not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or None
