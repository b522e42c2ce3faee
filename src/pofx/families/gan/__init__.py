"""Generative adversarial networks: a generator and a critic, no density."""
