"""Figures: vector plots that take their ink from the page, and sample grids as small PNGs.

Plots are drawn with matplotlib as SVG; colours of text and lines become CSS variables, so that one file reads well in
light and in dark. Grids keep one image pixel per pixel and are enlarged by the browser.
"""

import base64
import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from PIL import Image

from pofx.report.rows import Number

INK, FAINT = "#010203", "#040506"  # stand-ins, replaced by the page's colours
PALETTE = ("#3b78d0", "#dd7a24", "#2d9d78", "#cf4a5e", "#8862cf", "#9c7040", "#1d9ab3", "#c75aa3", "#8d9422", "#5c6bc0")
FAMILIES = ("autoregressive", "flow", "vae", "gan", "diffusion", "energy", "mixture")
GREY = "#858b98"
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
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'(<svg[^>]*?)\swidth="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?)\sheight="[^"]*"', r"\1", text, count=1))
    text = re.sub(r"font: ([^;\"]*?)'[^;\"]*", r"font: \1var(--sans)", text)
    ids = re.sub(r"\W", "", salt)
    text = re.sub(r'(\sid="|="#|url\(#)', rf"\g<1>{ids}-", text)
    return text.replace(INK, "var(--ink)").replace(FAINT, "var(--line)")


def _log(axis: Axis, subs: tuple[int, ...] = (1,)) -> None:
    """Plain numbers on a logarithmic axis."""
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}" if value < 1e6 else f"{value:.0e}"))


def _empty(axes: Axes) -> None:
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)


def intervals(
    panels: Sequence[tuple[str, str, Mapping[str, Number]]], names: Sequence[str], ink: Mapping[str, str]
) -> str:
    """Values with 95 % intervals: one panel per (title, direction, numbers), one line per name."""
    with rc_context(STYLE):
        wide = len(panels)
        figure = Figure(figsize=(1.5 + 2.0 * wide, 0.6 + 0.27 * len(names)), layout="constrained")
        grid = figure.subplots(1, wide, sharey=True, squeeze=False)[0]
        place = {name: -i for i, name in enumerate(names)}
        for axes, (title, arrow, numbers) in zip(grid, panels, strict=True):
            for name, number in numbers.items():
                half = 1.96 * (number.stderr or 0.0)
                hollow = number.kind == "bound"
                axes.errorbar(number.value, place[name], xerr=half, fmt="o", color=ink[name], markersize=5,
                              capsize=0, markerfacecolor="none" if hollow else ink[name], elinewidth=1.8)  # fmt: skip
            axes.set_title(f"{title} {arrow}".strip(), loc="left")
            axes.set_yticks(list(place.values()), list(place))
            axes.set_ylim(-len(names) + 0.4, 0.6)
            axes.margins(x=0.12)
            axes.locator_params(axis="x", nbins=4)
            _wide_range(axes, [n.value for n in numbers.values()])
            _empty(axes)
        return svg(figure, "intervals")


def _wide_range(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis where the values span more than a factor of thirty."""
    if values and min(values) > 0 and max(values) / min(values) > 30:
        axes.set_xscale("log")
        _log(axes.xaxis)


def speed(points: Mapping[str, tuple[Number, Number]], floor: Number | None, ink: Mapping[str, str], title: str) -> str:
    """Samples per second (log) against quality; the dashed line is real test data."""
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.9), layout="constrained")
        axes = figure.subplots()
        axes.set_xscale("log")
        _log(axes.xaxis)
        rates, values = [f.value for f, _ in points.values()], [q.value for _, q in points.values() if q.value > 0]
        room = max(2.0, (max(rates) / min(rates)) ** 0.18)
        axes.set_xlim(min(rates) / room, max(rates) * room)
        if values and max(values) / min(values) > 8:
            axes.set_yscale("log")
            _log(axes.yaxis, (1, 2, 5))
        for name, (fast, quality) in points.items():
            axes.errorbar(fast.value, quality.value, yerr=1.96 * (quality.stderr or 0.0), fmt="o", color=ink[name],
                          markersize=8, elinewidth=1.5)  # fmt: skip
        if floor is not None and floor.value > 0:
            axes.axhline(floor.value, color=GREY, linestyle=(0, (4, 3)), linewidth=1.2)
            axes.annotate("real test data", (0.01, floor.value), (0, 4), xycoords=("axes fraction", "data"),
                          textcoords="offset points", color=GREY, fontsize=8.5)  # fmt: skip
        axes.set_xlabel("samples per second  (faster →)")
        axes.set_ylabel(f"{title}  (better ↓)")
        axes.margins(y=0.15)
        _empty(axes)
        _label(figure, axes, {name: (fast.value, quality.value) for name, (fast, quality) in points.items()}, ink)
        return svg(figure, "speed")


def _label(figure: Figure, axes: Axes, points: Mapping[str, tuple[float, float]], ink: Mapping[str, str]) -> None:
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


def curves(histories: Mapping[str, Sequence[Mapping[str, Any]]], ink: Mapping[str, str]) -> str:
    """Validation (dots) and training loss (line) against seconds: one panel per model, each with its own scale."""
    columns = min(4, max(1, len(histories)))
    lines = math.ceil(len(histories) / columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(2.25 * columns, 1.75 * lines + 0.2), layout="constrained")
        grid = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes, (name, history) in zip(grid, histories.items(), strict=False):
            for key, style in (("loss", {"linewidth": 0.9, "alpha": 0.45}), ("validation", {"marker": "o", "ms": 2.6})):
                pairs = [(h["seconds"], h[key]) for h in history if h.get(key) is not None]
                pairs = [(x, y) for x, y in pairs if math.isfinite(y)]
                if pairs:
                    axes.plot(*zip(*pairs, strict=True), color=ink[name], **style)
            shown = [h[k] for h in history for k in ("loss", "validation") if h.get(k) is not None]
            shown = sorted(v for v in shown if math.isfinite(v))
            if len(shown) > 10:  # the first steps may tower over the rest
                low, high = shown[0], shown[int(0.97 * (len(shown) - 1))]
                pad = 0.08 * (high - low) or 1.0
                axes.set_ylim(low - pad, high + pad)
            axes.set_title(name, color=ink[name], loc="left")
            axes.locator_params(nbins=4)
            _empty(axes)
        for axes in grid[len(histories) :]:
            axes.set_visible(False)
        figure.supxlabel("seconds of training", fontsize=9)
        return svg(figure, "curves")


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


def pixels(images: np.ndarray) -> np.ndarray:
    """Images (n, H, W) or (n, H, W, 1 or 3), uint8 → RGB (n, H, W, 3)."""
    array = np.asarray(images, np.uint8)
    array = array[..., None] if array.ndim == 3 else array
    return np.repeat(array, 3, -1) if array.shape[-1] == 1 else array


def png(array: np.ndarray) -> str:
    """An RGB or RGBA image (H, W, 3 or 4) as a data URI."""
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def grid(images: np.ndarray, columns: int) -> str:
    """Images side by side with one clear pixel between them, as a data URI."""
    array = pixels(images)
    n, height, width, _ = array.shape
    lines = math.ceil(n / columns)
    gap = 1 + max(height, width) // 24
    out = np.zeros((lines * (height + gap) - gap, columns * (width + gap) - gap, 4), np.uint8)
    for i, image in enumerate(array):
        y, x = (i // columns) * (height + gap), (i % columns) * (width + gap)
        out[y : y + height, x : x + width, :3] = image
        out[y : y + height, x : x + width, 3] = 255
    return png(out)


def pairs(samples: np.ndarray, neighbours: np.ndarray, columns: int) -> str:
    """Each sample beside its nearest training item, as a data URI."""
    both = np.stack((pixels(samples), pixels(neighbours)), 1)
    n, _, height, width, _ = both.shape
    lines, thin, wide = math.ceil(n / columns), 1, 3 + width // 12
    cell_h, cell_w = height + wide, 2 * width + thin + wide
    out = np.zeros((lines * cell_h - wide, columns * cell_w - wide, 4), np.uint8)
    for i, pair in enumerate(both):
        for side, image in enumerate(pair):
            y, x = (i // columns) * cell_h, (i % columns) * cell_w + side * (width + thin)
            out[y : y + height, x : x + width, :3] = image
            out[y : y + height, x : x + width, 3] = 255
    return png(out)
