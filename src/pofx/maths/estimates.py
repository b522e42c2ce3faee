"""The error of a mean, from independent estimates of one number."""

from jaxtyping import Float
from torch import Tensor


def standard_error(each: Float[Tensor, "k *items"]) -> Float[Tensor, "*items"]:
    """Standard error of the mean of k estimates: (*items); nan for one estimate, which shows no error."""
    if len(each) < 2:
        return each.new_full(each.shape[1:], float("nan"))
    return each.std(0) / len(each) ** 0.5
