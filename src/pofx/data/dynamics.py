"""Two noisy dynamical systems whose possible futures are known: simulate on from the state, as often as one likes.

Lorenz's convection (1963) with additive noise, and the prey and predators of Lotka and Volterra with noise on their
logarithms; both by Euler and Maruyama's scheme with a step so small that it does not matter for a forecast.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Dynamics:
    """A system dx = drift(x) dt + noise dW, observed every `step` without error.

    Attributes:
        inner: steps of the scheme between two observations.
        start: a state from which it runs in.
        exposed: states → what is observed.
    """

    name: str
    channels: tuple[str, ...]
    drift: Callable[[np.ndarray], np.ndarray]
    noise: float
    step: float
    inner: int
    start: tuple[float, ...]
    season: int  # steps of one turn, about

    def simulate(self, state: np.ndarray, steps: int, generator: np.random.Generator) -> np.ndarray:
        """Paths (n, steps, d) that go on from states (n, d)."""
        x, dt, found = np.array(state, np.float64), self.step / self.inner, []
        for _ in range(steps):
            for _ in range(self.inner):
                x = x + self.drift(x) * dt + self.noise * np.sqrt(dt) * generator.standard_normal(x.shape)
            found.append(x)
        return np.stack(found, 1)

    def series(self, steps: int, seed: int = 0, warm: int = 200) -> np.ndarray:
        """One long path (steps, d)."""
        generator = np.random.default_rng(seed)
        return np.asarray(self.simulate(np.array([self.start]), steps + warm, generator)[0, warm:])

    def futures(self, states: np.ndarray, n: int, horizon: int, seed: int = 0) -> np.ndarray:
        """The exact ensemble: n paths (states, n, horizon, d) from each state (states, d)."""
        generator = np.random.default_rng(seed)
        paths = self.simulate(np.repeat(states, n, 0), horizon, generator)
        return np.asarray(paths.reshape(len(states), n, horizon, -1))


def _lorenz(x: np.ndarray) -> np.ndarray:
    a, b, c = x.T
    return np.stack((10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c), 1)


def _lotka_volterra(x: np.ndarray) -> np.ndarray:
    """In logarithms: each grows or shrinks at a rate that the other sets."""
    prey, predator = np.exp(x).T
    return np.stack((1.0 - predator, prey - 1.0), 1) - 0.02 * x


SYSTEMS = {
    "lorenz": Dynamics("lorenz", ("x", "y", "z"), _lorenz, 2.0, 0.05, 10, (1.0, 1.0, 20.0), 15),
    "lotka-volterra": Dynamics(
        "lotka-volterra", ("log prey", "log predators"), _lotka_volterra, 0.15, 0.5, 25, (0.5, 0.0), 13
    ),
}
