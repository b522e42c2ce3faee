"""Comparison of models on the same data under the same budget."""

from pofx.comparison.compare import Comparison, compare

__all__ = ["Comparison", "compare"]
