"""pofx, "p of x": every family of deep generative models behind one contract.

Names are imported when they are first used, so that `import pofx` and `pofx --help` load no torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "fit": "pofx.runs.fitting",
    "fit_density": "pofx.runs.target",
    "ImportanceSampler": "pofx.runs.weighing",
    "load": "pofx.artifact",
    "Artifact": "pofx.artifact",
    "Score": "pofx.artifact",
    "compare": "pofx.comparison",
    "audio": "pofx.data.recordings",
    "images": "pofx.data.items",
    "table": "pofx.data.items",
    "tokens": "pofx.data.items",
    "points": "pofx.data.items",
    "molecules": "pofx.data.molecules",
    "Density": "pofx.core.model",
    "PofxError": "pofx.core.errors",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'pofx' has no attribute '{name}'")
    return getattr(import_module(_PUBLIC[name]), name)
