"""Mixtures: the classical baselines that every deep model must beat."""
