"""Comparison of models on the same data under the same budget."""
