"""cite: the sources of a model as BibTeX, from the line that its class or recipe states."""

import re
from typing import Any

from pofx.core.config import entry
from pofx.core.errors import UsageError
from pofx.core.options import short

PUBLIC = ("cite",)


def cite(model: Any) -> str:
    """BibTeX entries of the sources of a model: of its name in `pofx models`, or of a run.

    Raises:
        UsageError: no model has this name; the nearest are in the message.
    """
    name = model if isinstance(model, str) else getattr(model, "name", None)
    if not isinstance(name, str):
        raise UsageError(f"model must be a name of `pofx models` or a run (got {short(model)}): pass model='nsf'")
    source = entry(name).traits.source
    found = [_entry(part.strip()) for part in source.split(";")]
    return "\n\n".join(entry_ for entry_ in found if entry_)


def _entry(text: str) -> str:
    """An entry of "Authors, year, arXiv number"; empty without a year."""
    about = re.search(r"(?:^|: )([^:]+?),? (\d{4})(?:, arXiv (\d{4}\.\d{4,5}))?", text)
    if about is None:
        return ""
    names, year, number = about[1], about[2], about[3]
    authors = names.replace(" et al.", " and others").replace(", ", " and ").replace(" and and ", " and ")
    key = re.sub(r"\W+", "", re.split(r" et al\.| and |, ", names)[0]).lower() + year
    fields = {"author": authors, "year": year}
    if number:
        fields |= {"eprint": number, "archivePrefix": "arXiv", "url": f"https://arxiv.org/abs/{number}"}
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
    return f"@misc{{{key},\n{lines}}}"
