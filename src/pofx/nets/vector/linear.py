"""The layer y = W x + b."""

from jaxtyping import Float
from torch import Tensor, nn

from pofx.maths.products import linear


class Linear(nn.Linear):
    """`torch.nn.Linear`, multiplied by the faster library, with what `linear` does right after."""

    def forward(
        self,
        input: Float[Tensor, "*rows inputs"],
        onto: Float[Tensor, "*rows outputs"] | None = None,
        *,
        relu: bool = False,
        by_unit: bool = False,
    ) -> Float[Tensor, "*rows outputs"]:
        """(…, inputs) → (…, outputs)."""
        return linear(input, self.weight, self.bias, onto, relu=relu, by_unit=by_unit)
