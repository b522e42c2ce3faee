"""All models as a table: what each is, takes and can."""

from typing import Any

import pandas as pd

from pofx.core.config import around, entries

PUBLIC = ("models",)


def models() -> pd.DataFrame:
    """Every model in a row: model, family, events, density, encodes, conditional, summary, source.

    Those around another run (guidance, distillation) are among them; `pofx models NAME` lists the options of one.
    """
    return pd.DataFrame([described(row) for row in {**entries(), **around()}.values()]).set_index("model")


def described(row: Any) -> dict[str, str]:
    """One entry in words."""
    traits = row.traits
    return {
        "model": row.name,
        "family": traits.family,
        "events": ", ".join(traits.events).lower(),
        "density": traits.density.name.lower(),
        "encodes": "yes" if traits.encodes else "no",
        "conditional": "yes" if traits.conditional else "no",
        "summary": traits.summary,
        "source": traits.source,
    }
