"""Whether the weights of a module are numbers: those of a diverged training are not, and are never stored."""

import math

import torch
from torch import nn


def broken(module: nn.Module) -> str | None:
    """What is wrong with the weights of a module: parameters must be finite, buffers neither NaN nor +inf; None if they
    are."""
    values = [t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point() and t.numel()]
    with torch.no_grad():  # a finite norm has finite numbers alone; a norm that is not may have overflowed
        if values and bool(torch.stack([n.float() for n in torch._foreach_norm(values)]).isfinite().all()):
            return None
    for kind, tensors in (("parameter", module.named_parameters()), ("buffer", module.named_buffers())):
        for name, value in tensors:
            if not value.is_floating_point():
                continue
            bad = ~value.isfinite() if kind == "parameter" else value.isnan() | (value == math.inf)
            if bool(bad.any()):
                return f"{int(bad.sum())} of {value.numel()} numbers of the {kind} {name} are not finite"
    return None
