"""Up and down a tree of latent variables: log p(x), and its gradient, all that expectation maximisation needs.

Upwards, a node multiplies its leaf with the messages of its children, B_i = L_i ∏_c M_c, and sends M_i = B_i P_iᵀ to
its parent, P_i[z', z] = p(z | z'). Downwards, D_i = ∂ log p / ∂ B_i: with F_c = D_i B_i / M_c, a child has D_c = F_c
P_c, its edge the gradient F_cᵀ B_c and its leaf D_i ∏_c M_c. Times the probability itself these are expected counts
(Darwiche, 2003). All nodes of a level are one batched product; every message is scaled. Leaves and edges come in the
order of the tree, so that a level is a slice; levels are small enough for the cache of a core.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pofx.families.circuit.tree import Level, Tree

CHUNK = 256  # items of one pass on a CPU
UNSCALED = 2  # messages whose product with a leaf is no number near zero: each is 1 in its likeliest state
Stored = tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]  # of all levels, from the last one up
LEAST = 1e-30  # probabilities below are this, so that no quotient is 0 / 0


def upward(
    leaf: Callable[[Level], Float[Tensor, "k n states"]],
    root: Float[Tensor, "states"],
    edges: Float[Tensor, "e states states"],
    tree: Tree,
    stored: Stored | None = None,
) -> Float[Tensor, "n"]:
    """log p. `leaf` gives the leaves of a level, which are overwritten; to `stored` go, from the last level up, B, the
    products of the children's messages where there are any, M (empty of the root) and the scale that M was divided
    by."""
    log_p, message = torch.zeros((), dtype=torch.float64, device=root.device), root.new_empty(0)
    below: Level | None = None
    for depth in reversed(range(len(tree.levels))):
        level = tree.levels[depth]
        b = leaf(level)
        product = b[:0]
        for rank, (many, own) in enumerate(() if below is None else below.ranks):
            if rank == 0:
                product = message[own]
                continue
            part = product[:many]
            part.mul_(message[own])
            if rank >= UNSCALED - 1:
                log_p = log_p + scaled(part)[1]
        if len(product):
            b[: len(product)].mul_(product)
        scale = message = b.new_empty(0)
        if depth:
            message = torch.bmm(b, edges[level.edges].transpose(1, 2))
            scale, logs = scaled(message)
            log_p = log_p + logs
        if stored is not None:
            for to, part in zip(stored, (b, product, message, scale), strict=True):
                to.append(part)
        below = level
    return log_p + (b[0] @ root).double().log()


def scaled(x: Float[Tensor, "k n states"]) -> tuple[Float[Tensor, "k n 1"], Float[Tensor, "n"]]:
    """Divide x in place by its largest state; returns that and the sum of its logarithms."""
    scale = x.amax(-1, keepdim=True).clamp_(min=LEAST)
    x.div_(scale).clamp_(min=LEAST)
    return scale, scale.log().double().sum((0, 2))


class LogProb(torch.autograd.Function):
    """log p(x) (n,) of leaf probabilities (d, n, states), root (states,) and edges (e, states, states)."""

    @staticmethod
    def forward(
        ctx: Any,
        leaf: Float[Tensor, "d n states"],
        root: Float[Tensor, "states"],
        edges: Float[Tensor, "e states states"],
        tree: Tree,
    ) -> Float[Tensor, "n"]:
        edges = edges[tree.edges]
        ctx.save_for_backward(root, edges)
        ctx.tree, ctx.size, ctx.stored = tree, leaf.shape, []
        logs = []
        with torch.autocast(leaf.device.type, enabled=False):
            for some in chunks(leaf):
                stored: Stored | None = ([], [], [], []) if any(ctx.needs_input_grad) else None
                part = leaf[:, some]
                logs.append(upward(lambda level, of=part: of[level.nodes].clone(), root, edges, tree, stored))
                ctx.stored.append(stored)
        return torch.cat(logs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        root, edges = ctx.saved_tensors
        of_leaf, of_root, of_edges = root.new_empty(ctx.size), torch.zeros_like(root), torch.zeros_like(edges)
        with torch.autocast(root.device.type, enabled=False):
            for some, stored in zip(chunks(of_leaf), ctx.stored, strict=True):
                downward(
                    gradients[0][some].to(root.dtype),
                    (root, edges),
                    stored,
                    ctx.tree,
                    (of_leaf[:, some], of_root, of_edges),
                )
        return of_leaf, of_root, torch.empty_like(edges).index_copy_(0, ctx.tree.edges, of_edges), None


def chunks(leaf: Float[Tensor, "d n states"]) -> list[slice]:
    """Items that go through the tree together: few enough for a level to stay in the cache of a core."""
    n = leaf.shape[1]
    size = CHUNK if leaf.device.type == "cpu" else n
    return [slice(i, i + size) for i in range(0, n, max(size, 1))]


def downward(
    total: Float[Tensor, "n"],
    probabilities: tuple[Tensor, Tensor],
    stored: Stored,
    tree: Tree,
    found: tuple[Tensor, Tensor, Tensor],
) -> None:
    """Write the gradient of leaves, and add those of root and edges, to `found`; `total` is the gradient of log p."""
    root, edges = probabilities
    nodes, products, messages, scales = (part[::-1] for part in stored)
    of_leaf, of_root, of_edges = found
    share = total[:, None] / (nodes[0][0] @ root)[:, None]
    of_root += (share * nodes[0][0]).sum(0)
    d = (share * root)[None]
    for depth, level in enumerate(tree.levels):
        own, inner = of_leaf[level.nodes], len(products[depth])
        torch.mul(d[:inner], products[depth], out=own[:inner])
        own[inner:] = d[inner:]
        d = d.mul_(nodes[depth])
        if depth + 1 < len(tree.levels):
            below = tree.levels[depth + 1]
            f = d[below.parents].div_(messages[depth + 1]).div_(scales[depth + 1])
            of_edges[below.edges].baddbmm_(f.transpose(1, 2), nodes[depth + 1])
            d = torch.bmm(f, edges[below.edges])
