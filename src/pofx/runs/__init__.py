"""Runs: data, or a density, and options → a trained artifact in a folder; shared orchestration and its users."""
