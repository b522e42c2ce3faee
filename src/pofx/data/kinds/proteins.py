"""Proteins: sequences of residues in capital letters, and `-` for gaps where they are aligned.

Files .a2m and .a3m are alignments, of which the focus columns are read; .fasta and .fa hold sequences as they are.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pofx.core.errors import DataError
from pofx.core.items import Items
from pofx.data.alignments import LETTERS, fasta, read_alignment
from pofx.data.kinds.text import Text, texts
from pofx.data.text import decoded

PUBLIC = ("proteins",)


def proteins(x: Sequence[str], labels: Any = None, name: str = "proteins") -> Items:
    """Sequences of the 20 residues and gaps, one string each.

    Raises:
        DataError: not a list of strings, empty, or other letters.
    """
    found = texts(x if not isinstance(x, str) else [x], labels=labels, name=name)
    for i, sequence in enumerate(found.values):
        other = sorted(set(sequence) - set(LETTERS))
        if other or not sequence:
            raise DataError(f"{name}: sequence {i} has {''.join(other[:8])!r}, which is no residue: write {LETTERS}")
    if len(found.values) > 1 and set().union(*map(set, found.values)) <= set("ACGTN-"):
        warnings.warn(
            f"{name} holds A, C, G, T and N alone: nucleotides are read as residues; give DNA as pofx.texts",
            UserWarning,
            stacklevel=2,
        )
    return Items("proteins", found.values, found.labels, found.facts)


class Proteins(Text):
    name = "proteins"
    summary = "sequences of residues, aligned or not"
    viewed_as: ClassVar = "text"
    reads = (".a2m", ".a3m", ".fasta", ".fa")
    outputs = (".fasta", ".txt", ".json", ".csv", ".npz")

    def read(self, path: Path, **options: Any) -> Items:
        if path.suffix.lower() in (".a2m", ".a3m"):
            return proteins(read_alignment(path, identity=1.0).sequences, name=path.name)
        found = [s.upper() for s in fasta(decoded(path, options.get("encoding")), path.name)[1]]
        good = [s for s in found if s and set(s) <= set(LETTERS)]
        if good and len(good) < len(found):
            first = next(s for s in found if s not in good)
            warnings.warn(
                f"{path.name}: {len(found) - len(good):,} of {len(found):,} sequences are empty or have letters other "
                f"than residues (the first: {''.join(sorted(set(first) - set(LETTERS))) or 'an empty one'}): left out",
                UserWarning,
            )
        return proteins(good or found, name=path.name)

    def of_object(self, value: Any, name: str) -> Items | None:
        return None  # strings are texts, unless wrapped

    def describe(self, items: Items) -> str:
        sizes = {len(v) for v in items.values}
        size = f"{min(sizes)} residues" if len(sizes) == 1 else f"{min(sizes)} to {max(sizes)} residues"
        return f"{len(items):,} sequences of {size}"

    def content(self, items: Items, ending: str, columns: int | None = None) -> bytes:
        if ending == ".fasta":
            return "".join(f">{i}\n{s}\n" for i, s in enumerate(items.values)).encode()
        return super().content(items, ending, columns)
