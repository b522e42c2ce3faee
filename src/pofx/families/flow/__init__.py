"""Flows: p(x) = p(z) |det dz/dx|."""
