"""Adversarial losses of logits and penalties of a critic: pure functions that every duel shares.

A loss is a pair: what the critic and what the generator descends, given the logits of real and of generated items.
GANs use them, and so do autoencoders with a critic (VQ-GAN, VAE-GAN) and adversarial distillation. All are written with
softplus and are finite, with finite gradients, at logits of any size.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import relu, softplus

Logits = Float[Tensor, "n"]
Scalar = Float[Tensor, ""]
CriticFunction = Callable[[Tensor], Tensor]  # items (n, …) → logits (n,)


@dataclass(frozen=True)
class AdversarialLoss:
    """critic(real, fake), generator(real, fake): mean losses of logits (n,); `paired`: the generator reads real too."""

    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    source: str
    paired: bool = False


def _cross_entropy(real: Logits, fake: Logits) -> Scalar:
    """-E log σ(D(x)) - E log(1 - σ(D(G(z))))."""
    return softplus(-real).mean() + softplus(fake).mean()


LOSSES: dict[str, AdversarialLoss] = {
    "minimax": AdversarialLoss(  # the generator minimises E log(1 - σ(D(G(z)))): its gradient vanishes where D wins
        _cross_entropy, lambda real, fake: -softplus(fake).mean(), "Goodfellow et al., 2014, arXiv 1406.2661, eq. 1"
    ),
    "non-saturating": AdversarialLoss(
        _cross_entropy, lambda real, fake: softplus(-fake).mean(), "Goodfellow et al., 2014, arXiv 1406.2661, sec. 3"
    ),
    "least-squares": AdversarialLoss(
        lambda real, fake: ((real - 1).square().mean() + fake.square().mean()) / 2,
        lambda real, fake: (fake - 1).square().mean() / 2,
        "Mao et al., 2017, arXiv 1611.04076, eq. 9",
    ),
    "hinge": AdversarialLoss(
        lambda real, fake: relu(1 - real).mean() + relu(1 + fake).mean(),
        lambda real, fake: -fake.mean(),
        "Lim and Ye, 2017, arXiv 1705.02894; Miyato et al., 2018, arXiv 1802.05957, eqs. 16, 17",
    ),
    "wasserstein": AdversarialLoss(
        lambda real, fake: fake.mean() - real.mean(),
        lambda real, fake: -fake.mean(),
        "Arjovsky et al., 2017, arXiv 1701.07875, eq. 3",
    ),
    "relativistic": AdversarialLoss(
        lambda real, fake: softplus(fake - real).mean(),
        lambda real, fake: softplus(real - fake).mean(),
        "Jolicoeur-Martineau, 2018, arXiv 1807.00734; Huang et al., 2024, arXiv 2501.05441, eq. 2",
        paired=True,
    ),
}


def squared_gradient(critic: CriticFunction, x: Float[Tensor, "n *event"]) -> Scalar:
    """R1 or R2: E |∂D(x)/∂x|², summed over an item, averaged over items, differentiable in the critic's parameters.

    Mescheder, Geiger and Nowozin, 2018, arXiv 1801.04406, eq. 9 (without its factor γ/2).
    """
    x = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return slope.float().square().flatten(1).sum(1).mean()


def finite_difference_penalty(critic: CriticFunction, x: Float[Tensor, "n *event"], epsilon: float = 0.05) -> Scalar:
    """E ((D(x + h g) - D(x - h g)) / 2h)², g the unit vector along ∂D/∂x and h = ε √d in d dimensions: |∂D/∂x|² up to
    O(ε²), without second derivatives.

    The slope along its own direction, held fixed, has the value and the gradient in the critic's parameters that
    |∂D/∂x| has. Along noise it has both in expectation only (adversarial flow models, 2025, arXiv 2511.22475), with a
    spread of √2 times the penalty per item. Critics of straight pieces need no tiny step: the bends that it crosses
    average out over a larger one. A critic must not couple items: both sides go through it at once, in full precision,
    since bf16 rounds by as much as they differ.
    """
    x = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    h = epsilon * x[0].numel() ** 0.5
    with torch.autocast(x.device.type, enabled=False):
        here = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(critic(here).sum(), here)
        size = slope.flatten(1).norm(dim=1).clamp(min=torch.finfo(slope.dtype).tiny)
        step = h * slope / size.reshape(-1, *[1] * (x.ndim - 1))
        ahead, behind = critic(torch.cat((x + step, x - step))).reshape(2, len(x), -1).sum(2)
    return ((ahead - behind) / (2 * h)).square().mean()


def gradient_penalty(
    critic: CriticFunction, real: Float[Tensor, "n *event"], fake: Float[Tensor, "n *event"], target: float = 1.0
) -> Scalar:
    """E (|∂D/∂x| - target)² at points evenly drawn between pairs of a real and a generated item.

    Gulrajani et al., 2017, arXiv 1704.00028, eq. 3 (without its factor λ).
    """
    share = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device, dtype=real.dtype)
    x = torch.lerp(fake.detach(), real.detach(), share).requires_grad_()
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    norm = (slope.float().square().flatten(1).sum(1) + 1e-12).sqrt()
    return (norm - target).square().mean()


def logit_centring(real: Logits, fake: Logits) -> Scalar:
    """E (D(x) + D(G(z)))²: holds the logits of a relativistic critic, which are free up to a constant, near 0."""
    return (real + fake).float().square().mean()


def transport_cost(x: Float[Tensor, "n *event"], z: Float[Tensor, "n *event"]) -> Scalar:
    """E of the mean over dimensions of (G(z) - z)²: of all maps from noise to data the nearest is preferred.

    Adversarial flow models, 2025, arXiv 2511.22475; noise must have the shape of the data.
    """
    return (x - z).float().square().mean()


class _Normalised(torch.autograd.Function):
    """The identity, whose backward pass divides by a running root mean square of the gradient, times √(its size)."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, square: Tensor, decay: float) -> Tensor:
        ctx.square, ctx.decay = square, decay  # type: ignore[attr-defined]
        return x.view_as(x)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *slopes: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = slopes
        square, decay = ctx.square, ctx.decay  # type: ignore[attr-defined]
        norm = slope.detach().float().square().sum()
        square.copy_(norm if float(square) == 0 else torch.lerp(norm, square, decay))
        return slope / (square * slope.numel()).sqrt().clamp(min=1e-12).to(slope.dtype), None, None


def normalised_gradient(
    x: Float[Tensor, "n *event"], square: Float[Tensor, ""], decay: float = 0.9
) -> Float[Tensor, "n *event"]:
    """x itself; its gradient is divided by √(running |g|² · numel), so that a generator's other terms have the same
    weight whatever the scale of the critic's loss. `square`, a scalar buffer, holds the running |g|² and is updated in
    place.

    Adversarial flow models, 2025, arXiv 2511.22475.
    """
    result: Tensor = _Normalised.apply(x, square, decay)
    return result


def path_length(
    x: Float[Tensor, "n *event"], w: Float[Tensor, "n *code"], mean: Float[Tensor, ""], decay: float = 0.99
) -> Scalar:
    """E (|Jᵀ y| - a)² with y ~ N(0, I) / √(pixels) and a the running mean of |Jᵀ y|, which `mean` holds: equal steps
    in code space change every image equally.

    Karras et al., 2020, arXiv 1912.04958, eq. 4. x is (n, C, H, W) made from w (n, …); `mean` is updated in place.
    """
    places = x.shape[-1] * x.shape[-2] if x.ndim > 2 else x[0].numel()
    y = torch.randn_like(x) / places**0.5
    (slope,) = torch.autograd.grad((x * y).sum(), w, create_graph=True)
    lengths = slope.float().square().flatten(1).sum(1).sqrt()
    with torch.no_grad():
        mean.copy_(torch.lerp(lengths.mean(), mean, decay))
    return (lengths - mean.clone()).square().mean()
