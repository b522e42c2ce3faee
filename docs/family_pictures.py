"""The pictures of the theory pages: `python docs/family_pictures.py` writes docs/families/pictures/NAME.svg.

Each shows how a family makes an item, computed by its formulas from fixed seeds: no model is trained. They are part of
the repository; `python docs/family_pictures.py flow` draws one.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits, make_moons
from sklearn.mixture import GaussianMixture

HERE = Path(__file__).parent / "families" / "pictures"
INK, BLUE, RED, GREY, PALE = "#222222", "#2456a5", "#c23b3b", "#9a9a9a", "#dde6f3"
mpl.rcParams |= {"svg.hashsalt": "pofx", "svg.fonttype": "none", "font.size": 9, "axes.titlesize": 9.5}


def moons(n: int = 300) -> np.ndarray:
    """Two half circles."""
    x = make_moons(n, noise=0.06, random_state=0)[0]
    return np.asarray((x - x.mean(0)) / x.std(0))


def panels(n: int, height: float = 2.3, ratios: Any = None) -> tuple[Figure, Any]:
    """A row of panels without axes."""
    figure = Figure(figsize=(8, height), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, n, width_ratios=ratios))
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
        for side in axis.spines.values():
            side.set_color("#cccccc")
    return figure, axes


def plain(axis: Any) -> None:
    """No frame."""
    for side in axis.spines.values():
        side.set_visible(False)


def box(
    axis: Any, x: float, y: float, text: str, colour: str = PALE, width: float = 0.16, height: float = 0.16
) -> None:
    """A box with a text in its middle, in the unit square."""
    corner, style = (x - width / 2, y - height / 2), "round,pad=0.01"
    axis.add_patch(mpl.patches.FancyBboxPatch(corner, width, height, boxstyle=style, fc=colour, ec=INK, lw=0.8))
    axis.text(x, y, text, ha="center", va="center", color=INK)


def arrow(axis: Any, a: tuple[float, float], b: tuple[float, float], colour: str = INK, bend: float = 0.0) -> None:
    """An arrow from a to b."""
    style = f"arc3,rad={bend}"
    axis.annotate("", b, a, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.0, "connectionstyle": style})


def autoregressive() -> Figure:
    """Pixels in their order, and the distribution of the next one."""
    figure, (chain, known, bars) = panels(3, ratios=(1.5, 1, 1.2))
    plain(chain)
    chain.set_xlim(0, 1)
    chain.set_ylim(0, 1)
    places = np.linspace(0.1, 0.9, 5)
    for i, x in enumerate(places):
        box(chain, x, 0.35, f"$x_{i + 1}$", PALE if i < 4 else "#f6d9d9", 0.11, 0.2)
        for earlier in places[:i]:
            arrow(chain, (earlier, 0.47), (x, 0.47), RED if i == 4 else GREY, -0.45)
    chain.set_title("each part given all earlier ones")
    digits, at = load_digits().images, 27
    flat = digits[3].flatten().copy()
    shown = np.full(64, np.nan)
    shown[:at] = flat[:at]
    known.imshow(shown.reshape(8, 8), cmap="gray", vmin=0, vmax=16)
    known.add_patch(mpl.patches.Rectangle((at % 8 - 0.5, at // 8 - 0.5), 1, 1, fill=False, ec=RED, lw=2))
    known.set_title("known, and the next pixel")
    every = digits.reshape(-1, 64)
    near = np.argsort(np.abs(every[:, :at] - flat[:at]).sum(1))[1:120]  # the digits that begin alike
    counts = np.bincount(every[near, at].astype(int), minlength=17)
    bars.bar(np.arange(17), counts / counts.sum(), color=RED, width=0.8)
    bars.set_title(r"$p(x_{28} \mid x_{<28})$ of its level")
    plain(bars)
    bars.set_xticks([0, 8, 16])
    return figure


def flow() -> Figure:
    """A grid of the base density and where an invertible map takes it."""
    figure, axes = panels(3)
    rng = np.random.default_rng(1)
    z = rng.normal(size=(500, 2))

    def coupling(points: np.ndarray, steps: int) -> np.ndarray:
        x = points.copy()
        if steps > 0:
            x[..., 1] = x[..., 1] * np.exp(-0.35 * np.tanh(x[..., 0])) + 0.45 * x[..., 0] ** 2 - 0.45
        if steps > 1:
            x[..., 0] = x[..., 0] * np.exp(0.25 * np.tanh(x[..., 1])) + 0.9 * np.sin(1.1 * x[..., 1])
        return x

    line, side = np.linspace(-2.5, 2.5, 80), np.linspace(-2.5, 2.5, 11)
    for k, (axis, title) in enumerate(zip(axes, ("base $z$", "after one layer", "$x = f(z)$"), strict=True)):
        for s in side:
            for lines in (np.stack((np.full_like(line, s), line), -1), np.stack((line, np.full_like(line, s)), -1)):
                axis.plot(*coupling(lines, k).T, color=GREY, lw=0.5, rasterized=True)
        axis.scatter(*coupling(z, k).T, s=3, color=BLUE, linewidths=0, rasterized=True)
        axis.set_title(title)
        axis.set_aspect("equal")
        axis.set_xlim(-4, 4)
        axis.set_ylim(-3.2, 4.2)
    return figure


def vae() -> Figure:
    """Boxes of the two networks, and posteriors beside the prior."""
    figure, (boxes, codes) = panels(2, ratios=(2, 1))
    plain(boxes)
    boxes.set_xlim(0, 1)
    boxes.set_ylim(0, 1)
    names = ("$x$", "encoder\n$q(z \\mid x)$", "$z$", "decoder\n$p(x \\mid z)$", "$x'$")
    places = np.linspace(0.07, 0.93, 5)
    for x, text in zip(places, names, strict=True):
        box(boxes, x, 0.55, text, "#f6d9d9" if len(text) < 6 else PALE, 0.1 if len(text) < 6 else 0.17, 0.28)
    for a, b in zip(places[:-1], places[1:], strict=True):
        arrow(boxes, (a + (0.06 if a in places[::2] else 0.1), 0.55), (b - (0.1 if a in places[::2] else 0.06), 0.55))
    boxes.text(0.5, 0.12, r"log p(x) ≥ E$_q$[log p(x | z)] − KL(q(z | x) ‖ p(z))", ha="center", color=INK)
    rng, turn = np.random.default_rng(0), np.linspace(0, 2 * np.pi, 60)
    for radius in (1, 2):
        codes.plot(radius * np.cos(turn), radius * np.sin(turn), color=GREY, lw=1.0, ls="--")
    for colour in (BLUE, RED, "#3b8f4a"):
        centre = rng.normal(0, 1, 2)
        for _ in range(5):
            at, width = centre + rng.normal(0, 0.25, 2), rng.uniform(0.12, 0.3, 2)
            codes.fill(at[0] + width[0] * np.cos(turn), at[1] + width[1] * np.sin(turn), color=colour, alpha=0.35)
    codes.set_aspect("equal")
    codes.set_title("posteriors, and the prior")
    return figure


def gan() -> Figure:
    """A critic between two densities, before and after the generator has moved."""
    figure, (boxes, early, late) = panels(3, ratios=(1.4, 1, 1))
    plain(boxes)
    boxes.set_xlim(0, 1)
    boxes.set_ylim(0, 1)
    box(boxes, 0.1, 0.7, "$z$", "#f6d9d9", 0.12, 0.18)
    box(boxes, 0.4, 0.7, "generator", PALE, 0.26, 0.18)
    box(boxes, 0.4, 0.25, "data", "#f6d9d9", 0.26, 0.18)
    box(boxes, 0.85, 0.47, "critic", PALE, 0.2, 0.18)
    arrow(boxes, (0.17, 0.7), (0.26, 0.7))
    arrow(boxes, (0.54, 0.68), (0.74, 0.52))
    arrow(boxes, (0.54, 0.28), (0.74, 0.42))
    arrow(boxes, (0.85, 0.58), (0.5, 0.83), RED, 0.35)
    boxes.text(0.72, 0.9, "gradient", color=RED, ha="center")
    x = np.linspace(-4, 4, 300)
    p = 0.5 * np.exp(-0.5 * ((x + 1.2) / 0.6) ** 2) / 0.6 + 0.5 * np.exp(-0.5 * ((x - 1.4) / 0.7) ** 2) / 0.7
    for axis, centre, title in ((early, 2.6, "early"), (late, 0.4, "later")):
        q = np.exp(-0.5 * ((x - centre) / (0.7 if centre > 1 else 1.4)) ** 2) / (0.7 if centre > 1 else 1.4)
        axis.fill_between(x, p, color=BLUE, alpha=0.25, lw=0)
        axis.plot(x, p, color=BLUE, label="data")
        axis.plot(x, q, color=RED, label="samples")
        axis.plot(x, p / (p + q + 1e-9), color=INK, lw=0.8, ls="--", label="D(x)")
        axis.set_title(title)
        axis.set_ylim(0, 1.7)
    early.legend(fontsize=7, frameon=False, loc="upper left")
    return figure


def diffusion() -> Figure:
    """Data under ever more noise."""
    figure, axes = panels(5, 1.9)
    x, e = moons(), np.random.default_rng(0).normal(size=(300, 2))
    for axis, t in zip(axes, (0.0, 0.15, 0.4, 0.7, 1.0), strict=True):
        axis.scatter(*((1 - t) * x + t * e).T, s=3, color=BLUE, linewidths=0, rasterized=True)
        axis.set_title(f"t = {t:g}")
        axis.set_aspect("equal")
        axis.set_xlim(-3, 3)
        axis.set_ylim(-3, 3)
    figure.suptitle("noise is added  →          ←  a network removes it, step by step", fontsize=9.5, color=INK)
    return figure


def energy() -> Figure:
    """An energy with two valleys, chains of Langevin steps, and the density."""
    figure, (landscape, density) = panels(2, 2.6, (1, 1))
    side = np.linspace(-2.6, 2.6, 60)
    u, v = np.meshgrid(side, side)

    def potential(a: Any, b: Any) -> Any:
        return 0.6 * (a**2 - 1.6) ** 2 + 1.2 * (b - 0.5 * a) ** 2

    def slope(a: Any, b: Any) -> Any:
        return np.stack((2.4 * a * (a**2 - 1.6) - 1.2 * (b - 0.5 * a), 2.4 * (b - 0.5 * a)), -1)

    landscape.contour(u, v, potential(u, v), levels=np.linspace(0.1, 8, 9), colors=GREY, linewidths=0.6)
    rng = np.random.default_rng(3)
    for colour, start in ((BLUE, (-2.2, 2.2)), (RED, (2.3, -1.8)), ("#3b8f4a", (0.1, -2.2))):
        path = [np.array(start)]
        for _ in range(160):
            now = path[-1]
            path.append(now - 0.01 * slope(*now) + np.sqrt(0.02) * 0.7 * rng.normal(size=2))
        landscape.plot(*np.array(path).T, color=colour, lw=0.7, rasterized=True)
        landscape.plot(*start, "o", color=colour, ms=3)
    landscape.set_title("Langevin chains in an energy E(x)")
    density.imshow(np.exp(-potential(u, v)), origin="lower", cmap="Blues", extent=(-2.6, 2.6, -2.6, 2.6))
    density.set_title("p(x) = exp(−E(x)) / Z")
    for axis in (landscape, density):
        axis.set_aspect("equal")
    return figure


def mixture() -> Figure:
    """Gaussians fitted to two half circles, and a kernel at every item."""
    figure, (ellipses, kernels, rows) = panels(3, 2.5)
    x = moons()
    fitted = GaussianMixture(8, random_state=0).fit(x)
    side = np.linspace(-2.6, 2.6, 100)
    grid = np.stack(np.meshgrid(side, side), -1)
    flat = grid.reshape(-1, 2)
    how: dict[str, Any] = {"origin": "lower", "cmap": "Blues", "extent": (-2.6, 2.6, -2.6, 2.6)}
    ellipses.imshow(np.exp(fitted.score_samples(flat)).reshape(100, 100), **how)
    turn = np.linspace(0, 2 * np.pi, 60)
    for mean, covariance in zip(fitted.means_, fitted.covariances_, strict=True):
        ring = mean + 2 * np.stack((np.cos(turn), np.sin(turn)), -1) @ np.linalg.cholesky(covariance).T
        ellipses.plot(*ring.T, color=RED, lw=0.8)
    ellipses.set_title("gmm: eight Gaussians")
    distances = ((flat[:, None] - x[None]) ** 2).sum(-1)
    kernels.imshow(np.exp(-0.5 * distances / 0.02).mean(1).reshape(100, 100), **how)
    kernels.plot(*x.T, ".", color=RED, ms=1.5, rasterized=True)
    kernels.set_title("kde: a kernel at each item")
    edges = np.linspace(-2.6, 2.6, 41)
    marginals = [np.histogram(x[:, k], edges, density=True)[0] for k in (0, 1)]
    rows.imshow(np.outer(marginals[1], marginals[0]), **how)
    rows.set_title("independent: the floor")
    for axis in (ellipses, kernels, rows):
        axis.set_aspect("equal")
    return figure


def circuit() -> Figure:
    """Sums and products over leaves, and what marginalisation does to them."""
    figure, axes = panels(2, 2.8)
    for axis, title, summed in zip(axes, ("p(a, b)", "p(a): leaves of b are 1"), (False, True), strict=True):
        plain(axis)
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 1)
        axis.set_title(title)
        root, products = (0.5, 0.88), ((0.25, 0.56), (0.75, 0.56))
        leaves = ((0.12, 0.18), (0.38, 0.18), (0.62, 0.18), (0.88, 0.18))
        for k, at in enumerate(products):
            arrow(axis, (at[0], at[1] + 0.08), (root[0] + (0.05 if k else -0.05), root[1] - 0.07))
            axis.text((root[0] + at[0]) / 2 + (0.06 if k else -0.06), 0.74, f"$w_{k + 1}$", ha="center", color=RED)
            for leaf in leaves[2 * k : 2 * k + 2]:
                arrow(axis, (leaf[0], leaf[1] + 0.09), (at[0], at[1] - 0.08))
        for at, text in ((root, "+"), *((one, "×") for one in products)):
            axis.add_patch(mpl.patches.Circle(at, 0.07, fc=PALE, ec=INK, lw=0.8))
            axis.text(*at, text, ha="center", va="center", fontsize=12)
        for k, at in enumerate(leaves):
            gone = summed and k % 2
            text = "1" if gone else f"$p_{k // 2 + 1}({'ab'[k % 2]})$"
            box(axis, *at, text, "#eeeeee" if gone else "#f6d9d9", 0.17, 0.15)
    return figure


DRAWN: dict[str, Callable[[], Figure]] = {
    f.__name__: f for f in (autoregressive, circuit, diffusion, energy, flow, gan, mixture, vae)
}


def main(names: list[str]) -> None:
    """Write the pictures of these names, or all."""
    HERE.mkdir(exist_ok=True)
    for name in names or list(DRAWN):
        DRAWN[name]().savefig(HERE / f"{name}.svg", dpi=110, metadata={"Date": None, "Creator": "pofx"})
        print(HERE / f"{name}.svg", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
