"""A perceptron whose Lipschitz constant in x is below a coefficient < 1, and that carries tangents along.

Every weight is divided by its largest singular value where that exceeds the layer's share of the coefficient (Miyato et
al., 2018, arXiv 1802.05957; Gouk et al., 2021, arXiv 1804.04368); the activation is LipSwish, x sigmoid(beta x) / 1.1,
whose slope is at most 1 and whose second derivative does not vanish where the slope is largest (Chen et al., 2019,
arXiv 1906.02735, section 3.3). A context is added before the activations, which leaves the constant in x as it is.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

_SWISH = 1.1  # above the largest slope of x sigmoid(beta x), 1.0998, for every beta
_MOST = 500


class LipschitzLinear(nn.Module):
    """A linear layer whose weight's largest singular value is at most `coefficient`.

    The singular value is found by power iteration from the last singular vector on, to a relative change of 1e-5 a
    step, and counted 1 % higher than found, for the iteration nears it from below: two singular values that lie so near
    each other that the iteration stops between them differ by less.
    """

    u: Tensor

    def __init__(self, inputs: int, outputs: int, coefficient: float) -> None:
        super().__init__()
        self.coefficient = coefficient
        self.linear = nn.Linear(inputs, outputs)
        self.register_buffer("u", nn.functional.normalize(torch.randn(outputs), dim=0))

    @torch.no_grad()
    def _singular(self) -> tuple[Float[Tensor, "outputs"], Float[Tensor, "inputs"]]:
        """The first pair of singular vectors; stored in training, so that the next step starts from it."""
        weight, u = self.linear.weight, self.u
        before = 0.0
        for _ in range(_MOST):
            v = nn.functional.normalize(weight.T @ u, dim=0)
            pushed = weight @ v
            sigma = float(pushed.norm())
            u = pushed / max(sigma, 1e-12)
            if abs(sigma - before) <= 1e-5 * sigma:
                break
            before = sigma
        if self.training:
            self.u.copy_(u)
        return u, v

    def weight(self) -> Float[Tensor, "outputs inputs"]:
        """The weight, scaled down where it is too large."""
        weight: Tensor = self.linear.weight
        u, v = self._singular()
        sigma = 1.01 * (u @ (weight @ v))
        return weight * (self.coefficient / torch.maximum(sigma, sigma.new_tensor(self.coefficient)))


class LipschitzMLP(nn.Module):
    """x (n, d) → g(x) (n, d) with |g(x) - g(y)| ≤ coefficient |x - y|, and J u for each tangent u of x."""

    def __init__(self, features: int, width: int, depth: int, coefficient: float, *, context: int = 0) -> None:
        super().__init__()
        sizes = [features, *[width] * depth, features]
        share = coefficient ** (1 / (depth + 1))
        self.layers = nn.ModuleList(LipschitzLinear(a, b, share) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        self.sharpness = nn.Parameter(torch.full((depth,), 0.5))
        self.given = nn.Linear(context, depth * width) if context else None

    def weights(self) -> list[Tensor]:
        """The scaled weights, found once for many calls."""
        return [layer.weight() for layer in self.layers if isinstance(layer, LipschitzLinear)]

    def forward(
        self,
        x: Float[Tensor, "n d"],
        context: Float[Tensor, "n context"] | None = None,
        tangents: Float[Tensor, "k n d"] | None = None,
        weights: list[Tensor] | None = None,
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "k n d"] | None]:
        weights = self.weights() if weights is None else weights
        shifts = None
        if self.given is not None and context is not None:
            shifts = self.given(context).chunk(len(weights) - 1, -1)
        h, moved = x, tangents
        for i, (layer, weight) in enumerate(zip(self.layers, weights, strict=True)):
            assert isinstance(layer, LipschitzLinear)
            h = nn.functional.linear(h, weight, layer.linear.bias)
            moved = None if moved is None else moved @ weight.T
            if i == len(weights) - 1:
                break
            if shifts is not None:
                h = h + shifts[i]
            beta = softplus(self.sharpness[i])
            s = torch.sigmoid(beta * h)
            if moved is not None:
                moved = moved * ((s + beta * h * s * (1.0 - s)) / _SWISH)
            h = h * s / _SWISH
        return h, moved
