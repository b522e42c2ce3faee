"""Steps of expectation maximisation that read the expected counts off the gradient.

The gradient of log p with respect to the log of an entry of an unnormalised table is the expected number of its uses
(Salakhutdinov, Roweis and Ghahramani, 2003). Mini-batches move running counts, not probabilities (Cappé and Moulines,
2009): a row that a batch hardly uses hardly moves. Running counts of an entry are those of its row times its
probability, so only those of rows are stored.
"""

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

LEAST = 1e-9  # probability of an entry


@torch.no_grad()
def maximise(
    log_table: nn.Parameter,
    rows: Float[Tensor, "..."],
    dim: int,
    step: float,
    prior: float,
    size: Num[Tensor, "..."] | int,
) -> None:
    """Move a table of log-probabilities, normalised along `dim`, towards the counts in its gradient.

    Args:
        rows: running counts of its rows, moved along.
        prior: count that is added to each row, evenly over its entries.
        size: entries of a row.
    """
    if log_table.grad is None:
        return
    counts = (1 - step) * rows * log_table.exp() - step * log_table.grad
    rows.copy_(counts.sum(dim, keepdim=True))
    found = (counts + step * prior / size) / (rows + step * prior).clamp(min=1e-30)
    found = torch.where(rows > 0, found.clamp(min=LEAST), log_table.exp())
    log_table.copy_((found / found.sum(dim, keepdim=True)).log())
