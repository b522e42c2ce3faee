"""Quality against the steps of a sampler, one line per model; the ring is the number of steps that it draws with."""

from collections.abc import Mapping
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from pofx.report.figures.style import STYLE, empty, log, svg


def efforts(found: Mapping[str, Mapping[str, Any]], ink: Mapping[str, str]) -> str:
    """Left against steps, right against the time they take; found[name] is the extra of `enough_steps`."""
    with rc_context(STYLE):
        figure = Figure(figsize=(7.6, 3.3), layout="constrained")
        by_steps, by_time = figure.subplots(1, 2, sharey=True)
        for name, facts in found.items():
            steps, distances, errors, seconds = zip(*facts["curve"], strict=True)
            spread = [1.96 * error for error in errors]
            for axes, x in ((by_steps, steps), (by_time, seconds)):
                axes.errorbar(x, distances, yerr=spread, color=ink[name], marker="o", ms=3.5, lw=1.3, elinewidth=0.9)
                own = steps.index(facts["own"])
                axes.plot(x[own], distances[own], "o", ms=9, mfc="none", mew=1.4, color=ink[name])
            by_time.annotate(name, (seconds[-1], distances[-1]), (5, 4), textcoords="offset points",
                             color=ink[name], fontsize=8.5)  # fmt: skip
        values = [point[1] for facts in found.values() for point in facts["curve"]]
        if min(values) > 0 and max(values) / min(values) > 8:
            by_steps.set_yscale("log")
            log(by_steps.yaxis, values)
        for axes, title, k in ((by_steps, "steps of the sampler", 0), (by_time, "seconds per 1,000 samples", 3)):
            axes.set_xscale("log")
            log(axes.xaxis, [point[k] for facts in found.values() for point in facts["curve"] if point[k] > 0])
            axes.margins(x=0.14)
            axes.set_xlabel(title)
            empty(axes)
        by_steps.set_ylabel("Fréchet distance  (better ↓)")
        return svg(figure, "effort")
