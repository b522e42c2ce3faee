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
    if probes is not None:
        y, each = probed_divergences(field, x, probes)
        return y, each.mean(0)
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y = field(x)
        count = x[0].numel()
        total = torch.zeros(len(x), dtype=x.dtype, device=x.device)
        for k in range(count):
            probe = torch.zeros(count, dtype=x.dtype, device=x.device)
            probe[k] = 1.0
            vector = probe.reshape(x.shape[1:]).expand_as(x)
            (pulled,) = torch.autograd.grad(y, x, vector, retain_graph=k < count - 1)
            total = total + (pulled * vector).flatten(1).sum(1)
    return y.detach(), total


def probed_divergences(
    field: Callable[[Tensor], Tensor], x: Float[Tensor, "n *event"], probes: Float[Tensor, "k n *event"]
) -> tuple[Float[Tensor, "n *event"], Float[Tensor, "k n"]]:
    """The field at x, and one estimate probe · (J probe) of its divergence per probe: (n, *event), (k, n)."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y = field(x)
        pulled = [torch.autograd.grad(y, x, v, retain_graph=k < len(probes) - 1)[0] for k, v in enumerate(probes)]
    return y.detach(), torch.stack([(g * v).flatten(1).sum(1) for g, v in zip(pulled, probes, strict=True)])
