"""Autoregressive models: p(x) = Π p(x_i | x_<i)."""
