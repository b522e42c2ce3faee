"""Evaluation: one file per metric; (artifact or samples, reference) → numbers with uncertainty.

The package is itself the function that measures a run: `pofx.evaluate(run)` (`pofx.evaluate.suite.evaluate`).
"""

import sys
from types import ModuleType
from typing import Any


class _Evaluate(ModuleType):
    """A package that can be called, since its name is that of its main function."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        from pofx.evaluate.suite import evaluate

        return evaluate(*args, **options)


sys.modules[__name__].__class__ = _Evaluate
