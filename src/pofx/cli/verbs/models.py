"""pofx models."""

from pofx.cli import arguments as given

GROUP = "Look up"
EXAMPLE = "pofx models"


def models(as_json: given.Json = False) -> None:
    """List the models: family, kind of density, what each does."""
    from pofx.core.config import entries

    rows = [
        {
            "model": name,
            "family": row.traits.family,
            "events": ", ".join(row.traits.events).lower(),
            "density": row.traits.density.name.lower(),
            "encodes": "yes" if row.traits.encodes else "no",
            "conditional": "yes" if row.traits.conditional else "no",
            "source": row.traits.source,
        }
        for name, row in entries().items()
    ]
    given.show(rows, as_json)
