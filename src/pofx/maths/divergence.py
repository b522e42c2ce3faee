"""The divergence of a vector field, exact or estimated (Hutchinson, 1990; Grathwohl et al., 2019, arXiv 1810.01367).

Hutch++ (Meyer, Musco, Musco and Woodruff, 2021, arXiv 2010.09649) takes the part of the trace that lies in the range of
the Jacobian exactly, and estimates the rest: far less noise where few directions carry the trace.
"""

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


def deflated_divergences(
    field: Callable[[Tensor], Tensor],
    x: Float[Tensor, "n *event"],
    sketch: Float[Tensor, "k n *event"],
    probes: Float[Tensor, "k n *event"],
) -> tuple[Float[Tensor, "n *event"], Float[Tensor, "k n"]]:
    """Hutch++: the field at x and k unbiased estimates of its divergence with one exact part: (n, *event), (k, n).

    With Q an orthonormal basis of Jᵀ sketch, tr J = tr(Qᵀ Jᵀ Q) + tr of what is left; that is estimated by each probe
    without its part in Q. The spread of the estimates is that of the probes alone. It costs three gradients for each
    probe.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y = field(x)

        def pulled(vectors: Tensor, *, last: bool = False) -> Tensor:
            many = len(vectors)
            return torch.stack(
                [torch.autograd.grad(y, x, v, retain_graph=not last or i < many - 1)[0] for i, v in enumerate(vectors)]
            )

        shape = (-1, *x.shape)
        basis = torch.linalg.qr(pulled(sketch).flatten(2).permute(1, 2, 0))[0]  # (n, d, k)
        q = basis.permute(2, 0, 1)
        inside = (pulled(q.reshape(shape)).flatten(2) * q).sum((0, 2))
        flat = probes.flatten(2)
        left = flat - torch.einsum("ndk,nkp->pnd", basis, torch.einsum("ndk,pnd->nkp", basis, flat))
        rest = (pulled(left.reshape(shape), last=True).flatten(2) * left).sum(2)
    return y.detach(), (inside + rest).detach()
