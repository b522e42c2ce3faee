"""Variational autoencoders: log p(x) ≥ E log p(x|z) - KL(q(z|x) ‖ p(z))."""
