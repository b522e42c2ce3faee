"""How much of a code is used: active units, KL and mutual information; and what to do where it is little.

A dimension is active where its posterior mean varies with x (Burda et al., 2016, arXiv 1509.00519, section 5.4).
Posterior collapse: Bowman et al., 2016, arXiv 1511.06349; Lucas et al., 2019, arXiv 1911.02469.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from pofx.maths.total_correlation import mutual_information

ACTIVE = 1e-2  # variance of a posterior mean above which its dimension counts
MOST = 256  # items of a batch that are looked at
YOUNG = 0.25  # share of the budget before which a code may be unused
FEW = 0.1  # share of the dimensions below which a code is called collapsed
LITTLE = 0.1  # nats of mutual information below which it is
MENDS = "pass free_bits=0.1, kl_warmup=1000 or beta below 1, or weaken the decoder (smaller width or depth)"


def usage(mean: Float[Tensor, "n d"], log_std: Float[Tensor, "n d"], kl: Float[Tensor, "d"]) -> dict[str, float]:
    """Numbers of a batch of normal posteriors, with the KL term of each dimension in nats."""
    mean, log_std = mean[:MOST], log_std[:MOST]
    z = mean + log_std.exp() * torch.randn(mean.shape, generator=torch.Generator().manual_seed(0)).to(mean)
    ordered = kl.sort(descending=True).values
    return {
        "active units": float((mean.var(0) > ACTIVE).sum()) if len(mean) > 1 else 0.0,
        "KL": float(kl.sum()),
        "KL of the most used dimension": float(ordered[0]),
        "median KL of a dimension": float(ordered[len(ordered) // 2]),
        "mutual information": float(mutual_information(z, mean, log_std)),
    }


def kl_to_margin(mean: Float[Tensor, "n d"], log_std: Float[Tensor, "n d"]) -> Float[Tensor, "d"]:
    """KL of each dimension's posteriors to the normal with the moments of them all, a fitting prior has."""
    total = mean.var(0, correction=0) + (2 * log_std).exp().mean(0)
    return 0.5 * total.log() - log_std.mean(0)


def symptoms(numbers: Mapping[str, float], dimensions: int) -> dict[str, str]:
    """ "collapse" where hardly a dimension of the code depends on x; an empty sentence where they do (again)."""
    active, information = numbers.get("active units"), numbers.get("mutual information")
    if active is None or information is None or numbers.get("share", 1.0) < YOUNG:
        return {}
    if active >= max(1.0, FEW * dimensions) and information >= LITTLE:
        return {"collapse": ""}  # no more
    return {
        "collapse": (
            f"the posterior collapses: {active:.0f} of {dimensions} dimensions of the code vary with x, and it holds "
            f"{information:.2g} nats about x: {MENDS}"
        )
    }
