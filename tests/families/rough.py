"""Models whose weights lie far from their start, so that nothing holds by initialisation."""

import torch

from pofx.core import config


def rough(name, event, condition=None, *, seed=0, dtype=torch.float64, scale=0.3, **options):
    """A model in float64 with weights far from its start."""
    torch.manual_seed(seed)
    model = config.build(name, event, condition, **options).to(dtype)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(scale * torch.randn_like(p))
    return model
