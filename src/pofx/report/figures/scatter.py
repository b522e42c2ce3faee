"""Two columns of samples over those of real items."""

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from pofx.report.figures.style import GREY, STYLE, svg


def scatter(points: np.ndarray, real: np.ndarray | None, colour: str, limits: tuple[float, ...], name: str) -> str:
    """Two columns of samples over those of real data, as SVG; limits are (left, right, bottom, top)."""
    with rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(2.5, 2.5))
        axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
        if real is not None:
            axes.scatter(real[:, 0], real[:, 1], s=5, color=GREY, alpha=0.35, linewidths=0, rasterized=True)
        axes.scatter(points[:, 0], points[:, 1], s=5, color=colour, alpha=0.6, linewidths=0, rasterized=True)
        axes.set_xlim(limits[0], limits[1])
        axes.set_ylim(limits[2], limits[3])
        axes.set_xticks([])
        axes.set_yticks([])
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        figure.set_dpi(150)
        return svg(figure, f"scatter-{name}")
