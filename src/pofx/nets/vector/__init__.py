"""Layers and perceptrons on vectors: conditions, times, classes and coordinates become features here."""
