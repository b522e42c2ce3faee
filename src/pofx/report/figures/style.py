"""The ink of all figures: colours, style, axes, names beside points, and SVG that takes its colours from the page.

Plots are drawn with matplotlib; colours of text and lines become CSS variables, so that one file reads well in light
and in dark.
"""

import io
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from pofx.report.numbers import short

INK, FAINT = "#010203", "#040506"  # stand-ins, replaced by the page's colours
PALETTE = ("#3b78d0", "#dd7a24", "#2d9d78", "#cf4a5e", "#8862cf", "#9c7040", "#1d9ab3", "#c75aa3", "#8d9422", "#5c6bc0")
GREY = "#858b98"
SUBS = ((1, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,))  # labelled multiples of the powers of ten
LETTER = 5.4  # points, the width of a digit of a tick
PIXELS = 128  # of an inch of a figure, at most
NARROW = 640  # pixels below which a figure of many panels is not shrunk: it scrolls
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
    """A colour per (name, family, role): the first member of a family has its family's, controls are grey.

    The colour of a family follows from its name, so that it is the same in every report where no other took it first.
    """
    taken: dict[str, str] = {}
    free = list(PALETTE)
    for first in (True, False):
        families: set[str] = set()
        for name, family, role in rows:
            if role == "control":
                taken[name] = GREY
            elif first and family and family not in families:
                families.add(family)
                start = zlib.crc32(family.encode()) % len(PALETTE)
                order = [*PALETTE[start:], *PALETTE[:start]]
                taken[name] = next((c for c in order if c in free), order[0])
                if taken[name] in free:
                    free.remove(taken[name])
            elif not first and name not in taken:
                taken[name] = free.pop(0) if free else PALETTE[len(taken) % len(PALETTE)]
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
    text = text.replace("<svg", f'<svg style="max-width:{most}px;--least:{min(most, NARROW)}px"', 1)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'(<svg[^>]*?)\swidth="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?)\sheight="[^"]*"', r"\1", text, count=1))
    text = re.sub(r"font: ([^;\"]*?)'[^;\"]*", r"font: \1var(--sans)", text)
    ids = re.sub(r"\W", "", salt)
    text = re.sub(r'(\sid="|="#|url\(#)', rf"\g<1>{ids}-", text)
    return text.replace(INK, "var(--ink)").replace(FAINT, "var(--line)")


def log(axis: Axis, values: Sequence[float]) -> None:
    """Plain numbers on a logarithmic axis, as many as fit; at least three where the values span little."""
    spread = max(values) / min(values) if values and min(values) > 0 else 1.0
    least = 0 if spread < 4 else 1 if spread < 20 else 2 if spread < 300 else 4
    subs = next((s for s in SUBS[least:] if _apart(axis, values, s)), SUBS[-1])
    axis.set_major_locator(LogLocator(subs=subs, numticks=20))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def _apart(axis: Axis, values: Sequence[float], subs: Sequence[int]) -> bool:
    """Whether the numbers of a logarithmic axis lie apart, at the size that its panel has in the grid."""
    if not values or min(values) <= 0 or axis is axis.axes.yaxis:
        return True
    low, high = math.log10(min(values)), math.log10(max(values))
    ticks = [s * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for s in subs]
    ticks = [t for t in ticks if low - 0.05 <= math.log10(t) <= high + 0.05]
    points = axis.axes.bbox.width / axis.axes.figure.dpi * 72 / (high - low + 0.1)  # of one decade
    return all(
        points * math.log10(b / a) > LETTER * (len(short(a)) + len(short(b)) + 2) / 2
        for a, b in zip(ticks, ticks[1:], strict=False)
    )


def empty(axes: Axes) -> None:
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)


def wide_range(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis where the values span more than a factor of thirty."""
    if values and min(values) > 0 and max(values) / min(values) > 30:
        axes.set_xscale("log")
        log(axes.xaxis, values)


def label(
    figure: Figure,
    axes: Axes,
    points: Mapping[str, tuple[float, float]],
    ink: Mapping[str, str],
    bars: Sequence[tuple[tuple[float, float], tuple[float, float]]] = (),
) -> None:
    """A name beside each point, where it covers no other name, point or bar; a thin line leads to one that is far.

    Args:
        bars: the ends of intervals, in data coordinates.
    """
    figure.draw_without_rendering()
    scale = figure.dpi / 72
    at = {name: axes.transData.transform(xy) for name, xy in points.items()}
    inside = axes.get_window_extent()
    boxes = [(x - 6 * scale, y - 6 * scale, x + 6 * scale, y + 6 * scale) for x, y in at.values()]
    for a, b in bars:
        (x0, y0), (x1, y1) = axes.transData.transform(a), axes.transData.transform(b)
        boxes.append((min(x0, x1) - scale, min(y0, y1) - scale, max(x0, x1) + scale, max(y0, y1) + scale))

    def box(name: str, dx: float, dy: float) -> tuple[float, float, float, float]:
        width = 6.4 * scale * len(name)
        left = at[name][0] + dx * scale - (width if dx < 0 else 0 if dx > 0 else width / 2)
        low = at[name][1] + (dy - 5) * scale
        return left, low, left + width, low + 11 * scale

    def cost(name: str, dx: float, dy: float) -> float:
        a = box(name, dx, dy)
        over = sum(
            max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1])) for b in boxes
        )
        outside = max(0.0, a[2] - inside.x1) + max(0.0, inside.x0 - a[0])
        outside += max(0.0, a[3] - inside.y1) + max(0.0, inside.y0 - a[1])
        return over + 60 * scale * outside + 0.6 * math.hypot(dx, dy) * scale

    places = [
        (radius * math.cos(turn), radius * math.sin(turn))
        for radius in (11, 19, 29, 41, 55, 71)
        for turn in (i * math.pi / 8 for i in (0, 8, 1, 15, 7, 9, 2, 14, 6, 10, 3, 13, 5, 11, 4, 12))
    ]
    for name in sorted(points, key=lambda n: -at[n][1]):
        dx, dy = min(places, key=lambda place: cost(name, *place))
        boxes.append(box(name, dx, dy))
        line = {"arrowstyle": "-", "color": ink.get(name, GREY), "lw": 0.6, "alpha": 0.7, "shrinkA": 0, "shrinkB": 3}
        side = "right" if dx < 0 else "left" if dx > 0 else "center"
        axes.annotate(name, points[name], (dx, dy), textcoords="offset points", ha=side, va="center",
                      color=ink.get(name, GREY), fontweight="bold", fontsize=9,
                      arrowprops=line if math.hypot(dx, dy) > 20 else None)  # fmt: skip
