"""Molecules: one SMILES string each (Weininger, 1988). A .smi file holds one a line, then perhaps a name; an .sdf
holds structures.

They are texts to every model; metrics of molecules need the extra `molecules` (RDKit). Reading does without it; where
it is installed, strings that are no molecules are counted.
"""

import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pofx.core.errors import DataError
from pofx.core.items import Items
from pofx.data.kinds.text import Text, are_strings, texts
from pofx.data.text import decoded

PUBLIC = ("molecules",)

PARSED = 1_000  # strings, at most, of which is seen whether they are molecules


def molecules(x: Sequence[str], labels: Any = None, name: str = "molecules") -> Items:
    """SMILES strings, one per molecule; labels are class numbers or names, one per molecule.

    Where RDKit is installed, a warning states how many of them are no molecules; they stay in the data.

    Raises:
        DataError: not a list of strings, empty, or a string with spaces in it.
    """
    if hasattr(x, "tolist") and not isinstance(x, list | tuple):  # an array or a Series
        x = x.tolist()
    if not are_strings(x) or not all(v.strip() for v in x):
        raise DataError(f"{name} must be a list of SMILES strings, none empty: give one string per molecule")
    spaced = next((i for i, v in enumerate(x) if len(v.split()) > 1), None)
    if spaced is not None:
        raise DataError(f"{name}: '{x[spaced]}' (number {spaced}) has spaces, which SMILES has not: drop what follows")
    found = texts([v.strip() for v in x], labels=labels, name=name)
    _warn_of_invalid(found.values, name)
    return Items("molecules", found.values, found.labels, {**found.facts, "molecules": "SMILES"})


def _warn_of_invalid(strings: Sequence[str], name: str) -> None:
    if importlib.util.find_spec("rdkit") is None:
        return
    from pofx.data.chemistry import canonical  # here: it needs RDKit

    tried = list(strings[:: -(-len(strings) // PARSED)])
    wrong = [s for s, found in zip(tried, canonical(tried), strict=True) if found is None]
    if wrong:
        of = f"{len(tried):,}{'' if len(tried) == len(strings) else ' that were tried'}"
        warnings.warn(
            f"{name}: {len(wrong):,} of {of} are no molecules to RDKit (the first: {wrong[0]}): mend or drop them",
            stacklevel=3,
        )


def _text(path: Path, encoding: str | None) -> str:
    """A file as text; SMILES are ASCII, so that names in another encoding are no obstacle."""
    try:
        return decoded(path, encoding)
    except DataError:
        if encoding is not None:
            raise
        return decoded(path, "latin-1")


def _place(lines: Sequence[Sequence[str]]) -> int:
    """The word of a line that is the molecule: the first one, or the second where names come first."""
    if importlib.util.find_spec("rdkit") is None or min(map(len, lines)) < 2:
        return 0
    from pofx.data.chemistry import canonical  # here: it needs RDKit

    some = lines[:20]
    first, second = (sum(c is not None for c in canonical([words[k] for words in some])) for k in (0, 1))
    return int(first == 0 and 2 * second > len(some))


class Molecules(Text):
    name = "molecules"
    summary = "molecules as SMILES strings"
    viewed_as: ClassVar = "text"
    reads = (".smi", ".smiles", ".ism", ".sdf", ".sd", ".mol")
    outputs = (".smi", ".txt", ".json", ".csv", ".npz", ".png")

    def read(self, path: Path, **options: Any) -> Items:
        """The first word of every line, or the second behind names; a first line of SMILES is a heading. Of an .sdf its
        structures."""
        from pofx.data.structures import SDF, SMILES, read_sdf  # here: it needs RDKit

        if path.suffix.lower() in SDF:
            return molecules(read_sdf(path)[SMILES].tolist(), name=path.name)
        lines = [words for line in _text(path, options.get("encoding")).split("\n") if (words := line.split())]
        lines = [words for words in lines if not words[0].startswith("#")]
        if lines and "smiles" in lines[0][0].lower():
            lines = lines[1:]
        if not lines:
            raise DataError(f"{path} holds no molecules: give a SMILES string a line")
        return molecules([words[_place(lines)] for words in lines], name=path.name)

    def distinct(self, items: Items) -> tuple[Items, dict[str, Any]]:
        return items, {}

    def of_object(self, value: Any, name: str) -> Items | None:
        return None  # strings are texts, unless wrapped

    def describe(self, items: Items) -> str:
        return f"{len(items):,} molecules"

    def content(self, items: Items, ending: str, columns: int | None = None) -> bytes:
        if ending == ".png":
            from pofx.data.chemistry import drawn  # here: it needs RDKit

            return drawn(items.values, columns=columns)
        return super().content(items, ".txt" if ending == ".smi" else ending, columns)
