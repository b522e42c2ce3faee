"""A denoiser with its condition, guided: denoise(x_t, t) = E[x | x_t] of standardised x, as samplers take it."""

from jaxtyping import Float
from torch import Tensor

from pofx.core.event import Condition
from pofx.families.diffusion.denoiser import Context, Denoiser
from pofx.maths.guidance import mixed, rescaled, thresholded
from pofx.maths.paths import Path, angle


class GuidedWalk:
    """Classifier-free guidance (Ho and Salimans, 2022, arXiv 2207.12598): unconditional + weight (conditional -
    unconditional), between the times of `interval`.

    rescale: share by which the guided estimate gets the plain one's spread; threshold: "static" or "dynamic" keeps the
    estimate in [-1, 1] of the event.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        condition: Condition | None,
        path: Path,
        *,
        weight: float = 1.0,
        rescale: float = 0.0,
        interval: tuple[float, ...] = (0.0, 1.0),
        threshold: str = "none",
    ) -> None:
        self.denoiser, self.path, self.rescale = denoiser, path, rescale
        self.weight = weight if condition is not None else 1.0
        self.interval, self.threshold = interval, threshold
        self.wanted = denoiser.embed(condition)
        self.free = None if self.weight == 1.0 or self.wanted is None else denoiser.free(len(self.wanted))
        self.last: Tensor | None = None

    def spread(self) -> Tensor:
        """Where the variance of a random step lay at the last call, in [0, 1]."""
        assert self.last is not None
        return self.last

    def __call__(self, x: Float[Tensor, "n *event"], t: Float[Tensor, "*n"]) -> Float[Tensor, "n *event"]:
        point = self.path(t)
        wide = (-1, *[1] * (x.ndim - 1)) if t.ndim else ()
        phi = angle(point)
        cos, sin, angles = phi.cos().reshape(wide), phi.sin().reshape(wide), phi.expand(len(x))
        x = x / (point.alpha**2 + point.sigma**2).sqrt().reshape(wide)

        def data(context: Context | None) -> Tensor:
            out, self.last = self.denoiser.estimate(x, angles, context)
            return cos * x - sin * out

        low, high = self.interval
        weight = self.weight if low <= float(t.flatten()[0]) <= high else 1.0
        if weight == 1.0:
            found = data(self.wanted)
        elif weight == 0.0:
            found = data(self.free)
        else:
            weak, strong = data(self.free), data(self.wanted)
            found = mixed(weak, strong, weight)
            found = rescaled(found, strong, self.rescale) if self.rescale else found
        if self.threshold == "none":
            return found
        net = self.denoiser
        return net.standardised(thresholded(net.restored(found), dynamic=self.threshold == "dynamic"))
