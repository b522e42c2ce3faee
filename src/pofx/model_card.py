"""Model cards: what a run is, made of and good for, in the format of the Hugging Face Hub.

After Mitchell et al., 2019 ("Model cards for model reporting", arXiv 1810.03993). Everything is read off the card
of the run and its last evaluation; what is not known is stated as not known, and nothing is claimed that was not
measured.
"""

from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCardData

from pofx import summary
from pofx.core.cite import cite
from pofx.core.errors import PofxError
from pofx.core.model import Density, Encoding
from pofx.parts import Parts

WATTS_PER_CORE = 8.0  # of a busy core with its share of memory and supply: 5 to 15 in servers and laptops
WATTS_PER_GPU = 300.0
LICENCES = ("apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "odbl", "pddl")


def energy(card: Mapping[str, Any]) -> tuple[float, str] | None:
    """Watt-hours of a training and how they are estimated; None where its time is not known."""
    training, made = card.get("training") or {}, card.get("environment") or {}
    seconds = training.get("seconds")
    if not seconds:
        return None
    device, threads = str(made.get("device") or "CPU"), int(made.get("threads") or 1)
    if device.startswith("CPU"):
        watts, how = WATTS_PER_CORE * threads, f"{threads} thread(s) at {WATTS_PER_CORE:g} W"
    else:
        watts, how = WATTS_PER_GPU, f"one {device} at {WATTS_PER_GPU:g} W"
    return float(seconds) * watts / 3600, f"{float(seconds):,.0f} s of {how}; not metered"


def model_card(run: Parts, evaluation: Mapping[str, Any] | None = None) -> str:
    """The text of a README.md: a header of metadata, then prose and tables.

    Args:
        evaluation: as `pofx.info(folder)["evaluation"]` has it.
    """
    card = run.card or {}
    data, training = card.get("data") or {}, card.get("training") or {}
    parts = [
        f"# {summary.line(run)}",
        _opening(run),
        _intended(run, data),
        _data(data, card),
        _training(card, training),
    ]
    parts += [_measures(evaluation), _limits(run, data, training), _use(run), _source(run)]
    return f"---\n{_header(run, data, evaluation)}\n---\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def _header(run: Parts, data: Mapping[str, Any], evaluation: Mapping[str, Any] | None) -> str:
    licence = str(data.get("licence") or "").lower().replace(" ", "-")
    tags = ["pofx", "generative-model", run.name, str(data.get("kind") or run.representation.kind)]
    known = {"license": licence} if licence in LICENCES else {}
    made = ModelCardData(library_name="pofx", tags=tags, **known)  # type: ignore[arg-type]
    return str(made.to_yaml()).strip()


def _opening(run: Parts) -> str:
    rows = [f"| {name} | {_cell(text)} |" for name, text in summary.facts(run).items()]
    return "\n".join(["| | |", "|---|---|", *rows])


def _intended(run: Parts, data: Mapping[str, Any]) -> str:
    can = ["draws new items"]
    if run.density > Density.NONE:
        can.append(f"gives log p of items ({run.density.name.lower()})")
    if isinstance(run.model, Encoding):
        can.append("encodes and decodes items")
    return (
        f"## Intended use\n\nThis model {', '.join(can)} like those of its training data "
        f"({data.get('summary') or data.get('name') or 'not known'}). It was made for research and teaching. "
        "It is not meant for decisions about people, for passing its samples off as real, or for other data."
    )


def _data(data: Mapping[str, Any], card: Mapping[str, Any]) -> str:
    if not data:
        return "## Training data\n\nNot known: the run has no card of its data."
    sizes = data.get("sizes") or {}
    rows = {
        "name": data.get("name"),
        "kind": data.get("kind"),
        "source": data.get("source") or "not known",
        "licence": data.get("licence") or "not known",
        "items": ", ".join(f"{n:,} {part}" for part, n in sizes.items()),
        "near duplicates between splits": ", ".join(
            f"{k}: {n}" for k, n in (data.get("near_duplicates") or {}).items()
        ),
        "sha256 of all splits": data.get("hash"),
    }
    lines = [f"| {name} | {_cell(str(value))} |" for name, value in rows.items() if value]
    note = ""
    if str(data.get("licence") or "unknown") == "unknown":
        note = "\n\nThe licence of the data is unknown: find it out before you publish this model or its samples."
    return "## Training data\n\n| | |\n|---|---|\n" + "\n".join(lines) + note


def _training(card: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    made = card.get("environment") or {}
    lines = []
    if training.get("imported"):
        lines.append(f"The weights were {summary.effort(training)}.")
    elif training:
        lines.append(f"Budget {training.get('budget')}, {summary.effort(training)}, seed {card.get('seed')}.")
    used = energy(card)
    if used is not None:
        lines.append(f"Energy: about {used[0]:.3g} Wh, estimated from {used[1]}.")
    if made:
        facts = [f"{name} {made[name]}" for name in ("pofx", "torch", "python", "device") if made.get(name)]
        lines.append(f"Made by {', '.join(facts)}.")
    options = ", ".join(f"`{k}={v}`" for k, v in (training.get("options") or {}).items())
    if options:
        lines.append(f"Trainer options: {options}.")
    return "## Training\n\n" + ("\n\n".join(lines) or "Not known.")


def _measures(evaluation: Mapping[str, Any] | None) -> str:
    if not evaluation:
        return "## Measures\n\nNone are stored: run `pofx evaluate` on the folder of the run."
    rows = []
    for row in evaluation.get("measurements") or ():
        if isinstance(row.get("value"), int | float):
            error = f" ± {row['stderr']:.2g}" if isinstance(row.get("stderr"), int | float) else ""
            better = {"lower": "lower is better", "higher": "higher is better"}.get(str(row.get("better")), "")
            rows.append(f"| {row.get('metric')} | {row.get('space') or ''} | {row['value']:.4g}{error} | {better} |")
    table = "| measure | feature space | value | |\n|---|---|---|---|\n" + "\n".join(rows)
    return f"## Measures\n\nOn held-out items of the training data.\n\n{table}" if rows else ""


def _limits(run: Parts, data: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    train = (data.get("sizes") or {}).get("train")
    lines = [
        "Samples repeat what is frequent in the data and miss what is rare; what the data lack, the model lacks.",
        "A model may repeat training items: `pofx memorisation RUN` measures how near its samples come.",
    ]
    if run.density in (Density.BOUND, Density.ESTIMATE):
        lines.append(
            f"Its log p is {'a bound' if run.density is Density.BOUND else 'an estimate'}: compare like with like."
        )
    if train is not None and train < 10_000:
        lines.append(f"It has seen {train:,} training items only.")
    if training.get("finished") is False:
        lines.append("Its training is unfinished.")
    if training.get("failed"):
        lines.append(f"Its training failed: {training['failed']}.")
    return "## Limits and risks\n\n" + "\n".join(f"- {line}" for line in lines)


def _use(run: Parts) -> str:
    lines = ["import pofx", "", 'run = pofx.load("FOLDER")  # or "hf://user/name"', "x = run.sample(16, seed=0)"]
    return "## Use\n\n```python\n" + "\n".join(lines) + "\n```"


def _source(run: Parts) -> str:
    try:
        text = cite(run.name)
    except PofxError:
        return ""
    return f"## Citation\n\n```bibtex\n{text}\n```" if text else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
