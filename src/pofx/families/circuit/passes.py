"""Up and down a tree of latent variables: log p(x), and its gradient, all that expectation maximisation needs.

Upwards, a node multiplies its leaf with the messages of its children, B_i = L_i ∏_c M_c, and sends M_i = B_i P_iᵀ to
its parent, P_i[z', z] = p(z | z'). Downwards, D_i = ∂ log p / ∂ B_i: with F_c = D_i B_i / M_c, a child has D_c = F_c
P_c, its edge the gradient F_cᵀ B_c and its leaf D_i B_i / L_i. Times the probability itself these are expected counts
(Darwiche, 2003). All nodes of a level are one batched product; every node is scaled.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pofx.families.circuit.tree import Level

CHUNK = 256  # items of one pass on a CPU
UNSCALED = 2  # messages whose product with a leaf is no number near zero: each is 1 in its likeliest state
LEAST = 1e-30  # probabilities below are this, so that no quotient is 0 / 0


def upward(
    leaf: Float[Tensor, "d n states"],
    root: Float[Tensor, "states"],
    edges: Float[Tensor, "e states states"],
    tree: Sequence[Level],
) -> tuple[Float[Tensor, "n"], list[Tensor], list[Tensor], list[Tensor]]:
    """log p, and of each level B, M (empty of the root) and the scale that M was divided by."""
    n = leaf.shape[1]
    log_p = torch.zeros(n, dtype=torch.float64, device=leaf.device)
    nodes: list[Tensor] = []
    messages: list[Tensor] = []
    scales: list[Tensor] = []
    for depth in reversed(range(len(tree))):
        level = tree[depth]
        b = leaf[level.variables]
        if depth + 1 < len(tree):
            for rank, (up, own) in enumerate(tree[depth + 1].ranks):
                part = messages[-1][own].mul_(b[up])
                if rank >= UNSCALED:
                    scaled(part, log_p)
                b[up] = part
        if depth:
            m = torch.bmm(b, edges[level.edges].transpose(1, 2))
            scales.append(scaled(m, log_p))
        else:
            m = b.new_empty(0)
            scales.append(m)
        nodes.append(b)
        messages.append(m)
    log_p += (nodes[-1][0] @ root).double().log()
    return log_p, nodes[::-1], messages[::-1], scales[::-1]


def scaled(x: Float[Tensor, "k n states"], log_p: Float[Tensor, "n"]) -> Float[Tensor, "k n 1"]:
    """Divide x in place by its largest state, whose logarithm is added to log_p; returns the scale."""
    scale = x.amax(-1, keepdim=True).clamp_(min=LEAST)
    x.div_(scale).clamp_(min=LEAST)
    log_p += scale.log().double().sum((0, 2))
    return scale


class LogProb(torch.autograd.Function):
    """log p(x) (n,) of leaf probabilities (d, n, states), root (states,) and edges (e, states, states)."""

    @staticmethod
    def forward(
        ctx: Any,
        leaf: Float[Tensor, "d n states"],
        root: Float[Tensor, "states"],
        edges: Float[Tensor, "e states states"],
        tree: Sequence[Level],
    ) -> Float[Tensor, "n"]:
        ctx.save_for_backward(leaf, root, edges)
        ctx.tree, ctx.stored = tree, []
        logs = []
        with torch.autocast(leaf.device.type, enabled=False):
            for some in chunks(leaf):
                log_p, *stored = upward(leaf[:, some], root, edges, tree)
                logs.append(log_p)
                ctx.stored.append(stored if any(ctx.needs_input_grad) else None)
        return torch.cat(logs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        leaf, root, edges = ctx.saved_tensors
        of_leaf, of_root, of_edges = torch.empty_like(leaf), torch.zeros_like(root), torch.zeros_like(edges)
        with torch.autocast(leaf.device.type, enabled=False):
            for some, stored in zip(chunks(leaf), ctx.stored, strict=True):
                downward(
                    gradients[0][some].to(leaf.dtype),
                    (leaf[:, some], root, edges),
                    stored,
                    ctx.tree,
                    (of_leaf[:, some], of_root, of_edges),
                )
        return of_leaf, of_root, of_edges, None


def chunks(leaf: Float[Tensor, "d n states"]) -> list[slice]:
    """Items that go through the tree together: few enough for a level to stay in the cache of a core."""
    n = leaf.shape[1]
    size = CHUNK if leaf.device.type == "cpu" else n
    return [slice(i, i + size) for i in range(0, n, max(size, 1))]


def downward(
    total: Float[Tensor, "n"],
    probabilities: tuple[Tensor, Tensor, Tensor],
    stored: Sequence[list[Tensor]],
    tree: Sequence[Level],
    found: tuple[Tensor, Tensor, Tensor],
) -> None:
    """Write the gradient of leaves, and add those of root and edges, to `found`; `total` is the gradient of log p."""
    leaf, root, edges = probabilities
    nodes, messages, scales = stored
    of_leaf, of_root, of_edges = found
    share = total[:, None] / (nodes[0][0] @ root)[:, None]
    of_root += (share * nodes[0][0]).sum(0)
    d = (share * root)[None]
    for depth, level in enumerate(tree):
        d = d * nodes[depth]
        of_leaf[level.variables] = d / leaf[level.variables].clamp_(min=LEAST)
        if depth + 1 < len(tree):
            below = tree[depth + 1]
            f = d[below.parents].div_(messages[depth + 1]).div_(scales[depth + 1])
            of_edges[below.edges].baddbmm_(f.transpose(1, 2), nodes[depth + 1])
            d = torch.bmm(f, edges[below.edges])
