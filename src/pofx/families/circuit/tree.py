"""The Chow–Liu tree: the spanning tree of the largest mutual information between its neighbours.

Chow and Liu, 1968: among all tree-shaped distributions, the one with these edges has the largest likelihood. Numbers
are cut at their quantiles first, and classes beyond the most frequent ones are merged. Nodes are then visited level by
level from the centre of the tree, so that all edges of a level are one batched product.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

BINS = 16  # of a variable, at most
ENTRIES = 1 << 12  # columns of the indicator matrix: bins × variables


@dataclass(frozen=True)
class Level:
    """The nodes at one distance from the root, those of most children first.

    `nodes` and `edges` are where they and their edges are in the order of the tree; `parents` are positions in the
    level above. `ranks` holds, for the k-th child of its parent, how many parents have one, which are the first of
    their level, and the positions of the children: a message multiplies into a slice, in place.
    """

    nodes: slice
    edges: slice
    parents: Tensor
    ranks: tuple[tuple[int, Tensor], ...]


@dataclass(frozen=True)
class Tree:
    """Levels from the root down; of every node, in their order, its variable and, but for the root, the number of the
    edge above it, by which tables are stored: breadth first, the children of a node in the order of the variables."""

    levels: tuple[Level, ...]
    variables: Int[Tensor, "d"]
    edges: Int[Tensor, "e"]


def bins_for(variables: int) -> int:
    """Bins per variable for which the table of all pairs stays small."""
    return max(2, min(BINS, ENTRIES // max(variables, 1)))


def binned(column: Shaped[Tensor, "n"], bins: int, *, ordered: bool) -> Int[Tensor, "n"]:
    """A variable as classes 0, …, at most bins - 1: cut at quantiles if ordered, else the most frequent classes."""
    values, inverse, counts = column.unique(return_inverse=True, return_counts=True)
    if len(values) <= bins:
        return inverse
    if ordered:
        middle = (counts.cumsum(0) - 0.5 * counts) / counts.sum()  # of each value, among all items
        return (middle * bins).long().clamp(max=bins - 1)[inverse]
    rank = torch.empty_like(counts)
    rank[counts.argsort(descending=True, stable=True)] = torch.arange(len(counts), device=counts.device)
    return rank.clamp(max=bins - 1)[inverse]


def mutual_information(classes: Int[Tensor, "n d"], bins: int) -> Float[Tensor, "d d"]:
    """I(X_i; X_j) in nats of all pairs of columns with classes 0, …, bins - 1: (d, d)."""
    n, d = classes.shape
    ones = torch.zeros(n, d * bins, device=classes.device)
    ones.scatter_(1, classes + bins * torch.arange(d, device=classes.device), 1.0)
    joint = (ones.T @ ones).div_(n).reshape(d, bins, d, bins)
    single = ones.mean(0)
    entropy = -torch.special.xlogy(single, single).reshape(d, bins).sum(1)
    found = torch.empty(d, d, device=classes.device)
    for i in range(d):
        row = joint[i]
        found[i] = entropy[i] + entropy + torch.special.xlogy(row, row).sum((0, 2))
    return found


def spanning_tree(weights: Float[Tensor, "d d"]) -> list[tuple[int, int]]:
    """The edges of the spanning tree of the largest total weight (Prim, 1957)."""
    d = len(weights)
    weights = weights.double().cpu()
    noise = torch.rand(d, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = weights + 1e-9 * (noise + noise.T)  # equal weights make no long chain and no star
    best, source = weights[0].clone(), torch.zeros(d, dtype=torch.int64)
    best[0] = -torch.inf
    edges = []
    for _ in range(d - 1):
        new = int(best.argmax())
        edges.append((int(source[new]), new))
        best[new] = -torch.inf
        nearer = (weights[new] > best) & (best > -torch.inf)
        best[nearer], source[nearer] = weights[new][nearer], new
    return edges


def rooted(edges: Sequence[tuple[int, int]], d: int) -> list[int]:
    """The parent of each variable in the tree whose root is its centre, where it is least deep; -1 for the root."""
    near: list[list[int]] = [[] for _ in range(d)]
    for a, b in edges:
        near[a].append(b)
        near[b].append(a)

    def farthest(start: int) -> list[int]:
        """The path from `start` to a node that is farthest from it."""
        parent, queue = {start: -1}, [start]
        for node in queue:
            for other in near[node]:
                if other not in parent:
                    parent[other] = node
                    queue.append(other)
        path = [queue[-1]]
        while parent[path[-1]] >= 0:
            path.append(parent[path[-1]])
        return path

    diameter = farthest(farthest(0)[0])
    root = diameter[len(diameter) // 2]
    parents, queue = [-1] * d, [root]
    for node in queue:
        for other in near[node]:
            if other != parents[node]:
                parents[other] = node
                queue.append(other)
    return parents


def levels(parents: Sequence[int], device: torch.device) -> Tree:
    """The levels of a tree given by the parent of each variable, the root first."""
    children: dict[int, list[int]] = {}
    for node, parent in enumerate(parents):
        children.setdefault(parent, []).append(node)
    edge, queue = dict[int, int](), list(children[-1])
    for node in queue:
        edge[node] = len(edge) - 1
        queue += children.get(node, ())
    found, variables = list[Level](), list[int]()
    nodes, above = children[-1], [-1]
    while nodes:
        nodes.sort(key=lambda node: -len(children.get(node, ())))
        place = {node: k for k, node in enumerate(above)}
        at = {node: k for k, node in enumerate(nodes)}
        own = [children[parent] for parent in above if parent in children]
        ranks = [[at[few[rank]] for few in own if rank < len(few)] for rank in range(len(own[0]))]
        first = len(variables)
        variables += nodes
        found.append(
            Level(
                slice(first, len(variables)),
                slice(max(first - 1, 0), max(len(variables) - 1, 0)) if found else slice(0, 0),
                torch.tensor([place[parents[node]] for node in nodes], device=device),
                tuple((len(few), torch.tensor(few, device=device)) for few in ranks),
            )
        )
        above, nodes = nodes, [child for node in nodes for child in children.get(node, ())]
    return Tree(
        tuple(found),
        torch.tensor(variables, device=device),
        torch.tensor([edge[node] for node in variables[1:]], dtype=torch.int64, device=device),
    )
