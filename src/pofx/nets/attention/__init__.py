"""Attention over sequences, and the transformers made of it."""
