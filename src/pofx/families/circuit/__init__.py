"""Probabilistic circuits: sums and products of which every marginal and conditional is exact."""
