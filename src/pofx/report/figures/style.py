"""The ink of all figures: colours, style, axes, names beside points, and SVG that takes its colours from the page.

Plots are drawn with matplotlib; colours of text and lines become CSS variables, so that one file reads well in light
and in dark.
"""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

INK, FAINT = "#010203", "#040506"  # stand-ins, replaced by the page's colours
PALETTE = ("#3b78d0", "#dd7a24", "#2d9d78", "#cf4a5e", "#8862cf", "#9c7040", "#1d9ab3", "#c75aa3", "#8d9422", "#5c6bc0")
FAMILIES = ("autoregressive", "flow", "vae", "gan", "diffusion", "energy", "mixture")
GREY = "#858b98"
PIXELS = 128  # of an inch of a figure, at most
STYLE: Any = {
    "svg.fonttype": "none",
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
}


def colours(rows: Sequence[tuple[str, str, str]]) -> dict[str, str]:
    """A colour per (name, family, role): the first member of a family has its family's, controls are grey."""
    taken: dict[str, str] = {}
    spare = iter([c for i, c in enumerate(PALETTE) if i >= len(FAMILIES)] * (1 + len(rows)))
    for name, family, role in rows:
        own = PALETTE[FAMILIES.index(family)] if family in FAMILIES else ""
        if role == "control":
            taken[name] = GREY
        else:
            taken[name] = own if own and own not in taken.values() else next(spare)
    return taken


def svg(figure: Figure, salt: str) -> str:
    """A figure as inline SVG without metadata, name spaces or fixed ink."""
    figure.patch.set_alpha(0)
    for axes in figure.axes:
        axes.patch.set_alpha(0)
    out = io.StringIO()
    with rc_context({**STYLE, "svg.hashsalt": salt}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    most = round(PIXELS * figure.get_figwidth())  # letters of one size in all figures
    text = text.replace("<svg", f'<svg style="max-width:{most}px"', 1)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'(<svg[^>]*?)\swidth="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?)\sheight="[^"]*"', r"\1", text, count=1))
    text = re.sub(r"font: ([^;\"]*?)'[^;\"]*", r"font: \1var(--sans)", text)
    ids = re.sub(r"\W", "", salt)
    text = re.sub(r'(\sid="|="#|url\(#)', rf"\g<1>{ids}-", text)
    return text.replace(INK, "var(--ink)").replace(FAINT, "var(--line)")


def log(axis: Axis, subs: tuple[int, ...] = (1,)) -> None:
    """Plain numbers on a logarithmic axis."""
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}" if value < 1e6 else f"{value:.0e}"))


def empty(axes: Axes) -> None:
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)


def wide_range(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis where the values span more than a factor of thirty."""
    if values and min(values) > 0 and max(values) / min(values) > 30:
        axes.set_xscale("log")
        log(axes.xaxis)


def label(figure: Figure, axes: Axes, points: Mapping[str, tuple[float, float]], ink: Mapping[str, str]) -> None:
    """A name beside each point, on the first side where it covers no other point or name."""
    figure.draw_without_rendering()
    at = {name: axes.transData.transform(xy) for name, xy in points.items()}
    scale = figure.dpi / 72
    taken: list[tuple[float, float, float, float]] = []

    def box(name: str, side: tuple[float, float, str]) -> tuple[float, float, float, float]:
        dx, dy, align = side
        width = 6.2 * scale * len(name)
        left = at[name][0] + dx * scale - (width if align == "right" else 0)
        return (left, at[name][1] + dy * scale - 2, left + width, at[name][1] + (dy + 11) * scale)

    def clash(name: str, side: tuple[float, float, str]) -> float:
        a = box(name, side)
        boxes = [*taken, *((x - 6, y - 6, x + 6, y + 6) for other, (x, y) in at.items() if other != name)]
        over = [(min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])) for b in boxes]
        outside: float = max(0.0, a[2] - figure.bbox.width) + max(0.0, -a[0])
        return float(sum(max(0.0, w) * max(0.0, h) for w, h in over) + 100 * outside)

    sides = [(8.0, -4.0, "left"), (-8.0, -4.0, "right"), (8.0, 7.0, "left"), (8.0, -16.0, "left"),
             (-8.0, 7.0, "right"), (-8.0, -16.0, "right")]  # fmt: skip
    for name in sorted(points, key=lambda n: at[n][0]):
        side = min(sides, key=lambda s: clash(name, s))
        taken.append(box(name, side))
        axes.annotate(name, points[name], side[:2], textcoords="offset points", ha=side[2], color=ink[name],
                      fontweight="bold", fontsize=9.5)  # fmt: skip
