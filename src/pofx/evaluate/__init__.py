"""Evaluation: one file per metric; (artifact or samples, reference) → numbers with uncertainty."""
