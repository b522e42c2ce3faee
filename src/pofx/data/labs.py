"""Generated laboratories with known truth: cells under perturbations, and what each cell would have been otherwise.

Every lab is a structural causal model x = f(condition, noise): its columns, in causal order, each rise with a noise of
their own, so that a counterfactual is the same noise under another condition (Pearl, 2009), known exactly. Written from
the textbook equations: the toggle switch (Gardner, Cantor and Collins, 2000), an epidemic (Kermack and McKendrick,
1927), enzyme kinetics with a competitive inhibitor (Michaelis and Menten, 1913), and a network of genes with Hill
functions. Values are logarithms.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Lab:
    """A lab: `outcome` turns conditions (n rows) and standard normal noise (n, d) into cells (n, d)."""

    name: str
    columns: tuple[str, ...]
    settings: Mapping[str, tuple[float, ...]]  # of the condition, by name: the first is the control
    outcome: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def conditions(self) -> pd.DataFrame:
        """Every combination of settings."""
        grid = np.stack(np.meshgrid(*self.settings.values(), indexing="ij"), -1).reshape(-1, len(self.settings))
        return pd.DataFrame(grid, columns=list(self.settings))

    def cells(self, condition: pd.DataFrame, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """A cell for each row of conditions, and its noise."""
        noise = np.random.default_rng(seed).standard_normal((len(condition), len(self.columns)))
        return self.outcome(condition.to_numpy(np.float64), noise), noise


def _toggle(c: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Two genes that repress each other; an inducer weakens the second one's repression of the first."""
    inducer = c[:, 0]
    rates = np.exp(0.2 * u[:, :2]) * np.array([4.0, 4.0])
    a, b = np.full(len(c), 0.5), np.full(len(c), 2.0)
    for _ in range(120):  # to the steady state
        a = a + 0.2 * (rates[:, 0] / (1 + (b / (1 + inducer)) ** 2) - a)
        b = b + 0.2 * (rates[:, 1] / (1 + a**2) - b)
    final = np.log(np.stack((a, b), 1)) + 0.15 * u[:, 2:]
    return np.concatenate((np.log(rates), final), 1)


def _epidemic(c: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Contacts, recovery, the peak and the final size of an epidemic under distancing."""
    beta, gamma = 0.5 * (1 - c[:, 0]) * np.exp(0.2 * u[:, 0]), 0.2 * np.exp(0.15 * u[:, 1])
    s, i = np.full(len(c), 0.99), np.full(len(c), 0.01)
    peak = i.copy()
    for _ in range(300):
        new = beta * s * i
        s, i = s - new, i + new - gamma * i
        peak = np.maximum(peak, i)
    return np.stack((np.log(beta), np.log(gamma), np.log(peak) + 0.1 * u[:, 2], np.log(1 - s) + 0.05 * u[:, 3]), 1)


def _enzyme(c: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Enzyme, substrate, rate and product with a competitive inhibitor, and an inducer of the enzyme."""
    inhibitor, inducer = c.T
    enzyme = (1 + inducer) * np.exp(0.3 * u[:, 0])
    substrate = 2 * np.exp(0.4 * u[:, 1])
    rate = enzyme * substrate / (1.0 * (1 + inhibitor / 0.5) + substrate) * np.exp(0.1 * u[:, 2])
    product = rate * np.exp(0.15 * u[:, 3]) / (0.3 + 0.1 * enzyme)
    return np.log(np.stack((enzyme, substrate, rate, product), 1))


def _genes(c: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Five genes: the first drives the second and third, these the fourth together, which represses the fifth."""
    drug, knock = c.T

    def hill(x: np.ndarray, k: float) -> np.ndarray:
        return x**2 / (k**2 + x**2)

    first = np.exp(0.4 * u[:, 0])
    second = (0.1 + 2 * hill(first, 1.0) * (1 - 0.9 * knock)) * np.exp(0.2 * u[:, 1])
    third = (0.2 + 1.5 * hill(first, 0.7) / (1 + drug)) * np.exp(0.2 * u[:, 2])
    fourth = (0.1 + 3 * hill(second, 0.8) * hill(third, 0.5)) * np.exp(0.2 * u[:, 3])
    fifth = (0.1 + 2 / (1 + (fourth / 0.5) ** 2)) * np.exp(0.2 * u[:, 4])
    return np.log(np.stack((first, second, third, fourth, fifth), 1))


LABS = {
    lab.name: lab
    for lab in (
        Lab("toggle-switch", ("rate a", "rate b", "a", "b"), {"inducer": (0.0, 0.25, 0.5, 1.0, 2.0)}, _toggle),
        Lab(
            "epidemic",
            ("contacts", "recovery", "peak", "final size"),
            {"distancing": (0.0, 0.1, 0.2, 0.3, 0.4)},
            _epidemic,
        ),
        Lab(
            "enzyme",
            ("enzyme", "substrate", "rate", "product"),
            {"inhibitor": (0.0, 0.5, 1.0, 2.0), "inducer": (0.0, 1.0)},
            _enzyme,
        ),
        Lab(
            "genes",
            ("g1", "g2", "g3", "g4", "g5"),
            {"drug": (0.0, 1.0, 2.0, 4.0), "knock-out": (0.0, 1.0)},
            _genes,
        ),
    )
}
