"""Which noise meets which item: an optimal assignment within each batch, by which paths become straighter."""

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

BLOCK = 256  # items that are paired with noises at once: the cost grows with its cube


def coupled(
    x: Float[Tensor, "n *event"], noise: Float[Tensor, "n *event"], labels: Int[Tensor, "n"] | None
) -> Float[Tensor, "n *event"]:
    """The noises in the order in which they lie nearest to the items: a permutation, within each class.

    Assignment without replacement leaves both marginals as they are (Pooladian et al., 2023, arXiv 2304.14772; Tong et
    al., 2024, arXiv 2302.00482); across classes it would tie the noise to the class (Cheng and Schwing, 2025, arXiv
    2503.10636).
    """
    order = torch.arange(len(x), device=x.device)
    paired = order.clone()
    groups = [order] if labels is None else [(labels == c).nonzero()[:, 0] for c in labels.unique()]
    for group in (part for whole in groups for part in whole.split(BLOCK)):
        cost = torch.cdist(x[group].flatten(1).float(), noise[group].flatten(1).float()).square()
        columns = linear_sum_assignment(cost.cpu().numpy())[1]
        paired[group] = group[torch.as_tensor(columns, device=x.device)]
    return noise[paired]
