"""Families of generative models: one folder per family, one file per member."""
