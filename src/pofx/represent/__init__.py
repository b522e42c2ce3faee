"""Representations: one file per data type; items ↔ event tensors, with the change of volume."""
