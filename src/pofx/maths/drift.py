"""The drift of samples towards data: attraction to data and repulsion from other samples, in balance where they agree.

Deng et al., 2026, "Generative modeling via drifting", arXiv 2602.04770. With K(x, y) = exp(-|x - y| / τ), normalised
over rows and columns, V(x) = V⁺(x) - V⁻(x) vanishes in expectation where samples have the distribution of the data.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def drift(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], temperature: float, same: Bool[Tensor, "n n+m"] | None = None
) -> Float[Tensor, "n d"]:
    """V(x) for samples x (n, d) given data y (m, d).

    Args:
        temperature: τ, in units of the root mean square distance per dimension: |x - y| / √d.
        same: which pairs of x with the n samples and the m items behind them may meet; all by default.
    """
    with torch.autocast(x.device.type, enabled=False):  # attraction and repulsion nearly cancel
        x, y = (v.to(torch.promote_types(v.dtype, torch.float32)) for v in (x, y))
        n, targets = len(x), torch.cat((x, y))
        logits = -torch.cdist(x, targets) / (temperature * x.shape[1] ** 0.5)
        hidden = torch.zeros_like(logits, dtype=torch.bool)
        hidden[:, :n].fill_diagonal_(True)  # a sample does not repel itself
        if same is not None:
            hidden |= ~same
        logits = logits.masked_fill(hidden, -torch.inf)
        # √(softmax over targets · softmax over samples); a column of nothing but -inf has no weight
        columns = logits.masked_fill(hidden, torch.finfo(logits.dtype).min).log_softmax(0)
        weights = ((logits.log_softmax(1) + columns) / 2).exp().masked_fill(hidden, 0.0).nan_to_num(0.0)
        repel, attract = weights[:, :n], weights[:, n:]
        pull, push = attract.sum(1, keepdim=True), repel.sum(1, keepdim=True)
        return (attract * push) @ y - (repel * pull) @ x
