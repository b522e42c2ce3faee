"""Fidelity against diversity, one panel per pair of measures that states itself as one."""

from pofx.report.figures.plane import planes
from pofx.report.results import Results
from pofx.report.rows import Number
from pofx.report.section import Section, fill

CAPTION = (
    "Up: samples are where real items are. Right: real items are where samples are. Crosses are the controls; a "
    "model that reaches “real-test” is as good as this measure can resolve, and “memoriser” shows what it does "
    "not detect. Bars: 95 % intervals."
)


class Plane(Section):
    order, id, title = 60, "plane", "Fidelity and diversity"

    def html(self, results: Results) -> str | None:
        pairs: dict[str, dict[str, tuple[str, str]]] = {}
        for info in results.metrics.values():
            if info.plane:
                pairs.setdefault(info.plane[0], {})[info.plane[1]] = (info.name, info.head)
        panels: list[tuple[str, str, dict[str, tuple[Number, Number]]]] = []
        for sides in pairs.values():
            if len(sides) < 2:
                continue
            (x_metric, x_title), (y_metric, y_title) = sides["diversity"], sides["fidelity"]
            points = {
                row.name: (x, y)
                for row in results.rows
                if (x := row.number(x_metric)) is not None and (y := row.number(y_metric)) is not None
            }
            if points:
                panels.append((x_title, y_title, points))
        if not panels:
            return None
        label = "; ".join(f"{y} against {x}" for x, y, _ in panels) + ", for models and controls"
        controls = [row.name for row in results.rows if row.role == "control"]
        return fill("figure.html.j2", results, svg=planes(panels, controls, results.ink), label=label, caption=CAPTION)
