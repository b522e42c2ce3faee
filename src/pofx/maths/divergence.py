"""The divergence of a vector field, exact or estimated (Hutchinson, 1990; Grathwohl et al., 2019, arXiv 1810.01367)."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def divergence(
    field: Callable[[Tensor], Tensor], x: Float[Tensor, "n *event"], probes: Float[Tensor, "k n *event"] | None = None
) -> tuple[Float[Tensor, "n *event"], Float[Tensor, "n"]]:
    """The field at x, and its divergence there.

    Args:
        field: (n, *event) → (n, *event), each item on its own. It runs with gradients enabled.
        x: (n, *event), not an inference tensor.
        probes: (k, n, *event) of independent entries with mean 0 and variance 1 give the unbiased estimate
            mean_k probe · (J probe); None gives the exact trace, at the cost of one gradient per dimension.

    Returns:
        field(x) (n, *event) and the divergence (n,), both detached.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y = field(x)
        count = x[0].numel() if probes is None else len(probes)
        total = torch.zeros(len(x), dtype=x.dtype, device=x.device)
        for k in range(count):
            if probes is None:
                probe = torch.zeros(x[0].numel(), dtype=x.dtype, device=x.device)
                probe[k] = 1.0
                vector = probe.reshape(x.shape[1:]).expand_as(x)
            else:
                vector = probes[k]
            (pulled,) = torch.autograd.grad(y, x, vector, retain_graph=k < count - 1)
            total = total + (pulled * vector).flatten(1).sum(1)
    return y.detach(), total if probes is None else total / count
