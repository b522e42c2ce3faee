"""Diffusion and flow matching: a path from data to noise, and a denoiser that walks it back."""
