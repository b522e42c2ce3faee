"""Runs and scores for people: one line for `repr`, facts for `pofx info`, HTML for notebooks.

Everything is read off the artifact and its card; nothing is computed but the few samples that a notebook shows.
"""

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from pofx.core import config
from pofx.core.errors import PofxError
from pofx.core.items import Items
from pofx.core.model import Density
from pofx.data.kind import of_card
from pofx.represent.labels import Labels

CELL = 120  # characters of a cell


def line(run: Any) -> str:
    """A run in one line: "nsf on wdbc.csv, exact, 60 steps"."""
    card = run.card or {}
    data, training = card.get("data") or {}, card.get("training") or {}
    model = f"{run.name} on codes of {card['on']['model']}" if card.get("on") else run.name
    parts = [f"{model} on {Path(str(data['name'])).name}" if data.get("name") else model, density(run)]
    if training:
        parts.append(effort(training))
    if training.get("finished") is False:
        parts.append("unfinished")
    return ", ".join(parts)


def density(run: Any) -> str:
    """The kind of density of a run, in words."""
    return "no density" if run.density is Density.NONE else run.density.name.lower()


def effort(training: Mapping[str, Any]) -> str:
    """How long a run was trained: its steps, or its time where it is fitted without steps."""
    if training.get("imported"):
        return f"imported from {training['imported']}"
    steps, seconds = training.get("steps") or 0, training.get("seconds") or 0.0
    if not steps:
        return f"fitted in {seconds:.1f} s"
    return f"{steps:,} step{'s' if steps > 1 else ''}"


def facts(run: Any) -> dict[str, str]:
    """What a run is, by name, in words; what its card does not hold is left out."""
    card = run.card or {}
    data, training = card.get("data") or {}, card.get("training") or {}
    found = {"model": f"{run.name} ({_family(run)})", "options": _changed(run)}
    if data:
        sizes = data.get("sizes") or {}
        split = " + ".join(f"{n:,} {part}" for part, n in sizes.items())
        name = data.get("name") or "not known"
        items = f"{sum(sizes.values()):,} {data.get('kind')} items ({split})" if sizes else f"{data.get('kind')} items"
        found["data"] = f"{name}: {items}"
    found["condition"] = _condition(run, training)
    for name, origin in {"on": card.get("on"), **(card.get("companions") or {})}.items():
        if origin:
            place = f" at {origin['path']}" if origin.get("path") else ""
            found[name] = f"{origin['model']}{place} ({str(origin.get('hash'))[:12]})"
    unit = getattr(run.representation, "unit", "nats")
    measure = getattr(run.representation, "measure", "")
    found["density"] = density(run) + (f", in {unit}; measure: {measure}" if run.density else "")
    if training:
        done = "" if training.get("finished", True) else "; unfinished"
        seconds = training.get("seconds") or 0.0
        time = f" in {seconds:,.1f} s" if training.get("steps") else ""
        budget = f"; budget {training['budget']}" if training.get("budget") else ""
        found["training"] = f"{effort(training)}{time}{budget}{done}"
        if training.get("best_validation") is not None:
            step = training.get("best_step")
            found["validation"] = f"{training['best_validation']:.4g} at step {step:,}, whose weights these are"
    found["parameters"] = f"{sum(p.numel() for p in run.model.parameters()):,}"
    made = card.get("environment") or {}
    when, version = training.get("started"), made.get("pofx")
    found["made"] = " ".join(filter(None, (when and f"{when} UTC", version and f"by pofx {version}")))
    found["seed"] = str(card["seed"]) if "seed" in card else ""
    return {name: text for name, text in found.items() if text}


def _family(run: Any) -> str:
    return type(run.model).__module__.split(".")[-2]


def _changed(run: Any) -> str:
    """The options that differ from those of the model's name."""
    row = config.entries().get(run.name)
    if row is None:
        return ""
    usual = {**config.defaults(row.model), **row.values}
    stored = config.config(run.model)
    return ", ".join(f"{k}={v}" for k, v in stored.items() if k in usual and config.plain(usual[k]) != v)


def _condition(run: Any, training: Mapping[str, Any]) -> str:
    condition = training.get("condition")
    if condition is None:
        return ""
    if isinstance(condition, list | tuple):
        return ", ".join(map(str, condition))
    names = run.conditioning.names if isinstance(run.conditioning, Labels) else []
    shown = ", ".join(map(str, names[:8])) + (", …" if len(names) > 8 else "")
    return f"{condition}" + (f": {shown}" if shown else "")


def html(run: Any) -> str:
    """A run as HTML for a notebook: its line, its facts, and a row of samples."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:left'>{escape(text)}</td></tr>"
        for name, text in facts(run).items()
    )
    return f"<b>{escape(line(run))}</b><table>{rows}</table>{_samples(run)}"


def _samples(run: Any, n: int = 8) -> str:
    """The first samples of seed 0: a row of pictures, or rows of a table."""
    data = (run.card or {}).get("data")
    if not data:
        return ""
    try:
        kind, values = of_card(data), run.sample(n, seed=0)
        if kind.pictorial:
            picture = kind.content(Items(kind.name, values, facts=data["facts"]), ".png", n)
            return f"<img alt='samples' src='data:image/png;base64,{base64.b64encode(picture).decode()}'>"
        shown = kind.shown(values, data["facts"])
    except PofxError as error:
        return f"<p>{escape(str(error))}</p>"
    head = "".join(f"<th>{escape(str(name))}</th>" for name in shown.columns)
    rows = "".join(f"<tr>{''.join(f'<td>{cell(value)}</td>' for value in line)}</tr>" for line in shown.lines)
    return f"<table><tr>{head}</tr>{rows}</table>"


def cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return escape(text if len(text) <= CELL else text[: CELL - 1] + "…")


def score_line(score: Any) -> str:
    """Scores in one line: "64 scores, mean -87.21 nats, bound; measure: counting"."""
    n, mean = len(score.value), float(score.value.mean()) if len(score.value) else float("nan")
    own = 0.0 if score.stderr is None or not n else float(score.stderr.mean())
    error = "" if not own else f" (± {own:.2g} per item)" if own == own else " (errors not known)"
    kind = score.density.name.lower()
    if score.importance is not None and score.importance > 1 and n:
        kind += f", {score.importance} importance samples of which {float(score.effective.mean()):.0f} count"
    if score.passes > 1:
        kind += f", up to {score.passes * score.evaluations:,} evaluations of the network for an item"
    kind += f"; {score.note}" if score.note else ""
    return f"{n:,} scores, mean {mean:.4f} {score.unit}{error}, {kind}; measure: {score.measure}"


def score_html(score: Any, n: int = 10) -> str:
    """Scores as HTML for a notebook: their line and the first n."""
    rows = []
    for i, value in enumerate(score.value[:n]):
        error = "" if score.stderr is None else f"± {score.stderr[i]:.2g}"
        rows.append(f"<tr><td>{i}</td><td>{value:.4f}</td><td>{error}</td></tr>")
    more = f"<tr><td>…</td><td>{len(score.value) - n:,} more</td><td></td></tr>" if len(score.value) > n else ""
    head = f"<tr><th>item</th><th>log p ({escape(score.unit)})</th><th></th></tr>"
    return f"<b>{escape(score_line(score))}</b><table>{head}{''.join(rows)}{more}</table>"
